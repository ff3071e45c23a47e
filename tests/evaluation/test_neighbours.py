"""Neighbour measures against sorted distances."""

import numpy as np
import pytest

from genjax.evaluation import neighbours


def ranks(points):
    """r(i, j): 0 for i itself, 1 for its nearest, ..."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return np.argsort(np.argsort(distances, axis=1), axis=1)


@pytest.mark.parametrize("k", [3, 12])
def test_trustworthiness_is_the_papers_sum(k):
    draw = np.random.RandomState(0)
    x = draw.normal(size=(50, 2, 3))
    codes = x.reshape(50, -1)[:, :2]
    data, shown, n = ranks(x.reshape(50, -1)), ranks(codes), 50
    strangers = ((0 < shown) & (shown <= k)) * np.maximum(0, data - k)
    expected = 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * strangers.sum()
    assert neighbours.trustworthiness(x, codes, num_neighbours=k) == pytest.approx(expected)
    assert neighbours.trustworthiness(x, x.reshape(50, -1), num_neighbours=k) == 1


def test_knn_accuracy_is_the_majority():
    draw = np.random.RandomState(0)
    labels, test_labels = draw.randint(0, 3, 60), draw.randint(0, 3, 40)
    codes = np.eye(3)[labels] + 0.6 * draw.normal(size=(60, 3))
    test_codes = np.eye(3)[test_labels] + 0.6 * draw.normal(size=(40, 3))
    hits = 0
    for code, label in zip(test_codes, test_labels, strict=True):
        nearest = np.argsort(np.linalg.norm(codes - code, axis=1))[:5]
        hits += np.bincount(labels[nearest]).argmax() == label
    assert neighbours.knn_accuracy(codes, labels, test_codes, test_labels) == pytest.approx(hits / 40)


def test_knn_distance_is_the_mean_of_the_smallest():
    draw = np.random.RandomState(0)
    x, reference = draw.normal(size=(7, 2, 2)), draw.normal(size=(30, 2, 2))
    squares = np.square(x[:, None] - reference[None]).sum((2, 3))
    np.testing.assert_allclose(
        neighbours.knn_distance(x, reference, num_neighbours=4), np.sort(squares, axis=1)[:, :4].mean(1)
    )
    np.testing.assert_allclose(neighbours.knn_distance(x, reference, num_neighbours=99), squares.mean(1))
