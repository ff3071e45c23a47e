"""The identity encoder: its objective by hand, unit vectors, and identities never seen told apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import networks
from genjax.evaluation.identity import verification_auroc
from genjax.models import identity_encoder
from genjax.types import Batch


@pytest.fixture
def parts():
    body = networks.mlp((6,), (4,), hidden=(16,), activation=jax.nn.tanh)
    return identity_encoder.IdentityEncoder(body, 4, 5)


@pytest.fixture
def batch(key):
    return Batch(jax.random.normal(key, (8, 6)), jnp.arange(8) % 5)


def test_objective_is_its_definition_in_numpy(parts, batch, key):
    params = identity_encoder.init_params(key, parts=parts)
    loss, metrics = identity_encoder.objective(parts, margin=0.2)(params, batch, key)
    v = np.asarray(parts.body.apply(params["body"], batch.x), np.float64)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    w = np.asarray(params["classes"], np.float64)
    angle = np.arccos(v @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T)
    right = np.argmin(angle, axis=1) == np.asarray(batch.label)
    rows = np.arange(8)
    angle[rows, batch.label] += 0.2
    assert (angle < np.pi).all()
    logits = 16 * np.cos(angle)
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[rows, batch.label]
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_array_equal(metrics["accuracy"], right)
    np.testing.assert_allclose(identity_encoder.encode(params["body"], batch.x, parts=parts), v, rtol=1e-4, atol=1e-6)


def test_cosines_of_several_encoders_are_the_means_of_theirs(parts, batch, key):
    bodies = [identity_encoder.init_params(jax.random.fold_in(key, index), parts=parts)["body"] for index in range(3)]
    v = np.asarray(identity_encoder.encode_by_all(bodies, batch.x, parts=parts))
    each = [np.asarray(identity_encoder.encode(body, batch.x, parts=parts)) for body in bodies]
    assert v.shape == (8, 12)
    np.testing.assert_allclose(v @ v.T, np.mean([u @ u.T for u in each], axis=0), atol=1e-6)


def test_a_corruption_is_of_the_pictures_alone(parts, batch, key):
    params = identity_encoder.init_params(key, parts=parts)

    def noise(x, key):
        return x + jax.random.normal(key, x.shape)

    found, _ = identity_encoder.objective(parts, margin=0.2, corruption=noise)(params, batch, key)
    noisy = Batch(noise(batch.x, key), batch.label)
    np.testing.assert_allclose(found, identity_encoder.objective(parts, margin=0.2)(params, noisy, key)[0], rtol=1e-6)
    assert np.abs(found - identity_encoder.objective(parts, margin=0.2)(params, batch, key)[0]).max() > 0.1


@pytest.mark.slow
def test_lengths_of_the_classes_do_not_matter(parts, batch, key):
    params = identity_encoder.init_params(key, parts=parts)
    longer = params | {"classes": params["classes"] * jnp.arange(1.0, 6)[:, None]}
    objective = identity_encoder.objective(parts, margin=0.2)
    np.testing.assert_allclose(objective(longer, batch, key)[0], objective(params, batch, key)[0], rtol=1e-4)


@pytest.mark.slow
def test_the_margin_is_that_of_the_step(parts, batch, key):
    model = identity_encoder.model(parts, optax.sgd(0.0), margin=optax.linear_schedule(0.0, 0.4, 2))
    state = jax.jit(model.init)(key)
    step = jax.jit(model.train_step)
    for margin in (0.0, 0.2, 0.4, 0.4):
        expected = jnp.mean(identity_encoder.objective(parts, margin=margin)(state.params, batch, key)[0])
        evaluated = model.evaluate(state, batch, key)
        state, metrics = step(state, batch, key)
        np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
        np.testing.assert_allclose(evaluated["loss"], expected, rtol=1e-5)


def test_the_margin_rises_over_the_first_third_of_the_run():
    margin = identity_encoder.rising_margin(0.4, num_steps=100)
    np.testing.assert_allclose([margin(step) for step in (0, 15, 30, 99)], [0, 0.2, 0.4, 0.4], rtol=1e-6)
    assert identity_encoder.rising_margin(0.4, num_steps=1)(1) == pytest.approx(0.4)


@pytest.mark.slow
def test_identities_never_seen_are_told_apart(key):
    """Identities are directions in 3 of 6 dimensions; the rest is noise that pictures of one identity do not share."""
    body = networks.mlp((6,), (4,), hidden=(64,), activation=jax.nn.relu)
    parts = identity_encoder.IdentityEncoder(body, 4, 50)
    model = identity_encoder.model(parts, optax.adam(3e-3), margin=optax.constant_schedule(0.2))

    def draw(key, num):
        who, noise = jax.random.split(key)
        centre = jnp.repeat(jax.random.normal(who, (num, 3)), 10, axis=0)
        spread = jax.random.normal(noise, (10 * num, 6))
        return jnp.concatenate([centre + 0.1 * spread[:, :3], 3 * spread[:, 3:]], axis=1), jnp.arange(10 * num) // 10

    keys = jax.random.split(key, 3)
    batch = Batch(*draw(keys[0], 50))
    unseen, label = draw(keys[1], 30)
    state = jax.jit(model.init)(keys[2])

    def score(state):
        return verification_auroc(identity_encoder.encode(state.params["body"], unseen, parts=parts), label)

    before = score(state)
    state, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: model.train_step(s, batch, key), s, length=600))(state)
    assert before < 0.6 and score(state) > 0.85


def test_a_batch_without_labels_is_refused(parts, batch, key):
    params = identity_encoder.init_params(key, parts=parts)
    with pytest.raises(ValueError, match="labels"):
        identity_encoder.objective(parts, margin=0.0)(params, Batch(batch.x), key)
