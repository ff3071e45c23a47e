"""Generators and discriminators: shapes for any image, Linen's layers as the other route, what each logit sees."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import networks
from genjax.networks.adversarial import upsample

DIM = 3
SHAPES = [(7, 5, 2), *(pytest.param(shape, marks=pytest.mark.slow) for shape in [(8, 8, 1), (28, 28, 1), (64, 64, 3)])]
GENERATORS = {
    "dcgan": networks.dcgan_generator,
    "residual": networks.residual_generator,
    "style": partial(networks.style_generator, style_dim=4, num_mapping_layers=2),
}
DISCRIMINATORS = {"dcgan": networks.dcgan_discriminator, "residual": networks.residual_discriminator}
generators = pytest.mark.parametrize(
    "make",
    [pytest.param(make, id=name, marks=[pytest.mark.slow] * (name == "style")) for name, make in GENERATORS.items()],
)
discriminators = pytest.mark.parametrize("make", DISCRIMINATORS.values(), ids=DISCRIMINATORS)
one_of_the_discriminators = pytest.mark.parametrize(  # where the network does not matter; the others in the slow run
    "make",
    [
        pytest.param(make, id=name, marks=[pytest.mark.slow] * (name != "dcgan"))
        for name, make in DISCRIMINATORS.items()
    ],
)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def features(shape):
    """As many layers as go down to 4 pixels, or one."""
    return (4, 5, 6, 7)[: max(1, (max(shape) // 4).bit_length() - 1)]


def reaches_every_parameter(network, params, inputs):
    def loss(params):
        y = network.apply(params, inputs)
        return jnp.sum(jnp.cos(y + 1)), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert jnp.isfinite(leaf).all() and jnp.abs(leaf).max() > 0, path
    return np.asarray(y)


@generators
@shapes
def test_generators_make_images_of_any_size(make, shape, draw, parameters):
    network = make(DIM, shape, features=features(shape))
    images = reaches_every_parameter(network, parameters(network), draw(2, DIM))
    assert images.shape == (2, *shape) and images.dtype == np.float32
    assert 0 < images.min() and images.max() < 1 and images.std() > 0


@discriminators
@shapes
def test_discriminators_judge_images_of_any_size(make, shape, draw, parameters):
    network = make(shape, features=features(shape))
    logit = reaches_every_parameter(network, parameters(network), draw(2, *shape))
    assert logit.shape == (2,) and logit.dtype == np.float32 and logit[0] != logit[1]


@one_of_the_discriminators
def test_a_projection_is_the_discriminator_whose_last_layer_is_that_of_psi_and_of_the_class(make, draw, parameters):
    # v_y^T phi + psi(phi) = (v_y + psi)^T phi
    x, label = draw(4, 8, 8, 1), np.array([2, 0, 1, 2])
    projected = networks.label_projection(make((8, 8, 1), (1 + 3,), features=(4, 5)), 3)
    params = parameters(projected)
    found = jax.jit(projected.apply)(params, x, label)
    alone = make((8, 8, 1), features=(4, 5))
    for i, y in enumerate(label):
        last = {name: a[..., :1] + a[..., 1 + y : 2 + y] for name, a in params["dense"].items()}
        np.testing.assert_allclose(found[i], alone.apply(params | {"dense": last}, x)[i], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="3 classes needs labels"):
        projected.apply(params, x, None)


@discriminators
def test_a_discriminator_of_zeros_cannot_tell(make, draw, parameters):
    network = make((8, 8, 1), features=(4,))
    zeros = jax.tree.map(jnp.zeros_like, parameters(network))
    np.testing.assert_array_equal(jax.nn.sigmoid(jax.jit(network.apply)(zeros, draw(3, 8, 8, 1))), 0.5)


def each_example_is_its_own(network, params, x):
    apply = jax.jit(network.apply)
    np.testing.assert_allclose(apply(params, x)[0], apply(params, x.at[1:].multiply(-3.0))[0], rtol=1e-5, atol=1e-6)


@generators
def test_generated_images_do_not_depend_on_the_batch(make, draw, parameters):
    network = make(DIM, (8, 8, 1), features=(4, 5))
    each_example_is_its_own(network, parameters(network), draw(3, DIM))


@discriminators
@pytest.mark.slow
def test_logits_do_not_depend_on_the_batch(make, draw, parameters):
    network = make((8, 8, 1), features=(4, 5))
    each_example_is_its_own(network, parameters(network), draw(3, 8, 8, 1))


def linen(layer, params, x):
    return layer.apply({"params": params}, x)


def compare(network, expected, inputs, parameters):
    """A network and the same of Linen's layers, on the same parameters."""
    got, wanted = jax.jit(lambda p, x: (network.apply(p, x), expected(p, x)))(parameters(network), inputs)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def norm(x):
    return x / jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-8)


