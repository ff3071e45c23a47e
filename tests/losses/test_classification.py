"""Softmax cross-entropy against scipy and its gradient in closed form."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.test_util import check_grads

from genjax.losses import softmax_cross_entropy


def test_it_is_the_negative_log_probability_of_the_label(key, float64):
    logits, label = 4 * jax.random.normal(key, (6, 3)), jnp.array([0, 1, 2, 0, 2, 2])
    p = scipy.special.softmax(np.asarray(logits), axis=1)
    np.testing.assert_allclose(softmax_cross_entropy(logits, label), -np.log(p[np.arange(6), label]), rtol=1e-12)
    shifted = softmax_cross_entropy(logits + 7.0, label)
    np.testing.assert_allclose(shifted, softmax_cross_entropy(logits, label), rtol=1e-12)


def test_gradient_is_the_residual(key, float64):
    logits, label = 4 * jax.random.normal(key, (6, 3)), jnp.array([0, 1, 2, 0, 2, 2])
    gradient = jax.grad(lambda a: jnp.sum(softmax_cross_entropy(a, label)))(logits)
    np.testing.assert_allclose(gradient, jax.nn.softmax(logits) - np.eye(3)[label], atol=1e-12)
    check_grads(jax.jit(lambda a: softmax_cross_entropy(a, label)), (logits,), order=2, modes=["rev"])


@pytest.mark.parametrize(("label", "value", "slope"), [(0, 0.0, [0.0, 0.0]), (1, 2e3, [1.0, -1.0])])
def test_extreme_logits(label, value, slope):
    logits = jnp.array([[1e3, -1e3]])
    got, gradient = jax.value_and_grad(lambda a: softmax_cross_entropy(a, jnp.array([label]))[0])(logits)
    assert float(got) == value
    np.testing.assert_array_equal(gradient[0], slope)


def test_shapes_are_checked():
    logits, label = jnp.zeros((4, 3)), jnp.zeros(4, jnp.int32)
    chex.assert_shape(jax.jit(softmax_cross_entropy)(logits, label), (4,))
    for wrong, message in (
        (label[:3], r"\(4, 3\) and \(3,\)"),
        (label[:, None], r"\(4, 3\) and \(4, 1\)"),
        (label.astype(jnp.float32), "integers; got float32"),
    ):
        with pytest.raises(ValueError, match=message):
            softmax_cross_entropy(logits, wrong)
    with pytest.raises(ValueError, match=r"axes must be 2; got scores \(3,\)"):
        softmax_cross_entropy(logits[0], label)
