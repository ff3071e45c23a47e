"""Precision, recall, density, coverage and memorisation against loops over every ball, and cases that are known."""

import numpy as np
import pytest

from genjax.evaluation import coverage


def norm(a, b):
    return np.sqrt(np.sum((a - b) ** 2))


def radius(point, points, k):
    """Distance to the k-th nearest of the other points."""
    return sorted(norm(points[point], other) for i, other in enumerate(points) if i != point)[k - 1]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_every_ball_by_hand(k):
    draw = np.random.RandomState(k)
    data, samples = draw.normal(size=(40, 3)), 0.7 * draw.normal(size=(30, 3)) + 0.4
    of_data, of_samples = ([radius(i, points, k) for i in range(len(points))] for points in (data, samples))
    within = np.array([[norm(y, x) <= r for x, r in zip(data, of_data, strict=True)] for y in samples])
    around = np.array([[norm(x, y) <= r for y, r in zip(samples, of_samples, strict=True)] for x in data])
    found = coverage.precision_recall(samples, data, num_neighbours=k)
    assert found.precision == pytest.approx(within.any(axis=1).mean())
    assert found.recall == pytest.approx(around.any(axis=1).mean())
    found = coverage.density_coverage(samples, data, num_neighbours=k)
    assert found.density == pytest.approx(within.sum() / (k * 30))
    assert found.coverage == pytest.approx(within.any(axis=0).mean())


def test_large_sets_are_worked_through_in_parts(monkeypatch):
    draw = np.random.RandomState(0)
    data, samples = draw.normal(size=(50, 2)), draw.normal(size=(43, 2))
    whole = coverage.precision_recall(samples, data), coverage.density_coverage(samples, data)
    monkeypatch.setattr(coverage, "_ROWS", 7)
    assert (coverage.precision_recall(samples, data), coverage.density_coverage(samples, data)) == whole


def test_the_data_themselves_and_what_is_far_from_them():
    data = np.random.RandomState(1).normal(size=(60, 4))
    assert coverage.precision_recall(data, data) == (1, 1)
    assert coverage.density_coverage(data, data) == pytest.approx((6 / 5, 1))
    assert coverage.precision_recall(data + 100, data) == (0, 0)
    assert coverage.density_coverage(data + 100, data) == (0, 0)
    twice = np.repeat(data, 4, axis=0)  # balls of width 0, which hold their own copies
    assert coverage.precision_recall(data, twice).precision == 1


def test_samples_of_the_datas_distribution():
    samples, data = np.random.RandomState(2).normal(size=(2, 800, 3))
    found = coverage.density_coverage(samples, data)
    # Naeem et al. 2020, section 3.3: a ball is empty where the k nearest of all 2N - 1 other points are of the data
    i = np.arange(5)
    assert found.density == pytest.approx(1, abs=0.1)
    assert found.coverage == pytest.approx(1 - np.prod((799 - i) / (1599 - i)), abs=0.02)
    assert min(coverage.precision_recall(samples, data)) > 0.9


def test_a_dropped_mode_lowers_recall_and_coverage_only():
    draw = np.random.RandomState(3)
    modes = np.array([[-20.0, 0], [20, 0]])
    data = modes[np.arange(400) % 2] + draw.normal(size=(400, 2))
    both, one = modes[np.arange(400) % 2] + draw.normal(size=(400, 2)), modes[0] + draw.normal(size=(400, 2))
    fair, dropped = coverage.precision_recall(both, data), coverage.precision_recall(one, data)
    assert fair.recall > 0.9 and dropped.recall == pytest.approx(0.5, abs=0.04)
    assert dropped.precision > 0.9 and fair.precision > 0.9
    fair, dropped = coverage.density_coverage(both, data), coverage.density_coverage(one, data)
    assert fair.coverage > 0.9 and dropped.coverage == pytest.approx(0.5, abs=0.04)
    assert dropped.density == pytest.approx(fair.density, abs=0.15)


def test_copies_of_training_examples_are_found():
    draw = np.random.RandomState(4)
    train, held_out, fresh = draw.normal(size=(200, 6)), draw.normal(size=(90, 6)), draw.normal(size=(80, 6))
    nearest = [np.array([min(norm(p, x) for x in train) for p in points]) for points in (fresh, held_out)]
    for quantile in (0.05, 0.5):
        found = coverage.nearest_training_distance(fresh, train, held_out, quantile=quantile)
        expected = [np.quantile(distances, quantile) for distances in nearest]
        np.testing.assert_allclose(found, expected)
    copies = coverage.nearest_training_distance(train[:80] + 1e-3, train, held_out)
    assert copies.samples < 0.01 * copies.held_out
    mostly_fresh = np.concatenate([fresh, train[:8]])
    few = coverage.nearest_training_distance(mostly_fresh, train, held_out, quantile=0.05)
    assert few.samples < 1e-6 < few.held_out


def test_sets_that_are_too_small_or_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"at least 4 samples each; got \(3, 2\) and \(9, 2\)"):
        coverage.precision_recall(np.zeros((3, 2)), np.zeros((9, 2)))
    with pytest.raises(ValueError, match=r"got \(9, 1\) and \(9, 2\)"):
        coverage.density_coverage(np.zeros((9, 1)), np.zeros((9, 2)))
