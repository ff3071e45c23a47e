"""Whether samples lie where the data lie, and everywhere there: by balls around each point, through features.

A set's manifold is taken as the closed balls around its points, each as wide as the distance to the point's k-th
nearest neighbour in the set. All values depend on the features, on k and on how many points there are: compare at equal
numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from genjax.evaluation import neighbours


class PrecisionRecall(NamedTuple):
    """Shares, in [0, 1]."""

    precision: float  # of the samples, that lie where the data lie
    recall: float  # of the data, that lie where the samples lie


class DensityCoverage(NamedTuple):
    """How the samples lie in the balls of the data."""

    density: float  # >= 0, about 1 for samples of the data's own distribution
    coverage: float  # share of the data with a sample in its ball, in [0, 1]


class NearestTraining(NamedTuple):
    """Distances to the nearest training example, at one quantile."""

    samples: float
    held_out: float


def precision_recall(samples: ArrayLike, data: ArrayLike, *, num_neighbours: int = 3) -> PrecisionRecall:
    """Improved precision and recall of samples, fidelity and diversity apart.

        precision = 1/M sum_j 1[y_j in some B(x_i, r_k(x_i))],   recall = 1/N sum_i 1[x_i in some B(y_j, r_k(y_j))]

    where r_k is the distance to the k-th nearest neighbour in the point's own set.

    Args:
      samples: y, [M, D], M > k.
      data: x, [N, D], N > k.
      num_neighbours: k.

    Raises:
      ValueError: sets of other dimensions, or too small for k.

    Source: Kynkaanniemi et al. 2019, equations 1 and 2, with k = 3.
    """
    y, x = _checked(samples, data, num_neighbours)
    return PrecisionRecall(
        float(np.mean(_in_balls(y, x, _radii(x, num_neighbours))[0] > 0)),
        float(np.mean(_in_balls(x, y, _radii(y, num_neighbours))[0] > 0)),
    )


def density_coverage(samples: ArrayLike, data: ArrayLike, *, num_neighbours: int = 5) -> DensityCoverage:
    """Density and coverage of samples: as precision and recall, and less at the mercy of single outliers.

        density = 1/(k M) sum_j sum_i 1[y_j in B(x_i, r_k(x_i))],   coverage = 1/N sum_i 1[some y_j in B(x_i, r_k(x_i))]

    Samples that are the data themselves have a density of 1 + 1/k, for each then lies in its own ball too.

    Args:
      samples: y, [M, D], M > k.
      data: x, [N, D], N > k.
      num_neighbours: k.

    Raises:
      ValueError: sets of other dimensions, or too small for k.

    Source: Naeem et al. 2020, equations 3 and 4, with k = 5.
    """
    y, x = _checked(samples, data, num_neighbours)
    of_sample, of_ball = _in_balls(y, x, _radii(x, num_neighbours))
    return DensityCoverage(float(of_sample.mean() / num_neighbours), float(np.mean(of_ball > 0)))


def nearest_training_distance(
    samples: ArrayLike, train: ArrayLike, held_out: ArrayLike, *, quantile: float = 0.5
) -> NearestTraining:
    """How near samples come to the training set, beside how near held-out examples come to it.

        q_s = quantile over j of min_i ||y_j - x_i||

    A generator that has learned examples by heart gives samples much nearer than the held-out examples are.

    Args:
      samples: [M, D].
      train: [N, D].
      held_out: [H, D].
      quantile: in [0, 1]; a small one finds a few copies among many samples.

    Returns:
      Both in units of the features.
    """
    nearest = (np.sqrt(neighbours.knn_distance(points, train, num_neighbours=1)) for points in (samples, held_out))
    return NearestTraining(*(float(np.quantile(distances, quantile)) for distances in nearest))


def _checked(samples: ArrayLike, data: ArrayLike, num_neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Both in double precision, [M, D] and [N, D]."""
    y, x = np.asarray(samples, np.float64), np.asarray(data, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) <= num_neighbours:
        raise ValueError(
            f"two sets of features [N, D] of one D, each of more than {num_neighbours} points; "
            f"got {y.shape} and {x.shape}"
        )
    return y, x


_ROWS = 1000  # of a table of distances, held at a time


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Euclidean distances [M, N] by differences: a point's distance to itself is 0, so it lies in a ball of width 0."""
    from sklearn.metrics import DistanceMetric

    return DistanceMetric.get_metric("euclidean").pairwise(points, centres)


def _radii(x: np.ndarray, num_neighbours: int) -> np.ndarray:
    """The distance of each point to its k-th nearest other point: [N, D] -> [N]."""
    # the point itself is the one at place 0
    tables = (_distances(x[start : start + _ROWS], x) for start in range(0, len(x), _ROWS))
    return np.concatenate([np.partition(table, num_neighbours, axis=1)[:, num_neighbours] for table in tables])


def _in_balls(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In how many balls each point lies [M], and how many points lie in each ball [N]."""
    of_point, of_ball = [], np.zeros(len(centres), int)
    for start in range(0, len(points), _ROWS):
        inside = _distances(points[start : start + _ROWS], centres) <= radii[None]
        of_point.append(inside.sum(axis=1))
        of_ball += inside.sum(axis=0)
    return np.concatenate(of_point), of_ball
