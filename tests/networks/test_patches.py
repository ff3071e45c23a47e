"""Patches of images, and the transformers over them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import networks

SIZES = dict(width=8, num_layers=2, num_heads=2)


def test_patches_are_cut_row_by_row_and_put_back(key):
    x = np.asarray(jax.random.uniform(key, (2, 4, 6, 3)))
    found = networks.to_patches(jnp.asarray(x), 2)
    expected = [[x[b, i : i + 2, j : j + 2].ravel() for i in (0, 2) for j in (0, 2, 4)] for b in range(2)]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(networks.from_patches(found, (4, 6, 3), 2), x)
    assert networks.num_patches((4, 6, 3), 2) == 6
    with pytest.raises(ValueError, match="patches of 4 x 4 pixels do not divide an image of 4 x 6"):
        networks.to_patches(jnp.asarray(x), 4)


def test_the_order_of_the_patches_does_not_matter_and_their_places_do(key):
    network = networks.patch_encoder(5, 3, **SIZES)
    params, apply = jax.jit(network.init)(key), jax.jit(network.apply)
    patches, places = jax.random.normal(key, (2, 3, 3)), jnp.eye(5)[jnp.array([[0, 2, 3], [4, 1, 0]])]
    codes = apply(params, patches, places)
    assert codes.shape == (2, 3, 8)
    turned = apply(params, patches[:, ::-1], places[:, ::-1])
    np.testing.assert_allclose(turned[:, ::-1], codes, rtol=1e-4, atol=1e-5)
    assert np.abs(apply(params, patches[:, ::-1], places) - codes[:, ::-1]).max() > 1e-3

    decoder = networks.patch_decoder(5, 3, 8, **SIZES)
    params, apply = jax.jit(decoder.init)(key), jax.jit(decoder.apply)
    found = apply(params, codes, places)
    assert found.shape == (2, 5, 3)
    np.testing.assert_allclose(apply(params, codes[:, ::-1], places[:, ::-1]), found, rtol=1e-4, atol=1e-5)


def norm(h):
    return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)


def test_without_layers_they_are_lines_by_hand(key, float64):
    encoder = networks.patch_encoder(4, 3, width=6, num_layers=0, num_heads=1)
    decoder = networks.patch_decoder(4, 3, 6, width=5, num_layers=0, num_heads=1)
    draw = np.random.RandomState(0)
    shapes = (jax.eval_shape(network.init, key) for network in (encoder, decoder))
    e, d = (jax.tree.map(lambda a: draw.normal(size=a.shape), each) for each in shapes)
    patches, at = draw.normal(size=(1, 2, 3)), [3, 1]
    places = jnp.eye(4)[None, jnp.array(at)]
    codes = norm(patches @ e["embedding"]["kernel"] + e["embedding"]["bias"] + e["place"][at])
    codes = codes * e["norm"]["scale"] + e["norm"]["bias"]
    np.testing.assert_allclose(jax.jit(encoder.apply)(e, patches, places), codes, rtol=1e-5)
    h = np.tile(d["mask_token"][0], (4, 1))
    h[at] = codes[0] @ d["embedding"]["kernel"] + d["embedding"]["bias"]
    h = norm(h + d["place"]) * d["norm"]["scale"] + d["norm"]["bias"]
    expected = h @ d["patches"]["kernel"] + d["patches"]["bias"]
    np.testing.assert_allclose(jax.jit(decoder.apply)(d, codes, places)[0], expected, rtol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused():
    for make in (
        lambda: networks.patch_encoder(4, 3, width=8, num_layers=1, num_heads=3),
        lambda: networks.patch_decoder(4, 3, 8, width=8, num_layers=1, num_heads=3),
    ):
        with pytest.raises(ValueError, match="heads must divide the width; got 3 and 8"):
            make()
