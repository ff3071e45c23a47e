"""How a set of samples compares with data, in given features and by given predictions of classes.

`sample_quality` is quick enough for each evaluation while training; `every_measure` has more, and takes longer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from genjax.evaluation import coverage, distances, diversity, jackknife, memorisation

AT_LEAST, AT_MOST = 20, 5000
"""How many samples and held-out examples are compared: fewer are too few, and of more a fixed choice is taken."""


class Reference(NamedTuple):
    """The data that samples are compared with, and what the comparison is made in."""

    features: Callable[[ArrayLike], np.ndarray]  # x [N, ...] in [0, 1] -> [N, D]
    predict: Callable[[ArrayLike], np.ndarray]  # x [N, ...] -> classes [N], integers from 0
    num_classes: int
    train: np.ndarray  # features of all training examples, [N, D], in a fixed random order
    test: np.ndarray  # features of at most AT_MOST held-out examples, [M, D]


def reference(
    train: np.ndarray,
    test: np.ndarray,
    *,
    scale: float,
    features: Callable[[ArrayLike], np.ndarray],
    predict: Callable[[ArrayLike], np.ndarray],
    num_classes: int,
) -> Reference:
    """Computes the features of the data once, for any number of calls of `sample_quality`.

    Args:
      train: training examples as stored, [N, ...].
      test: held-out examples as stored, `AT_LEAST` or more.
      scale: the examples are x / scale, in [0, 1].
      features, predict, num_classes: as in `Reference`.
    """
    return Reference(
        features,
        predict,
        num_classes,
        train=features(_chosen(train, len(train)) / scale),
        test=features(_chosen(test, AT_MOST) / scale),
    )


@threadpool_limits.wrap(limits=1)  # the last bits of linear algebra depend on the number of threads
def sample_quality(samples: ArrayLike, reference: Reference) -> dict[str, float]:
    """How samples compare with held-out data, and how training data in their place would.

    Args:
      samples: [M, ...] in [0, 1], `AT_LEAST` or more; at most `AT_MOST` are compared.
      reference: the data, from `reference`.

    Returns:
      Of the features of the samples and of the held-out examples: `frechet_distance`, `kernel_distance` with
      `kernel_distance_error`, `precision`, `recall`, `density` and `coverage`. `train_frechet_distance`, of as many
      training examples as there are samples. `nearest_training_distance` and `held_out_nearest_training_distance`, the
      median distances to the whole training set. Of the predicted classes, if there are any: `classes_found`,
      `smallest_class_share` and `largest_class_share`.
    """
    samples = chosen(samples)
    x = reference.features(samples)
    return _distances(x, reference.train, reference.test) | _class_shares(samples, reference)


@threadpool_limits.wrap(limits=1)  # as above
def every_measure(samples: ArrayLike, reference: Reference) -> dict[str, float]:
    """Everything that is measured of samples; with many features and samples it takes minutes.

    Args:
      samples: [M, ...] in [0, 1], `AT_LEAST` or more; at most `AT_MOST` are compared.
      reference: the data, from `reference`.

    Returns:
      The measures of `sample_quality`, and `frechet_distance_error`, `mind`, `vendi_score`, `authenticity` and
      `data_copying`, each of these four with its standard error as `..._error`.
    """
    samples = chosen(samples)
    x = reference.features(samples)
    found = _distances(x, reference.train, reference.test) | _more(x, reference.train, reference.test)
    return found | _class_shares(samples, reference)


@threadpool_limits.wrap(limits=1)  # as above
def noise_floor(reference: Reference, *, num_samples: int) -> dict[str, float]:
    """The measures in features that training examples have in the place of samples, and so a perfect generator.

    Args:
      reference: the data, from `reference`.
      num_samples: how many training examples stand for samples, less than all; the others are the training set.

    Returns:
      The measures of `every_measure`, without those of classes and `train_frechet_distance`.
    """
    x, train = reference.train[:num_samples], reference.train[num_samples:]
    found = _distances(x, train, reference.test) | _more(x, train, reference.test)
    del found["train_frechet_distance"]  # of the same examples
    return found


def _distances(x: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """The measures of `sample_quality` in features."""
    kernel, nearest = distances.kernel_distance(x, test), coverage.nearest_training_distance(x, train, test)
    spread = coverage.precision_recall(x, test)._asdict() | coverage.density_coverage(x, test)._asdict()
    return {
        "frechet_distance": distances.frechet_distance(x, test),
        "train_frechet_distance": distances.frechet_distance(train[: len(x)], test),
        "kernel_distance": kernel.value,
        "kernel_distance_error": kernel.standard_error,
        **spread,
        "nearest_training_distance": nearest.samples,
        "held_out_nearest_training_distance": nearest.held_out,
    }


def _more(x: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """The further measures of `every_measure`."""

    def mind(a: np.ndarray, b: np.ndarray, *, num_projections: int = 1000) -> float:
        return distances.mind(a, b, jax.random.key(0), num_projections=num_projections)

    authenticity = memorisation.authenticity(x, train)
    copying = memorisation.data_copying(x, train, test)
    return {
        "frechet_distance_error": jackknife.standard_error(distances.frechet_distance, x, test),
        "mind": mind(x, test),
        "mind_error": jackknife.standard_error(partial(mind, num_projections=200), x, test),
        "vendi_score": diversity.vendi_score(x),
        "vendi_score_error": jackknife.standard_error(diversity.vendi_score, x),
        "authenticity": authenticity.share,
        "authenticity_error": authenticity.standard_error,
        "data_copying": copying.value,
        "data_copying_error": copying.standard_error,
    }


def _class_shares(samples: np.ndarray, reference: Reference) -> dict[str, float]:
    """How the predicted classes are shared out among the samples; nothing without classes."""
    if not reference.num_classes:
        return {}
    shares = np.bincount(reference.predict(samples), minlength=reference.num_classes) / len(samples)
    return {
        "classes_found": float(np.count_nonzero(shares)),
        "smallest_class_share": float(shares.min()),
        "largest_class_share": float(shares.max()),
    }


def chosen(samples: ArrayLike) -> np.ndarray:
    """The samples that are compared: all of them, or a fixed random choice of `AT_MOST`."""
    samples = np.asarray(samples)
    return samples if len(samples) <= AT_MOST else _chosen(samples, AT_MOST)


def _chosen(x: np.ndarray, at_most: int) -> np.ndarray:
    """The first examples of a fixed permutation, for a source may hold one class after the other."""
    return x[np.random.RandomState(0).permutation(len(x))[:at_most]]
