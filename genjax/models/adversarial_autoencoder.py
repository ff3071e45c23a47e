"""The adversarial autoencoder, whose codes a discriminator makes follow a prior (Makhzani et al. 2016).

    J_AE = E_p(x)[l(x, decoder(z))],   z = encoder(x),   q(z) = E_p(x)[q(z|x)]
    min_encoder max_D E_p(z)[log D(z)] + E_q(z)[log(1 - D(z))]

Three players take turns: encoder and decoder lower the reconstruction loss; the discriminator learns to tell draws from
the prior from codes; the encoder alone, as the generator of this game, makes its codes look like such draws. At the
best discriminator, D = p / (p + q), the game's value is -log 4 + 2 JS(p, q), least where the codes follow the prior,
which only has to be sampled.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, networks
from genjax.losses import NON_SATURATING, STANDARD_NORMAL, Adversarial, Prior, mean_logit
from genjax.losses.adversarial import Logit
from genjax.models import alternating, autoencoder, moving_average
from genjax.models.gan import CriticPenalty
from genjax.types import Array, Batch, Key, Model, Network, Params, check_networks


class AdversarialAutoencoder(NamedTuple):
    """The parts of an adversarial autoencoder; its params are {"autoencoder": ..., "discriminator": ...}.

    With `num_classes`, the discriminator is given the label beside the code, as a one-hot vector, [B, d + K], and the
    prior is p(z|y): each class has its own region of the codes. A label below 0 is unknown: its one-hot vector is 0,
    and its prior is the mixture over the classes.
    """

    autoencoder: autoencoder.Autoencoder
    discriminator: Network  # z [B, d] -> logit [B], larger for draws from the prior
    latent_dim: int  # d
    prior: Prior = STANDARD_NORMAL  # without parameters; it takes labels after the key if there are classes
    adversarial: Adversarial = NON_SATURATING
    num_classes: int = 0  # K; 0 ignores the label


class State(alternating.State):
    """The state of all players, from which only the autoencoder is evaluated and sampled."""

    __slots__ = ()

    @property
    def evaluation_params(self) -> Params:
        """The params of the autoencoder, as the functions of `autoencoder` take them: their average if it is kept."""
        return alternating.State(*self).evaluation_params["autoencoder"]


def init_params(key: Key, *, parts: AdversarialAutoencoder) -> dict[str, Params]:
    """Fresh parameters of the autoencoder and the discriminator."""
    check_networks(discriminator=parts.discriminator)
    autoencoder_key, discriminator_key = jax.random.split(key)
    return {
        "autoencoder": autoencoder.init_params(autoencoder_key, parts=parts.autoencoder),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def sample_prior(num: int, key: Key, *label: Array | None, parts: AdversarialAutoencoder) -> Array:
    """Draws from the prior: [num, d], of the labels [num] where there are classes."""
    return parts.prior.sample((), (num, parts.latent_dim), key, *(label if parts.num_classes else ()))


def discriminate(
    discriminator: Params, z: Array, label: Array | None = None, *, parts: AdversarialAutoencoder
) -> Logit:
    """The discriminator's logit, larger for draws from the prior: codes z [B, d], and label [B] with classes.

    Raises:
      ValueError: there are classes, and no label.
    """
    if not parts.num_classes:
        return parts.discriminator.apply(discriminator, z)
    return networks.with_label(parts.discriminator, parts.num_classes).apply(discriminator, z, label)


def reconstruction_objective(parts: AdversarialAutoencoder) -> gradients.Objective:
    """The objective of encoder and decoder, that of a plain autoencoder.

    Returns:
      `objective(autoencoder, others, batch, key) -> (loss [B], {"reconstruction_loss": [B]})`.
    """
    plain = autoencoder.objective(parts.autoencoder, overcomplete=True)  # the prior is what regularises it

    def objective(own: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        del others
        return plain(own, batch, key)

    return objective


def discriminator_objective(
    parts: AdversarialAutoencoder, *, penalty: CriticPenalty | None = None
) -> gradients.Objective:
    """The discriminator's objective: its loss on as many draws from the prior as there are codes, and the penalty.

    Returns:
      `objective(discriminator, {"autoencoder": params}, batch, key) -> (loss [B], {"discriminator_loss", "penalty",
      "prior_logit", "code_logit": [B]})`; the penalty is not in `discriminator_loss`.
    """

    def objective(own: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        prior_key, penalty_key = jax.random.split(key)
        codes = autoencoder.encode(others["autoencoder"], batch.x, parts=parts.autoencoder)
        draws = sample_prior(len(codes), prior_key, batch.label, parts=parts)

        def critic(z: Array) -> Logit:
            return discriminate(own, z, batch.label, parts=parts)

        prior_logit, code_logit = critic(draws), critic(codes)
        loss = parts.adversarial.discriminator(prior_logit, code_logit)
        value = jnp.zeros_like(loss) if penalty is None else penalty(critic, draws, codes, penalty_key)
        return loss + value, {
            "discriminator_loss": loss,
            "penalty": value,
            "prior_logit": mean_logit(prior_logit),
            "code_logit": mean_logit(code_logit),
        }

    return objective


def generator_objective(parts: AdversarialAutoencoder) -> gradients.Objective:
    """The encoder's objective as a generator of codes, from the same labels.

    Returns:
      `objective(autoencoder, {"discriminator": params}, batch, key) -> (loss [B], {"generator_loss": [B]})`; it does
      not depend on the decoder.
    """

    def objective(own: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        codes = autoencoder.encode(own, batch.x, parts=parts.autoencoder)
        draws = sample_prior(len(codes), key, batch.label, parts=parts)
        prior_logit, code_logit = (
            discriminate(others["discriminator"], z, batch.label, parts=parts) for z in (draws, codes)
        )
        loss = parts.adversarial.generator(prior_logit, code_logit)
        return loss, {"generator_loss": loss}

    return objective


def players(
    parts: AdversarialAutoencoder,
    optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    generator_optimizer: optax.GradientTransformation,
    *,
    penalty: CriticPenalty | None = None,
    averaging: float | None = None,
) -> list[alternating.Player]:
    """The three players in the order of their turns: "autoencoder", "discriminator", "generator"; as for `model`."""
    return [
        alternating.Player("autoencoder", reconstruction_objective(parts), optimizer),
        alternating.Player("discriminator", discriminator_objective(parts, penalty=penalty), discriminator_optimizer),
        alternating.Player(
            "generator",
            generator_objective(parts),
            gradients.frozen(generator_optimizer, "decoder"),
            moves="autoencoder",
            averaging=None if averaging is None else moving_average.cumulative(averaging),
        ),
    ]


def model(
    parts: AdversarialAutoencoder,
    optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    generator_optimizer: optax.GradientTransformation,
    *,
    penalty: CriticPenalty | None = None,
    averaging: float | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """An adversarial autoencoder trained by one update of each player in turn.

    Args:
      optimizer: of encoder and decoder, for the reconstruction.
      generator_optimizer: of the encoder against the discriminator.
      penalty: added to the discriminator's loss, with its weight in it.
      averaging: the decay, in [0, 1), of an average of the autoencoder's params (`moving_average.cumulative`), which
        `evaluate` and `sample` use; None keeps no average.
      reduction: how the gradients of all players are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model whose state is a `State`; "loss" is the generator's. `sample` decodes draws from the prior, of labels
      [num] where there are classes, or of one class after the other.

    Source: Makhzani et al. 2016, section 2.
    """
    optimizers = optimizer, discriminator_optimizer, generator_optimizer
    trio = players(parts, *optimizers, penalty=penalty, averaging=averaging)

    def sample(state: State, num: int, key: Key, label: Array | None = None) -> Array:
        if label is None and parts.num_classes:
            label = jnp.arange(num) % parts.num_classes
        z = sample_prior(num, key, label, parts=parts)
        return autoencoder.decode(state.evaluation_params, z, parts=parts.autoencoder)

    trained = alternating.model(partial(init_params, parts=parts), trio, reduction=reduction)
    return alternating.with_state(trained, State)._replace(sample=sample)
