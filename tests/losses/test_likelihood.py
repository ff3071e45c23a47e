"""Likelihood records: normalised densities, their means, samplers, optima, extremes and gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from jax.test_util import check_grads

from genjax.losses import (
    BERNOULLI,
    GAUSSIAN,
    binomial_likelihood,
    discretized_logistic_likelihood,
    gaussian_likelihood,
    squared_error,
)

LEVELS = 17
X = np.arange(LEVELS) / (LEVELS - 1)


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


@pytest.mark.parametrize("log_variance", [-1e3, -100.0, -89.0, -80.0, 89.0, 1e3])
@pytest.mark.parametrize("residual", [0.0, 0.5])
def test_extreme_log_variances_stay_finite(log_variance, residual):
    def value(mean, s):
        return GAUSSIAN.negative_log_likelihood((mean, s), jnp.full((1, 1), residual))[0]

    found, (d_mean, d_s) = jax.value_and_grad(value, (0, 1))(jnp.zeros((1, 1)), jnp.full((1, 1), log_variance))
    assert np.isfinite(found) and np.isfinite(d_mean) and np.isfinite(d_s)
    if residual == 0:  # 1/2 (s + log 2 pi): -49.08 at s = -100
        np.testing.assert_allclose(found, (log_variance + np.log(2 * np.pi)) / 2, rtol=1e-6)
        assert d_mean == 0 and d_s == 0.5
    elif log_variance < 0:  # the smaller variance is the worse one
        assert d_mean < 0 and d_s < 0


def test_gaussian_of_log_variances_just_above_the_bound_is_scipys():
    s = np.array([[-79.0, -40.0, 79.0]])
    x = 0.5 * np.exp(s / 2)
    found = GAUSSIAN.negative_log_likelihood((jnp.zeros((1, 3)), jnp.asarray(s, jnp.float32)), jnp.float32(x))
    np.testing.assert_allclose(found, -np.sum(scipy.stats.norm.logpdf(x, 0, np.exp(s / 2)), axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("likelihood", "output"),
    [
        (BERNOULLI, np.float32([[-1.0, 2.0]])),
        (gaussian_likelihood(variance=0.3), np.array([[20, 0]], np.uint8)),
        (GAUSSIAN, (np.array([[20, 0]], np.uint8), np.array([[1, 0]]))),
        (binomial_likelihood(num_trials=255), np.float32([[-1.0, 2.0]])),
        (discretized_logistic_likelihood(num_levels=2), (np.array([[1, 0]]), np.array([[0, 1]]))),
        (discretized_logistic_likelihood(num_levels=2, scale=2.0), np.array([[1, 0]])),
    ],
)
def test_integers_are_taken_as_numbers(likelihood, output):
    x = np.array([[0, 1]], np.uint8)
    as_floats = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), output)
    found = likelihood.negative_log_likelihood(output, x)
    np.testing.assert_allclose(found, likelihood.negative_log_likelihood(as_floats, x.astype(np.float32)), rtol=1e-6)


@pytest.mark.parametrize(
    ("likelihood", "output"),
    [
        (BERNOULLI, np.zeros((2, 3))),
        (GAUSSIAN, (np.zeros((2, 3)), np.zeros(()))),
        (gaussian_likelihood(variance=1.0), np.zeros((2, 3))),
        (binomial_likelihood(num_trials=2), np.zeros((2, 3))),
        (discretized_logistic_likelihood(num_levels=2, scale=1.0), np.zeros((2, 3))),
    ],
)
def test_shapes_that_differ_are_both_named(likelihood, output):
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 1\)"):
        likelihood.negative_log_likelihood(output, jnp.zeros((2, 1)))


# Densities of grey levels


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


@pytest.mark.parametrize("log_scale", [4.0, 4.5, 8.0, 20.0])
def test_a_level_under_a_wide_logistic_has_its_density_times_its_width(log_scale):
    x, steps = np.array([[100 / 255]]), 255
    density = scipy.stats.logistic.logpdf(x, 0.5, np.exp(log_scale))  # changes by 1e-5 at most within a level
    found = discretized_logistic_likelihood(num_levels=steps + 1).negative_log_likelihood(
        (np.full((1, 1), 0.5), np.full((1, 1), log_scale)), x
    )
    np.testing.assert_allclose(found, -density[0] + np.log(steps), rtol=2e-6)


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


GREY_LEVELS = [
    (binomial_likelihood(num_trials=LEVELS - 1), np.array([[-3.0, 0.0, 1.5]], np.float32)),
    (discretized_logistic_likelihood(num_levels=LEVELS, scale=0.1), np.array([[-0.05, 0.3, 0.9]], np.float32)),
    (
        discretized_logistic_likelihood(num_levels=LEVELS),
        (np.array([[0.02, 0.3, 1.2]], np.float32), np.array([[-1.0, -4.0, -2.0]], np.float32)),
    ),
]


@pytest.mark.parametrize(("likelihood", "output"), GREY_LEVELS)
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
def test_extreme_grey_level_densities_stay_finite(value, log_scale):
    x = jnp.asarray(X, jnp.float32)[:, None]

    def total(location, log_scale):
        logistic = discretized_logistic_likelihood(num_levels=LEVELS).negative_log_likelihood((location, log_scale), x)
        return jnp.sum(logistic) + jnp.sum(binomial_likelihood(num_trials=16).negative_log_likelihood(location, x))

    found = jax.value_and_grad(total, argnums=(0, 1))(jnp.full((LEVELS, 1), value), jnp.full((LEVELS, 1), log_scale))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("log_scale", [-3.0, 0.5])
@pytest.mark.slow
def test_gradients_of_grey_level_densities(log_scale, key, float64):
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


def test_densities_that_do_not_exist_are_refused():
    for make in (
        lambda: binomial_likelihood(num_trials=0),
        lambda: discretized_logistic_likelihood(num_levels=1),
        lambda: discretized_logistic_likelihood(num_levels=4, scale=0.0),
    ):
        with pytest.raises(ValueError, match=r"got 0|got 1"):
            make()
