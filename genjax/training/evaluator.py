"""Evaluation on the whole held-out set, and how much of it is chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.batching import HeldOut
from genjax.training import concluding
from genjax.training.placement import ALONE, Placement, to_host
from genjax.types import Key, Metrics, Model

Evaluate = Callable[[Any, Key], Metrics]  # state, key -> means over the held-out set


def evaluator(model: Model, held_out: HeldOut, *, placement: Placement = ALONE) -> Evaluate:
    """`evaluate` over a whole held-out set in one dispatch: (state, key) -> means over all its examples.

    Batch b of group g draws from `fold_in(fold_in(key, g), b)`: the same noise at every evaluation.
    """

    def group_sums(state: Any, group: Any, key: Key) -> tuple[int, Metrics]:
        batches, size = jax.tree.leaves(group)[0].shape[:2]

        def one(index_and_stored: Any) -> Metrics:
            index, stored = index_and_stored
            read_key, model_key = jax.random.split(jax.random.fold_in(key, index))
            return model.evaluate(state, held_out.read(stored, read_key), model_key)

        means = jax.lax.map(one, (jnp.arange(batches), group))
        return batches * size, jax.tree.map(lambda m: jnp.sum(m) * size, means)

    def evaluate(own: tuple[Any, Key], groups: Any) -> Metrics:
        state, key = own
        sums = [group_sums(state, group, jax.random.fold_in(key, g)) for g, group in enumerate(groups)]
        total = sum(num for num, _ in sums)
        return jax.tree.map(lambda *parts: sum(parts) / total, *(metrics for _, metrics in sums))

    compiled, groups = jax.jit(placement.wrap(evaluate)), placement.place_shared(held_out.groups)
    return lambda state, key: compiled((state, key), groups)


def standard_errors(
    evaluate: Evaluate, state: Any, key: Key, *, num: int = 8, progress: bool = False
) -> dict[str, np.ndarray]:
    """The standard error of each metric of one evaluation that comes from its own random draws.

        s = sqrt(1 / (num - 1) sum_i (m_i - mean)^2)

    of metrics m_1, ..., m_num with independent draws. The held-out examples are the same in all of them.

    Args:
      evaluate: what `evaluator` returns.
      key: a key, or the keys [seeds] of several runs.
      num: of evaluations.
      progress: show how far they are, after ten seconds.

    Returns:
      Arrays [] or [seeds] by name; without the metrics that draw nothing.
    """
    fold = jax.random.fold_in if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))
    draws = []
    numbers = range(num)
    for number in concluding.shown(numbers, "evaluations for standard errors", num=num) if progress else numbers:
        draws.append(to_host(evaluate(state, fold(key, number))))
        if number == 1 and all(np.array_equal(draws[0][name], draws[1][name]) for name in draws[0]):
            return {}
    values = {name: np.stack([draw[name] for draw in draws]).astype(np.float64) for name in draws[0]}
    return {name: np.std(of_name, axis=0, ddof=1) for name, of_name in values.items() if np.ptp(of_name) > 0}
