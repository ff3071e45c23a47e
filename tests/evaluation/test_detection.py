"""Detection measures against counting pairs and trying every threshold."""

import numpy as np
import pytest

from genjax.evaluation import detection


@pytest.fixture(params=[0, 1])
def scores(request):
    """(inlier scores, outlier scores), with ties where the parameter is 1."""
    draw = np.random.RandomState(0)
    inliers, outliers = draw.normal(size=80), draw.normal(1, 1, size=30)
    return (np.round(inliers), np.round(outliers)) if request.param else (inliers, outliers)


def test_auroc_is_the_share_of_pairs_in_order(scores):
    inliers, outliers = scores
    pairs = [(o > i) + 0.5 * (o == i) for i in inliers for o in outliers]
    assert detection.auroc(inliers, outliers) == pytest.approx(np.mean(pairs), rel=1e-12)


def test_aupr_is_the_sum_of_precisions_over_recall(scores):
    inliers, outliers = scores
    area, recall = 0.0, 0.0
    for level in sorted({*inliers, *outliers}, reverse=True):
        caught, false = (outliers >= level).sum(), (inliers >= level).sum()
        area += (caught / len(outliers) - recall) * caught / (caught + false)
        recall = caught / len(outliers)
    assert detection.aupr(inliers, outliers) == pytest.approx(area, rel=1e-12)


@pytest.mark.parametrize("tpr", [0.5, 0.95, 1.0])
def test_fpr_is_the_best_of_all_thresholds(scores, tpr):
    inliers, outliers = scores
    reached = [(inliers >= level).mean() for level in outliers if (outliers >= level).mean() >= tpr]
    assert detection.fpr_at_tpr(inliers, outliers, tpr=tpr) == pytest.approx(min(reached), rel=1e-12)


def test_what_separates_and_what_knows_nothing():
    assert detection.auroc([0, 1], [2, 3]) == detection.aupr([0, 1], [2, 3]) == 1
    assert detection.fpr_at_tpr([0, 1], [2, 3]) == 0
    assert detection.auroc([1] * 6, [1] * 2) == 0.5 and detection.aupr([1] * 6, [1] * 2) == 0.25


def test_the_threshold_leaves_the_share_of_inliers_above_it():
    scores = np.random.RandomState(0).normal(size=1000)
    assert (scores > detection.threshold(scores, quantile=0.95)).sum() == 50
