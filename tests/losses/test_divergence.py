"""Divergences against quadrature, Monte Carlo and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from jax.test_util import check_grads

from genjax.losses import (
    gaussian_kl,
    gaussian_kl_per_dimension,
    gaussian_kl_to_standard,
    gaussian_kl_to_standard_full_covariance,
    gaussian_kl_to_standard_per_dimension,
)
from genjax.losses.divergence import bounded_exp


def quadrature(mean, std, prior_mean=0.0, prior_std=1.0):
    q, p = scipy.stats.norm(mean, std), scipy.stats.norm(prior_mean, prior_std)
    low, high = mean - 12 * std, mean + 12 * std
    return scipy.integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), low, high, epsabs=1e-13)[0]


def test_kl_to_standard_against_quadrature(float64):
    got = gaussian_kl_to_standard(jnp.array([[0.7]]), jnp.log(jnp.array([[0.35**2]])))
    np.testing.assert_allclose(got, [quadrature(0.7, 0.35)], rtol=1e-10)


def test_kl_to_standard_sums_over_dimensions(float64):
    mean, std = np.array([0.7, -1.2, 0.0]), np.array([0.35, 2.0, 1.0])
    got = gaussian_kl_to_standard(jnp.array(mean)[None], jnp.log(jnp.array(std) ** 2)[None])
    terms = [quadrature(m, s) for m, s in zip(mean, std, strict=True)]
    np.testing.assert_allclose(got, [sum(terms)], rtol=1e-10)
    got = gaussian_kl_to_standard_per_dimension(jnp.array(mean)[None], jnp.log(jnp.array(std) ** 2)[None])
    np.testing.assert_allclose(got, [terms], rtol=1e-10, atol=1e-14)


def test_kl_to_standard_gradients(key, float64):
    mean, s = jax.random.normal(key, (2, 3, 4))
    d_mean, d_s = jax.grad(lambda m, s: jnp.sum(gaussian_kl_to_standard(m, s)), argnums=(0, 1))(mean, s)
    np.testing.assert_allclose(d_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(d_s, (np.exp(s) - 1) / 2, rtol=1e-10)
    check_grads(jax.jit(gaussian_kl_to_standard), (mean, s), order=2)


def test_kl_to_standard_is_zero_only_at_the_prior_and_never_negative(key):
    zero = jnp.zeros((1, 2))
    assert float(gaussian_kl_to_standard(zero, zero)[0]) == 0
    near = jax.random.normal(key, (10_000, 1)) * 1e-3  # where exp(s) - 1 - s cancels in float32
    assert float(gaussian_kl_to_standard(0 * near, near).min()) >= 0
    assert float(gaussian_kl_to_standard(zero + 0.01, zero)[0]) > 0


def test_kl_between_gaussians(key, float64):
    mean, s, prior_mean, t = jax.random.normal(key, (4, 1, 3))
    got = gaussian_kl(mean, s, prior_mean, t)
    rows = zip(mean[0], np.exp(s[0] / 2), prior_mean[0], np.exp(t[0] / 2), strict=True)
    terms = [quadrature(*map(float, row)) for row in rows]
    np.testing.assert_allclose(got, [sum(terms)], rtol=1e-9)
    np.testing.assert_allclose(gaussian_kl_per_dimension(mean, s, prior_mean, t), [terms], rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(gaussian_kl(mean, s, 0 * mean, 0 * s), gaussian_kl_to_standard(mean, s), rtol=1e-12)
    check_grads(jax.jit(gaussian_kl), (mean, s, prior_mean, t), order=2)


def test_kl_of_a_full_covariance(key, float64):
    mean_key, factor_key = jax.random.split(key)
    mean = jax.random.normal(mean_key, (4, 3))
    factor = jnp.tril(jax.random.normal(factor_key, (4, 3, 3)), -1) + jax.vmap(jnp.diag)(jnp.exp(0.5 * mean))
    got = gaussian_kl_to_standard_full_covariance(mean, factor)
    for m, root, value in zip(np.asarray(mean), np.asarray(factor), got, strict=True):
        covariance = root @ root.T
        by_hand = 0.5 * (np.trace(covariance) + m @ m - 3 - np.linalg.slogdet(covariance)[1])
        np.testing.assert_allclose(value, by_hand, rtol=1e-12)
    # in its principal axes it is diagonal, and the standard normal is the same in all axes
    values, axes = np.linalg.eigh(np.asarray(factor[0] @ factor[0].T))
    turned = gaussian_kl_to_standard(jnp.asarray(np.asarray(mean[:1]) @ axes), jnp.log(jnp.asarray(values))[None])
    np.testing.assert_allclose(got[:1], turned, rtol=1e-10)
    diagonal = gaussian_kl_to_standard_full_covariance(mean, jax.vmap(jnp.diag)(jnp.exp(mean / 2)))
    np.testing.assert_allclose(diagonal, gaussian_kl_to_standard(mean, mean), rtol=1e-12)
    above = factor + 5 * jnp.triu(jnp.ones((3, 3)), 1)[None]  # which no Cholesky factor has
    np.testing.assert_array_equal(gaussian_kl_to_standard_full_covariance(mean, above), got)
    assert float(gaussian_kl_to_standard_full_covariance(jnp.zeros((1, 3)), jnp.eye(3)[None])[0]) == 0
    with pytest.raises(ValueError, match=r"do not fit: \(4, 3\) and \(4, 3\)"):
        gaussian_kl_to_standard_full_covariance(mean, mean)


def test_kl_between_gaussians_by_monte_carlo(key):
    mean, s, prior_mean, t = np.asarray(jax.random.normal(key, (4, 2)), np.float64)
    z = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (100_000, 2))) * np.exp(s / 2) + mean
    q, p = scipy.stats.norm(mean, np.exp(s / 2)), scipy.stats.norm(prior_mean, np.exp(t / 2))
    terms = np.sum(q.logpdf(z) - p.logpdf(z), axis=1)
    got = gaussian_kl(*(jnp.asarray(a, jnp.float32)[None] for a in (mean, s, prior_mean, t)))
    assert abs(terms.mean() - float(got[0])) < 4 * terms.std() / np.sqrt(len(terms))


@pytest.mark.parametrize("log_variance", [-1e3, -100.0, 100.0, 1e3])
def test_divergences_of_extreme_log_variances_stay_finite(log_variance):
    s, zero, one = jnp.full((1, 1), log_variance), jnp.zeros((1, 1)), jnp.ones((1, 1))
    for mean, own, prior in ((zero, s, s), (one, s, s), (zero, s, zero), (zero, zero, s), (zero, s, -s)):
        found = jax.value_and_grad(lambda *a: gaussian_kl(*a)[0], (0, 1, 2, 3))(mean, own, zero, prior)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)) and found[0] >= 0
    assert gaussian_kl(zero, s, zero, s) == 0
    found = jax.value_and_grad(lambda s: gaussian_kl_to_standard(zero, s)[0])(s)
    assert np.isfinite(found[0]) and np.sign(found[1][0, 0]) == np.sign(log_variance)


def test_a_variance_beyond_any_number_costs_its_tangent(float64):
    s = np.array([[640.0, 700.0], [5000.0, 1.0]])
    expected = 0.5 * (np.asarray(bounded_exp(jnp.asarray(s))) - 1 - s).sum(axis=1)
    np.testing.assert_allclose(gaussian_kl_to_standard(np.zeros((2, 2)), s), expected, rtol=1e-12)


def test_bounded_exp_is_the_exponential_and_then_its_tangent(key, float64):
    x = jnp.linspace(-700, 630, 50)
    np.testing.assert_array_equal(bounded_exp(x), jnp.exp(x))
    single = bounded_exp(jnp.float32([79.0, 90.0, 1e3, np.inf]))
    bound = 0.9 * np.log(np.finfo(np.float32).max)
    expected = [np.exp(79), np.exp(bound) * (91 - bound), np.exp(bound) * (1001 - bound), np.exp(bound) * 1001]
    np.testing.assert_allclose(single, expected, rtol=1e-5)


def test_shapes_that_differ_are_all_named():
    with pytest.raises(ValueError, match=r"mean \(2, 3\), log_variance \(2, 1\)"):
        gaussian_kl_to_standard(jnp.zeros((2, 3)), jnp.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"prior_log_variance \(3,\)"):
        gaussian_kl(*[jnp.zeros((2, 3))] * 3, jnp.zeros(3))
