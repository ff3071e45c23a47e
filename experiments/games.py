"""Games of generator and discriminator by name: their losses, penalties and augmentations, as flags choose them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from genjax import data, losses, stochastic
from genjax.errors import BadInput
from genjax.losses import Adversarial
from genjax.losses.adversarial import Critic
from genjax.models import gan
from genjax.models.adaptive_augmentation import Adaptation
from genjax.models.top_k import TopK
from genjax.models.unrolling import Unrolling
from genjax.types import Array, Key

LOSSES = {
    "minimax": losses.MINIMAX,
    "non_saturating": losses.NON_SATURATING,
    "least_squares": losses.LEAST_SQUARES,
    "hinge": losses.HINGE,
    "wasserstein": losses.WASSERSTEIN,
    "relativistic": losses.RELATIVISTIC,
}


def _r1(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
    return losses.r1_penalty(critic, real)


def _r1_r2(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
    return losses.r1_penalty(critic, real) + losses.r1_penalty(critic, fake)


def _dragan(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
    # noise of half the data's standard deviation, as in the paper's code
    return losses.dragan_penalty(critic, real, key, scale=0.5 * jnp.std(real))


PENALTIES: dict[str, gan.CriticPenalty] = {
    "gradient": losses.gradient_penalty,
    "r1": _r1,
    "r1_r2": _r1_r2,
    "dragan": _dragan,
    "lipschitz": losses.lipschitz_penalty,
}
SIGNED = ("minimax", "non_saturating", "hinge")  # losses whose best logit is above 0 where data are likelier
AUGMENTATIONS = {
    "translation": stochastic.translation(),
    "cutout": stochastic.cutout(),
    "colour": stochastic.colour_jitter(),
}


def losses_of(flags: Any) -> Adversarial:
    """The losses of the two players, weighed against each other if there is an `alpha`."""
    if flags.alpha is None:
        return LOSSES[flags.loss]
    return losses.weighted(LOSSES[flags.loss], alpha=flags.alpha)


def penalty_of(flags: Any) -> gan.CriticPenalty | None:
    """The penalty on the discriminator's gradient, with its weight."""
    if flags.penalty == "none":
        return None
    penalty = PENALTIES[flags.penalty]
    return lambda critic, real, fake, key: flags.penalty_weight * penalty(critic, real, fake, key)


def r1_of(flags: Any) -> gan.CriticPenalty | None:
    """R1 with the weight `penalty_weight`; none if it is 0."""
    if not flags.penalty_weight:
        return None
    return lambda critic, real, fake, key: flags.penalty_weight * losses.r1_penalty(critic, real)


def augmentation_of(flags: Any, dataset: data.Dataset) -> Callable[..., Array] | None:
    """The transformations of what the discriminator meets, in the given order; adaptive ones take their probability.

    Raises:
      BadInput: the data are not images, or there is nothing to adapt or to adapt it by.
    """
    if flags.augmentation_target is not None and not flags.augmentation:
        raise BadInput("there is no augmentation to adapt; give `augmentation`", parameter="augmentation_target")
    if flags.augmentation_target is not None and flags.loss not in SIGNED:
        raise BadInput(
            f"the sign of a logit tells real from fake in {', '.join(SIGNED)} only", parameter="augmentation_target"
        )
    if not flags.augmentation:
        return None
    if dataset.train.x.ndim != 4:
        raise BadInput(f"{flags.dataset} has no images to transform", parameter="augmentation")
    chosen = [AUGMENTATIONS[name] for name in flags.augmentation]
    return stochastic.in_turn(*chosen) if flags.augmentation_target is None else stochastic.at_random(*chosen)


def adaptation_of(flags: Any) -> Adaptation | None:
    """How the probability of the augmentation follows the discriminator, if it does."""
    if flags.augmentation_target is None:
        return None
    return Adaptation(flags.augmentation_target, flags.augmentation_ramp)


def top_k_of(flags: Any) -> TopK | None:
    """How the share of generated examples that train the generator falls, if it does.

    Raises:
      BadInput: steps without a share.
    """
    if flags.top_k is not None:
        return TopK(flags.top_k_steps, flags.top_k)
    if flags.top_k_steps is not None:
        raise BadInput("there is no share that falls; give `top_k`", parameter="top_k_steps")
    return None


def unrolling_of(flags: Any) -> Unrolling | None:
    """The steps of the discriminator that the generator looks ahead, if it does."""
    if not flags.unrolled_steps:
        return None
    return Unrolling(flags.unrolled_steps, optax.sgd(flags.unrolled_learning_rate))
