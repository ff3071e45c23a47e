"""Log-likelihood of held-out examples, estimated batch by batch, and what pages report of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from genjax.evaluation.likelihood import Estimate, log_likelihood
from genjax.training import concluding
from genjax.types import Array, Batch, Key, Params

TOGETHER = 100  # examples in a batch


def in_batches(
    compute: Callable[[Params, Batch, Key], Any], params: Params, examples: Batch, key: Key, *, size: int = TOGETHER
) -> Any:
    """What a function gives for each example, compiled once and called with `fold_in(key, start)` for each batch."""
    compiled, found = jax.jit(compute), []
    starts = range(0, len(examples.x), size)
    for start in concluding.shown(starts, "batches of held-out examples", num=len(starts)):
        batch = jax.tree.map(lambda a, start=start: a[start : start + size], examples)
        found.append(compiled(params, batch, jax.random.fold_in(key, start)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def by_importance(
    sampler: Callable[[Params, Batch], Callable[[Key], Array]],
    params: Params,
    examples: Batch,
    key: Key,
    *,
    num_samples: int,
) -> Estimate:
    """Importance-sampled estimates of log p(x), [N] in nats.

    Args:
      sampler: (params, batch) -> (key -> log w), the importance sampler of a model.
    """

    def estimate(params: Params, batch: Batch, key: Key) -> Estimate:
        return log_likelihood(sampler(params, batch), key, num_samples=num_samples)

    return in_batches(estimate, params, examples, key)


def negative_mean(estimate: Estimate, name: str = "negative_log_likelihood") -> dict[str, float]:
    """The mean of -log p(x) over the examples, and its standard error from the draws alone."""
    error = np.sqrt(np.sum(np.square(estimate.standard_error))) / len(estimate.value)
    return {name: -float(np.mean(estimate.value)), f"{name}_error": float(error)}
