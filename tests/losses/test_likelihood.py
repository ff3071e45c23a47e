"""Likelihood records: normalised densities, their means, samplers and optima."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from jax.test_util import check_grads

from genjax.losses import BERNOULLI, GAUSSIAN, gaussian_likelihood, squared_error


def test_bernoulli_sums_to_one(key, float64):
    logits = jax.random.normal(key, (1, 6)) * 3
    x = jnp.array(list(itertools.product([0.0, 1.0], repeat=6)))
    log_p = -BERNOULLI.negative_log_likelihood(jnp.repeat(logits, 64, axis=0), x)
    np.testing.assert_allclose(np.sum(np.exp(log_p)), 1, rtol=1e-12)


def test_gaussians_are_scipys(key, float64):
    mean, x = jax.random.normal(key, (2, 3, 5))
    expected = [-scipy.stats.multivariate_normal.logpdf(a, m, 0.3 * np.eye(5)) for a, m in zip(x, mean, strict=True)]
    np.testing.assert_allclose(gaussian_likelihood(variance=0.3).negative_log_likelihood(mean, x), expected, rtol=1e-6)
    np.testing.assert_allclose(GAUSSIAN.negative_log_likelihood((mean, jnp.log(0.3)), x), expected, rtol=1e-12)
    s = jax.random.normal(jax.random.fold_in(key, 1), (3, 5))
    expected = -np.sum(scipy.stats.norm.logpdf(x, mean, np.exp(s / 2)), axis=1)
    np.testing.assert_allclose(GAUSSIAN.negative_log_likelihood((mean, s), x), expected, rtol=1e-12)


def test_gaussian_integrates_to_one(float64):
    def density(x):
        return float(
            jnp.exp(-GAUSSIAN.negative_log_likelihood((jnp.full((1, 1), 0.4), jnp.log(0.2)), jnp.full((1, 1), x))[0])
        )

    np.testing.assert_allclose(scipy.integrate.quad(density, -6, 6, epsabs=1e-10)[0], 1, rtol=1e-8)


def test_best_scalar_variance_is_the_mean_squared_residual(key, float64):
    mean, x = jax.random.normal(key, (2, 50, 4))

    def total(s):
        return jnp.mean(GAUSSIAN.negative_log_likelihood((mean, s), x))

    best = jnp.log(jnp.mean((x - mean) ** 2))
    np.testing.assert_allclose(jax.grad(total)(best), 0, atol=1e-12)
    assert total(best) < min(total(best - 0.1), total(best + 0.1))


def test_weighted_squared_error_is_a_gaussian_of_another_variance(key, float64):
    # lambda_2 ||x - x'||^2 + lambda_1 KL = lambda_1 (-log p + KL) + const, at variance lambda_1 / (2 lambda_2)
    rate_weight, distortion_weight = 0.7, 2.5
    mean, x = jax.random.normal(key, (2, 8, 3))
    negative_log_likelihood = gaussian_likelihood(
        variance=rate_weight / (2 * distortion_weight)
    ).negative_log_likelihood(mean, x)
    difference = distortion_weight * squared_error(mean, x) - rate_weight * negative_log_likelihood
    np.testing.assert_allclose(difference, difference[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("likelihood", "output", "variance"),
    [
        (BERNOULLI, np.array([[-1.0, 0.0, 2.0]], np.float32), lambda m: m * (1 - m)),
        (gaussian_likelihood(variance=0.3), np.array([[-1.0, 0.0, 2.0]], np.float32), lambda m: 0.3),
        (GAUSSIAN, (np.array([[-1.0, 0.0, 2.0]], np.float32), np.log(np.float32(0.3))), lambda m: 0.3),
    ],
)
def test_samples_have_the_mean_and_variance(likelihood, output, variance, key):
    num = 20_000
    output = jax.tree.map(lambda a: jnp.repeat(jnp.asarray(a), num, axis=0) if np.ndim(a) else jnp.asarray(a), output)
    mean, x = np.asarray(likelihood.mean(output)), np.asarray(likelihood.sample(output, key))
    exact = variance(mean[0])
    assert np.all(np.abs(x.mean(0) - mean[0]) < 4 * np.sqrt(exact / num))
    np.testing.assert_allclose(x.var(0), exact, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("likelihood", [BERNOULLI, gaussian_likelihood(variance=0.3)])
def test_gradients(likelihood, key, float64):
    output, x = jax.random.normal(key, (3, 2)), jax.random.uniform(jax.random.fold_in(key, 1), (3, 2))
    check_grads(jax.jit(lambda o: likelihood.negative_log_likelihood(o, x)), (output,), order=2)


def test_gradients_of_the_learned_variance(key, float64):
    mean, x = jax.random.normal(key, (2, 3, 2))
    check_grads(jax.jit(lambda m, s: GAUSSIAN.negative_log_likelihood((m, s), x)), (mean, jnp.array(-0.4)), order=2)


def test_extreme_logits_stay_finite(key):
    x = jax.random.uniform(key, (4, 3))
    for logit in (-1e3, 1e3):
        value, slope = jax.value_and_grad(lambda a: jnp.sum(BERNOULLI.negative_log_likelihood(a, x)))(
            jnp.full((4, 3), logit)
        )
        assert np.isfinite(value) and np.isfinite(slope).all()


def test_a_variance_that_is_not_positive_is_refused():
    for variance in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive"):
            gaussian_likelihood(variance=variance)
