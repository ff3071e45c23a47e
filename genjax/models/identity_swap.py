"""Identity swap: a picture of the target with the identity of the source (SimSwap; Chen et al. 2020).

    I_R = G(I_T, v_S),   v_S = E(I_S) / ||E(I_S)||_2

    min_G w_id L_id(E(I_R + sigma eps), v_S) + w_rec [id_S = id_T] L_rec(I_R, I_T)
           + w_adv L_adv(D(I_R)) + w_fm L_fm(D(I_R), D(I_T)),   eps ~ N(0, I), sigma = 0 in the paper
    min_D L_D(D(I_S), D(I_R)) + w_gp L_gp

E is an encoder of identities, trained beforehand and frozen, or several of them (`identity_encoder.encode_by_all`).
Steps with the target's own identity, whose ideal result is the target, alternate with steps with another identity. No
true swap is ever available: the identity loss pulls towards the source, and feature matching keeps the target's
attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, stochastic
from genjax.losses import (
    HINGE,
    NON_SATURATING,
    Adversarial,
    feature_matching,
    gradient_penalty,
    identity_loss,
    mean_absolute_error,
    mean_logit,
    squared_error,
)
from genjax.models import alternating, moving_average
from genjax.types import Array, Key, Metrics, Model, Network, Pair, Params, check_networks


class Losses(NamedTuple):
    """The terms of both players and their weights; a term of weight 0 has no gradient."""

    adversarial: Adversarial = HINGE
    identity: Callable[[Array, Array], Array] = identity_loss  # of vectors [B, m] -> [B]
    reconstruction: Callable[[Array, Array], Array] = mean_absolute_error  # of images [B, ...] -> [B]
    identity_weight: float = 10.0
    reconstruction_weight: float = 10.0
    adversarial_weight: float = 1.0
    penalty_weight: float = 1e-5  # of `losses.gradient_penalty`
    matching_weight: float = 10.0
    matched_maps: int | None = 2  # how many of the discriminator's last maps are matched; None for all of them
    identity_noise: float = 0.0  # sigma, in units of the images' [0, 1]


SIMSWAP = Losses()
"""The paper's terms and weights (Chen et al. 2020, equation 9)."""

FREER = SIMSWAP._replace(identity_weight=30.0, matching_weight=2.0, identity_noise=0.05)
"""The paper's weights, with 1/5 for feature matching and 3 times for the identity, which is judged through noise."""

BRIEF = SIMSWAP._replace(identity_weight=3.0, adversarial_weight=0.3, matching_weight=4.0)
"""The paper's weights, lowered for all terms but reconstruction, for short runs."""

PLAIN = Losses(
    adversarial=NON_SATURATING,
    identity=squared_error,
    reconstruction=squared_error,
    identity_weight=1.0,
    reconstruction_weight=1.0,
    adversarial_weight=1.0,
    penalty_weight=10.0,
    matching_weight=0.0,
)
"""Squared distances, cross-entropy and a gradient penalty of the usual weight, without feature matching."""


class IdentitySwap(NamedTuple):
    """The parts of an identity swap; its params are {"generator": ..., "discriminator": ...}."""

    generator: Network  # I_T [B, H, W, C], v [B, m] -> I_R [B, H, W, C]
    discriminator: Network  # x -> for each scale (hidden maps, logit map), as `multi_scale` of `matching_discriminator`
    encode_identity: Callable[[Params, Array], Array]  # its frozen params, x [B, ...] -> unit v [B, m]
    losses: Losses = SIMSWAP


class Wanted(NamedTuple):
    """The batch that both players' objectives take."""

    pair: Pair
    identity: Array  # v [B, m], the identities wanted of the targets' pictures
    own: Array  # [B] bool, whether that is the target's own


