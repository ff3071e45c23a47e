"""Top-k training: which examples count, the gradient of these alone, how their share falls, and shards."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients, networks
from genjax.losses import RELATIVISTIC
from genjax.models import gan, top_k
from genjax.models.top_k import TopK, Turn
from genjax.types import Batch

LOGIT = jnp.array([0.3, -1.0, 2.0, 0.3, 1.5])


@pytest.mark.parametrize(
    ("share", "kept"),
    [(1.0, [0, 1, 2, 3, 4]), (0.8, [0, 2, 3, 4]), (0.6, [0, 2, 4]), (0.41, [0, 2, 4]), (0.4, [2, 4]), (0.01, [2])],
)
def test_the_largest_logits_count_and_of_equal_ones_the_first(share, kept):
    expected = np.zeros(5)
    expected[kept] = 5 / len(kept)
    np.testing.assert_allclose(top_k.weights(LOGIT, share), expected, rtol=1e-6)


def test_maps_count_by_their_means_and_pass_no_gradient():
    maps = jnp.array([[4.0, -4.0], [1.0, 1.0], [3.0, -2.0]])  # means of 0, 1 and 1/2
    np.testing.assert_allclose(top_k.weights((maps, maps), 0.5), [0, 1.5, 1.5])
    slope = jax.grad(lambda a: jnp.sum(top_k.weights(a, 0.5) * jnp.arange(3.0)))(maps)
    np.testing.assert_array_equal(slope, 0)


def test_the_share_falls_geometrically_to_its_last():
    batch, falling = Batch(jnp.zeros((3, 2)), jnp.arange(3)), TopK(10, 0.25)
    shares = [top_k.turn(batch, jnp.int32(step), falling) for step in (0, 5, 10, 999)]
    np.testing.assert_allclose([turn.share for turn in shares], np.outer([1, 0.5, 0.25, 0.25], np.ones(3)), rtol=1e-6)
    np.testing.assert_array_equal(shares[1].label, batch.label)


def players(share):
    """A game whose generator meets both logits."""
    make = dict(hidden=(5,), activation=jnp.tanh)
    generator, discriminator = networks.mlp((2,), (3,), **make), networks.mlp((3,), (), **make)
    return gan.GAN(generator, discriminator, RELATIVISTIC, 2, top_k=TopK(1, share))


@pytest.mark.parametrize("num_shards", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_gradient_is_that_of_the_chosen_examples_alone(num_shards, key):
    parts = players(0.25)
    model = gan.model(parts, optax.sgd(1.0), optax.sgd(0.0), reduction=gradients.ordered(num_shards))
    x = jax.random.normal(key, (12, 3))
    state = model.init(key)._replace(step=jnp.int32(7))
    new, metrics = jax.jit(model.train_step)(state, Batch(x), key)
    g, d = (state.params[name] for name in ("generator", "discriminator"))

    _, _, own = jax.random.split(jax.random.fold_in(key, 7), 3)  # the first is that of the share
    size, k = 12 // num_shards, {1: 3, 2: 2}[num_shards]  # of six examples in a shard, two
    z = [jax.random.normal(jax.random.fold_in(own, shard), (size, 2)) for shard in range(num_shards)]
    fake = [np.asarray(parts.discriminator.apply(d, parts.generator.apply(g, each))) for each in z]
    chosen = [np.sort(np.argsort(-logit)[:k]) for logit in fake]

    def loss(g):
        gaps = []
        for shard, rows in enumerate(chosen):
            real = parts.discriminator.apply(d, x[shard * size : (shard + 1) * size][rows])
            gaps.append(real - parts.discriminator.apply(d, parts.generator.apply(g, z[shard][rows])))
        return jnp.mean(jax.nn.softplus(jnp.concatenate(gaps)))

    value, slope = jax.value_and_grad(loss)(g)
    chex.assert_trees_all_close(new.params["generator"], jax.tree.map(jnp.subtract, g, slope), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    assert metrics["kept_share"] == 0.25 and abs(float(metrics["generator_loss"] - value)) > 1e-3


@pytest.mark.slow
def test_a_share_of_one_is_the_plain_game_and_evaluation_is_of_all(key):
    parts, x = players(1.0), jax.random.normal(key, (8, 3))
    params = gan.init_params(key, parts=parts)
    others, turn = {"discriminator": params["discriminator"]}, Turn(x, None, jnp.full(8, 0.25))
    plain = gan.generator_objective(parts._replace(top_k=None))(params["generator"], others, Batch(x), key)[0]
    everyone = gan.generator_objective(parts)(params["generator"], others, turn._replace(share=jnp.ones(8)), key)[0]
    np.testing.assert_allclose(everyone, plain, rtol=1e-6)
    evaluated = gan.generator_objective(parts, evaluation=True)(params["generator"], others, turn, key)[0]
    np.testing.assert_array_equal(evaluated, plain)
    few = gan.generator_objective(parts)(params["generator"], others, turn, key)[0]
    assert (np.asarray(few) == 0).sum() == 6
