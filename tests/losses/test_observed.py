"""Likelihoods of examples with missing values against those of the features that are left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.stats import norm

from genjax import losses

DRAW = np.random.RandomState(0)
X = DRAW.choice([0.0, 0.25, 0.5, 1.0], size=(4, 2, 3))
MISSING = np.zeros(X.shape, bool)
MISSING[0, :, :2], MISSING[2], MISSING[3] = np.eye(2), True, True
MISSING[2, 1, 2] = False  # the second row is complete, the third has one value, and the fourth none
HIDDEN = np.where(MISSING, np.nan, X)
MEAN, LOG_VARIANCE = DRAW.normal(size=(2, *X.shape))
EACH = {
    "BERNOULLI": (losses.BERNOULLI, MEAN),
    "GAUSSIAN": (losses.GAUSSIAN, (MEAN, LOG_VARIANCE)),
    "one variance": (losses.GAUSSIAN, (MEAN, np.float64(0.3))),
    "fixed variance": (losses.gaussian_likelihood(variance=0.2), MEAN),
    "binomial": (losses.binomial_likelihood(num_trials=4), MEAN),
    "logistic": (losses.discretized_logistic_likelihood(num_levels=5), (MEAN, LOG_VARIANCE)),
    "poisson": (losses.poisson_likelihood(scale=4.0), MEAN),
}
each_likelihood = pytest.mark.parametrize("name", EACH)


@each_likelihood
def test_it_is_the_likelihood_of_what_is_observed(name, float64):
    likelihood, output = EACH[name]
    output = jax.tree.map(jnp.asarray, output)
    found = losses.observed(likelihood).negative_log_likelihood(output, HIDDEN)
    for row, value in enumerate(found):
        kept = ~MISSING[row]
        alone = jax.tree.map(lambda leaf, row=row, kept=kept: leaf[row][kept][None] if leaf.ndim else leaf, output)
        expected = likelihood.negative_log_likelihood(alone, X[row][kept][None]) if kept.any() else [0.0]
        np.testing.assert_allclose(value, expected[0], rtol=1e-12)


@each_likelihood
def test_with_all_features_it_is_the_likelihood_itself(name, float64):
    likelihood, output = EACH[name]
    output, complete = jax.tree.map(jnp.asarray, output), losses.observed(likelihood)
    expected = likelihood.negative_log_likelihood(output, X)
    np.testing.assert_allclose(complete.negative_log_likelihood(output, X), expected, rtol=1e-12)
    assert complete.mean is likelihood.mean and complete.sample is likelihood.sample


def test_a_gaussian_is_scipys(float64):
    terms = -norm.logpdf(X, MEAN, np.exp(LOG_VARIANCE / 2))
    found = losses.observed(losses.GAUSSIAN).negative_log_likelihood((MEAN, LOG_VARIANCE), HIDDEN)
    np.testing.assert_allclose(found, np.where(MISSING, 0, terms).sum((1, 2)), rtol=1e-12)


@each_likelihood
def test_missing_values_move_nothing(name, float64):
    likelihood, output = EACH[name]
    loss = losses.observed(likelihood).negative_log_likelihood
    output = jax.tree.map(jnp.asarray, output)
    for leaf in jax.tree.leaves(jax.grad(lambda y: jnp.sum(loss(y, HIDDEN)))(output)):
        assert np.isfinite(leaf).all()
        assert leaf.ndim == 0 or (((leaf != 0) <= ~MISSING).all() and (leaf != 0).any())
    check_grads(lambda y: loss(y, HIDDEN), (output,), order=1, modes=["rev"])


def test_an_output_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="broadcast"):
        losses.observed(losses.BERNOULLI).negative_log_likelihood(jnp.zeros((4, 5)), HIDDEN)
