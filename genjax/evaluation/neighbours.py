"""What nearest neighbours say of a map, of a code, or of an example: distances are Euclidean."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def trustworthiness(x: ArrayLike, codes: ArrayLike, *, num_neighbours: int = 12) -> float:
    """Whether neighbours in the map are neighbours in the data (Venna & Kaski 2001).

        T(k) = 1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j among i's k nearest in the map} max(0, r(i, j) - k)

    where r(i, j) is the rank of j among i's neighbours in the data.

    Args:
      x: the data, [N, ...]; flattened.
      codes: the map, [N, d].
      num_neighbours: k < N / 2.

    Returns:
      In [0, 1]; 1 where no stranger is shown as a neighbour, about 1/2 for a map at random.
    """
    from sklearn import manifold

    return float(manifold.trustworthiness(_flat(x), _flat(codes), n_neighbors=num_neighbours))


def knn_accuracy(
    codes: ArrayLike, labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike, *, num_neighbours: int = 5
) -> float:
    """Accuracy of the majority label among the nearest training codes (of equals the smallest label).

    Args:
      codes: [N, d].
      labels: [N].
      test_codes: [M, d].
      test_labels: [M].
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(num_neighbours).fit(_flat(codes), np.asarray(labels))
    return float(classifier.score(_flat(test_codes), np.asarray(test_labels)))


def knn_distance(x: ArrayLike, reference: ArrayLike, *, num_neighbours: int = 5) -> np.ndarray:
    """Mean squared distance to the nearest references, an outlier score of its own.

        s(x) = 1/k sum_{r among x's k nearest in the reference} ||x - r||^2

    Args:
      x: [M, ...]; flattened.
      reference: [N, ...].
      num_neighbours: k, or all references where there are fewer.

    Returns:
      [M], in squared units of the data.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(num_neighbours, len(np.asarray(reference)))).fit(_flat(reference))
    distances, _ = search.kneighbors(_flat(x))
    return np.square(distances).mean(axis=1)


def _flat(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values.reshape(len(values), -1)
