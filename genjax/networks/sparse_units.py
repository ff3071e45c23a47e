"""Encoders of sparse autoencoders: a network's outputs become a sparse code, by thresholds that may be learned."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.networks.sparsity import k_sparse
from genjax.types import Array, Key, Network, Params

FEW = 32
"""If one unit in so many is active, or fewer, sums over these are quicker than products with all, on a CPU."""


class Active(NamedTuple):
    """The units of a batch that may be active, as many in each example; all others are 0."""

    values: Array  # [B, K]
    places: Array  # [B, K], distinct in each row


class SparseCode(NamedTuple):
    """A batch of codes in training, and what an objective needs to know of them."""

    z: Array  # [B, d], >= 0
    preactivation: Array  # a [B, d]
    penalty: dict[str, Array]  # one term of sparsity by its name, [B], >= 0; none where sparsity is fixed
    gate: Array | None = None  # [B, d]: a second code, whose reconstruction by a fixed decoder is to be good too
    statistics: Any = ()  # sums over the batch, for `refresh`
    active: Active | None = None  # z again, where so few units are active that a decoder should not read them all


class SparseEncoder(NamedTuple):
    """An encoder with a sparse code, which may differ between training and evaluation."""

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array], Array]  # x [B, ...] -> z [B, d], in evaluation
    train: Callable[[Params, Array], SparseCode]  # x [B, ...] -> codes
    refresh: Callable[[Params, Any], Params]  # params, statistics -> params
    frozen: tuple[str, ...] = ()  # names of the params that no gradient moves


def l1_units(network: Network, penalty: Callable[[Array], Array]) -> SparseEncoder:
    """Rectified units with a penalty on their size.

        z = relu(a)

    Args:
      network: x [B, ...] -> a [B, d].
      penalty: z [B, d] -> [B], as `losses.code_l1`.
    """
    return _fixed(network, jax.nn.relu, lambda z: {"code_l1": penalty(z)})


def top_k_units(network: Network, *, k: int) -> SparseEncoder:
    """The k largest rectified units of each example.

        z = k_sparse(relu(a))

    Args:
      network: x [B, ...] -> a [B, d].
      k: from 1 to d.

    Source: Makhzani & Frey 2014; Gao et al. 2024, section 2.3.
    """
    units = _fixed(network, lambda a: k_sparse(jax.nn.relu(a), k=k), lambda z: {})

    def train(params: Params, x: Array) -> SparseCode:
        a = network.apply(params, x)
        few = 1 <= k <= a.shape[1] // FEW
        if not few or jax.default_backend() != "cpu":  # elsewhere, sums by places have not been measured
            return units.train(params, x)
        active = Active(*jax.lax.top_k(jax.nn.relu(a), k))
        z = jnp.zeros_like(a).at[jnp.arange(len(a))[:, None], active.places].set(active.values)
        return SparseCode(z, a, {}, active=active)

    return units._replace(train=train)


def _fixed(
    network: Network, code: Callable[[Array], Array], penalty: Callable[[Array], dict[str, Array]]
) -> SparseEncoder:
    """Units without parameters, which are the same in training and evaluation."""

    def train(params: Params, x: Array) -> SparseCode:
        a = network.apply(params, x)
        z = code(a)
        return SparseCode(z, a, penalty(z))

    return SparseEncoder(
        network.init, lambda params, x: code(network.apply(params, x)), train, lambda params, _: params
    )


def batch_top_k(z: Array, *, k: int) -> Array:
    """Keeps the B k largest entries of a batch, so that examples may have codes of different sizes.

    Args:
      z: [B, d].
      k: from 1 to d, the mean number of entries kept in each row.

    Returns:
      [B, d].

    Raises:
      ValueError: k outside 1, ..., d.

    Source: Bussmann, Leask & Nanda 2024, equation 4.
    """
    if not 1 <= k <= z.shape[-1]:
        raise ValueError(f"k must lie between 1 and the code's {z.shape[-1]} units; got {k}")
    return k_sparse(z.reshape(-1), k=k * z.shape[0]).reshape(z.shape)


def batch_top_k_units(network: Network, *, k: int, decay: float = 0.99) -> SparseEncoder:
    """The B k largest rectified units of a batch; in evaluation, those above a threshold.

        z = batch_top_k(relu(a)) in training,   z = a 1[a > theta] in evaluation,
        theta: moving average of the smallest positive entry of z over the batches

    The params are {"network", "threshold", "num_batches"}. With shards, the B k largest are those of a shard.

    Args:
      network: x [B, ...] -> a [B, d].
      k: the mean number of active units.
      decay: of the moving average, which is a plain mean of the first batches.

    Source: Bussmann, Leask & Nanda 2024, equations 4 to 6.
    """

    def init(key: Key) -> Params:
        return {"network": network.init(key), "threshold": jnp.zeros([]), "num_batches": jnp.zeros([])}

    def apply(params: Params, x: Array) -> Array:
        a = network.apply(params["network"], x)
        return jnp.where(a > jnp.maximum(params["threshold"], 0), a, 0)

    def train(params: Params, x: Array) -> SparseCode:
        a = network.apply(params["network"], x)
        z = batch_top_k(jax.nn.relu(a), k=k)
        smallest = jnp.min(z, initial=jnp.inf, where=z > 0)
        found = {"smallest": jnp.where(jnp.isinf(smallest), 0, smallest), "num": jnp.ones([])}
        return SparseCode(z, a, {}, statistics=jax.lax.stop_gradient(found))

    def refresh(params: Params, statistics: Any) -> Params:
        num = params["num_batches"] + 1
        weight = jnp.maximum(1 - decay, 1 / num)
        new = statistics["smallest"] / statistics["num"]
        threshold = params["threshold"] + weight * (new - params["threshold"])
        return params | {"threshold": threshold.astype(params["threshold"].dtype), "num_batches": num}

    return SparseEncoder(init, apply, train, refresh, ("threshold", "num_batches"))


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def jump_relu(a: Array, threshold: Array, bandwidth: float) -> Array:
    """Sets entries that do not exceed their threshold to zero, with a pseudo-derivative in the threshold.

        z = a 1[a > theta],   dz/da = 1[a > theta],   dz/dtheta := -(theta / epsilon) 1[|a - theta| < epsilon / 2]

    The mean of the last over a smooth density of a approximates the derivative of the mean, which has no derivative
    entry by entry; the error falls with the bandwidth epsilon, and the variance grows.

    Args:
      a: [..., d].
      threshold: theta [..., d] > 0, of as many axes.
      bandwidth: epsilon > 0.

    Source: Rajamanoharan et al. 2024 (JumpReLU), equations 6 and 11.
    """
    del bandwidth
    return jnp.where(a > threshold, a, 0)


@jump_relu.defjvp
def _jump_relu_jvp(bandwidth: float, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (a, threshold), (da, dthreshold) = primals, tangents
    slope = -threshold * _rectangle(a, threshold, bandwidth)
    return jump_relu(a, threshold, bandwidth), jnp.where(a > threshold, da, 0) + slope * dthreshold


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def step_above(a: Array, threshold: Array, bandwidth: float) -> Array:
    """Whether entries exceed their threshold, with a pseudo-derivative in the threshold.

        H = 1[a > theta],   dH/da := 0,   dH/dtheta := -(1 / epsilon) 1[|a - theta| < epsilon / 2]

    Its sum over the units is the number of active ones, L0.

    Args:
      a: [..., d].
      threshold: theta [..., d], of as many axes.
      bandwidth: epsilon > 0.

    Source: Rajamanoharan et al. 2024 (JumpReLU), equation 12.
    """
    del bandwidth
    return (a > threshold).astype(a.dtype)


@step_above.defjvp
def _step_above_jvp(bandwidth: float, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (a, threshold), (_, dthreshold) = primals, tangents
    return step_above(a, threshold, bandwidth), -_rectangle(a, threshold, bandwidth) * dthreshold


def _rectangle(a: Array, threshold: Array, bandwidth: float) -> Array:
    """The kernel (1 / epsilon) 1[|a - theta| < epsilon / 2]."""
    return (jnp.abs(a - threshold) < bandwidth / 2).astype(a.dtype) / bandwidth


def jump_relu_units(
    network: Network, num_units: int, *, bandwidth: float = 0.001, initial_threshold: float = 0.001
) -> SparseEncoder:
    """Units with learned thresholds, and a penalty on the number of active ones.

        z = a 1[a > theta],   penalty "l0" = sum_j 1[a_j > theta_j],   theta = e^t

    The params are {"network", "log_threshold"}, the latter t. The scale of a matters, as the bandwidth is fixed: data
    should have a variance near 1.

    Args:
      network: x [B, ...] -> a [B, d].
      num_units: d.
      bandwidth: epsilon of `jump_relu`.
      initial_threshold: theta at the start, > 0.

    Source: Rajamanoharan et al. 2024 (JumpReLU), equations 5 and 9.
    """

    def init(key: Key) -> Params:
        return {
            "network": network.init(key),
            "log_threshold": jnp.full(num_units, jnp.log(initial_threshold), jnp.float32),
        }

    def train(params: Params, x: Array) -> SparseCode:
        a = network.apply(params["network"], x)
        threshold = jnp.broadcast_to(jnp.exp(params["log_threshold"])[None], a.shape)
        l0 = jnp.sum(step_above(a, threshold, bandwidth), axis=1)
        return SparseCode(jump_relu(a, threshold, bandwidth), a, {"l0": l0})

    return SparseEncoder(init, lambda params, x: train(params, x).z, train, lambda params, _: params)


def gated_units(network: Network, num_units: int) -> SparseEncoder:
    """Units whose gate and size have biases of their own, so that a penalty on the gate does not shrink the size.

        g = a + b_g,   z = 1[g > 0] relu(e^r a + b_m),   penalty "gate_l1" = sum_j relu(g_j)

    The gate learns from its penalty and from the reconstruction of relu(g) by the decoder, which that term does not
    move (`SparseCode.gate`). The params are {"network", "gate_bias", "log_scale", "size_bias"}.

    Args:
      network: x [B, ...] -> a [B, d].
      num_units: d.

    Source: Rajamanoharan et al. 2024 (gated), equations 6 to 8.
    """

    def init(key: Key) -> Params:
        names = ("gate_bias", "log_scale", "size_bias")
        return {"network": network.init(key)} | {name: jnp.zeros(num_units) for name in names}

    def train(params: Params, x: Array) -> SparseCode:
        a = network.apply(params["network"], x)
        gate = a + params["gate_bias"][None]
        size = jax.nn.relu(a * jnp.exp(params["log_scale"])[None] + params["size_bias"][None])
        open_gate = jax.nn.relu(gate)
        return SparseCode(jnp.where(gate > 0, size, 0), gate, {"gate_l1": jnp.sum(open_gate, axis=1)}, open_gate)

    return SparseEncoder(init, lambda params, x: train(params, x).z, train, lambda params, _: params)
