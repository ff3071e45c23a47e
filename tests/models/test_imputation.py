"""A VAE of incomplete examples against Gaussian data, of which all conditional densities are known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from genjax import losses, networks
from genjax.models import importance_weighted, imputation, vae
from genjax.types import Batch, Network

W = np.array([[1.3, 0.2], [-0.4, 0.9], [0.8, -1.1], [0.5, 0.6]])
MEAN = np.array([0.5, -1.0, 0.2, 2.0])
VARIANCE = 0.3
COVARIANCE = W @ W.T + VARIANCE * np.eye(4)
X = np.random.RandomState(0).multivariate_normal(MEAN, COVARIANCE, size=5)
MISSING = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
HIDDEN = np.where(MISSING, np.nan, X)
PARAMS = {"encoder": (), "decoder": ()}


def posterior(params, x):
    """The exact mean and covariance of z given what is observed, by the rule for Gaussians."""
    observed = jnp.asarray(~MISSING, x.dtype)
    precision = jnp.einsum("nd,di,dj->nij", observed, W, W) / VARIANCE + jnp.eye(2)[None]
    covariance = jnp.linalg.inv(precision)
    centred = jnp.where(jnp.isnan(x), 0, x - MEAN[None])
    return jnp.einsum("nij,nj->ni", covariance, centred @ W / VARIANCE), jnp.linalg.cholesky(covariance)


def prior(params, x):
    """A proposal that knows nothing of x."""
    return jnp.zeros((len(x), 2)), jnp.broadcast_to(jnp.eye(2), (len(x), 2, 2))


def parts_with(encode):
    return vae.VAE(
        Network(lambda key: (), encode),
        Network(lambda key: (), lambda params, z: z @ W.T + MEAN[None]),
        losses.observed(losses.gaussian_likelihood(variance=VARIANCE)),
        2,
        posterior=losses.FULL_COVARIANCE_GAUSSIAN,
    )


def conditional_mean(x, missing):
    """E[x_m|x_o] from the covariance of x alone."""
    filled = x.copy()
    for row, m in zip(filled, missing, strict=True):
        o = ~m
        row[m] = MEAN[m] + COVARIANCE[np.ix_(m, o)] @ np.linalg.solve(COVARIANCE[np.ix_(o, o)], row[o] - MEAN[o])
    return filled


def test_under_the_exact_posterior_one_draw_has_the_evidence_of_what_is_observed(key, float64):
    log_weight = importance_weighted.importance_sampler(PARAMS, jnp.asarray(HIDDEN), parts=parts_with(posterior))
    expected = [
        multivariate_normal.logpdf(x[~m], MEAN[~m], COVARIANCE[np.ix_(~m, ~m)]) if not m.all() else 0.0
        for x, m in zip(X, MISSING, strict=True)
    ]
    for each in jax.random.split(key, 3):
        np.testing.assert_allclose(log_weight(each), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("encode", [posterior, prior])
def test_missing_values_become_their_means_given_the_others(encode, key, float64):
    parts, x = parts_with(encode), jnp.asarray(HIDDEN)
    impute = jax.jit(partial(imputation.impute, PARAMS, x, parts=parts, num_samples=4000))
    found = np.stack([impute(each) for each in jax.random.split(key, 12)])
    assert (found[:, ~MISSING] == X[~MISSING]).all()
    mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(len(found))
    expected = conditional_mean(X, MISSING)
    assert (np.abs(mean - expected)[MISSING] < 4.5 * error[MISSING]).all()
    assert (error[MISSING] < 0.05).all() and np.abs(expected - MEAN)[MISSING].max() > 0.5


def test_complete_examples_stay_as_they_are(key, float64):
    found = imputation.impute(PARAMS, jnp.asarray(X), key, parts=parts_with(prior), num_samples=2)
    np.testing.assert_array_equal(found, X)


@pytest.mark.parametrize(
    "objective",
    [vae.objective, pytest.param(partial(importance_weighted.objective, num_samples=3), marks=pytest.mark.slow)],
)
def test_an_objective_takes_incomplete_examples(objective, key):
    mlp = networks.mlp((4,), (4,), hidden=(5,), activation=jnp.tanh)
    decoder = networks.mlp((2,), (4,), hidden=(5,), activation=jnp.tanh)
    likelihood = losses.gaussian_likelihood(variance=VARIANCE)
    whole = vae.VAE(networks.gaussian_heads(mlp), decoder, likelihood, 2)
    parts = whole._replace(encoder=networks.missing_as_zero(whole.encoder), likelihood=losses.observed(likelihood))
    params = vae.init_params(key, parts=parts)

    def loss(params, x, parts):
        return jnp.sum(objective(parts)(params, Batch(jnp.asarray(x, jnp.float32)), key)[0])

    of_incomplete = jax.jit(jax.value_and_grad(partial(loss, parts=parts)))
    value, gradient = of_incomplete(params, HIDDEN)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    value, gradient = of_incomplete(params, X)
    expected, slope = jax.value_and_grad(partial(loss, parts=whole))(params, X)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(slope), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
