"""Sampling in batches of one compiled size."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from genjax.errors import BadInput
from genjax.types import Key, Model


def draw(model: Model, state: Any, num: int, key: Key, *, batch_size: int = 500) -> np.ndarray:
    """Draws samples of the model, [num, ...].

    Whole batches are drawn, so that the first samples do not depend on `num`.

    Raises:
      BadInput: the model cannot draw samples.
    """
    if model.sample is None:
        raise BadInput("the model cannot draw new samples")
    sample = jax.jit(model.sample, static_argnums=1)  # compiled once for this model: JAX remembers the function
    batches = [sample(state, batch_size, jax.random.fold_in(key, b)) for b in range(-(-num // batch_size))]
    return np.concatenate([np.asarray(batch) for batch in batches])[:num]
