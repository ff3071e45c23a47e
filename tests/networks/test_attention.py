"""Self-attention of the places of a map: by loops, with a gain of 0, of permuted places, and where networks have it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from genjax import networks
from genjax.networks.attention import SelfAttention

SHAPE, DIM = (6, 4, 2), 3
MAKERS = {  # a network whose x^1 is 3 x 2
    "dcgan_generator": lambda **more: networks.dcgan_generator(DIM, SHAPE, features=(16, 6), **more),
    "residual_generator": lambda **more: networks.residual_generator(DIM, SHAPE, features=(16, 6), **more),
    "dcgan_discriminator": lambda **more: networks.dcgan_discriminator(SHAPE, features=(16, 6), **more),
    "residual_discriminator": lambda **more: networks.residual_discriminator(SHAPE, features=(16, 6), **more),
}


def by_loops(p, x):
    """Every sum of the definition written out, in double precision."""
    matrix = {name: np.asarray(p[name]["kernel"], np.float64) for name in ("query", "key", "value", "output")}
    x = np.asarray(x, np.float64)
    y = np.array(x)
    for b in range(len(x)):
        pixels = [x[b, i, j] for i in range(x.shape[1]) for j in range(x.shape[2])]
        for here, pixel in enumerate(pixels):
            query = pixel @ matrix["query"]
            weights = softmax([query @ (other @ matrix["key"]) for other in pixels])
            mean = sum(w * (other @ matrix["value"]) for w, other in zip(weights, pixels, strict=True))
            y[b, here // x.shape[2], here % x.shape[2]] += float(p["gain"]) * (mean @ matrix["output"])
    return y


@pytest.fixture
def params(draw):
    x = jnp.zeros((1, 3, 2, 16))
    shapes = jax.eval_shape(SelfAttention().init, jax.random.key(0), x)["params"]
    assert shapes["query"]["kernel"].shape == (16, 2) and shapes["output"]["kernel"].shape == (2, 16)
    return jax.tree.map(lambda leaf: draw(*leaf.shape), shapes)


def attend(params, x):
    return SelfAttention().apply({"params": params}, x)


def test_attention_is_that_of_loops(params, draw):
    x = draw(2, 3, 2, 16)
    np.testing.assert_allclose(attend(params, x), by_loops(params, x), rtol=1e-4, atol=1e-4)
    # few channels have queries of one number
    assert SelfAttention().init(jax.random.key(0), draw(1, 2, 2, 3))["params"]["key"]["kernel"].shape == (3, 1)


def test_permuted_places_are_permuted_in_the_result(params, draw):
    x, order = draw(2, 3, 2, 16), np.random.default_rng(1).permutation(6)

    def permuted(a):
        return jnp.reshape(jnp.reshape(a, (2, 6, 16))[:, order], (2, 3, 2, 16))

    np.testing.assert_allclose(attend(params, permuted(x)), permuted(attend(params, x)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=[pytest.mark.slow] * (name != "dcgan_discriminator"))
        for name, make in MAKERS.items()
    ],
)
def test_networks_begin_as_those_without_attention(make, key, draw):
    plain, attentive = make(), make(self_attention=True)
    params = jax.jit(attentive.init)(key)
    rest = {name: value for name, value in params.items() if name != "attention"}
    jax.tree.map(np.testing.assert_array_equal, rest, jax.jit(plain.init)(key))
    x = draw(2, *(SHAPE if len(params["dense"]["kernel"][0]) == 1 else (DIM,)))
    found = jax.jit(attentive.apply)(params, x)
    np.testing.assert_array_equal(found, jax.jit(plain.apply)(rest, x))
    params["attention"]["gain"] = jnp.ones([])
    assert jnp.abs(jax.jit(attentive.apply)(params, x) - found).max() > 1e-6


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_places_are_those_of_half_the_size(make, parameters, draw):
    network, seen = make(self_attention=True), []

    def watch(following, args, kwargs, context):
        if isinstance(context.module, SelfAttention):
            seen.append(args[0].shape)
        return following(*args, **kwargs)

    params = parameters(network)
    with nn.intercept_methods(watch):
        x = draw(2, *(SHAPE if len(params["dense"]["kernel"][0]) == 1 else (DIM,)))
        jax.eval_shape(network.apply, params, x)
    assert seen == [(2, 3, 2, 16)]
