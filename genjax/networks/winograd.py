"""Convolutions of stride 1 with fewer multiplications, by Winograd's minimal filtering (Lavin & Gray 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from genjax.networks.products import product
from genjax.types import Array

LEAST_CHANNELS = 16
"""With fewer channels or features the transformations cost more than the products."""

LEAST_SAVED: float = 2**25
"""With fewer multiplications saved, the transformations take more time to run and to compile than is saved."""


def pays(shape: Sequence[int], kernel_shape: Sequence[int]) -> bool:
    """Whether `winograd` is worth its compilation, for x [B, H, W, C] and a kernel [kh, kw, C, O].

    It is on a CPU, where the products take most of the time, and not on a GPU, where starting so many of them does. A
    batch of symbolic size is taken for a small one.
    """
    (batch, height, width, channels), (kh, kw, _, features) = shape, kernel_shape
    if (kh, kw) != (2, 2) or min(channels, features) < LEAST_CHANNELS or not isinstance(batch, int):
        return False
    outputs, tiles = (height - 1) * (width - 1), (height // 2) * (width // 2)
    saved = (4 * outputs - 9 * tiles) * batch * channels * features
    return saved >= LEAST_SAVED and jax.default_backend() == "cpu"


def winograd(x: Array, kernel: Array) -> Array:
    """The convolution of stride 1 without padding of a kernel of 2 x 2, with 9 products in the place of 16.

        y[b, i, j, o] = sum_{t, u, c} x[b, i + t, j + u, c] * kernel[t, u, c, o]

    Along one axis two outputs, d_0 g_0 + d_1 g_1 and d_1 g_0 + d_2 g_1, are m_0 + m_1 and m_1 - m_2 of three products,

        m_0 = (d_0 - d_1) g_0,   m_1 = d_1 (g_0 + g_1),   m_2 = (d_1 - d_2) g_1

    and along two axes four outputs are sums of nine products of matrices, one row for each tile of 2 x 2 outputs.

    Args:
      x: [B, H, W, C].
      kernel: [2, 2, C, O].

    Returns:
      [B, H - 1, W - 1, O].

    Source: Winograd 1980; Lavin & Gray 2016, section 4.1.
    """
    (batch, height, width, channels), features = x.shape, kernel.shape[-1]
    rows, columns = height // 2, width // 2  # of tiles
    tiles = [d for across in _inputs(x, 1, rows) for d in _inputs(across, 2, columns)]
    taps = [g for across in _kernels(*kernel) for g in _kernels(*across)]
    m = [product(d.reshape(-1, channels), g) for d, g in zip(tiles, taps, strict=True)]
    m = [each.reshape(batch, rows, columns, features) for each in m]
    across = [_outputs(*m[first : first + 3]) for first in (0, 3, 6)]  # of each three that share their rows
    upper_left, lower_left = _outputs(*(pair[0] for pair in across))
    upper_right, lower_right = _outputs(*(pair[1] for pair in across))
    upper, lower = jnp.stack([upper_left, upper_right], axis=3), jnp.stack([lower_left, lower_right], axis=3)
    y = jnp.stack([upper, lower], axis=2)  # [B, rows, 2, columns, 2, O]
    return y.reshape(batch, 2 * rows, 2 * columns, features)[:, : height - 1, : width - 1]


def _inputs(x: Array, axis: int, tiles: int) -> tuple[Array, Array, Array]:
    """d_0 - d_1, d_1 and d_1 - d_2 of each tile along an axis, whose pixels are joined in pairs to be read in order."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, 2 * tiles + 2 - x.shape[axis])
    pairs = jnp.pad(x, padding).reshape(*x.shape[:axis], tiles + 1, 2, *x.shape[axis + 1 :])
    first, second = (lax.index_in_dim(pairs, number, axis + 1, keepdims=False) for number in (0, 1))
    d_0, d_2 = (lax.slice_in_dim(first, start, start + tiles, axis=axis) for start in (0, 1))
    d_1 = lax.slice_in_dim(second, 0, tiles, axis=axis)
    return d_0 - d_1, d_1, d_1 - d_2


def _kernels(g_0: Array, g_1: Array) -> tuple[Array, Array, Array]:
    return g_0, g_0 + g_1, g_1


def _outputs(m_0: Array, m_1: Array, m_2: Array) -> tuple[Array, Array]:
    return m_0 + m_1, m_1 - m_2
