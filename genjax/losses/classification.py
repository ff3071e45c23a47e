"""How far predicted class probabilities are from a label, per example, in nats."""

from __future__ import annotations

import chex
import optax

from genjax.types import Array


def softmax_cross_entropy(logits: Array, label: Array) -> Array:
    """Cross-entropy of a categorical distribution, from logits: the negative log-probability of the label.

        l(a, y) = -log softmax(a)_y = log sum_c e^{a_c} - a_y

    Args:
      logits: a, [B, C] float32, any finite value.
      label: y, [B] integers from 0 to C - 1.

    Returns:
      [B], in nats, >= 0.

    Raises:
      AssertionError: naming the shapes where they do not fit, or the dtype of labels that are no integers.
    """
    chex.assert_rank([logits, label], [2, 1])
    chex.assert_equal_shape_prefix([logits, label], 1)
    chex.assert_type(label, int)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, label)
