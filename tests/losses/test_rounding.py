"""Probabilities of rounded numbers: against scipy, as sums over the integers, and as densities under uniform noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from jax.test_util import check_grads

from genjax.losses import rounding

INTEGERS = np.arange(-60, 61)


def mixture(key, dim=2, num=3):
    names = ("logits", "mean", "log_scale")
    return {name: jax.random.normal(k, (dim, num)) for name, k in zip(names, jax.random.split(key, 3), strict=True)}


def mixture_cdf(params, x):
    """The cumulative distribution of each dimension at x, by scipy."""
    weights = scipy.special.softmax(params["logits"], axis=-1)
    scale = np.exp(params["log_scale"])
    return (weights * scipy.stats.logistic.cdf(x, np.asarray(params["mean"]), scale)).sum(-1)


@pytest.mark.parametrize("log_scale", [-2.0, -0.3, 1.5, 3.0])
def test_a_rounded_gaussian_is_scipys_and_sums_to_one(log_scale, float64):
    scale = np.exp(log_scale)
    found = np.exp(rounding.rounded_gaussian_log_probability(INTEGERS * 1.0, log_scale))
    # of the upper tail by its symmetry, where scipy's own difference would lose all digits
    wanted = scipy.stats.norm.cdf((0.5 - abs(INTEGERS)) / scale) - scipy.stats.norm.cdf((-0.5 - abs(INTEGERS)) / scale)
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-300)
    if log_scale < 3:
        assert found.sum() == pytest.approx(1, abs=1e-9)


def test_a_rounded_mixture_is_scipys_and_sums_to_one(key, float64):
    params = mixture(key)
    for q in (-4.0, 0.0, 3.0):
        wanted = mixture_cdf(params, q + 0.5) - mixture_cdf(params, q - 0.5)
        np.testing.assert_allclose(
            rounding.rounded_mixture_log_probability(params, jnp.full((1, 2), q))[0], np.log(wanted)
        )
    every = jnp.broadcast_to(jnp.arange(-400.0, 401)[:, None], (801, 2))
    total = np.exp(rounding.rounded_mixture_log_probability(params, every)).sum(0)
    np.testing.assert_allclose(total, 1, atol=1e-9)


def test_it_is_the_density_under_uniform_noise(key, float64):
    """Of the sum of a draw and noise: the convolution of its density with a box, by quadrature."""
    scale = 0.6
    for v in (-1.3, 0.0, 0.4, 2.2):
        density, _ = scipy.integrate.quad(lambda u, v=v: scipy.stats.norm.pdf(v - u, scale=scale), -0.5, 0.5)
        found = np.exp(rounding.rounded_gaussian_log_probability(v, np.log(scale)))
        assert found == pytest.approx(density, rel=1e-9)
    params = mixture(key, dim=1, num=2)
    mean, width = np.asarray(params["mean"][0]), np.exp(params["log_scale"][0])
    weights = scipy.special.softmax(params["logits"][0])
    for v in (-1.3, 0.4):
        density, _ = scipy.integrate.quad(
            lambda u, v=v: (weights * scipy.stats.logistic.pdf(v - u, mean, width)).sum(), -0.5, 0.5
        )
        found = np.exp(rounding.rounded_mixture_log_probability(params, jnp.array([[v]])))
        np.testing.assert_allclose(found, density, rtol=1e-9)


def test_the_rate_of_a_narrow_number_is_the_entropy_of_the_noise(float64):
    # a point at 0 with noise is uniform on (-1/2, 1/2), of differential entropy 0; a point at 1/2 is 0 or 1, one bit
    params = {"logits": jnp.zeros((1, 1)), "mean": jnp.array([[0.0]]), "log_scale": jnp.array([[-5.0]])}
    inside = np.linspace(-0.45, 0.45, 7)[:, None]
    np.testing.assert_allclose(rounding.rounded_mixture_log_probability(params, inside), 0, atol=1e-3)
    half = params | {"mean": jnp.array([[0.5]])}
    np.testing.assert_allclose(
        rounding.rounded_mixture_log_probability(half, jnp.array([[0.0], [1.0]])), -np.log(2), atol=1e-6
    )


@pytest.mark.parametrize("scale", [0.02, 30.0])
def test_the_mean_rate_is_the_differential_entropy_of_the_sum_with_noise(scale, float64):
    """Of a narrow number 0, that of the noise; of a wide one, that of the logistic distribution, log s + 2."""
    params = {"logits": jnp.zeros((1, 1)), "mean": jnp.array([[0.0]]), "log_scale": jnp.log(jnp.array([[scale]]))}
    reach = 40 * scale + 1
    v = np.linspace(-reach, reach, 400_001)
    rate = -np.asarray(rounding.rounded_mixture_log_probability(params, jnp.asarray(v)[:, None]))[:, 0]
    entropy = np.trapezoid(np.exp(-rate) * rate, v)
    assert np.trapezoid(np.exp(-rate), v) == pytest.approx(1, abs=1e-6)
    assert entropy == pytest.approx(np.log(scale) + 2 if scale > 1 else 0, abs=1e-3 if scale > 1 else 0.08)


def test_derivatives(key, float64):
    params = mixture(key)
    q = jnp.array([[0.3, -1.2], [2.0, 0.0]])
    check_grads(jax.jit(rounding.rounded_mixture_log_probability), (params, q), order=1)
    check_grads(jax.jit(rounding.rounded_gaussian_log_probability), (q, 0.4 * q + 0.1), order=1)


def test_extremes_are_finite_and_have_slopes():
    params = {"logits": jnp.zeros((1, 2)), "mean": jnp.array([[0.0, 1e3]]), "log_scale": jnp.array([[-50.0, 9.0]])}
    mixture_and_slopes = jax.jit(
        jax.value_and_grad(lambda params, q: rounding.rounded_mixture_log_probability(params, q).sum())
    )
    for q in (0.0, 0.3, 1e4, -1e4):
        value, slopes = mixture_and_slopes(params, np.float32([[q]]))
        assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    gaussian_and_slope = jax.jit(jax.value_and_grad(rounding.rounded_gaussian_log_probability))
    for t in (-50.0, 0.0, 50.0):
        value, slope = gaussian_and_slope(300.0, t)
        assert np.isfinite(value) and np.isfinite(slope)
