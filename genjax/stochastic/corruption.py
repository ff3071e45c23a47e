"""Corruptions for denoising: each factory returns a function (x, key) -> x, which corrupts every entry independently.

Noise may move an image out of [0, 1], which is right for additive noise; `clip` moves it back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.stochastic.quantiles import inverse_transform, open_uniform, rayleigh_quantile
from genjax.types import Array, Key, Scalar

Corruption = Callable[[Array, Key], Array]  # x, key -> corrupted x, of the same shape and dtype


def gaussian_noise(*, scale: Scalar, clip: bool = False) -> Corruption:
    """Additive Gaussian noise.

        x + scale * eps,   eps ~ N(0, I)

    Args:
      scale: standard deviation, in units of x.
      clip: whether the result is clipped to [0, 1].

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.

    Source: Vincent et al. 2010.
    """

    def corruption(x: Array, key: Key) -> Array:
        noisy = x + scale * jax.random.normal(key, x.shape, x.dtype)
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return corruption


def rayleigh_noise(*, scale: Scalar, clip: bool = False) -> Corruption:
    """Additive Rayleigh noise; it is never negative, so it brightens by scale * sqrt(pi / 2) on average.

        x + r,   r ~ Rayleigh(scale)

    Args:
      scale: of the Rayleigh distribution, in units of x.
      clip: whether the result is clipped to [0, 1].

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.
    """

    def corruption(x: Array, key: Key) -> Array:
        noisy = x + scale * _rayleigh(x, key)
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return corruption


def centred_rayleigh_noise(*, scale: Scalar, clip: bool = False) -> Corruption:
    """Additive Rayleigh noise less its mean, so that the mean brightness does not change.

        x + r - scale * sqrt(pi / 2),   r ~ Rayleigh(scale)

    Args:
      scale: of the Rayleigh distribution, in units of x.
      clip: whether the result is clipped to [0, 1].

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.
    """

    def corruption(x: Array, key: Key) -> Array:
        noisy = x + scale * (_rayleigh(x, key) - math.sqrt(math.pi / 2))
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return corruption


def rayleigh_speckle(*, clip: bool = False) -> Corruption:
    """Multiplicative Rayleigh noise of mean one, as in coherent imaging.

        x * r / E[r],   r ~ Rayleigh

    The scale of r cancels: the standard deviation of the factor is always sqrt(4 / pi - 1) = 0.5227.

    Args:
      clip: whether the result is clipped to [0, 1].

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.
    """

    def corruption(x: Array, key: Key) -> Array:
        noisy = x * _rayleigh(x, key) / math.sqrt(math.pi / 2)
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return corruption


def salt_and_pepper_noise(*, probability: Scalar) -> Corruption:
    """Replacement of single entries by black or white.

        0 with probability p / 2,   1 with probability p / 2,   x otherwise

    Args:
      probability: p.

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.

    Source: Vincent et al. 2010.
    """

    def corruption(x: Array, key: Key) -> Array:
        u = open_uniform(x.shape, key, dtype=x.dtype)
        return jnp.where(u < probability / 2, 0, jnp.where(u < probability, 1, x))

    return corruption


def masking_noise(*, probability: Scalar) -> Corruption:
    """Replacement of single entries by 0.

        0 with probability p,   x otherwise

    Args:
      probability: p.

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.

    Source: Vincent et al. 2008.
    """

    def corruption(x: Array, key: Key) -> Array:
        return jnp.where(open_uniform(x.shape, key, dtype=x.dtype) < probability, 0, x)

    return corruption


def _rayleigh(x: Array, key: Key) -> Array:
    """Rayleigh draws of scale 1, in the shape and precision of x."""
    return inverse_transform(rayleigh_quantile, x.shape, key, dtype=x.dtype)
