"""Measures of identity vectors and of identity swaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from genjax.data import faces
from genjax.data.pairs import SwapTest
from genjax.evaluation.detection import auroc
from genjax.evaluation.feature_sets import vectors
from genjax.shapes import as_float, check_same_shape
from genjax.types import Array


def verification_auroc(v: ArrayLike, label: ArrayLike) -> float:
    """Area under the ROC of verification: telling pairs of one identity from pairs of two by their cosine.

        P(cos(v_i, v_j) > cos(v_k, v_l)),   where y_i = y_j and y_k != y_l; ties count 1/2

    Args:
      v: unit vectors, [N, m].
      label: identities y, [N], of which some occur twice.

    Returns:
      In [0, 1]; 1/2 for vectors without information.

    Raises:
      ValueError: no pair with one identity or no pair with two, or vectors that are not finite.
    """
    x, identity = vectors(v, name="v"), np.asarray(label)
    first, second = np.triu_indices(len(x), 1)
    distance = -np.sum(x[first] * x[second], axis=1)
    same = identity[first] == identity[second]
    if not 0 < same.sum() < len(same):
        raise ValueError(f"label must have an identity that occurs twice and a second identity; got {identity}")
    return auroc(distance[same], distance[~same])


def centroids(v: ArrayLike, label: ArrayLike) -> np.ndarray:
    """Unit vector of each identity's mean.

        c_y = mean_y(v) / ||mean_y(v)||

    Args:
      v: [N, m].
      label: y, [N] integers from 0 to C - 1, each at least once.

    Returns:
      [C, m].

    Raises:
      ValueError: an identity without vectors or whose mean is 0, or vectors that are not finite.
    """
    x, identity = vectors(v, name="v"), np.asarray(label)
    absent = sorted(set(range(identity.max() + 1)) - set(identity.tolist()))
    if absent:
        raise ValueError(f"every identity from 0 to {identity.max()} needs a vector; there is none of {absent}")
    means = np.stack([x[identity == c].mean(axis=0) for c in range(identity.max() + 1)])
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(f"the mean vector of identity {int(np.argmin(norms))} is 0, which has no direction")
    return means / norms


def identify(v: ArrayLike, centres: ArrayLike) -> np.ndarray:
    """Identity whose centre has the largest cosine, at rank 1.

        argmax_c v . c

    Args:
      v: unit vectors, [N, m].
      centres: unit vectors, [C, m], as `centroids` makes them.

    Returns:
      [N] integers from 0 to C - 1.
    """
    return np.argmax(np.asarray(v) @ np.asarray(centres).T, axis=1)


def colour_rank1(x: ArrayLike, skin: ArrayLike, label: ArrayLike, gallery: ArrayLike) -> float:
    """Share of pictures whose identity is named right by the mean colour of their skin: an encoder's baseline.

    Args:
      x: pictures, [N, S, S, C].
      skin: how much of each pixel is skin, [N, S, S] >= 0; a picture without any counts as black.
      label: identities, [N] from 0 to K - 1.
      gallery: [N] bool; each identity's colour is the mean over its pictures here, and the others are named.
    """
    weight, identity, known = np.asarray(skin, np.float64)[..., None], np.asarray(label), np.asarray(gallery)
    total = weight.sum((1, 2))
    colour = (weight * np.asarray(x)).sum((1, 2)) / np.where(total > 0, total, 1)
    means = np.stack([colour[known & (identity == c)].mean(axis=0) for c in range(identity.max() + 1)])
    nearest = np.argmin(np.square(colour[~known, None] - means).sum(axis=2), axis=1)
    return float(np.mean(nearest == identity[~known]))


def above_chance(accuracy: float, *, num_classes: int, num_examples: int) -> bool:
    """Whether an accuracy is beyond that of a draw among equally likely classes by three standard errors or more.

    accuracy >= p + 3 sqrt(p (1 - p) / N),   p = 1 / num_classes
    """
    p = 1 / num_classes
    return accuracy >= p + 3 * math.sqrt(p * (1 - p) / num_examples)


class SwapQuality(NamedTuple):
    """Distance between swaps and the ideal swaps, from their pixels."""

    psnr: Array  # in dB, from all images and pixels together
    face_psnr: Array  # where there is skin
    error_reduction: Array  # 1 - (squared error) / (that of the unchanged target); 0 for a copy, 1 for the ideal
    face_error_reduction: Array
    background_error: Array  # mean absolute error where there is no foreground
    identified: Array  # share whose face is nearest to the wanted identity's among all with the target's attributes


def swap_quality(
    swapped: Array, *, target: Array, ideal: Array, face: Array, background: Array, candidates: Array, wanted: Array
) -> SwapQuality:
    """Compares swaps with the ideal ones.

        reduction = 1 - (sum w (I_R - I*)^2) / (sum w (I_T - I*)^2),   identified: argmin_j sum (w_f (I_R - I_j))^2

    Args:
      swapped: I_R, [N, S, S, C] in [0, 1].
      target, ideal: I_T and I*, the same shape.
      face, background: weights w, [N, S, S] in [0, 1].
      candidates: I_j, [N, M, S, S, C]: M identities with the attributes of each target.
      wanted: which of the M is the source's, [N].

    Returns:
      The measures, each [].

    Raises:
      ValueError: shapes that do not fit.
    """
    check_same_shape(swapped=swapped, target=target, ideal=ideal)
    check_same_shape(face=face, background=background)
    swapped, target, ideal, candidates = map(as_float, (swapped, target, ideal, candidates))
    squared = jnp.square(swapped - ideal)
    before = jnp.square(target - ideal)
    on_face, on_background = face[..., None], background[..., None]
    channels = swapped.shape[-1]

    def decibels(mean: Array) -> Array:
        return -10 * jnp.log10(mean)

    def distances(one: tuple[Array, Array, Array]) -> Array:
        image, weight, others = one
        return jnp.sum(jnp.square(weight[None, ..., None] * (image[None] - others)), axis=(1, 2, 3))

    nearest = jnp.argmin(jax.lax.map(distances, (swapped, face, candidates)), axis=1)
    return SwapQuality(
        psnr=decibels(jnp.mean(squared)),
        face_psnr=decibels(jnp.sum(on_face * squared) / (channels * jnp.sum(face))),
        error_reduction=1 - jnp.sum(squared) / jnp.sum(before),
        face_error_reduction=1 - jnp.sum(on_face * squared) / jnp.sum(on_face * before),
        background_error=jnp.sum(on_background * jnp.abs(swapped - ideal)) / (channels * jnp.sum(background)),
        identified=jnp.mean(nearest == wanted),
    )


def swap_recognition(v: ArrayLike, of_source: ArrayLike, centres: ArrayLike, wanted: ArrayLike) -> dict[str, float]:
    """Whose identity an encoder finds in swaps.

    Args:
      v: vectors of the swaps, [N, m], of unit length as all vectors here; the targets have the identities 0 to N - 1.
      of_source: vectors of the sources, [N, m].
      centres: of the identities, [K, m].
      wanted: the sources' identities, [N].

    Returns:
      `rank1`, the share whose nearest centre is the source's; `rank1_is_target`, that whose nearest is the target's;
      `cosine_to_source`, the mean.
    """
    named = identify(v, centres)
    return {
        "rank1": float(np.mean(named == np.asarray(wanted))),
        "rank1_is_target": float(np.mean(named == np.arange(len(named)))),
        "cosine_to_source": mean_cosine(v, of_source),
    }


def swap_measures(
    images: Array,
    truth: SwapTest,
    encode: Callable[[Array], Array],
    centres: ArrayLike,
    read: Callable[[Array], Array] | None = None,
) -> dict[str, float]:
    """All measures of swaps of rendered faces.

    Args:
      images: the swaps, [N, S, S, 3] in [0, 1].
      truth: the pairs, and their ideal swaps.
      encode: a judge's vectors of pictures, [N, S, S, 3] -> [N, m] of unit length.
      centres: the test identities', [N, m].
      read: predicts `faces.attribute_targets` from pictures, [N, S, S, 3] -> [N, 29].

    Returns:
      By name what `swap_quality` and `swap_recognition` find, and, with `read`, by group of attributes what
      `attribute_errors` finds: GROUP_attribute_error and GROUP_attribute_floor.
    """
    quality = swap_quality(
        images,
        target=truth.target,
        ideal=truth.ideal,
        face=truth.face,
        background=truth.background,
        candidates=truth.candidates,
        wanted=truth.wanted,
    )
    found = {name: float(value) for name, value in quality._asdict().items()}
    found |= swap_recognition(encode(images), encode(truth.source), centres, truth.wanted)
    if read is not None:
        wanted = faces.attribute_targets(truth.attributes)
        errors, floors = attribute_errors(read(images), read(truth.ideal), wanted, faces.target_groups())
        found |= {f"{group}_attribute_error": error for group, error in errors.items()}
        found |= {f"{group}_attribute_floor": floor for group, floor in floors.items()}
    return found


def mean_cosine(v: ArrayLike, others: ArrayLike) -> float:
    """The mean cosine of unit vectors with others, row by row: two [N, m] -> [-1, 1]."""
    return float(jnp.mean(jnp.sum(jnp.asarray(v) * jnp.asarray(others), axis=1)))


def attribute_errors(
    read: ArrayLike, of_ideal: ArrayLike, truth: ArrayLike, groups: Mapping[str, Sequence[int]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Error that a swap adds to reading the target's attributes, by group.

        e_g = RMSE(A(I_R), a_T) - f_g,   f_g = RMSE(A(I*), a_T),   over the places of group g

    Args:
      read: A(I_R), what a regression predicts from swaps, [N, D].
      of_ideal: A(I*), what it predicts from the ideal swaps, the same shape.
      truth: a_T, the targets' attributes, the same shape.
      groups: name -> places, of D.

    Returns:
      e_g and the regression's own error f_g, by the group's name, in the attributes' unit; e_g is 0 for the ideal swap.

    Raises:
      ValueError: shapes that differ.
    """
    check_same_shape(read=read, of_ideal=of_ideal, truth=truth)
    swapped, ideal, wanted = (np.asarray(a, np.float64) for a in (read, of_ideal, truth))

    def error(found: np.ndarray, places: Sequence[int]) -> float:
        return float(np.sqrt(np.mean(np.square(found - wanted)[:, list(places)])))

    floors = {name: error(ideal, places) for name, places in groups.items()}
    return {name: error(swapped, places) - floors[name] for name, places in groups.items()}, floors


