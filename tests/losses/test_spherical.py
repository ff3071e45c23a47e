"""Codes on a sphere against SciPy's Bessel functions, quadrature over the sphere, and moments of the draws."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from jax.test_util import check_grads

from genjax import losses, networks, stochastic
from genjax.losses import UNIFORM_ON_SPHERE, VON_MISES_FISHER
from genjax.stochastic import von_mises_fisher
from genjax.types import Network

negative_log_density: Any = VON_MISES_FISHER.negative_log_density
CONCENTRATIONS = np.array([1e-3, 0.1, 1.0, 5.0, 20.0, 100.0, 1e3, 1e4])


@pytest.mark.parametrize("dim", [2, 3, *(pytest.param(dim, marks=pytest.mark.slow) for dim in (5, 10, 41, 128))])
def test_bessel_functions_are_scipys(dim, float64):
    nu, k = dim / 2 - 1, CONCENTRATIONS
    exact = np.log(scipy.special.ive(nu, k)) - nu * np.log(k)
    ratio = scipy.special.ive(nu + 1, k) / scipy.special.ive(nu, k)
    log_bessel, length, gap = (
        jax.jit(partial(function, latent_dim=dim))
        for function in (
            stochastic.log_scaled_bessel,
            stochastic.mean_resultant_length,
            von_mises_fisher.mean_resultant_gap,
        )
    )
    np.testing.assert_allclose(log_bessel(jnp.asarray(k)), exact, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(length(jnp.asarray(k)), ratio, rtol=1e-7)
    np.testing.assert_allclose(gap(jnp.asarray(k)), 1 - ratio, rtol=1e-4)
    slope = jax.jit(jax.vmap(jax.grad(log_bessel)))(jnp.asarray(k))
    np.testing.assert_allclose(slope, ratio - 1, rtol=1e-4)
    # Mardia & Jupp 2000, equation A.13: A' = 1 - A^2 - (d - 1) A / k
    curvature = jax.jit(jax.vmap(jax.grad(length)))(jnp.asarray(k))
    held = k < 200  # beyond, the right side cancels
    np.testing.assert_allclose(curvature[held], (1 - ratio**2 - (dim - 1) * ratio / k)[held], rtol=1e-3, atol=1e-8)
    single = log_bessel(jnp.float32(k))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, exact, rtol=1e-5, atol=1e-6)
    assert np.isfinite(jax.jit(jax.grad(log_bessel))(0.0))


@pytest.mark.parametrize("dim", [2, 3, *(pytest.param(dim, marks=pytest.mark.slow) for dim in (6, 25))])
def test_the_divergence_from_the_uniform_by_quadrature(dim, float64):
    # the density of w = mu^T z is that of the sphere's slices, e^{k w} (1 - w^2)^{(d - 3) / 2}; w = cos t
    t = np.linspace(0, np.pi, 20_001)
    slices = np.sin(t) ** (dim - 2)
    uniform = slices / np.trapezoid(slices, t)
    divergence = jax.jit(lambda k: losses.von_mises_fisher_kl_to_uniform(k[None], dim))
    density_of = jax.jit(lambda k, mu, z: jnp.exp(-negative_log_density((mu, jnp.full(len(t), k)), z)))
    for k in (0.01, 0.7, 4.0, 60.0):
        p = slices * np.exp(k * (np.cos(t) - 1))
        p /= np.trapezoid(p, t)
        held = (p > 1e-300) & (uniform > 1e-300)
        expected = np.trapezoid(np.where(held, p * np.log(np.where(held, p / np.where(held, uniform, 1), 1)), 0), t)
        np.testing.assert_allclose(divergence(k), expected, rtol=1e-5, atol=1e-9)
        # and the density, over the sphere, sums to 1: a slice at w has the area A_{d-1} (1 - w^2)^{(d-3)/2} dw
        mu, z = jnp.zeros((len(t), dim)).at[:, 0].set(1), np.zeros((len(t), dim))
        z[:, 0], z[:, 1] = np.cos(t), np.sin(t)
        density = density_of(k, mu, z)
        circle = 2 * np.pi ** ((dim - 1) / 2) / scipy.special.gamma((dim - 1) / 2)
        assert np.trapezoid(density * circle * slices, t) == pytest.approx(1, rel=1e-5)


def test_without_concentration_it_is_uniform(key, float64):
    mu, z = networks.unit_vectors(jax.random.normal(key, (2, 4, 5)))
    output = mu, jnp.zeros(4)
    expected = UNIFORM_ON_SPHERE.negative_log_density((), z)
    np.testing.assert_allclose(negative_log_density(output, z), expected, rtol=1e-12)
    np.testing.assert_allclose(expected, np.log(8 * np.pi**2 / 3), rtol=1e-12)  # the area in 5 dimensions
    assert UNIFORM_ON_SPHERE.kl is not None
    kl = UNIFORM_ON_SPHERE.kl((), output)
    assert kl.shape == (4, 1)
    np.testing.assert_allclose(kl, 0, atol=1e-12)
    draws = np.asarray(UNIFORM_ON_SPHERE.sample((), (20_000, 3), key))
    np.testing.assert_allclose(np.linalg.norm(draws, axis=1), 1, rtol=1e-12)
    for each in (draws, np.asarray(stochastic.sample_von_mises_fisher(jnp.asarray(draws), jnp.zeros(20_000), key))):
        assert np.all(np.abs(each.mean(0)) < 4 * each.std(0) / np.sqrt(len(each)))
        assert scipy.stats.kstest(each[:, 0], scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3  # Archimedes, for d = 3


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_draws_and_their_derivatives_have_the_moments_of_the_density(dim, key, float64):
    num = 4000
    direction = networks.unit_vectors(jax.random.normal(key, (1, dim)))
    mu = jnp.broadcast_to(direction, (num, dim))
    nu = dim / 2 - 1

    @jax.jit
    def draw(k):
        return jax.jvp(lambda k: stochastic.sample_von_mises_fisher(mu, jnp.full(num, k), key), (k,), (jnp.ones([]),))

    for k in (0.5, 6.0, 2000.0):
        z, slope = (np.asarray(a) for a in draw(jnp.array(k)))
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-9)
        w, dw = z @ np.asarray(direction[0]), slope @ np.asarray(direction[0])
        a = scipy.special.ive(nu + 1, k) / scipy.special.ive(nu, k)
        assert abs(w.mean() - a) < 4 * w.std() / np.sqrt(num)
        across = z - w[:, None] * np.asarray(direction)
        assert np.all(np.abs(across.mean(0)) < 4 * across.std(0) / np.sqrt(num) + 1e-12)
        # (d/dk) E[w] = Var[w] = A', and (d/dk) E[w^2] = Cov[w^2, w], of an exponential family
        variance = 1 - a**2 - (dim - 1) * a / k
        assert abs(dw.mean() - variance) < 4 * dw.std() / np.sqrt(num) + 1e-9
        t = np.linspace(0, np.pi, 20_001)
        p = np.sin(t) ** (dim - 2) * np.exp(k * (np.cos(t) - 1))
        p /= np.trapezoid(p, t)
        mean = np.trapezoid(p * np.cos(t), t)
        covariance = np.trapezoid(p * (np.cos(t) - mean) * np.cos(t) ** 2, t)
        found = 2 * w * dw
        assert abs(found.mean() - covariance) < 4 * found.std() / np.sqrt(num) + 1e-9


@pytest.mark.parametrize("dim", [2, 3, *(pytest.param(dim, marks=pytest.mark.slow) for dim in (4, 30))])
def test_a_draw_moves_along_its_quantile_function(dim, float64):
    k, step = 3.0, 1e-4

    def cumulative(w, k):
        return (
            scipy.integrate.quad(
                lambda t: np.exp(k * (np.cos(t) - 1)) * np.sin(t) ** (dim - 2), np.arccos(w), np.pi, epsabs=1e-13
            )[0]
            / scipy.integrate.quad(lambda t: np.exp(k * (np.cos(t) - 1)) * np.sin(t) ** (dim - 2), 0, np.pi)[0]
        )

    for w in np.array([-0.6, 0.1, 0.55, 0.9]) * min(1, 3 / np.sqrt(dim)):
        before, after = cumulative(w, k - step), cumulative(w, k + step)
        density = (cumulative(w + step, k) - cumulative(w - step, k)) / (2 * step)
        expected = -(after - before) / (2 * step) / density
        found = -von_mises_fisher._gap_slope(jnp.array([1 - w]), jnp.array([k]), dim)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_draw_is_of_its_own_row_and_key(key, no_key_reuse):
    mu = networks.unit_vectors(jax.random.normal(jax.random.clone(key), (6, 3)))
    k = jnp.array([0.1, 1.0, 5.0, 1e2, 1e4, 1e5])
    z = stochastic.sample_von_mises_fisher(mu, k, jax.random.clone(key))
    np.testing.assert_array_equal(z, stochastic.sample_von_mises_fisher(mu, k, jax.random.clone(key)))
    other = stochastic.sample_von_mises_fisher(mu, k.at[0].set(2.0), jax.random.clone(key))
    np.testing.assert_array_equal(z[1:], other[1:])
    assert np.isfinite(z).all() and np.linalg.norm(z[-1] - mu[-1]) < 0.05
    gradient = jax.grad(lambda k: jnp.sum(stochastic.sample_von_mises_fisher(mu, k, jax.random.clone(key))))(k)
    assert np.isfinite(gradient).all()
    with pytest.raises(ValueError, match=r"do not fit: \(6, 3\) and \(5,\)"):
        stochastic.sample_von_mises_fisher(mu, k[:5], key)


def test_the_density_is_differentiated_twice(key, float64):
    mu, z = networks.unit_vectors(jax.random.normal(key, (2, 3, 4)))

    def loss(mu, k):
        return negative_log_density((mu, k), z)

    check_grads(jax.jit(loss), (mu, jnp.array([0.2, 3.0, 40.0])), order=2, modes=["rev"])


def test_heads_are_a_direction_and_a_concentration_above_one(key):
    y = jax.random.normal(key, (4, 6)) * 3
    mu, k = networks.von_mises_fisher_heads(Network(lambda key: (), lambda p, x: x)).apply((), y)
    direction = np.asarray(y)[:, :5]
    np.testing.assert_allclose(mu, direction / np.linalg.norm(direction, axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(k, 1 + np.logaddexp(0, np.asarray(y)[:, 5]), rtol=1e-5)
    assert np.all(networks.unit_vectors(jnp.zeros((2, 3))) == 0)
