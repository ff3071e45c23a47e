"""Draws against the distributions they claim: Kolmogorov-Smirnov, chi-square and moments, each at fixed keys."""

from __future__ import annotations

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from genjax import stochastic

NUM = 20_000
ONE_IN_A_THOUSAND = 1.95  # times 1 / sqrt(n): the distance D that an honest sample of n exceeds at this rate


def ks_distance(sample, distribution) -> float:
    return scipy.stats.kstest(np.asarray(sample, np.float64).ravel(), distribution.cdf).statistic


def assert_drawn_from(sample, distribution):
    assert ks_distance(sample, distribution) < ONE_IN_A_THOUSAND / math.sqrt(np.size(sample))


def assert_mean(sample, expected):
    """Mean over the first axis within four standard errors."""
    sample = np.asarray(sample, np.float64)
    standard_error = sample.std(axis=0, ddof=1) / math.sqrt(len(sample))
    np.testing.assert_array_less(np.abs(sample.mean(axis=0) - expected), 4 * standard_error + 1e-12)


def assert_variance(sample, expected):
    sample = np.asarray(sample, np.float64)
    assert_mean((sample - sample.mean(axis=0)) ** 2, expected)


# Gaussian and Bernoulli variables


def test_gaussian_has_the_mean_and_the_standard_deviation_of_its_log_variance(key):
    # sigma = 1/2, where exp(s) eps would have standard deviation 1/4 and s eps 1.386.
    mean, log_variance = jnp.full((NUM,), 1.5), jnp.full((NUM,), 2 * math.log(0.5))
    z = stochastic.sample_gaussian(mean, log_variance, key)
    chex.assert_shape(z, (NUM,))
    assert_mean(z, 1.5)
    assert abs(np.std(z) - 0.5) < 4 * 0.5 / math.sqrt(2 * NUM)
    assert_drawn_from(z, scipy.stats.norm(1.5, 0.5))


def test_gaussian_draws_the_prior_of_independent_standard_components(key):
    z = np.asarray(stochastic.sample_gaussian(jnp.zeros((NUM, 3)), jnp.zeros((NUM, 3)), key))
    assert_mean(z, np.zeros(3))
    assert_mean(z[:, :, None] * z[:, None, :], np.eye(3))


def test_gaussian_derivatives_are_one_and_eps_and_half_sigma_eps(key):
    mean, sigma = jnp.array([0.3, -1.0, 2.0]), jnp.array([0.5, 1.5, 3.0])
    eps = stochastic.sample_gaussian(jnp.zeros(3), jnp.zeros(3), jax.random.clone(key))
    log_variance = 2 * jnp.log(sigma)

    def total(mean, log_variance):
        return jnp.sum(stochastic.sample_gaussian(mean, log_variance, jax.random.clone(key)))

    d_mean, d_log_variance = jax.grad(total, argnums=(0, 1))(mean, log_variance)
    d_sigma = jax.grad(lambda sigma: total(mean, 2 * jnp.log(sigma)))(sigma)
    np.testing.assert_array_equal(d_mean, 1.0)
    np.testing.assert_allclose(d_sigma, eps, rtol=1e-5)
    np.testing.assert_allclose(d_log_variance, sigma * eps / 2, rtol=1e-5)


def test_gaussian_full_covariance_has_its_mean_and_covariance(key):
    mean = jnp.array([1.0, -2.0, 0.5])
    cholesky = jnp.array([[0.5, 0.0, 0.0], [-0.8, 0.3, 0.0], [0.4, 1.1, 0.7]])
    z = stochastic.sample_gaussian_full_covariance(jnp.broadcast_to(mean, (NUM, 3)), cholesky, key)
    assert_mean(z, np.asarray(mean))
    centred = np.asarray(z - mean[None])
    assert_mean(centred[:, :, None] * centred[:, None, :], np.asarray(cholesky @ cholesky.T))


