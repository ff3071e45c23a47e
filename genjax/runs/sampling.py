"""Sampling in batches of one compiled size."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from genjax.errors import BadInput
from genjax.types import Array, Key, Model


def draw(model: Model, state: Any, num: int, key: Key, *context: Array, batch_size: int = 500) -> np.ndarray:
    """Draws samples of the model, [num, ...].

    Whole batches are drawn, so that the first samples do not depend on `num`.

    Args:
      context: what a conditional model takes after the key, such as labels: arrays [num, ...].

    Raises:
      BadInput: the model cannot draw samples, or the context is not of `num` rows.
    """
    if model.sample is None:
        raise BadInput("the model cannot draw new samples")
    if any(len(rows) != num for rows in context):
        raise BadInput(
            f"expected {num} rows, one per sample, not {[len(rows) for rows in context]}", parameter="context"
        )
    sample = jax.jit(model.sample, static_argnums=1)  # compiled once for this model: JAX remembers the function
    batches = []
    for number, start in enumerate(range(0, num, batch_size)):
        rows = [np.resize(np.asarray(a)[start : start + batch_size], (batch_size, *np.shape(a)[1:])) for a in context]
        batches.append(np.asarray(sample(state, batch_size, jax.random.fold_in(key, number), *rows)))
    return np.concatenate(batches)[:num]
