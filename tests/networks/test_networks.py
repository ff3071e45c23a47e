"""What every network of the room keeps: shapes, finite outputs, gradients that reach every parameter."""

import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.networks import (
    convolutional_decoder,
    convolutional_encoder,
    gaussian_heads,
    map_decoder,
    map_encoder,
    map_shape,
    mlp,
    with_label,
    with_log_variance,
)
from genjax.types import Network

IMAGE_SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (7, 5, 2), (1, 1, 1)]
SMOOTH = nn.silu  # unlike relu, lets a gradient through everywhere
DIM = 3
ENCODERS = {
    "mlp": lambda shape: mlp(shape, (2 * DIM,), hidden=(9, 8), activation=SMOOTH),
    "convolutional": lambda shape: convolutional_encoder(shape, (2 * DIM,), features=(4, 5), activation=SMOOTH),
    "convolutional, wide": lambda shape: convolutional_encoder(
        shape, (2, DIM), features=(4, 5), kernel_size=3, stride=3, activation=SMOOTH
    ),
}
DECODERS = {
    "mlp": lambda shape: mlp((DIM,), shape, hidden=(8, 9), activation=SMOOTH),
    "convolutional": lambda shape: convolutional_decoder(DIM, shape, features=(4, 5), activation=SMOOTH),
    "convolutional, wide": lambda shape: convolutional_decoder(
        DIM, shape, features=(4, 5), kernel_size=3, stride=3, activation=SMOOTH
    ),
}


CASES = [
    pytest.param(name, shape, marks=[pytest.mark.slow] * (max(shape) > 8))
    for name in ENCODERS
    for shape in (IMAGE_SHAPES[3:] if "wide" in name else IMAGE_SHAPES)
]


def check(network, params, x, output_shape):
    def loss(params):
        y = network.apply(params, x)
        return jnp.sum(jnp.cos(y + 1)), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert y.shape == output_shape
    assert y.dtype == jnp.float32
    assert jnp.isfinite(y).all()
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert jnp.isfinite(leaf).all(), path
        assert jnp.abs(leaf).max() > 0, path


@pytest.mark.parametrize(("name", "image_shape"), CASES)
def test_encoder(name, image_shape, draw, parameters):
    network, output_shape = ENCODERS[name](image_shape), (4, 2, DIM) if "wide" in name else (4, 2 * DIM)
    check(network, parameters(network), draw(4, *image_shape), output_shape)


@pytest.mark.parametrize(("name", "image_shape"), CASES)
def test_decoder(name, image_shape, draw, parameters):
    network = DECODERS[name](image_shape)
    check(network, parameters(network), draw(4, DIM), (4, *image_shape))


@pytest.mark.parametrize("image_shape", [(28, 28, 1), (7, 5, 2)])
def test_decoder_mirrors_the_encoder(image_shape, parameters):
    encoder = parameters(convolutional_encoder(image_shape, (DIM,), features=(4, 5), activation=SMOOTH))
    decoder = parameters(convolutional_decoder(DIM, image_shape, features=(4, 5), activation=SMOOTH))
    for name in ("convolution_1", "convolution_2"):
        *window, channels, features = encoder[name]["kernel"].shape
        assert decoder[name]["kernel"].shape == (*window, features, channels)
    assert decoder["dense"]["kernel"].shape == encoder["dense"]["kernel"].shape[::-1]


