"""Imputation by PCA against conditional means of a Gaussian and against data of low rank."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from genjax.evaluation import imputation


@pytest.fixture
def complete():
    draw = np.random.RandomState(0)
    return draw.normal(size=(60, 2)) @ draw.normal(size=(2, 5)) + 0.3 * draw.normal(size=(60, 5)) + draw.normal(size=5)


def hidden(x, share=0.3):
    missing = np.random.RandomState(1).uniform(size=x.shape) < share
    return np.where(missing, np.nan, x), missing


def test_missing_values_are_conditional_means_under_the_covariance_of_the_model(complete):
    pca = PCA(2).fit(complete)
    x, missing = hidden(complete)
    covariance, expected = pca.get_covariance(), complete.copy()
    for row, m in zip(expected, missing, strict=True):
        o = ~m
        known = np.linalg.solve(covariance[np.ix_(o, o)], row[o] - pca.mean_[o])
        row[m] = pca.mean_[m] + covariance[np.ix_(m, o)] @ known
    np.testing.assert_allclose(imputation.impute_by_pca(pca, x), expected, rtol=1e-9)


def test_complete_examples_give_scikit_learns_fit(complete):
    found, expected = imputation.fit_pca(complete, rank=2, num_steps=3), PCA(2).fit(complete)
    np.testing.assert_allclose(found.get_covariance(), expected.get_covariance(), rtol=1e-9)


def test_data_of_low_rank_are_completed():
    draw = np.random.RandomState(0)
    complete = draw.normal(size=(200, 2)) @ draw.normal(size=(2, 8)) + draw.normal(size=8)
    x, missing = hidden(complete, 0.2)
    errors = []
    for num_steps in (1, 10, 100):
        filled = imputation.impute_by_pca(imputation.fit_pca(x, rank=2, num_steps=num_steps), x)
        errors.append(np.sqrt(np.mean(np.square(filled - complete)[missing])))
    assert errors[0] > 2 * errors[1] > 20 * errors[2]


def test_a_feature_that_is_never_observed_is_refused(complete):
    complete[:, 3] = np.nan
    with pytest.raises(ValueError, match="feature 3 has no observed value"):
        imputation.fit_pca(complete, rank=2)
