"""Linear probes of frozen features: how well a line reads classes from them, or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from genjax.evaluation.feature_sets import vectors


class Accuracy(NamedTuple):
    """A share of test examples that are classified correctly."""

    value: float
    standard_error: float  # binomial: of the choice of the test examples alone


class Probe(NamedTuple):
    """Test accuracies of a linear probe over draws of its labelled examples."""

    accuracies: np.ndarray  # [draws]

    @property
    def mean(self) -> float:
        """Mean accuracy over the draws."""
        return float(self.accuracies.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean: the draws' sample standard deviation / sqrt(draws)."""
        return float(self.accuracies.std(ddof=1) / np.sqrt(len(self.accuracies)))


def draw_labels(labels: ArrayLike, *, per_class: int, draws: int, seed: int) -> np.ndarray:
    """Rows of a training set whose labels a probe may use, `per_class` of each class in each draw.

    Args:
      labels: [N] integers.
      per_class: how many of each class, without repetition.
      draws: how many times.
      seed: of NumPy's frozen `RandomState`, so that all features are probed on the same draws.

    Returns:
      [draws, classes * per_class] indices, class after class.

    Raises:
      ValueError: a class with fewer examples.
    """
    labels, draw = np.asarray(labels), np.random.RandomState(seed)
    members = [np.flatnonzero(labels == value) for value in np.unique(labels)]
    fewest = min(map(len, members))
    if fewest < per_class:
        raise ValueError(f"per_class must be at most {fewest}, the size of the smallest class; got {per_class}")
    return np.array([np.concatenate([draw.permutation(m)[:per_class] for m in members]) for _ in range(draws)])


def linear_probe(
    features: ArrayLike,
    labels: ArrayLike,
    test_features: ArrayLike,
    test_labels: ArrayLike,
    *,
    rows: ArrayLike,
    strengths: Sequence[float] = (0.001, 0.01, 0.1, 1.0, 10.0),
) -> Probe:
    """Accuracy of multinomial logistic regression on frozen features, with its strength C chosen without the test set.

        p(y|h) = softmax(h W + b),   min over W, b of 1/2 ||W||_F^2 - C sum_n log p(y_n|h_n)

    Features are centred and divided by one number, so that their mean variance over the labelled rows is 1. That
    favours no feature, and rotated features are as good as the original ones. In each draw, every fifth row is for
    validation: the C that is best there (the smallest of equals) is refitted on all rows of the draw and tested.

    Args:
      features: h, [N, ...] of the training set; flattened.
      labels: y, [N].
      test_features: [M, ...].
      test_labels: [M].
      rows: [draws, n], as `draw_labels` makes them: the same for all features to be compared.
      strengths: values of C, the inverse weight of the L2 penalty.

    Returns:
      The test accuracies, [draws], in [0, 1].

    Raises:
      ValueError: features that are not finite.

    Source: Alain & Bengio 2017.
    """
    from sklearn.linear_model import LogisticRegression

    x, t = vectors(features), vectors(test_features)
    y, truth = np.asarray(labels), np.asarray(test_labels)

    def accuracy(strength: float, fit: np.ndarray, inputs: np.ndarray, targets: np.ndarray) -> float:
        mean = x[fit].mean(axis=0)
        scale = np.sqrt(np.mean(np.square(x[fit] - mean))) or 1.0  # features that never vary stay 0
        probe = LogisticRegression(C=strength, max_iter=1000).fit((x[fit] - mean) / scale, y[fit])
        return float(probe.score((inputs - mean) / scale, targets))

    def one(draw: np.ndarray) -> float:
        validating = np.arange(len(draw)) % 5 == 4
        fit, valid = draw[~validating], draw[validating]
        best = max(sorted(strengths), key=lambda strength: accuracy(strength, fit, x[valid], y[valid]))
        return accuracy(best, draw, t, truth)

    return Probe(np.array([one(draw) for draw in np.asarray(rows)]))


def class_accuracy_score(
    samples: ArrayLike,
    sample_labels: ArrayLike,
    data: ArrayLike,
    labels: ArrayLike,
    *,
    strengths: Sequence[float] = (0.01, 0.1, 1.0),
) -> Accuracy:
    """Accuracy on real data of a classifier that has seen samples of a conditional model alone.

        CAS = 1/M sum_i 1[argmax_y p(y|x_i) = y_i],   p(y|x) fitted to the samples

    It is low where samples are not of their class, and where they miss much of it. Compare it with the score of as many
    real training examples in place of the samples. The paper trains a deep network on the samples; this is logistic
    regression, so the numbers are not those of the paper.

    Args:
      samples: x of the samples, [N, ...]; flattened.
      sample_labels: the classes that were asked for, [N], of at least two classes.
      data: held-out real examples, [M, ...].
      labels: [M].
      strengths: values of C, the inverse weight of the L2 penalty.

    Returns:
      The accuracy, in [0, 1].

    Raises:
      ValueError: values that are not finite, or samples of a single class.

    Source: Ravuri & Vinyals 2019, there with a residual network.
    """
    rows = np.random.RandomState(0).permutation(len(np.asarray(sample_labels)))[None]
    found = linear_probe(samples, sample_labels, data, labels, rows=rows, strengths=strengths).accuracies
    accuracy = float(found[0])
    return Accuracy(accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(np.asarray(labels)))))


def ridge_probe(
    features: ArrayLike,
    targets: ArrayLike,
    test_features: ArrayLike,
    test_targets: ArrayLike,
    *,
    weights: Sequence[float] = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0),
) -> np.ndarray:
    """Coefficients of determination of ridge regression on frozen features, one for each target.

        R^2_k = 1 - (sum_n (y_nk - y'_nk)^2) / (sum_n (y_nk - mean y_k)^2),   y' = h W + b on the test set
        min over W, b of 1/N sum_n ||y_n - h_n W - b||^2 + lambda ||W||^2

    Features are centred and divided by one number, so that their mean variance is 1: rotated features are as good as
    the original ones. Of each target, lambda is the one of least error in leave-one-out cross-validation on the
    training set.

    Args:
      features: h, [N, ...] of the training set; flattened.
      targets: y, [N, K].
      test_features: [M, ...].
      test_targets: [M, K].
      weights: values of lambda.

    Returns:
      [K], at most 1; 0 for the mean of the test targets, negative for what is worse.

    Raises:
      ValueError: features that are not finite.

    Source: Hoerl & Kennard 1970; Alain & Bengio 2017.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score

    x, t = vectors(features), vectors(test_features)
    mean = x.mean(axis=0)
    scale = np.sqrt(np.mean(np.square(x - mean))) or 1.0  # features that never vary stay 0
    probe = RidgeCV([len(x) * weight for weight in weights], alpha_per_target=True)
    probe.fit((x - mean) / scale, np.asarray(targets, np.float64))
    return np.asarray(r2_score(test_targets, probe.predict((t - mean) / scale), multioutput="raw_values"))
