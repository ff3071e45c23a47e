"""What a linear classifier can read from features, with the uncertainty of which labels it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Probe(NamedTuple):
    """Test accuracies of a linear probe over draws of its labelled examples."""

    accuracies: np.ndarray  # [draws]

    @property
    def mean(self) -> float:
        """Mean accuracy over the draws."""
        return float(self.accuracies.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean: the draws' sample standard deviation / sqrt(draws)."""
        return float(self.accuracies.std(ddof=1) / np.sqrt(len(self.accuracies)))


def draw_labels(labels: ArrayLike, *, per_class: int, draws: int, seed: int) -> np.ndarray:
    """Rows of a training set whose labels a probe may see, `per_class` of each class in each draw.

    Args:
      labels: [N] integers.
      per_class: how many of each class, without repetition.
      draws: how many times.
      seed: of NumPy's frozen `RandomState`, so that all features are probed on the same draws.

    Returns:
      [draws, classes * per_class] indices, class after class.

    Raises:
      ValueError: if a class has fewer examples.
    """
    labels, draw = np.asarray(labels), np.random.RandomState(seed)
    members = [np.flatnonzero(labels == value) for value in np.unique(labels)]
    fewest = min(map(len, members))
    if fewest < per_class:
        raise ValueError(f"{per_class} labels a class asked for, and the smallest class has {fewest} examples")
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
    """Accuracy of multinomial logistic regression on frozen features, its strength C chosen without the test set.

    Features are centred and divided by one number, so that their mean variance over the labelled rows is 1: that
    favours none, and leaves a rotation of features as good as they are. Of each draw, every fifth row validates: the C
    that is best there (the smallest of equals) is refitted on all of the draw's rows, and tested.

    Args:
      features: [N, ...] of the training set; flattened.
      labels: [N].
      test_features: [M, ...].
      test_labels: [M].
      rows: [draws, n], as `draw_labels` gives them: the same for all features that are to be compared.
      strengths: values of C, the inverse weight of the L2 penalty.
    """
    from sklearn.linear_model import LogisticRegression

    x, t = _flat(features), _flat(test_features)
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


def _flat(features: ArrayLike) -> np.ndarray:
    features = np.asarray(features, np.float64)
    return features.reshape(len(features), -1)
