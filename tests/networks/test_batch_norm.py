"""Networks with batch normalisation: moments by NumPy, in training and evaluation, and in a GAN, also by shards."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients, networks
from genjax.losses import NON_SATURATING
from genjax.models import gan
from genjax.types import Batch

SHAPE, DIM = (7, 5, 2), 3
MAKERS = {
    "dcgan": networks.stateful_dcgan_generator,
    "dcgan_dense": partial(networks.stateful_dcgan_generator, hidden=(5,)),
    "residual": networks.stateful_residual_generator,
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
OPTIONS = {"features": (4, 6), "with_features": True}
DISCRIMINATORS = {
    "mlp": networks.stateful_mlp(SHAPE, (3,), hidden=(4, 6, 5), activation=jnp.tanh, with_features=True),
    "dcgan": networks.stateful_dcgan_discriminator(SHAPE, (3,), **OPTIONS),
    "dcgan_dense": networks.stateful_dcgan_discriminator(SHAPE, (3,), hidden=(5,), **OPTIONS),
    "residual": networks.stateful_residual_discriminator(SHAPE, (3,), **OPTIONS),
}


def linen(layer, params, x) -> Any:
    return layer.apply({"params": params}, x)


def up(x):
    return jnp.kron(x, jnp.ones((1, 2, 2, 1)))


def by_hand(make, params, z, moments):
    """The network of Linen's layers; `moments(x, name)` -> the mean and the variance by which it normalises x."""
    p = params["params"]

    def act(x, name):
        x = np.asarray(x)
        mean, var = (np.asarray(a) for a in moments(x, name))
        scale, bias = (np.asarray(p[name][each]) for each in ("scale", "bias"))
        return np.maximum((x - mean) / np.sqrt(var + 1e-5) * scale + bias, 0)

    if "hidden_1" in p:
        z = act(linen(nn.Dense(5, use_bias=False), p["hidden_1"], z), "hidden_norm_1")
    x = linen(nn.Dense(24), p["dense"], z).reshape(len(z), 2, 2, 6)
    if make is not MAKERS["residual"]:
        x = linen(nn.ConvTranspose(4, (4, 4), (2, 2), use_bias=False), p["convolution_2"], act(x, "norm_2"))[:, :4, :3]
        return nn.sigmoid(linen(nn.ConvTranspose(2, (4, 4), (2, 2)), p["convolution_1"], act(x, "norm_1"))[:, :7, :5])
    for depth, (height, width) in ((2, (4, 3)), (1, (7, 5))):
        y = up(act(x, f"norm_{depth}_1"))
        y = act(linen(nn.Conv(4, (3, 3), use_bias=False), p[f"convolution_{depth}_1"], y), f"norm_{depth}_2")
        y = linen(nn.Conv(4, (3, 3)), p[f"convolution_{depth}_2"], y)
        x = (y + linen(nn.Conv(4, (1, 1)), p[f"shortcut_{depth}"], up(x)))[:, :height, :width]
    return nn.sigmoid(linen(nn.Conv(2, (3, 3)), p["output"], act(x, "norm")))


@makers
def test_the_batch_normalises_in_training_and_the_averages_in_evaluation(make, draw, parameters, key):
    network, z = make(DIM, SHAPE, features=(4, 6)), draw(6, DIM)
    params = parameters(network)
    params["batch_stats"] = jax.tree.map(jnp.abs, params["batch_stats"])
    found, statistics = jax.jit(network.train)(params, z, key=key)
    moments, kept = {}, params["batch_stats"]

    def of_batch(x, name):
        axes = tuple(range(x.ndim - 1))
        moments[name] = {"mean": x.mean(axes), "var": x.var(axes)}
        return moments[name]["mean"], moments[name]["var"]

    np.testing.assert_allclose(found, by_hand(make, params, z, of_batch), rtol=1e-3, atol=1e-4)
    averages = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, kept, moments)
    assert averages.keys() == kept.keys()
    refreshed = network.refresh(params, statistics)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, refreshed["batch_stats"], averages)

    def of_averages(x, name):
        return kept[name]["mean"], kept[name]["var"]

    alone = jax.jit(network.apply)(params, z[:2])
    np.testing.assert_allclose(alone, by_hand(make, params, z[:2], of_averages), rtol=1e-3, atol=1e-4)


