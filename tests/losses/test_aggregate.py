"""Losses of the aggregate posterior against full sums, all minibatches of a small set, and Gaussians in closed form."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax import losses
from genjax.losses import RateSplit

ESTIMATORS = {"stratified": losses.stratified_log_weights, "weighted": losses.weighted_log_weights}


def doubles(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


@jax.jit
def split(key, mean, log_variance):
    """The parts of the rate at a draw from each posterior, with q(z) summed over all of them."""
    z, negative_log_q = losses.DIAGONAL_GAUSSIAN.sample_and_negative_log_density((mean, log_variance), key)
    negative_log_prior = losses.STANDARD_NORMAL.negative_log_density((), z)
    log_w = losses.stratified_log_weights(len(mean), len(mean))
    return losses.split_rate(z, negative_log_q, negative_log_prior, mean, log_variance, log_w), z


def test_parts_are_those_of_full_sums_and_add_up_to_the_rate(key):
    mean, s = jax.random.normal(key, (2, 7, 3))
    found, z = doubles(split(key, mean, s))
    q = scipy.stats.norm(np.float64(mean), np.exp(np.float64(s) / 2))
    log_q_each = q.logpdf(z[:, None])  # [7, 7, 3]
    log_q = scipy.special.logsumexp(log_q_each.sum(2), axis=1) - np.log(7)
    log_marginals = (scipy.special.logsumexp(log_q_each, axis=1) - np.log(7)).sum(1)
    own = q.logpdf(z).sum(1)
    log_p = scipy.stats.norm.logpdf(z).sum(1)
    for value, expected in zip(found, (own - log_q, log_q - log_marginals, log_marginals - log_p), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sum(found), own - log_p, rtol=1e-4, atol=1e-4)
    correlation = losses.total_correlation(jnp.float32(z), mean, s, losses.stratified_log_weights(7, 7))
    np.testing.assert_allclose(correlation, found.total_correlation, rtol=1e-5, atol=1e-5)


def test_a_product_has_no_total_correlation(key):
    # means on a grid, with one variance in each row and column: q(z) is a product at every z
    axes = jnp.array([-2.0, 0.0, 0.5, 3.0]), jnp.array([-1.0, 0.2, 2.0])
    mean = jnp.stack([a.ravel() for a in jnp.meshgrid(*axes, indexing="ij")], axis=1)
    found, _ = doubles(split(key, mean, jnp.full_like(mean, -1.0)))
    np.testing.assert_allclose(found.total_correlation, 0, atol=1e-5)
    found, _ = doubles(split(key, mean.at[0].set(mean[-1]), jnp.full_like(mean, -1.0)))
    assert np.abs(found.total_correlation).max() > 0.05


def test_parts_of_a_correlated_gaussian(key):
    # means m ~ N(0, S) by a quasi-random net, q(z|x) = N(m, I / 4): q(z) = N(0, S + I / 4)
    covariance = np.array([[1.0, 0.9], [0.9, 1.5]])
    net = scipy.stats.norm.ppf(scipy.stats.qmc.Sobol(2, rng=0).random(1024))
    mean = jnp.float32(net @ np.linalg.cholesky(covariance).T)
    found, _ = doubles(split(key, mean, jnp.full_like(mean, np.log(0.25))))
    aggregate = covariance + np.eye(2) / 4
    variances = np.diag(aggregate)
    correlation = aggregate / np.sqrt(np.outer(variances, variances))
    exact = RateSplit(
        0.5 * np.log(np.linalg.det(aggregate) / 0.25**2),
        -0.5 * np.log(np.linalg.det(correlation)),
        0.5 * np.sum(variances - 1 - np.log(variances)),
    )
    for values, value in zip(found, exact, strict=True):
        assert abs(values.mean() - value) < 4 * values.std() / np.sqrt(len(values))
    assert exact.total_correlation > 10 * found.total_correlation.std() / np.sqrt(1024)


def test_the_stratified_estimate_is_unbiased_over_all_minibatches(key):
    # over all batches of 3 that contain x_i, of a set of 5, the mean of the estimate at one z is q(z)
    mean, s = np.asarray(jax.random.normal(key, (2, 5, 2)))
    estimate = jax.jit(losses.aggregate_log_density)
    z = np.array([0.4, -0.3])
    by_dimension = np.exp(scipy.stats.norm.logpdf(z, mean, np.exp(s / 2)))  # [5, 2]
    weights = {name: log_weights(3, 5) for name, log_weights in ESTIMATORS.items()}
    for i in range(5):
        others = [*itertools.combinations([n for n in range(5) if n != i], 2)]
        found = {name: [] for name in ESTIMATORS}
        for two in others:
            batch = np.array([i, *two])
            at = np.broadcast_to(np.float32(z), (3, 2))
            for name, log_w in weights.items():
                log_q, log_marginals = estimate(at, mean[batch], s[batch], log_w)
                found[name].append(np.exp([log_q[0], *log_marginals[0]]))
        exact = [by_dimension.prod(1).mean(), *by_dimension.mean(0)]
        np.testing.assert_allclose(np.mean(found["stratified"], axis=0), exact, rtol=1e-5)
        sums = [by_dimension.prod(1)[[i, *two]].sum() / 15 for two in others]
        np.testing.assert_allclose(np.array(found["weighted"])[:, 0], sums, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 4])
def test_the_whole_set_as_one_batch_is_exact(size):
    np.testing.assert_allclose(losses.stratified_log_weights(size, size), -np.log(size), rtol=1e-6)


def test_densities_stay_finite(float64):
    z, mean = jnp.array([[0.0, 1e3]]), jnp.array([[1e3, -1e3], [0.0, 0.0]])
    loss = jax.jit(
        jax.value_and_grad(lambda s: losses.total_correlation(z, mean, jnp.full((2, 2), s), jnp.zeros((1, 2))).sum())
    )
    for s in (-1e3, 1e3):
        assert all(np.isfinite(value) for value in loss(s))


def test_permuted_dimensions_keep_each_column_bit_for_bit(key):
    z = jax.random.normal(key, (60, 4)) * jnp.array([[1e-3, 1, 50, 1e6]])
    found = losses.permute_dimensions(z, key)
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(z, axis=0))
    orders = np.argsort(np.argsort(found, axis=0), axis=0)
    assert not np.array_equal(found, z)
    for one, other in itertools.combinations(orders.T, 2):
        assert not np.array_equal(one, other)  # each dimension has a permutation of its own


def test_permuting_removes_correlation(key):
    z = jax.random.multivariate_normal(key, jnp.zeros(2), jnp.array([[1, 0.9], [0.9, 1]]), 2000)
    assert np.corrcoef(z.T)[0, 1] > 0.85
    assert abs(np.corrcoef(losses.permute_dimensions(z, key).T)[0, 1]) < 4 / np.sqrt(2000)


def test_covariance_of_a_linear_encoder_is_exact(float64):
    draw = np.random.RandomState(0)
    x, w = draw.standard_normal((40, 5)), draw.standard_normal((3, 5))
    s = np.cov(x.T, bias=True)
    np.testing.assert_allclose(losses.code_covariance(x @ w.T + 7), w @ s @ w.T, rtol=1e-10)
    log_variance = draw.standard_normal((40, 3))
    aggregate = w @ s @ w.T + np.diag(np.exp(log_variance).mean(0))
    np.testing.assert_allclose(losses.code_covariance(x @ w.T, log_variance), aggregate, rtol=1e-10)


def test_the_dip_penalty_is_a_sum_over_entries_and_flat_at_the_identity():
    c = np.array([[2.0, 0.3, -0.5], [0.3, 0.4, 0.1], [-0.5, 0.1, 1.0]])
    expected = 2 * (0.3**2 + 0.5**2 + 0.1**2) + 0.7 * (1.0**2 + 0.6**2)
    np.testing.assert_allclose(losses.dip_penalty(c, diagonal_weight=0.7), expected, rtol=1e-6)
    penalty = jax.jit(jax.value_and_grad(lambda c: losses.dip_penalty(c, diagonal_weight=0.7)))
    value, gradient = penalty(jnp.eye(3))
    assert value == 0 and not np.any(gradient)
    assert np.any(penalty(jnp.eye(3) + 0.01)[1])
