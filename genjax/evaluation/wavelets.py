"""Denoising by wavelets: the Haar transform, and soft thresholds from the statistics of its coefficients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from genjax.shapes import as_float, check_rank
from genjax.types import Array

_HADAMARD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2  # symmetric and orthogonal


def haar(x: Array) -> Array:
    """One level of the orthonormal Haar transform of images.

    Each block of 2 x 2 pixels (a b; c d) becomes

        (a + b + c + d) / 2,   (a - b + c - d) / 2,   (a + b - c - d) / 2,   (a - b - c + d) / 2

    Args:
      x: [B, H, W, C], H and W even.

    Returns:
      The approximation and the horizontal, vertical and diagonal details, [4, B, H / 2, W / 2, C].

    Raises:
      ValueError: no images, or odd sides.

    Source: Mallat 2009, section 7.7.
    """
    check_rank(4, x=x)
    num, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise ValueError(f"x must have even sides; its shape is {x.shape}")
    blocks = as_float(x).reshape(num, height // 2, 2, width // 2, 2, channels)
    pixels = jnp.moveaxis(blocks, (2, 4), (0, 1)).reshape(4, num, height // 2, width // 2, channels)
    return _mixed(pixels)


def inverse_haar(bands: Array) -> Array:
    """Inverse of `haar`.

    Args:
      bands: [4, B, H / 2, W / 2, C].

    Returns:
      x, [B, H, W, C].
    """
    _, num, height, width, channels = bands.shape
    blocks = _mixed(bands).reshape(2, 2, num, height, width, channels)
    return jnp.moveaxis(blocks, (0, 1), (2, 4)).reshape(num, 2 * height, 2 * width, channels)


def _mixed(pixels: Array) -> Array:
    return jnp.einsum("ij,jbhwc->ibhwc", _HADAMARD.astype(pixels.dtype), pixels, precision="highest")


def bayes_shrink(x: Array, *, num_levels: int | None = None) -> Array:
    """Denoises images by soft thresholds of their Haar coefficients, with no training data.

        T = s^2 / s_x,   s_x^2 = max(mean y^2 - s^2, 0),   y' = sign(y) max(|y| - T, 0)

    for the coefficients y of each band of details, of each image and channel. T is nearly the threshold of least risk
    if the clean coefficients are generalised Gaussian; a band without any signal, s_x = 0, is set to 0. The noise is
    estimated from the finest diagonal details: s = median |y| / 0.6745, the median of |N(0, 1)|.

    Args:
      x: [B, H, W, C]; sides that cannot be halved often enough are extended by their mirror image.
      num_levels: of the transform; by default as many as leave bands of 4 x 4 or more, at least one.

    Returns:
      [B, H, W, C].

    Raises:
      ValueError: no images, or fewer than one level.

    Source: Chang, Yu & Vetterli 2000; Donoho & Johnstone 1994 for the estimate of the noise.
    """
    check_rank(4, x=x)
    height, width = x.shape[1:3]
    if num_levels is None:
        num_levels = max(1, (min(height, width) // 4).bit_length() - 1)
    if num_levels < 1:
        raise ValueError(f"num_levels must be at least 1; got {num_levels}")
    whole = 2**num_levels
    padded = jnp.pad(as_float(x), ((0, 0), (0, -height % whole), (0, -width % whole), (0, 0)), mode="symmetric")
    diagonal = jnp.abs(haar(padded)[3])
    noise = jnp.median(diagonal, axis=(1, 2), keepdims=True) / jax.scipy.special.ndtri(0.75)
    return _shrunk(padded, jnp.square(noise), num_levels)[:, :height, :width]


def _shrunk(x: Array, variance: Array, num_levels: int) -> Array:
    if num_levels == 0:
        return x
    low, *details = haar(x)
    low = _shrunk(low, variance, num_levels - 1)
    return inverse_haar(jnp.stack([low, *(_soft(y, bayes_threshold(y, variance)) for y in details)]))


def bayes_threshold(y: Array, variance: Array) -> Array:
    """The threshold of `bayes_shrink`.

        T = s^2 / sqrt(max(mean y^2 - s^2, 0))

    Args:
      y: one band, [B, H, W, C].
      variance: s^2 of the noise, [B, 1, 1, C].

    Returns:
      [B, 1, 1, C], >= 0; infinite where there is no more than noise.
    """
    signal = jnp.mean(jnp.square(y), axis=(1, 2), keepdims=True) - variance
    return jnp.where(signal > 0, variance / jnp.sqrt(jnp.where(signal > 0, signal, 1)), jnp.inf)


def _soft(y: Array, threshold: Array) -> Array:
    return jnp.sign(y) * jnp.maximum(jnp.abs(y) - threshold, 0)
