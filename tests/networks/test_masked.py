"""Masked networks, against the masks of the paper written out, and against passes through the whole network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import networks

D = 6
ORDER = (3, 1, 6, 2, 5, 4)


@pytest.mark.parametrize("hidden", [(), (20,), (20, 15)])
def test_an_output_depends_on_exactly_the_inputs_before_it(hidden, float64, draw, parameters):
    masks = [networks.mask_degrees(ORDER, hidden)]
    network = networks.masked_mlp(masks, 2, activation=jnp.tanh)
    params = parameters(network)
    slope = np.asarray(jax.jit(jax.jacfwd(lambda x: network.apply(params, x[None])[0]))(draw(D)))  # [D, 2, D]
    before = np.array(ORDER)[None] < np.array(ORDER)[:, None]
    np.testing.assert_array_equal(np.abs(slope).sum(1) > 0, before)


def test_masks_are_those_of_the_paper_written_out(float64, draw, parameters):
    masks = [networks.mask_degrees(ORDER, (7, 5), draw=np.random.RandomState(seed)) for seed in range(3)]
    network = networks.masked_mlp(masks, 1, activation=jnp.tanh)
    params, x = parameters(network), np.asarray(draw(4, D))
    for number, (order, first, second) in enumerate(masks):
        h, degrees = x, [order, first, second]
        for layer in (1, 2):
            kernel = np.array(params[f"layer_{layer}"]["kernel"])
            for i in range(kernel.shape[0]):
                for k in range(kernel.shape[1]):
                    if not degrees[layer][k] >= degrees[layer - 1][i]:
                        kernel[i, k] = 0
            h = np.tanh(h @ kernel + np.asarray(params[f"layer_{layer}"]["bias"]))
        kernel = np.array(params["layer_3"]["kernel"])
        for k in range(5):
            for d in range(D):
                if not order[d] > second[k]:
                    kernel[k, d] = 0
        y = h @ kernel + np.asarray(params["layer_3"]["bias"])
        found = jax.jit(lambda mask: network.apply(params, jnp.asarray(x), mask=mask))(number)
        np.testing.assert_allclose(found[..., 0], y, rtol=1e-10)


def test_degrees_are_drawn_as_in_the_paper():
    order, first, second = networks.mask_degrees(range(1, 11), (4000, 4000), draw=np.random.RandomState(0))
    np.testing.assert_array_equal(order, range(1, 11))
    for layer in (first, second):
        found = np.bincount(layer, minlength=11)
        assert found[0] == found[10] == 0
        np.testing.assert_allclose(found[1:10] / 4000, 1 / 9, atol=4 * (1 / 9 / 4000) ** 0.5)
    # a unit sees something of the layer before: its degree is at least the least one there
    rows = [networks.mask_degrees(range(1, 11), (2, 2), draw=np.random.RandomState(seed)) for seed in range(300)]
    assert all(second.min() >= first.min() for _, first, second in rows)
    assert any(first.min() > 1 for _, first, _ in rows)


def test_even_degrees_are_as_frequent_as_each_other():
    _, first = networks.mask_degrees(range(1, 5), (7,))
    assert np.bincount(first).tolist() == [0, 3, 2, 2]
    _, first = networks.mask_degrees(range(1, 5), (7,), context=True)
    assert np.bincount(first).tolist() == [2, 2, 2, 1]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 1, 2), (1, 2, 4)])
def test_an_order_is_a_permutation(order):
    with pytest.raises(ValueError, match=r"permutation of 1, \.\.\., 3"):
        networks.mask_degrees(order, (3,))


def test_every_output_depends_on_the_context(float64, draw, parameters):
    masks = [networks.mask_degrees(ORDER, (12, 12), context=True)]
    network = networks.masked_mlp(masks, 1, activation=jnp.tanh, context_dim=2)
    params = parameters(network)
    x, c = draw(1, D), draw(1, 2)
    slopes = jax.jit(jax.jacrev(lambda x, c: network.apply(params, x, c)[0, :, 0], argnums=(0, 1)))(x, c)
    of_x, of_c = (np.abs(slope[:, 0]) for slope in slopes)
    assert (of_c > 0).all()
    np.testing.assert_array_equal(of_x > 0, np.array(ORDER)[None] < np.array(ORDER)[:, None])


@pytest.mark.parametrize("hidden", [(9,), (9, 8), (9, 8, 7)])
def test_sampling_is_a_pass_for_each_input(hidden, float64, draw, parameters):
    """What `choose` is given are the outputs of the network at the inputs that were drawn before."""
    masks = [networks.mask_degrees(ORDER, hidden, draw=np.random.RandomState(seed)) for seed in range(2)]
    network = networks.masked_mlp(masks, 2, activation=jnp.tanh)
    sampler = networks.masked_mlp_sampler(masks, activation=jnp.tanh)
    params = parameters(network)
    sample = jax.jit(lambda mask: sampler(params, lambda y, place: y[0] * jnp.cos(y[1]) + place, mask))
    outputs = jax.jit(lambda x, mask: network.apply(params, x, mask=mask))
    for mask in range(2):
        found, x = sample(mask), np.zeros((1, D))
        for place, d in enumerate(np.argsort(ORDER)):
            y = np.asarray(outputs(x, mask))[0, d]
            x[0, d] = y[0] * np.cos(y[1]) + place
        np.testing.assert_allclose(found, x[0], rtol=1e-10)


def test_a_sampler_needs_a_hidden_layer():
    with pytest.raises(ValueError, match="at least one hidden layer"):
        networks.masked_mlp_sampler([networks.mask_degrees(ORDER, ())], activation=jnp.tanh)
