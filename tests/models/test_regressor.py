"""A regression against least squares."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.models import regressor
from genjax.types import Batch, Network

AFFINE = Network(lambda key: {"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}, lambda p, x: x @ p["w"] + p["b"][None])


@pytest.fixture
def batch(key):
    x_key, y_key = jax.random.split(key)
    return Batch(jax.random.normal(x_key, (40, 3)), jax.random.normal(y_key, (40, 2)))


def test_an_affine_network_comes_to_least_squares(batch, key):
    model = regressor.model(AFFINE, optax.sgd(0.1))
    state, step = model.init(key), jax.jit(model.train_step)
    for _ in range(300):
        state, _ = step(state, batch, key)
    design = np.column_stack([batch.x, np.ones(40)])
    solution, residual, _, _ = np.linalg.lstsq(design, batch.label)
    np.testing.assert_allclose(state.params["w"], solution[:3], atol=1e-5)
    np.testing.assert_allclose(state.params["b"], solution[3], atol=1e-5)
    evaluated = model.evaluate(state, batch, key)
    assert float(evaluated["squared_error"]) == pytest.approx(residual.sum() / 40, rel=1e-5)
    assert float(evaluated["loss"]) == float(evaluated["squared_error"]) and int(state.step) == 300


def test_a_batch_without_targets_is_refused(batch, key):
    with pytest.raises(ValueError, match="needs targets"):
        regressor.objective(AFFINE)(AFFINE.init(key), Batch(batch.x), key)
