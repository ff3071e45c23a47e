"""The masked autoencoder for distribution estimation (MADE; Germain, Gregor, Murray & Larochelle 2015).

p(x) = prod_d p(x_d|x_{<d}),   p(x_d = 1|x_{<d}) = sigm(y_d(x))

for binary x, where < is an order of the D inputs and the masks of one network make its output y_d a function of the
inputs before d alone: the likelihood is exact, and takes one pass. Several masks, of other orders or connections,
share the kernels; each update trains one of them in turn, and the density is their mixture

p(x) = 1/K sum_k p_k(x)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import BERNOULLI
from genjax.models import descent
from genjax.networks.masked import Degrees, masked_mlp, masked_mlp_sampler
from genjax.types import Array, Batch, Key, Model, Network, Params

SAMPLED_TOGETHER = 100
"""Examples that are drawn at a time: under several masks each has kernels of its own in memory."""


class MADE(NamedTuple):
    """The parts of a MADE; its params are those of the network, see `networks.mlp`."""

    network: Network  # x [B, D], mask=k -> logits [B, D, 1]
    sampler: Callable[..., Array]  # params, choose, k -> x [D], see `networks.masked_mlp_sampler`
    num_masks: int  # K
    shape: tuple[int, ...]  # of one example, of D values


def parts(shape: Sequence[int], masks: Sequence[Degrees], *, activation: Callable[[Array], Array]) -> MADE:
    """A MADE with masks of these degrees.

    Args:
      shape: of one example, D values in all.
      masks: one or several, from `networks.mask_degrees`, each with the same number of hidden units.
      activation: of the hidden layers.
    """
    network = masked_mlp(masks, 1, activation=activation)
    return MADE(network, masked_mlp_sampler(masks, activation=activation), len(masks), tuple(shape))


def negative_log_likelihood(params: Params, x: Array, *, parts: MADE) -> Array:
    """Exact negative log-likelihood, under the mixture of the masks.

        -log p(x) = -log 1/K sum_k prod_d p_k(x_d|x_{<d})

    Args:
      x: [B, ...], 0 or 1.

    Returns:
      [B], >= 0, in nats.
    """
    if parts.num_masks == 1:
        return masked_negative_log_likelihood(params, x, 0, parts=parts)
    each = jax.lax.map(
        lambda mask: masked_negative_log_likelihood(params, x, mask, parts=parts), jnp.arange(parts.num_masks)
    )
    return math.log(parts.num_masks) - jax.nn.logsumexp(-each, axis=0)


def masked_negative_log_likelihood(params: Params, x: Array, mask: int | Array, *, parts: MADE) -> Array:
    """The same under one mask, of this number: x [B, ...] -> [B], in nats."""
    x = x.reshape(x.shape[0], -1)
    return BERNOULLI.negative_log_likelihood(parts.network.apply(params, x, mask=mask)[..., 0], x)


def objective(parts: MADE) -> gradients.Objective | descent.Scheduled:
    """Maximum likelihood, under the masks in turn: update t trains mask t mod K.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_log_likelihood": [B]})` in nats, of the mask of the step
      where there are several. It draws nothing.
    """

    def under(mask: int | Array) -> gradients.Objective:
        def trained(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
            loss = masked_negative_log_likelihood(params, batch.x, mask, parts=parts)
            return loss, {"negative_log_likelihood": loss}

        return trained

    return under(0) if parts.num_masks == 1 else descent.Scheduled(lambda step: under(step % parts.num_masks))


def mixture_objective(parts: MADE) -> gradients.Objective:
    """The exact likelihood of the mixture of all masks, as an objective: what `model` evaluates by."""

    def mixed(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        loss = negative_log_likelihood(params, batch.x, parts=parts)
        return loss, {"negative_log_likelihood": loss}

    return mixed


def sample(params: Params, num: int, key: Key, *, parts: MADE) -> Array:
    """New examples by ancestral sampling, each with a key, and under several masks with a mask, of its own.

    x_d ~ p(x_d|x_{<d}), for d in the order

    Returns:
      [num, ...], 0 or 1.
    """

    def one(key: Key) -> Array:
        if parts.num_masks == 1:
            mask = 0
        else:
            key, mask_key = jax.random.split(key)
            mask = jax.random.randint(mask_key, (), 0, parts.num_masks)
        # P(logistic noise < y) = sigm(y)
        noise = jax.random.logistic(key, (math.prod(parts.shape),))
        return parts.sampler(params, lambda y, place: (noise[place] < y[0]).astype(y.dtype), mask)

    drawn = jax.lax.map(one, jax.random.split(key, num), batch_size=min(num, SAMPLED_TOGETHER))
    return drawn.reshape(num, *parts.shape)


def model(
    parts: MADE,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    **options: Unpack[descent.Options],
) -> Model:
    """A MADE that trains on the given objective, `objective(parts)` or one of your own.

    Args:
      options: the keyword arguments of `descent.model`; by default it is evaluated by the exact likelihood.

    Returns:
      A Model whose samples are drawn bits.
    """
    options.setdefault("evaluation", mixture_objective(parts))
    trained = descent.model(parts.network.init, optimizer, objective, **options)
    return trained._replace(sample=lambda state, num, key: sample(state.evaluation_params, num, key, parts=parts))
