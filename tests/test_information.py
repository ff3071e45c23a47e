"""Identities of information theory, against scipy and scikit-learn, with the edges where a probability is 0."""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads
from sklearn.metrics import log_loss

from genjax import information

TOLERANCE = {"rtol": 1e-12, "atol": 1e-14}  # in float64


@pytest.fixture
def generator():
    return np.random.default_rng(7)


def simplex(generator, *shape, zeros=0.0):
    """Distributions over the last axis, some of whose probabilities are exactly 0."""
    weights = generator.exponential(size=shape) * (generator.random(shape) >= zeros)
    weights[..., 0] += 0.1
    return weights / weights.sum(axis=-1, keepdims=True)


def tables(generator, *shape, zeros=0.0):
    *batch, m, n = shape
    return simplex(generator, *batch, m * n, zeros=zeros).reshape(shape)


def on_the_simplex(gradient):
    """The part of a gradient that moves along the simplex: its constant part does not."""
    return gradient - jnp.mean(gradient)


def test_self_information(float64, generator):
    p, q = generator.random((2, 50))
    information_of = information.self_information
    np.testing.assert_allclose(information_of(jnp.array(p * q)), information_of(p) + information_of(q), **TOLERANCE)
    assert information_of(jnp.array(1.0)) == 0
    assert information_of(jnp.array(0.0)) == math.inf
    assert np.all(np.diff(information_of(jnp.linspace(0.01, 1, 100))) < 0)
    np.testing.assert_allclose(information_of(jnp.array(0.5)), math.log(2), **TOLERANCE)


def test_entropy_is_scipys_with_and_without_zeros(float64, generator):
    for p in (simplex(generator, 3, 4, 9), simplex(generator, 3, 4, 9, zeros=0.4)):
        np.testing.assert_allclose(information.entropy(jnp.array(p)), scipy.stats.entropy(p, axis=-1), **TOLERANCE)


def test_entropy_lies_between_zero_and_log_m(float64, generator):
    entropy = jax.jit(information.entropy)
    for m in (2, 21):
        bound = information.maximum_entropy(m)
        np.testing.assert_allclose(entropy(np.full((m,), 1 / m)), bound, **TOLERANCE)
        assert np.all(np.asarray(entropy(simplex(generator, 1000, m))) < bound)
        np.testing.assert_array_equal(entropy(np.eye(m)), 0.0)
    uniform = jnp.full((21,), 1 / 21)
    np.testing.assert_allclose(on_the_simplex(jax.jit(jax.grad(information.entropy))(uniform)), 0.0, atol=1e-14)
    assert information.maximum_entropy(2 * 10 + 1) == math.log(21)


