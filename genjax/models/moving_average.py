"""Moving averages of parameters over the steps of training, for evaluation and sampling.

average <- (1 - w) average + w params,   w = w(t) after the t-th update, t = 1, 2, ...

A constant w = 1 - decay would keep the initial parameters in the average for about 1 / (1 - decay) steps; both weights
of this module start larger.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from genjax.types import Array, Params

Weight = Callable[[Array], Array]  # t - 1, the number of earlier updates, [] int32 -> w(t) []


def cumulative(decay: float) -> Weight:
    """The weight of a mean of all steps so far, up to 1 / (1 - decay) of them, and of exponential decay afterwards.

        w(t) = max(1 - decay, 1 / t)

    Args:
      decay: in [0, 1); 0 gives the last parameters.

    Raises:
      ValueError: the decay is outside [0, 1).

    Source: Polyak & Juditsky 1992 for the mean.
    """
    _check(decay)
    return lambda step: jnp.maximum(1 - decay, 1 / (step + 1))


def discounted(decay: float) -> Weight:
    """The weight of a mean over about the last t / 9 steps, up to 1 / (1 - decay) of them.

        w(t) = max(1 - decay, 9 / (9 + t))

    Args:
      decay: in [0, 1).

    Raises:
      ValueError: the decay is outside [0, 1).

    Source: the rule of TensorFlow's ExponentialMovingAverage(num_updates): decay_t = min(decay, (1 + n) / (10 + n)).
    """
    _check(decay)
    return lambda step: jnp.maximum(1 - decay, 9 / (step + 10))


def _check(decay: float) -> None:
    if not 0 <= decay < 1:
        raise ValueError(f"averaging must be at least 0 and below 1, not {decay}")


def start(params: Params) -> Params:
    """The average before the first step: a copy of the params, since a state may be donated."""
    return jax.tree.map(jnp.copy, params)


def update(average: Params, params: Params, weight: Array) -> Params:
    """The average after one more step, leaf by leaf in the average's own dtype."""
    moved = optax.incremental_update(params, average, weight)
    return jax.tree.map(lambda new, old: new.astype(old.dtype), moved, average)
