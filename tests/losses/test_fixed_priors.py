"""Priors without parameters: their densities by SciPy, their mass by quadrature, and their draws by their moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax.losses import UNIFORM_ON_CUBE, class_and_style_prior, ring_prior, swiss_roll_prior

K = 5


def gaussians(name):
    """Means and covariances of each class, [K, M, 2] and [K, M, 2, 2], from their definitions."""
    if name == "ring":
        angles = 2 * np.pi * np.arange(K) / K
        turn = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
        mean = 3.0 * turn[:, :, 0]
        return mean[:, None], (turn @ np.diag([0.6**2, 0.2**2]) @ np.swapaxes(turn, 1, 2))[:, None]
    t = np.sqrt((np.arange(K * 4) + 0.5) / (K * 4))
    mean = 2.0 * (t * np.exp(2j * np.pi * 1.5 * t))
    mean = np.stack([mean.real, mean.imag], axis=1).reshape(K, 4, 2)
    return mean, np.broadcast_to(0.15**2 * np.eye(2), (K, 4, 2, 2))


def prior(name, classes):
    if name == "ring":
        return ring_prior(K, radius=3.0, radial=0.6, tangential=0.2, classes=classes)
    return swiss_roll_prior(K, radius=2.0, turns=1.5, standard_deviation=0.15, links=4, classes=classes)


@pytest.mark.parametrize("name", ["ring", "swiss_roll"])
def test_the_density_is_that_of_its_gaussians(name, float64):
    mean, covariance = gaussians(name)
    z = np.random.RandomState(0).uniform(-3, 3, (7, 2))
    each = np.array(
        [
            [scipy.stats.multivariate_normal.logpdf(z, m, s) for m, s in zip(*of, strict=True)]
            for of in zip(mean, covariance, strict=True)
        ]
    )  # [K, M, 7]
    of_class = scipy.special.logsumexp(each, axis=1) - np.log(each.shape[1])
    whole = scipy.special.logsumexp(of_class, axis=0) - np.log(K)
    np.testing.assert_allclose(prior(name, False).negative_log_density((), jnp.asarray(z)), -whole, rtol=1e-9)
    label = np.array([0, 1, -1, 4, 3, -1, 2])
    expected = np.where(label < 0, whole, of_class[np.maximum(label, 0), np.arange(7)])
    found = prior(name, True).negative_log_density((), jnp.asarray(z), jnp.asarray(label))
    np.testing.assert_allclose(found, -expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["ring", "swiss_roll"])
def test_draws_have_the_moments_of_their_gaussians(name, key, no_key_reuse):
    mean, covariance = gaussians(name)
    num = 20_000
    label = np.arange(num) % (K + 1) - 1  # a sixth of them unknown
    z = np.asarray(prior(name, True).sample((), (num, 2), key, jnp.asarray(label)), np.float64)
    for k in range(-1, K):
        of = slice(None) if k < 0 else slice(k, k + 1)
        own, m, s = z[label == k], mean[of].reshape(-1, 2), covariance[of].reshape(-1, 2, 2)
        expected = s.mean(0) + np.cov(m.T, bias=True) if len(m) > 1 else s[0]
        error = (own.mean(0) - m.mean(0)) / np.sqrt(np.diag(expected) / len(own))
        assert np.abs(error).max() < 4.5
        np.testing.assert_allclose(np.cov(own.T), expected, atol=0.08 * np.trace(expected))
    unlabelled = np.asarray(prior(name, False).sample((), (num, 2), jax.random.clone(key)))
    np.testing.assert_allclose(np.cov(unlabelled.T), np.cov(z[label < 0].T), atol=0.08 * np.trace(np.cov(z.T)))


def test_the_defaults_sum_to_one(float64):
    axis = (np.arange(120) + 0.5) / 10 - 6
    z = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    for made in (ring_prior(10), swiss_roll_prior(10)):
        density = np.exp(-np.asarray(made.negative_log_density((), z)))
        assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-3)


def test_the_cube_is_uniform(key):
    z = jnp.array([[0.9, -1.0], [1.0, 1.01], [0.0, 0.0]])
    expected = -scipy.stats.uniform(-1, 2).logpdf(z).sum(1)
    np.testing.assert_allclose(UNIFORM_ON_CUBE.negative_log_density((), z), expected, rtol=1e-6)
    draws = np.asarray(UNIFORM_ON_CUBE.sample((), (5000, 2), key))
    assert scipy.stats.kstest(draws.ravel(), scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(draws.T)[0, 1]) < 4.5 / np.sqrt(5000)


def test_what_does_not_fit_is_refused(key):
    label = jnp.zeros(4, jnp.int32)
    with pytest.raises(ValueError, match="codes of this prior have 2 dimensions, not 3"):
        ring_prior(K).sample((), (4, 3), key)
    with pytest.raises(ValueError, match="a prior with classes takes the labels"):
        ring_prior(K, classes=True).sample((), (4, 2), key)
    with pytest.raises(ValueError, match="a prior without classes takes no labels"):
        ring_prior(K).sample((), (4, 2), key, label)


@pytest.mark.slow
def test_a_class_and_a_style_are_independent(key, no_key_reuse):
    made, num = class_and_style_prior(3, style=ring_prior(K)), 6000
    label = jnp.where(jnp.arange(num) < 3000, -1, 2)
    z = np.asarray(made.sample((), (num, 5), key, label))
    assert (z[:3000, :3].sum(axis=1) == 1).all() and (z[3000:, :3] == np.eye(3)[2]).all()
    share = z[:3000, :3].mean(axis=0)
    assert np.abs(share - 1 / 3).max() < 4 * np.sqrt(2 / 9 / 3000)
    correlation = np.corrcoef(z[:3000].T)[:3, 3:]
    assert np.abs(correlation).max() < 4 / np.sqrt(3000)
    found = made.negative_log_density((), jnp.asarray(z[:5]))
    style = ring_prior(K).negative_log_density((), jnp.asarray(z[:5, 3:]))
    np.testing.assert_allclose(found, np.log(3) + style, rtol=1e-6)
