"""InfoGAN: a GAN whose codes can be read off its samples (Chen et al. 2016).

    x~ = G(z, c),   z ~ N(0, I),   c = (k, u),   k uniform over K categories,   u ~ U[-1, 1]^C
    min_{G, Q} max_D V(D, G) - lambda L_I(G, Q),   L_I = E[log Q(c|x~)] + H(c)  <=  I(c; x~)

Q(c|x) = Q(k|x) N(u; mean(x), s^2 I) is a head on the discriminator's body, as in the paper. The discriminator therefore
maximises L_I too, in its own turn, with which it moves the body and both heads. No label is read. Players with batch
normalisation, which the paper gives to both, are as in `gan`; Q then reads a sample by the moments of its batch.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import GAUSSIAN, Adversarial, mean_logit, softmax_cross_entropy
from genjax.losses.adversarial import Logit
from genjax.models import alternating, moving_average, stateful
from genjax.models.gan import CriticPenalty
from genjax.types import Array, Batch, Key, Model, Network, Params, Scalar, StatefulNetwork, check_networks


class InfoGAN(NamedTuple):
    """The parts of an InfoGAN; its params are {"generator": ..., "discriminator": ...}."""

    generator: Network | StatefulNetwork  # (z, one-hot k, u) [B, d + K + C] -> x [B, ...]
    discriminator: Network | StatefulNetwork  # x [B, ...] -> (logit [B], the outputs of Q [B, K + C])
    adversarial: Adversarial
    noise_dim: int  # d
    num_categories: int  # K
    num_continuous: int = 0  # C
    scale: float = 0.5  # s; with a learned one, the continuous codes of smooth generators outweigh everything else


class Codes(NamedTuple):
    """What B samples are generated from."""

    noise: Array  # z [B, d]
    category: Array  # k [B], integers from 0 to K - 1
    continuous: Array  # u [B, C]


class Recognised(NamedTuple):
    """Q(c|x) of B examples."""

    logits: Array  # of the categories, [B, K]
    mean: Array  # of the continuous codes, [B, C]


class Information(NamedTuple):
    """The two summands of L_I, one value per sample, in nats."""

    categorical: Array  # [B]
    continuous: Array  # [B]


def init_params(key: Key, *, parts: InfoGAN) -> dict[str, Params]:
    """Fresh parameters of both networks."""
    check_networks(generator=parts.generator, discriminator=parts.discriminator)
    generator_key, discriminator_key = jax.random.split(key)
    return {
        "generator": parts.generator.init(generator_key),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def sample_codes(num: int, key: Key, *, parts: InfoGAN) -> Codes:
    """Draws noise and codes from their priors."""
    noise_key, category_key, continuous_key = jax.random.split(key, 3)
    return Codes(
        jax.random.normal(noise_key, (num, parts.noise_dim)),
        jax.random.randint(category_key, (num,), 0, parts.num_categories),
        jax.random.uniform(continuous_key, (num, parts.num_continuous), minval=-1, maxval=1),
    )


def generate(generator: Params, codes: Codes, *, parts: InfoGAN) -> Array:
    """The samples of given noise and codes: x [B, ...]."""
    return parts.generator.apply(generator, _given(codes, parts))


def _given(codes: Codes, parts: InfoGAN) -> Array:
    """What the generator takes, [B, d + K + C]."""
    category = jax.nn.one_hot(codes.category, parts.num_categories, dtype=codes.noise.dtype)
    return jnp.concatenate([codes.noise, category, codes.continuous], axis=-1)


def discriminate(discriminator: Params, x: Array, *, parts: InfoGAN) -> Logit:
    """The discriminator's logit, larger for real: x [B, ...] -> [B]."""
    return parts.discriminator.apply(discriminator, x)[0]


def recognise(discriminator: Params, x: Array, *, parts: InfoGAN) -> Recognised:
    """Q(c|x): x [B, ...] -> the logits of the categories, and the means of the continuous codes."""
    return _recognised(parts.discriminator.apply(discriminator, x)[1], parts)


def _recognised(outputs: Array, parts: InfoGAN) -> Recognised:
    return Recognised(*jnp.split(outputs, [parts.num_categories], axis=-1))


def information(recognised: Recognised, codes: Codes, *, parts: InfoGAN) -> Information:
    """What Q knows of the codes of samples: the summands of a lower bound of I(c; x~).

        log Q(k|x~) + log K   and   log N(u; mean(x~), s^2 I) + C log 2

    Args:
      recognised: Q(c|x~) of the samples.
      codes: that the samples were generated from.

    Returns:
      [B] each, in nats. The mean over codes and samples is at most I(k; x~) and I(u; x~), which it is where Q is the
      posterior; that of the continuous codes is at most C (log 2 - log s - 1/2 log 2 pi).

    Source: Chen et al. 2016, equation 5.
    """
    gaussian = recognised.mean, jnp.asarray(2 * math.log(parts.scale), recognised.mean.dtype)
    return Information(
        math.log(parts.num_categories) - softmax_cross_entropy(recognised.logits, codes.category),
        parts.num_continuous * math.log(2) - GAUSSIAN.negative_log_likelihood(gaussian, codes.continuous),
    )


class Weights(NamedTuple):
    """The weights lambda of L_I's two summands in both players' losses; the defaults are the paper's."""

    categorical: Scalar = 1.0
    continuous: Scalar = 0.1

    def total(self, found: Information) -> Array:
        """lambda L_I, [B]."""
        return self.categorical * found.categorical + self.continuous * found.continuous


