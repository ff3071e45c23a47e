"""Disentanglement by prediction: how well codes, or differences of codes, tell known factors of variation.

Codes are [N, d], factors [N, F] integers from 0, row by row of the same examples. Random choices are those of NumPy's
frozen `RandomState(seed)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

TREES = 10
"""Trees of each random forest."""
GROUP = 64
"""Examples, or pairs of them, that share the value of a factor."""


def _halves(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random half of the rows for fitting, and the other for testing."""
    order = np.random.RandomState(seed).permutation(num)
    return order[: num // 2], order[num // 2 :]


class DCI(NamedTuple):
    """The three scores of Eastwood & Williams 2018, each in [0, 1], larger is better."""

    disentanglement: float  # each dimension predicts one factor
    completeness: float  # each factor is predicted by one dimension
    informativeness: float  # the factors are predicted correctly


def importance_scores(importance: ArrayLike) -> tuple[float, float]:
    """Disentanglement and completeness of a matrix of relative importance.

        D = sum_j w_j (1 - H_j / log F),   H_j = -sum_k p_jk log p_jk,   p_jk = R_jk / sum_k R_jk

    with weights w_j proportional to the sums of the rows, and C the same of the columns, with log d for log F.

    Args:
      importance: R, [d, F], >= 0.

    Returns:
      (D, C), in [0, 1]; 1 for one entry in each row, or in each column. Eastwood & Williams take the plain mean of the
      columns for C; of random forests, whose importances add up to 1, both are the same.

    Source: Eastwood & Williams 2018, section 2.
    """
    importance = np.asarray(importance, np.float64)
    return _concentration(importance), _concentration(importance.T)


def _concentration(rows: np.ndarray) -> float:
    from scipy.stats import entropy

    weight = rows.sum(axis=1)
    if rows.shape[1] < 2 or not weight.any():
        return float(weight.any())
    used = weight > 0
    return float(np.average(1 - entropy(rows[used], axis=1, base=rows.shape[1]), weights=weight[used]))


def dci(codes: ArrayLike, factors: ArrayLike, *, seed: int = 0) -> DCI:
    """Disentanglement, completeness and informativeness, by a random forest that classifies each factor.

    Half of the examples fit the forests, whose importances are the mean decrease of impurity, and the informativeness
    is the mean accuracy on the other half. Published values differ by the predictor: Eastwood & Williams regress by
    Lasso or random forests, and give the error; Locatello et al. 2019 use gradient-boosted trees and accuracy.

    Args:
      codes: [N, d].
      factors: [N, F].
      seed: of the halves and the forests.

    Source: Eastwood & Williams 2018, section 2.
    """
    from sklearn.ensemble import RandomForestClassifier

    codes, factors = np.asarray(codes), np.asarray(factors)
    fit, test = _halves(len(codes), seed)
    importance, accuracy = [], []
    for column in factors.T:
        # all dimensions at every split, so that one without information is not used for want of another
        forest = RandomForestClassifier(TREES, max_features=codes.shape[1], random_state=seed)
        forest.fit(codes[fit], column[fit])
        importance.append(forest.feature_importances_)
        accuracy.append(forest.score(codes[test], column[test]))
    return DCI(*importance_scores(np.transpose(importance)), float(np.mean(accuracy)))


def separated_attribute_predictability(
    codes: ArrayLike, factors: ArrayLike, *, categorical: Sequence[int] = (), seed: int = 0
) -> float:
    """How much better the best single dimension predicts each factor than the second best: the SAP.

        mean over k of S_{j1 k} - S_{j2 k},   S_jk = Cov(z_j, v_k)^2 / (Var z_j Var v_k)

    For a categorical factor, S_jk is the balanced accuracy, on half of the examples, of predicting the class whose mean
    on the other half is nearest to z_j. Locatello et al. 2019 take linear classifiers for all factors.

    Args:
      codes: z, [N, d].
      factors: v, [N, F].
      categorical: the columns of factors whose values have no order.
      seed: of the halves.

    Returns:
      In [0, 1], larger is better.

    Source: Kumar, Sattigeri & Balakrishnan 2018, section 3.
    """
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors)
    halves = _halves(len(codes), seed)
    scores = [
        _accuracies(codes, column, halves) if k in categorical else _determinations(codes, column)
        for k, column in enumerate(factors.T)
    ]
    ranked = np.sort(np.concatenate([np.array(scores), np.zeros((len(scores), 1))], axis=1), axis=1)
    return float(np.mean(ranked[:, -1] - ranked[:, -2]))