def test_gaussian_full_covariance_takes_one_factor_an_example_and_agrees_with_the_diagonal(key):
    mean = jax.random.normal(jax.random.fold_in(key, 0), (4, 3))
    log_variance = jax.random.normal(jax.random.fold_in(key, 1), (4, 3))
    cholesky = jax.vmap(jnp.diag)(jnp.exp(log_variance / 2))
    full = stochastic.sample_gaussian_full_covariance(mean, cholesky, jax.random.fold_in(key, 2))
    diagonal = stochastic.sample_gaussian(mean, log_variance, jax.random.fold_in(key, 2))
    np.testing.assert_allclose(full, diagonal, rtol=1e-6)


def test_gaussian_draws_pass_a_numerical_gradient_check(float64, key):
    mean, log_variance = jnp.array([0.3, -1.0]), jnp.array([-1.4, 0.6])
    cholesky = jnp.array([[0.5, 0.0], [-0.8, 0.3]])
    for draw, arguments in (
        (stochastic.sample_gaussian, (mean, log_variance)),
        (stochastic.sample_gaussian_full_covariance, (mean, cholesky)),
    ):
        check_grads(jax.jit(lambda *a, draw=draw: draw(*a, jax.random.clone(key))), arguments, order=2)


def test_gaussian_shapes_that_differ_are_both_named(key):
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        stochastic.sample_gaussian(jnp.zeros((2, 3)), jnp.zeros((3, 2)), key)


def test_bernoulli_has_the_probability_of_its_logits(key):
    logits = jnp.array([-2.0, 0.0, 0.5, 3.0])
    bits = stochastic.sample_bernoulli(jnp.broadcast_to(logits, (NUM, 4)), key)
    chex.assert_type(bits, jnp.float32)
    assert set(np.unique(bits)) == {0.0, 1.0}
    p = scipy.special.expit(np.asarray(logits))
    assert np.all(np.abs(np.mean(bits, axis=0) - p) < 4 * np.sqrt(p * (1 - p) / NUM))


def test_bernoulli_is_certain_at_logits_of_a_thousand(key):
    bits = stochastic.sample_bernoulli(jnp.broadcast_to(jnp.array([-1e3, 1e3]), (NUM, 2)), key)
    np.testing.assert_array_equal(bits, np.broadcast_to([0.0, 1.0], (NUM, 2)))


# Gradients through a stochastic node


@pytest.mark.parametrize(
    ("estimator", "variance"), [(stochastic.pathwise_gradient, 1.0), (stochastic.score_gradient, 21.75)]
)
def test_gradient_estimators_are_unbiased_and_differ_in_variance(estimator, variance, key):
    # f = z^2 under N(1, 1/4): the expectation is mu^2 + e^s, so its gradients are 2 mu = 2 and e^s = 1/4.
    # Pathwise 2 (mu + sigma eps) has variance 4 sigma^2 = 1. The score estimate (1 + eps / 2)^4 ... of the mean is
    # z^2 eps / sigma, whose second moment is 4 E[(1 + eps / 2)^4 eps^2] = 4 (1 + 6 * 3 / 4 + 15 / 16) = 25.75.
    mean, log_variance = jnp.array([1.0]), jnp.array([2 * math.log(0.5)])
    keys = jax.random.split(key, 100_000)
    estimate = jax.jit(jax.vmap(lambda key: estimator(lambda z: jnp.sum(z**2), mean, log_variance, key)))
    d_mean, d_log_variance = estimate(keys)
    assert_mean(d_mean, [2.0])
    assert_mean(d_log_variance, [0.25])
    assert_variance(d_mean, [variance])


def test_score_gradient_needs_no_derivative_of_the_function(key):
    # P(z > 0) under N(mu, sigma^2) has derivative phi(mu / sigma) / sigma; the pathwise estimate sees a flat function.
    mean, log_variance = jnp.array([0.3]), jnp.array([2 * math.log(0.5)])

    def step(z):
        return jnp.sum(jnp.where(z > 0, 1.0, 0.0))

    score = jax.vmap(lambda key: stochastic.score_gradient(step, mean, log_variance, key)[0])
    pathwise = jax.vmap(lambda key: stochastic.pathwise_gradient(step, mean, log_variance, key)[0])
    keys = jax.random.split(key, NUM)
    assert_mean(jax.jit(score)(keys), [scipy.stats.norm.pdf(0.6) / 0.5])
    np.testing.assert_array_equal(pathwise(jax.random.split(jax.random.fold_in(key, 1), 10)), 0.0)


