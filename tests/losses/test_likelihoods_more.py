"""Densities of grey levels: sums, scipy, samplers, extremes and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from genjax.losses import BERNOULLI, binomial_likelihood, discretized_logistic_likelihood

LEVELS = 17
X = np.arange(LEVELS) / (LEVELS - 1)


def probabilities(likelihood, output):
    """p(x) over all the levels of one pixel, [L]; `output` is of scalars."""
    output = jax.tree.map(lambda a: jnp.full((LEVELS, 1), a), output)
    return np.exp(-np.asarray(likelihood.negative_log_likelihood(output, jnp.asarray(X, jnp.float32)[:, None])))


@pytest.mark.parametrize("logit", [-30.0, -2.0, 0.0, 0.7, 5.0])
def test_binomial_is_scipys(logit):
    expected = scipy.stats.binom.pmf(np.arange(LEVELS), LEVELS - 1, 1 / (1 + np.exp(-logit)))
    found = probabilities(binomial_likelihood(num_trials=LEVELS - 1), logit)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-4)


def test_a_binomial_of_one_trial_is_bernoullis(key):
    logits = jax.random.normal(key, (4, 3)) * 3
    x = jax.random.bernoulli(key, 0.4, (4, 3)).astype(jnp.float32)
    expected = BERNOULLI.negative_log_likelihood(logits, x)
    np.testing.assert_allclose(
        binomial_likelihood(num_trials=1).negative_log_likelihood(logits, x), expected, rtol=1e-5
    )


def rounded_logistic(location, scale):
    """The same masses from scipy's distribution function, in double precision."""
    edges = (np.arange(LEVELS + 1) - 0.5) / (LEVELS - 1)
    cdf = scipy.stats.logistic.cdf(edges, location, scale)
    cdf[0], cdf[-1] = 0, 1
    return np.diff(cdf)


@pytest.mark.parametrize("location", [-0.4, 0.0, 0.31, 1.0, 1.7])
@pytest.mark.parametrize("scale", [0.002, 0.05, 1.0, 100.0])
def test_discretized_logistic_is_scipys(location, scale):
    expected = rounded_logistic(location, scale)
    fixed = probabilities(discretized_logistic_likelihood(num_levels=LEVELS, scale=scale), location)
    learned = probabilities(discretized_logistic_likelihood(num_levels=LEVELS), (location, np.log(scale)))
    np.testing.assert_allclose(fixed, expected, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(learned, fixed, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(fixed.sum(), 1, rtol=1e-4)


def test_a_scale_below_the_smallest_counts_as_the_smallest():
    density = discretized_logistic_likelihood(num_levels=LEVELS)
    np.testing.assert_array_equal(probabilities(density, (0.4, -50.0)), probabilities(density, (0.4, -7.0)))


CASES = [
    (binomial_likelihood(num_trials=LEVELS - 1), np.array([[-3.0, 0.0, 1.5]], np.float32)),
    (discretized_logistic_likelihood(num_levels=LEVELS, scale=0.1), np.array([[-0.05, 0.3, 0.9]], np.float32)),
    (
        discretized_logistic_likelihood(num_levels=LEVELS),
        (np.array([[0.02, 0.3, 1.2]], np.float32), np.array([[-1.0, -4.0, -2.0]], np.float32)),
    ),
]


@pytest.mark.parametrize(("likelihood", "output"), CASES)
def test_mean_and_samples_are_of_the_density(likelihood, output, key):
    num = 20_000
    pixels = [jax.tree.map(lambda a, j=j: a[0, j], output) for j in range(3)]
    p = np.stack([probabilities(likelihood, pixel) for pixel in pixels], axis=1)  # [L, 3]
    mean, second = X @ p, X**2 @ p
    np.testing.assert_allclose(likelihood.mean(jax.tree.map(jnp.asarray, output))[0], mean, rtol=1e-4, atol=1e-6)
    drawn = likelihood.sample(jax.tree.map(lambda a: jnp.repeat(jnp.asarray(a), num, axis=0), output), key)
    counts = np.asarray(drawn) * (LEVELS - 1)
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-5)
    error = np.sqrt(np.maximum(second - mean**2, 1e-12) / num)
    assert np.all(np.abs(counts.mean(0) / (LEVELS - 1) - mean) < 4 * error + 1e-6)
    frequency = np.stack([np.bincount(np.round(c).astype(int), minlength=LEVELS) / num for c in counts.T], axis=1)
    assert np.all(np.abs(frequency - p) < 5 * np.sqrt(np.maximum(p * (1 - p), 1e-12) / num) + 5 / num)


@pytest.mark.parametrize("value", [-1e3, 1e3])
@pytest.mark.parametrize("log_scale", [-1e3, -7.0, 0.0, 60.0, 300.0, 1e3])
def test_extremes_stay_finite_in_value_and_gradient(value, log_scale):
    x = jnp.asarray(X, jnp.float32)[:, None]

    def total(location, log_scale):
        logistic = discretized_logistic_likelihood(num_levels=LEVELS).negative_log_likelihood((location, log_scale), x)
        return jnp.sum(logistic) + jnp.sum(binomial_likelihood(num_trials=16).negative_log_likelihood(location, x))

    found = jax.value_and_grad(total, argnums=(0, 1))(jnp.full((LEVELS, 1), value), jnp.full((LEVELS, 1), log_scale))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("log_scale", [-3.0, 0.5])
@pytest.mark.slow
def test_gradients(log_scale, key, float64):
    x = jnp.asarray(X)[:, None]
    location = jax.random.normal(key, x.shape) * 0.3 + 0.5
    logistic = discretized_logistic_likelihood(num_levels=LEVELS)
    check_grads(
        jax.jit(lambda m, s: logistic.negative_log_likelihood((m, s), x)),
        (location, jnp.array(log_scale)),
        order=2,
        rtol=1e-3,
    )
    check_grads(
        jax.jit(lambda a: binomial_likelihood(num_trials=16).negative_log_likelihood(a, x)), (location,), order=2
    )


def test_what_is_no_density_is_refused():
    for make in (
        lambda: binomial_likelihood(num_trials=0),
        lambda: discretized_logistic_likelihood(num_levels=1),
        lambda: discretized_logistic_likelihood(num_levels=4, scale=0.0),
    ):
        with pytest.raises(ValueError, match=r"not 0|not 1"):
            make()
