"""Probes on features of which is known what a line can read."""

import math

import numpy as np
import pytest
import sklearn.linear_model

from genjax.evaluation import probes


@pytest.fixture
def labels():
    return np.random.RandomState(0).randint(0, 3, 300)


def test_draws_hold_each_class_equally_and_no_row_twice(labels):
    rows = probes.draw_labels(labels, per_class=10, draws=12, seed=0)
    assert rows.shape == (12, 30)
    for draw in rows:
        assert len(set(draw)) == 30
        np.testing.assert_array_equal(np.bincount(labels[draw]), [10, 10, 10])
    assert len({tuple(draw) for draw in rows}) == 12
    np.testing.assert_array_equal(rows, probes.draw_labels(labels, per_class=10, draws=12, seed=0))


def test_too_few_examples_are_said(labels):
    with pytest.raises(ValueError, match="size of the smallest class"):
        probes.draw_labels(labels, per_class=200, draws=1, seed=0)


def test_separable_and_empty_features(labels):
    draw = np.random.RandomState(1)
    rows = probes.draw_labels(labels, per_class=20, draws=10, seed=0)
    clear = 1e3 * (np.eye(3)[labels] + 0.05 * draw.normal(size=(300, 3)))
    noise = draw.normal(size=(300, 3))
    found = probes.linear_probe(clear, labels, clear, labels, rows=rows)
    assert found.mean == 1 and found.standard_error == 0
    found = probes.linear_probe(noise, labels, draw.normal(size=(300, 3)), labels, rows=rows)
    assert abs(found.mean - 1 / 3) < 0.06 and 0 < found.standard_error < 0.02


def test_mean_and_standard_error():
    accuracies = np.array([0.8, 0.9, 0.85, 0.95])
    probe = probes.Probe(accuracies)
    assert probe.mean == pytest.approx(0.875)
    assert probe.standard_error == pytest.approx(np.sqrt(((accuracies - 0.875) ** 2).sum() / 3 / 4))


def test_the_strength_is_chosen_on_validation_rows():
    # what is learned from few rows of many noisy features is better with a strong penalty, and the probe finds it out
    draw = np.random.RandomState(0)
    labels = np.arange(2000) % 2
    features = draw.normal(size=(2000, 60)) + 0.25 * (2 * labels[:, None] - 1)
    rows = probes.draw_labels(labels[:1000], per_class=40, draws=10, seed=0)
    data = features[:1000], labels[:1000], features[1000:], labels[1000:]
    loose = probes.linear_probe(*data, rows=rows, strengths=(1e4,))
    tight = probes.linear_probe(*data, rows=rows, strengths=(1e-3,))
    chosen = probes.linear_probe(*data, rows=rows, strengths=(1e4, 1e-3))
    assert tight.mean > loose.mean + 0.02
    assert chosen.mean > tight.mean - 0.01


def test_scale_place_and_rotation_of_the_features_do_not_matter(labels):
    draw = np.random.RandomState(4)
    features = np.eye(3)[labels] + 0.6 * draw.normal(size=(300, 3))
    rotation, _ = np.linalg.qr(draw.normal(size=(3, 3)))
    rows = probes.draw_labels(labels, per_class=20, draws=3, seed=0)
    plain = probes.linear_probe(features, labels, features, labels, rows=rows)
    moved = 1e4 * features @ rotation + 7
    np.testing.assert_allclose(
        plain.accuracies, probes.linear_probe(moved, labels, moved, labels, rows=rows).accuracies
    )
    constant = np.ones((300, 2))
    assert probes.linear_probe(constant, labels, constant, labels, rows=rows).mean < 0.45


def test_the_test_set_changes_nothing_but_the_score(labels):
    draw = np.random.RandomState(3)
    features = np.eye(3)[labels] + 0.8 * draw.normal(size=(300, 3))
    rows = probes.draw_labels(labels, per_class=20, draws=3, seed=0)
    whole = probes.linear_probe(features, labels, features, labels, rows=rows).accuracies
    halves = [
        probes.linear_probe(features, labels, features[part], labels[part], rows=rows).accuracies
        for part in (slice(0, 150), slice(150, 300))
    ]
    np.testing.assert_allclose(whole, np.mean(halves, axis=0))