def pool(x):
    """Means of 2 x 2 pixels, of which those beyond the edge are the edge's."""
    x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), mode="edge")
    return np.asarray(nn.avg_pool(x, (2, 2), (2, 2)))


def judged_by_hand(name, params, x, moments):
    """Features and output of a discriminator of Linen's layers; `moments` is as in `by_hand`."""
    p, slope = params["params"], {"mlp": None}.get(name, 0.2)

    def act(x, name=None):
        x = np.asarray(x)
        if name is not None:
            mean, var = map(np.asarray, moments(x, name))
            x = (x - mean) / np.sqrt(var + 1e-5) * np.asarray(p[name]["scale"]) + np.asarray(p[name]["bias"])
        return np.tanh(x) if slope is None else np.maximum(x, slope * x)

    if name == "mlp":
        h = act(linen(nn.Dense(4), p["layer_1"], np.reshape(x, (len(x), -1))))
        h = act(linen(nn.Dense(6, use_bias=False), p["layer_2"], h), "norm_2")
        h = act(linen(nn.Dense(5, use_bias=False), p["layer_3"], h), "norm_3")
        return h, linen(nn.Dense(3), p["layer_4"], h)
    if name != "residual":
        h = act(linen(nn.Conv(4, (4, 4), (2, 2)), p["convolution_1"], x))
        h = act(linen(nn.Conv(6, (4, 4), (2, 2), use_bias=False), p["convolution_2"], h), "norm_2")
        if name == "dcgan_dense":
            h = act(linen(nn.Dense(5, use_bias=False), p["hidden_1"], np.reshape(h, (len(x), -1))), "hidden_norm_1")
    else:
        h = np.asarray(x)
        for depth, channels in ((1, 4), (2, 6)):
            first, second = nn.Conv(channels, (3, 3), use_bias=False), nn.Conv(channels, (3, 3))
            y = linen(first, p[f"convolution_{depth}_1"], h if depth == 1 else act(h, "norm_2_1"))
            y = linen(second, p[f"convolution_{depth}_2"], act(y, f"norm_{depth}_2"))
            h = pool(y) + linen(nn.Conv(channels, (1, 1)), p[f"shortcut_{depth}"], pool(h))
        h = act(h, "norm")
    return h, linen(nn.Dense(3), p["dense"], np.reshape(h, (len(x), -1)))


@pytest.mark.parametrize("name", ["mlp", "dcgan", "dcgan_dense", pytest.param("residual", marks=pytest.mark.slow)])
def test_discriminators_and_mlps_normalise_all_layers_but_the_first(name, draw, parameters, key):
    network, x = DISCRIMINATORS[name], 2 * draw(6, *SHAPE) + 1
    params = parameters(network)
    params["batch_stats"] = kept = jax.tree.map(jnp.abs, params["batch_stats"])
    moments = {}

    def of_batch(x, name):
        axes = tuple(range(x.ndim - 1))
        moments[name] = {"mean": x.mean(axes), "var": x.var(axes)}
        return moments[name]["mean"], moments[name]["var"]

    close = partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-4)
    found, statistics = network.train(params, x, key=key)
    jax.tree.map(close, found, judged_by_hand(name, params, x, of_batch))
    averages = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, kept, moments)
    jax.tree.map(close, network.refresh(params, statistics)["batch_stats"], averages)
    alone = network.apply(params, x[:2])
    by_averages = judged_by_hand(name, params, x[:2], lambda x, name: (kept[name]["mean"], kept[name]["var"]))
    jax.tree.map(close, alone, by_averages)


