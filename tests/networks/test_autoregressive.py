"""The causal transformer: what it may read, and its attention by another route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import networks
from genjax.networks import attention


def test_the_jacobian_is_triangular(key):
    network = networks.causal_transformer(5, 3, width=8, num_layers=2, num_heads=2)
    params = jax.tree.map(lambda a: a + 0.1, jax.jit(network.init)(key))
    x = jax.nn.one_hot(jnp.array([[0, 2, 1, 1, 0]]), 3)
    found = jax.jit(jax.jacobian(lambda x: network.apply(params, x)))(x)[0, :, :, 0]  # [L, K, L, K]
    reads = np.abs(found).max((1, 3)) > 0
    np.testing.assert_array_equal(reads, np.tril(np.ones((5, 5)), -1))


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_jaxs(causal, key):
    q, k, v = jax.random.normal(key, (3, 2, 7, 4, 5))
    expected = jax.nn.dot_product_attention(q, k, v, is_causal=causal)
    np.testing.assert_allclose(attention.attention(q, k, v, causal=causal), expected, rtol=1e-4, atol=1e-5)


def test_places_differ(key):
    network = networks.causal_transformer(4, 3, width=8, num_layers=1, num_heads=4)
    logits = network.apply(jax.jit(network.init)(key), jnp.zeros((1, 4, 3)))
    assert logits.shape == (1, 4, 3) and np.abs(np.diff(logits, axis=1)).min() > 1e-5


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="heads must divide the width; got 3 and 8"):
        networks.causal_transformer(4, 3, width=8, num_layers=1, num_heads=3)
