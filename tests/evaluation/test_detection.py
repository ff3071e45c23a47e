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


def test_precision_at_n_is_that_of_a_random_order_of_ties(scores):
    inliers, outliers = scores
    truth = np.repeat([0, 1], [len(inliers), len(outliers)])
    draw, values = np.random.RandomState(1), np.concatenate(scores)
    found = []
    for _ in range(400):
        shuffled = draw.permutation(len(values))
        order = shuffled[np.argsort(-values[shuffled], kind="stable")]
        found.append(truth[order[: len(outliers)]].mean())
    error = np.std(found) / 20
    assert detection.precision_at_n(inliers, outliers) == pytest.approx(np.mean(found), abs=4 * error + 1e-12)


def test_what_separates_and_what_knows_nothing():
    assert detection.auroc([0, 1], [2, 3]) == detection.aupr([0, 1], [2, 3]) == 1
    assert detection.fpr_at_tpr([0, 1], [2, 3]) == 0
    assert detection.auroc([1] * 6, [1] * 2) == 0.5 and detection.aupr([1] * 6, [1] * 2) == 0.25


def test_the_threshold_leaves_the_share_of_inliers_above_it():
    scores = np.random.RandomState(0).normal(size=1000)
    assert (scores > detection.threshold(scores, quantile=0.95)).sum() == 50


MEASURES = [detection.auroc, detection.aupr, detection.fpr_at_tpr, detection.precision_at_n]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("scores", [([1, 2], []), ([], [1, 2]), ([], []), (1.0, 2.0)])
def test_a_class_without_scores_is_refused(measure, scores):
    with pytest.raises(ValueError, match="need at least one score each") as error:
        measure(*scores)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("measure", MEASURES)
def test_nan_is_refused_and_infinity_is_a_score(measure):
    with pytest.raises(ValueError, match="1 of 4 are"):
        measure([1, 2], [3, np.nan])
    assert measure([1, 2], [3, np.inf]) == measure([1, 2], [3, 9])
    assert measure([-np.inf, 2], [1, np.inf]) == measure([-5, 2], [1, 9])
    assert measure([1, np.inf], [2, np.inf]) == measure([1, 4], [2, 4])


def test_infinite_scores_of_outliers_are_perfect():
    assert detection.auroc([1, 2], [3, np.inf]) == 1
    assert detection.auroc([1, 2], [-np.inf, -np.inf]) == 0


@pytest.mark.parametrize("tpr", [0.0, -0.1, 1.1, float("nan")])
def test_a_rate_that_cannot_be_reached_is_refused(tpr):
    with pytest.raises(ValueError, match="tpr must lie"):
        detection.fpr_at_tpr([1, 2], [3, 4], tpr=tpr)


@pytest.mark.parametrize(("scores", "quantile"), [([], 0.9), ([1, np.nan], 0.9), ([1, np.inf], 0.9), ([1, 2], 1.1)])
def test_a_threshold_needs_finite_scores(scores, quantile):
    with pytest.raises(ValueError, match="must"):
        detection.threshold(scores, quantile=quantile)
