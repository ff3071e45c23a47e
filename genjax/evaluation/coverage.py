"""Fidelity and diversity of samples, by balls around each point in feature space.

The manifold of a set is taken to be the closed balls around its points, each as wide as the distance to the point's
k-th nearest neighbour in the set. All values depend on the features, on k and on the number of points: compare them at
equal numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from genjax.evaluation import neighbours
from genjax.evaluation.feature_sets import two_sets


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float  # share of the samples that lie on the data's manifold
    recall: float  # share of the data that lie on the samples' manifold


class DensityCoverage(NamedTuple):
    """How samples fill the balls of the data."""

    density: float  # >= 0, about 1 for samples of the data's own distribution
    coverage: float  # share of the data with a sample in its ball, in [0, 1]


class NearestTraining(NamedTuple):
    """Distances to the nearest training example, at one quantile."""

    samples: float
    held_out: float


def precision_recall(samples: ArrayLike, data: ArrayLike, *, num_neighbours: int = 3) -> PrecisionRecall:
    """Improved precision and recall of samples: fidelity and diversity separately.

        precision = 1/M sum_j 1[y_j in some B(x_i, r_k(x_i))],   recall = 1/N sum_i 1[x_i in some B(y_j, r_k(y_j))]

    where r_k is the distance to the k-th nearest neighbour in the point's own set.

    Args:
      samples: y, [M, D], M > k.
      data: x, [N, D], N > k.
      num_neighbours: k.

    Returns:
      Both in [0, 1]; larger = better.

    Raises:
      ValueError: sets of different dimensions or too small for k, or features that are not finite.

    Source: Kynkaanniemi et al. 2019, equations 1 and 2, with k = 3.
    """
    y, x = two_sets(samples, data, at_least=num_neighbours + 1)
    return PrecisionRecall(
        float(np.mean(_in_balls(y, x, _radii(x, num_neighbours))[0] > 0)),
        float(np.mean(_in_balls(x, y, _radii(y, num_neighbours))[0] > 0)),
    )


def density_coverage(samples: ArrayLike, data: ArrayLike, *, num_neighbours: int = 5) -> DensityCoverage:
    """Density and coverage of samples: like precision and recall, and less sensitive to single outliers.

        density = 1/(k M) sum_j sum_i 1[y_j in B(x_i, r_k(x_i))],   coverage = 1/N sum_i 1[some y_j in B(x_i, r_k(x_i))]

    Samples that are the data themselves have a density of 1 + 1/k, because each then lies in its own ball too.

    Args:
      samples: y, [M, D], M > k.
      data: x, [N, D], N > k.
      num_neighbours: k.

    Returns:
      Density >= 0, about 1 for samples of the data's own distribution, and coverage in [0, 1].

    Raises:
      ValueError: sets of different dimensions or too small for k, or features that are not finite.

    Source: Naeem et al. 2020, equations 3 and 4, with k = 5.
    """
    y, x = two_sets(samples, data, at_least=num_neighbours + 1)
    of_sample, of_ball = _in_balls(y, x, _radii(x, num_neighbours))
    return DensityCoverage(float(of_sample.mean() / num_neighbours), float(np.mean(of_ball > 0)))


def nearest_training_distance(
    samples: ArrayLike, train: ArrayLike, held_out: ArrayLike, *, quantile: float = 0.5
) -> NearestTraining:
    """Distance of samples to the training set, compared with that of held-out examples.

        q_s = quantile over j of min_i ||y_j - x_i||

    The samples of a generator that has memorised its training examples are much nearer than held-out examples.

    Args:
      samples: y, [M, D].
      train: x, [N, D].
      held_out: [H, D].
      quantile: in [0, 1]; a small one finds a few copies among many samples.

    Returns:
      Both >= 0, in units of the features.

    Raises:
      ValueError: features that are not finite.
    """
    nearest = (np.sqrt(neighbours.knn_distance(points, train, num_neighbours=1)) for points in (samples, held_out))
    return NearestTraining(*(float(np.quantile(distances, quantile)) for distances in nearest))


_ROWS = 1000  # of a table of distances in memory at a time


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Euclidean distances [M, N] from differences, so that a point's distance to itself is 0."""
    from sklearn.metrics import DistanceMetric

    return DistanceMetric.get_metric("euclidean").pairwise(points, centres)


def _radii(x: np.ndarray, num_neighbours: int) -> np.ndarray:
    """The distance of each point to its k-th nearest other point: [N, D] -> [N]."""
    # place 0 is the point itself
    tables = (_distances(x[start : start + _ROWS], x) for start in range(0, len(x), _ROWS))
    return np.concatenate([np.partition(table, num_neighbours, axis=1)[:, num_neighbours] for table in tables])


def _in_balls(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of balls that contain each point [M], and the number of points in each ball [N]."""
    of_point, of_ball = [], np.zeros(len(centres), int)
    for start in range(0, len(points), _ROWS):
        inside = _distances(points[start : start + _ROWS], centres) <= radii[None]
        of_point.append(inside.sum(axis=1))
        of_ball += inside.sum(axis=0)
    return np.concatenate(of_point), of_ball
