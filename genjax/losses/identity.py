"""Losses of an identity swap: the margin that trains the identity encoder, and the terms that judge a swapped face."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genjax.losses.classification import check_labels
from genjax.losses.reconstruction import sum_features
from genjax.shapes import as_float, check_same_shape
from genjax.types import Array, Scalar

Maps = Sequence[Array]  # hidden maps of one discriminator, [B, h, w, C] each, the first layer's first


def arcface_logits(cosine: Array, label: Array, *, scale: float, margin: Scalar) -> Array:
    """Logits of classes on a sphere, with an angular margin for the true class that makes classes compact.

        a_j = s cos(theta_j) for j != y,   a_y = s cos(theta_y + m)

    With softmax cross-entropy this is ArcFace. Beyond theta_y = pi - m, where cos(theta_y + m) would rise again, a_y
    is s (cos theta_y - m sin m).

    Args:
      cosine: cos theta_j between the example's unit vector and that of each class, [B, C] in [-1, 1].
      label: y, [B] integers.
      scale: s, the units of the logits.
      margin: m, in radians, in [0, pi); with 0 the logits are s cos theta_j.

    Returns:
      Logits, [B, C], within s (1 + m sin m) of 0.

    Raises:
      ValueError: shapes that do not fit, or labels that are not integers.

    Source: Deng et al. 2019, equation 3; the line beyond pi - m is from the authors' code.
    """
    check_labels(cosine, label)
    cosine = as_float(cosine)
    sine = jnp.sqrt(jnp.maximum(1 - jnp.square(cosine), 1e-8))  # the square root has an infinite derivative at 0
    moved = cosine * jnp.cos(margin) - sine * jnp.sin(margin)
    moved = jnp.where(cosine > jnp.cos(math.pi - margin), moved, cosine - margin * jnp.sin(margin))
    own = jax.nn.one_hot(label, cosine.shape[1], dtype=bool)
    return scale * jnp.where(own, moved, cosine)


def identity_loss(v: Array, wanted: Array) -> Array:
    """Distance between the directions of an identity vector and the wanted one.

        l(v, v_S) = 1 - cos(v, v_S)

    For unit vectors it is half the squared distance, ||v - v_S||^2 / 2.

    Args:
      v: identity vector of the swapped face, [B, m], of any length but 0.
      wanted: v_S, that of the source, the same shape.

    Returns:
      [B], in [0, 2].

    Raises:
      ValueError: shapes that differ.

    Source: Chen et al. 2020, section 3.3.
    """
    check_same_shape(v=v, wanted=wanted)
    return optax.losses.cosine_distance(as_float(v), as_float(wanted), epsilon=1e-8)


def mean_absolute_error(prediction: Array, target: Array) -> Array:
    """Mean absolute difference between prediction and target.

        l(x, x') = 1/D sum_j |x_j - x'_j|

    Args:
      prediction: x', [B, ...].
      target: x, the same shape.

    Returns:
      [B], >= 0, in units of the data.

    Raises:
      ValueError: shapes that differ.
    """
    check_same_shape(prediction=prediction, target=target)
    return sum_features(jnp.abs(as_float(prediction) - as_float(target))) / math.prod(prediction.shape[1:])


def feature_matching(maps: Sequence[Maps], wanted: Sequence[Maps], *, last: int | None = None) -> Array:
    """Distance between a discriminator's hidden maps of two images, over its scales and layers.

        L = sum_s sum_{i > M - n} 1/N_i ||D_s^(i)(x) - sg D_s^(i)(x')||_1

    where N_i is the number of values of a map, and sg stops the gradient. Of all M layers it is pix2pixHD's feature
    matching; of the last n it is SimSwap's weak feature matching, which leaves colours and textures free.

    Args:
      maps: of x: for each scale s the maps D_s^(1), ..., D_s^(M), each [B, ...].
      wanted: of x', the same shapes.
      last: n, how many of the last maps of each scale are matched, from 0 to M; None for all of them.

    Returns:
      [B], >= 0, in units of the maps.

    Raises:
      ValueError: shapes that differ, or a number of maps that is negative or more than each scale has.

    Source: Wang et al. 2018, equation 4; Chen et al. 2020, equation 8.
    """
    check_same_shape(maps=tuple(map(tuple, maps)), wanted=tuple(map(tuple, wanted)))
    total = jnp.zeros(len(maps[0][0]))
    for ours, theirs in zip(maps, wanted, strict=True):
        num = len(ours) if last is None else last
        if not 0 <= num <= len(ours):
            raise ValueError(f"{num} of the last maps cannot be matched: each scale has {len(ours)}")
        start = len(ours) - num
        for x, y in zip(ours[start:], theirs[start:], strict=True):
            total += mean_absolute_error(x, jax.lax.stop_gradient(y))
    return total
