"""Likelihoods of the columns of a table: normalised densities, their samplers and extremes, and their product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics

from genjax.losses import (
    CATEGORICAL,
    GAUSSIAN,
    joint_likelihood,
    negative_binomial_likelihood,
    of_location,
    poisson_likelihood,
)

COUNTS = np.array([[0, 3], [7, 1], [40, 12]])
SCALE = np.array([2.5, 7.0])


def test_one_hot_cross_entropy_is_scikit_learns_log_loss(key, float64):
    logits, label = jax.random.normal(key, (20, 4)) * 3, np.arange(20) % 4
    found = CATEGORICAL.negative_log_likelihood(logits, np.eye(4)[label])
    probabilities = scipy.special.softmax(np.asarray(logits), axis=1)
    np.testing.assert_allclose(np.mean(found), sklearn.metrics.log_loss(label, probabilities), rtol=1e-12)
    np.testing.assert_allclose(CATEGORICAL.mean(logits), probabilities, rtol=1e-12)


def test_poisson_counts_are_scipys(key, float64):
    log_rate = jax.random.normal(key, (3, 2))
    found = poisson_likelihood(scale=SCALE).negative_log_likelihood(log_rate, COUNTS / SCALE)
    expected = -scipy.stats.poisson.logpmf(COUNTS, SCALE * np.exp(log_rate)).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("log_dispersion", [-9.0, 0.3, 4.0])
def test_negative_binomial_counts_are_scipys(key, float64, log_dispersion):
    log_rate, s = jax.random.normal(key, (3, 2)), np.array([log_dispersion, log_dispersion - 1])
    found = negative_binomial_likelihood(scale=SCALE).negative_log_likelihood((log_rate, s), COUNTS / SCALE)
    r, mean = np.exp(-s), SCALE * np.exp(log_rate)
    expected = -scipy.stats.nbinom.logpmf(COUNTS, r, r / (r + mean)).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # the accuracy of JAX's betaln


def test_little_dispersion_is_poisson_even_in_float32():
    log_rate, x = jnp.array([[0.2, -1.0, 1.5]]), jnp.array([[3.0, 0.0, 9.0]])
    found = negative_binomial_likelihood().negative_log_likelihood((log_rate, jnp.array(-10.0)), x)
    np.testing.assert_allclose(found, poisson_likelihood().negative_log_likelihood(log_rate, x), rtol=2e-3)


def test_counts_survive_their_scale_in_float32():
    counts = np.arange(2**22 - 1000, 2**22 + 1, dtype=np.float64)[:, None]
    for scale in (3.7, 1234.567):
        x = jnp.asarray(counts / scale, jnp.float32)
        found = poisson_likelihood(scale=scale).negative_log_likelihood(jnp.zeros_like(x), x)
        expected = -scipy.stats.poisson.logpmf(counts[:, 0], scale)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_array_equal(np.round(np.asarray(x) * np.float32(scale)), counts)


MIXED = joint_likelihood(
    {
        "numbers": (2, GAUSSIAN),
        "colour": (3, of_location(CATEGORICAL)),
        "visits": (1, negative_binomial_likelihood(scale=2.0)),
        "clicks": (1, of_location(poisson_likelihood(scale=0.5))),
    }
)


def mixed_output(key, num):
    mean = jax.random.normal(key, (num, 7))
    spread = jnp.array([-0.5, 0.4, 9.0, 9.0, 9.0, -0.7, 9.0])  # 9 where none is read
    return mean, spread


def test_the_mixed_likelihood_is_the_sum_of_its_columns(key, float64):
    (a, s), draw = mixed_output(key, 6), np.random.RandomState(0)
    numbers, colour, visits, clicks = draw.normal(size=(6, 2)), draw.randint(3, size=6), draw.poisson(3, 6), COUNTS.T[0]
    clicks = np.resize(clicks, 6)
    x = np.concatenate([numbers, np.eye(3)[colour], visits[:, None] / 2, clicks[:, None] / 0.5], axis=1)
    r = np.exp(-s[5])
    expected = {
        "numbers": -scipy.stats.norm.logpdf(numbers, a[:, :2], np.exp(s[:2] / 2)).sum(axis=1),
        "colour": -np.log(scipy.special.softmax(a[:, 2:5], axis=1)[np.arange(6), colour]),
        "visits": -scipy.stats.nbinom.logpmf(visits, r, r / (r + 2 * np.exp(a[:, 5]))),
        "clicks": -scipy.stats.poisson.logpmf(clicks, 0.5 * np.exp(a[:, 6])),
    }
    assert MIXED.terms is not None
    terms = MIXED.terms((a, s), x)
    assert list(terms) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-6 if name == "visits" else 1e-12)
    np.testing.assert_allclose(MIXED.negative_log_likelihood((a, s), x), sum(expected.values()), rtol=1e-6)
    np.testing.assert_allclose(MIXED.negative_log_likelihood((a, s), x), sum(terms.values()), rtol=1e-12)


def test_samples_have_the_moments_of_their_columns(key):
    num = 10_000
    a, s = mixed_output(key, 1)
    many = jnp.repeat(a, num, axis=0), s
    x = np.asarray(MIXED.sample(many, jax.random.fold_in(key, 1)), np.float64)
    a, s = np.asarray(a[0], np.float64), np.asarray(s, np.float64)
    p, visits, clicks = scipy.special.softmax(a[2:5]), 2 * np.exp(a[5]), 0.5 * np.exp(a[6])
    mean = np.array([*a[:2], *p, visits / 2, clicks / 0.5])
    variance = np.array([*np.exp(s[:2]), *p * (1 - p), (visits + visits**2 * np.exp(s[5])) / 4, clicks / 0.25])
    np.testing.assert_allclose(np.asarray(MIXED.mean(many))[0], mean, rtol=1e-5)
    assert np.all(np.abs(x.mean(axis=0) - mean) < 4 * np.sqrt(variance / num))
    error_of_variance = np.sqrt(((x - mean) ** 4).mean(axis=0) - variance**2) / np.sqrt(num)
    assert np.all(np.abs(x.var(axis=0) - variance) < 5 * error_of_variance)
    assert np.all(x[:, 2:5].sum(axis=1) == 1) and np.all(x[:, 5] * 2 % 1 == 0)
    together = np.cov(x, rowvar=False)[np.ix_([0, 1, 2, 5, 6], [0, 1, 2, 5, 6])]  # columns are drawn independently
    scale = np.sqrt(np.diag(together))
    assert np.abs(together / scale / scale[:, None] - np.eye(5)).max() < 5 / np.sqrt(num)


def test_parts_are_drawn_independently(key):
    alike = joint_likelihood({"p": (1, GAUSSIAN), "q": (1, GAUSSIAN)})
    x = alike.sample((jnp.zeros((2000, 2)), jnp.zeros(2)), key)
    assert abs(np.corrcoef(x, rowvar=False)[0, 1]) < 4 / np.sqrt(2000)


def test_extreme_outputs_stay_finite():
    extremes = np.repeat([-1e3, 0.0, 1e3], 3)[:, None], np.tile([-1e3, 0.0, 1e3], 3)[:, None]
    a, other = (jnp.asarray(np.repeat(of, 3, axis=1), jnp.float32) for of in extremes)
    x = jnp.array([[0.0, 1.0, 5.0]] * 9)
    for likelihood in (
        of_location(CATEGORICAL),
        of_location(poisson_likelihood(scale=3.0)),
        negative_binomial_likelihood(scale=3.0),
    ):
        loss = likelihood.negative_log_likelihood

        @jax.jit
        def values_and_slopes(output, loss=loss):
            values, slope_of = jax.vjp(lambda output: loss(output, x), output)
            return values, slope_of(jnp.ones(9))[0]

        values, slopes = values_and_slopes((a, other))
        assert np.isfinite(values).all() and all(np.isfinite(slope).all() for slope in slopes)
        assert np.isfinite(jax.jit(likelihood.sample)((a, other), jax.random.key(0))).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"the parts have 7 features; got \(2, 6\)"):
        MIXED.mean((jnp.zeros((2, 6)), jnp.zeros(7)))
    with pytest.raises(ValueError, match=r"\(2, 7\).*\(2, 6\)"):
        MIXED.negative_log_likelihood((jnp.zeros((2, 7)), jnp.zeros(7)), jnp.zeros((2, 6)))
    for likelihood in (CATEGORICAL, poisson_likelihood()):
        with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 1\)"):
            likelihood.negative_log_likelihood(jnp.zeros((2, 3)), jnp.zeros((2, 1)))
