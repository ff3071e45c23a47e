"""How well a score tells outliers from inliers; the larger the score, the more outlying, and outliers are positive."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def _labelled(inlier_scores: ArrayLike, outlier_scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(truth [N + M], 1 for an outlier; scores [N + M])."""
    inliers, outliers = np.asarray(inlier_scores, np.float64), np.asarray(outlier_scores, np.float64)
    return np.repeat([0, 1], [len(inliers), len(outliers)]), np.concatenate([inliers, outliers])


def auroc(inlier_scores: ArrayLike, outlier_scores: ArrayLike) -> float:
    """Area under the receiver operating characteristic.

        AUROC = P(s(outlier) > s(inlier)) + 1/2 P(s(outlier) = s(inlier))

    Args:
      inlier_scores: [N].
      outlier_scores: [M].

    Returns:
      In [0, 1]; 1/2 for a score that knows nothing.

    Source: Hanley & McNeil 1982.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_labelled(inlier_scores, outlier_scores)))


def aupr(inlier_scores: ArrayLike, outlier_scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a step function, the average precision; outliers are what is retrieved.

        AUPR = sum_k (recall_k - recall_{k-1}) precision_k

    over the thresholds from the highest score down. A score that knows nothing has M / (N + M).

    Args:
      inlier_scores: [N].
      outlier_scores: [M].
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_labelled(inlier_scores, outlier_scores)))


def fpr_at_tpr(inlier_scores: ArrayLike, outlier_scores: ArrayLike, *, tpr: float = 0.95) -> float:
    """The smallest share of inliers called outliers by a threshold that catches at least `tpr` of the outliers.

    Args:
      inlier_scores: [N].
      outlier_scores: [M].
      tpr: the true positive rate wanted, in (0, 1].

    Returns:
      The false positive rate, in [0, 1].
    """
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(*_labelled(inlier_scores, outlier_scores), drop_intermediate=False)
    return float(false_positive[np.argmax(true_positive >= tpr)])


def threshold(train_scores: ArrayLike, *, quantile: float = 0.95) -> float:
    """The score above which an example is called an outlier: a quantile of the training inliers' own scores.

    No outlier is needed to choose it. About 1 - quantile of unseen inliers lie above it, more where the model has
    learned its training examples by heart.

    Args:
      train_scores: [N].
    """
    return float(np.quantile(np.asarray(train_scores, np.float64), quantile))
