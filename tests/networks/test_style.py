"""The style generator: by NumPy and SciPy, the moments of a style, noise, and attention that begins as nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from genjax import networks
from genjax.networks.style import Noise, _Mapping, _Styled

SHAPE, DIM = (7, 5, 2), 3


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def convolved(p, x):
    """Of one image [H, W, C], channel by channel."""
    kernel = p["kernel"]
    maps = [
        sum(correlate(x[..., c], kernel[..., c, o], mode="same") for c in range(x.shape[2]))
        for o in range(kernel.shape[3])
    ]
    return np.stack(maps, axis=-1) + p["bias"]


def styled(p, x, w, size=None, noise=None):
    y = convolved(p["convolution"], x)
    y = y if size is None else y[: size[0], : size[1]]
    y = leaky(y if noise is None else y + noise["noise"]["map"] * p["noise"]["strength"])
    for c in range(y.shape[2]):
        scale, shift = (w @ p[name]["kernel"][:, c] + p[name]["bias"][c] for name in ("scale", "shift"))
        y[..., c] = (1 + scale) * (y[..., c] - y[..., c].mean()) / np.sqrt(y[..., c].var() + 1e-5) + shift
    return y


def by_hand(p, z, noise=None):
    n = noise or {}
    w = z / np.sqrt(np.mean(z**2) + 1e-8)
    for name in ("mapping_1", "mapping_2"):
        w = leaky(0.01 * (w @ p[name]["dense"]["kernel"] + p[name]["dense"]["bias"]))
    x = styled(p["style_0"], p["constant"], w, noise=n.get("style_0"))
    for depth, (height, width) in ((2, (4, 3)), (1, (7, 5))):
        x = np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)
        x = styled(p[f"style_{depth}_1"], x, w, (height, width), n.get(f"style_{depth}_1"))
        x = styled(p[f"style_{depth}_2"], x, w, noise=n.get(f"style_{depth}_2"))
    return 1 / (1 + np.exp(-convolved(p["output"], x)))


def make(network=networks.style_generator, **more):
    return network(DIM, SHAPE, features=(4, 6), style_dim=5, num_mapping_layers=2, **more)


def test_it_is_the_composition_of_mapping_convolutions_and_moments(draw, parameters):
    params, z = parameters(make()), draw(3, DIM)
    for name in ("mapping_1", "mapping_2"):  # of the size that they begin with
        params[name] = jax.tree.map(lambda leaf: 100 * leaf, params[name])
    found = jax.jit(make().apply)(params, z)
    plain = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    assert plain["constant"].shape == (2, 2, 6)
    for image, code in zip(found, np.asarray(z, np.float64), strict=True):
        np.testing.assert_allclose(image, by_hand(plain, code), atol=2e-4)


def test_the_mapping_begins_as_long_as_its_input(draw, key):
    layer, x = _Mapping(2000), draw(50, 300)
    y = jnp.asarray(layer.apply(layer.init(key, x), x))
    assert y.shape == (50, 2000)
    np.testing.assert_allclose(jnp.mean(y**2) / jnp.mean(x**2), (1 + 0.2**2) / 2 * 2, rtol=0.05)  # 2 / n, by He


def test_a_style_sets_the_moments_of_a_map(draw):
    layer, x, w = _Styled(4, (5, 7)), 3 * draw(2, 5, 7, 2) + 1, draw(2, 3)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x, w)
    params = jax.tree.map(lambda leaf: draw(*leaf.shape), shapes)
    y = np.asarray(jax.jit(layer.apply)(params, x, w))
    scale, shift = (
        np.asarray(w) @ np.asarray(params["params"][name]["kernel"]) + np.asarray(params["params"][name]["bias"])
        for name in ("scale", "shift")
    )
    np.testing.assert_allclose(y.mean((1, 2)), shift, atol=1e-4)
    np.testing.assert_allclose(y.std((1, 2)), np.abs(1 + scale), rtol=1e-3)


def test_noise_has_the_variance_of_its_strength_and_is_one_map_for_all_channels(draw, key):
    layer, x, strength = Noise(), draw(200, 5, 7, 3), np.array([0.0, 0.5, -2.0], np.float32)
    variables = {"params": {"strength": strength}, "fixed_noise": {"map": draw(5, 7, 1)}}
    drawn = np.asarray(layer.apply(variables, x, train=True, rngs={"dropout": key}) - x)
    assert not drawn[..., 0].any()
    n = drawn[..., 1:] / strength[1:]
    np.testing.assert_allclose(n[..., 0], n[..., 1], atol=1e-4)
    num = n[..., 0].size  # of a variance of 1, whose standard error is sqrt(2 / num)
    assert abs(n[..., 0].mean()) < 4 / np.sqrt(num) and abs(n[..., 0].var() - 1) < 4 * np.sqrt(2 / num)
    assert abs(np.corrcoef(n[::2, :, :, 0].ravel(), n[1::2, :, :, 0].ravel())[0, 1]) < 4 / np.sqrt(num / 2)
    fixed = np.asarray(layer.apply(variables, x) - x)
    expected = np.asarray(variables["fixed_noise"]["map"]) * strength
    np.testing.assert_allclose(fixed, np.broadcast_to(expected, x.shape), atol=1e-5)


@pytest.mark.slow
def test_noise_of_strength_0_is_none_and_that_of_a_key_is_the_same(draw, key):
    noisy, z = make(networks.noisy_style_generator), draw(3, DIM)
    params = noisy.init(key)
    without = {name: dict(value) for name, value in params["params"].items() if isinstance(value, dict)}
    strengths = [value.pop("noise")["strength"] for name, value in without.items() if name.startswith("style")]
    assert [leaf.shape for leaf in strengths] == [(6,), (4,), (4,), (4,), (4,)] and not any(map(np.any, strengths))
    plain = make().apply(without | {"constant": params["params"]["constant"]}, z)
    train = jax.jit(noisy.train)
    np.testing.assert_array_equal(noisy.apply(params, z), plain)
    np.testing.assert_allclose(train(params, z, key=key)[0], plain, atol=1e-6)
    loud = jax.tree_util.tree_map_with_path(lambda path, a: a + ("strength" in str(path)), params)
    found, statistics = train(loud, z, key=key)
    np.testing.assert_array_equal(train(loud, z, key=key)[0], found)
    assert np.abs(train(loud, z, key=jax.random.key(9))[0] - found).max() > 1e-3
    same = train(loud, jnp.broadcast_to(z[:1], z.shape), key=key)[0]
    assert np.abs(same[0] - same[1]).max() > 1e-3  # each example has its own noise
    jax.tree.map(np.testing.assert_array_equal, noisy.refresh(loud, statistics), loud)  # and the fixed one stays


@pytest.mark.slow
def test_noise_is_added_after_every_convolution_but_the_last(draw, parameters):
    noisy, z = make(networks.noisy_style_generator), draw(2, DIM)
    params = parameters(noisy)
    plain = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for image, code in zip(jax.jit(noisy.apply)(params, z), np.asarray(z, np.float64), strict=True):
        np.testing.assert_allclose(image, by_hand(plain["params"], code, plain["fixed_noise"]), atol=2e-4)


@pytest.mark.slow
def test_attention_begins_as_nothing_and_sees_half_the_size(key, draw):
    attentive = make(self_attention=True)
    params = attentive.init(key)
    rest = {name: value for name, value in params.items() if name != "attention"}
    z = draw(2, DIM)
    np.testing.assert_array_equal(attentive.apply(params, z), make().apply(rest, z))
    params["attention"]["gain"] = jnp.ones([])
    assert jnp.abs(attentive.apply(params, z) - make().apply(rest, z)).max() > 1e-6