@pytest.mark.parametrize("image_shape", [(28, 28, 1), (7, 5, 2)])
def test_convolutional_networks_are_those_of_linen(image_shape, draw, parameters):
    # the independent route: Linen's own layers on the same parameters, cropped on the way up
    activation, (height, width, channels) = nn.relu, image_shape
    halves = [(n, (n + 1) // 2, (n + 3) // 4) for n in (height, width)]

    def encode(params, x):
        for i, features in ((1, 4), (2, 5)):
            convolution = nn.Conv(features, (4, 4), (2, 2))
            x = activation(convolution.apply({"params": params[f"convolution_{i}"]}, x))
        return nn.Dense(DIM).apply({"params": params["dense"]}, x.reshape(len(x), -1))

    def decode(params, z):
        smallest = (halves[0][2], halves[1][2], 5)
        x = nn.Dense(int(np.prod(smallest))).apply({"params": params["dense"]}, z).reshape(len(z), *smallest)
        for i, features in ((2, 4), (1, channels)):
            convolution = nn.ConvTranspose(features, (4, 4), (2, 2))
            x = convolution.apply({"params": params[f"convolution_{i}"]}, activation(x))
            x = x[:, : halves[0][i - 1], : halves[1][i - 1]]
        return x

    encoder = convolutional_encoder(image_shape, (DIM,), features=(4, 5), activation=activation)
    decoder = convolutional_decoder(DIM, image_shape, features=(4, 5), activation=activation)
    for network, expected, shape in ((encoder, encode, image_shape), (decoder, decode, (DIM,))):
        params, x = parameters(network), draw(3, *shape)
        got, wanted = jax.jit(lambda p, x, n=network, e=expected: (n.apply(p, x), e(p, x)))(params, x)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_gaussian_heads_split_the_last_dimension():
    doubling = Network(lambda key: {}, lambda params, x: 2 * x)
    mean, log_variance = gaussian_heads(doubling).apply({}, jnp.arange(8.0).reshape(2, 4))
    np.testing.assert_array_equal(mean, [[0, 2], [8, 10]])
    np.testing.assert_array_equal(log_variance, [[4, 6], [12, 14]])
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        gaussian_heads(doubling).apply({}, jnp.zeros((2, 3)))


def test_log_variance_is_one_learned_scalar(key):
    decoder = mlp((2,), (3,), hidden=(), activation=SMOOTH)
    network = with_log_variance(decoder, initial=-1.5)
    params, z = network.init(key), jnp.ones((4, 2))
    mean, log_variance = network.apply(params, z)
    np.testing.assert_array_equal(mean, decoder.apply(decoder.init(key), z))
    assert log_variance.shape == () and log_variance.dtype == jnp.float32
    assert log_variance == -1.5
    gradient = jax.grad(lambda params: 3 * network.apply(params, z)[1])(params)
    assert gradient["log_variance"] == 3
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient["mean"]))


def test_init_is_a_function_of_its_key():
    network = convolutional_encoder((8, 8, 1), (20,), activation=SMOOTH)
    init = jax.jit(network.init)
    one, same, other = (init(jax.random.key(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    for name, fan_in in (("convolution_1", 16), ("convolution_2", 16 * 32), ("dense", 2 * 2 * 64)):
        kernel = one[name]["kernel"]
        assert not np.array_equal(kernel, other[name]["kernel"])
        # variance 1 / fan_in; its estimate from n normal draws has a standard error of sqrt(2 / n)
        assert abs(fan_in * np.var(kernel) - 1) < 4 * np.sqrt(2 / kernel.size)
        assert not one[name]["bias"].any()


def test_import_starts_no_backend():
    program = "import genjax.networks; from jax._src import xla_bridge; assert not xla_bridge._backends, 'started'"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_label_is_appended_in_every_place(key):
    echo = Network(lambda key: {}, lambda params, x: x)
    network, label = with_label(echo, 4), jnp.array([2, 0, 3])
    one_hot = np.eye(4)[[2, 0, 3]]
    vector, image = jax.random.normal(key, (3, 2)), jax.random.normal(key, (3, 5, 6, 1))
    np.testing.assert_array_equal(network.apply({}, vector, label), np.concatenate([vector, one_hot], 1))
    planes = np.broadcast_to(one_hot[:, None, None], (3, 5, 6, 4))
    np.testing.assert_array_equal(network.apply({}, image, label), np.concatenate([image, planes], 3))
    assert network.apply({}, vector.astype(jnp.bfloat16), label).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="conditional on 4 classes needs labels"):
        network.apply({}, vector, None)


def test_maps_keep_their_places(key):
    """The encoder by JAX's convolutions; the decoder commutes with shifts of whole places, away from the border."""
    shape = (13, 10, 2)
    encoder = map_encoder(shape, 3, features=(4, 6), activation=jnp.tanh)
    params, x = jax.jit(encoder.init)(key), jax.random.normal(key, (2, *shape))
    y = x
    for layer in (params["convolution_1"], params["convolution_2"]):
        y = jax.lax.conv_general_dilated(y, layer["kernel"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = jnp.tanh(y + layer["bias"].reshape(1, 1, 1, -1))
    expected = y @ params["dense"]["kernel"] + params["dense"]["bias"].reshape(1, 1, 1, -1)
    found = jax.jit(encoder.apply)(params, x)
    assert found.shape == (2, *map_shape(shape, 2), 3) == (2, 4, 3, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    z = jnp.zeros((2, 9, 8, 3)).at[0, 3, 3].set(1).at[1, 4, 3].set(1)
    decoder = map_decoder(3, (34, 31, 2), features=(4, 6), activation=jnp.tanh)
    one, below = jax.jit(lambda key, z: decoder.apply(decoder.init(key), z))(key, z)
    assert one.shape == (34, 31, 2) and np.abs(one - below).max() > 0.1
    np.testing.assert_allclose(one[6:24, 6:24], below[10:28, 6:24], rtol=1e-4, atol=1e-5)
