"""Descent of one objective by one optimizer: what every model here is but the adversarial ones.

theta <- theta - update(grad J(theta; batch, key)),   key = fold_in(the run's, step)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.types import Array, Batch, Key, Metrics, Model, Params


class State(NamedTuple):
    """What is carried from step to step."""

    step: Array  # [] int32, updates done
    params: Params
    optimizer_state: Any


class Scheduled(NamedTuple):
    """An objective that changes with the step; `at(step)` is the objective of that update.

    Warm-up of a VAE's beta over 1000 updates (Bowman et al. 2016; Sonderby et al. 2016):

        warm_up = optax.linear_schedule(0, 1, 1000)
        Scheduled(lambda step: vae.objective(parts, rate_weight=warm_up(step)))
    """

    at: Callable[[Array], gradients.Objective]  # step [] int32 -> objective


def model(
    init_params: Callable[[Key], Params],
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | Scheduled,
    *,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A model that descends an objective of parameters of any structure.

    Args:
      objective: `objective(params, batch, key) -> (loss [B], metrics {name: [B]})`.
      reduction: how gradients are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model whose state is a `State`; it cannot sample. `evaluate` is at the objective of the state's step.
    """

    def objective_at(step: Array) -> gradients.Objective:
        return objective.at(step) if isinstance(objective, Scheduled) else objective

    def init(key: Key) -> State:
        params = init_params(key)
        return State(jnp.zeros([], jnp.int32), params, optimizer.init(params))

    def train_step(state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        key = jax.random.fold_in(key, state.step)
        update = gradients.updater(objective_at(state.step), optimizer, reduction=reduction)
        params, optimizer_state, metrics = update(state.params, state.optimizer_state, batch, key)
        return State(state.step + 1, params, optimizer_state), metrics

    def evaluate(state: State, batch: Batch, key: Key) -> Metrics:
        return gradients.batch_means(*objective_at(state.step)(state.params, batch, key))

    return Model(init, train_step, evaluate)
