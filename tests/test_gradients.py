"""The meeting of losses and optimizers, on quadratics whose path is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients


def quadratic(params, matrix, scale):
    """loss_i = scale_i / 2 theta^T A theta."""
    return scale * (0.5 * params @ matrix @ params), {"scale": scale}


@pytest.fixture
def matrix():
    return jnp.array([[3.0, 1.0], [1.0, 2.0]])


def test_gradient_is_of_the_batch_mean_and_metrics_are_means(matrix):
    params, scale = jnp.array([1.0, -2.0]), jnp.array([1.0, 3.0, 5.0])
    gradient, metrics = gradients.gradient(quadratic)(params, matrix, scale)
    np.testing.assert_allclose(gradient, 3 * matrix @ params, rtol=1e-6)
    assert set(metrics) == {"loss", "scale"}
    np.testing.assert_allclose(metrics["loss"], 3 * 0.5 * params @ matrix @ params, rtol=1e-6)
    assert float(metrics["scale"]) == 3


@pytest.mark.parametrize(("fraction", "converges"), [(0.5, True), (1.9, True), (2.1, False)])
def test_gradient_descent_follows_its_closed_form(matrix, fraction, converges, float64):
    # theta^t = (I - eta A)^t theta^0, which converges exactly for eta < 2 / lambda_max
    matrix = jnp.asarray(matrix, jnp.float64)
    rate = fraction / float(np.linalg.eigvalsh(matrix).max())
    update = jax.jit(gradients.updater(quadratic, optax.sgd(rate)))
    start = jnp.array([1.0, -2.0])
    params, state = start, optax.sgd(rate).init(start)
    for _ in range(60):
        params, state, metrics = update(params, state, matrix, jnp.ones(4))
    closed = np.linalg.matrix_power(np.eye(2) - rate * np.asarray(matrix), 60) @ np.asarray(start)
    np.testing.assert_allclose(params, closed, rtol=1e-9, atol=1e-12)
    assert (np.linalg.norm(params) < np.linalg.norm(start)) == converges
    assert np.isfinite(metrics["loss"])


def test_metrics_are_of_the_params_before_the_update(matrix):
    params = jnp.array([1.0, -2.0])
    update = gradients.updater(quadratic, optax.sgd(0.1))
    new, _, metrics = update(params, optax.sgd(0.1).init(params), matrix, jnp.ones(2))
    np.testing.assert_allclose(metrics["loss"], 0.5 * params @ matrix @ params, rtol=1e-6)
    assert not np.array_equal(new, params)


def test_the_optimizer_sees_the_params(matrix):
    # with a zero gradient, decoupled weight decay alone shrinks them
    optimizer = optax.adamw(0.1, weight_decay=0.5)
    params = jnp.array([1.0, -2.0])
    update = gradients.updater(quadratic, optimizer)
    new, _, _ = update(params, optimizer.init(params), 0 * matrix, jnp.ones(2))
    np.testing.assert_allclose(new, 0.95 * params, rtol=1e-6)
