"""Measures of sparse codes, by counting and against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import r2_score
from sklearn.metrics.pairwise import cosine_similarity

from genjax.evaluation import sparse_codes


def test_active_units_are_counted():
    z = jnp.array([[0.0, 2, 0, 1], [0, 0, 0, 3], [0, 1, 0, 1]])
    np.testing.assert_array_equal(sparse_codes.l0(z), [2, 1, 2])
    np.testing.assert_allclose(sparse_codes.density(z), [0, 2 / 3, 0, 1])


def test_explained_variance_is_scikit_learns(key):
    x = jax.random.normal(key, (30, 4)) * jnp.array([[1, 2, 3, 4]]) + 5
    rebuilt = 0.8 * x + 0.1
    expected = r2_score(x, rebuilt, multioutput="variance_weighted")
    assert float(sparse_codes.explained_variance(x, rebuilt)) == pytest.approx(expected, rel=1e-5)
    mean = jnp.broadcast_to(x.mean(axis=0, keepdims=True), x.shape)
    assert float(sparse_codes.explained_variance(x, mean)) == pytest.approx(0, abs=1e-6)


def test_the_nearest_other_atom(key):
    atoms = jax.random.normal(key, (6, 3)) * 4
    cosines = cosine_similarity(atoms) - 2 * np.eye(6)
    np.testing.assert_allclose(sparse_codes.nearest_cosine(atoms), cosines.max(axis=1), rtol=1e-5)
    with pytest.raises(ValueError, match="at least two"):
        sparse_codes.nearest_cosine(atoms[:1])


def test_the_loss_recovered_of_a_linear_reader_by_hand(key):
    x = jax.random.normal(key, (50, 3)) + 1
    target = x @ jnp.array([1.0, 2, 3]) + 0.5

    def loss(x):
        return jnp.mean(jnp.square(x @ jnp.array([1.0, 2, 3]) - target))

    assert float(sparse_codes.loss_recovered(loss, x, x)) == pytest.approx(1)
    mean = x.mean(axis=0, keepdims=True)
    # half of each deviation from the mean is lost, and of the loss's excess a quarter
    rebuilt = mean + (x - mean) / 2
    variance = np.var(np.asarray(x, np.float64) @ [1, 2, 3])
    assert float(loss(jnp.broadcast_to(mean, x.shape))) == pytest.approx(variance + 0.25, rel=1e-5)
    assert float(sparse_codes.loss_recovered(loss, x, rebuilt)) == pytest.approx(0.75, rel=1e-5)