def test_score_gradient_is_the_score_of_the_draw_at_any_scale(key):
    # grad log N(z; m, e^s) at z = m + e^{s/2} eps: eps e^{-s/2} in m and (eps^2 - 1) / 2 in s
    eps = np.asarray(stochastic.sample_gaussian(jnp.zeros(4), jnp.zeros(4), jax.random.clone(key)), np.float64)
    for log_variance in (0.5, -40.0, -150.0):  # from -35 on, m + e^{s/2} eps rounds to m = 1
        s = jnp.full(4, log_variance)
        d_mean, d_s = stochastic.score_gradient(lambda z: 2.0, jnp.ones(4), s, jax.random.clone(key))
        np.testing.assert_allclose(d_mean, 2 * eps * np.exp(-log_variance / 2), rtol=1e-5)
        np.testing.assert_allclose(d_s, eps**2 - 1, rtol=1e-5, atol=1e-6)


def test_score_gradient_sends_nothing_through_the_draw(key):
    # For f = z the score estimate is z eps / sigma, without the pathwise 1, and z is a constant of its derivative.
    mean, log_variance = jnp.array([2.0]), jnp.array([2 * math.log(0.5)])
    eps = stochastic.sample_gaussian(jnp.zeros(1), jnp.zeros(1), jax.random.clone(key))

    def of_mean(mean):
        return jnp.sum(stochastic.score_gradient(jnp.sum, mean, log_variance, jax.random.clone(key))[0])

    value, slope = jax.value_and_grad(of_mean)(mean)
    np.testing.assert_allclose(value, ((2 + eps / 2) * eps / 0.5)[0], rtol=1e-5)
    np.testing.assert_array_equal(slope, 0.0)


def test_a_code_without_noise_has_a_derivative_that_is_biased(key):
    # z = mu + sigma is differentiable, but it is no draw: of f = z^2 its slope is 2 (mu + sigma), that of E f is 2 mu
    mean, log_variance = jnp.array([1.0]), jnp.array([2 * math.log(0.5)])

    def deterministic(mean, log_variance):
        return jnp.sum((mean + jnp.exp(log_variance / 2)) ** 2)

    d_mean, d_s = jax.grad(deterministic, argnums=(0, 1))(mean, log_variance)
    estimate = jax.vmap(lambda key: stochastic.pathwise_gradient(lambda z: jnp.sum(z**2), mean, log_variance, key))
    drawn_mean, drawn_s = jax.jit(estimate)(jax.random.split(key, NUM))
    assert_mean(drawn_mean, np.asarray(d_mean) - 2 * 0.5)
    assert_mean(drawn_s, np.asarray(d_s) - 1.0 * 0.5)


# Inverse-transform sampling

CONTINUOUS = {
    "exponential": (partial(stochastic.exponential_quantile, rate=2.5), scipy.stats.expon(scale=1 / 2.5)),
    "rayleigh": (partial(stochastic.rayleigh_quantile, scale=0.3), scipy.stats.rayleigh(scale=0.3)),
    "logistic": (partial(stochastic.logistic_quantile, location=-1.0, scale=0.7), scipy.stats.logistic(-1.0, 0.7)),
    "laplace": (partial(stochastic.laplace_quantile, location=2.0, scale=0.5), scipy.stats.laplace(2.0, 0.5)),
    "cauchy": (partial(stochastic.cauchy_quantile, location=0.5, scale=1.5), scipy.stats.cauchy(0.5, 1.5)),
}
continuous = pytest.mark.parametrize(("quantile", "distribution"), CONTINUOUS.values(), ids=CONTINUOUS)


@continuous
def test_inverse_transform_has_the_distribution(quantile, distribution, key):
    draw = jax.jit(partial(stochastic.inverse_transform, quantile, (NUM,)))
    for k in jax.random.split(key, 5):
        assert_drawn_from(draw(k), distribution)


