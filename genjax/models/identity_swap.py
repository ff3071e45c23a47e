"""Identity swap: a picture of the target with the identity of the source (SimSwap; Chen et al. 2020).

    I_R = G(I_T, v_S),   v_S = E(I_S) / ||E(I_S)||_2,   E an encoder of identities, trained before and left as it is,
                         or several: `identity_encoder.encode_by_all`

    min_G  w_id L_id(E(I_R + sigma eps), v_S) + w_rec [id_S = id_T] L_rec(I_R, I_T)
           + w_adv L_adv(D(I_R)) + w_fm L_fm(D(I_R), D(I_T)),   eps ~ N(0, I), sigma = 0 in the paper
    min_D  L_D(D(I_S), D(I_R)) + w_gp L_gp

Steps with the target's own identity, where the target is the answer, take turns with steps where it is another's. No
picture of a swap is ever shown: the identity loss asks for the source, feature matching keeps the target's attributes.
"""

from __future__ import annotations

from collections.abc import Callable
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
from genjax.types import Array, Key, Metrics, Model, Network, Pair, Params


class Losses(NamedTuple):
    """The terms of both players and their weights; a term of weight 0 asks for nothing."""

    adversarial: Adversarial = HINGE
    identity: Callable[[Array, Array], Array] = identity_loss  # of vectors [B, m] -> [B]
    reconstruction: Callable[[Array, Array], Array] = mean_absolute_error  # of images [B, ...] -> [B]
    identity_weight: float = 10.0
    reconstruction_weight: float = 10.0
    adversarial_weight: float = 1.0
    penalty_weight: float = 1e-5  # of `losses.gradient_penalty`
    matching_weight: float = 10.0
    first_map: int = -2  # where the maps that are matched begin: the last two
    identity_noise: float = 0.0  # sigma, in units of the images' [0, 1]


SIMSWAP = Losses()
"""The paper's terms and weights (Chen et al. 2020, equation 9)."""

FREER = SIMSWAP._replace(identity_weight=30.0, matching_weight=2.0, identity_noise=0.05)
"""The paper's with a fifth of the weight of feature matching, thrice that of the identity, judged through noise."""

BRIEF = SIMSWAP._replace(identity_weight=3.0, adversarial_weight=0.3, matching_weight=4.0)
"""The paper's with less of all but the reconstruction, for runs too short to learn that beside the rest."""

PLAIN = Losses(NON_SATURATING, squared_error, squared_error, 1.0, 1.0, 1.0, 10.0, 0.0)
"""Squared distances, cross-entropy and a gradient penalty of the usual weight, without feature matching."""


class IdentitySwap(NamedTuple):
    """The parts of an identity swap; its params are {"generator": ..., "discriminator": ...}."""

    generator: Network  # I_T [B, H, W, C], v [B, m] -> I_R [B, H, W, C]
    discriminator: Network  # x -> for each scale (hidden maps, logit map), as `multi_scale` of `matching_discriminator`
    encode_identity: Callable[[Params, Array], Array]  # its frozen params, x [B, ...] -> unit v [B, m]
    losses: Losses = SIMSWAP


class Wanted(NamedTuple):
    """What both players' objectives take as their batch."""

    pair: Pair
    identity: Array  # v [B, m], the identities wanted of the targets' pictures
    own: Array  # [B] bool, whether that is the target's own


class State(NamedTuple):
    """What is carried from step to step."""

    step: Array  # [] int32, updates of the generator done
    params: Params
    generator_optimizer_state: Any
    discriminator_optimizer_state: Any
    average: Params  # of the generator's params over the steps; what a swap uses
    identity: Params  # of what encodes identities; no step changes them


