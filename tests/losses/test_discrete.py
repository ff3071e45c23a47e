"""Distributions of discrete codes against tables, SciPy and enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax import losses
from genjax.types import Network


def small_prior(key, length, num_codes):
    """Conditionals far from uniform, linear in the symbols before; and all sequences."""
    size = length * num_codes
    mask = jnp.kron(jnp.triu(jnp.ones((length, length)), 1), jnp.ones((num_codes, num_codes)))
    network = Network(
        lambda key: jax.random.normal(key, (size, size)),
        lambda params, x: (x.reshape(-1, size) @ (mask * params)).reshape(x.shape),
    )
    prior = losses.autoregressive(network, num_codes)
    return prior, prior.init(key), jnp.array(list(itertools.product(range(num_codes), repeat=length)))


def test_the_probabilities_of_all_sequences_sum_to_one(key):
    prior, params, every = small_prior(key, 4, 3)
    p = np.exp(-np.float64(prior.negative_log_density(params, every)))
    assert p.max() > 2 * p.min()
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)


def test_sequences_are_drawn_as_often_as_they_are_probable(key):
    prior, params, every = small_prior(key, 3, 3)
    p = np.exp(-np.float64(prior.negative_log_density(params, every)))
    num = 20_000
    drawn = np.asarray(jax.jit(prior.sample, static_argnums=1)(params, (num, 3), jax.random.fold_in(key, 1)))
    counts = np.bincount(drawn @ [9, 3, 1], minlength=27)
    assert drawn.dtype == np.int32 and scipy.stats.chisquare(counts, num * p / p.sum()).pvalue > 1e-3


def test_a_sequence_is_drawn_by_its_conditionals(key):
    # each symbol is the sum of those before it, plus 1, modulo 5, almost surely
    def apply(params, x):
        before = jnp.cumsum(jnp.pad(x[:, :-1] @ jnp.arange(5.0), ((0, 0), (1, 0))), axis=1)
        return 50 * jax.nn.one_hot((before.astype(jnp.int32) + 1) % 5, 5)

    prior = losses.autoregressive(Network(lambda key: (), apply), 5)
    np.testing.assert_array_equal(prior.sample((), (2, 6), key), [[1, 2, 4, 3, 1, 2]] * 2)
    np.testing.assert_allclose(prior.negative_log_density((), jnp.array([[1, 2, 4, 3, 1, 2]])), 0, atol=1e-5)
    np.testing.assert_allclose(prior.negative_log_density((), jnp.array([[1, 2, 4, 3, 1, 0]])), 50, rtol=1e-5)


def test_the_uniform_prior_by_scipy(key):
    prior = losses.uniform_categorical(4)
    k1, k2 = jax.random.split(key)
    logits = 2 * jax.random.normal(k1, (5, 3 * 4))
    q = scipy.special.softmax(np.float64(logits).reshape(5, 3, 4), axis=-1)
    assert prior.kl is not None
    expected = scipy.stats.entropy(q, np.full((1, 1, 4), 0.25), axis=-1)
    np.testing.assert_allclose(prior.kl((), logits), expected, rtol=1e-4, atol=1e-6)
    z = np.asarray(prior.sample((), (8000, 12), k2)).reshape(8000, 3, 4)
    assert set(np.unique(z)) == {0, 1} and (z.sum(-1) == 1).all()
    assert scipy.stats.chisquare(np.bincount(z.argmax(-1) @ [16, 4, 1], minlength=64)).pvalue > 1e-3
    np.testing.assert_allclose(prior.negative_log_density((), jnp.asarray(z[:2].reshape(2, 12))), 3 * np.log(4))
    with pytest.raises(ValueError, match="13 entries"):
        prior.negative_log_density((), jnp.zeros((1, 13)))


@pytest.mark.parametrize("straight_through", [False, True])
def test_the_largest_entry_is_a_categorical_draw(straight_through, key):
    posterior = losses.relaxed_categorical(3, temperature=0.7, straight_through=straight_through)
    logits = jnp.array([1.0, -1.0, 0.3, 2.0, 0.0, 0.0])
    z, negative_log_q = posterior.sample_and_negative_log_density(jnp.tile(logits, (20_000, 1)), key)
    variables = np.asarray(z).reshape(-1, 2, 3)
    q = scipy.special.softmax(np.float64(logits).reshape(2, 3), axis=1)
    pairs = np.bincount(variables.argmax(-1) @ [3, 1], minlength=9)
    assert scipy.stats.chisquare(pairs, 20_000 * np.outer(*q).ravel()).pvalue > 1e-3
    np.testing.assert_allclose(variables.sum(-1), 1, rtol=1e-5)
    assert ((variables == 0) | (variables == 1)).all() == straight_through
    if straight_through:
        expected = scipy.stats.multinomial.logpmf(variables, 1, q[None]).sum(-1)
        np.testing.assert_allclose(negative_log_q, -expected, rtol=1e-4)
    np.testing.assert_allclose(posterior.mean(logits[None])[0], q.ravel(), rtol=1e-5)


def test_the_relaxation_is_the_formula(key):
    logits = jax.random.normal(key, (4, 6))
    z, _ = losses.relaxed_categorical(3, temperature=0.4).sample_and_negative_log_density(logits, key)
    u = np.float64(jax.random.uniform(key, (4, 2, 3), minval=np.finfo(np.float32).tiny))
    expected = scipy.special.softmax((np.asarray(logits).reshape(4, 2, 3) - np.log(-np.log(u))) / 0.4, axis=-1)
    np.testing.assert_allclose(z, expected.reshape(4, 6), rtol=1e-3, atol=1e-5)


def test_the_bias_of_the_relaxation_falls_with_its_temperature(key):
    """Of E f(z) and of its gradient in the logits, which are sums over the three values of z."""
    num, value, weight = 200_000, np.array([2.0, -1.0, 0.5]), np.array([0.3, -0.8, 1.0])
    logits = jnp.array([0.2, -0.4, 0.9])
    q = scipy.special.softmax(np.float64(logits))
    of_one_hot = value + weight**2
    exact, slope = q @ of_one_hot, q * (of_one_hot - q @ of_one_hot)

    def f(z):
        return z @ jnp.float32(value) + (z @ jnp.float32(weight)) ** 2

    def estimate(temperature):
        posterior = losses.relaxed_categorical(3, temperature=temperature)

        def one(logits, key):
            return f(posterior.sample_and_negative_log_density(logits[None], key)[0][0])

        each = jax.jit(jax.vmap(jax.value_and_grad(one), (None, 0)))(logits, jax.random.split(key, num))
        return (np.float64(a) for a in each)

    bias = {}
    for temperature in (2.0, 0.5, 0.1):
        values, slopes = estimate(temperature)
        error = 4 * np.append(slopes.std(0), values.std()) / np.sqrt(num)
        bias[temperature] = np.abs(np.append(slopes.mean(0) - slope, values.mean() - exact)).max(), error.max()
    assert bias[2.0][0] > 2 * bias[0.5][0] > 8 * bias[0.1][0]
    assert bias[2.0][0] > 10 * bias[2.0][1] and bias[0.1][0] < bias[2.0][0] / 10


def test_straight_through_has_the_slope_of_the_relaxation(key):
    logits = jax.random.normal(key, (4, 6))
    slope = jax.random.normal(jax.random.fold_in(key, 1), (4, 6))
    pulls = []
    for straight_through in (False, True):
        posterior = losses.relaxed_categorical(3, temperature=0.5, straight_through=straight_through)
        pull = jax.vjp(lambda a, p=posterior: p.sample_and_negative_log_density(a, key)[0], logits)[1]
        pulls.append(pull(slope)[0])
    np.testing.assert_array_equal(*pulls)
