"""Losses of predicted class probabilities, per example, in nats."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from genjax.shapes import as_float, check_rank
from genjax.types import Array


def check_labels(scores: Array, label: Array) -> None:
    """Checks that there is one integer label for each row of scores.

    Args:
      scores: [B, C].
      label: [B] integers.

    Raises:
      ValueError: shapes that do not fit, or labels that are not integers.
    """
    check_rank(2, scores=scores)
    if jnp.shape(label) != jnp.shape(scores)[:1]:
        raise ValueError(f"scores [B, C] and label [B] do not fit: {jnp.shape(scores)} and {jnp.shape(label)}")
    if not jnp.issubdtype(jnp.result_type(label), jnp.integer):
        raise ValueError(f"label must hold integers; got {jnp.result_type(label)}")


def softmax_cross_entropy(logits: Array, label: Array) -> Array:
    """Cross-entropy of a categorical distribution from its logits: the negative log-probability of the label.

        l(a, y) = -log softmax(a)_y = log sum_c e^{a_c} - a_y

    Args:
      logits: a, [B, C], any finite values.
      label: y, [B] integers from 0 to C - 1.

    Returns:
      [B], >= 0, in nats.

    Raises:
      ValueError: shapes that do not fit, or labels that are not integers.

    Source: Bridle 1990.
    """
    check_labels(logits, label)
    return optax.losses.softmax_cross_entropy_with_integer_labels(as_float(logits), label)