def colour_transfer(target: Array, source: Array, target_skin: Array, source_skin: Array) -> Array:
    """Baseline for swaps: gives the target's skin the mean and standard deviation of the source's skin.

        y = (x - mu_T) sigma_S / sigma_T + mu_S in each channel, blended over the target with its skin mask

    Args:
      target, source: [N, S, S, C] in [0, 1].
      target_skin, source_skin: masks, [N, S, S] in [0, 1].

    Returns:
      [N, S, S, C] in [0, 1].

    Raises:
      ValueError: shapes that differ.

    Source: Reinhard et al. 2001, equations 10 and 11, in RGB.
    """

    check_same_shape(target=target, source=source)
    check_same_shape(target_skin=target_skin, source_skin=source_skin)
    target, source, target_skin, source_skin = map(as_float, (target, source, target_skin, source_skin))

    def moments(x: Array, mask: Array) -> tuple[Array, Array]:
        weight = mask[..., None] / jnp.maximum(jnp.sum(mask, axis=(1, 2), keepdims=True), 1e-6)[..., None]
        mean = jnp.sum(weight * x, axis=(1, 2), keepdims=True)
        return mean, jnp.sqrt(jnp.sum(weight * jnp.square(x - mean), axis=(1, 2), keepdims=True))

    (mean_t, deviation_t), (mean_s, deviation_s) = moments(target, target_skin), moments(source, source_skin)
    moved = (target - mean_t) * deviation_s / jnp.maximum(deviation_t, 1e-6) + mean_s
    mask = target_skin[..., None]
    return jnp.clip(mask * moved + (1 - mask) * target, 0, 1)