def test_joint_and_conditional_entropy(float64, generator):
    for joint in (tables(generator, 5, 3, 4), tables(generator, 5, 3, 4, zeros=0.4)):
        h_xy = information.joint_entropy(jnp.array(joint))
        np.testing.assert_allclose(h_xy, scipy.stats.entropy(joint.reshape(5, 12), axis=-1), **TOLERANCE)
        y = joint.sum(axis=1)
        # H(x|y) two ways: by the chain rule, and as the mean over y of the entropy of each column
        expected = h_xy - scipy.stats.entropy(y, axis=-1)
        columns = np.nan_to_num(scipy.stats.entropy(joint, axis=1))
        np.testing.assert_allclose(information.conditional_entropy(jnp.array(joint)), expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(expected, (y * columns).sum(axis=-1), rtol=1e-12, atol=1e-13)


def test_conditional_entropy_is_zero_of_a_function_and_full_of_an_independent_variable(generator):
    p = simplex(generator, 6).astype(np.float32)
    x_is_a_function_of_y = jnp.zeros((3, 6)).at[jnp.arange(6) % 3, jnp.arange(6)].set(p)
    assert information.conditional_entropy(x_is_a_function_of_y) == 0
    q = simplex(generator, 3).astype(np.float32)
    independent = information.conditional_entropy(jnp.array(np.outer(q, p)))
    np.testing.assert_allclose(independent, information.entropy(jnp.array(q)), rtol=1e-6)


def test_mutual_information_is_the_divergence_from_independence(float64, generator):
    for joint in (tables(generator, 5, 3, 4), tables(generator, 5, 3, 4, zeros=0.4)):
        mutual = information.mutual_information(jnp.array(joint))
        product = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
        by_scipy = scipy.stats.entropy(joint.reshape(5, 12), product.reshape(5, 12), axis=-1)
        np.testing.assert_allclose(mutual, by_scipy, rtol=1e-12, atol=1e-13)
        transposed = jnp.array(joint.swapaxes(1, 2))
        h_y_given_x = information.conditional_entropy(transposed)
        np.testing.assert_allclose(mutual, scipy.stats.entropy(joint.sum(axis=1), axis=-1) - h_y_given_x, rtol=1e-11)
        np.testing.assert_allclose(mutual, information.mutual_information(transposed), **TOLERANCE)


def test_mutual_information_of_independent_and_of_equal_variables(generator):
    p, q = simplex(generator, 2, 8, zeros=0.2).astype(np.float32)
    independent = information.mutual_information(jnp.array(np.outer(p, q)))
    assert 0 <= independent < 1e-6
    np.testing.assert_allclose(
        information.mutual_information(jnp.diag(p)), information.entropy(jnp.array(p)), rtol=1e-6
    )


def test_mutual_information_of_rare_events_is_finite():
    # Both marginals are 1e-25, and their product would be 0 in float32.
    joint = jnp.array([[1.0, 0.0], [0.0, 1e-25]])
    mutual, gradient = jax.value_and_grad(information.mutual_information)(joint)
    np.testing.assert_allclose(mutual, 1e-25 * 25 * math.log(10), rtol=1e-5)
    assert np.all(np.isfinite(gradient))


def test_mutual_information_of_a_bivariate_gaussian_by_quadrature(float64):
    x = np.linspace(-8, 8, 401)
    for rho in (0.0, 0.5, -0.9):
        density = scipy.stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).pdf(np.dstack(np.meshgrid(x, x)))
        mutual = information.mutual_information(jnp.array(density / density.sum()))
        np.testing.assert_allclose(mutual, -0.5 * math.log(1 - rho**2), rtol=1e-9, atol=1e-9)


def test_cross_entropy_is_least_at_the_truth(float64, generator):
    truth, model = simplex(generator, 2, 200, 6, zeros=0.0)
    truth = np.where(generator.random(truth.shape) < 0.3, 0, truth)
    truth = truth / truth.sum(axis=-1, keepdims=True)
    value = information.cross_entropy(jnp.array(truth), jnp.array(model))
    entropy = information.entropy(jnp.array(truth))
    np.testing.assert_allclose(value, entropy + scipy.stats.entropy(truth, model, axis=-1), **TOLERANCE)
    assert np.all(value > entropy)
    np.testing.assert_array_equal(information.cross_entropy(jnp.array(truth), jnp.array(truth)), entropy)
    labels, scores = generator.integers(6, size=200), jnp.array(model)
    one_hot = jax.nn.one_hot(labels, 6, dtype=scores.dtype)
    mean = jnp.mean(information.cross_entropy(one_hot, scores))
    np.testing.assert_allclose(mean, log_loss(labels, model, labels=range(6)), **TOLERANCE)


def test_binary_cross_entropy_is_scikit_learns(float64, generator):
    truth, logits = generator.integers(2, size=(3, 50)).astype(float), 4 * generator.normal(size=(3, 50))
    value = information.binary_log_loss(jnp.array(logits), jnp.array(truth))
    p = scipy.special.expit(logits)
    np.testing.assert_allclose(value, [log_loss(y, row) for y, row in zip(truth, p, strict=True)], rtol=1e-12)
    q, p = (jnp.array(np.stack([bit, 1 - bit], axis=-1)) for bit in (truth, p))
    two_states = information.cross_entropy(q, p)
    np.testing.assert_allclose(value, jnp.mean(two_states, axis=-1), rtol=1e-12)


def test_binary_cross_entropy_of_a_perfect_a_blind_and_a_wrong_classifier():
    truth = jnp.array([0.0, 1.0, 1.0])
    certain = 1e3 * (2 * truth - 1)
    assert information.binary_log_loss(certain, truth) == 0
    np.testing.assert_allclose(information.binary_log_loss(jnp.zeros(3), truth), math.log(2), rtol=1e-6)
    wrong, gradient = jax.value_and_grad(information.binary_log_loss)(-certain, truth)
    np.testing.assert_allclose(wrong, 1e3, rtol=1e-6)
    np.testing.assert_allclose(gradient, (1 - 2 * truth) / 3, rtol=1e-6)


