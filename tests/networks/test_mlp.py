"""The multilayer perceptron against its equations, written out in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from genjax.errors import BadInput
from genjax.networks import ACTIVATIONS as BY_NAME
from genjax.networks import affine, gated_linear_units, mlp


def identity(u):
    return u


ACTIVATIONS = {  # by name: act, and in NumPy act and its derivative
    "identity": (identity, identity, np.ones_like),
    "sigmoid": (jax.nn.sigmoid, lambda u: 1 / (1 + np.exp(-u)), lambda u: np.exp(-u) / (1 + np.exp(-u)) ** 2),
    "tanh": (jnp.tanh, np.tanh, lambda u: 1 / np.cosh(u) ** 2),
    "relu": (jax.nn.relu, lambda u: np.maximum(u, 0), lambda u: (u > 0).astype(u.dtype)),
}


def layers(params):
    return [tuple(np.asarray(params[name][part], np.float64) for part in ("kernel", "bias")) for name in sorted(params)]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_neuron(name, float64, draw, parameters):
    # a = act(w . x + b), da/dx = act'(u) w
    act, numpy_act, derivative = ACTIVATIONS[name]
    network = mlp((5,), (1,), hidden=(), activation=jnp.tanh, output_activation=act)
    params, x = parameters(network), draw(7, 5)
    ((w, b),) = layers(params)
    u = np.asarray(x) @ w + b
    np.testing.assert_allclose(network.apply(params, x), numpy_act(u), atol=1e-6)
    jacobian = jax.vmap(jax.jacfwd(lambda x: network.apply(params, x[None])[0, 0]))(x)
    np.testing.assert_allclose(jacobian, derivative(u) * w.T, atol=1e-6)


def test_gated_linear_units(float64, draw, parameters):
    # h = (x A + a) * sigmoid(x G + g), with A and G the two halves of the layer's kernel
    network = mlp((5,), (2,), hidden=(6,), activation=BY_NAME["glu"])
    params, x = parameters(network), draw(7, 5)
    (kernel, bias), (w, b) = layers(params)
    u = np.asarray(x) @ kernel + bias
    h = u[:, :3] / (1 + np.exp(-u[:, 3:]))
    assert kernel.shape == (5, 6) and w.shape == (3, 2)
    np.testing.assert_allclose(network.apply(params, x), h @ w + b, atol=1e-6)
    check_grads(lambda x: network.apply(params, x), (x,), order=2)


def test_gated_linear_units_refuse_an_odd_width():
    with pytest.raises(BadInput, match=r"^activation: glu needs layers of an even width; got 5$"):
        gated_linear_units(jnp.zeros((2, 5)))


def test_identity_activations_compose_to_one_affine_map(draw, parameters):
    network = mlp((2, 3), (2, 2), hidden=(5, 4), activation=identity)
    params, x = parameters(network), draw(8, 2, 3)
    W, b = np.eye(6), np.zeros(6)
    for kernel, bias in layers(params):
        W, b = W @ kernel, b @ kernel + bias
    np.testing.assert_allclose(network.apply(params, x).reshape(8, 4), np.asarray(x).reshape(8, 6) @ W + b, atol=1e-5)


@pytest.mark.parametrize("hidden", [(), (7,), (5, 4)])
def test_features_are_what_the_last_layer_reads(hidden, draw, parameters):
    sizes = dict(hidden=hidden, activation=jnp.tanh)
    params, x = parameters(mlp((2, 3), (2, 2), **sizes)), draw(8, 2, 3)
    features, y = mlp((2, 3), (2, 2), **sizes, with_features=True).apply(params, x)
    *below, (kernel, bias) = layers(params)
    expected = np.asarray(x, np.float64).reshape(8, 6)
    for w, b in below:
        expected = np.tanh(expected @ w + b)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(y.reshape(8, 4), expected @ kernel + bias, atol=1e-5)


@pytest.mark.parametrize("hidden", [(), (7,), (5, 3, 4)])
def test_number_of_parameters(hidden, parameters):
    params = parameters(mlp((2, 3), (4,), hidden=hidden, activation=jnp.tanh))
    widths = [6, *hidden, 4]
    expected = sum((n + 1) * m for n, m in itertools.pairwise(widths))
    assert sum(a.size for a in jax.tree.leaves(params)) == expected


def test_affine_map(draw, parameters):
    network = affine((2, 3), (4, 1))
    params, x = parameters(network), draw(5, 2, 3)
    ((W, b),) = layers(params)
    assert W.shape == (6, 4) and b.shape == (4,)
    np.testing.assert_allclose(network.apply(params, x)[..., 0], np.asarray(x).reshape(5, 6) @ W + b, atol=1e-5)
    single = mlp((2, 3), (4, 1), hidden=(), activation=jnp.tanh)
    key = jax.random.key(0)
    jax.tree.map(np.testing.assert_array_equal, network.init(key), single.init(key))


def test_vmap_over_examples_is_a_loop_over_them(draw, parameters):
    network = mlp((6,), (3,), hidden=(5,), activation=jnp.tanh)
    params, x = parameters(network), draw(4, 6)
    looped = jnp.stack([network.apply(params, x[i : i + 1])[0] for i in range(4)])
    np.testing.assert_allclose(jax.vmap(lambda x: network.apply(params, x[None])[0])(x), looped, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(network.apply(params, x), looped, rtol=1e-6, atol=1e-6)


def test_backpropagation_by_hand(float64, draw, parameters):
    # delta^L = dJ/du^L,  delta^l = act'(u^l) * (delta^{l+1} W^{l+1}^T),
    # dJ/dW^l = h^{l-1}^T delta^l,  dJ/db^l = sum delta^l
    network = mlp((4,), (2,), hidden=(6, 5), activation=jnp.tanh)
    params, x, y = parameters(network), draw(9, 4), draw(9, 2)

    def risk(params):
        return 0.5 * jnp.sum((network.apply(params, x) - y) ** 2)

    weights = layers(params)
    h, u = [np.asarray(x)], []
    for i, (W, b) in enumerate(weights):
        u.append(h[-1] @ W + b)
        h.append(np.tanh(u[-1]) if i < len(weights) - 1 else u[-1])
    delta, expected = h[-1] - np.asarray(y), {}
    for i in reversed(range(len(weights))):
        expected[f"layer_{i + 1}"] = {"kernel": h[i].T @ delta, "bias": delta.sum(0)}
        if i:
            delta = delta @ weights[i][0].T / np.cosh(u[i - 1]) ** 2
    gradient = jax.jit(jax.grad(risk))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient, expected)
    check_grads(jax.jit(risk), (params,), order=2)


def test_least_squares_is_the_minimum_of_the_empirical_risk(float64, draw, parameters):
    # for a linear model, the gradient of the risk is zero where numpy.linalg.lstsq puts the weights
    network = mlp((3,), (2,), hidden=(), activation=identity)
    x, y = draw(40, 3), draw(40, 2)
    solution = np.linalg.lstsq(np.c_[np.asarray(x), np.ones(40)], np.asarray(y), rcond=None)[0]
    params = {"layer_1": {"kernel": jnp.asarray(solution[:3]), "bias": jnp.asarray(solution[3])}}

    def risk(params):
        return jnp.mean(jnp.sum((network.apply(params, x) - y) ** 2, axis=1))

    def descend(params, _):
        return jax.tree.map(lambda a, g: a - 0.1 * g, params, jax.grad(risk)(params)), None

    assert max(jnp.abs(g).max() for g in jax.tree.leaves(jax.grad(risk)(params))) < 1e-10
    fitted, _ = jax.lax.scan(descend, parameters(network), length=1000)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), fitted, params)


def autoencoder(W):
    """Encoder and decoder of one layer: W_d W_e = W W^T, the identity on the span of W's orthonormal columns."""
    width, code = W.shape
    encoder = mlp((width,), (code,), hidden=(), activation=identity)
    decoder = mlp((code,), (width,), hidden=(), activation=identity)
    encoder_params = {"layer_1": {"kernel": W, "bias": jnp.zeros(code)}}
    decoder_params = {"layer_1": {"kernel": W.T, "bias": jnp.zeros(width)}}
    return lambda x: decoder.apply(decoder_params, encoder.apply(encoder_params, x))


