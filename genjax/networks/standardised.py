"""Networks of standardised data in the units of the data: shift and scale are params that no gradient moves.

    encoder'(x) = encoder((x - shift) / scale),   decoder'(z) = scale decoder(z) + shift

The params of both are {"network", "standard": {"shift" [...], "scale" []}}, with a shift of 0 and a scale of 1 until
`with_standard` replaces them; `gradients.frozen(optimizer, "standard")` keeps them. Because the scale is one number,
the directions of a linear decoder's atoms, and the shares of the variance, are those of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from genjax.networks.sparse_units import SparseCode, SparseEncoder
from genjax.types import Array, Key, Network, Params

STANDARD = "standard"
"""The name of shift and scale among the params."""
_ROWS = 4096  # that are in memory as float64 at a time


class Standard(NamedTuple):
    """The mean of examples, and one scale for all of their values."""

    shift: np.ndarray  # [...], of one example
    scale: float  # > 0


def fit_standard(x: Any, *, divisor: float = 1.0) -> Standard:
    """The mean of examples, and the root of the mean square of all centred values.

        shift = mean_n x_n,   scale^2 = mean_nd (x_nd - shift_d)^2

    Standardised examples of D values have a mean square norm of D.

    Args:
      x: [N, ...], read a part at a time, so that it may be mapped from a file.
      divisor: divides the values first.

    Raises:
      ValueError: all examples are equal.
    """

    from sklearn.preprocessing import StandardScaler

    shape = x.shape[1:]
    scaler: Any = StandardScaler()
    for start in range(0, len(x), _ROWS):
        scaler.partial_fit(np.asarray(x[start : start + _ROWS], np.float64).reshape(-1, int(np.prod(shape))) / divisor)
    scale = float(np.sqrt(np.mean(scaler.var_)))
    if not scale > 0:
        raise ValueError("all examples are equal, so that they have no scale")
    return Standard(np.reshape(scaler.mean_, shape), scale)


def standardise(standard: Params, x: Array) -> Array:
    """(x - shift) / scale, [B, ...], of params {"shift", "scale"}."""
    return (x - standard["shift"][None]) * jnp.reciprocal(standard["scale"])


def restore(standard: Params, x: Array) -> Array:
    """The inverse of `standardise`, up to rounding: scale x + shift, [B, ...]."""
    return x * standard["scale"] + standard["shift"][None]


def standardised_encoder(encoder: SparseEncoder, shape: Sequence[int]) -> SparseEncoder:
    """The sparse encoder of standardised examples as one of examples x [B, *shape]."""

    def apply(params: Params, x: Array) -> Array:
        return encoder.apply(params["network"], standardise(params[STANDARD], x))

    def train(params: Params, x: Array) -> SparseCode:
        return encoder.train(params["network"], standardise(params[STANDARD], x))

    def refresh(params: Params, statistics: Any) -> Params:
        return params | {"network": encoder.refresh(params["network"], statistics)}

    def init(key: Key) -> Params:
        return {"network": encoder.init(key), STANDARD: _identity(shape)}

    return SparseEncoder(init, apply, train, refresh, (*encoder.frozen, STANDARD))


def restored_output(decoder: Network, shape: Sequence[int]) -> Network:
    """The decoder of standardised examples as one whose output [B, *shape] has the units of the data."""

    def apply(params: Params, z: Array, *context: Array) -> Array:
        return restore(params[STANDARD], decoder.apply(params["network"], z, *context))

    return Network(lambda key: {"network": decoder.init(key), STANDARD: _identity(shape)}, apply)


def with_standard(params: Params, standard: Standard) -> Params:
    """The params {"encoder", "decoder", ...} with this shift and scale in both networks."""
    own = {"shift": jnp.asarray(standard.shift, jnp.float32), "scale": jnp.asarray(standard.scale, jnp.float32)}
    return params | {name: params[name] | {STANDARD: own} for name in ("encoder", "decoder")}


def _identity(shape: Sequence[int]) -> Params:
    return {"shift": jnp.zeros(tuple(shape)), "scale": jnp.ones([])}
