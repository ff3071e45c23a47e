"""Linen modules as networks, dropout and batch normalisation against NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients
from genjax.networks import from_linen, stateful_from_linen
from genjax.types import Batch


class _Pair(nn.Module):
    @nn.compact
    def __call__(self, x, y):
        return nn.Dense(2)(x), nn.Dense(3)(y)


class _Counting(nn.Module):
    @nn.compact
    def __call__(self, x):
        self.variable("counts", "calls", lambda: jnp.zeros([]))
        return nn.Dense(1)(x)


def test_from_linen(key):
    network = from_linen(_Pair(), (4,), (2, 5))
    params = network.init(key)
    jax.tree.map(
        np.testing.assert_array_equal, params, _Pair().init(key, jnp.ones((1, 4)), jnp.ones((1, 2, 5)))["params"]
    )
    assert [y.shape for y in network.apply(params, jnp.ones((6, 4)), jnp.ones((6, 2, 5)))] == [(6, 2), (6, 2, 3)]
    with pytest.raises(ValueError, match=r"_Pair takes \(B, 4\), \(B, 2, 5\); got \(6, 4\)$"):
        network.apply(params, jnp.ones((6, 4)))
    with pytest.raises(ValueError, match="counts"):
        from_linen(_Counting(), (4,)).init(key)


class _Normalised(nn.Module):
    """Batch normalisation between two affine maps."""

    @nn.compact
    def __call__(self, x, *, train):
        h = nn.Dense(3, name="first")(x)
        h = nn.BatchNorm(use_running_average=not train, momentum=0.8, epsilon=1e-3, name="norm")(h)
        return nn.Dense(2, name="second")(h)


class _Dropped(nn.Module):
    """Dropout before an affine map, so that its mean is the map without it."""

    @nn.compact
    def __call__(self, x, *, deterministic):
        return nn.Dense(2)(nn.Dropout(0.4)(x, deterministic=deterministic))


def normalised():
    return stateful_from_linen(_Normalised(), (4,), training={"train": True}, evaluation={"train": False})


def dropped():
    return stateful_from_linen(_Dropped(), (5,), training={"deterministic": False}, evaluation={"deterministic": True})


def hidden(params, x):
    first = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"]["first"])
    return np.asarray(x, np.float64) @ first["kernel"] + first["bias"]


def output(params, h, mean, var):
    norm, second = (jax.tree.map(np.asarray, params["params"][name]) for name in ("norm", "second"))
    return ((h - mean) / np.sqrt(var + 1e-3) * norm["scale"] + norm["bias"]) @ second["kernel"] + second["bias"]


def objective(network):
    """A mean square of the outputs, with the statistics of its batch."""

    def of_batch(params, batch, key):
        y, statistics = network.train(params, batch.x, key=key)
        return jnp.sum(jnp.square(y), axis=-1), {}, statistics

    return of_batch


@pytest.mark.parametrize("num_shards", [1, 2])
def test_moving_averages_are_those_of_numpy(key, num_shards):
    # r <- 0.8 r + 0.2 b, b the moments of the batch, or the mean of those of its shards; the optimizer moves only
    # the parameters, though it would decay whatever it is given
    network = normalised()
    optimizer = gradients.frozen(optax.adamw(1e-2, weight_decay=0.5), "batch_stats")
    update = gradients.updater(
        objective(network), optimizer, reduction=gradients.ordered(num_shards), refresh=network.refresh
    )
    params = start = network.init(key)
    state, step = optimizer.init(params), jax.jit(update)
    mean, var = np.zeros(3), np.ones(3)
    for number in range(4):
        x = 2 * jax.random.normal(jax.random.fold_in(key, number), (6, 4)) + 1
        shards = hidden(params, x).reshape(num_shards, -1, 3)
        mean = 0.8 * mean + 0.2 * shards.mean(1).mean(0)
        var = 0.8 * var + 0.2 * shards.var(1).mean(0)
        params, state, _ = step(params, state, Batch(x), key)
        found = params["batch_stats"]["norm"]
        np.testing.assert_allclose(found["mean"], mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["var"], var, rtol=1e-4)
    assert np.all(np.abs(params["params"]["norm"]["scale"] - start["params"]["norm"]["scale"]) > 1e-3)


def test_the_batch_normalises_in_training_and_the_averages_in_evaluation(key):
    network = normalised()
    params = network.init(key)
    x = 2 * jax.random.normal(jax.random.fold_in(key, 1), (8, 4)) + 1
    h = hidden(params, x)
    y, statistics = network.train(params, x, key=key)
    np.testing.assert_allclose(y, output(params, h, h.mean(0), h.var(0)), rtol=1e-3, atol=1e-4)
    refreshed = network.refresh(params, statistics)
    mean, var = 0.2 * h.mean(0), 0.8 + 0.2 * h.var(0)
    np.testing.assert_allclose(network.apply(refreshed, x), output(params, h, mean, var), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(network.apply(refreshed, x[:1]), output(params, h[:1], mean, var), rtol=1e-3, atol=1e-4)


def test_one_whole_batch_gives_the_bits_of_linens_own_update(key):
    network, module = normalised(), _Normalised()
    params, x = network.init(key), jax.random.normal(jax.random.fold_in(key, 1), (7, 4))
    jax.tree.map(np.testing.assert_array_equal, params, module.init(key, x, train=False))
    y, updated = module.apply(params, x, train=True, mutable=["batch_stats"])
    found, statistics = network.train(params, x, key=key)
    np.testing.assert_array_equal(found, y)
    jax.tree.map(
        np.testing.assert_array_equal, network.refresh(params, statistics)["batch_stats"], updated["batch_stats"]
    )


def test_no_gradient_reaches_the_averages(key):
    network = normalised()
    params, x = network.init(key), jax.random.normal(jax.random.fold_in(key, 1), (7, 4))
    gradient, _, statistics = gradients.whole_batch(objective(network))(params, Batch(x), key)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["batch_stats"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(statistics))


def test_dropout_is_set_by_the_key_and_has_the_deterministic_output_as_its_mean(key):
    network = dropped()
    params, x = network.init(key), jax.random.normal(jax.random.fold_in(key, 1), (3, 5))
    assert set(params) == {"params"}
    first, second = jax.random.split(jax.random.fold_in(key, 2))
    y, statistics = network.train(params, x, key=first)
    np.testing.assert_array_equal(y, network.train(params, x, key=first)[0])
    assert np.any(y != network.train(params, x, key=second)[0])
    jax.tree.map(np.testing.assert_array_equal, network.refresh(params, statistics), params)
    keys = jax.random.split(key, 4000)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: network.train(params, x, key=key)[0]))(keys))
    plain = np.asarray(network.apply(params, x))
    kernel, bias = (np.asarray(params["params"]["Dense_0"][name]) for name in ("kernel", "bias"))
    np.testing.assert_allclose(plain, x @ kernel + bias[None], rtol=1e-5, atol=1e-6)
    assert np.all(np.abs(draws.mean(0) - plain) < 4.5 * draws.std(0) / np.sqrt(len(draws)))
    # each input is kept, over 0.6, or dropped: its variance is x^2 0.4 / 0.6
    spread = np.sqrt(np.square(x) @ np.square(kernel) * 0.4 / 0.6)
    np.testing.assert_allclose(draws.std(0), spread, rtol=0.1)


def test_inputs_of_another_shape_are_refused(key):
    network = normalised()
    params = network.init(key)
    for call in (network.apply, lambda *args: network.train(*args, key=key)):
        with pytest.raises(ValueError, match=r"_Normalised takes \(B, 4\); got \(2, 3\)$"):
            call(params, jnp.ones((2, 3)))
