"""Masked networks: multilayer perceptrons each of whose outputs depends only on the inputs before it in an order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from genjax.networks.mlp import mlp
from genjax.types import Array, Network, Params

Degrees = tuple[np.ndarray, ...]  # of the inputs [D], and of the units of each hidden layer [n_l]


def mask_degrees(
    order: ArrayLike, hidden: Sequence[int], *, draw: np.random.RandomState | None = None, context: bool = False
) -> Degrees:
    """The degrees of the inputs and hidden units of a masked network, by which they are connected.

        m^0(d) = the place of input d in the order,   min_i m^{l-1}(i) <= m^l(k) <= D - 1

    Args:
      order: m^0, a permutation of 1, ..., D.
      hidden: widths n_1, ..., n_{L-1}.
      draw: draws the degrees of hidden units, uniformly; by default they are as equally frequent as can be.
      context: let some hidden units see no input, with a degree of 0, as the first output needs that depends on a
        context.

    Returns:
      Integers [D], [n_1], ..., [n_{L-1}].

    Raises:
      ValueError: an order that is not a permutation of 1, ..., D.

    Source: Germain, Gregor, Murray & Larochelle 2015, section 4.
    """
    places = np.asarray(order, np.int32)
    dim = places.size
    if sorted(places.ravel().tolist()) != list(range(1, dim + 1)):
        raise ValueError(f"an order is a permutation of 1, ..., {dim}; got {places.tolist()}")
    lowest, highest = 0 if context else 1, max(dim - 1, 1)
    degrees = [places.ravel()]
    for width in hidden:
        if draw is None:
            found = lowest + np.arange(width) % (highest - lowest + 1)
        else:
            least = degrees[-1].min() if len(degrees) > 1 else lowest
            found = draw.randint(least, highest + 1, width)
        degrees.append(found.astype(np.int32))
    return tuple(degrees)


def masked_mlp(
    masks: Sequence[Degrees], num_outputs: int, *, activation: Callable[[Array], Array], context_dim: int = 0
) -> Network:
    """A masked multilayer perceptron: the outputs of each input depend on the inputs before it in the order alone.

        h^l = act(h^{l-1} (W^l M^l) + b^l),   y = h^{L-1} (W^L M^L) + b^L,   with entries multiplied in W M,
        M^l_{ik} = 1[m^l(k) >= m^{l-1}(i)],   M^L_{kd} = 1[m^0(d) > m^{L-1}(k)]

    with samples in rows.

    Args:
      masks: the degrees m^l of K masks for one set of kernels, from `mask_degrees`.
      num_outputs: of each input, O.
      activation: act, of the hidden layers.
      context_dim: the size of the context c, which all units of the first layer see.

    Returns:
      A network with `apply(params, x, *context, mask=0)`: x [B, D] and context [B, c] -> [B, D, O] under the mask of
      that number, which may be traced. Its params are those of `mlp`.

    Source: Germain, Gregor, Murray & Larochelle 2015 (MADE), equations 6 to 9, and section 4 for several layers.
    """
    stacked = [np.stack(layer) for layer in zip(*masks, strict=True)]
    dim = stacked[0].shape[1]
    hidden = [layer.shape[1] for layer in stacked[1:]]
    init = mlp((dim + context_dim,), (dim, num_outputs), hidden=hidden, activation=activation).init

    def apply(params: Params, x: Array, *context: Array, mask: int | Array = 0) -> Array:
        degrees = [jnp.asarray(layer)[mask] for layer in stacked]
        h = jnp.concatenate([x, *context], axis=-1)
        seen = jnp.concatenate([degrees[0], jnp.zeros(context_dim, jnp.int32)])  # of the rows of a kernel
        for number, degree in enumerate(degrees[1:], start=1):
            connected = degree[None] >= seen[:, None]
            h, seen = activation(_dense(params[f"layer_{number}"], h, connected)), degree
        later = jnp.repeat(degrees[0], num_outputs)[None] > seen[:, None]
        return _dense(params[f"layer_{len(stacked)}"], h, later).reshape(x.shape[0], dim, num_outputs)

    return Network(init, apply)


def _dense(layer: Params, h: Array, connected: Array) -> Array:
    return h @ jnp.where(connected, layer["kernel"], 0) + layer["bias"][None]


def masked_mlp_sampler(
    masks: Sequence[Degrees], *, activation: Callable[[Array], Array]
) -> Callable[[Params, Callable[[Array, Array], Array], int | Array], Array]:
    """Ancestral sampling from a `masked_mlp` without a context: the inputs of one example in turn, in their order.

    Each input is added to the sums of the first layer when it is drawn, and only the outputs of the next input are
    computed, so that an example of a network with one hidden layer costs no more than one pass.

    Args:
      masks: as of the network.
      activation: as of the network.

    Returns:
      `sample(params, choose, mask)` -> x [D], where `choose(y, place)` gives an input from its outputs y [O] and from
      its place in the order, 0, ..., D - 1.

    Raises:
      ValueError: a network without a hidden layer.
    """
    stacked = [np.stack(layer) for layer in zip(*masks, strict=True)]
    if len(stacked) == 1:
        raise ValueError("sampling needs a network with at least one hidden layer")

    def sample(params: Params, choose: Callable[[Array, Array], Array], mask: int | Array) -> Array:
        degrees = [jnp.asarray(layer)[mask] for layer in stacked]
        dim, layers = degrees[0].size, [params[f"layer_{number}"] for number in range(1, len(stacked) + 1)]
        first, last = layers[0], layers[-1]
        kernel = last["kernel"].reshape(len(last["kernel"]), dim, -1)
        bias = last["bias"].reshape(dim, -1)
        inputs = jnp.argsort(degrees[0])  # by place

        def step(place: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
            x, received = carried  # inputs [D], and the first hidden layer before its activation [n_1]
            d = inputs[place]
            h = activation(received)
            for number, layer in enumerate(layers[1:-1], start=2):
                connected = degrees[number][None] >= degrees[number - 1][:, None]
                h = activation(_dense(layer, h[None], connected)[0])
            y = jnp.where(degrees[-1] < degrees[0][d], h, 0) @ kernel[:, d] + bias[d]
            chosen = choose(y, place)
            sent = jnp.where(degrees[1] >= degrees[0][d], first["kernel"][d], 0)
            return x.at[d].set(chosen), received + chosen * sent

        start = jnp.zeros(dim, first["bias"].dtype), first["bias"]
        return jax.lax.fori_loop(0, dim, step, start)[0]

    return sample
