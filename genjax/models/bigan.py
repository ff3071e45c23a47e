"""The bidirectional GAN, which infers codes beside generating data (Donahue et al. 2017; Dumoulin et al. 2017).

    min_{E, G} max_D E_p(x) E_q(z|x)[log D(x, z)] + E_p(z)[log(1 - D(G(z), z))]

The discriminator tells pairs (x, E(x)) of data and their codes from pairs (G(z), z) of draws from the prior and what is
generated of them. At the best one, whose logit is log p(x) q(z|x) / p(z) p(x|z), the value is -log 4 + 2 JS of the
two joint distributions, least where they are equal: then G generates the data, and E inverts G. The encoder is a
function (a BiGAN) or a density (adversarially learned inference, ALI). Two players take turns: the discriminator, then
encoder and generator together. Networks with batch normalisation, which Donahue et al. give to all three, are as in
`gan`: the two kinds of pairs are two batches.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import NON_SATURATING, STANDARD_NORMAL, Adversarial, Posterior, Prior, mean_logit
from genjax.losses.adversarial import Logit
from genjax.models import alternating, autoencoder, moving_average, stateful
from genjax.models.gan import CriticPenalty
from genjax.types import Array, Batch, Key, Model, Network, Params, StatefulNetwork, check_networks


class BiGAN(NamedTuple):
    """The parts of a bidirectional GAN; its params are {"autoencoder": ..., "discriminator": ...}.

    Encoder and generator are those of an autoencoder, whose reconstruction loss nothing lowers. With a posterior, the
    encoder gives its parameters, of which `autoencoder.code` has to be the mean. Encoder and generator may be stateful.
    """

    autoencoder: autoencoder.Autoencoder  # E, and as its decoder the generator G
    discriminator: Network | StatefulNetwork  # x [B, ...], z [B, d] -> logit [B], larger for data and their codes
    latent_dim: int  # d
    prior: Prior = STANDARD_NORMAL  # without parameters
    posterior: Posterior | None = None  # q(z|x) of the encoder's output (ALI); None for z = E(x)
    adversarial: Adversarial = NON_SATURATING


class State(alternating.State):
    """The state of both players, from which only encoder and generator are evaluated and sampled."""

    __slots__ = ()

    @property
    def evaluation_params(self) -> Params:
        """The params of encoder and generator, as the functions of `autoencoder` take them: their average if kept."""
        return alternating.State(*self).evaluation_params["autoencoder"]


def init_params(key: Key, *, parts: BiGAN) -> dict[str, Params]:
    """Fresh parameters of all networks."""
    check_networks(discriminator=parts.discriminator)
    autoencoder_key, discriminator_key = jax.random.split(key)
    return {
        "autoencoder": autoencoder.init_params(autoencoder_key, parts=parts.autoencoder),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def draw_code(params: Params, x: Array, key: Key, *, parts: BiGAN) -> Array:
    """The code of x [B, ...] as the discriminator sees it, E(x), or a draw from q(z|x): [B, d]."""
    return _code(parts.autoencoder.encoder.apply(params["encoder"], x), key, parts)


def _code(output: Any, key: Key, parts: BiGAN) -> Array:
    """The code of what the encoder returns."""
    if parts.posterior is not None:
        return parts.posterior.sample_and_negative_log_density(output, key)[0]
    code = parts.autoencoder.code
    return output if code is None else code(output)


def sample_prior(num: int, key: Key, *, parts: BiGAN) -> Array:
    """Draws from the prior: [num, d]."""
    return parts.prior.sample((), (num, parts.latent_dim), key)


def pairs(params: Params, x: Array, key: Key, *, parts: BiGAN) -> tuple[Array, Array]:
    """As many pairs of each kind as there are examples, with x flattened: (x, E(x)) and (G(z), z), [B, D + d] each."""
    return _pairs(params, x, key, parts, evaluation=True)[:2]


def _pairs(
    params: Params, x: Array, key: Key, parts: BiGAN, evaluation: bool
) -> tuple[Array, Array, dict[str, stateful.Statistics]]:
    """`pairs`, in training by the moments of the batch, and the statistics of stateful networks by name."""
    code_key, prior_key = jax.random.split(key)
    own, through = parts.autoencoder, partial(stateful.through, evaluation=evaluation)
    z = sample_prior(len(x), prior_key, parts=parts)
    output, of_decoder = through(own.decoder, params["decoder"], (z,), key, number=5)
    found, of_encoder = through(own.encoder, params["encoder"], (x,), key, number=6)
    both = (x, _code(found, code_key, parts)), (own.reconstruction.mean(output), z)
    real, fake = (jnp.concatenate([data.reshape(len(data), -1), codes], axis=1) for data, codes in both)
    return real, fake, {"encoder": of_encoder, "decoder": of_decoder}


def discriminate(discriminator: Params, pair: Array, shape: tuple[int, ...], *, parts: BiGAN) -> Logit:
    """The discriminator's logit of `pairs` [B, D + d] of examples of this shape."""
    return parts.discriminator.apply(discriminator, *_apart(pair, shape, parts))


def _apart(pair: Array, shape: tuple[int, ...], parts: BiGAN) -> tuple[Array, Array]:
    """x [B, *shape] and z [B, d] of a pair."""
    x, z = jnp.split(pair, [pair.shape[1] - parts.latent_dim], axis=1)
    return x.reshape(-1, *shape), z