def discriminator_objective(
    parts: InfoGAN, *, weights: Weights, penalty: CriticPenalty | None = None, evaluation: bool = False
) -> gradients.Objective:
    """The discriminator's objective: its loss, the penalty, and L_I of its generated examples.

        J_D = L_D + penalty - lambda L_I

    Args:
      weights: lambda, of each summand of L_I.
      penalty: of D, with its weight in it.
      evaluation: stateful players normalise by their moving averages, and not by the batch.

    Returns:
      `objective(discriminator, {"generator": params}, batch, key) -> (loss [B], {"discriminator_loss", "penalty",
      "real_logit", "fake_logit": [B]})`, of which `discriminator_loss` is L_D, in training of a stateful discriminator
      with its statistics as a third value.

    Raises:
      ValueError: a penalty of a stateful discriminator.
    """
    stateful.check_penalty(parts.discriminator, penalty)

    def objective(discriminator: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Any, ...]:
        codes_key, penalty_key = jax.random.split(key)
        codes = sample_codes(len(batch.x), codes_key, parts=parts)
        fake, _ = _fakes(others["generator"], codes, codes_key, parts, evaluation)
        critic = partial(discriminate, discriminator, parts=parts)
        (real_logit, _), (fake_logit, outputs), statistics = stateful.apart(
            parts.discriminator, discriminator, (batch.x,), (fake,), codes_key, evaluation=evaluation
        )
        loss = parts.adversarial.discriminator(real_logit, fake_logit)
        value = jnp.zeros_like(loss) if penalty is None else penalty(critic, batch.x, fake, penalty_key)
        found = information(_recognised(outputs, parts), codes, parts=parts)
        return (
            loss + value - weights.total(found),
            {
                "discriminator_loss": loss,
                "penalty": value,
                "real_logit": mean_logit(real_logit),
                "fake_logit": mean_logit(fake_logit),
            },
            *statistics,
        )

    return objective


def _fakes(
    generator: Params, codes: Codes, key: Key, parts: InfoGAN, evaluation: bool
) -> tuple[Array, stateful.Statistics]:
    """Generated examples, and the statistics of a stateful generator in training."""
    given = _given(codes, parts)
    return stateful.through(parts.generator, generator, (given,), key, number=5, evaluation=evaluation)


def generator_objective(parts: InfoGAN, *, weights: Weights, evaluation: bool = False) -> gradients.Objective:
    """The generator's objective: its loss and L_I of as many new examples as the batch has.

        J_G = L_G - lambda L_I

    Args:
      weights: lambda, of each summand of L_I.
      evaluation: stateful players normalise by their moving averages, and not by the batch.

    Returns:
      `objective(generator, {"discriminator": params}, batch, key) -> (loss [B], {"generator_loss",
      "categorical_information", "continuous_information": [B]})`, in training of a stateful generator with its
      statistics as a third value; the last two metrics are the summands of L_I, in nats.
    """

    def objective(generator: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Any, ...]:
        codes = sample_codes(len(batch.x), key, parts=parts)
        fake, statistics = _fakes(generator, codes, key, parts, evaluation)
        (real_logit, _), (fake_logit, outputs), _ = stateful.apart(
            parts.discriminator, others["discriminator"], (batch.x,), (fake,), key, evaluation=evaluation
        )
        loss = parts.adversarial.generator(real_logit, fake_logit)
        found = information(_recognised(outputs, parts), codes, parts=parts)
        return (
            loss - weights.total(found),
            {
                "generator_loss": loss,
                "categorical_information": found.categorical,
                "continuous_information": found.continuous,
            },
            *statistics,
        )

    return objective


def model(
    parts: InfoGAN,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    weights: Weights,
    penalty: CriticPenalty | None = None,
    averaging: float | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """An InfoGAN: in each step the discriminator with Q, then the generator against the new discriminator.

    Args:
      generator_optimizer, discriminator_optimizer: of stateful players without effect on their moving averages, by
        `gradients.frozen`.
      weights: lambda, of each summand of L_I.
      penalty: added to the discriminator's loss, with its weight in it.
      averaging: the decay, in [0, 1), of an average of the generator's params, which `evaluate` and `sample` use; None
        keeps no average.
      reduction: how the gradients of both players are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model whose state is an `alternating.State`; "loss" is the generator's. `sample` draws the codes from their
      priors.

    Raises:
      ValueError: averaging is outside [0, 1), or a penalty of a stateful discriminator.

    Source: Chen et al. 2016, equation 6.
    """
    of_discriminator = partial(discriminator_objective, parts, weights=weights, penalty=penalty)
    of_generator = partial(generator_objective, parts, weights=weights)
    players = [
        alternating.Player(
            "discriminator",
            of_discriminator(),
            discriminator_optimizer,
            refresh=stateful.refresh(parts.discriminator),
            evaluation=of_discriminator(evaluation=True),
        ),
        alternating.Player(
            "generator",
            of_generator(),
            generator_optimizer,
            refresh=stateful.refresh(parts.generator),
            averaging=None if averaging is None else moving_average.cumulative(averaging),
            evaluation=of_generator(evaluation=True),
        ),
    ]

    def sample(state: alternating.State, num: int, key: Key) -> Array:
        codes = sample_codes(num, key, parts=parts)
        return generate(state.evaluation_params["generator"], codes, parts=parts)

    trained = alternating.model(partial(init_params, parts=parts), players, reduction=reduction)
    return trained._replace(sample=sample)
