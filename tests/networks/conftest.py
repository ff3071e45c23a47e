"""Arrays drawn by NumPy: compiling JAX's generator anew for every shape would be most of the time these tests take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture
def draw():
    """`draw(*shape)`: normal, in double precision where the test has it."""
    generator = np.random.default_rng(0)
    return lambda *shape: jnp.asarray(generator.normal(size=shape), jnp.result_type(float))


@pytest.fixture
def parameters(draw):
    """`parameters(network)`: of the shapes that init gives, every one of them away from zero."""

    def of(network):
        shapes = jax.eval_shape(network.init, jax.random.key(0))
        return jax.tree.map(lambda leaf: 0.3 * draw(*leaf.shape), shapes)

    return of
