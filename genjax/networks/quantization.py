"""Codebooks: vectors z [..., d] as integers and back, the bottleneck of a VQ-VAE (van den Oord et al. 2017).

    k = argmin_k ||z - e_k||,   v = e_k

The derivative of v in z is taken to be 1 (straight through; Bengio et al. 2013). The entries e are learned by gradient
or by moving averages, in one codebook or in several, each of which quantises what the ones before it left (residual
quantisation); or they are a fixed grid (finite scalar quantisation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import Array, Key, Params


class Quantised(NamedTuple):
    """Vectors z [..., d] on the entries of a codebook."""

    index: Array  # [..., R] int32
    value: Array  # v, [..., d], the entries; its derivative in z is that of z, or of the bounded z
    codebook_loss: Array  # [...], ||sg(z) - e_k||^2, which moves the entries; 0 where no gradient does
    commitment: Array  # [...], ||z - sg(e_k)||^2, which moves z; 0 on a fixed grid
    statistics: Any  # sums over all vectors, for `refresh`


class Codebook(NamedTuple):
    """A finite set of values for vectors of d dimensions.

    `init(key)` -> params, () for a fixed grid; `quantise(params, z)` -> `Quantised`; `look_up(params, index)` ->
    [..., d], the value of index [..., R]; `refresh(params, statistics)` -> params follows each update.
    """

    num_codes: int  # K, the values of one index
    depth: int  # R, indices per vector: 1 but for residual quantisation
    dim: int  # d
    learned: bool  # whether the optimizer may move the params
    init: Callable[[Key], Params]
    quantise: Callable[[Params, Array], Quantised]
    look_up: Callable[[Params, Array], Array]
    refresh: Callable[[Params, Any], Params] = lambda params, statistics: params


def _straight_through(value: Array, z: Array) -> Array:
    """Exactly `value`, with the derivative of z."""
    return jax.lax.stop_gradient(value) + (z - jax.lax.stop_gradient(z))


def _nearest(entries: Array, z: Array) -> Array:
    """The index of the nearest entry, the first of equal ones: e [K, d], z [..., d] -> [...] int32."""
    half_norm = jnp.sum(jnp.square(entries), axis=1).reshape((1,) * (z.ndim - 1) + (-1,)) / 2
    # the squared distance, halved and without ||z||^2, which is the same for every entry
    distance = half_norm - jnp.matmul(z, entries.T, precision=jax.lax.Precision.HIGHEST)
    least = jnp.min(distance, axis=-1, keepdims=True)
    # `jnp.argmin` as two minima, which XLA compiles to faster code for a CPU
    places = jnp.broadcast_to(jnp.arange(distance.shape[-1], dtype=jnp.int32), distance.shape)
    return jnp.min(jnp.where(distance == least, places, distance.shape[-1] - 1), axis=-1)


def _squared_distance(a: Array, b: Array) -> Array:
    return jnp.sum(jnp.square(a - b), axis=-1)


def _look_up(params: Params, index: Array) -> Array:
    return params["entries"][index[..., 0]]


def learned_codebook(num_codes: int, dim: int) -> Codebook:
    """Entries that descend the codebook loss.

        k = argmin_k ||z - e_k||^2,   codebook_loss = ||sg(z) - e_k||^2,   commitment = ||z - sg(e_k)||^2

    Args:
      num_codes: K.
      dim: d.

    Returns:
      A codebook with params {"entries": e [K, d]}, N(0, 1) at first.

    Source: van den Oord et al. 2017, equations 1 to 3.
    """

    def init(key: Key) -> Params:
        return {"entries": jax.random.normal(key, (num_codes, dim))}

    def quantise(params: Params, z: Array) -> Quantised:
        index = _nearest(params["entries"], z)
        e = params["entries"][index]
        return Quantised(
            index[..., None],
            _straight_through(e, z),
            _squared_distance(jax.lax.stop_gradient(z), e),
            _squared_distance(z, jax.lax.stop_gradient(e)),
            (),
        )

    return Codebook(num_codes, 1, dim, True, init, quantise, _look_up)


def averaged_codebook(num_codes: int, dim: int, *, decay: float = 0.99, restart: float = 0.1) -> Codebook:
    """Entries that are moving averages of the vectors nearest to them: k-means in batches.

        N_k <- g N_k + (1 - g) n_k,   m_k <- g m_k + (1 - g) s_k,   e_k = m_k / N_k

    where n_k is the number of vectors in the batch nearest to e_k, and s_k their sum. An entry without vectors stays.
    At g = 0 an update is one step of Lloyd's algorithm.

    An entry with N_k < t mean(N) is dead and is restarted by splitting an entry that is used: the entry of rank i by
    N_k from below takes over half the count of that of rank i from above, j, and is placed at e_j + s_j / n_j - e_j'
    (e_j' before the update): beside it, on the side where the batch's vectors nearest to it lie. Since it
    needs only the sums n and s, it draws nothing and does not depend on how a batch is divided among devices. If
    the counts have converged on one repeated batch, nothing lies beside an entry, and the two stay equal.

    Args:
      num_codes: K.
      dim: d.
      decay: g, from 0 to 1.
      restart: t, from 0, which restarts none, to below 1/2.

    Returns:
      A codebook with params {"entries": e [K, d], "count": N [K]}, at first N(0, 1) and 1.

    Source: van den Oord et al. 2017, appendix A.1; the split is that of Linde, Buzo & Gray 1980.
    """
    by_gradient = learned_codebook(num_codes, dim)

    def init(key: Key) -> Params:
        return by_gradient.init(key) | {"count": jnp.ones(num_codes)}

    def quantise(params: Params, z: Array) -> Quantised:
        found = by_gradient.quantise(jax.lax.stop_gradient(params), z)
        index, vectors = found.index.reshape(-1), jax.lax.stop_gradient(z).reshape(-1, dim)
        add = partial(jax.ops.segment_sum, segment_ids=index, num_segments=num_codes)
        statistics = {"count": add(jnp.ones(len(index), z.dtype)), "sum": add(vectors)}
        return found._replace(codebook_loss=jnp.zeros_like(found.commitment), statistics=statistics)

    def refresh(params: Params, statistics: Any) -> Params:
        old, num = params["entries"], statistics["count"]
        count = decay * params["count"] + (1 - decay) * num
        # of the batch's vectors from the entry: the sum, and the mean
        moved = statistics["sum"] - num[:, None] * old
        mean = moved / jnp.maximum(num, 1)[:, None]
        # m_k / N_k in the form that leaves an unused entry where it is, however small its count
        entries = old + (1 - decay) * moved / jnp.maximum(count, jnp.finfo(count.dtype).tiny)[:, None]
        order, half = jnp.argsort(-count), num_codes // 2
        parents, children = order[:half], order[::-1][:half]
        least = restart * jnp.mean(count)
        split = (count[children] < least) & (count[parents] > 2 * least) & (num[parents] > 0)
        shared = jnp.where(split, count[parents] / 2, count[children])
        count = count.at[parents].set(jnp.where(split, shared, count[parents])).at[children].set(shared)
        beside = jnp.where(split[:, None], entries[parents] + mean[parents], entries[children])
        return {"entries": entries.at[children].set(beside), "count": count}

    return by_gradient._replace(learned=False, init=init, quantise=quantise, refresh=refresh)


def residual_codebook(codebook: Codebook, num: int) -> Codebook:
    """Several codebooks of one kind, of which each quantises what those before it left.

        r_1 = z,   k_i = argmin_k ||r_i - e^i_k||,   r_{i+1} = r_i - sg(e^i_{k_i}),   v = sum_i e^i_{k_i}

    Its losses are the sums of those of all codebooks.

    Args:
      codebook: of one index per vector.
      num: R, of codebooks.

    Returns:
      A codebook of R indices per vector, with params {"codebook_1": ..., ..., "codebook_R": ...}.

    Raises:
      ValueError: a codebook of several indices per vector.

    Source: Zeghidour et al. 2021, algorithm 1.
    """
    if codebook.depth != 1:
        raise ValueError(f"residual quantisation takes a codebook of one index per vector, not of {codebook.depth}")
    names = [f"codebook_{i}" for i in range(1, num + 1)]

    def init(key: Key) -> Params:
        return {name: codebook.init(key) for name, key in zip(names, jax.random.split(key, num), strict=True)}

    def quantise(params: Params, z: Array) -> Quantised:
        residual, stages = z, []
        for name in names:
            stages.append(codebook.quantise(params[name], residual))
            residual = residual - jax.lax.stop_gradient(stages[-1].value)
        index = jnp.concatenate([stage.index for stage in stages], axis=-1)
        return Quantised(
            index,
            _straight_through(look_up(params, index), z),
            sum((stage.codebook_loss for stage in stages), start=jnp.zeros([], z.dtype)),
            sum((stage.commitment for stage in stages), start=jnp.zeros([], z.dtype)),
            {name: stage.statistics for name, stage in zip(names, stages, strict=True)},
        )

    def look_up(params: Params, index: Array) -> Array:
        values = [codebook.look_up(params[name], index[..., i : i + 1]) for i, name in enumerate(names)]
        return sum(values[1:], start=values[0])

    def refresh(params: Params, statistics: Any) -> Params:
        return {name: codebook.refresh(params[name], statistics[name]) for name in names}

    return Codebook(codebook.num_codes, num, codebook.dim, codebook.learned, init, quantise, look_up, refresh)


def scalar_codebook(levels: Sequence[int]) -> Codebook:
    """Finite scalar quantisation: each dimension is bounded and rounded, and the codebook is the grid of all values.

        s_j = round((L_j - 1) (tanh z_j + 1) / 2),   v_j = 2 s_j / (L_j - 1) - 1,   k = sum_j s_j L_1 ... L_{j-1}

    The derivative of v_j in z_j is that of tanh z_j. For odd L_j it is the paper's round(floor(L_j / 2) tanh z_j),
    scaled to [-1, 1]; even L_j have no value at 0.

    Args:
      levels: L_1, ..., L_d, 2 or more each.

    Returns:
      A codebook of K = L_1 ... L_d codes, without params and without losses.

    Raises:
      ValueError: a dimension of fewer than 2 levels.

    Source: Mentzer et al. 2024, section 3.1.
    """
    if not levels or min(levels) < 2:
        raise ValueError(f"finite scalar quantisation needs 2 or more levels in each dimension; got {tuple(levels)}")
    num = np.array(levels)
    strides = np.concatenate([[1], np.cumprod(num)[:-1]])

    def along(values: np.ndarray, like: Array, dtype: Any) -> Array:
        return jnp.asarray(values, dtype).reshape((1,) * (like.ndim - 1) + (-1,))

    def value_of(symbol: Array) -> Array:
        return symbol * along(2 / (num - 1), symbol, symbol.dtype) - 1

    def quantise(params: Params, z: Array) -> Quantised:
        del params
        bounded = jnp.tanh(z)
        symbol = jnp.round((jax.lax.stop_gradient(bounded) + 1) * along((num - 1) / 2, z, z.dtype))
        index = jnp.sum(symbol.astype(jnp.int32) * along(strides, z, jnp.int32), axis=-1, keepdims=True)
        nothing = jnp.zeros(z.shape[:-1], z.dtype)
        return Quantised(index, _straight_through(value_of(symbol), bounded), nothing, nothing, ())

    def look_up(params: Params, index: Array) -> Array:
        del params
        symbol = index // along(strides, index, jnp.int32) % along(num, index, jnp.int32)
        return value_of(symbol.astype(jnp.float32))

    return Codebook(math.prod(levels), 1, len(num), True, lambda key: (), quantise, look_up)