def init_params(key: Key, *, parts: IdentitySwap) -> Params:
    """Fresh parameters of both players."""
    check_networks(generator=parts.generator, discriminator=parts.discriminator)
    generator_key, discriminator_key = jax.random.split(key)
    return {
        "generator": parts.generator.init(generator_key),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def swap(generator: Params, identity: Params, target: Array, source: Array, *, parts: IdentitySwap) -> Array:
    """Gives the targets the sources' identities: two [B, H, W, C] -> [B, H, W, C]."""
    return parts.generator.apply(generator, target, parts.encode_identity(identity, source))


def _judge(discriminator: Params, x: Array, parts: IdentitySwap) -> tuple[Any, Any]:
    """The discriminator's hidden maps and logits of x at each scale."""
    maps, logits = zip(*parts.discriminator.apply(discriminator, x), strict=True)
    return maps, logits


def discriminator_objective(parts: IdentitySwap) -> gradients.Objective:
    """The discriminator's objective: its loss on the sources' pictures and on swaps, and the gradient penalty.

    Returns:
      `objective(discriminator, {"generator": params}, wanted, key) -> (loss [B], {"discriminator_loss", "penalty",
      "real_logit", "fake_logit": [B]})`.
    """
    weight = parts.losses.penalty_weight

    def objective(
        discriminator: Params, others: dict[str, Params], wanted: Wanted, key: Key
    ) -> tuple[Array, dict[str, Array]]:
        pair = wanted.pair
        swapped = parts.generator.apply(others["generator"], pair.target, wanted.identity)

        def critic(x: Array) -> Any:
            return _judge(discriminator, x, parts)[1]

        real_logit, fake_logit = critic(pair.source), critic(swapped)
        loss = parts.losses.adversarial.discriminator(real_logit, fake_logit)
        penalty = weight * gradient_penalty(critic, pair.source, swapped, key) if weight else jnp.zeros_like(loss)
        return loss + penalty, {
            "discriminator_loss": loss,
            "penalty": penalty,
            "real_logit": mean_logit(real_logit),
            "fake_logit": mean_logit(fake_logit),
        }

    return objective


def generator_objective(parts: IdentitySwap) -> gradients.Objective:
    """The generator's objective: the weighted sum of its terms.

    Returns:
      `objective(generator, {"discriminator": params, "identity": the encoder's}, wanted, key) -> (loss [B],
      {"identity_loss", "reconstruction_loss", "generator_loss", "matching_loss": [B]})`, the terms without their
      weights; `reconstruction_loss` is 0 where the identity is not the target's own. The key draws the noise.
    """
    terms = parts.losses
    add_noise = stochastic.gaussian_noise(scale=terms.identity_noise)

    def objective(
        generator: Params, others: dict[str, Params], wanted: Wanted, key: Key
    ) -> tuple[Array, dict[str, Array]]:
        target, v, own = wanted.pair.target, wanted.identity, wanted.own
        swapped = parts.generator.apply(generator, target, v)
        maps, fake_logit = _judge(others["discriminator"], swapped, parts)
        target_maps, _ = _judge(others["discriminator"], target, parts)
        _, real_logit = _judge(others["discriminator"], wanted.pair.source, parts)
        seen = add_noise(swapped, key) if terms.identity_noise else swapped
        of_identity = terms.identity(parts.encode_identity(others["identity"], seen), v)
        of_reconstruction = jnp.where(own, terms.reconstruction(swapped, target), 0)
        of_players = terms.adversarial.generator(real_logit, fake_logit)
        of_maps = feature_matching(maps, target_maps, last=terms.matched_maps)
        loss = (
            terms.identity_weight * of_identity
            + terms.reconstruction_weight * of_reconstruction
            + terms.adversarial_weight * of_players
            + terms.matching_weight * of_maps
        )
        return loss, {
            "identity_loss": of_identity,
            "reconstruction_loss": of_reconstruction,
            "generator_loss": of_players,
            "matching_loss": of_maps,
        }

    return objective


def wanted_identities(state: alternating.State, pair: Pair, key: Key, *, parts: IdentitySwap) -> Wanted:
    """The identities wanted in a step: the targets' own if the step is even, otherwise those of other rows.

    The rows are rolled by 1 to B - 1 places, which the key draws, so that none keeps its own.
    """
    v = parts.encode_identity(state.frozen["identity"], pair.source)
    same = state.step % 2 == 0
    places = jax.random.randint(key, [], 1, len(v))
    v = jnp.where(same, v, jnp.roll(v, places, axis=0))
    return Wanted(pair, v, jnp.full(len(v), same))


def model(
    parts: IdentitySwap,
    identity: Params,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    averaging: float | None = 0.999,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """An identity swap trained by alternating updates, the discriminator first, on what `wanted_identities` gives.

    Args:
      identity: the trained params that `parts.encode_identity` takes; no step changes them.
      generator_optimizer, discriminator_optimizer: one for each player.
      averaging: the decay, in [0, 1), of an average of the generator's params (`moving_average.discounted`), which
        `evaluate` uses, and swaps should; None keeps no average.
      reduction: how the gradients of both players are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model of batches `Pair`, of two rows or more, whose state is an `alternating.State` with the encoder's params as
      `frozen["identity"]`; it cannot sample. "loss" is the generator's. `evaluate` gives the reconstruction with the
      targets' own identities, all else with those of the next rows.

    Raises:
      ValueError: averaging is outside [0, 1).
    """
    discriminator = alternating.Player("discriminator", discriminator_objective(parts), discriminator_optimizer)
    generator = alternating.Player(
        "generator",
        generator_objective(parts),
        generator_optimizer,
        averaging=None if averaging is None else moving_average.discounted(averaging),
    )

    def evaluate(state: alternating.State, pair: Pair, key: Key) -> Metrics:
        params = state.evaluation_params | state.frozen
        v = parts.encode_identity(params["identity"], pair.source)
        own, other = (
            Wanted(pair, v, jnp.full(len(v), True)),
            Wanted(pair, jnp.roll(v, 1, axis=0), jnp.full(len(v), False)),
        )
        penalty_key, other_key, own_key = jax.random.split(key, 3)

        def means(player: alternating.Player, wanted: Wanted, key: Key) -> Metrics:
            return gradients.batch_means(*player.objective(params[player.name], params, wanted, key))

        found = means(discriminator, other, penalty_key) | means(generator, other, other_key)
        return found | {"reconstruction_loss": means(generator, own, own_key)["reconstruction_loss"]}

    trained = alternating.model(
        partial(init_params, parts=parts),
        [discriminator, generator],
        prepare=partial(wanted_identities, parts=parts),
        frozen={"identity": identity},
        reduction=reduction,
    )
    return trained._replace(evaluate=evaluate)
