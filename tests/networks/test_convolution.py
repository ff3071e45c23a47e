"""The convolutions are XLA's convolution, with its derivatives of every order and mode."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from genjax.networks import convolution, transposed_convolution, upsampled_convolution

LAYOUT = ("NHWC", "HWIO", "NHWC")
MAPS = ["convolution", "transposed_convolution"]


def ours(name, stride):
    function = {"convolution": convolution, "transposed_convolution": transposed_convolution}[name]
    return lambda x, kernel: function(x, kernel, stride=stride)


def xla(name, stride):
    """The independent route: the operation that JAX itself defines."""
    if name == "convolution":
        return lambda x, k: lax.conv_general_dilated(x, k, (stride, stride), "SAME", dimension_numbers=LAYOUT)
    return lambda x, k: lax.conv_transpose(x, k, (stride, stride), "SAME", dimension_numbers=LAYOUT)


@pytest.fixture
def inputs(draw):
    """`inputs(size, window, channels, batch)`: an x and a kernel."""

    def pair(size=(5, 6), window=(3, 4), channels=(2, 3), batch=2):
        return draw(batch, *size, channels[0]), draw(*window, *channels)

    return pair


def values_and_gradients(function, pairs):
    """Of each pair (x, kernel): y, and the gradients of a sum of y with weights that are all different."""

    def both(x, kernel):
        y, pullback = jax.vjp(function, x, kernel)
        return y, pullback(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return jax.jit(lambda pairs: [both(*pair) for pair in pairs])(pairs)


def assert_close(got, expected, atol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), got, expected)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, *(pytest.param(size, marks=pytest.mark.slow) for size in (4, 5))])
def test_value_and_gradients_are_those_of_xla(name, stride, kernel_size, inputs):
    # Sizes are even, odd and below the window; few channels out take the transposed map's one form, many the other.
    sizes, channels = [(2, 7), (5, 4)], [(1, 9), (3, 1)]
    windows = [(kernel_size, kernel_size), (kernel_size, kernel_size % 5 + 1)]
    pairs = [inputs(*shapes) for shapes in zip(sizes, windows, channels, strict=True)]
    got = values_and_gradients(ours(name, stride), pairs)
    for (height, width), (_, features), (y, _) in zip(sizes, channels, got, strict=True):
        sides = [-(-n // stride) if name == "convolution" else n * stride for n in (height, width)]
        assert y.shape == (2, *sides, features)
    assert_close(got, values_and_gradients(xla(name, stride), pairs), atol=3e-5)


@pytest.mark.parametrize("window", [(1, 1), (3, 3), (5, 3)])
def test_an_upsampled_convolution_is_one_of_doubled_pixels(window, inputs):
    pairs = [inputs((3, 4), window, channels) for channels in [(2, 3), (5, 1)]]

    def drawn(x, kernel):
        doubled = jnp.kron(x, jnp.ones((1, 2, 2, 1)))
        return xla("convolution", 1)(doubled, kernel)

    assert_close(values_and_gradients(upsampled_convolution, pairs), values_and_gradients(drawn, pairs), atol=3e-5)


def test_an_upsampled_convolution_wants_a_middle(inputs):
    with pytest.raises(ValueError, match=r"sizes must be odd, got \(3, 4\)"):
        upsampled_convolution(*inputs())


@pytest.mark.parametrize("name", MAPS)
def test_reference_architecture_shapes(name, inputs):
    shapes = [(28, 1, 32), (14, 32, 64)] if name == "convolution" else [(7, 64, 32), (14, 32, 1)]
    pairs = [inputs((side, side), (4, 4), channels) for side, *channels in shapes]
    assert_close(values_and_gradients(ours(name, 2), pairs), values_and_gradients(xla(name, 2), pairs), atol=2e-3)


@pytest.mark.parametrize("channels", [pytest.param((2, 1), marks=pytest.mark.slow), (1, 5)])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.slow
def test_derivatives_of_every_order_and_mode(name, channels, float64, inputs):
    x, kernel = inputs((4, 3), (4, 3), channels, batch=1)

    def derivatives(convolve, x, kernel):
        def energy(x, kernel):
            return jnp.sum(jnp.tanh(convolve(x, kernel)) ** 2)

        def penalty(x, kernel):
            return jnp.sum(jax.grad(energy)(x, kernel) ** 2)

        return {
            "jacobian forward": jax.jacfwd(convolve, argnums=(0, 1))(x, kernel),
            "jacobian reverse": jax.jacrev(convolve, argnums=(0, 1))(x, kernel),
            "gradient of a gradient penalty": jax.grad(penalty, argnums=(0, 1))(x, kernel),
            "forward over reverse": jax.jacfwd(jax.grad(energy, argnums=1), argnums=(0, 1))(x, kernel),
        }

    got, expected = (jax.jit(partial(derivatives, route(name, 2)))(x, kernel) for route in (ours, xla))
    assert_close(got, expected, atol=1e-10)
    # a bilinear map alone would pass with a derivative of order 2 left out
    check_grads(jax.jit(lambda x, k: jnp.tanh(ours(name, 2)(x, k))), (x, kernel), order=2)


@pytest.mark.parametrize("name", MAPS)
def test_batching_and_loops(name, inputs):
    x, kernel = inputs()
    xs, kernels = jnp.stack([x, x + 1, 2 * x]), jnp.stack([kernel, 2 * kernel, kernel - 1])
    convolve = ours(name, 2)

    def both(x, kernel):
        return convolve(x, kernel), jax.grad(lambda k: jnp.sum(convolve(x, k) ** 2))(kernel)

    def stacked(pairs):
        return jax.tree.map(lambda *parts: jnp.stack(parts), *[both(*pair) for pair in pairs])

    @jax.jit
    def loops(xs, kernels):
        return {
            "vmap": jax.vmap(both)(xs, kernels),
            "map": lax.map(lambda pair: both(*pair), (xs, kernels)),
            "scan": lax.scan(lambda carry, pair: (carry, both(*pair)), 0, (xs, kernels))[1],
        }

    alone = jax.jit(stacked)(list(zip(xs, kernels, strict=True)))
    for got in loops(xs, kernels).values():
        assert_close(got, alone, atol=1e-3)
    shared = jax.jit(jax.vmap(both, in_axes=(0, None)))(xs, kernel)
    assert_close(shared, jax.jit(stacked)([(x, kernel) for x in xs]), atol=1e-3)


@pytest.mark.parametrize("name", MAPS)
def test_mixed_precision_promotes(name, float64, inputs):
    x, kernel = inputs()
    assert jax.eval_shape(ours(name, 1), x, kernel.astype(jnp.float32)).dtype == jnp.float64


@pytest.mark.parametrize("name", MAPS)
def test_shapes_that_do_not_fit_are_named(name):
    with pytest.raises(ValueError, match=r"\(2, 5, 5, 3\) and \(3, 3, 4, 1\)"):
        ours(name, 1)(jnp.zeros((2, 5, 5, 3)), jnp.zeros((3, 3, 4, 1)))
    with pytest.raises(ValueError, match="stride"):
        ours(name, 0)(jnp.zeros((2, 5, 5, 3)), jnp.zeros((3, 3, 3, 1)))
