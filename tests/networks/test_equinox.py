"""Equinox modules as networks: the numbers of their own call, moving averages by NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients
from genjax.networks import from_equinox, stateful_from_equinox
from genjax.types import Batch


def mlp(key):
    return eqx.nn.MLP(4, 2, 3, 1, activation=jnp.tanh, key=key)


class _Stateful(eqx.Module):
    norm: eqx.nn.BatchNorm
    drop: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key):
        self.norm = eqx.nn.BatchNorm(4, axis_name="batch", momentum=0.8, mode="batch")
        self.drop = eqx.nn.Dropout(0.4)
        self.out = eqx.nn.Linear(4, 2, key=key)

    def __call__(self, x, state, *, key):
        x, state = self.norm(x, state)
        return self.out(self.drop(x, key=key)), state


class _First(eqx.Module):
    """The older form of batch normalisation, whose first batch counts alone: a flag among its state."""

    norm: eqx.nn.BatchNorm

    def __init__(self, key):
        self.norm = eqx.nn.BatchNorm(4, axis_name="batch", momentum=0.8, mode="ema")

    def __call__(self, x, state, *, key):
        return self.norm(x, state)


def dropped(key):
    return eqx.nn.Sequential([eqx.nn.Dropout(0.4), eqx.nn.Linear(4, 2, key=key)])


def objective(network):
    def of_batch(params, batch, key):
        y, statistics = network.train(params, batch.x, key=key)
        return jnp.sum(jnp.square(y), axis=-1), {}, statistics

    return of_batch


def trained(network, key, num_shards, num_steps):
    """Params after some steps of an optimizer that decays, and the batches [num_steps, 6, 4]."""
    optimizer = gradients.frozen(optax.adamw(1e-2, weight_decay=0.5), "batch_stats")
    step = jax.jit(
        gradients.updater(
            objective(network), optimizer, reduction=gradients.ordered(num_shards), refresh=network.refresh
        )
    )
    params = network.init(key)
    state, xs = optimizer.init(params), 2 * jax.random.normal(jax.random.fold_in(key, 1), (num_steps, 6, 4)) + 1
    for x in xs:
        params, state, _ = step(params, state, Batch(x), key)
    return params, np.asarray(xs, np.float64)


def test_a_plain_module_is_its_own_call(key):
    network, module = from_equinox(mlp), mlp(key)
    params, x = network.init(key), jax.random.normal(jax.random.fold_in(key, 1), (5, 4))
    assert set(params) == {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"}
    np.testing.assert_array_equal(network.apply(params, x), jax.vmap(module)(x))
    p = jax.tree.map(np.asarray, params)
    expected = np.tanh(x @ p["layers.0.weight"].T + p["layers.0.bias"][None]) @ p["layers.1.weight"].T
    np.testing.assert_allclose(network.apply(params, x), expected + p["layers.1.bias"], rtol=1e-4, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(network.apply(params, x))))(params)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_a_module_with_more_than_parameters_is_refused(key):
    with pytest.raises(ValueError, match="stateful_from_equinox"):
        from_equinox(_Stateful).init(key)

    class Counting(eqx.Module):
        counts: jax.Array

        def __init__(self, key):
            self.counts = jnp.zeros(3, jnp.int32)

    for adapter in (from_equinox, stateful_from_equinox):
        with pytest.raises(ValueError, match="counts"):
            adapter(Counting).init(key)


@pytest.mark.parametrize("num_shards", [1, 2])
def test_moving_averages_are_those_of_numpy(key, num_shards):
    # r <- 0.8 r + 0.2 b from (0, 1), in evaluation over 1 - 0.8^steps
    network = stateful_from_equinox(_Stateful)
    params, xs = trained(network, key, num_shards, 3)
    mean, var = np.zeros(4), np.ones(4)
    for x in xs:
        shards = x.reshape(num_shards, -1, 4)
        mean, var = 0.8 * mean + 0.2 * shards.mean(1).mean(0), 0.8 * var + 0.2 * shards.var(1).mean(0)
    assert [float(leaf) for leaf in params["batch_stats"].values() if leaf.ndim == 0] == [3]  # batches seen
    found = [np.asarray(leaf) for leaf in params["batch_stats"].values() if leaf.ndim == 1]
    np.testing.assert_allclose(found, [mean, var], rtol=1e-5, atol=1e-6)
    p, scale = jax.tree.map(np.asarray, params["params"]), 1 - 0.8**3
    normal = (xs[-1] - mean / scale) / np.sqrt(var / scale + 1e-5) * p["norm.weight"] + p["norm.bias"]
    expected = normal @ p["out.weight"].T + p["out.bias"]
    np.testing.assert_allclose(network.apply(params, jnp.float32(xs[-1])), expected, rtol=1e-4, atol=1e-5)


def test_a_flag_among_the_averages_survives_two_shards(key):
    network = stateful_from_equinox(_First)
    params, xs = trained(network, key, 2, 2)
    moments = [[x.reshape(2, 3, 4).mean(1).mean(0), x.reshape(2, 3, 4).var(1).mean(0)] for x in xs]
    found = [np.asarray(leaf) for leaf in params["batch_stats"].values() if leaf.ndim == 1]
    np.testing.assert_allclose(found, 0.8 * np.array(moments[0]) + 0.2 * np.array(moments[1]), rtol=1e-5, atol=1e-6)
    assert [float(leaf) for leaf in params["batch_stats"].values() if leaf.ndim == 0] == [0]  # no longer the first


def test_training_and_evaluation_are_the_modules_own(key):
    network = stateful_from_equinox(_Stateful)
    params, x = network.init(key), jax.random.normal(jax.random.fold_in(key, 1), (5, 4))
    module, state = eqx.nn.make_with_state(_Stateful)(key)
    keys = jax.random.split(key, 5)
    apply = jax.vmap(
        lambda module, x, state, key: module(x, state, key=key),
        axis_name="batch",
        in_axes=(None, 0, None, 0),
        out_axes=(0, None),
    )
    y, _ = apply(eqx.nn.inference_mode(module), x, state, keys)
    np.testing.assert_array_equal(network.apply(params, x), y)
    y, state = apply(module, x, state, keys)
    found, statistics = network.train(params, x, key=key)
    np.testing.assert_array_equal(found, y)
    averages = network.refresh(params, statistics)["batch_stats"]
    for found, expected in zip(averages.values(), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_dropout_is_set_by_the_key_and_has_the_deterministic_output_as_its_mean(key):
    network = stateful_from_equinox(dropped)
    params, x = network.init(key), jax.random.normal(jax.random.fold_in(key, 1), (3, 4))
    assert set(params) == {"params"}
    first, second = jax.random.split(jax.random.fold_in(key, 2))
    np.testing.assert_array_equal(network.train(params, x, key=first)[0], network.train(params, x, key=first)[0])
    assert np.any(network.train(params, x, key=first)[0] != network.train(params, x, key=second)[0])
    keys = jax.random.split(key, 4000)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: network.train(params, x, key=key)[0]))(keys))
    assert np.all(np.abs(draws.mean(0) - network.apply(params, x)) < 4.5 * draws.std(0) / np.sqrt(len(draws)))
    spread = np.sqrt(np.square(x) @ np.square(params["params"]["layers.1.weight"]).T * 0.4 / 0.6)
    np.testing.assert_allclose(draws.std(0), spread, rtol=0.1)
