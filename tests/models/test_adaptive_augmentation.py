"""The probability of an adaptive augmentation: by hand over several steps, its bounds, and what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients, networks, stochastic
from genjax.losses import NON_SATURATING
from genjax.models import adaptive_augmentation, gan
from genjax.models.adaptive_augmentation import Adaptation
from genjax.types import Batch


def discriminator_with(p):
    return {"network": {}, "augmentation": {"probability": jnp.asarray(p, jnp.float32)}}


@pytest.mark.parametrize(
    ("p", "signs", "moved"),
    [(0.5, 8, 0.6), (0.5, 6, 0.5), (0.5, 2, 0.4), (0.75, 10, 0.8), (0.05, -10, 0.0)],
    ids=["grows", "stays at the target", "falls", "at most 0.8", "at least 0"],
)
def test_the_probability_moves_by_the_sign_and_stays_within_its_bounds(p, signs, moved):
    statistics = {"signs": jnp.float32(signs), "examples": jnp.float32(10)}
    found = adaptive_augmentation.adapted(discriminator_with(p), statistics, Adaptation(0.6, num_examples=100))
    np.testing.assert_allclose(found["augmentation"]["probability"], moved, atol=1e-6)


@pytest.mark.parametrize("num_shards", [1, 2])
def test_several_steps_are_those_by_hand(num_shards, key):
    # noise is added with the probability p; D is a x + b, and its logits are taken of what it meets
    noise = stochastic.gaussian_noise(scale=3.0)
    judge = adaptive_augmentation.with_probability(networks.mlp((1,), (), hidden=(), activation=jnp.tanh))
    parts = gan.GAN(
        networks.mlp((1,), (1,), hidden=(), activation=jnp.tanh),
        judge,
        NON_SATURATING,
        1,
        augmentation=stochastic.at_random(noise),
        adaptation=Adaptation(0.4, num_examples=50),
    )
    optimizer = gradients.frozen(optax.adamw(0.1, weight_decay=0.5), "augmentation")
    reduction = gradients.ordered(num_shards)
    model = gan.model(parts, optax.sgd(0.1), optimizer, project=lambda params: params, reduction=reduction)
    state, step, p, seen = model.init(key), jax.jit(model.train_step), 0.0, []
    for number in range(8):
        x = jax.random.normal(jax.random.fold_in(key, 100 + number), (8, 1)) + 1
        layer = jax.tree.map(np.asarray, state.params["discriminator"]["network"]["layer_1"])
        own, _ = jax.random.split(jax.random.fold_in(key, number), 2)
        own, signs = jax.random.split(own, 1)[0], []  # the key of the first of one update
        for shard, rows in enumerate(np.split(np.asarray(x), num_shards)):
            _, of_augmentation = jax.random.split(jax.random.fold_in(own, shard))
            real_key, _ = jax.random.split(of_augmentation)
            draw, whether = jax.random.split(jax.random.split(real_key, 1)[0])
            chosen = np.asarray(jax.random.uniform(whether, (len(rows), 1))) < p
            met = np.where(chosen, noise(jnp.asarray(rows), draw), rows)
            signs.extend(np.sign(met @ layer["kernel"].reshape(1, 1) + layer["bias"].reshape(1, 1)).ravel())
        state, metrics = step(state, Batch(x), key)
        np.testing.assert_allclose(metrics["real_sign"], np.mean(signs), atol=1e-6)
        np.testing.assert_allclose(metrics["augmentation_probability"], p, atol=1e-6)
        p = min(max(p + np.sign(np.mean(signs) - 0.4) * 8 / 50, 0.0), 0.8)
        np.testing.assert_allclose(state.params["discriminator"]["augmentation"]["probability"], p, atol=1e-6)
        seen.append(p)
    assert len({round(value, 3) for value in seen}) > 1


def test_each_example_is_transformed_with_the_probability(key):
    x = jnp.zeros((20_000, 1))

    def one(x, key):
        return x + 1

    def ten(x, key):
        return x + 10

    found = np.asarray(stochastic.at_random(one, ten)(x, key, 0.3))[:, 0]
    shares = [np.mean(found == value) for value in (0, 1, 10, 11)]
    np.testing.assert_allclose(shares, [0.49, 0.21, 0.21, 0.09], atol=4 * 0.5 / np.sqrt(20_000))
    np.testing.assert_array_equal(stochastic.at_random(one, ten)(x, key, 0.0), x)
    np.testing.assert_array_equal(stochastic.at_random(one, ten)(x, key, 1.0), x + 11)
