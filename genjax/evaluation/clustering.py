"""Clusters against classes that they were found without."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Matching(NamedTuple):
    """The best assignment of clusters to classes, each class to one cluster at most."""

    error: float  # share of examples whose cluster has another class, or none
    classes: dict[int, int]  # by cluster, of the clusters that have a class


def match_clusters(found: ArrayLike, label: ArrayLike) -> Matching:
    """Matches clusters with classes so that most examples are in the cluster of their class.

        error = 1 - max over matchings m of mean_i [m(k_i) = y_i]

    Args:
      found: the clusters k of the examples, [N] integers from 0.
      label: their classes y, [N] integers from 0.

    Raises:
      ValueError: numbers of examples that differ, or none.

    Source: Kuhn 1955, the assignment problem.
    """
    from scipy.optimize import linear_sum_assignment

    clusters, classes = np.asarray(found), np.asarray(label)
    if clusters.shape != classes.shape or clusters.ndim != 1 or not len(clusters):
        raise ValueError(f"expected a cluster and a class of each example, got {clusters.shape} and {classes.shape}")
    together = np.zeros((clusters.max() + 1, classes.max() + 1), int)
    np.add.at(together, (clusters, classes), 1)
    rows, columns = linear_sum_assignment(together, maximize=True)
    right = int(together[rows, columns].sum())
    return Matching(1 - right / len(clusters), dict(zip(rows.tolist(), columns.tolist(), strict=True)))
