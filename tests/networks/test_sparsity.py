"""Sparse codes against NumPy and their defining optimisation problems."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from genjax import losses, networks


def test_k_sparse_keeps_the_k_largest(key):
    z = np.asarray(jax.random.normal(key, (20, 9)))
    for k in (1, 4, 9):
        expected = np.zeros_like(z)
        for row, kept in enumerate(np.argsort(-z, axis=1, kind="stable")[:, :k]):
            expected[row, kept] = z[row, kept]
        np.testing.assert_array_equal(networks.k_sparse(jnp.asarray(z), k=k), expected)


def test_k_sparse_breaks_ties_by_the_lowest_index():
    z = jnp.array([[0.5, 2.0, 2.0, 0.5, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    expected = [[0, 2.0, 2.0, 0, 0], [1.0, 1.0, 0, 0, 0]]
    np.testing.assert_array_equal(networks.k_sparse(z, k=2), expected)
    assert np.all(np.sum(np.asarray(networks.k_sparse(z, k=2)) != 0, axis=1) <= 2)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 7), (2, 1, 3, 7)])
def test_k_sparse_of_any_rank_is_along_the_last_axis(key, shape):
    z = np.asarray(jax.random.normal(key, shape))
    expected = np.where(np.argsort(np.argsort(-z, axis=-1), axis=-1) < 3, z, 0)
    np.testing.assert_array_equal(networks.k_sparse(jnp.asarray(z), k=3), expected)


@pytest.mark.parametrize("k", [0, 4, -1])
def test_k_outside_the_code_is_refused(k):
    with pytest.raises(ValueError, match=f"code's 3 units; got {k}"):
        networks.k_sparse(jnp.zeros((2, 3)), k=k)


@pytest.mark.parametrize(
    "code",
    [
        lambda z: networks.k_sparse(z, k=3),
        lambda z: networks.hard_threshold(z, threshold=0.3),
        lambda z: networks.soft_threshold(z, threshold=0.3),
        lambda z: networks.group_threshold(z, threshold=1.2, group_size=2),
    ],
)
def test_gradient_flows_through_the_survivors_alone(key, code):
    z = jax.random.normal(key, (5, 8))
    survivors = np.asarray(code(z) != 0)
    assert 0 < survivors.sum() < survivors.size
    np.testing.assert_array_equal(jax.grad(lambda z: jnp.sum(code(z)))(z), survivors)


def test_hard_threshold():
    z = jnp.array([[-1.0, 0.2, 0.3, 0.5]])
    np.testing.assert_array_equal(networks.hard_threshold(z, threshold=0.3), jnp.array([[0, 0, 0, 0.5]]))


def test_soft_threshold_is_the_proximal_map_of_the_l1_norm():
    # argmin_u 1/2 (u - z)^2 + tau |u|
    tau = 0.7
    for z in (-2.0, -0.7, -0.1, 0.0, 0.5, 1.3):
        found = scipy.optimize.minimize_scalar(
            lambda u, z=z: (u - z) ** 2 / 2 + tau * abs(u), bounds=(-3, 3), method="bounded", options={"xatol": 1e-8}
        )
        np.testing.assert_allclose(networks.soft_threshold(jnp.array([[z]]), threshold=tau)[0, 0], found.x, atol=1e-4)


def test_group_threshold_switches_whole_groups_off():
    z = jnp.array([[3.0, 4.0, 0.6, 0.7, -6.0, 0.0], [0.0, 5.0, -3.0, -4.1, 1.0, 2.0]])
    expected = [[0, 0, 0, 0, -6.0, 0.0], [0, 0, -3.0, -4.1, 0, 0]]  # a norm of 5 does not exceed 5
    np.testing.assert_array_equal(networks.group_threshold(z, threshold=5.0, group_size=2), jnp.array(expected))


def test_groups_must_fill_the_code():
    with pytest.raises(ValueError, match="divide the code's 6 units; got 4"):
        networks.group_threshold(jnp.zeros((1, 6)), threshold=1.0, group_size=4)


def test_unit_norm_rows(key):
    decoder = networks.mlp((3,), (5,), hidden=(), activation=jax.nn.relu)
    dictionary = networks.unit_norm_rows(decoder)
    params = dictionary.init(key)
    kernel = np.asarray(params["layer_1"]["kernel"])
    atoms = dictionary.apply(params, jnp.eye(3)) - params["layer_1"]["bias"][None]
    np.testing.assert_allclose(atoms, kernel / np.linalg.norm(kernel, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, atol=1e-6)


def test_unit_norm_rows_stop_the_code_from_shrinking(key):
    # without them, z / c with c W reconstructs the same at a penalty c times less; with them it does not
    x, z = jax.random.normal(key, (4, 5)), jax.random.normal(jax.random.fold_in(key, 1), (4, 3))
    plain = networks.mlp((3,), (5,), hidden=(), activation=jax.nn.relu)

    def reconstruction_loss(decoder, scale):
        params = decoder.init(key)
        params["layer_1"]["kernel"] *= scale
        return losses.squared_error(decoder.apply(params, z / scale), x)

    np.testing.assert_allclose(reconstruction_loss(plain, 10.0), reconstruction_loss(plain, 1.0), rtol=1e-5)
    dictionary = networks.unit_norm_rows(plain)
    assert np.abs(reconstruction_loss(dictionary, 10.0) - reconstruction_loss(dictionary, 1.0)).min() > 1e-2


@pytest.mark.parametrize("row", [0.0, 1e-30])
def test_a_row_of_zeros_stays_zero_and_has_a_finite_gradient(row):
    dictionary = networks.unit_norm_rows(networks.mlp((2,), (2,), hidden=(), activation=jax.nn.relu))
    kernel = jnp.array([[3.0, 4.0], [row, 0.0]])

    def apply(kernel):
        return dictionary.apply({"layer_1": {"kernel": kernel, "bias": jnp.zeros(2)}}, jnp.eye(2))

    np.testing.assert_allclose(apply(kernel), [[0.6, 0.8], [0, 0]], atol=1e-7)
    gradient = jax.grad(lambda kernel: apply(kernel)[0, 0] + apply(kernel)[1, 1])(kernel)
    # d (w_1 / ||w||) / dw = (w_2^2, -w_1 w_2) / ||w||^3
    np.testing.assert_allclose(gradient[0], [16 / 125, -12 / 125], rtol=1e-5)
    assert np.isfinite(gradient).all()