def _determinations(codes: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Squared correlation of each dimension, [d]; 0 of one that never varies."""
    centred, target = codes - codes.mean(axis=0), factor - factor.mean()
    variances = np.sum(centred**2, axis=0) * np.sum(target**2)
    return np.where(variances > 0, (target @ centred) ** 2 / np.where(variances > 0, variances, 1), 0)


def _accuracies(codes: np.ndarray, factor: np.ndarray, halves: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Balanced test accuracy of each dimension, [d], where the class with the nearest mean is predicted."""
    from sklearn.metrics import balanced_accuracy_score

    fit, test = halves
    classes = np.unique(factor[fit])
    means = np.array([codes[fit][factor[fit] == value].mean(axis=0) for value in classes])  # [K, d]
    predicted = classes[np.abs(codes[test] - means[:, None]).argmin(axis=0)]  # [M, d]
    return np.array([balanced_accuracy_score(factor[test], column) for column in predicted.T])


def _sharing(draw: np.random.RandomState, factor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each row, a random row with the same value of the factor."""
    order = np.argsort(factor, kind="stable")
    count = np.bincount(factor)
    start = np.cumsum(count) - count
    value = factor[rows]
    return order[start[value] + (draw.random_sample(rows.shape) * count[value]).astype(int)]


def beta_vae_score(codes: ArrayLike, factors: ArrayLike, *, num_votes: int = 1000, seed: int = 0) -> float:
    """Accuracy of a linear classifier that tells which factor pairs of examples share: the BetaVAE score.

        b = 1/L sum_l |z_l - z'_l|,   v_lk = v'_lk,   predict k from b

    Half of the votes fit a logistic regression, and the others test it.

    Args:
      codes: z, [N, d]; each dimension is divided by its standard deviation, which the paper does not do.
      factors: v, [N, F].
      num_votes: of all factors together, which are drawn at random; L is 64 pairs.
      seed: of all draws.

    Returns:
      In [0, 1], larger is better; 1/F is chance. It saturates: a rotated code may reach 1 too.

    Source: Higgins et al. 2017, section 3.
    """
    from sklearn.linear_model import LogisticRegression

    factors, codes, draw = np.asarray(factors), _scaled(codes), np.random.RandomState(seed)
    shared = draw.randint(factors.shape[1], size=num_votes)
    one = draw.randint(len(codes), size=(num_votes, GROUP))
    other = np.empty_like(one)
    for k, column in enumerate(factors.T):
        other[shared == k] = _sharing(draw, column, one[shared == k])
    features = np.abs(codes[one] - codes[other]).mean(axis=1)
    half = num_votes // 2
    classifier = LogisticRegression(C=100.0, max_iter=1000).fit(features[:half], shared[:half])
    return float(classifier.score(features[half:], shared[half:]))


def factor_vae_score(codes: ArrayLike, factors: ArrayLike, *, num_votes: int = 1600, seed: int = 0) -> float:
    """Accuracy of telling which factor was kept by the dimension that varies least: the FactorVAE score.

        j = argmin_j Var_l(z_lj) / Var(z_j),   v_lk the same for all l,   predict the most frequent k of j

    Half of the votes count which factor is most frequent of each dimension, and the others test it.

    Args:
      codes: z, [N, d], without inactive dimensions, whose variance is of noise.
      factors: v, [N, F].
      num_votes: of all factors together, which are drawn at random; each is of 64 examples.
      seed: of all draws.

    Returns:
      In [0, 1], larger is better; 1/F is chance, and the value of a code without dimensions.

    Source: Kim & Mnih 2018, section 5.
    """
    factors, codes, draw = np.asarray(factors), _scaled(codes), np.random.RandomState(seed)
    if not codes.shape[1]:
        return 1 / factors.shape[1]
    shared = draw.randint(factors.shape[1], size=num_votes)
    rows = np.repeat(draw.randint(len(codes), size=(num_votes, 1)), GROUP, axis=1)
    for k, column in enumerate(factors.T):
        rows[shared == k] = _sharing(draw, column, rows[shared == k])
    steadiest = codes[rows].var(axis=1).argmin(axis=1)
    half = num_votes // 2
    votes = np.zeros((codes.shape[1], factors.shape[1]))
    np.add.at(votes, (steadiest[:half], shared[:half]), 1)
    return float(np.mean(votes.argmax(axis=1)[steadiest[half:]] == shared[half:]))


def _scaled(codes: ArrayLike) -> np.ndarray:
    codes = np.asarray(codes, np.float64)
    deviation = codes.std(axis=0)
    return codes / np.where(deviation > 0, deviation, 1)
