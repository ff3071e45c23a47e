"""Generators with batch normalisation: moments by NumPy, in training and evaluation, and in a GAN, also by shards."""

from functools import partial

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
MAKERS = {"dcgan": networks.stateful_dcgan_generator, "residual": networks.stateful_residual_generator}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def linen(layer, params, x):
    return layer.apply({"params": params}, x)


def up(x):
    return jnp.kron(x, jnp.ones((1, 2, 2, 1)))


def by_hand(make, params, z, moments):
    """The network of Linen's layers; `moments(x, name)` -> the mean and the variance by which it normalises x."""
    p = params["params"]

    def act(x, name):
        mean, var = (np.reshape(a, (1, 1, 1, -1)) for a in moments(np.asarray(x), name))
        scale, bias = (np.reshape(p[name][each], (1, 1, 1, -1)) for each in ("scale", "bias"))
        return nn.relu((x - mean) / np.sqrt(var + 1e-5) * scale + bias)

    x = linen(nn.Dense(24), p["dense"], z).reshape(len(z), 2, 2, 6)
    if make is MAKERS["dcgan"]:
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
        moments[name] = {"mean": x.mean((0, 1, 2)), "var": x.var((0, 1, 2))}
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


@pytest.mark.parametrize("num_shards", [1, 2])
def test_the_averages_of_a_gan_follow_the_generators_own_batches(num_shards, draw, key):
    # of the first normalisation, whose input is z W + b: r <- .9 r + .1 b, b the mean over shards of their moments
    shape = (4, 4, 1)
    parts = gan.GAN(
        networks.stateful_dcgan_generator(DIM, shape, features=(3,)),
        networks.dcgan_discriminator(shape, features=(3,)),
        NON_SATURATING,
        DIM,
    )
    optimizer = gradients.frozen(optax.adamw(1e-2, weight_decay=0.5), "batch_stats")
    reduction = gradients.ordered(num_shards)
    model = gan.model(parts, optimizer, optax.adam(1e-2), averaging=0.5, reduction=reduction)
    state, batch, step = model.init(key), Batch(draw(8, *shape)), jax.jit(model.train_step)
    mean, var = np.zeros(3), np.ones(3)
    for number in range(3):
        _, own = jax.random.split(jax.random.fold_in(key, number), 2)
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
