"""Differentiable augmentation of images (Zhao et al. 2020): random transformations that gradients pass through.

Each factory returns a function (x [B, H, W, C], key) -> the same shape, with one draw for each image. For a fixed draw
it is affine in x, and of strength 0 it is the identity. What is moved in or cut out is `fill`, the middle of [0, 1] by
default: the paper's pixels are in [-1, 1], and its fill is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax.stochastic.corruption import Corruption
from genjax.types import Array, Key, Scalar


def translation(*, ratio: float = 0.125, fill: Scalar = 0.5) -> Corruption:
    """Moves each image by a whole number of pixels up or down, and by another to the left or right.

        y_ij = x_{i - s, j - t},   s in {-S, ..., S},   t in {-T, ..., T}

    or fill where the right side is outside the image. All s and t are equally likely; S and T are the given part of the
    height and of the width, rounded.

    Args:
      ratio: the largest shift, as a part of the height and of the width.
      fill: the value of pixels that are moved in.

    Returns:
      A function (x [B, H, W, C], key) -> translated x.

    Source: Zhao et al. 2020, section 3.3 and its code.
    """

    def corruption(x: Array, key: Key) -> Array:
        rows, columns = (
            _shift(x.shape[0], size, ratio, each, x.dtype)
            for size, each in zip(x.shape[1:3], jax.random.split(key), strict=True)
        )
        # products with a single 1 in each row and column are exact, and so are those of their gradients
        moved = jnp.einsum("bij,bjwc->biwc", rows, x, precision="highest")
        moved = jnp.einsum("bij,bhjc->bhic", columns, moved, precision="highest")
        inside = jnp.any(rows, axis=2)[:, :, None] & jnp.any(columns, axis=2)[:, None, :]
        return jnp.where(inside[..., None], moved, fill)

    return corruption


def cutout(*, ratio: float = 0.5, fill: Scalar = 0.5) -> Corruption:
    """Replaces the pixels of a rectangle by one value.

    The rectangle's sides are the given part of the height and of the width, rounded. Its middle is anywhere in the
    image with equal probability, on a pixel where a side is odd and on an edge between two, or of the image, where it
    is even. So part of the rectangle may be outside.

    Args:
      ratio: the sides of the rectangle, as parts of the height and of the width.
      fill: the value of the rectangle.

    Returns:
      A function (x [B, H, W, C], key) -> x with a hole.

    Source: Zhao et al. 2020, section 3.3 and its code; DeVries & Taylor 2017.
    """

    def corruption(x: Array, key: Key) -> Array:
        rows, columns = (
            _interval(x.shape[0], size, ratio, each)
            for size, each in zip(x.shape[1:3], jax.random.split(key), strict=True)
        )
        return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], fill, x)

    return corruption


def colour_jitter(*, brightness: Scalar = 0.25, saturation: Scalar = 1.0, contrast: Scalar = 0.5) -> Corruption:
    """Changes the brightness of each image, then its saturation, then its contrast.

        u = x + b,   v = m + (1 + s) (u - m),   y = n + (1 + c) (v - n)

    where m is the mean of u over the channels of a pixel, n that of v over the image, and b, s and c are uniform on
    [-brightness, brightness], [-saturation, saturation] and [-contrast, contrast]. Pixels are not clipped, so that
    their gradients stay.

    Args:
      brightness: in units of x; the paper's 1/2 is of pixels in [-1, 1].
      saturation, contrast: in [0, 1], as parts of the deviations from the mean.

    Returns:
      A function (x [B, H, W, C], key) -> recoloured x.

    Source: Zhao et al. 2020, section 3.3 and its code.
    """

    def corruption(x: Array, key: Key) -> Array:
        b, s, c = jax.random.uniform(key, (3, len(x), 1, 1, 1), x.dtype, -1)
        x = x + brightness * b
        x = x + saturation * s * (x - jnp.mean(x, axis=3, keepdims=True))
        return x + contrast * c * (x - jnp.mean(x, axis=(1, 2, 3), keepdims=True))

    return corruption


def in_turn(*corruptions: Corruption) -> Corruption:
    """Applies corruptions one after the other, each with a key of its own: (x [...], key) -> the same shape."""

    def corruption(x: Array, key: Key) -> Array:
        for each, its_key in zip(corruptions, jax.random.split(key, len(corruptions)), strict=True):
            x = each(x, its_key)
        return x

    return corruption


def at_random(*corruptions: Corruption) -> Callable[[Array, Key, Scalar], Array]:
    """Applies each of the corruptions with a probability, one after the other and independently for each example.

        x <- T_j(x) with probability p, otherwise x,   j = 1, 2, ...

    Returns:
      A function (x [B, ...], key, p) -> the same shape.

    Source: Karras et al. 2020, section 2.2.
    """

    def corruption(x: Array, key: Key, probability: Scalar) -> Array:
        for each, its_key in zip(corruptions, jax.random.split(key, len(corruptions)), strict=True):
            draw_key, key_of_whether = jax.random.split(its_key)
            chosen = jax.random.bernoulli(key_of_whether, probability, (len(x), *(1,) * (x.ndim - 1)))
            x = jnp.where(chosen, each(x, draw_key), x)
        return x

    return corruption


def _shift(num: int, size: int, ratio: float, key: Key, dtype: Any) -> Array:
    """Random shifts along an axis as matrices, [num, size, size]: a 1 in row i and column i - s."""
    largest = int(ratio * size + 0.5)
    shift = jax.random.randint(key, (num, 1), -largest, largest + 1)
    return jax.nn.one_hot(jnp.arange(size)[None] - shift, size, dtype=dtype)


def _interval(num: int, size: int, ratio: float, key: Key) -> Array:
    """Random intervals of an axis, as far as they are not beyond its ends: [num, size] bool."""
    length = int(ratio * size + 0.5)
    start = jax.random.randint(key, (num, 1), 0, size + 1 - length % 2) - length // 2
    place = jnp.arange(size)[None]
    return (start <= place) & (place < start + length)