def test_the_class_accuracy_score_of_gaussian_classes_is_that_of_bayes():
    # N(-1, I) and N(1, I) along the diagonal of the plane: the best line is right in Phi(sqrt(2))
    draw = np.random.RandomState(0)
    label, asked = (np.arange(n) >= n // 2 for n in (2000, 600))  # one class after the other
    x, samples = (draw.normal(size=(len(y), 2)) + 2.0 * y[:, None] - 1 for y in (label, asked))
    found = probes.class_accuracy_score(samples, asked, x, label)
    expected = 0.5 * (1 + math.erf(1))
    assert found.standard_error == pytest.approx(np.sqrt(expected * (1 - expected) / 2000), rel=0.1)
    assert found.value == pytest.approx(expected, abs=4 * found.standard_error)
    # samples of the other class, and samples without any relation to what was asked for
    assert probes.class_accuracy_score(samples, ~asked, x, label).value == pytest.approx(1 - found.value, abs=0.01)
    aimless = probes.class_accuracy_score(draw.permutation(samples), asked, x, label)
    assert aimless.value < found.value - 0.1
    with pytest.raises(ValueError, match="at least 2 classes"):
        probes.class_accuracy_score(samples, np.zeros(600, int), x, label)


def test_ridge_reads_what_is_linear_and_nothing_else():
    draw = np.random.RandomState(0)
    h, t = draw.normal(size=(400, 3)), draw.normal(size=(300, 3))
    noise, test_noise = 2 * draw.normal(size=400), 2 * draw.normal(size=300)

    def target(h, noise):  # exactly; half of the variance, 4 of 8; as a square, which no line follows; not at all
        return np.stack([h @ [1, 2, 3] + 7, 2 * h[:, 0] + noise, h[:, 1] ** 2, noise], axis=1)

    rotation = np.linalg.qr(draw.normal(size=(3, 3)))[0]
    found = probes.ridge_probe(h, target(h, noise), t, target(t, test_noise))
    np.testing.assert_allclose(found, [1, 0.5, 0, 0], atol=0.1)
    assert found[0] > 0.9999
    np.testing.assert_allclose(
        probes.ridge_probe(50 * h @ rotation + 3, target(h, noise), 50 * t @ rotation + 3, target(t, test_noise)),
        found,
        atol=1e-8,
    )


def test_ridge_is_its_normal_equations_with_the_best_weight_left_out():
    draw = np.random.RandomState(1)
    h, y = draw.normal(size=(60, 20)), draw.normal(size=(60, 2))
    y[:, 1] += h[:, 0] * 3
    t, truth = draw.normal(size=(40, 20)), draw.normal(size=(40, 2))
    scale, mean = np.sqrt(np.mean((h - h.mean(0)) ** 2)), h.mean(0)
    x, s = (h - mean) / scale, (t - mean) / scale

    def fitted(x, y, at, weight, num=60):
        centred = x - x.mean(0)
        w = np.linalg.solve(centred.T @ centred + num * weight * np.eye(20), centred.T @ (y - y.mean(0)))
        return y.mean(0) + (at - x.mean(0)) @ w

    expected, weights = [], (0.01, 1.0, 100.0)
    for k in range(2):

        def left_out(weight, k=k):
            rest = np.arange(60)
            return sum((fitted(x[rest != n], y[rest != n, k], x[n], weight) - y[n, k]) ** 2 for n in range(60))

        predicted = fitted(x, y[:, k], s, min(weights, key=left_out))
        expected.append(1 - np.sum((truth[:, k] - predicted) ** 2) / np.sum((truth[:, k] - truth[:, k].mean()) ** 2))
    found = probes.ridge_probe(h, y, t, truth, weights=weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_strength_is_chosen_on_a_fifth_of_the_rows(monkeypatch):
    sizes = []

    class Counted(sklearn.linear_model.LogisticRegression):
        def fit(self, X, y):
            sizes.append(len(X))
            return super().fit(X, y)

    monkeypatch.setattr(sklearn.linear_model, "LogisticRegression", Counted)
    x, y = np.random.RandomState(0).normal(size=(20, 3)), np.arange(20) % 2
    probes.linear_probe(x, y, x, y, rows=np.arange(20)[None], strengths=(0.1, 1.0))
    assert sizes == [16, 16, 20]