def test_kl_divergence_is_scipys_and_the_excess_cross_entropy(float64, generator):
    p = simplex(generator, 200, 6)
    for q in (simplex(generator, 200, 6), simplex(generator, 200, 6, zeros=0.4)):
        value = information.kl_divergence(jnp.array(q), jnp.array(p))
        np.testing.assert_allclose(value, scipy.stats.entropy(q, p, axis=-1), rtol=1e-12, atol=1e-14)
        excess = information.cross_entropy(jnp.array(q), jnp.array(p)) - information.entropy(jnp.array(q))
        np.testing.assert_allclose(value, excess, rtol=1e-11, atol=1e-13)


def test_kl_divergence_is_not_symmetric():
    # q = (1/2, 1/2), p = (1/4, 3/4): KL(q||p) = log(2) - log(3) / 2, KL(p||q) = 3 log(3) / 4 - log(2)
    q, p = jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75])
    np.testing.assert_allclose(information.kl_divergence(q, p), math.log(2) - math.log(3) / 2, rtol=1e-5)
    np.testing.assert_allclose(information.kl_divergence(p, q), 0.75 * math.log(3) - math.log(2), rtol=1e-5)


def test_kl_divergence_has_the_gradients_of_its_terms(float64, generator):
    q, p = simplex(generator, 2, 6)
    gradient = jax.jit(jax.grad(information.kl_divergence, argnums=(0, 1)))
    d_q, d_p = gradient(q, p)
    np.testing.assert_allclose(d_q, np.log(q / p), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(d_p, 1 - q / p, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient(q, q), 0.0, atol=1e-12)  # the minimum


def test_kl_divergence_is_infinite_where_the_model_excludes_what_happens():
    q, p = jnp.array([0.5, 0.5, 0.0]), jnp.array([1.0, 0.0, 0.0])
    assert information.kl_divergence(q, p) == math.inf
    assert information.cross_entropy(q, p) == math.inf
    np.testing.assert_allclose(information.kl_divergence(p, q), math.log(2), rtol=1e-6)


def test_kl_divergence_is_never_negative_and_zero_of_itself_in_float32(generator):
    q = simplex(generator, 10_000, 11, zeros=0.1).astype(np.float32)
    far = simplex(generator, 10_000, 11).astype(np.float32)
    near = q * (1 + generator.normal(size=q.shape) * 10.0 ** generator.uniform(-7, -3, size=(10_000, 1)))
    near = (near / near.sum(axis=-1, keepdims=True)).astype(np.float32)
    kl_divergence = jax.jit(information.kl_divergence)
    for p in (far, near):
        value = kl_divergence(q, p)
        assert value.min() >= 0
        exact = scipy.stats.entropy(q.astype(np.float64), p.astype(np.float64), axis=-1)
        np.testing.assert_allclose(value, exact, rtol=1e-5, atol=3e-7)
    # The plain sum is negative on some of them.
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.nansum(q * np.log(q / near), axis=-1).min() < 0
    np.testing.assert_array_equal(kl_divergence(q, q), 0.0)
    np.testing.assert_array_equal(information.kl_divergence(jnp.array(q), jnp.array(q)), 0.0)


def test_entropies_and_mutual_information_are_never_negative_in_float32(generator):
    joint = tables(generator, 2000, 5, 4, zeros=0.8).astype(np.float32)
    p, q = simplex(generator, 2, 2000, 6).astype(np.float32)
    product = p[:, :, None] * q[:, None, :]
    for function in (information.joint_entropy, information.conditional_entropy, information.mutual_information):
        for table in (joint, product):
            assert jax.jit(function)(table).min() >= 0


def test_values_and_gradients_are_finite_at_zeros():
    p = jnp.array([0.0, 0.25, 0.75, 0.0])
    q = jnp.array([0.0, 0.5, 0.25, 0.25])
    joint = jnp.array([[0.0, 0.5, 0.0], [0.0, 0.25, 0.25]])
    for function, arguments in (
        (information.entropy, (p,)),
        (information.cross_entropy, (p, q)),
        (information.kl_divergence, (p, q)),
        (information.kl_divergence, (p, p)),
        (information.joint_entropy, (joint,)),
        (information.conditional_entropy, (joint,)),
        (information.conditional_entropy, (joint.T,)),
        (information.mutual_information, (joint,)),
    ):
        argnums = tuple(range(len(arguments)))
        value, gradients = jax.jit(jax.value_and_grad(function, argnums))(*arguments)
        chex.assert_tree_all_finite((value, gradients))


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_gradients_through_a_softmax_are_those_of_the_logits(scale, float64, generator):
    # d H(p) / dl = -p (log p + H) and d KL(q||p) / dl = p - q for p = softmax(l), also where p is 1e-40.
    logits = jnp.array(scale * generator.normal(size=6))
    q, p = jnp.array(simplex(generator, 6)), jax.nn.softmax(logits)
    log_p = jax.nn.log_softmax(logits)
    entropy = jax.jit(jax.grad(lambda logits: information.entropy(jax.nn.softmax(logits))))(logits)
    divergence = jax.jit(jax.grad(lambda logits: information.kl_divergence(q, jax.nn.softmax(logits))))(logits)
    np.testing.assert_allclose(entropy, -p * (log_p + information.entropy(p)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(divergence, p - q, rtol=1e-9, atol=1e-12)


def test_functions_pass_a_numerical_gradient_check(float64, generator):
    q, p = (jnp.array(0.5 * row + 0.5 / 6) for row in simplex(generator, 2, 6))
    joint = jnp.array(0.5 * tables(generator, 2, 3) + 0.5 / 6)
    for function, arguments in (
        (information.self_information, (p,)),
        (information.entropy, (p,)),
        (information.cross_entropy, (q, p)),
        (information.binary_log_loss, (generator.normal(size=6), q)),
        (information.kl_divergence, (q, p)),
        (information.joint_entropy, (joint,)),
        (information.conditional_entropy, (joint,)),
        (information.mutual_information, (joint,)),
    ):
        check_grads(jax.jit(function), arguments, order=2, modes=["rev"])


def test_jit_vmap_and_leading_dimensions_agree_with_one_at_a_time(generator):
    q, p = simplex(generator, 2, 3, 2, 5).astype(np.float32)
    joint = tables(generator, 3, 2, 4, 5).astype(np.float32)
    for function, arguments in (
        (information.entropy, (p,)),
        (information.cross_entropy, (q, p)),
        (information.binary_log_loss, (q, p)),
        (information.kl_divergence, (q, p)),
        (information.joint_entropy, (joint,)),
        (information.conditional_entropy, (joint,)),
        (information.mutual_information, (joint,)),
    ):
        batched = jax.jit(function)(*arguments)
        chex.assert_shape(batched, (3, 2))
        alone = [[jax.jit(function)(*(a[i, j] for a in arguments)) for j in range(2)] for i in range(3)]
        np.testing.assert_allclose(batched, alone, rtol=1e-5, atol=1e-7)
        mapped = jax.jit(jax.vmap(jax.vmap(function)))(*arguments)
        np.testing.assert_allclose(mapped, alone, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "function", [information.cross_entropy, information.binary_log_loss, information.kl_divergence]
)
def test_shapes_that_differ_are_both_named(function):
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3,\)"):
        function(jnp.full((2, 3), 1 / 3), jnp.full((3,), 1 / 3))


@pytest.mark.parametrize(
    "measure", [information.joint_entropy, information.conditional_entropy, information.mutual_information]
)
def test_a_probability_that_float32_cannot_hold_counts_as_0_in_numpys_tables_too(measure):
    table, without = np.array([[0.5, 1e-39], [0.2, 0.3]]), np.array([[0.5, 0.0], [0.2, 0.3]])
    assert measure(table) == measure(without) > 0


def test_a_divergence_with_a_probability_that_float32_cannot_hold():
    p, q = np.array([0.5, 1e-39, 0.5]), np.array([0.25, 0.0, 0.75])
    np.testing.assert_allclose(information.kl_divergence(q, p), scipy.stats.entropy(q, p), rtol=1e-6)
    np.testing.assert_allclose(information.entropy(p), np.log(2), rtol=1e-6)
    assert np.isinf(information.cross_entropy(np.array([0.5, 0.5, 0.0]), p))
