"""How a set of samples compares with data, in the features and the predicted classes of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from genjax.evaluation import coverage, distances

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
    samples = np.asarray(samples)
    samples = samples if len(samples) <= AT_MOST else _chosen(samples, AT_MOST)
    train, test = reference.train, reference.test
    x = reference.features(samples)
    kernel, nearest = distances.kernel_distance(x, test), coverage.nearest_training_distance(x, train, test)
    spread = coverage.precision_recall(x, test)._asdict() | coverage.density_coverage(x, test)._asdict()
    found = {
        "frechet_distance": distances.frechet_distance(x, test),
        "train_frechet_distance": distances.frechet_distance(train[: len(x)], test),
        "kernel_distance": kernel.value,
        "kernel_distance_error": kernel.standard_error,
        **spread,
        "nearest_training_distance": nearest.samples,
        "held_out_nearest_training_distance": nearest.held_out,
    }
    if not reference.num_classes:
        return found
    shares = np.bincount(reference.predict(samples), minlength=reference.num_classes) / len(samples)
    return found | {
        "classes_found": float(np.count_nonzero(shares)),
        "smallest_class_share": float(shares.min()),
        "largest_class_share": float(shares.max()),
    }


def _chosen(x: np.ndarray, at_most: int) -> np.ndarray:
    """The first examples of a fixed permutation, for a source may hold one class after the other."""
    return x[np.random.RandomState(0).permutation(len(x))[:at_most]]