@continuous
def test_quantiles_are_scipys_into_both_tails(quantile, distribution, float64):
    u = jnp.concatenate([jnp.geomspace(1e-300, 1e-3, 50), jnp.linspace(0.01, 0.99, 99), 1 - jnp.geomspace(1e-15, 1e-3)])
    np.testing.assert_allclose(quantile(u), distribution.ppf(np.asarray(u)), rtol=1e-9, atol=1e-14)


@continuous
def test_quantiles_keep_their_digits_in_float32(quantile, distribution):
    u = jnp.concatenate([jnp.geomspace(1e-30, 1e-3, 50), jnp.linspace(0.01, 0.99, 98), 1 - 2.0 ** -jnp.arange(2, 25)])
    expected = distribution.ppf(np.asarray(u, np.float64))
    from_zero = distribution.support()[0] == 0  # then no digits are lost to a sum
    np.testing.assert_allclose(quantile(u), expected, rtol=1e-5, atol=0 if from_zero else 1e-6)


@continuous
def test_draws_are_finite_at_both_ends_of_the_generator(quantile, distribution, key, monkeypatch):
    ends = jnp.array([0.0, 1 - 2.0**-23])  # the least and the greatest float32 that jax.random.uniform returns
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype: ends)
    draws = stochastic.inverse_transform(quantile, (2,), key)
    assert np.all(np.isfinite(draws))
    assert distribution.support()[0] < draws[0] < distribution.median() < draws[1]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_inverse_transform_draws_from_the_open_interval_in_every_precision(dtype, key):
    u = stochastic.inverse_transform(lambda u: u, (NUM,), key, dtype=dtype)
    chex.assert_type(u, dtype)
    assert u.min() > 0
    assert u.max() < 1
    assert_mean(u, 0.5)
    assert_variance(u, 1 / 12)


@continuous
def test_quantiles_pass_a_numerical_gradient_check(quantile, distribution, float64):
    (name, *_) = reversed(quantile.keywords)  # the rate or scale
    check_grads(jax.jit(quantile), (jnp.array([0.1, 0.3, 0.8]),), order=1)
    check_grads(jax.jit(lambda value: quantile.func(0.3, **{name: value})), (1.5,), order=1)


PROBABILITIES = [0.0, 0.05, 0.4, 0.0, 0.3, 0.25, 0.0]


def test_discrete_draws_have_their_probabilities(key):
    p = np.array(PROBABILITIES)
    atoms = np.flatnonzero(p)
    quantile = partial(stochastic.discrete_quantile, probabilities=jnp.array(p))
    draw = jax.jit(partial(stochastic.inverse_transform, quantile, (NUM,)))
    for k in jax.random.split(key, 5):
        counts = np.bincount(draw(k), minlength=len(p))
        assert counts[p == 0].sum() == 0
        chi_square = scipy.stats.chisquare(counts[atoms], NUM * p[atoms]).statistic
        assert chi_square < scipy.stats.chi2.ppf(0.999, len(atoms) - 1)


def test_discrete_quantile_is_the_generalised_inverse():
    # F = 1/4, 1/4, 3/4, 1: at a value of F the infimum is the atom that reaches it, just above it the next.
    u = jnp.array([1e-7, 0.25, 0.2501, 0.75, 0.7501, 1.0])
    expected = [0, 0, 2, 2, 3, 3]
    p = jnp.array([0.25, 0.0, 0.5, 0.25])
    np.testing.assert_array_equal(stochastic.discrete_quantile(u, probabilities=p), expected)
    np.testing.assert_array_equal(stochastic.discrete_quantile(u, probabilities=8 * p), expected)
    chex.assert_shape(stochastic.discrete_quantile(u.reshape(2, 3), probabilities=p), (2, 3))


