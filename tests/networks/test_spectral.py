"""Spectral normalisation against NumPy's singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import networks
from genjax.networks import spectral_norm
from genjax.types import Network


@pytest.fixture
def matrix(float64):
    """[7, 5] of known, well separated singular values."""
    draw = np.random.RandomState(0)
    left, right = (np.linalg.qr(draw.normal(size=(n, 5)))[0] for n in (7, 5))
    return jnp.asarray(left @ np.diag([3.0, 2.0, 1.0, 0.5, 0.1]) @ right.T)


def linear(matrix):
    return Network(lambda key: {"w": matrix, "b": jnp.ones(matrix.shape[-1])}, lambda p, x: x @ p["w"] + p["b"][None])


def test_weights_are_of_norm_one_once_the_vectors_have_converged(matrix, key):
    network, _ = spectral_norm(linear(matrix), num_start=100)
    params = network.init(key)
    assert set(params) == {"network", "vectors"} and set(params["vectors"]) == {"w"}
    right = np.linalg.svd(matrix)[2][0]
    assert abs(abs(right @ np.asarray(params["vectors"]["w"])) - 1) < 1e-12
    used = network.apply(params, jnp.eye(7)) - 1  # the bias is left alone
    np.testing.assert_allclose(used, matrix / np.linalg.norm(matrix, 2), rtol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(used, 2), 1, rtol=1e-12)


def test_each_iteration_comes_closer_by_the_ratio_of_squares(matrix, key):
    network, power_iteration = spectral_norm(linear(matrix), num_start=0)
    params, first, second = network.init(key), *np.linalg.svd(matrix)[2][:2]
    ratios = []
    for _ in range(12):
        params = power_iteration(params)
        u = np.asarray(params["vectors"]["w"])
        np.testing.assert_allclose(np.linalg.norm(u), 1)
        ratios.append((second @ u) / (first @ u))
    np.testing.assert_allclose(np.divide(ratios[1:], ratios[:-1]), (2 / 3) ** 2, rtol=1e-6)
    np.testing.assert_array_equal(params["network"]["w"], matrix)
    # an estimate from below: the weights used are never of a norm below 1
    assert np.linalg.norm(network.apply(params, jnp.eye(7)) - 1, 2) >= 1


def test_the_gradient_is_that_of_the_exact_norm_and_leaves_the_vectors_alone(matrix, key):
    network, _ = spectral_norm(linear(matrix), num_start=200)
    params, target = network.init(key), jnp.asarray(np.random.RandomState(1).normal(size=(7, 5)))

    def loss(params):
        return jnp.sum(target * network.apply(params, jnp.eye(7)))

    def exact(w):
        return jnp.sum(target * w) / jnp.linalg.svd(w, compute_uv=False)[0]

    gradient = jax.grad(loss)(params)
    np.testing.assert_allclose(gradient["network"]["w"], jax.grad(exact)(matrix), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(gradient["vectors"]["w"], 0)


def test_every_kernel_of_a_convolutional_discriminator(key, draw):
    inner = networks.dcgan_discriminator((8, 8, 2), features=(4, 6))
    network, power_iteration = spectral_norm(inner)
    params = jax.jit(network.init)(key)
    assert set(params["vectors"]) == {"convolution_1.kernel", "convolution_2.kernel", "dense.kernel"}
    params = jax.jit(lambda p: jax.lax.fori_loop(0, 200, lambda _, p: power_iteration(p), p))(params)

    def normalised(leaf):
        return leaf / np.linalg.norm(np.asarray(leaf).reshape(-1, leaf.shape[-1]), 2) if leaf.ndim > 1 else leaf

    by_hand, x = jax.tree.map(normalised, params["network"]), draw(3, 8, 8, 2)
    got, wanted = jax.jit(network.apply)(params, x), jax.jit(inner.apply)(by_hand, x)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_dense_network_is_lipschitz(key, draw):
    network, _ = spectral_norm(networks.mlp((4,), (), hidden=(16, 16), activation=jax.nn.relu), num_start=200)
    params = network.init(key)
    params = params | {"network": jax.tree.map(lambda leaf: 10 * leaf, params["network"])}  # sigma follows the scale
    slope = jax.vmap(jax.grad(lambda x: network.apply(params, x[None])[0]))(draw(50, 4))
    assert np.linalg.norm(slope, axis=1).max() <= 1 + 1e-4


def test_weights_of_zeros_stay_finite(key):
    network, power_iteration = spectral_norm(linear(jnp.zeros((3, 2))))
    params = power_iteration(network.init(key))
    value, gradient = jax.value_and_grad(lambda p: network.apply(p, jnp.ones((1, 3))).sum())(params)
    assert value == 2 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, gradient)))