def init_params(key: Key, *, parts: IdentitySwap) -> Params:
    """Fresh parameters of both players."""
    generator_key, discriminator_key = jax.random.split(key)
    return {
        "generator": parts.generator.init(generator_key),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def swap(generator: Params, identity: Params, target: Array, source: Array, *, parts: IdentitySwap) -> Array:
    """The targets with the sources' identities: two [B, H, W, C] -> [B, H, W, C]."""
    return parts.generator.apply(generator, target, parts.encode_identity(identity, source))


def _judge(discriminator: Params, x: Array, parts: IdentitySwap) -> tuple[Any, Any]:
    """What the discriminator makes of x at each scale: its hidden maps, its logits."""
    maps, logits = zip(*parts.discriminator.apply(discriminator, x), strict=True)
    return maps, logits


def discriminator_objective(parts: IdentitySwap) -> gradients.Objective:
    """What the discriminator minimises: its loss on the sources' pictures and on swaps, and the gradient penalty.

    Returns:
      `objective(discriminator, generator, wanted, key) -> (loss [B], {"discriminator_loss", "penalty", "real_logit",
      "fake_logit": [B]})`.
    """
    weight = parts.losses.penalty_weight

    def objective(discriminator: Params, generator: Params, wanted: Wanted, key: Key) -> tuple[Array, dict[str, Array]]:
        pair = wanted.pair
        swapped = parts.generator.apply(generator, pair.target, wanted.identity)

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
    """What the generator minimises: the weighted sum of its terms.

    Returns:
      `objective(generator, discriminator, identity, wanted, key) -> (loss [B], {"identity_loss",
      "reconstruction_loss", "generator_loss", "matching_loss": [B]})`, the terms without their weights;
      `reconstruction_loss` is 0 where the identity is not the target's own. The key draws the noise.
    """
    terms = parts.losses
    add_noise = stochastic.gaussian_noise(scale=terms.identity_noise)

    def objective(
        generator: Params, discriminator: Params, identity: Params, wanted: Wanted, key: Key
    ) -> tuple[Array, dict[str, Array]]:
        target, v, own = wanted.pair.target, wanted.identity, wanted.own
        swapped = parts.generator.apply(generator, target, v)
        maps, logits = _judge(discriminator, swapped, parts)
        target_maps, _ = _judge(discriminator, target, parts)
        seen = add_noise(swapped, key) if terms.identity_noise else swapped
        of_identity = terms.identity(parts.encode_identity(identity, seen), v)
        of_reconstruction = jnp.where(own, terms.reconstruction(swapped, target), 0)
        of_players = terms.adversarial.generator(logits)
        of_maps = feature_matching(maps, target_maps, first=terms.first_map)
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


def model(
    parts: IdentitySwap,
    identity: Params,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    averaging: float = 0.999,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """An identity swap trained by alternating updates, the discriminator first.

    Even steps want the targets' own identities, odd steps those of other rows, rolled by 1 to B - 1 places, so that no
    row keeps its own.

    Args:
      identity: the trained params that `parts.encode_identity` takes.
      averaging: swaps use the generator's average, avg <- (1 - w) avg + w params, w = max(1 - averaging, 9 / (9 + t))
        at the t-th step, so that the first steps are soon forgotten.

    Returns:
      A Model of batches `Pair`, of two rows or more; it cannot sample. `evaluate` is of the averaged generator: its
      reconstruction with the targets' own identities, all else with those of the next rows.

    Raises:
      ValueError: averaging outside [0, 1).
    """
    if not 0 <= averaging < 1:
        raise ValueError(f"averaging is at least 0 and below 1, not {averaging}")
    play_discriminator, play_generator = discriminator_objective(parts), generator_objective(parts)
    update_discriminator = gradients.updater(play_discriminator, discriminator_optimizer, reduction=reduction)
    update_generator = gradients.updater(play_generator, generator_optimizer, reduction=reduction)

    def init(key: Key) -> State:
        params = init_params(key, parts=parts)
        return State(
            jnp.zeros([], jnp.int32),
            params,
            generator_optimizer.init(params["generator"]),
            discriminator_optimizer.init(params["discriminator"]),
            params["generator"],
            identity,
        )

    def train_step(state: State, pair: Pair, key: Key) -> tuple[State, Metrics]:
        roll_key, penalty_key, noise_key = jax.random.split(jax.random.fold_in(key, state.step), 3)
        v = parts.encode_identity(state.identity, pair.source)
        same = state.step % 2 == 0
        places = jax.random.randint(roll_key, [], 1, len(v))
        v = jnp.where(same, v, jnp.roll(v, places, axis=0))
        wanted = Wanted(pair, v, jnp.full(len(v), same))
        discriminator, discriminator_optimizer_state, of_discriminator = update_discriminator(
            state.params["discriminator"],
            state.discriminator_optimizer_state,
            state.params["generator"],
            wanted,
            penalty_key,
        )
        generator, generator_optimizer_state, of_generator = update_generator(
            state.params["generator"],
            state.generator_optimizer_state,
            discriminator,
            state.identity,
            wanted,
            noise_key,
        )
        weight = jnp.maximum(1 - averaging, 9 / (state.step + 10))
        new = State(
            state.step + 1,
            {"generator": generator, "discriminator": discriminator},
            generator_optimizer_state,
            discriminator_optimizer_state,
            optax.incremental_update(generator, state.average, weight),
            state.identity,
        )
        return new, of_discriminator | of_generator  # the loss is the generator's

    def evaluate(state: State, pair: Pair, key: Key) -> Metrics:
        v = parts.encode_identity(state.identity, pair.source)
        own, other = (
            Wanted(pair, wanted, jnp.full(len(v), same))
            for wanted, same in ((v, True), (jnp.roll(v, 1, axis=0), False))
        )
        discriminator = state.params["discriminator"]
        penalty_key, *noise_keys = jax.random.split(key, 3)
        of_discriminator = gradients.batch_means(*play_discriminator(discriminator, state.average, other, penalty_key))
        swapped, kept = (
            gradients.batch_means(*play_generator(state.average, discriminator, state.identity, wanted, noise_key))
            for wanted, noise_key in zip((other, own), noise_keys, strict=True)
        )
        return of_discriminator | swapped | {"reconstruction_loss": kept["reconstruction_loss"]}

    return Model(init, train_step, evaluate)
