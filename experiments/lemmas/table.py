"""The results of a lemma, and the statistics that most lemmas use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import gradients
from genjax.types import Params

STANDARD_ERRORS = 4
KOLMOGOROV = 1.95  # over sqrt(n): what the distance of an honest sample of n exceeds once in a thousand


class Line(NamedTuple):
    """One claim of a lemma: a value computed here, and the value that theory predicts."""

    says: str
    value: float
    oracle: float
    tolerance: float

    @property
    def error(self) -> float:
        return abs(self.value - self.oracle)

    @property
    def holds(self) -> bool:
        return self.error <= self.tolerance  # not so if it is NaN


class Shown(NamedTuple):
    """The results of a lemma: its lines, and a panel of the picture if it has one."""

    item: str  # of the specification: its number, its equation in the slides, the errata that it settles
    lines: list[Line]
    panel: Callable[[Any], None] | None = None  # draws on Matplotlib axes


def descend(
    objective: gradients.Objective, optimizer: optax.GradientTransformation, params: Params, num_updates: int
) -> Params:
    """The params after each update on `objective(params) -> (loss [B], metrics)`, stacked."""
    update = gradients.updater(objective, optimizer)

    def step(carried: tuple[Params, Any], _: None) -> tuple[tuple[Params, Any], Params]:
        carried = update(*carried)[:2]
        return carried, carried[0]

    start = (params, optimizer.init(params))
    return jax.jit(lambda start: jax.lax.scan(step, start, None, length=num_updates))(start)[1]


def numpy64(x: Any) -> np.ndarray:
    """An array on the host, in double precision."""
    return np.asarray(x, np.float64)


def largest(x: Any) -> float:
    """The largest magnitude in an array."""
    return float(np.max(np.abs(numpy64(x))))


def mean_line(says: str, draws: Any, oracle: float) -> Line:
    """The mean of independent draws, within its standard errors."""
    draws = numpy64(draws)
    return Line(says, draws.mean(), oracle, STANDARD_ERRORS * draws.std() / math.sqrt(len(draws)))


def kolmogorov_line(says: str, draws: Any, cdf: Callable[[Any], Any]) -> Line:
    """The largest distance between the draws' empirical distribution function and the one they should have."""
    x = np.sort(numpy64(draws))
    f, ranks = numpy64(cdf(jnp.asarray(x))), np.arange(len(x) + 1) / len(x)
    distance = max(np.max(ranks[1:] - f), np.max(f - ranks[:-1]))
    return Line(says, float(distance), 0.0, KOLMOGOROV / math.sqrt(len(x)))