def test_atoms_of_probability_zero_are_never_drawn_however_the_sums_round():
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.full(301, 0.3), size=500).astype(np.float32)
    p[generator.random(p.shape) < 0.5] = 0
    p[:, [0, -1]] = 0
    p /= p.sum(axis=1, keepdims=True)  # sums to one only but for rounding
    cdf = np.cumsum(p, axis=1)
    assert np.any(cdf[:, -1] < 1)
    assert np.any(cdf[:, -1] > 1)
    ends = np.broadcast_to(np.float32([2.0**-24, 1.0]), (500, 2))
    u = np.concatenate([np.clip(cdf, 2.0**-24, 1), ends], axis=1)
    drawn = jax.jit(jax.vmap(lambda u, p: stochastic.discrete_quantile(u, probabilities=p)))(u, p)
    assert drawn.max() < 301
    assert np.all(np.take_along_axis(p, np.asarray(drawn), axis=1) > 0)


# The normal distribution from uniforms


@pytest.mark.parametrize("n", [1, 2, 12])
def test_irwin_hall_has_its_distribution_and_moments(n, key):
    s = np.asarray(jax.jit(partial(stochastic.irwin_hall, (NUM,), num_uniforms=n))(key))
    assert s.min() > 0
    assert s.max() < n
    assert_mean(s, n / 2)
    assert_variance(s, n / 12)
    assert_drawn_from(s[:2000], scipy.stats.irwinhall(n))


@pytest.mark.parametrize("n", [2, 5])
def test_sum_of_uniforms_normal_has_unit_variance_and_its_excess_kurtosis(n, key):
    z = np.asarray(stochastic.sum_of_uniforms_normal((200_000,), key, num_uniforms=n), np.float64)
    assert_mean(z, 0.0)
    assert_variance(z, 1.0)
    assert_mean(z**4, 3 - 6 / (5 * n))
    assert np.abs(z).max() < math.sqrt(3 * n)


def test_sum_of_twelve_uniforms_less_six_is_the_standardised_sum(key):
    z = stochastic.sum_of_uniforms_normal((5, 4), jax.random.clone(key))
    chex.assert_shape(z, (5, 4))
    np.testing.assert_array_equal(z, stochastic.irwin_hall((5, 4), key, num_uniforms=12) - 6)


@pytest.mark.slow
def test_sum_of_uniforms_normal_passes_for_normal_until_the_sample_is_large(key):
    # The distribution functions differ by 0.00234 at most, less than 1.95 / sqrt(5000) = 0.0276 and more than
    # 1.95 / sqrt(4e6) = 0.000975. The exact one is read from a table, linear between points 0.002 apart (error 1e-7).
    few, many = jax.random.split(key)
    assert_drawn_from(stochastic.sum_of_uniforms_normal((5_000,), few), scipy.stats.norm)

    chunks = jax.random.split(many, 16)
    draw = jax.jit(partial(stochastic.sum_of_uniforms_normal, (250_000,)))
    z = np.sort(np.concatenate([draw(chunk) for chunk in chunks]))
    grid = np.linspace(-6, 6, 6001)
    empirical = np.arange(1, z.size + 1) / z.size
    to_normal = np.abs(empirical - np.interp(z, grid, scipy.stats.norm.cdf(grid))).max()
    to_irwin_hall = np.abs(empirical - np.interp(z, grid, scipy.stats.irwinhall(12).cdf(grid + 6))).max()
    threshold = ONE_IN_A_THOUSAND / math.sqrt(z.size)
    assert z.size == 4_000_000
    assert to_irwin_hall < threshold < to_normal < 0.00234 + threshold


# Corruptions