def up(x):
    return jnp.kron(x, jnp.ones((1, 2, 2, 1)))


def leaky(x):
    return jnp.where(x > 0, x, 0.2 * x)


def pool(x):
    return nn.avg_pool(x, (2, 2), (2, 2))


def test_generators_are_those_of_linen(draw, parameters):
    # 7 x 5 -> 4 x 3 -> 2 x 2 and back, cropped
    shape, z = (7, 5, 2), draw(3, DIM)

    def dcgan(p, z):
        x = linen(nn.Dense(24), p["dense"], z).reshape(3, 2, 2, 6)
        x = linen(nn.ConvTranspose(4, (4, 4), (2, 2)), p["convolution_2"], nn.relu(norm(x)))[:, :4, :3]
        x = linen(nn.ConvTranspose(2, (4, 4), (2, 2)), p["convolution_1"], nn.relu(norm(x)))[:, :7, :5]
        return nn.sigmoid(x)

    def dcgan_dense(p, z):
        return dcgan(p, nn.relu(norm(linen(nn.Dense(5), p["hidden_1"], z))))

    def residual(p, z):
        x = linen(nn.Dense(24), p["dense"], z).reshape(3, 2, 2, 6)
        for depth, (height, width) in ((2, (4, 3)), (1, (7, 5))):
            y = linen(nn.Conv(4, (3, 3)), p[f"convolution_{depth}_1"], up(nn.relu(norm(x))))
            y = linen(nn.Conv(4, (3, 3)), p[f"convolution_{depth}_2"], nn.relu(norm(y)))
            x = (y + linen(nn.Conv(4, (1, 1)), p[f"shortcut_{depth}"], up(x)))[:, :height, :width]
        return nn.sigmoid(linen(nn.Conv(2, (3, 3)), p["output"], nn.relu(norm(x))))

    compare(networks.dcgan_generator(DIM, shape, features=(4, 6)), dcgan, z, parameters)
    compare(networks.dcgan_generator(DIM, shape, features=(4, 6), hidden=(5,)), dcgan_dense, z, parameters)
    compare(networks.residual_generator(DIM, shape, features=(4, 6)), residual, z, parameters)


def test_discriminators_are_those_of_linen(draw, parameters):
    shape, x = (8, 4, 2), draw(3, 8, 4, 2)

    def dcgan(p, x):
        y = leaky(linen(nn.Conv(4, (4, 4), (2, 2)), p["convolution_1"], x))
        y = leaky(linen(nn.Conv(6, (4, 4), (2, 2)), p["convolution_2"], y)).reshape(3, -1)
        for depth, width in enumerate((5, 4) if "hidden_1" in p else (), start=1):
            y = leaky(linen(nn.Dense(width), p[f"hidden_{depth}"], y))
        return linen(nn.Dense(1), p["dense"], y)[:, 0]

    def residual(p, x):
        for depth, width in ((1, 4), (2, 6)):
            y = x if depth == 1 else leaky(x)
            y = leaky(linen(nn.Conv(width, (3, 3)), p[f"convolution_{depth}_1"], y))
            y = pool(linen(nn.Conv(width, (3, 3)), p[f"convolution_{depth}_2"], y))
            x = y + pool(linen(nn.Conv(width, (1, 1)), p[f"shortcut_{depth}"], x))
        return linen(nn.Dense(1), p["dense"], leaky(x).reshape(3, -1))[:, 0]

    compare(networks.dcgan_discriminator(shape, features=(4, 6)), dcgan, x, parameters)
    compare(networks.dcgan_discriminator(shape, features=(4, 6), hidden=(5, 4)), dcgan, x, parameters)
    compare(networks.residual_discriminator(shape, features=(4, 6)), residual, x, parameters)


