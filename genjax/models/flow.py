"""A normalising flow as a density of data, trained by maximum likelihood (Dinh et al. 2017; Papamakarios et al. 2017).

-log p(x) = -log N(u; 0, I) - log |det du/dx|,   u = f(x)
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple, Unpack

import jax
import optax

from genjax import gradients
from genjax.losses import flow_prior
from genjax.models import descent
from genjax.types import Array, Batch, Flow, Key, Model, Params


class FlowDensity(NamedTuple):
    """The parts of a flow that is a density; its params are the flow's."""

    flow: Flow  # from flattened data [B, D] to noise [B, D], with an inverse
    shape: tuple[int, ...]  # of one example, of D values


def negative_log_likelihood(params: Params, x: Array, *, parts: FlowDensity) -> Array:
    """Exact negative log-likelihood: x [B, ...] -> [B], in nats; negative where the density is above 1."""
    return flow_prior(parts.flow).negative_log_density(params, x.reshape(x.shape[0], -1))


def encode(params: Params, x: Array, *, parts: FlowDensity) -> Array:
    """The noise u of data: x [B, ...] -> [B, D]."""
    return parts.flow.forward(params, x.reshape(x.shape[0], -1))[0]


def decode(params: Params, u: Array, *, parts: FlowDensity) -> Array:
    """The data of noise: u [B, D] -> [B, ...].

    Raises:
      ValueError: the flow has no inverse.
    """
    if parts.flow.inverse is None:
        raise ValueError("data from noise needs the flow's inverse, which a planar flow does not have")
    return parts.flow.inverse(params, u)[0].reshape(u.shape[0], *parts.shape)


def sample(params: Params, num: int, key: Key, *, parts: FlowDensity) -> Array:
    """New data, x = f^-1(u) at u ~ N(0, I): [num, ...]."""
    return decode(params, jax.random.normal(key, (num, math.prod(parts.shape))), parts=parts)


def objective(parts: FlowDensity) -> gradients.Objective:
    """Maximum likelihood.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_log_likelihood": [B]})` in nats. It draws nothing.
    """

    def likelihood(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        loss = negative_log_likelihood(params, batch.x, parts=parts)
        return loss, {"negative_log_likelihood": loss}

    return likelihood


def model(
    parts: FlowDensity,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    **options: Unpack[descent.Options],
) -> Model:
    """A flow that trains on the given objective, `objective(parts)` or one of your own.

    Args:
      options: the keyword arguments of `descent.model`.
    """
    trained = descent.model(parts.flow.init, optimizer, objective, **options)
    draw = partial(sample, parts=parts)
    return trained._replace(sample=lambda state, num, key: draw(state.evaluation_params, num, key))
