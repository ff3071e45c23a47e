"""MADE against the table of all images, and its draws against their probabilities."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import networks
from genjax.models import made
from genjax.types import Batch

D = 8
IMAGES = np.array(list(itertools.product([0, 1], repeat=D)), np.float32)


def build(num_masks, hidden=(6, 5), dim=D):
    draw = np.random.RandomState(0)
    masks = [networks.mask_degrees(draw.permutation(dim) + 1, hidden, draw=draw) for _ in range(num_masks)]
    return made.parts((2, dim // 2, 1), masks, activation=jnp.tanh), masks


def params_of(parts):
    """Large kernels, so that pixels depend on each other, and small biases."""
    draw = np.random.RandomState(1).standard_normal
    shapes = jax.eval_shape(parts.network.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.float32((2.0 if len(a.shape) == 2 else 0.3) * draw(a.shape)), shapes)


def likelihoods(parts, params, x):
    """The negative log-likelihoods, in double precision."""
    return np.asarray(jax.jit(partial(made.negative_log_likelihood, parts=parts))(params, x), np.float64)


@pytest.mark.parametrize("num_masks", [1, 3])
def test_the_probabilities_of_all_images_sum_to_1(num_masks):
    parts, _ = build(num_masks)
    params = params_of(parts)
    found = likelihoods(parts, params, IMAGES)
    assert (found >= 0).all() and found.std() > 1
    np.testing.assert_allclose(np.exp(-found).sum(), 1, rtol=1e-4)
    # the pixels depend on each other: their own probabilities alone are not the density
    p = np.exp(-found) / np.exp(-found).sum()
    share = p @ IMAGES
    entropy, of_pixels = -(p * np.log(p)).sum(), -(share * np.log(share) + (1 - share) * np.log(1 - share)).sum()
    assert entropy < of_pixels - 0.1


def test_several_masks_are_a_mixture():
    parts, masks = build(3)
    params = params_of(parts)
    each = []
    for mask in masks:
        alone = made.parts(parts.shape, [mask], activation=jnp.tanh)
        each.append(np.exp(-likelihoods(alone, params, IMAGES[::20])))
    assert np.abs(each[0] - each[1]).max() > 1e-3
    found = likelihoods(parts, params, IMAGES[::20])
    np.testing.assert_allclose(found, -np.log(np.mean(each, axis=0)), rtol=1e-4)


def test_the_likelihood_is_the_chain_rule_by_hand():
    """Each factor from a pass over the image whose later pixels are blank: nothing but earlier pixels is seen."""
    parts, ((order, *_),) = build(1)
    params, x = params_of(parts), IMAGES[[7, 100, 203]]
    logits = jax.jit(parts.network.apply)
    total = np.zeros(3)
    for d in range(D):
        before = np.where(order < order[d], x, 0)
        p = 1 / (1 + np.exp(-np.float64(logits(params, before)[:, d, 0])))
        total -= np.log(np.where(x[:, d] == 1, p, 1 - p))
    found = likelihoods(parts, params, x.reshape(3, 2, 4, 1))
    np.testing.assert_allclose(found, total, rtol=1e-4)


@pytest.mark.parametrize("num_masks", [1, 3])
def test_draws_have_the_frequencies_of_the_table(num_masks, key):
    parts, _ = build(num_masks)
    params, num = params_of(parts), 20_000
    p = np.exp(-likelihoods(parts, params, IMAGES))
    drawn = np.asarray(jax.jit(lambda key: made.sample(params, num, key, parts=parts))(key))
    assert drawn.shape == (num, 2, 4, 1) and set(np.unique(drawn)) == {0, 1}
    number = drawn.reshape(num, D).astype(int) @ 2 ** np.arange(D)[::-1]
    share = np.bincount(number, minlength=2**D) / num
    # the total variation of draws of the table itself, and well below that of its shuffles
    expected = np.sqrt(2 / np.pi * p * (1 - p) / num).sum() / 2
    assert np.abs(share - p).sum() / 2 < 1.3 * expected
    deviation = np.abs(share - p) / np.sqrt(p * (1 - p) / num)
    assert deviation[p > 1e-3].max() < 5


def test_each_update_trains_one_mask_in_turn(key):
    parts, masks = build(3)
    objective = made.objective(parts)
    params, batch = params_of(parts), Batch(IMAGES[:4])
    at = jax.jit(lambda step: objective.at(step)(params, batch, key)[0])
    for step in range(5):
        found = at(step)
        alone = made.parts(parts.shape, [masks[step % 3]], activation=jnp.tanh)
        np.testing.assert_allclose(found, likelihoods(alone, params, batch.x), rtol=1e-5)
    model = made.model(parts, optax.sgd(0.1), objective)
    state = model.init(key, params)
    mixture = likelihoods(parts, params, batch.x).mean()
    np.testing.assert_allclose(
        jax.jit(model.evaluate)(state, batch, key)["negative_log_likelihood"], mixture, rtol=1e-5
    )


def test_a_dependence_is_learned(key):
    """Of pixels that repeat one fair bit the entropy is log 2."""
    parts, _ = build(1, hidden=(16,))
    model = made.model(parts, optax.adam(0.05), made.objective(parts))
    batch = Batch(jnp.concatenate([jnp.zeros((4, D)), jnp.ones((4, D))]))
    fit = jax.jit(lambda s: jax.lax.fori_loop(0, 300, lambda i, s: model.train_step(s, batch, key)[0], s))
    loss = jax.jit(model.evaluate)(fit(jax.jit(model.init)(key)), batch, key)["loss"]
    assert np.log(2) - 1e-4 < float(loss) < np.log(2) + 0.02
