"""What a model of one objective takes besides it: another objective to evaluate by, a refresh, an average."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients
from genjax.models import descent
from genjax.types import Batch

X = np.array([[1.0, 3.0], [2.0, -1.0], [0.0, 4.0], [5.0, 2.0]])
BATCH = Batch(jnp.array(X))


def squared_distance(params, batch, key):
    """1/2 ||theta - x||^2, whose gradient is theta - x."""
    distance = 0.5 * jnp.sum(jnp.square(params["theta"][None] - batch.x), axis=1)
    return distance, {"distance": distance}


def init_params(key):
    return {"theta": jnp.array([4.0, -2.0])}


def iterates(num, rate=0.3):
    """The params after each of the first steps of gradient descent, by hand."""
    theta, found = np.array([4.0, -2.0]), []
    for _ in range(num):
        theta = theta - rate * (theta - np.mean(X, axis=0))
        found.append(theta)
    return found


def trained(num, objective=squared_distance, **options):
    model = descent.model(init_params, optax.sgd(0.3), objective, **options)
    state, step = model.init(jax.random.key(0)), jax.jit(model.train_step)
    for _ in range(num):
        state, _ = step(state, BATCH, jax.random.key(1))
    return model, state


def test_without_an_average_the_state_has_no_arrays_for_one():
    model, state = trained(3)
    assert state.average == ()
    assert len(jax.tree.leaves(state)) == 2  # the step and theta; SGD has no state
    assert state.evaluation_params is state.params
    np.testing.assert_allclose(state.params["theta"], iterates(3)[-1], rtol=1e-6)
    expected = 0.5 * np.mean(np.sum((iterates(3)[-1] - X) ** 2, axis=1))
    np.testing.assert_allclose(model.evaluate(state, BATCH, jax.random.key(0))["distance"], expected, rtol=1e-5)


def test_the_average_is_the_mean_of_all_steps_and_then_decays():
    model, state = trained(6, averaging=0.75)
    every = iterates(6)
    mean = np.mean(every[:4], axis=0)  # the plain mean of 1 / (1 - 0.75) steps
    for theta in every[4:]:
        mean = 0.75 * mean + 0.25 * theta
    np.testing.assert_allclose(state.average["theta"], mean, rtol=1e-5)
    np.testing.assert_allclose(state.params["theta"], every[-1], rtol=1e-6)
    assert state.evaluation_params is state.average
    expected = 0.5 * np.mean(np.sum((mean - X) ** 2, axis=1))
    np.testing.assert_allclose(model.evaluate(state, BATCH, jax.random.key(0))["loss"], expected, rtol=1e-5)


def test_the_average_keeps_the_dtype_of_the_params():
    model = descent.model(
        lambda key: {"theta": jnp.zeros(2, jnp.bfloat16)}, optax.sgd(0.3), squared_distance, averaging=0.9
    )
    state = model.init(jax.random.key(0))
    new, _ = model.train_step(state, Batch(BATCH.x.astype(jnp.bfloat16)), jax.random.key(0))
    chex.assert_trees_all_equal_dtypes(state, new)


@pytest.mark.parametrize("averaging", [-0.1, 1.0])
def test_a_decay_outside_its_range_is_refused(averaging):
    with pytest.raises(ValueError, match="averaging must be at least 0 and below 1"):
        trained(0, averaging=averaging)


def noisy(params, batch, key):
    loss, metrics = squared_distance(params, Batch(batch.x + jax.random.normal(key, batch.x.shape)), key)
    return loss, metrics


@pytest.mark.parametrize("scheduled", [False, True])
def test_evaluation_is_by_its_own_objective(scheduled):
    def tripled(step):
        return lambda *args: jax.tree.map(lambda a: (step if scheduled else 3) * a, squared_distance(*args))

    evaluation = descent.Scheduled(tripled) if scheduled else tripled(None)
    model, state = trained(3, noisy, evaluation=evaluation)
    found = model.evaluate(state, BATCH, jax.random.key(2))
    expected = 3 * squared_distance(state.params, BATCH, None)[0].mean()
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-6)
    assert trained(1, noisy)[1].params["theta"][0] != iterates(1)[0][0]  # the noise is there in training


@pytest.mark.parametrize("reduction", [gradients.whole_batch, gradients.ordered(2)])
def test_refresh_gets_the_sums_of_the_batch_after_the_update(reduction):
    def with_statistics(params, batch, key):
        return *squared_distance(params, batch, key), {"sum": jnp.sum(batch.x, axis=0)}

    def refresh(params, statistics):
        return {"theta": params["theta"] + 10 * statistics["sum"]}

    _, state = trained(1, with_statistics, refresh=refresh, reduction=reduction)
    np.testing.assert_allclose(state.params["theta"], iterates(1)[0] + 10 * np.sum(X, axis=0), rtol=1e-6)
