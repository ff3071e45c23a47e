"""Batch normalisation within a Linen module, which keeps its parameters and the moving averages."""

from __future__ import annotations

import flax.linen as nn

from genjax.types import Array


def batch_normalised(x: Array, name: str, *, train: bool) -> Array:
    """Each channel of x [B, ..., C], normalised over batch and places in training, and otherwise by its averages."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)(x)
