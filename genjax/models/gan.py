"""The generative adversarial network (Goodfellow et al. 2014), and the ways to stabilise it.

    x~ = G(z),   z ~ N(0, I);   D = sigm(a(x)),   min_G max_D E[log D(x)] + E[log(1 - D(G(z)))]

Two players, each with its own loss and optimiser, take turns: the discriminator, then the generator against the new
discriminator. The record of losses determines which game is played: another one, a penalty on the discriminator's
gradient, or a projection of its parameters makes it a least-squares GAN, a Wasserstein GAN with clipped weights or a
gradient penalty, a spectrally normalised one, and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, networks
from genjax.losses import Adversarial, mean_logit
from genjax.losses.adversarial import Critic, Logit
from genjax.models import alternating, moving_average
from genjax.types import Array, Batch, Key, Model, Network, Params, check_networks

CriticPenalty = Callable[[Critic, Array, Array, Key], Array]  # critic, real, fake, key -> [B], with its weight


class GAN(NamedTuple):
    """The parts of a generative adversarial network; its params are {"generator": ..., "discriminator": ...}.

    With `num_classes`, both players are conditioned on the label: the generator's input is z and a one-hot label,
    [B, d + K], the discriminator's is x with a one-hot label at every position, [B, ..., C + K] (Mirza & Osindero
    2014).
    """

    generator: Network  # z [B, d] -> x [B, ...]
    discriminator: Network  # x [B, ...] -> logit: [B], a map, or a tuple of maps
    adversarial: Adversarial
    latent_dim: int  # d
    num_classes: int = 0  # K; 0 ignores the label


def init_params(key: Key, *, parts: GAN) -> Params:
    """Fresh parameters of both networks."""
    check_networks(generator=parts.generator, discriminator=parts.discriminator)
    generator_key, discriminator_key = jax.random.split(key)
    return {
        "generator": parts.generator.init(generator_key),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def generate(generator: Params, z: Array, label: Array | None = None, *, parts: GAN) -> Array:
    """Generates examples: z [B, d], and label [B] if the GAN is conditional, -> x [B, ...].

    Raises:
      ValueError: the GAN is conditional, and there is no label.
    """
    return _apply(parts.generator, generator, z, label, parts)


def discriminate(discriminator: Params, x: Array, label: Array | None = None, *, parts: GAN) -> Logit:
    """The discriminator's logit, larger for real: x [B, ...], and label [B] if the GAN is conditional.

    Raises:
      ValueError: the GAN is conditional, and there is no label.
    """
    return _apply(parts.discriminator, discriminator, x, label, parts)


def _apply(network: Network, params: Params, inputs: Array, label: Array | None, parts: GAN) -> Logit:
    if not parts.num_classes:
        return network.apply(params, inputs)
    return networks.with_label(network, parts.num_classes).apply(params, inputs, label)


def discriminator_objective(parts: GAN, *, penalty: CriticPenalty | None = None) -> gradients.Objective:
    """The discriminator's objective: its loss on real and generated examples of the same labels, and the penalty.

    Returns:
      `objective(discriminator, {"generator": params}, batch, key) -> (loss [B], {"discriminator_loss", "penalty",
      "real_logit", "fake_logit": [B]})`; the penalty is not in `discriminator_loss`.
    """

    def objective(
        discriminator: Params, others: dict[str, Params], batch: Batch, key: Key
    ) -> tuple[Array, dict[str, Array]]:
        z_key, penalty_key = jax.random.split(key)
        z = jax.random.normal(z_key, (len(batch.x), parts.latent_dim))
        fake = generate(others["generator"], z, batch.label, parts=parts)

        def critic(x: Array) -> Logit:
            return discriminate(discriminator, x, batch.label, parts=parts)

        real_logit, fake_logit = critic(batch.x), critic(fake)
        loss = parts.adversarial.discriminator(real_logit, fake_logit)
        value = jnp.zeros_like(loss) if penalty is None else penalty(critic, batch.x, fake, penalty_key)
        return loss + value, {
            "discriminator_loss": loss,
            "penalty": value,
            "real_logit": mean_logit(real_logit),
            "fake_logit": mean_logit(fake_logit),
        }

    return objective


def generator_objective(parts: GAN) -> gradients.Objective:
    """The generator's objective: its loss on as many new examples as the batch has, with the batch's labels.

    Returns:
      `objective(generator, {"discriminator": params}, batch, key) -> (loss [B], {"generator_loss": [B]})`.
    """

    def objective(
        generator: Params, others: dict[str, Params], batch: Batch, key: Key
    ) -> tuple[Array, dict[str, Array]]:
        z = jax.random.normal(key, (len(batch.x), parts.latent_dim))
        fake = generate(generator, z, batch.label, parts=parts)
        real_logit, fake_logit = (
            discriminate(others["discriminator"], x, batch.label, parts=parts) for x in (batch.x, fake)
        )
        loss = parts.adversarial.generator(real_logit, fake_logit)
        return loss, {"generator_loss": loss}

    return objective


def model(
    parts: GAN,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    penalty: CriticPenalty | None = None,
    num_critic_steps: int = 1,
    averaging: float | None = None,
    project: Callable[[Params], Params] | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A GAN trained by alternating updates (Goodfellow et al. 2014, algorithm 1).

    A step cuts its batch into `num_critic_steps` equal parts and updates the discriminator on each, with new z and the
    projection after it; then the generator once, on the last part and as many z, against the discriminator as it now
    is. No update changes the other player.

    Args:
      penalty: added to the discriminator's loss, with its weight in it.
      num_critic_steps: k.
      averaging: the decay, in [0, 1), of an average of the generator's params (`moving_average.cumulative`), which
        `evaluate` and `sample` use; None keeps no average.
      project: of the discriminator's params, after each update: `spectral_norm`'s power iteration, or clipped weights.
      reduction: how the gradients of both players are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model whose state is an `alternating.State`. Its metrics are of each player before its own update, means over
      the discriminator's k; "loss" is the generator's. `sample` of a conditional GAN takes labels, [num]; without them
      it draws one class after the other.

    Raises:
      ValueError: averaging is outside [0, 1); at `train_step`, k does not divide the batch.
    """
    discriminator = alternating.Player(
        "discriminator",
        discriminator_objective(parts, penalty=penalty),
        discriminator_optimizer,
        steps=num_critic_steps,
        refresh=None if project is None else lambda params, statistics: project(params),
    )
    generator = alternating.Player(
        "generator",
        generator_objective(parts),
        generator_optimizer,
        averaging=None if averaging is None else moving_average.cumulative(averaging),
    )

    def sample(state: alternating.State, num: int, key: Key, label: Array | None = None) -> Array:
        z = jax.random.normal(key, (num, parts.latent_dim))
        if label is None and parts.num_classes:
            label = jnp.arange(num) % parts.num_classes
        return generate(state.evaluation_params["generator"], z, label, parts=parts)

    trained = alternating.model(partial(init_params, parts=parts), [discriminator, generator], reduction=reduction)
    return trained._replace(sample=sample)
