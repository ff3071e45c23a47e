"""A VAE of categorical codes, enumerated: against NumPy's loops, finite differences and draws."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from genjax import losses, networks
from genjax.losses import BERNOULLI
from genjax.models import categorical, vae
from genjax.types import Batch

K, D, DIM = 3, 2, 4


def doubles(a):
    return np.asarray(a, np.float64)


def build(temperature=1.0, straight_through=True):
    return vae.VAE(
        networks.mlp((DIM,), (D * K,), hidden=(5,), activation=jnp.tanh),
        networks.mlp((D * K,), (DIM,), hidden=(5,), activation=jnp.tanh),
        BERNOULLI,
        D * K,
        losses.uniform_categorical(K),
        losses.relaxed_categorical(K, temperature=temperature, straight_through=straight_through),
    )


@pytest.fixture
def setup(key):
    params = jax.jit(partial(vae.init_params, parts=build()))(key)
    params["encoder"]["layer_2"]["kernel"] *= 3
    return params, jax.random.uniform(jax.random.fold_in(key, 1), (6, DIM))


def by_loops(params, x):
    """-log p(x|z), log q(z|x) of every code, and the codes."""
    logits = doubles(vae.encode(params, x, parts=build())).reshape(len(x), D, K)
    log_q = scipy.special.log_softmax(logits, axis=-1)
    distortions, log_qs = [], []
    for values in itertools.product(range(K), repeat=D):
        z = np.concatenate([np.eye(K)[value] for value in values])
        logit = doubles(build().decoder.apply(params["decoder"], jnp.float32(z)[None]))
        x64 = doubles(x)
        distortions.append(np.sum(x64 * np.logaddexp(0, -logit) + (1 - x64) * np.logaddexp(0, logit), axis=1))
        log_qs.append(sum(log_q[:, j, value] for j, value in enumerate(values)))
    return np.array(distortions), np.array(log_qs)


def test_all_codes_in_order():
    expected = [np.eye(K)[list(v)].ravel() for v in itertools.product(range(K), repeat=D)]
    np.testing.assert_array_equal(categorical.settings(K, D), expected)
    with pytest.raises(ValueError, match=r"3\^11 codes"):
        categorical.settings(3, 11)


def test_both_terms_and_the_likelihood_by_loops(setup):
    params, x = setup
    distortions, log_q = by_loops(params, x)
    distortion, rate = categorical.terms(params, x, parts=build(), num_categories=K)
    np.testing.assert_allclose(distortion, (np.exp(log_q) * distortions).sum(0), rtol=1e-4)
    np.testing.assert_allclose(rate, (np.exp(log_q) * (log_q + D * np.log(K))).sum(0), rtol=1e-4, atol=1e-5)
    found = categorical.negative_log_likelihood(params, x, parts=build(), num_categories=K)
    evidence = np.exp(-distortions - D * np.log(K)).sum(0)
    np.testing.assert_allclose(found, -np.log(evidence), rtol=1e-4)
    # the gap of the bound is the divergence to the exact posterior
    log_posterior = -distortions - D * np.log(K) + doubles(found)
    gap = (np.exp(log_q) * (log_q - log_posterior)).sum(0)
    np.testing.assert_allclose(distortion + rate - found, gap, rtol=1e-2, atol=1e-4)
    assert gap.min() > 0.01


def test_the_bound_of_straight_through_draws_has_the_exact_mean(setup, key):
    params, x = setup
    distortion, rate = categorical.terms(params, x, parts=build(), num_categories=K)
    draw = jax.jit(jax.vmap(partial(vae.terms, params, x, parts=build())))
    distortions, rates = (np.asarray(a) for a in draw(jax.random.split(key, 4000)))
    np.testing.assert_allclose(rates, np.tile(rate, (4000, 1)), rtol=1e-4, atol=1e-5)  # in closed form
    error = 4.5 * distortions.std(0) / np.sqrt(4000)
    assert (np.abs(distortions.mean(0) - distortion) < error).all() and error.max() < 0.1 * np.min(distortion)


def test_the_exact_gradient_by_differences(setup, key):
    params, x = setup
    objective = categorical.objective(build(), num_categories=K)
    slope = jax.jit(jax.grad(lambda p: jnp.mean(objective(p, Batch(x), key)[0])))(params)
    for name, layer in (("encoder", "layer_2"), ("decoder", "layer_1")):
        direction = jax.random.normal(key, params[name][layer]["kernel"].shape)

        def loss(step, name=name, layer=layer, direction=direction):
            moved = params[name][layer]["kernel"] + step * direction
            own = params | {name: params[name] | {layer: params[name][layer] | {"kernel": moved}}}
            distortions, log_q = by_loops(own, x)
            return np.mean(np.sum(np.exp(log_q) * (distortions + log_q), axis=0))

        found = np.sum(doubles(slope[name][layer]["kernel"]) * direction)
        np.testing.assert_allclose(found, (loss(0.01) - loss(-0.01)) / 0.02, rtol=2e-2, atol=1e-3)


def test_the_relaxed_gradient_tends_to_the_exact_one(setup, key):
    """In the encoder's last layer; the bias falls with the temperature."""
    params, x = setup
    exact = categorical.objective(build(), num_categories=K)

    def slope(objective, key):
        gradient = jax.grad(lambda p: jnp.mean(objective(p, Batch(x), key)[0]))(params)
        return gradient["encoder"]["layer_2"]["kernel"]

    expected = np.asarray(jax.jit(partial(slope, exact))(key))
    bias = []
    for temperature in (3.0, 1.0, 0.3):
        relaxed = vae.objective(build(temperature, straight_through=False))
        drawn = jax.jit(jax.vmap(partial(slope, relaxed)))(jax.random.split(key, 4000))
        bias.append(np.abs(np.mean(doubles(drawn), axis=0) - expected).max())
    assert bias[0] > 1.5 * bias[1] > 2.5 * bias[2] and bias[2] < 0.15 * np.abs(expected).max()


def test_training_on_the_exact_bound_lowers_it(setup, key):
    params, x = setup
    model = vae.model(build(), optax.adam(0.02), categorical.objective(build(), num_categories=K))
    state, step = model.init(key, params), jax.jit(model.train_step)
    before = float(model.evaluate(state, Batch(x), key)["negative_elbo"])
    for _ in range(30):
        state, _ = step(state, Batch(x), key)
    assert float(model.evaluate(state, Batch(x), key)["negative_elbo"]) < before - 0.1
    assert model.sample is not None
    assert model.sample(state, 5, key).shape == (5, DIM)
