"""Whether identities are told apart by their vectors, and how near a swap is to the ideal one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from genjax.evaluation.detection import auroc
from genjax.types import Array


def verification_auroc(v: ArrayLike, label: ArrayLike) -> float:
    """Area under the ROC of telling pairs of one identity from pairs of two by the cosine of their vectors.

    Args:
      v: unit vectors, [N, m].
      label: identities, [N], some twice or more.

    Returns:
      The probability that two pictures of one identity have a larger cosine than two pictures of two, in [0, 1].
    """
    vectors, identity = np.asarray(v, np.float64), np.asarray(label)
    first, second = np.triu_indices(len(vectors), 1)
    distance = -np.sum(vectors[first] * vectors[second], axis=1)
    same = identity[first] == identity[second]
    return auroc(distance[same], distance[~same])


def centroids(v: ArrayLike, label: ArrayLike) -> np.ndarray:
    """The unit vector of each identity's mean: v [N, m] and labels [N] from 0 to C - 1 -> [C, m]."""
    vectors, identity = np.asarray(v, np.float64), np.asarray(label)
    means = np.stack([vectors[identity == c].mean(axis=0) for c in range(identity.max() + 1)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def identify(v: ArrayLike, centres: ArrayLike) -> np.ndarray:
    """The identity whose centre has the largest cosine: v [N, m] and centres [C, m] -> [N], at rank 1."""
    return np.argmax(np.asarray(v) @ np.asarray(centres).T, axis=1)


class SwapQuality(NamedTuple):
    """How near swaps are to the ideal ones, by their pixels."""

    psnr: Array  # in dB, of all images and pixels together
    face_psnr: Array  # where there is skin
    error_reduction: Array  # 1 - (squared error) / (that of the target left as it is); 0 of a copy, 1 of the ideal
    face_error_reduction: Array
    background_error: Array  # mean absolute error where there is no foreground
    identified: Array  # share whose face is nearest to the wanted identity's, of all with the target's attributes


def swap_quality(
    swapped: Array, *, target: Array, ideal: Array, face: Array, background: Array, candidates: Array, wanted: Array
) -> SwapQuality:
    """Compares swaps with the ideal ones.

        reduction = 1 - sum w (I_R - I*)^2 / sum w (I_T - I*)^2,   identified: argmin_j sum (w_f (I_R - I_j))^2

    Args:
      swapped: I_R, [N, S, S, C] in [0, 1].
      target, ideal: I_T and I*, the same shape.
      face, background: weights w, [N, S, S] in [0, 1].
      candidates: I_j, [N, M, S, S, C]: M identities with the attributes of each target.
      wanted: which of the M is the source's, [N].

    Raises:
      AssertionError: naming the shapes that do not fit.
    """
    chex.assert_equal_shape([swapped, target, ideal])
    chex.assert_equal_shape([face, background])
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


def attribute_errors(
    read: ArrayLike, of_ideal: ArrayLike, truth: ArrayLike, groups: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """How much worse a swap's attributes can be read than the ideal's: the error that is the swap's own, by group.

        e_g = RMSE(A(I_R), a_T) - RMSE(A(I*), a_T),   over the places of group g

    Args:
      read: A(I_R), what a regression reads from swaps, [N, D].
      of_ideal: A(I*), what it reads from the ideal ones.
      truth: a_T, the targets' attributes.
      groups: name -> places, of D.

    Returns:
      e_g by the group's name; 0 of the ideal, in the attributes' unit.
    """
    swapped, ideal, wanted = (np.asarray(a, np.float64) for a in (read, of_ideal, truth))

    def error(found: np.ndarray, places: Sequence[int]) -> float:
        return float(np.sqrt(np.mean(np.square(found - wanted)[:, list(places)])))

    return {name: error(swapped, places) - error(ideal, places) for name, places in groups.items()}


def colour_transfer(target: Array, source: Array, target_skin: Array, source_skin: Array) -> Array:
    """The target with the mean and standard deviation of the source's skin on its own skin: the baseline to beat.

        y = (x - mu_T) sigma_S / sigma_T + mu_S   in each channel, laid over the target by its skin mask

    Args:
      target, source: [N, S, S, C] in [0, 1].
      target_skin, source_skin: masks, [N, S, S] in [0, 1].

    Returns:
      [N, S, S, C] in [0, 1].

    Source: Reinhard et al. 2001, equations 10 and 11, in RGB.
    """

    def moments(x: Array, mask: Array) -> tuple[Array, Array]:
        weight = mask[..., None] / jnp.maximum(jnp.sum(mask, axis=(1, 2), keepdims=True), 1e-6)[..., None]
        mean = jnp.sum(weight * x, axis=(1, 2), keepdims=True)
        return mean, jnp.sqrt(jnp.sum(weight * jnp.square(x - mean), axis=(1, 2), keepdims=True))

    (mean_t, deviation_t), (mean_s, deviation_s) = moments(target, target_skin), moments(source, source_skin)
    moved = (target - mean_t) * deviation_s / jnp.maximum(deviation_t, 1e-6) + mean_s
    mask = target_skin[..., None]
    return jnp.clip(mask * moved + (1 - mask) * target, 0, 1)