CORRUPTIONS = {
    "gaussian": stochastic.gaussian_noise(scale=0.3),
    "rayleigh": stochastic.rayleigh_noise(scale=0.3),
    "centred_rayleigh": stochastic.centred_rayleigh_noise(scale=0.3),
    "speckle": stochastic.rayleigh_speckle(),
    "salt_and_pepper": stochastic.salt_and_pepper_noise(probability=0.2),
    "masking": stochastic.masking_noise(probability=0.2),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_corruptions_have_one_signature_and_keep_shape_and_type(corruption, key, float64):
    x = np.linspace(0.1, 0.9, 25, dtype=np.float32).reshape(1, 5, 5, 1).repeat(2, axis=0)
    corrupt = jax.jit(corruption)
    corrupted = corrupt(x, jax.random.clone(key))
    chex.assert_equal_shape([corrupted, x])
    chex.assert_type(corrupted, jnp.float32)
    np.testing.assert_array_equal(corrupted, corrupt(x, jax.random.clone(key)))
    assert np.any(corrupted != corrupt(x, jax.random.fold_in(key, 1)))
    assert np.any(corrupted[0] != corrupted[1])  # each example has noise of its own


@pytest.mark.parametrize(
    "factory",
    [
        partial(stochastic.gaussian_noise, scale=0.3),
        partial(stochastic.rayleigh_noise, scale=0.3),
        partial(stochastic.centred_rayleigh_noise, scale=0.3),
        stochastic.rayleigh_speckle,
    ],
)
def test_corruptions_leave_the_unit_interval_unless_clipped(factory, key):
    x = jax.random.uniform(jax.random.fold_in(key, 0), (1000,))
    key = jax.random.fold_in(key, 1)
    free = factory()(x, jax.random.clone(key))
    assert free.max() > 1
    np.testing.assert_array_equal(factory(clip=True)(x, key), np.clip(free, 0, 1))


def test_gaussian_noise_is_additive(key):
    x = jnp.full((NUM,), 0.5)
    assert_drawn_from(stochastic.gaussian_noise(scale=0.3)(x, key), scipy.stats.norm(0.5, 0.3))


def test_rayleigh_noise_raw_and_centred(key):
    # b = 0.3: E r = b sqrt(pi / 2) = 0.37599, Var r = (2 - pi / 2) b^2 = 0.03863
    raw, centred = jax.random.split(key)
    x = jnp.full((NUM,), 0.5)
    r = stochastic.rayleigh_noise(scale=0.3)(x, raw)
    assert_mean(r, 0.5 + 0.37599)
    assert_variance(r, 0.03863)
    assert_drawn_from(r, scipy.stats.rayleigh(0.5, 0.3))
    r = stochastic.centred_rayleigh_noise(scale=0.3)(x, centred)
    assert_mean(r, 0.5)
    assert_variance(r, 0.03863)
    assert_drawn_from(r, scipy.stats.rayleigh(0.5 - 0.37599, 0.3))


def test_rayleigh_speckle_multiplies_by_a_factor_of_mean_one(key):
    x = jnp.concatenate([jnp.zeros(NUM), jnp.full((NUM,), 0.5)])
    corrupted = stochastic.rayleigh_speckle()(x, key)
    np.testing.assert_array_equal(corrupted[:NUM], 0.0)
    factor = corrupted[NUM:] / 0.5
    assert_mean(factor, 1.0)
    assert_variance(factor, 4 / math.pi - 1)
    assert_drawn_from(factor, scipy.stats.rayleigh(scale=math.sqrt(2 / math.pi)))


def assert_count(hits, probability):
    """Number of hits within four standard errors of the binomial's mean."""
    n = np.size(hits)
    assert abs(np.sum(hits) - n * probability) < 4 * math.sqrt(n * probability * (1 - probability))


def test_salt_and_pepper_noise_replaces(key):
    x = jax.random.uniform(jax.random.fold_in(key, 0), (NUM,), minval=0.25, maxval=0.75)
    corrupted = np.asarray(stochastic.salt_and_pepper_noise(probability=0.2)(x, jax.random.fold_in(key, 1)))
    pepper, salt = corrupted == 0, corrupted == 1
    assert_count(pepper, 0.1)
    assert_count(salt, 0.1)
    np.testing.assert_array_equal(corrupted[~(pepper | salt)], np.asarray(x)[~(pepper | salt)])


def test_masking_noise_replaces_by_zero(key):
    x = jax.random.uniform(jax.random.fold_in(key, 0), (NUM,), minval=0.25, maxval=0.75)
    corrupted = np.asarray(stochastic.masking_noise(probability=0.3)(x, jax.random.fold_in(key, 1)))
    assert_count(corrupted == 0, 0.3)
    np.testing.assert_array_equal(corrupted[corrupted != 0], np.asarray(x)[corrupted != 0])
