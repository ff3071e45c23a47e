"""The networks of an identity swap: AdaIN's moments, blocks that do nothing when told so, what depends on what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from genjax import networks
from genjax.networks.identity_swap import adaptive_instance_norm

SHAPE, DIM = (9, 6, 3), 5


@pytest.fixture
def features(key):
    keys = jax.random.split(key, 3)
    x = 3 + 2 * jax.random.normal(keys[0], (2, 8, 7, 4))
    return x, 1 + jax.random.uniform(keys[1], (2, 4)), jax.random.normal(keys[2], (2, 4))


def test_moments_are_the_wanted_ones(features):
    x, scale, shift = features
    y = np.asarray(adaptive_instance_norm(x, -scale, shift))
    np.testing.assert_allclose(y.mean((1, 2)), shift, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), scale, rtol=1e-4)
    plain = np.asarray(x)
    expected = (plain - plain.mean((1, 2), keepdims=True)) / plain.std((1, 2), keepdims=True)
    np.testing.assert_allclose(adaptive_instance_norm(x, jnp.ones((2, 4)), jnp.zeros((2, 4))), expected, atol=1e-4)


def test_the_own_moments_do_not_matter(features):
    x, scale, shift = features
    moved = adaptive_instance_norm(5 * x - 7, scale, shift)
    np.testing.assert_allclose(moved, adaptive_instance_norm(x, scale, shift), atol=1e-4)


def generator(**options):
    return networks.identity_swap_generator(SHAPE, DIM, features=(4, 6), num_blocks=2, **options)


@pytest.fixture
def inputs(key):
    keys = jax.random.split(key, 3)
    image, v = jax.random.uniform(keys[0], (3, *SHAPE)), jax.random.normal(keys[1], (3, DIM))
    return keys[2], image, v / jnp.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.slow
def test_an_image_of_any_size_depends_on_both_inputs_and_each_row_on_its_own(inputs, skips):
    key, image, v = inputs
    network = generator(skips=skips)
    params = network.init(key)
    apply = jax.jit(network.apply)
    y = apply(params, image, v)
    assert y.shape == image.shape and 0 < y.min() and y.max() < 1
    swapped = apply(params, image, v[::-1])
    np.testing.assert_allclose(swapped[1], y[1], rtol=1e-5)
    assert np.abs(swapped[0] - y[0]).max() > 1e-3
    moved = apply(params, image.at[0].add(0.1), v)
    np.testing.assert_allclose(moved[1:], y[1:], rtol=1e-5)
    assert np.abs(moved[0] - y[0]).max() > 1e-3
    gradients = jax.jit(jax.grad(lambda x, v: jnp.sum(jnp.square(network.apply(params, x, v))), argnums=(0, 1)))
    assert all(np.all(np.any(g, axis=tuple(range(1, g.ndim)))) for g in gradients(image, v))


def test_blocks_whose_second_answer_is_zero_hand_their_input_on(inputs):
    key, image, v = inputs
    with_blocks, without = generator(), networks.identity_swap_generator(SHAPE, DIM, features=(4, 6), num_blocks=0)
    params = jax.jit(with_blocks.init)(key)
    for index in (1, 2):  # scale = 1 + v W + b is 0, and so is the shift
        second = params[f"identity_{index}"]["second"]
        second["scale"] = {"kernel": 0 * second["scale"]["kernel"], "bias": second["scale"]["bias"] * 0 - 1}
        second["shift"] = jax.tree.map(jnp.zeros_like, second["shift"])
    rest = {name: value for name, value in params.items() if not name.startswith("identity_")}
    found, expected = jax.jit(with_blocks.apply)(params, image, v), jax.jit(without.apply)(rest, image, v)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_moments_are_affine_in_four_times_the_identity(inputs):
    key, image, v = inputs
    image, v = image[:1], v[:1]
    network = generator()
    params = network.init(key)
    said = jax.tree.map(lambda a: a, params)  # what the layers of the moments answer to this v, as their biases
    for index in (1, 2):
        for place in ("first", "second"):
            for name in ("scale", "shift"):
                kernel, bias = (params[f"identity_{index}"][place][name][part] for part in ("kernel", "bias"))
                answer = bias + 4 * (v @ kernel)[0]
                said[f"identity_{index}"][place][name] = {"kernel": 0 * kernel, "bias": answer}
    np.testing.assert_allclose(network.apply(params, image, v), network.apply(said, image, 0 * v), rtol=1e-5)


@pytest.mark.slow
def test_skips_show_the_decoder_what_the_encoder_saw(key):
    plain, skipping = generator().init(key), generator(skips=True).init(key)
    assert {"skip_1"} == set(skipping) - set(plain)
    assert skipping["skip_1"]["kernel"].shape == (3, 3, 4, 4)


@pytest.mark.slow
def test_a_blend_is_the_drawn_image_where_its_mask_is_one_and_the_target_where_it_is_zero(inputs):
    key, image, v = inputs
    blending, plain = generator(blend=True), generator()
    params = blending.init(key)
    output = params["output"]
    drawing = params | {"output": {"kernel": output["kernel"][..., :3], "bias": output["bias"][:3]}}
    drawn = plain.apply(drawing, image, v)
    for mask in (1.0, 0.25, 0.0):
        logit = np.clip(np.log(mask + 1e-30) - np.log(1 - mask + 1e-30), -50, 50)
        constant = {
            "kernel": output["kernel"].at[..., 3].set(0),
            "bias": output["bias"].at[3].set(logit),
        }
        blended = blending.apply(params | {"output": constant}, image, v)
        np.testing.assert_allclose(blended, mask * drawn + (1 - mask) * image, atol=1e-6)


@pytest.mark.slow
def test_identity_bodies_see_both_signs(inputs):
    key, image, _ = inputs
    network = networks.identity_network(SHAPE, DIM, features=(4,))
    params = network.init(key)
    encoder = networks.convolutional_encoder(SHAPE, (DIM,), features=(4,), kernel_size=3, activation=jax.nn.relu)
    np.testing.assert_allclose(network.apply(params, image), encoder.apply(params, 2 * image - 1), rtol=1e-6)


def test_a_matching_discriminator_is_layers_after_each_other_and_shows_what_they_give(inputs):
    key, image, _ = inputs
    matching = networks.matching_discriminator(SHAPE, features=(4, 6))
    params = jax.jit(matching.init)(key)
    maps, logit = jax.jit(matching.apply)(params, image)
    x = 2 * np.asarray(image) - 1
    for layer, stride, shown in zip(("convolution_1", "convolution_2", "last"), (2, 2, 1), maps, strict=True):
        x = by_scipy(x, params[layer], stride)
        x = np.where(x > 0, x, 0.2 * x)
        np.testing.assert_allclose(shown, x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logit, by_scipy(x, params["output"], 1)[..., 0], rtol=1e-4, atol=1e-5)
    assert [m.shape for m in maps] == [(3, 5, 3, 4), (3, 3, 2, 6), (3, 3, 2, 6)]


def by_scipy(x, layer, stride):
    """A strided convolution with SAME padding, channel by channel, in float64.

    Both of scipy's arguments: it casts an array that it has not yet filled where their types differ, which warns where
    the old memory happens to hold a signalling NaN.
    """
    x, kernel, bias = (np.asarray(a, np.float64) for a in (x, layer["kernel"], layer["bias"]))
    pads = [(max((-(-n // stride) - 1) * stride + k - n, 0)) for n, k in zip(x.shape[1:3], kernel.shape, strict=False)]
    x = np.pad(x, ((0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)))
    whole = np.stack(
        [
            sum(correlate(image[..., c], kernel[..., c, o], "valid") for c in range(x.shape[3]))
            for image in x
            for o in range(kernel.shape[3])
        ]
    )
    y = whole.reshape(len(x), kernel.shape[3], *whole.shape[1:]).transpose(0, 2, 3, 1)
    return y[:, ::stride, ::stride] + bias


def test_moments_of_another_shape_are_refused():
    x = jnp.zeros((2, 4, 4, 3))
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 3\) and \(2, 1\)"):
        adaptive_instance_norm(x, jnp.zeros((2, 1)), jnp.zeros((2, 1)))
    with pytest.raises(ValueError, match="scale, shift need the same shape"):
        adaptive_instance_norm(x, jnp.zeros((2, 3)), jnp.zeros((2, 1)))


def test_an_identity_network_is_convolutions_of_2_x_minus_1(key):
    network = networks.identity_network((6, 6, 3), 4, features=(2, 3))
    plain = networks.convolutional_encoder((6, 6, 3), (4,), features=(2, 3), kernel_size=3, activation=jax.nn.relu)
    params, x = network.init(key), jax.random.uniform(key, (2, 6, 6, 3))
    np.testing.assert_array_equal(network.apply(params, x), plain.apply(params, 2 * x - 1))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(5, 8, 3), (8, 5, 3)])
def test_images_of_odd_sizes_keep_their_size(shape, key):
    network = networks.identity_swap_generator(shape, 4, features=(4, 6), num_blocks=1)
    assert network.apply(network.init(key), jnp.zeros((2, *shape)), jnp.ones((2, 4))).shape == (2, *shape)
