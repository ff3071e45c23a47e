"""Measures of outlier detection from scores; a larger score is more outlying, and outliers are the positive class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def _labelled(inlier_scores: ArrayLike, outlier_scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(truth [N + M], 1 for an outlier; the scores' ranks [N + M], which order infinite scores too)."""
    inliers, outliers = np.asarray(inlier_scores, np.float64), np.asarray(outlier_scores, np.float64)
    if inliers.ndim != 1 or outliers.ndim != 1 or not (len(inliers) and len(outliers)):
        raise ValueError(
            f"inlier_scores [N] and outlier_scores [M] need at least one score each; "
            f"got {inliers.shape} and {outliers.shape}"
        )
    scores = np.concatenate([inliers, outliers])
    if np.isnan(scores).any():
        raise ValueError(f"scores must not be NaN; {int(np.isnan(scores).sum())} of {len(scores)} are")
    return np.repeat([0, 1], [len(inliers), len(outliers)]), np.unique(scores, return_inverse=True)[1]


def auroc(inlier_scores: ArrayLike, outlier_scores: ArrayLike) -> float:
    """Area under the receiver operating characteristic.

        AUROC = P(s(outlier) > s(inlier)) + 1/2 P(s(outlier) = s(inlier))

    Args:
      inlier_scores: s, [N]; infinite scores are allowed.
      outlier_scores: [M].

    Returns:
      In [0, 1]; 1/2 for a score without information.

    Raises:
      ValueError: a class without scores, or NaN.

    Source: Hanley & McNeil 1982.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_labelled(inlier_scores, outlier_scores)))


def aupr(inlier_scores: ArrayLike, outlier_scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a step function: the average precision of retrieving outliers.

        AUPR = sum_k (recall_k - recall_{k-1}) precision_k

    over the thresholds from the highest score down.

    Args:
      inlier_scores: [N]; infinite scores are allowed.
      outlier_scores: [M].

    Returns:
      In (0, 1]; M / (N + M) for a score without information.

    Raises:
      ValueError: a class without scores, or NaN.

    Source: Davis & Goadrich 2006.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_labelled(inlier_scores, outlier_scores)))


def fpr_at_tpr(inlier_scores: ArrayLike, outlier_scores: ArrayLike, *, tpr: float = 0.95) -> float:
    """False positive rate at a true positive rate: the share of inliers lost to catch a given share of the outliers.

        min over thresholds tau of P(s(inlier) >= tau),   where P(s(outlier) >= tau) >= tpr

    Args:
      inlier_scores: s, [N]; infinite scores are allowed.
      outlier_scores: [M].
      tpr: the required true positive rate, in (0, 1].

    Returns:
      In [0, 1]; smaller = better.

    Raises:
      ValueError: a class without scores, NaN, or a rate outside (0, 1].

    Source: Liang, Li & Srikant 2018.
    """
    from sklearn.metrics import roc_curve

    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must lie in (0, 1]; got {tpr}")

    false_positive, true_positive, _ = roc_curve(*_labelled(inlier_scores, outlier_scores), drop_intermediate=False)
    return float(false_positive[np.argmax(true_positive >= tpr)])


def precision_at_n(inlier_scores: ArrayLike, outlier_scores: ArrayLike) -> float:
    """Precision at n: the share of outliers among the M examples of the largest scores, where there are M outliers.

        P = (a + (M - n) b / c) / M

    with n examples of scores above tau, the M-th largest, a of them outliers, and c at tau, b of them outliers. Ties
    count as they do on average in a random order.

    Args:
      inlier_scores: [N]; infinite scores are allowed.
      outlier_scores: [M].

    Returns:
      In [0, 1]; M / (N + M) for a score without information.

    Raises:
      ValueError: a class without scores, or NaN.

    Source: Campos et al. 2016.
    """
    truth, ranks = _labelled(inlier_scores, outlier_scores)
    num = int(truth.sum())
    tau = np.sort(ranks)[-num]
    above, tied = ranks > tau, ranks == tau
    return float((truth[above].sum() + (num - above.sum()) * truth[tied].mean()) / num)


def threshold(train_scores: ArrayLike, *, quantile: float = 0.95) -> float:
    """Threshold above which an example is called an outlier: a quantile of the scores of the training inliers.

        tau = quantile of s(x_n)

    Choosing it takes no outlier. About 1 - quantile of unseen inliers lie above it, and more where the model has
    overfitted its training examples.

    Args:
      train_scores: s, [N], finite.
      quantile: in [0, 1].

    Returns:
      tau, in units of the score.

    Raises:
      ValueError: no scores, scores that are not finite, or a quantile outside [0, 1].

    Source: Scholkopf et al. 2001, where 1 - quantile is nu.
    """
    scores = np.asarray(train_scores, np.float64)
    if scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"train_scores must be finite and not empty; got {scores.size} scores")
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must lie in [0, 1]; got {quantile}")
    return float(np.quantile(scores, quantile))
