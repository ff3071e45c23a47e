"""Evaluation on the whole held-out set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax.data.batching import HeldOut
from genjax.training.placement import ALONE, Placement
from genjax.types import Key, Metrics, Model


def evaluator(model: Model, held_out: HeldOut, *, placement: Placement = ALONE) -> Callable[[Any, Key], Metrics]:
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
