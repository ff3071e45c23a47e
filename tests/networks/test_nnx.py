"""NNX modules as networks: the numbers of their own call, moving averages by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genjax import gradients
from genjax.networks import from_nnx, stateful_from_nnx
from genjax.types import Batch


class _Plain(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(4, 3, rngs=rngs), nnx.Linear(3, 2, rngs=rngs)])

    def __call__(self, x):
        return self.layers[1](jnp.tanh(self.layers[0](x)))


class _Stateful(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(4, momentum=0.8, rngs=rngs)
        self.drop = nnx.Dropout(0.4, rngs=rngs)
        self.out = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(self.norm(x)))


class _Dropped(nnx.Module):
    def __init__(self, rngs):
        self.drop = nnx.Dropout(0.4, rngs=rngs)
        self.out = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(x))


def test_a_plain_module_is_its_own_call(key):
    network, module = from_nnx(lambda rngs: _Plain(rngs)), _Plain(nnx.Rngs(key))
    params, x = network.init(key), jax.random.normal(jax.random.fold_in(key, 1), (5, 4))
    np.testing.assert_array_equal(network.apply(params, x), module(x))
    first, second = (jax.tree.map(np.asarray, params["layers"][number]) for number in (0, 1))
    expected = np.tanh(x @ first["kernel"] + first["bias"][None]) @ second["kernel"] + second["bias"]
    np.testing.assert_allclose(network.apply(params, x), expected, rtol=1e-4, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(network.apply(params, x))))(params)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_a_module_with_more_than_parameters_is_refused_as_a_plain_network(key):
    for make in (_Stateful, _Dropped):
        with pytest.raises(ValueError, match="stateful_from_nnx"):
            from_nnx(make).init(key)


@pytest.mark.parametrize("num_shards", [1, 2])
def test_moving_averages_are_those_of_numpy(key, num_shards):
    network = stateful_from_nnx(lambda rngs: _Stateful(rngs))

    def objective(params, batch, key):
        y, statistics = network.train(params, batch.x, key=key)
        return jnp.sum(jnp.square(y), axis=-1), {}, statistics

    optimizer = gradients.frozen(optax.adamw(1e-2, weight_decay=0.5), "batch_stats")
    step = jax.jit(
        gradients.updater(objective, optimizer, reduction=gradients.ordered(num_shards), refresh=network.refresh)
    )
    params = network.init(key)
    state, mean, var = optimizer.init(params), np.zeros(4), np.ones(4)
    for number in range(3):
        x = 2 * jax.random.normal(jax.random.fold_in(key, number), (6, 4)) + 1
        shards = np.asarray(x, np.float64).reshape(num_shards, -1, 4)
        mean, var = 0.8 * mean + 0.2 * shards.mean(1).mean(0), 0.8 * var + 0.2 * shards.var(1).mean(0)
        params, state, _ = step(params, state, Batch(x), key)
    np.testing.assert_allclose(params["batch_stats"]["norm"]["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(params["batch_stats"]["norm"]["var"], var, rtol=1e-5)
    out, norm = (jax.tree.map(np.asarray, params["params"][name]) for name in ("out", "norm"))
    normal = (np.asarray(x) - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(network.apply(params, x), normal @ out["kernel"] + out["bias"], rtol=1e-4, atol=1e-5)


def test_evaluation_is_the_modules_own(key):
    network, module = stateful_from_nnx(lambda rngs: _Stateful(rngs)), _Stateful(nnx.Rngs(key))
    x = jax.random.normal(jax.random.fold_in(key, 1), (5, 4))
    params = network.init(key)
    module.eval()
    np.testing.assert_array_equal(network.apply(params, x), module(x))
    module.train()
    module(x)
    _, statistics = network.train(params, x, key=key)
    found = network.refresh(params, statistics)["batch_stats"]["norm"]
    np.testing.assert_array_equal(found["mean"], module.norm.mean[...])
    np.testing.assert_array_equal(found["var"], module.norm.var[...])


def test_dropout_is_set_by_the_key_and_has_the_deterministic_output_as_its_mean(key):
    network = stateful_from_nnx(lambda rngs: _Dropped(rngs))
    params, x = network.init(key), jax.random.normal(jax.random.fold_in(key, 1), (3, 4))
    assert set(params) == {"params"}
    first, second = jax.random.split(jax.random.fold_in(key, 2))
    np.testing.assert_array_equal(network.train(params, x, key=first)[0], network.train(params, x, key=first)[0])
    assert np.any(network.train(params, x, key=first)[0] != network.train(params, x, key=second)[0])
    keys = jax.random.split(key, 4000)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: network.train(params, x, key=key)[0]))(keys))
    assert np.all(np.abs(draws.mean(0) - network.apply(params, x)) < 4.5 * draws.std(0) / np.sqrt(len(draws)))
    spread = np.sqrt(np.square(x) @ np.square(params["params"]["out"]["kernel"]) * 0.4 / 0.6)
    np.testing.assert_allclose(draws.std(0), spread, rtol=0.1)