@pytest.mark.parametrize("code", [6, 2])
def test_autoencoder_of_inverse_weights_is_the_identity(code, draw):
    W = jnp.asarray(np.linalg.qr(draw(6, code))[0])
    x = draw(5, code) @ W.T  # all of the space, or the part of it that the code spans
    np.testing.assert_allclose(autoencoder(W)(x), x, atol=1e-6)


def test_autoencoder_is_equivariant_to_the_order_of_the_batch(draw, parameters):
    network = mlp((4, 2), (4, 2), hidden=(5, 3, 5), activation=jnp.tanh)
    params, x = parameters(network), draw(6, 4, 2)
    order = jnp.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(network.apply(params, x[order]), network.apply(params, x)[order], atol=1e-6)
    assert not np.allclose(network.apply(params, x[order]), network.apply(params, x))


def test_rows_and_columns_agree(draw, parameters):
    # column form: x_hat = act(W_d act(W_e x + b_e) + b_d), W_e [d, D], one example a column
    encoder = mlp((6,), (3,), hidden=(), activation=identity, output_activation=jnp.tanh)
    decoder = mlp((3,), (6,), hidden=(), activation=identity, output_activation=jnp.tanh)
    params, x = {"e": parameters(encoder), "d": parameters(decoder)}, np.asarray(draw(5, 6))
    ((We, be),), ((Wd, bd),) = layers(params["e"]), layers(params["d"])
    columns = np.tanh(Wd.T @ np.tanh(We.T @ x.T + be[:, None]) + bd[:, None])
    rows = decoder.apply(params["d"], encoder.apply(params["e"], x))
    np.testing.assert_allclose(rows, columns.T, atol=1e-6)


def test_mirrored_decoder_has_the_encoders_widths_reversed(parameters):
    hidden = (7, 5)
    encoder = parameters(mlp((8,), (3,), hidden=hidden, activation=jnp.tanh))
    decoder = parameters(mlp((3,), (8,), hidden=hidden[::-1], activation=jnp.tanh))
    widths = [[kernel.shape for kernel, _ in layers(params)] for params in (encoder, decoder)]
    assert widths[1] == [shape[::-1] for shape in reversed(widths[0])]


@pytest.mark.parametrize("shape", [(9,), (28, 28, 1), (1, 1, 1)])
def test_input_of_another_shape_is_named(shape, parameters):
    network = mlp((2, 4), (3,), hidden=(), activation=jnp.tanh)
    with pytest.raises(ValueError, match=r"takes \(B, 2, 4\); got \(5, "):
        network.apply(parameters(network), jnp.zeros((5, *shape)))


def test_output_shape(parameters):
    network = mlp((3,), (2, 5, 1), hidden=(4,), activation=jnp.tanh)
    assert network.apply(parameters(network), jnp.zeros((6, 3))).shape == (6, 2, 5, 1)
