"""scikit-learn's own checks of estimators pass, without an exception."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from genjax.sklearn import VAE, Autoencoder, Denoiser, OutlierDetector

QUICK = {"max_iter": 2, "hidden_layer_sizes": ()}


@pytest.mark.slow
@parametrize_with_checks([Autoencoder(**QUICK)])
def test_autoencoder(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([VAE(**QUICK), OutlierDetector(**QUICK), Denoiser(**QUICK)])
def test_other_estimators(estimator, check):
    check(estimator)