def discriminator_objective(
    parts: BiGAN, *, penalty: CriticPenalty | None = None, evaluation: bool = False
) -> gradients.Objective:
    """The discriminator's objective: its loss on pairs of both kinds, and the penalty on its slope in both x and z.

    Args:
      penalty: of D, with its weight in it.
      evaluation: stateful networks normalise by their moving averages, and not by the batch.

    Returns:
      `objective(discriminator, {"autoencoder": params}, batch, key) -> (loss [B], {"discriminator_loss", "penalty",
      "real_logit", "fake_logit": [B]})`, in training of a stateful discriminator with its statistics as a third value;
      the penalty is not in `discriminator_loss`.

    Raises:
      ValueError: a penalty of a stateful discriminator.

    Source: Donahue et al. 2017, equation 3; Dumoulin et al. 2017, equation 2.
    """
    stateful.check_penalty(parts.discriminator, penalty)

    def objective(own: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Any, ...]:
        pair_key, penalty_key = jax.random.split(key)
        shape = batch.x.shape[1:]
        real, fake, _ = _pairs(others["autoencoder"], batch.x, pair_key, parts, evaluation)

        def critic(pair: Array) -> Logit:
            return discriminate(own, pair, shape, parts=parts)

        real_logit, fake_logit, statistics = _judge(own, real, fake, shape, pair_key, parts, evaluation)
        loss = parts.adversarial.discriminator(real_logit, fake_logit)
        value = jnp.zeros_like(loss) if penalty is None else penalty(critic, real, fake, penalty_key)
        return (
            loss + value,
            {
                "discriminator_loss": loss,
                "penalty": value,
                "real_logit": mean_logit(real_logit),
                "fake_logit": mean_logit(fake_logit),
            },
            *statistics,
        )

    return objective


def _judge(
    discriminator: Params,
    real: Array,
    fake: Array,
    shape: tuple[int, ...],
    key: Key,
    parts: BiGAN,
    evaluation: bool,
) -> tuple[Logit, Logit, stateful.Statistics]:
    """The logits of both kinds of pairs, and the statistics of a stateful discriminator in training."""
    of_real, of_fake = (_apart(pair, shape, parts) for pair in (real, fake))
    return stateful.apart(parts.discriminator, discriminator, of_real, of_fake, key, evaluation=evaluation)


def generator_objective(parts: BiGAN, *, evaluation: bool = False) -> gradients.Objective:
    """The objective of encoder and generator: the discriminator's loss with the two kinds of pairs exchanged.

        J_{E, G} = -E_p(x)[log(1 - D(x, E(x)))] - E_p(z)[log D(G(z), z)]

    It has the same best answer as the game's value with a gradient that does not vanish, as in a non-saturating GAN.

    Args:
      evaluation: stateful networks normalise by their moving averages, and not by the batch.

    Returns:
      `objective(autoencoder, {"discriminator": params}, batch, key) -> (loss [B], {"generator_loss": [B]})`, with the
      statistics of a stateful encoder or generator in training, by name, as a third value.

    Source: Donahue et al. 2017, the "inverse" objective.
    """

    def objective(own: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Any, ...]:
        real, fake, statistics = _pairs(own, batch.x, key, parts, evaluation)
        shape = batch.x.shape[1:]
        real_logit, fake_logit, _ = _judge(others["discriminator"], real, fake, shape, key, parts, evaluation)
        loss = parts.adversarial.discriminator(fake_logit, real_logit)
        return loss, {"generator_loss": loss}, *([statistics] if any(statistics.values()) else [])

    return objective


def _refresh(parts: BiGAN) -> gradients.Refresh | None:
    """What follows an update of encoder and generator: the moving averages of those that have any."""
    both: dict[str, stateful.Either] = {"encoder": parts.autoencoder.encoder, "decoder": parts.autoencoder.decoder}
    own = {name: network for name, network in both.items() if isinstance(network, StatefulNetwork)}

    def refreshed(params: Params, statistics: dict[str, stateful.Statistics]) -> Params:
        return params | {name: network.refresh(params[name], *statistics[name]) for name, network in own.items()}

    return refreshed if own else None


def model(
    parts: BiGAN,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    penalty: CriticPenalty | None = None,
    averaging: float | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A bidirectional GAN trained by alternating updates of the discriminator and of encoder and generator.

    Args:
      generator_optimizer: of encoder and generator; of stateful networks, as `discriminator_optimizer`, without effect
        on their moving averages, by `gradients.frozen`.
      penalty: added to the discriminator's loss, with its weight in it; of `pairs`.
      averaging: the decay, in [0, 1), of an average of the params of encoder and generator
        (`moving_average.cumulative`), which `evaluate` and `sample` use; None keeps no average.
      reduction: how the gradients of both players are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model whose state is a `State`; "loss" is that of encoder and generator. `sample` generates from the prior.
    """
    average = None if averaging is None else moving_average.cumulative(averaging)
    players = [
        alternating.Player(
            "discriminator",
            discriminator_objective(parts, penalty=penalty),
            discriminator_optimizer,
            refresh=stateful.refresh(parts.discriminator),
            evaluation=discriminator_objective(parts, penalty=penalty, evaluation=True),
        ),
        alternating.Player(
            "autoencoder",
            generator_objective(parts),
            generator_optimizer,
            refresh=_refresh(parts),
            averaging=average,
            evaluation=generator_objective(parts, evaluation=True),
        ),
    ]

    def sample(state: State, num: int, key: Key) -> Array:
        z = sample_prior(num, key, parts=parts)
        return autoencoder.decode(state.evaluation_params, z, parts=parts.autoencoder)

    trained = alternating.model(partial(init_params, parts=parts), players, reduction=reduction)
    return alternating.with_state(trained, State)._replace(sample=sample)
