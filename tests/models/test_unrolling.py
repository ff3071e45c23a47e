"""Unrolled games: steps by hand, finite differences, the plain game without steps; test_dirac_gan has their orbits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from genjax import gradients, losses, networks
from genjax.losses import NON_SATURATING
from genjax.models import gan
from genjax.models.unrolling import Unrolling, unrolled
from genjax.types import Batch

NAMES = dict(own="generator", adversary="discriminator")


def r1(critic, real, fake, key):
    return 0.3 * losses.r1_penalty(critic, real)


@pytest.fixture
def game(key, float64):
    """Parts, params and a batch of a smooth game."""
    make = dict(hidden=(4,), activation=jnp.tanh)
    parts = gan.GAN(networks.mlp((2,), (3,), **make), networks.mlp((3,), (), **make), NON_SATURATING, 2)
    params = jax.tree.map(lambda a: jnp.asarray(a, float), gan.init_params(key, parts=parts))
    return parts, params, Batch(jax.random.normal(key, (6, 3)) + 1)


@pytest.mark.slow
def test_the_loss_is_that_after_steps_by_hand_and_its_slope_that_of_finite_differences(game, key):
    parts, params, batch = game
    of_discriminator = gan.discriminator_objective(parts, penalty=r1)
    ahead = Unrolling(3, optax.sgd(0.7))
    objective = unrolled(gan.generator_objective(parts), of_discriminator, **NAMES, unrolling=ahead)
    d, start = {"discriminator": params["discriminator"]}, params["generator"]
    flat, unravel = ravel_pytree(start)
    update = jax.jit(gradients.updater(of_discriminator, optax.sgd(0.7)))
    plain = jax.jit(lambda g, d: jnp.mean(gan.generator_objective(parts)(g, {"discriminator": d}, batch, key)[0]))

    def by_hand(flat):
        moving, state = params["discriminator"], optax.sgd(0.7).init(params["discriminator"])
        for step_key in jax.random.split(jax.random.fold_in(key, 2), 3):
            moving, state, _ = update(moving, state, {"generator": unravel(flat)}, batch, step_key)
        return float(plain(unravel(flat), moving))

    value, slope = jax.jit(jax.value_and_grad(lambda g: jnp.mean(objective(g, d, batch, key)[0])))(start)
    np.testing.assert_allclose(value, by_hand(flat), rtol=1e-10)
    direction = np.asarray(jax.random.normal(key, flat.shape))
    difference = (by_hand(flat + 1e-5 * direction) - by_hand(flat - 1e-5 * direction)) / 2e-5
    found = direction @ np.asarray(ravel_pytree(slope)[0])
    np.testing.assert_allclose(found, difference, rtol=1e-6)


@pytest.mark.slow
def test_without_steps_it_is_the_plain_game(game, key):
    parts, params, batch = game
    plain, of_discriminator = gan.generator_objective(parts), gan.discriminator_objective(parts)
    none = unrolled(plain, of_discriminator, **NAMES, unrolling=Unrolling(0, optax.sgd(0.1)))
    d, g = {"discriminator": params["discriminator"]}, params["generator"]
    one, other = (jax.jit(gradients.whole_batch(objective))(g, d, batch, key) for objective in (plain, none))
    chex.assert_trees_all_equal(one, other)