def test_nothing_to_normalise_is_refused():
    with pytest.raises(ValueError, match="second hidden layer"):
        networks.stateful_mlp((3,), (), hidden=(4,), activation=jnp.tanh)
    with pytest.raises(ValueError, match="second hidden layer"):
        networks.stateful_dcgan_discriminator(SHAPE, features=(4,))


def test_what_is_around_a_stateful_network_is_there_in_training(draw, key):
    network = networks.stateful_mlp((3,), (1 + 2,), hidden=(4, 5), activation=jnp.tanh)
    x, label, params = draw(4, 3), jnp.array([0, 1, 1, 0]), network.init(key)
    y, statistics = network.train(params, x, key=key)
    heads, same = networks.discriminator_heads(network).train(params, x, key=key)
    jax.tree.map(np.testing.assert_array_equal, (heads, same), ((y[:, 0], y[:, 1:]), statistics))
    projected, _ = networks.label_projection(network, 2).train(params, x, label, key=key)
    np.testing.assert_allclose(projected, y[:, 0] + y[np.arange(4), 1 + label], rtol=1e-6)
    twice = networks.around(network, inputs=lambda x: (2 * x,), output=lambda y, x: y + x)
    np.testing.assert_allclose(twice.train(params, x, key=key)[0], network.train(params, 2 * x, key=key)[0] + x)
    np.testing.assert_allclose(twice.apply(params, x), network.apply(params, 2 * x) + x)


