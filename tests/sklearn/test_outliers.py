"""Outlier detection: scores, the threshold, and an isolation forest beside it."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest

from genjax.evaluation.detection import auroc
from genjax.sklearn import OutlierDetector


@pytest.fixture(scope="module")
def split():
    """Benign training rows; held-out benign rows, and malignant ones as outliers."""
    X, y = load_breast_cancer(return_X_y=True)
    return X[y == 1][:250], X[y == 1][250:], X[y == 0]


@pytest.fixture(scope="module")
def detector(split):
    return OutlierDetector(max_iter=60, contamination=0.1, random_state=0).fit(split[0])


def test_malignant_rows_are_outliers_about_as_well_as_to_an_isolation_forest(split, detector):
    train, inliers, outliers = split
    forest = IsolationForest(random_state=0).fit(train)
    found = auroc(-detector.score_samples(inliers), -detector.score_samples(outliers))
    assert found > 0.88
    assert found > auroc(-forest.score_samples(inliers), -forest.score_samples(outliers)) - 0.06


def test_contamination_is_the_share_of_training_rows_that_are_outliers(split, detector):
    assert np.mean(detector.predict(split[0]) == -1) == 0.1
    np.testing.assert_array_equal(
        detector.decision_function(split[1]), detector.score_samples(split[1]) - detector.offset_
    )
    assert set(detector.predict(split[2])) <= {-1, 1}


def test_absurd_values_are_outliers_and_not_nan(split, detector):
    row = split[0][:1].copy()
    row[0, 3] = 1e300
    assert np.isfinite(detector.score_samples(row)).all()
    assert detector.predict(row) == [-1]


@pytest.mark.parametrize("contamination", [0, 0.6, "auto"])
def test_contamination_is_a_share_up_to_a_half(split, contamination):
    with pytest.raises(ValueError, match="'contamination' parameter of OutlierDetector"):
        OutlierDetector(contamination=contamination).fit(split[0])