@pytest.mark.parametrize(
    ("make", "read_shape"),
    [
        (networks.dcgan_discriminator, (2, 2, 6)),
        (partial(networks.dcgan_discriminator, hidden=(5, 4)), (4,)),
        (networks.residual_discriminator, (2, 2, 6)),
    ],
    ids=["dcgan", "dcgan_dense", "residual"],
)
def test_features_are_what_the_last_layer_reads(make, read_shape, draw, parameters):
    x, plain = draw(3, 7, 5, 2), make((7, 5, 2), (2,), features=(4, 6))
    params = parameters(plain)
    hidden, y = make((7, 5, 2), (2,), features=(4, 6), with_features=True).apply(params, x)
    assert hidden.shape == (3, *read_shape)
    np.testing.assert_array_equal(y, plain.apply(params, x))
    kernel, bias = (np.asarray(params["dense"][name], np.float64) for name in ("kernel", "bias"))
    read = np.asarray(hidden, np.float64).reshape(3, -1) @ kernel + bias
    np.testing.assert_allclose(y, read, rtol=1e-4, atol=1e-5)


def test_pixels_are_normalised_by_themselves(draw):
    x = draw(2, 3, 4, 5)
    np.testing.assert_allclose(jnp.mean(networks.pixel_norm(x) ** 2, axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(networks.pixel_norm(7 * x), networks.pixel_norm(x), rtol=1e-5)
    np.testing.assert_array_equal(networks.pixel_norm(jnp.zeros((1, 1, 1, 3))), 0)


def test_sizes_are_halved_by_means_and_doubled_by_copies(draw):
    x = draw(2, 6, 4, 3)
    np.testing.assert_allclose(networks.average_pool(x), nn.avg_pool(x, (2, 2), (2, 2)), rtol=1e-5)
    np.testing.assert_array_equal(networks.average_pool(upsample(x)), x)
    odd = networks.average_pool(x[:, :5, :3])
    np.testing.assert_allclose(odd[:, :2, :1], networks.average_pool(x[:, :4, :2]), rtol=1e-5)
    np.testing.assert_allclose(odd[:, 2, 1], x[:, 4, 2], rtol=1e-5)
    np.testing.assert_allclose(odd[:, 2, 0], x[:, 4, :2].mean(1), rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_logit_of_a_map_sees_its_patch(layers, parameters):
    size, side = 40, 5 * 2**layers - 2
    network = networks.patch_discriminator((size, size, 1), features=(2, 3)[:layers])
    params = jax.tree.map(jnp.abs, parameters(network))  # so that nothing cancels
    x = jnp.ones((1, size, size, 1))
    cells = size // 2**layers
    assert jax.eval_shape(network.apply, params, x).shape == (1, cells, cells)
    seen = jax.jit(jax.grad(lambda x: network.apply(params, x)[0, cells // 2, cells // 2]))(x)[0, :, :, 0] != 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    for along in (rows, columns):
        assert len(along) == along[-1] - along[0] + 1 == side
    assert seen.sum() == side**2
    centre = (cells // 2 + 0.5) * 2**layers
    assert (rows[0] + rows[-1] + 1) / 2 == centre


@pytest.mark.slow
def test_each_scale_sees_the_image_halved_once_more(key, draw):
    shapes = [(8, 12, 2), (4, 6, 2), (2, 3, 2)]
    scales = [networks.patch_discriminator(shape, features=(3,)) for shape in shapes]
    network, x = networks.multi_scale(scales), draw(2, *shapes[0])
    params = jax.jit(network.init)(key)
    logits = jax.jit(network.apply)(params, x)
    assert [logit.shape for logit in logits] == [(2, 4, 6), (2, 2, 3), (2, 1, 2)]
    for i, (scale, logit) in enumerate(zip(scales, logits, strict=True), start=1):
        np.testing.assert_allclose(logit, jax.jit(scale.apply)(params[f"scale_{i}"], x), rtol=1e-5)
        x = pool(x)
    first, second = (np.asarray(params[f"scale_{i}"]["output"]["kernel"]) for i in (1, 2))
    assert not np.array_equal(first, second)