def test_normalised_features_have_mean_0_and_variance_1(draw, key):
    network, seen = networks.stateful_dcgan_generator(DIM, SHAPE, features=(4, 6)), []

    def watch(following, args, kwargs, context):
        y = following(*args, **kwargs)
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            seen.append(y)
        return y

    params = network.init(key)
    with nn.intercept_methods(watch):
        network.train(params, 3 * draw(40, DIM) + 1, key=key)
    assert len(seen) == 2
    for y in seen:
        np.testing.assert_allclose(np.mean(y, (0, 1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(np.var(y, (0, 1, 2)), 1, rtol=1e-2)


def test_a_label_is_given_in_training_too(draw, key):
    network = networks.stateful_dcgan_generator(DIM + 2, SHAPE, features=(4, 6))
    z, label, params = draw(4, DIM), jnp.array([0, 1, 1, 0]), network.init(key)
    labelled, plain = networks.with_label(network, 2), jnp.concatenate([z, jax.nn.one_hot(label, 2)], axis=1)
    np.testing.assert_array_equal(labelled.apply(params, z, label), network.apply(params, plain))
    found, expected = labelled.train(params, z, label, key=key), network.train(params, plain, key=key)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    jax.tree.map(np.testing.assert_array_equal, labelled.refresh(params, found[1]), network.refresh(params, found[1]))


@pytest.mark.parametrize("num_shards", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_averages_of_a_gan_follow_each_players_own_batches(num_shards, draw, key):
    # of the generator's first normalisation, whose input is z W + b: r <- .9 r + .1 b, b the mean over shards of their
    # moments; of the discriminator's, b is the mean over shards and over both kinds of examples
    shape = (4, 4, 1)
    parts = gan.GAN(
        networks.stateful_dcgan_generator(DIM, shape, features=(3,)),
        networks.stateful_mlp(shape, (), hidden=(2, 3), activation=jnp.tanh),
        NON_SATURATING,
        DIM,
    )
    optimizer = gradients.frozen(optax.adamw(1e-2, weight_decay=0.5), "batch_stats")
    reduction = gradients.ordered(num_shards)
    model = gan.model(parts, optimizer, optimizer, averaging=0.5, reduction=reduction)
    state, batch, step = model.init(key), Batch(draw(8, *shape)), jax.jit(model.train_step)
    mean, var = np.zeros(3), np.ones(3)
    judged = {"mean": np.zeros(3), "var": np.ones(3)}
    for number in range(3):
        of_turn, own = jax.random.split(jax.random.fold_in(key, number), 2)
        (of_judge,) = jax.random.split(of_turn, 1)
        judge = jax.tree.map(np.asarray, state.params["discriminator"]["params"])
        judged = {name: 0.9 * value for name, value in judged.items()}
        for x in pairs_of(parts.generator, state.params["generator"], batch.x, num_shards, of_judge):
            h = np.tanh(x @ judge["layer_1"]["kernel"] + judge["layer_1"]["bias"]) @ judge["layer_2"]["kernel"]
            judged["mean"] += 0.1 * h.mean(0) / (2 * num_shards)
            judged["var"] += 0.1 * h.var(0) / (2 * num_shards)
        dense = jax.tree.map(np.asarray, state.params["generator"]["params"]["dense"])
        for shard in range(num_shards):
            z = jax.random.normal(jax.random.fold_in(own, shard), (8 // num_shards, DIM))
            h = (np.asarray(z) @ dense["kernel"] + dense["bias"]).reshape(-1, 3)
            part = 1 / num_shards
            mean = (mean if shard else 0.9 * mean) + 0.1 * part * h.mean(0)
            var = (var if shard else 0.9 * var) + 0.1 * part * h.var(0)
        state, _ = step(state, batch, key)
        kept = state.params["generator"]["batch_stats"]["norm_1"]
        np.testing.assert_allclose(kept["mean"], mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(kept["var"], var, rtol=1e-4)
        kept = state.params["discriminator"]["batch_stats"]["norm_2"]
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), kept, judged)


def pairs_of(generator, params, x, num_shards, key):
    """Real and generated examples, flat, that each shard of the discriminator's turn is given."""
    size = len(x) // num_shards
    for shard in range(num_shards):
        z_key, _ = jax.random.split(jax.random.fold_in(key, shard))
        fake, _ = generator.train(params, jax.random.normal(z_key, (size, DIM)), key=key)
        yield np.asarray(x[shard * size : (shard + 1) * size]).reshape(size, -1)
        yield np.asarray(fake).reshape(size, -1)


def test_a_gan_is_trained_by_the_batch_and_evaluated_by_the_averages(draw, key):
    shape = (4, 4, 1)
    network = networks.stateful_dcgan_generator(DIM, shape, features=(3,))
    judge = networks.dcgan_discriminator(shape, features=(3,))
    parts = gan.GAN(network, judge, NON_SATURATING, DIM)
    model = gan.model(parts, gradients.frozen(optax.sgd(0.1), "batch_stats"), optax.sgd(0.0))
    state, batch = model.init(key), Batch(draw(8, *shape))
    z = jax.random.normal(jax.random.split(jax.random.fold_in(key, 0), 2)[1], (8, DIM))
    by_batch, _ = network.train(state.params["generator"], z, key=key)
    loss = jax.nn.softplus(-judge.apply(state.params["discriminator"], by_batch)).mean()
    state, metrics = jax.jit(model.train_step)(state, batch, key)
    np.testing.assert_allclose(metrics["generator_loss"], loss, rtol=1e-5)
    own, of_game = jax.random.split(key, 2)
    z = jax.random.normal(of_game, (8, DIM))
    fake = network.apply(state.params["generator"], z)
    loss = jax.nn.softplus(-judge.apply(state.params["discriminator"], fake)).mean()
    found = jax.jit(model.evaluate)(state, batch, key)
    np.testing.assert_allclose(found["generator_loss"], loss, rtol=1e-5)
    z = jax.random.normal(jax.random.split(own)[0], (8, DIM))
    fake = network.apply(state.params["generator"], z)
    logit = judge.apply(state.params["discriminator"], fake).mean()
    np.testing.assert_allclose(found["fake_logit"], logit, rtol=1e-4, atol=1e-6)
