"""The one place where a loss meets an optimizer.

An objective is any function `objective(params, *others, batch, key) -> (loss [B], metrics {name: [B]})`. It is reduced
to means here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genjax.types import Array, Metrics, Params

Objective = Callable[..., tuple[Array, dict[str, Array]]]


def batch_means(loss: Array, metrics: dict[str, Array]) -> Metrics:
    """Means over the batch of an objective's loss and metrics: {"loss": [], name: []}."""
    return {"loss": jnp.mean(loss)} | {name: jnp.mean(value) for name, value in metrics.items()}


def gradient(objective: Objective) -> Callable[..., tuple[Params, Metrics]]:
    """The gradient of an objective's batch mean in its first argument, with the means of its metrics.

        g = d/d theta (1/B) sum_i loss_i(theta)

    Returns:
      A function of the objective's own arguments, giving (gradient, metrics before the update).
    """

    def mean_loss(params: Params, *args: Any) -> tuple[Array, Metrics]:
        metrics = batch_means(*objective(params, *args))
        return metrics["loss"], metrics

    return jax.grad(mean_loss, has_aux=True)


def updater(
    objective: Objective, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[Params, Any, Metrics]]:
    """One Optax update of an objective's first argument.

    Returns:
      `update(params, optimizer_state, *args) -> (params, optimizer_state, metrics)`, where `args` are the objective's
      arguments after the params; the metrics are of the params before the update.
    """
    compute = gradient(objective)

    def update(params: Params, optimizer_state: Any, *args: Any) -> tuple[Params, Any, Metrics]:
        gradients, metrics = compute(params, *args)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return optax.apply_updates(params, updates), optimizer_state, metrics

    return update
