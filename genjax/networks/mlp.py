"""The multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.errors import BadInput
from genjax.networks.linen import from_linen
from genjax.networks.normalised import batch_normalised
from genjax.types import Array, Network


def gated_linear_units(u: Array) -> Array:
    """An activation that lets one half of a layer's units gate the other half.

        act(u) = a * sigmoid(g),   u = [a, g]

    A layer of width n has n / 2 gated units.

    Args:
      u: [..., n], before the activation; n is even.

    Returns:
      [..., n / 2].

    Raises:
      BadInput: n is odd.

    Source: Dauphin et al. 2017, equation 1.
    """
    if u.shape[-1] % 2:
        raise BadInput(f"glu needs layers of an even width; got {u.shape[-1]}", parameter="activation")
    return jax.nn.glu(u)


ELEMENTWISE_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
}
"""Activations by name that keep the width of a layer, for networks that depend on it."""

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {**ELEMENTWISE_ACTIVATIONS, "glu": gated_linear_units}
"""Activations of hidden layers by name, for flags."""


class MLP(nn.Module):
    """Dense layers, x [B, ...] -> [B, *output_shape]."""

    output_shape: tuple[int, ...]
    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    output_activation: Callable[[Array], Array] | None
    with_features: bool = False
    batch_norm: bool = False  # in all hidden layers but the first

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Any:
        h = x.reshape(x.shape[0], -1)
        for depth, width in enumerate(self.hidden, start=1):
            normalised = self.batch_norm and depth > 1
            h = nn.Dense(width, use_bias=not normalised, name=f"layer_{depth}")(h)
            h = self.activation(batch_normalised(h, f"norm_{depth}", train=train) if normalised else h)
        y = nn.Dense(math.prod(self.output_shape), name=f"layer_{len(self.hidden) + 1}")(h)
        y = y if self.output_activation is None else self.output_activation(y)
        y = y.reshape(x.shape[0], *self.output_shape)
        return (h, y) if self.with_features else y


def mlp(
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    *,
    hidden: Sequence[int],
    activation: Callable[[Array], Array],
    output_activation: Callable[[Array], Array] | None = None,
    with_features: bool = False,
) -> Network:
    """A multilayer perceptron.

        h^0 = x,   h^l = act(h^{l-1} W^l + b^l),   y = act_out(h^{L-1} W^L + b^L)

    with samples in rows. `hidden=()` is a single layer, and with one output a single neuron (Rosenblatt 1958); see
    `affine` for a linear one.

    Args:
      input_shape: of one example; flattened in row-major order.
      output_shape: of one output.
      hidden: widths n_1, ..., n_{L-1}.
      activation: act, of the hidden layers; `gated_linear_units` halves their widths.
      output_activation: act_out; None for the identity, as for logits.
      with_features: return (h^{L-1} [B, n_{L-1}], y) instead of y; without hidden layers, h^0 is x, flattened.

    Returns:
      A network x [B, *input_shape] -> y [B, *output_shape]; its params are
      {"layer_l": {"kernel": W^l [n_{l-1}, n_l], "bias": b^l [n_l]}}, l = 1..L.

    Source: Rumelhart, Hinton & Williams 1986.
    """
    module = MLP(tuple(output_shape), tuple(hidden), activation, output_activation, with_features)
    return from_linen(module, tuple(input_shape))


def affine(input_shape: Sequence[int], output_shape: Sequence[int]) -> Network:
    """An affine map, x [B, *input_shape] -> y [B, *output_shape].

        y = x W + b

    with samples in rows: an `mlp` without hidden layers, with params {"layer_1": {"kernel": W, "bias": b}}. An encoder
    and a decoder of this kind are a linear autoencoder.
    """
    return from_linen(MLP(tuple(output_shape), (), jax.nn.relu, None), tuple(input_shape))
