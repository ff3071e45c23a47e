"""Descent of one objective by one optimizer; for models of several players see `alternating`.

theta <- theta - update(grad J(theta; batch, key)),   key = fold_in(the run's, step)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.models import moving_average
from genjax.types import Array, Batch, Key, Metrics, Model, Params


class State(NamedTuple):
    """The state that is carried from step to step."""

    step: Array  # [] int32, updates done
    params: Params
    optimizer_state: Any
    average: Params = ()  # of the params over the steps; () if none is kept

    @property
    def evaluation_params(self) -> Params:
        """The params for evaluation and sampling: the average if one is kept, otherwise the last ones."""
        return self.average if jax.tree.leaves(self.average) else self.params


class Scheduled(NamedTuple):
    """An objective that changes with the step; `at(step)` is the objective of that update.

    Warm-up of a VAE's beta over 1000 updates (Bowman et al. 2016; Sonderby et al. 2016):

        warm_up = optax.linear_schedule(0, 1, 1000)
        Scheduled(lambda step: vae.objective(parts, rate_weight=warm_up(step)))
    """

    at: Callable[[Array], gradients.Objective]  # step [] int32 -> objective


class Options(TypedDict, total=False):
    """The keyword arguments of `model`, which every model with one objective accepts and passes on."""

    evaluation: gradients.Objective | Scheduled | None
    refresh: gradients.Refresh | None
    averaging: float | None
    reduction: gradients.Reduction


def model(
    init_params: Callable[[Key], Params],
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | Scheduled,
    *,
    evaluation: gradients.Objective | Scheduled | None = None,
    refresh: gradients.Refresh | None = None,
    averaging: float | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A model that descends an objective; its parameters may have any structure.

    Args:
      objective: `objective(params, batch, key) -> (loss [B], metrics {name: [B]})`, with statistics as a third value
        if `refresh` takes them.
      evaluation: the objective of `evaluate`, with metrics of the same names: for example one without dropout, or with
        the running moments of batch normalisation. By default `objective`.
      refresh: `refresh(params, statistics) -> params` after each update, see `gradients.updater`.
      averaging: the decay, in [0, 1), of a moving average of the params (`moving_average.cumulative`), which `evaluate`
        and samplers use. None keeps no average, and the state has no arrays for one.
      reduction: how gradients are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model whose state is a `State`; it cannot sample. `evaluate` is at the objective of the state's step.

    Raises:
      ValueError: averaging outside [0, 1).
    """
    evaluation = objective if evaluation is None else evaluation
    weight = None if averaging is None else moving_average.cumulative(averaging)

    def init(key: Key, params: Params = None) -> State:
        params = init_params(key) if params is None else params
        return State(
            step=jnp.zeros([], jnp.int32),
            params=params,
            optimizer_state=optimizer.init(params),
            average=() if weight is None else moving_average.start(params),
        )

    def train_step(state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        key = jax.random.fold_in(key, state.step)
        update = gradients.updater(_at(objective, state.step), optimizer, reduction=reduction, refresh=refresh)
        params, optimizer_state, metrics = update(state.params, state.optimizer_state, batch, key)
        new = State(
            step=state.step + 1,
            params=params,
            optimizer_state=optimizer_state,
            average=() if weight is None else moving_average.update(state.average, params, weight(state.step)),
        )
        return new, metrics

    def evaluate(state: State, batch: Batch, key: Key) -> Metrics:
        return gradients.batch_means(*_at(evaluation, state.step)(state.evaluation_params, batch, key))

    return Model(init, train_step, evaluate)


def _at(objective: gradients.Objective | Scheduled, step: Array) -> gradients.Objective:
    return objective.at(step) if isinstance(objective, Scheduled) else objective
