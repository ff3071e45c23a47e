"""A softmax classifier, whose features also serve to compare samples with data.

h = activation(body(x)),   p(y|x) = softmax(head(h)),   J = E[-log p(y|x)]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import softmax_cross_entropy
from genjax.models import descent
from genjax.types import Array, Batch, Key, Model, Network, Params, check_networks


class Classifier(NamedTuple):
    """The parts of a classifier; its params are {"body": ..., "head": ...}."""

    body: Network  # x [B, ...] -> [B, D]
    head: Network  # h [B, D] -> logits [B, C]
    activation: Callable[[Array], Array] = jax.nn.relu  # body's output -> h [B, D], the penultimate layer


def init_params(key: Key, *, parts: Classifier) -> Params:
    """Fresh parameters of body and head."""
    check_networks(body=parts.body, head=parts.head)
    body_key, head_key = jax.random.split(key)
    return {"body": parts.body.init(body_key), "head": parts.head.init(head_key)}


def features(params: Params, x: Array, *, parts: Classifier) -> Array:
    """The penultimate layer, the input of the head: x [B, ...] -> h [B, D]."""
    return parts.activation(parts.body.apply(params["body"], x))


def logits(params: Params, x: Array, *, parts: Classifier) -> Array:
    """The unnormalised log-probabilities of the classes: x [B, ...] -> [B, C]."""
    return parts.head.apply(params["head"], features(params, x, parts=parts))


def probabilities(params: Params, x: Array, *, parts: Classifier) -> Array:
    """The probabilities of the classes: x [B, ...] -> p(y|x) [B, C], rows that sum to 1."""
    return jax.nn.softmax(logits(params, x, parts=parts))


def objective(parts: Classifier) -> gradients.Objective:
    """The negative log-probability of the label.

        J = -log p(y|x)

    Returns:
      `objective(params, batch, key) -> (loss [B], {"cross_entropy": [B], "accuracy": [B]})`: in nats, and whether the
      most probable class (the first in a tie) is the label. It draws nothing.

    Raises:
      ValueError: when the returned objective gets a batch without labels.
    """

    def classified(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        if batch.label is None:
            raise ValueError("a classifier needs labels, and the batch has none")
        scores = logits(params, batch.x, parts=parts)
        loss = softmax_cross_entropy(scores, batch.label)
        right = jnp.argmax(scores, axis=-1) == batch.label
        return loss, {"cross_entropy": loss, "accuracy": right.astype(jnp.float32)}

    return classified


def model(
    parts: Classifier,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    **options: Unpack[descent.Options],
) -> Model:
    """A classifier that trains on the given objective: `objective(parts)` of this module, or one of your own.

    Args:
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; it cannot sample.
    """
    return descent.model(partial(init_params, parts=parts), optimizer, objective, **options)
