"""The margin on the sphere and the terms of a swap, against closed forms and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses import arcface_logits, feature_matching, identity_loss, mean_absolute_error

LABEL = jnp.array([0, 2, 1, 2])


def vectors(key, *shape):
    v = jax.random.normal(key, shape)
    return v / jnp.linalg.norm(v, axis=-1, keepdims=True)


def cosines(key):
    one, two = jax.random.split(key)
    return vectors(one, 4, 6) @ vectors(two, 3, 6).T


def test_without_a_margin_logits_are_scaled_cosines(key):
    cosine = cosines(key)
    np.testing.assert_allclose(arcface_logits(cosine, LABEL, scale=16.0, margin=0.0), 16 * cosine, rtol=1e-6)


def test_the_margin_moves_the_own_class_by_its_angle(key, float64):
    cosine = cosines(key).astype(jnp.float64)
    angle = np.arccos(np.asarray(cosine))
    own = np.eye(3, dtype=bool)[np.asarray(LABEL)]
    assert (angle[own] < np.pi - 0.3).all()
    expected = 8 * np.where(own, np.cos(angle + 0.3), np.cos(angle))
    found = arcface_logits(cosine, LABEL, scale=8.0, margin=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (np.asarray(found)[own] < 8 * np.asarray(cosine)[own]).all()


def test_beyond_the_half_circle_it_still_falls():
    cosine = jnp.linspace(-1, 1, 401)[:, None]
    value = arcface_logits(cosine, jnp.zeros(401, int), scale=1.0, margin=0.5)[:, 0]
    assert (np.diff(value) > 0).all()
    slope = jax.grad(lambda c: jnp.sum(arcface_logits(c, jnp.zeros(401, int), scale=1.0, margin=0.5)))(cosine)
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(value[0], -1 - 0.5 * np.sin(0.5), rtol=1e-6)


def test_identity_loss_is_half_the_squared_distance_of_unit_vectors(key):
    one, two = jax.random.split(key)
    v, w = vectors(one, 7, 5), vectors(two, 7, 5)
    np.testing.assert_allclose(identity_loss(v, w), jnp.sum(jnp.square(v - w), axis=-1) / 2, rtol=1e-5)
    np.testing.assert_allclose(identity_loss(3 * v, v), 0, atol=1e-6)
    np.testing.assert_allclose(identity_loss(v, -2 * v), 2, rtol=1e-6)


def test_absolute_error_is_a_mean_over_values():
    x = jnp.array([[[0.0, 0.5]], [[1.0, 1.0]]])
    np.testing.assert_allclose(mean_absolute_error(x, jnp.zeros_like(x)), [0.25, 1.0])


def maps(key, scale=1.0):
    keys = jax.random.split(key, 4)
    shapes = [(3, 4, 4, 2), (3, 2, 2, 5), (3, 2, 2, 2), (3, 1, 1, 5)]
    drawn = [scale * jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True)]
    return drawn[:2], drawn[2:]


@pytest.mark.parametrize(("last", "layers"), [(None, (0, 1)), (2, (0, 1)), (1, (1,)), (0, ())])
def test_feature_matching_is_a_sum_of_means(key, last, layers):
    ours, theirs = maps(key), maps(jax.random.fold_in(key, 1))
    expected = np.zeros(3)
    for b in range(3):
        for x, y in zip(ours, theirs, strict=True):
            expected[b] += sum(np.mean(np.abs(np.asarray(x[i][b]) - np.asarray(y[i][b]))) for i in layers)
    np.testing.assert_allclose(feature_matching(ours, theirs, last=last), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(feature_matching(ours, ours, last=last), np.zeros(3))


def test_feature_matching_has_no_gradient_in_what_is_wanted(key):
    ours, theirs = maps(key), maps(jax.random.fold_in(key, 1))
    gradient = jax.grad(lambda x, y: jnp.sum(feature_matching(x, y)), argnums=(0, 1))(ours, theirs)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient[0]))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient[1]))


def test_shapes_that_do_not_fit_are_refused(key):
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(4,\)"):
        arcface_logits(jnp.zeros((3, 2)), jnp.zeros(4, int), scale=1.0, margin=0.1)
    with pytest.raises(ValueError, match="integers; got float32"):
        arcface_logits(jnp.zeros((3, 2)), jnp.zeros(3), scale=1.0, margin=0.1)
    with pytest.raises(ValueError, match="maps, wanted need the same shape"):
        feature_matching(maps(key), maps(key)[:1])
    for last in (-1, 3):
        with pytest.raises(ValueError, match=f"{last} of the last maps cannot be matched: each scale has 2"):
            feature_matching(maps(key), maps(key), last=last)
