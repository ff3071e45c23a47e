"""Reconstruction losses against NumPy, scipy and closed forms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from jax.test_util import check_grads

from genjax.losses import binary_cross_entropy, perceptual_loss, squared_error


def test_squared_error_is_the_sum_over_features(key):
    x, y = np.asarray(jax.random.normal(key, (2, 5, 3, 2, 1)))
    got = squared_error(jnp.asarray(y), jnp.asarray(x))
    assert got.shape == (5,)
    np.testing.assert_allclose(got, [np.sum((a - b) ** 2) for a, b in zip(x, y, strict=True)], rtol=1e-6)
    np.testing.assert_allclose(got, 6 * np.mean((x - y) ** 2, axis=(1, 2, 3)), rtol=1e-6)


def test_perceptual_loss_of_the_data_itself_is_the_squared_error(key):
    x, y = jax.random.normal(key, (2, 5, 3, 2, 1))
    np.testing.assert_array_equal(perceptual_loss(y, x), squared_error(y, x))
    np.testing.assert_array_equal(perceptual_loss([y], [x]), squared_error(y, x))


def test_perceptual_loss_adds_up_its_layers(key):
    first, second = jax.random.normal(key, (2, 5, 3, 2)), jax.random.normal(jax.random.fold_in(key, 1), (2, 5, 4))
    expected = [
        np.sum(np.square(np.float64(first[0, i] - first[1, i]))) + np.sum(np.square(second[0, i] - second[1, i]))
        for i in range(5)
    ]
    np.testing.assert_allclose(perceptual_loss((first[0], second[0]), (first[1], second[1])), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="features, wanted need the same shape"):
        perceptual_loss([first[0]], [second[0]])


def test_squared_error_gradient_is_minus_twice_the_residual(key):
    x, y = jax.random.normal(key, (2, 5, 3))
    gradient = jax.grad(lambda y: jnp.mean(squared_error(y, x)))(y)
    np.testing.assert_allclose(gradient, -2 * (x - y) / 5, rtol=1e-6)


def test_expected_squared_error_of_a_linear_map_is_a_trace(key):
    # x ~ N(0, C), x' = A x:  E ||x - x'||^2 = tr[(I - A) C (I - A)^T]
    factor_key, map_key, draw_key = jax.random.split(key, 3)
    factor = np.asarray(jax.random.normal(factor_key, (4, 4)), np.float64)
    linear = np.asarray(jax.random.normal(map_key, (4, 4)), np.float64) / 2
    x = jax.random.normal(draw_key, (40_000, 4)) @ factor.T
    values = np.asarray(squared_error(x @ linear.T, x), np.float64)
    rest = np.eye(4) - linear
    exact = np.trace(rest @ factor @ factor.T @ rest.T)
    assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(len(values))


def test_binary_cross_entropy_from_its_definition(key, float64):
    logits = jax.random.normal(key, (6, 2, 3)) * 4
    x = jax.random.uniform(jax.random.fold_in(key, 1), (6, 2, 3))
    p = scipy.special.expit(np.asarray(logits))
    expected = -np.sum(x * np.log(p) + (1 - x) * np.log1p(-p), axis=(1, 2))
    np.testing.assert_allclose(binary_cross_entropy(logits, x), expected, rtol=1e-12)


def test_binary_cross_entropy_gradient_is_the_residual(key):
    logits, x = jax.random.normal(key, (4, 3)), jax.random.uniform(jax.random.fold_in(key, 1), (4, 3))
    gradient = jax.grad(lambda a: jnp.sum(binary_cross_entropy(a, x)))(logits)
    np.testing.assert_allclose(gradient, jax.nn.sigmoid(logits) - x, atol=1e-6)


def test_binary_cross_entropy_of_greys_is_least_at_their_entropy(float64):
    x = np.array([0.1, 0.5, 0.83])
    found = scipy.optimize.minimize(
        lambda a: float(binary_cross_entropy(jnp.array(a)[None], jnp.array(x)[None])[0]), 0 * x
    )
    entropy = np.sum(scipy.special.entr(x) + scipy.special.entr(1 - x))
    np.testing.assert_allclose(found.fun, entropy, rtol=1e-8)
    np.testing.assert_allclose(scipy.special.expit(found.x), x, atol=1e-4)


@pytest.mark.parametrize(
    ("logit", "x", "value", "slope"), [(1e3, 1, 0, 0), (1e3, 0, 1e3, 1), (-1e3, 0, 0, 0), (-1e3, 1, 1e3, -1)]
)
def test_binary_cross_entropy_at_extreme_logits(logit, x, value, slope):
    got, gradient = jax.value_and_grad(lambda a: binary_cross_entropy(a, jnp.full((1, 1), float(x)))[0])(
        jnp.full((1, 1), logit)
    )
    assert float(got) == value and float(gradient[0, 0]) == slope


@pytest.mark.parametrize("loss", [squared_error, binary_cross_entropy])
def test_gradients_and_shapes(loss, key, float64):
    prediction, target = jax.random.normal(key, (3, 2)), jax.random.uniform(jax.random.fold_in(key, 1), (3, 2))
    check_grads(jax.jit(lambda p: loss(p, target)), (prediction,), order=2, modes=["rev"])
    check_grads(jax.jit(lambda t: loss(prediction, t)), (target,), order=2, modes=["rev"])
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(3, 1\)|\(3, 1\).*\(3, 2\)"):
        loss(prediction, target[:, :1])
    chex.assert_trees_all_equal(jax.jit(loss)(prediction, target).shape, (3,))
