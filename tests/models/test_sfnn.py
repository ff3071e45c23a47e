"""The stochastic feed-forward network against brute force, Fisher's identity, exact EM and the MLP it contains."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from jax.flatten_util import ravel_pytree

from genjax import networks, stochastic
from genjax.losses import GAUSSIAN
from genjax.models import sfnn
from genjax.types import Batch, Network


def gaussian_parts(num_stochastic, num_deterministic, output_dim=2, hidden=(8,)):
    """Two inputs; a Gaussian output whose mean and variance both depend on the hidden units."""
    units = num_stochastic + num_deterministic
    return sfnn.SFNN(
        networks.mlp((2,), (units,), hidden=hidden, activation=jnp.tanh),
        networks.gaussian_heads(networks.mlp((units,), (2 * output_dim,), hidden=(8,), activation=jnp.tanh)),
        GAUSSIAN,
        num_stochastic,
        jnp.tanh,
    )


def example(key, num_stochastic, num_deterministic, num=5, scale=2.0):
    """Parts, params of larger weights than a fresh network's, and pairs (x, y), in the precision switched on."""
    parts = gaussian_parts(num_stochastic, num_deterministic)
    params_key, x_key, y_key = jax.random.split(key, 3)
    params = jax.jit(partial(sfnn.init_params, parts=parts))(params_key)
    params = jax.tree.map(lambda p: scale * p.astype(float), params)
    return parts, params, jax.random.normal(x_key, (num, 2), float), jax.random.normal(y_key, (num, 2), float)


