"""Minimal filtering: XLA's convolution as the other route, how many products there are, and where it is chosen."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.extend.core import jaxprs_in_params
from jax.test_util import check_grads

from genjax.networks import convolution, transposed_convolution, upsampled_convolution, winograd

LAYOUT = ("NHWC", "HWIO", "NHWC")


def by_xla(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT)


def num_products(function, *arguments):
    def count(jaxpr):
        inner = (each for equation in jaxpr.eqns for each in jaxprs_in_params(equation.params))
        return sum(equation.primitive is lax.dot_general_p for equation in jaxpr.eqns) + sum(map(count, inner))

    return count(jax.make_jaxpr(lambda *each: function(*each))(*arguments).jaxpr)  # JAX would find an earlier trace


def shaped(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize(
    "size", [(3, 2), (8, 7), *(pytest.param(size, marks=pytest.mark.slow) for size in ((2, 2), (4, 5)))], ids=str
)
def test_it_is_a_convolution_with_nine_products(size, draw):
    x, kernel = draw(3, *size, 5), draw(2, 2, 5, 4)
    assert num_products(winograd.winograd, x, kernel) == 9
    y, pullback = jax.vjp(winograd.winograd, x, kernel)
    expected, by_hand = jax.vjp(by_xla, x, kernel)
    np.testing.assert_allclose(y, expected, atol=2e-5)
    weights = jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), pullback(weights), by_hand(weights))


def test_it_has_derivatives_of_the_second_order_in_both_modes(draw, float64):
    x, kernel = draw(1, 4, 3, 2), draw(2, 2, 2, 3)
    check_grads(jax.jit(lambda *both: jnp.tanh(winograd.winograd(*both))), (x, kernel), order=2)


@pytest.mark.parametrize(
    ("convolve", "x", "kernel", "num"),
    [
        (partial(convolution, stride=2), (128, 14, 14, 32), (4, 4, 32, 64), 9),
        (partial(transposed_convolution, stride=2), (128, 7, 7, 64), (4, 4, 64, 32), 9),
        (upsampled_convolution, (64, 8, 8, 64), (3, 3, 64, 64), 9),
        (partial(convolution, stride=2), (8, 14, 14, 32), (4, 4, 32, 64), 1),  # too few examples
        (partial(convolution, stride=2), (10**4, 28, 28, 1), (4, 4, 1, 32), 1),  # too few channels
        (partial(convolution, stride=2), (10**4, 6, 6, 32), (4, 4, 32, 64), 1),  # 3 x 3 outputs in tiles of 2 x 2
        (partial(convolution, stride=2), (128, 14, 14, 32), (6, 6, 32, 64), 1),  # three blocks of the kernel
    ],
)
def test_where_it_is_chosen(convolve, x, kernel, num, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert num_products(convolve, shaped(*x), shaped(*kernel)) == num
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert num_products(convolve, shaped(*x), shaped(*kernel)) == 1


def test_a_batch_of_symbolic_size_is_a_small_one():
    (batch,) = export.symbolic_shape("batch")
    assert not winograd.pays((batch, 16, 16, 128), (2, 2, 128, 64))


@pytest.mark.parametrize("convolve", [convolution, transposed_convolution])
def test_either_way_is_the_same_map(convolve, draw, monkeypatch):
    x, kernel = draw(2, 7, 6, 3), draw(4, 4, 3, 5)
    plain = convolve(x, kernel, stride=2)
    monkeypatch.setattr(winograd, "pays", lambda shape, kernel_shape: tuple(kernel_shape[:2]) == (2, 2))
    assert num_products(partial(convolve, stride=2), x, kernel) == 9
    np.testing.assert_allclose(convolve(x, kernel, stride=2), plain, atol=2e-5)
