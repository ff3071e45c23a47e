"""The style generator: by NumPy and SciPy, the moments that a style gives, and attention that begins as nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from genjax import networks
from genjax.networks.style import _Styled

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


def styled(p, x, w, size=None):
    y = leaky(convolved(p["convolution"], x))
    y = y if size is None else y[: size[0], : size[1]]
    for c in range(y.shape[2]):
        scale, shift = (w @ p[name]["kernel"][:, c] + p[name]["bias"][c] for name in ("scale", "shift"))
        y[..., c] = (1 + scale) * (y[..., c] - y[..., c].mean()) / np.sqrt(y[..., c].var() + 1e-5) + shift
    return y


def by_hand(p, z):
    w = z / np.sqrt(np.mean(z**2) + 1e-8)
    for name in ("mapping_1", "mapping_2"):
        w = leaky(w @ p[name]["kernel"] + p[name]["bias"])
    x = styled(p["style_0"], p["constant"], w)
    for depth, (height, width) in ((2, (4, 3)), (1, (7, 5))):
        x = np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)
        x = styled(p[f"style_{depth}_1"], x, w, (height, width))
        x = styled(p[f"style_{depth}_2"], x, w)
    return 1 / (1 + np.exp(-convolved(p["output"], x)))


def make(**more):
    return networks.style_generator(DIM, SHAPE, features=(4, 6), style_dim=5, num_mapping_layers=2, **more)


def test_it_is_the_composition_of_mapping_convolutions_and_moments(draw, parameters):
    params, z = parameters(make()), draw(3, DIM)
    found = jax.jit(make().apply)(params, z)
    plain = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    assert plain["constant"].shape == (2, 2, 6)
    for image, code in zip(found, np.asarray(z, np.float64), strict=True):
        np.testing.assert_allclose(image, by_hand(plain, code), atol=2e-4)


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


@pytest.mark.slow
def test_attention_begins_as_nothing_and_sees_half_the_size(key, draw):
    attentive = make(self_attention=True)
    params = attentive.init(key)
    rest = {name: value for name, value in params.items() if name != "attention"}
    z = draw(2, DIM)
    np.testing.assert_array_equal(attentive.apply(params, z), make().apply(rest, z))
    params["attention"]["gain"] = jnp.ones([])
    assert jnp.abs(attentive.apply(params, z) - make().apply(rest, z)).max() > 1e-6