def affine(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def by_brute_force(params, x, y, num_stochastic):
    """p(y|x) as a sum over itertools.product of scipy's densities, one example after the other."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    values = []
    for one, target in zip(np.asarray(x, np.float64), np.asarray(y, np.float64), strict=True):
        a = affine(p["hidden"]["layer_2"], np.tanh(affine(p["hidden"]["layer_1"], one)))
        prior, total = scipy.special.expit(a[:num_stochastic]), 0.0
        for bits in itertools.product([0, 1], repeat=num_stochastic):
            h = np.concatenate([bits, np.tanh(a[num_stochastic:])])
            heads = affine(p["output"]["layer_2"], np.tanh(affine(p["output"]["layer_1"], h)))
            density = scipy.stats.norm(heads[:2], np.exp(heads[2:] / 2)).pdf(target).prod()
            total += density * np.where(bits, prior, 1 - prior).prod()
        values.append(-np.log(total))
    return np.array(values)


def test_likelihood_is_the_sum_over_all_settings_of_the_bits(key, float64):
    parts, params, x, y = example(key, 3, 2)
    got = sfnn.negative_log_likelihood(params, x, y, parts=parts)
    np.testing.assert_allclose(got, by_brute_force(params, x, y, 3), rtol=1e-10)


def test_settings_are_all_and_each_once():
    settings = np.asarray(sfnn.configurations(4))
    assert settings.shape == (16, 4) and len({tuple(row) for row in settings}) == 16
    assert set(settings.ravel()) == {0, 1}
    np.testing.assert_array_equal(settings[1], [1, 0, 0, 0])
    with pytest.raises(ValueError, match=r"17 bits have 2\^17 settings"):
        sfnn.configurations(17)


def test_posterior_is_bayes_rule_over_the_settings(key, float64):
    parts, params, x, y = example(key, 3, 1)
    settings = sfnn.configurations(3)
    log_joint = []
    for row in settings:
        bits = jnp.broadcast_to(row[None, None], (1, len(x), 3))
        log_y, log_h = sfnn.log_probabilities(params, x, y, bits, parts=parts)
        log_joint.append((log_y + log_h)[0])
    joint = np.exp(np.array(log_joint))
    got = sfnn.posterior(params, x, y, parts=parts)
    np.testing.assert_allclose(got, joint / joint.sum(0), rtol=1e-10)


def test_importance_estimate_falls_to_the_likelihood_from_above(key):
    """Jensen: the mean of -log of an average is above -log of the mean, less so the more is averaged."""
    parts, params, x, y = example(key, 6, 2, scale=3.0)
    exact = np.asarray(sfnn.negative_log_likelihood(params, x, y, parts=parts)).mean()
    means, errors = [], []
    for num_draws in (1, 10, 1000):

        def estimate(key, num_draws=num_draws):
            got = sfnn.importance_negative_log_likelihood(params, x, y, key, parts=parts, num_draws=num_draws)
            return jnp.mean(got)

        draws = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.fold_in(key, num_draws), 200)))
        means.append(draws.mean())
        errors.append(draws.std() / np.sqrt(len(draws)))
    assert means[0] > means[1] > means[2] > exact - 4 * errors[2]
    assert means[0] > exact + 4 * errors[0]
    np.testing.assert_allclose(means[2], exact, atol=0.02)


def gradient_of_the_likelihood(params, x, y, parts):
    return jax.jit(jax.grad(lambda p: jnp.mean(sfnn.negative_log_likelihood(p, x, y, parts=parts))))(params)


def test_gradient_of_the_exact_m_step_is_that_of_the_likelihood(key, float64):
    # Fisher's identity: grad log p(y|x) = E_{p(h|x, y)} grad log p(y, h|x)
    parts, params, x, y = example(key, 3, 2)
    bits = jnp.broadcast_to(sfnn.configurations(3)[:, None], (8, len(x), 3))

    def m_step(params):
        weights = sfnn.posterior(params, x, y, parts=parts)  # no gradient may flow through these
        return jnp.mean(sfnn.negative_expected_log_joint(params, x, y, bits, weights, parts=parts))

    exact = gradient_of_the_likelihood(params, x, y, parts)
    chex.assert_trees_all_close(jax.jit(jax.grad(m_step))(params), exact, rtol=1e-9, atol=1e-12)


def test_gradient_of_the_objective_tends_to_that_of_the_likelihood(key):
    parts, params, x, y = example(key, 3, 2)
    exact, _ = ravel_pytree(gradient_of_the_likelihood(params, x, y, parts))

    def error(num_draws):
        objective = sfnn.objective(parts, num_draws=num_draws)

        def loss(params):
            return jnp.mean(objective(params, Batch(x, y), jax.random.fold_in(key, num_draws))[0])

        gradient, _ = ravel_pytree(jax.jit(jax.grad(loss))(params))
        return float(jnp.linalg.norm(gradient - exact) / jnp.linalg.norm(exact))

    assert error(20_000) < 0.05 < error(5)


def test_objective_reports_the_importance_estimate_of_its_draws(key):
    parts, params, x, y = example(key, 4, 1)
    draws = jax.random.fold_in(key, 1)
    _, metrics = sfnn.objective(parts, num_draws=7)(params, Batch(x, y), draws)
    estimate = sfnn.importance_negative_log_likelihood(params, x, y, draws, parts=parts, num_draws=7)
    np.testing.assert_allclose(metrics["negative_log_likelihood"], estimate, rtol=1e-6)


@pytest.mark.slow
def test_likelihood_never_falls_under_exact_em(key, float64):
    """E-step by enumeration, M-step to a minimum by BFGS: two modes that a unimodal model could not explain."""
    identity = Network(None, lambda params, x: affine_rows(params, x))
    heads = Network(None, lambda params, h: (affine_rows(params, h), params["log_variance"]))
    parts = sfnn.SFNN(identity, heads, GAUSSIAN, 2, jnp.tanh)
    draw = np.random.RandomState(0)
    x = draw.uniform(-1, 1, (40, 1))
    y = np.where(draw.rand(40, 1) < 0.5, x, -x) + 0.1 * draw.randn(40, 1)
    x, y = jnp.asarray(x), jnp.asarray(y)
    params = {
        "hidden": {"kernel": jnp.asarray(draw.randn(1, 3)), "bias": jnp.asarray(draw.randn(3))},
        "output": {
            "kernel": jnp.asarray(draw.randn(3, 1)),
            "bias": jnp.zeros(1),
            "log_variance": jnp.zeros([]),
        },
    }
    flat, unravel = ravel_pytree(params)
    bits = jnp.broadcast_to(sfnn.configurations(2)[:, None], (4, len(x), 2))

    @jax.jit
    def likelihood(flat):
        return jnp.mean(sfnn.negative_log_likelihood(unravel(flat), x, y, parts=parts))

    @jax.jit
    def e_step(flat):
        return sfnn.posterior(unravel(flat), x, y, parts=parts)

    @jax.jit
    @jax.value_and_grad
    def m_step(flat, weights):
        return jnp.mean(sfnn.negative_expected_log_joint(unravel(flat), x, y, bits, weights, parts=parts))

    values = [float(likelihood(flat))]
    for _ in range(8):
        weights = e_step(flat)
        before = m_step(flat, weights)[0]
        found = scipy.optimize.minimize(m_step, flat, args=(weights,), jac=True, options={"maxiter": 20})
        flat = jnp.asarray(found.x)
        values.append(float(likelihood(flat)))
        # what the M-step gains, the likelihood gains at least
        assert values[-2] - values[-1] >= before - found.fun - 1e-10
    assert np.all(np.diff(values) <= 1e-12) and values[-1] < values[0] - 0.5


def affine_rows(params, x):
    return x @ params["kernel"] + params["bias"][None]


@pytest.mark.slow
def test_without_stochastic_units_it_is_the_mlp_with_a_noise_model(key):
    parts, params, x, y = example(key, 0, 4)
    a = parts.hidden.apply(params["hidden"], x)
    mean, log_variance = parts.output.apply(params["output"], jnp.tanh(a))
    wanted = -scipy.stats.norm(mean, np.exp(np.asarray(log_variance) / 2)).logpdf(y).sum(axis=1)
    np.testing.assert_allclose(sfnn.negative_log_likelihood(params, x, y, parts=parts), wanted, rtol=1e-5)
    loss, metrics = sfnn.objective(parts, num_draws=3)(params, Batch(x, y), key)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    np.testing.assert_allclose(metrics["negative_log_likelihood"], wanted, rtol=1e-5)


@pytest.mark.slow
def test_bits_of_certain_probability_are_threshold_units(key):
    """Noise-free: logits of +-1e3 leave one setting, and the MLP with a step function is left, exactly and drawn."""
    parts, params, x, y = example(key, 3, 1)
    certain = parts._replace(hidden=Network(None, lambda p, x: jnp.sign(parts.hidden.apply(p, x)) * 1e3))
    a = certain.hidden.apply(params["hidden"], x)
    h = jnp.concatenate([(a[:, :3] > 0).astype(jnp.float32), jnp.tanh(a[:, 3:])], axis=1)
    wanted = GAUSSIAN.negative_log_likelihood(parts.output.apply(params["output"], h), y)
    np.testing.assert_allclose(sfnn.negative_log_likelihood(params, x, y, parts=certain), wanted, rtol=1e-5)
    estimate = sfnn.importance_negative_log_likelihood(params, x, y, key, parts=certain, num_draws=2)
    np.testing.assert_allclose(estimate, wanted, rtol=1e-5)
    gradient = gradient_of_the_likelihood(params, x, y, certain)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))


def test_draws_have_the_density(key):
    # y ~ p(y|x) at one x: the distribution function is the mixture's
    parts, params, x, _ = example(key, 2, 1, num=1)
    num = 4000
    y = np.asarray(sfnn.sample(params, jnp.tile(x, (num, 1)), jax.random.fold_in(key, 1), parts=parts))
    logits = np.asarray(parts.hidden.apply(params["hidden"], x))[0]
    prior, distribution = scipy.special.expit(logits[:2]), []
    for bits in itertools.product([0, 1], repeat=2):
        h = np.concatenate([bits, np.tanh(logits[2:])])[None].astype(np.float32)
        mean, s = parts.output.apply(params["output"], jnp.asarray(h))
        component = scipy.stats.norm(float(mean[0, 0]), np.exp(float(s[0, 0]) / 2))
        distribution.append((np.where(bits, prior, 1 - prior).prod(), component))
    cdf = sum(weight * component.cdf(np.sort(y[:, 0])) for weight, component in distribution)
    rank = np.arange(num + 1) / num
    assert max(np.max(rank[1:] - cdf), np.max(cdf - rank[:-1])) < 1.95 / np.sqrt(num)


@pytest.mark.slow
def test_noise_of_a_stochastic_function_is_recovered(key):
    """y = L(x) + s(x) eps: s within 10 %, and residuals over s that are standard normal on new data."""

    def truth(x):
        return jnp.sin(2 * x), 0.1 + 0.2 * x**2

    def pairs(key, num):
        x_key, eps_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (num, 1), minval=-1.0, maxval=1.0)
        mean, scale = truth(x)
        return x, stochastic.sample_gaussian(mean, 2 * jnp.log(scale), eps_key)

    parts = sfnn.SFNN(
        networks.mlp((1,), (24,), hidden=(), activation=jnp.tanh),
        networks.gaussian_heads(networks.mlp((24,), (2,), hidden=(), activation=jnp.tanh)),
        GAUSSIAN,
        0,
        jnp.tanh,
    )
    x, y = pairs(jax.random.fold_in(key, 1), 5000)
    model = sfnn.model(parts, optax.adam(optax.cosine_decay_schedule(1e-2, 1000)), sfnn.objective(parts, num_draws=1))
    state = jax.jit(
        lambda state: jax.lax.fori_loop(0, 1000, lambda _, s: model.train_step(s, Batch(x, y), key)[0], state)
    )(model.init(key))

    def heads(x):
        a = parts.hidden.apply(state.params["hidden"], x)
        mean, log_variance = parts.output.apply(state.params["output"], jnp.tanh(a))
        return mean, jnp.exp(log_variance / 2)

    points = jnp.linspace(-0.95, 0.95, 20)[:, None]
    np.testing.assert_allclose(heads(points)[1], truth(points)[1], rtol=0.1)
    x, y = pairs(jax.random.fold_in(key, 2), 2000)
    mean, scale = heads(x)
    residuals = np.asarray((y - mean) / scale).ravel()
    assert scipy.stats.kstest(residuals, "norm").statistic < 1.95 / np.sqrt(len(residuals))
    # and the truth is the minimum of the expected loss: half or twice the scale is worse by KL(s || c s)
    for factor in (0.5, 2.0):
        worse = GAUSSIAN.negative_log_likelihood((truth(x)[0], 2 * jnp.log(factor * truth(x)[1])), y)
        best = GAUSSIAN.negative_log_likelihood((truth(x)[0], 2 * jnp.log(truth(x)[1])), y)
        difference = np.asarray(worse - best)
        expected = np.log(factor) + 0.5 / factor**2 - 0.5
        assert abs(difference.mean() - expected) < 4 * difference.std() / np.sqrt(len(difference))


@pytest.mark.slow
def test_a_step_is_the_optimizers_and_its_draws_are_new(key):
    parts, _, x, y = example(key, 3, 2)
    objective, optimizer, batch = sfnn.objective(parts, num_draws=4), optax.sgd(0.1), Batch(x, y)
    model = sfnn.model(parts, optimizer, objective)
    state, step = jax.jit(model.init)(key), jax.jit(model.train_step)
    new, metrics = step(state, batch, key)

    def loss(params):
        return jnp.mean(objective(params, batch, jax.random.fold_in(key, 0))[0])

    wanted = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, jax.jit(jax.grad(loss))(state.params))
    chex.assert_trees_all_close(new.params, wanted, rtol=1e-5, atol=1e-6)
    assert set(metrics) == {"loss", "negative_log_likelihood"} and int(new.step) == 1
    _, other = step(state._replace(step=state.step + 1), batch, key)
    assert float(other["loss"]) != float(metrics["loss"])
    assert set(jax.jit(model.evaluate)(state, batch, key)) == set(metrics) and model.sample is None


def test_a_batch_without_targets_is_refused(key):
    parts, params, x, _ = example(key, 2, 2)
    with pytest.raises(ValueError, match="needs targets"):
        sfnn.objective(parts, num_draws=2)(params, Batch(x), key)


def test_both_networks_start_from_keys_of_their_own(key, no_key_reuse):
    network = Network(lambda key: jax.random.normal(key, (4,)), lambda params, x: x)
    parts = sfnn.SFNN(network, network, GAUSSIAN, 2, jnp.tanh)
    params = sfnn.init_params(jax.random.clone(key), parts=parts)
    hidden_key, output_key = jax.random.split(key)
    np.testing.assert_array_equal(params["hidden"], network.init(hidden_key))
    np.testing.assert_array_equal(params["output"], network.init(output_key))
