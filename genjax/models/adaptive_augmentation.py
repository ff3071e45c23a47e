"""Adaptive augmentation of what a discriminator meets (Karras et al. 2020, section 3.1).

    r = E[sign(a(T(x)))],   p <- min(max(p + sign(r - target) B / N, 0), P)

after every update of the discriminator, on B real examples x with their augmentation T, each of whose transformations
has the probability p. A discriminator that overfits is sure of its training examples: r is near 1, and p grows. The
paper takes r over four batches of 64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax import gradients
from genjax.losses import mean_logit
from genjax.losses.adversarial import Logit
from genjax.types import Array, Key, Network, Params

AUGMENTATION = "augmentation"
"""The name of the probability among the discriminator's params; `gradients.frozen` keeps the optimizer from it."""


class Adaptation(NamedTuple):
    """How the probability of augmentation follows the discriminator."""

    target: float = 0.6  # of r, in [-1, 1]
    num_examples: int = 500_000  # N, in which p could go from 0 to 1
    largest: float = 0.8  # P; a certain augmentation could not be told from the data


def with_probability(discriminator: Network) -> Network:
    """The discriminator with p, which begins at 0, among its params: {"network", "augmentation": {"probability": []}}.

    p has no part in its output.
    """

    def init(key: Key) -> Params:
        return {"network": discriminator.init(key), AUGMENTATION: {"probability": jnp.zeros([])}}

    def apply(params: Params, *inputs: Any) -> Any:
        return discriminator.apply(params["network"], *inputs)

    return Network(init, apply)


def probability_of(discriminator: Params) -> Array:
    """p [], through which no gradient passes, of the params of `with_probability`."""
    return jax.lax.stop_gradient(discriminator[AUGMENTATION]["probability"])


def statistics_of(real_logit: Logit) -> dict[str, Array]:
    """Sums over real examples: of the signs of their logits, and their number."""
    signs = jnp.sign(mean_logit(jax.lax.stop_gradient(real_logit)))
    return {"signs": jnp.sum(signs), "examples": jnp.sum(jnp.ones_like(signs))}


def both(
    augmentation: Callable[..., Array] | None,
    adaptation: Adaptation | None,
    discriminator: Params,
    real: Array,
    fake: Array,
    key: Key | None,
) -> tuple[Array, Array]:
    """Real and fake examples as the discriminator meets them: T(x) and T(G(z)), by independent draws of T, if any."""
    if augmentation is None or key is None:
        return real, fake
    real_key, fake_key = jax.random.split(key)
    given = () if adaptation is None else (probability_of(discriminator),)
    return augmentation(real, real_key, *given), augmentation(fake, fake_key, *given)


def found(
    adaptation: Adaptation | None, discriminator: Params, real_logit: Logit
) -> tuple[dict[str, Array], tuple[dict[str, Array], ...]]:
    """The metrics and the statistics of an adaptive augmentation; nothing, if there is none."""
    if adaptation is None:
        return {}, ()
    signs = jnp.sign(mean_logit(real_logit))
    metrics = {"real_sign": signs, "augmentation_probability": jnp.full_like(signs, probability_of(discriminator))}
    return metrics, (statistics_of(real_logit),)


def adapted(discriminator: Params, statistics: dict[str, Array], adaptation: Adaptation) -> Params:
    """The params with p moved by one update's statistics: p + sign(r - target) B / N, kept in [0, P]."""
    mean_sign = statistics["signs"] / statistics["examples"]
    move = jnp.sign(mean_sign - adaptation.target) * (statistics["examples"] * (1 / adaptation.num_examples))
    moved = jnp.clip(probability_of(discriminator) + move, 0, adaptation.largest)
    return discriminator | {AUGMENTATION: {"probability": moved}}


def refresh(adaptation: Adaptation, project: Callable[[Params], Params] | None) -> gradients.Refresh:
    """What follows an update of a discriminator: the projection of its params, and the move of p."""

    def moved(params: Params, statistics: Any) -> Params:
        network = params["network"] if project is None else project(params["network"])
        return adapted(params | {"network": network}, statistics, adaptation)

    return moved
