"""What keeps an identity: the margin that its encoder learns by, and the terms that a swapped face is judged by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import optax

from genjax.losses.reconstruction import sum_features
from genjax.stochastic import Scalar
from genjax.types import Array

Maps = Sequence[Array]  # hidden maps of one discriminator, [B, h, w, C] each, the first layer's first


def arcface_logits(cosine: Array, label: Array, *, scale: float, margin: Scalar) -> Array:
    """Logits of classes on a sphere, the own class moved away by an angle: what makes classes compact.

        a_j = s cos(theta_j) for j != y,   a_y = s cos(theta_y + m);   with softmax cross-entropy, ArcFace

    Beyond theta_y = pi - m, where cos(theta_y + m) would rise again, it is s (cos theta_y - m sin m).

    Args:
      cosine: cos theta_j of the example's unit vector with each class's, [B, C] in [-1, 1].
      label: y, [B] integers.
      scale: s, the logits' units.
      margin: m, in radians, in [0, pi); 0 is a softmax of s cos theta_j.

    Returns:
      [B, C].

    Raises:
      AssertionError: naming the shapes where they do not fit, or the dtype of labels that are no integers.

    Source: Deng et al. 2019, equation 3; the line beyond pi - m as in its authors' code.
    """
    chex.assert_rank([cosine, label], [2, 1])
    chex.assert_equal_shape_prefix([cosine, label], 1)
    chex.assert_type(label, int)
    sine = jnp.sqrt(jnp.maximum(1 - jnp.square(cosine), 1e-8))  # 0 has an infinite derivative
    moved = cosine * jnp.cos(margin) - sine * jnp.sin(margin)
    moved = jnp.where(cosine > jnp.cos(math.pi - margin), moved, cosine - margin * jnp.sin(margin))
    own = jax.nn.one_hot(label, cosine.shape[1], dtype=bool)
    return scale * jnp.where(own, moved, cosine)


def identity_loss(v: Array, wanted: Array) -> Array:
    """How far an identity vector points from the wanted one: 1 - cos(v, v_S).

    Of unit vectors it is half the squared distance ||v - v_S||^2 / 2.

    Args:
      v: of the swapped face, [B, m], of any length but 0.
      wanted: of the source, the same shape.

    Returns:
      [B], in [0, 2].

    Raises:
      AssertionError: naming both shapes where they differ.

    Source: Chen et al. 2020, section 3.3.
    """
    chex.assert_equal_shape([v, wanted])
    return optax.losses.cosine_distance(v, wanted, epsilon=1e-8)


def mean_absolute_error(prediction: Array, target: Array) -> Array:
    """Mean distance of the values: [B, ...] -> [B], in units of the data.

        l(x, x') = 1/D sum_j |x_j - x'_j|

    Raises:
      AssertionError: naming both shapes where they differ.
    """
    chex.assert_equal_shape([prediction, target])
    return sum_features(jnp.abs(prediction - target)) / math.prod(prediction.shape[1:])


def feature_matching(maps: Sequence[Maps], wanted: Sequence[Maps], *, last: int | None = None) -> Array:
    """How far a discriminator's hidden maps of one image are from those of another, over its scales and layers.

        L = sum_s sum_{i > M - n} 1/N_i ||D_s^(i)(x) - sg D_s^(i)(x')||_1

    where N_i is the number of values of a map, and sg stops the gradient. Of all M layers it is pix2pixHD's feature
    matching; of the last n, SimSwap's weak one, which leaves colours and textures free.

    Args:
      maps: of x: for each scale s the maps D_s^(1), ..., D_s^(M), each [B, ...].
      wanted: of x', the same shapes.
      last: n, how many of the last maps of each scale are matched, from 0 to M; None for all of them.

    Returns:
      [B].

    Raises:
      AssertionError: naming the shapes where they differ.
      ValueError: more maps than a scale has, or fewer than none.

    Source: Wang et al. 2018, equation 4; Chen et al. 2020, equation 8.
    """
    chex.assert_trees_all_equal_shapes(tuple(map(tuple, maps)), tuple(map(tuple, wanted)))
    total = jnp.zeros(len(maps[0][0]))
    for ours, theirs in zip(maps, wanted, strict=True):
        num = len(ours) if last is None else last
        if not 0 <= num <= len(ours):
            raise ValueError(f"{num} of the last maps cannot be matched: each scale has {len(ours)}")
        start = len(ours) - num
        for x, y in zip(ours[start:], theirs[start:], strict=True):
            total += mean_absolute_error(x, jax.lax.stop_gradient(y))
    return total
