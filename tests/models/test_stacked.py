"""Stacked autoencoders: what each stage moves, and what it is equal to."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from genjax import networks
from genjax.evaluation import linear
from genjax.losses import CROSS_ENTROPY, SQUARED_ERROR
from genjax.models import autoencoder, classifier, stacked
from genjax.stochastic import masking_noise
from genjax.training.digest import params_sha256
from genjax.types import Batch

SIZES, CLASSES, STEPS = (6, 5, 4), 3, 4
CORRUPTIONS = (masking_noise(probability=0.2), masking_noise(probability=0.4))


def affine(below, above):
    return networks.mlp((below,), (above,), hidden=(), activation=jnp.tanh)


def layers(sizes, reconstruction=CROSS_ENTROPY, code=jax.nn.sigmoid):
    pairs = itertools.pairwise(sizes)
    return tuple(autoencoder.Autoencoder(affine(*pair), affine(*pair[::-1]), reconstruction, code) for pair in pairs)


PARTS = stacked.Stacked(layers(SIZES), affine(SIZES[-1], CLASSES))
OPTIMIZERS = (optax.adam(0.05), optax.sgd(0.1, momentum=0.9))
MODEL = stacked.model(PARTS, *OPTIMIZERS, pretraining_steps=STEPS, corruptions=CORRUPTIONS)
BATCH = Batch(jax.random.uniform(jax.random.key(0), (8, SIZES[0])), jnp.arange(8) % CLASSES)
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def states():
    """The states before each step and after the last one, two steps into the fine-tuning."""
    step, found = jax.jit(MODEL.train_step), [MODEL.init(jax.random.key(2))]
    for _ in range(2 * STEPS + 2):
        found.append(step(found[-1], BATCH, KEY)[0])
    return found


def digests(state):
    body = {f"{k} {name}": own[name] for k, own in enumerate(state.params["body"]) for name in own}
    return {name: params_sha256(own) for name, own in (body | {"head": state.params["head"]}).items()}


def test_each_stage_moves_its_own_and_keeps_the_bits_of_the_rest(states):
    moved = [
        {name for name, digest in digests(after).items() if digest != digests(before)[name]}
        for before, after in itertools.pairwise(states)
    ]
    of_layer = [{f"{k} encoder", f"{k} decoder"} for k in range(2)]
    assert moved == [of_layer[0]] * STEPS + [of_layer[1]] * STEPS + [{"0 encoder", "1 encoder", "head"}] * 2


@pytest.mark.parametrize("number", [0, 1])
def test_a_layer_is_pretrained_as_an_autoencoder_of_the_codes_below_it(states, number):
    before, after = states[number * STEPS], states[(number + 1) * STEPS]
    objective = autoencoder.objective(PARTS.layers[number], corruption=CORRUPTIONS[number])
    alone = autoencoder.model(PARTS.layers[number], OPTIMIZERS[0], objective)
    state = alone.init(KEY, before.params["body"][number])._replace(step=before.step)
    codes = Batch(stacked.encode(before.params, BATCH.x, parts=PARTS, depth=number))
    for _ in range(STEPS):
        state, _ = jax.jit(alone.train_step)(state, codes, KEY)
    for ours, theirs in zip(jax.tree.leaves(after.params["body"][number]), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_fine_tuning_descends_the_cross_entropy_with_an_optimizer_state_of_its_own(states):
    before, after = states[2 * STEPS], states[2 * STEPS + 2]

    def cross_entropy(moved, decoders):
        body = tuple({"encoder": e, "decoder": d} for e, d in zip(moved["encoders"], decoders, strict=True))
        probabilities = softmax(body, moved["head"])
        return -jnp.mean(jnp.log(probabilities[jnp.arange(8), BATCH.label]))

    def softmax(body, head):
        h = BATCH.x
        for own in body:
            h = 1 / (1 + jnp.exp(-line(own["encoder"]["layer_1"], h)))
        scores = jnp.exp(line(head["layer_1"], h))
        return scores / scores.sum(axis=1, keepdims=True)

    def line(own, h):
        return h @ own["kernel"] + own["bias"][None]

    body = before.params["body"]
    moved = {"encoders": [own["encoder"] for own in body], "head": before.params["head"]}
    trace = jax.tree.map(jnp.zeros_like, moved)
    for _ in range(2):
        gradient = jax.grad(cross_entropy)(moved, [own["decoder"] for own in body])
        trace = jax.tree.map(lambda t, g: 0.9 * t + g, trace, gradient)
        moved = jax.tree.map(lambda p, t: p - 0.1 * t, moved, trace)
    found = {"encoders": [own["encoder"] for own in after.params["body"]], "head": after.params["head"]}
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_metrics_are_of_the_stage_and_of_the_classifier(states):
    parts = stacked.as_classifier(PARTS)
    for number, depth in ((0, 0), (STEPS, 1), (2 * STEPS, 1)):
        state, fine_tuned = states[number], number == 2 * STEPS
        found = MODEL.evaluate(state, BATCH, KEY)
        probabilities = np.asarray(classifier.probabilities(state.params, BATCH.x, parts=parts), np.float64)
        cross_entropy = -np.mean(np.log(probabilities[np.arange(8), BATCH.label]))
        np.testing.assert_allclose(found["cross_entropy"], cross_entropy, rtol=1e-5)
        assert found["accuracy"] == np.mean(probabilities.argmax(axis=1) == np.asarray(BATCH.label))
        codes = stacked.encode(state.params, BATCH.x, parts=PARTS, depth=depth)
        seen = codes if fine_tuned else CORRUPTIONS[depth](codes, jax.random.split(KEY, 1)[0])
        own = state.params["body"][depth]
        rebuilt = np.asarray(autoencoder.reconstruct(own, seen, parts=PARTS.layers[depth]), np.float64)
        entropy = -(scipy.special.xlogy(codes, rebuilt) + scipy.special.xlogy(1 - codes, 1 - rebuilt)).sum(axis=1)
        np.testing.assert_allclose(found["reconstruction_loss"], entropy.mean(), rtol=1e-5)
        assert found["loss"] == (found["cross_entropy"] if fine_tuned else found["reconstruction_loss"])


def test_principal_components_of_principal_components_are_those_of_the_data():
    draw = np.random.RandomState(0)
    basis = np.linalg.qr(draw.normal(size=(5, 5)))[0]
    x = jnp.asarray(draw.normal(size=(200, 5)) * [3, 2, 1.5, 0.5, 0.2] @ basis + draw.normal(size=5), jnp.float32)
    parts = stacked.Stacked(layers((5, 3, 2), SQUARED_ERROR, None), affine(2, 2))
    model = stacked.model(parts, optax.sgd(0.01), optax.sgd(0.0), pretraining_steps=1500)
    state = model.init(jax.random.key(0))
    first = linear.pca(x, latent_dim=3)  # with orthonormal axes, so that distances of codes are distances of data
    state = model.init(jax.random.key(0), state.params | {"body": (first, state.params["body"][1])})
    batch = Batch(x, jnp.zeros(200, jnp.int32))
    state = jax.lax.fori_loop(0, 3000, lambda _, state: model.train_step(state, batch, KEY)[0], state)
    affine_parts = layers((5, 2), SQUARED_ERROR, None)[0]
    best = autoencoder.reconstruct(linear.pca(x, latent_dim=2), x, parts=affine_parts)
    found = jax.jit(partial(stacked.reconstruct, parts=parts))(state.params, x)
    np.testing.assert_allclose(found, best, atol=0.01)


def test_no_pretraining_is_a_classifier(states):
    model = stacked.model(PARTS, *OPTIMIZERS, pretraining_steps=0)
    parts = stacked.as_classifier(PARTS)
    alone = classifier.model(parts, OPTIMIZERS[1], classifier.objective(parts))
    state = alone.init(jax.random.key(2))
    state, metrics = jax.jit(alone.train_step)(state, BATCH, KEY)
    after, found = jax.jit(model.train_step)(model.init(jax.random.key(2)), BATCH, KEY)
    assert {name: float(found[name]) for name in metrics} == pytest.approx({n: float(v) for n, v in metrics.items()})
    np.testing.assert_allclose(after.params["head"]["layer_1"]["kernel"], state.params["head"]["layer_1"]["kernel"])


def test_a_corruption_for_each_layer_or_none():
    with pytest.raises(ValueError, match=r"^expected 2 corruptions, one per layer, got 1$"):
        stacked.objective(PARTS, pretraining_steps=1, corruptions=CORRUPTIONS[:1])
