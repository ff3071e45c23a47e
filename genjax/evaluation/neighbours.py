"""Nearest-neighbour measures of maps, codes and examples, with Euclidean distances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from genjax.evaluation.feature_sets import vectors


class Neighbours(NamedTuple):
    """The nearest examples of a reference set, the nearest first."""

    index: np.ndarray  # [N, k], their places in the reference set
    distance: np.ndarray  # [N, k], Euclidean


def nearest(x: ArrayLike, reference: ArrayLike, *, num_neighbours: int = 1) -> Neighbours:
    """The k nearest examples of a reference set, with distances that are exactly 0 for copies.

    Args:
      x: the examples, [N, ...]; flattened.
      reference: [M, ...].
      num_neighbours: k; all of the reference set if it has fewer.

    Returns:
      Places and distances, [N, k] each.

    Raises:
      ValueError: values that are not finite.
    """
    from sklearn.neighbors import NearestNeighbors

    points, known = vectors(x), vectors(reference)
    search = NearestNeighbors(n_neighbors=min(num_neighbours, len(known))).fit(known)
    index = search.kneighbors(points, return_distance=False)
    # the search may find distances from products, with which copies are not at 0
    distance = np.stack([np.linalg.norm(points - known[place], axis=1) for place in index.T], axis=1)
    return Neighbours(index, distance)


def trustworthiness(x: ArrayLike, codes: ArrayLike, *, num_neighbours: int = 12) -> float:
    """Share of neighbours in a map that are neighbours in the data too.

        T(k) = 1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j among i's k nearest in the map} max(0, r(i, j) - k)

    where r(i, j) is the rank of j among i's neighbours in the data.

    Args:
      x: the data, [N, ...]; flattened.
      codes: the map, [N, d].
      num_neighbours: k < N / 2.

    Returns:
      In [0, 1]; 1 where all neighbours in the map are neighbours in the data, about 1/2 for a random map.

    Raises:
      ValueError: values that are not finite, or too few examples for k.

    Source: Venna & Kaski 2001.
    """
    from sklearn import manifold

    return float(manifold.trustworthiness(vectors(x), vectors(codes), n_neighbors=num_neighbours))


def knn_accuracy(
    codes: ArrayLike, labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike, *, num_neighbours: int = 5
) -> float:
    """Accuracy of the majority label among the nearest training codes; ties go to the smallest label.

        1/M sum_j 1[y_j = majority of the labels of the k codes nearest to z_j]

    Args:
      codes: [N, d].
      labels: [N].
      test_codes: z, [M, d].
      test_labels: y, [M].
      num_neighbours: k, at most N.

    Returns:
      In [0, 1]; larger = better.

    Raises:
      ValueError: codes that are not finite, or fewer than k of them.

    Source: Cover & Hart 1967.
    """
    from sklearn.neighbors import KNeighborsClassifier

    if num_neighbours > len(np.asarray(codes)):
        raise ValueError(f"num_neighbours must be at most the {len(np.asarray(codes))} codes; got {num_neighbours}")

    classifier = KNeighborsClassifier(num_neighbours).fit(vectors(codes), np.asarray(labels))
    return float(classifier.score(vectors(test_codes), np.asarray(test_labels)))


def knn_distance(x: ArrayLike, reference: ArrayLike, *, num_neighbours: int = 5) -> np.ndarray:
    """Mean squared distance to the nearest references, used as an outlier score.

        s(x) = 1/k sum_{r among x's k nearest in the reference} ||x - r||^2

    Args:
      x: [M, ...]; flattened.
      reference: r, [N, ...].
      num_neighbours: k; all references where there are fewer.

    Returns:
      [M], >= 0, in squared units of the data.

    Raises:
      ValueError: values that are not finite.

    Source: Angiulli & Pizzuti 2002, with squared distances.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(num_neighbours, len(np.asarray(reference)))).fit(vectors(reference))
    distances, _ = search.kneighbors(vectors(x))
    return np.square(distances).mean(axis=1)
