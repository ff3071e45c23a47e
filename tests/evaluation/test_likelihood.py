"""Importance-sampled likelihoods against closed forms, quadrature and probabilistic PCA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from sklearn.decomposition import PCA

from genjax import data, stochastic
from genjax.evaluation.likelihood import log_likelihood
from genjax.losses import BERNOULLI, GAUSSIAN
from genjax.models import importance_weighted, vae
from genjax.types import Network


def linear_gaussian(w, m, variance, x, *, widen=0.0):
    """log w of x = W z + m + e under its exact posterior, with log-variances widened: a proposal of known quality."""
    precision = w.T @ w / variance + np.eye(w.shape[1])
    covariance = np.linalg.inv(precision)
    assert np.allclose(covariance, np.diag(np.diag(covariance)))
    posterior = (jnp.asarray((x - m) @ w @ covariance / variance), jnp.asarray(np.log(np.diag(covariance)) + widen))
    parts = vae.VAE(
        Network(None, lambda p, x: (posterior[0], jnp.broadcast_to(posterior[1][None], posterior[0].shape))),
        Network(None, lambda p, z: (z @ jnp.asarray(w.T) + jnp.asarray(m)[None], jnp.log(variance))),
        GAUSSIAN,
        w.shape[1],
    )
    return importance_weighted.importance_sampler({"encoder": None, "decoder": None}, jnp.asarray(x), parts=parts)


@pytest.fixture
def exact(float64):
    draw = np.random.RandomState(0)
    w = np.linalg.qr(draw.randn(6, 2))[0] * [1.5, 0.7]
    m, variance, x = draw.randn(6), 0.3, draw.randn(5, 6) * 1.3
    return w, m, variance, x, scipy.stats.multivariate_normal(m, w @ w.T + variance * np.eye(6)).logpdf(x)


def test_one_sample_of_the_exact_posterior_is_the_likelihood(exact, key):
    w, m, variance, x, expected = exact
    found = log_likelihood(linear_gaussian(w, m, variance, x), key, num_samples=1)
    np.testing.assert_allclose(found.value, expected, rtol=1e-10)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-7)


def test_converges_to_the_exact_likelihood_within_its_error(exact, key):
    w, m, variance, x, expected = exact
    found = log_likelihood(linear_gaussian(w, m, variance, x, widen=0.8), key, num_samples=20_000, chunk_size=1000)
    error = np.asarray(found.standard_error)
    assert np.all(np.abs(found.value - expected) < 4 * error) and np.all(error < 0.02) and np.all(error > 1e-4)


def test_the_error_is_the_spread_over_keys(exact, key):
    w, m, variance, x, _ = exact
    log_weight = linear_gaussian(w, m, variance, x, widen=0.8)
    found = jax.vmap(lambda k: log_likelihood(log_weight, k, num_samples=200))(jax.random.split(key, 400))
    np.testing.assert_allclose(np.std(found.value, axis=0), np.mean(found.standard_error, axis=0), rtol=0.2)


@pytest.mark.parametrize("num_samples", [1, 100, *(pytest.param(num, marks=pytest.mark.slow) for num in (7, 333))])
def test_chunks_change_nothing_but_rounding(num_samples, key):
    scale = jnp.array([0.1, 3.0, 30.0])

    def log_weight(key):
        return -90 + scale * jax.random.normal(key, (3,))

    drawn = jax.vmap(lambda i: log_weight(jax.random.fold_in(key, i)))(jnp.arange(num_samples))
    whole = scipy.special.logsumexp(np.asarray(drawn, np.float64), axis=0) - np.log(num_samples)
    v = np.exp(np.asarray(drawn, np.float64) - np.log(num_samples) - whole)
    error = np.sqrt(np.maximum(np.sum(v**2, axis=0) - 1 / num_samples, 0))
    for chunk_size in (1, 10, 64, 1000):
        found = jax.jit(lambda k, c=chunk_size: log_likelihood(log_weight, k, num_samples=num_samples, chunk_size=c))(
            key
        )
        np.testing.assert_allclose(found.value, whole, rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(found.standard_error, error, rtol=1e-3, atol=1e-3)


def test_impossible_examples_have_no_likelihood_and_are_no_nan(key):
    def log_weight(key):
        return jnp.array([-jnp.inf, 0.0]) + jax.random.normal(key, (2,))

    value = np.asarray(log_likelihood(log_weight, key, num_samples=20, chunk_size=3).value)
    assert value[0] == -np.inf and np.isfinite(value[1])


def test_a_nonlinear_decoder_by_quadrature(key, float64):
    # one latent dimension, Bernoulli pixels of logits that wind with z; a clumsy proposal
    x = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    phase = np.arange(4.0)

    def decode(params, z):
        return 3 * jnp.sin(2 * z + phase[None])

    def joint(z, row):
        logits = 3 * np.sin(2 * z + phase)
        return np.exp(np.sum(row * logits - np.logaddexp(0, logits))) * scipy.stats.norm.pdf(z)

    expected = [np.log(scipy.integrate.quad(joint, -9, 9, args=(row,), limit=200)[0]) for row in x]
    encoder = Network(None, lambda p, x: (0.3 * jnp.ones((len(x), 1)), 0.4 * jnp.ones((len(x), 1))))
    parts = vae.VAE(encoder, Network(None, decode), BERNOULLI, 1)
    log_weight = importance_weighted.importance_sampler({"encoder": None, "decoder": None}, jnp.asarray(x), parts=parts)
    found = jax.jit(lambda k: log_likelihood(log_weight, k, num_samples=50_000, chunk_size=2000))(key)
    assert np.all(np.abs(found.value - np.asarray(expected)) < 4 * found.standard_error)
    assert np.all(found.standard_error < 0.02)


@pytest.mark.slow
def test_probabilistic_pca_of_the_digits(key, float64):
    # Tipping & Bishop 1999: the maximum likelihood in closed form; scikit-learn's score is its log-likelihood
    digits = data.load("digits")
    train, test = (split.x.reshape(len(split.x), -1) / digits.scale for split in (digits.train, digits.test))
    pca = PCA(8, svd_solver="full").fit(train)
    w = np.asarray(pca.components_).T * np.sqrt(pca.explained_variance_ - pca.noise_variance_)
    log_weight = linear_gaussian(w, pca.mean_, pca.noise_variance_, test, widen=0.1)
    found = log_likelihood(log_weight, key, num_samples=500, chunk_size=100)
    error = np.sqrt(np.sum(np.square(found.standard_error))) / len(test)
    assert abs(np.mean(found.value) - pca.score(test)) < 4 * error and error < 0.002


def test_no_samples_are_refused(key):
    with pytest.raises(ValueError, match="must be at least 1"):
        log_likelihood(lambda key: stochastic.sample_gaussian(jnp.zeros(2), jnp.zeros(2), key), key, num_samples=0)
