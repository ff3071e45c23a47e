"""VAE-GAN: a VAE that is trained in the features of a discriminator, and against it (Larsen et al. 2016).

    z ~ q(z|x),   x~ = decoder(z);   z_p ~ p(z),   x_p = decoder(z_p);   f, the discriminator's hidden features
    L_rec = 1/2 ||f(x) - f(x~)||^2,   which is -log N(f(x); f(x~), I) without its constant
    encoder: L_rec + KL(q(z|x) || p(z));   decoder: gamma L_rec + lambda L_G(x~, x_p);   discriminator: L_D(x, x~, x_p)

The discriminator tells data from reconstructions and from samples, and its features are where reconstructions are
compared with data: they learn what matters for being taken for real. Three players take turns: discriminator, encoder,
decoder. No gradient of the game reaches the encoder, and none of the reconstruction the discriminator.

lambda is 1, or adaptive: the ratio of the norms that the gradients of the two terms have in the decoder's last layer
(Esser et al. 2021), so that neither outweighs the other as the game goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import NON_SATURATING, Adversarial, mean_logit, perceptual_loss
from genjax.losses.adversarial import Logit
from genjax.models import alternating, moving_average, vae
from genjax.models.gan import CriticPenalty
from genjax.types import Array, Batch, Key, Model, Network, Params, Scalar, check_networks


class VAEGAN(NamedTuple):
    """The parts of a VAE-GAN; its params are {"encoder": ..., "decoder": ..., "discriminator": ...}.

    The functions of `vae` take these params, with `parts.vae`. Its prior has no parameters and it has no context.
    """

    vae: vae.VAE
    discriminator: Network  # x [B, ...] -> (features f: [B, ...] or a sequence of such, logit)
    adversarial: Adversarial = NON_SATURATING


class Weights(NamedTuple):
    """The weights of the terms. With `last_layer`, that of the game is adaptive, and gamma is relative to it."""

    reconstruction: Scalar = 1.0  # gamma, of L_rec in the decoder's objective
    rate: Scalar = 1.0  # of the KL divergence in the encoder's
    distortion: Scalar = 0.0  # of -log p(x|z), that of the VAE's likelihood, in L_rec
    last_layer: tuple[str, ...] = ()  # keys in the decoder's params, at any depth; () for lambda = 1
    start: int = 0  # the step from which the decoder plays; before it, lambda is 0


UNWEIGHTED = Weights()
"""The weights of the paper, with gamma 1."""


class Turn(NamedTuple):
    """The batch that the players take."""

    x: Array  # [B, ...]
    playing: Array  # [B], 1 where the decoder plays, 0 before its start


class Passes(NamedTuple):
    """One pass of data through the VAE, and samples from the prior."""

    drawn: vae.Pass
    rebuilt: Array  # x~, [B, ...]
    sampled: Array  # x_p, [B, ...]


def init_params(key: Key, *, parts: VAEGAN) -> dict[str, Params]:
    """Fresh parameters of all networks."""
    check_networks(discriminator=parts.discriminator)
    vae_key, discriminator_key = jax.random.split(key)
    return {
        **vae.init_params(vae_key, parts=parts.vae),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def features(discriminator: Params, x: Array, *, parts: VAEGAN) -> Any:
    """The discriminator's hidden features f(x): x [B, ...] -> [B, ...], or a sequence of such."""
    return parts.discriminator.apply(discriminator, x)[0]


def discriminate(discriminator: Params, x: Array, *, parts: VAEGAN) -> Logit:
    """The discriminator's logit, larger for data: x [B, ...] -> [B]."""
    return parts.discriminator.apply(discriminator, x)[1]


def forward(params: Params, x: Array, key: Key, *, parts: VAEGAN) -> Passes:
    """Rebuilds x [B, ...] from draws of q(z|x), and decodes as many draws from the prior."""
    posterior_key, prior_key = jax.random.split(key)
    drawn = vae.forward(params, x, posterior_key, parts=parts.vae)
    z = vae.sample_prior(params, len(x), prior_key, parts=parts.vae)
    return Passes(drawn, parts.vae.likelihood.mean(drawn.output), vae.decode(params, z, parts=parts.vae))


def feature_loss(discriminator: Params, rebuilt: Array, x: Array, *, parts: VAEGAN) -> Array:
    """Half the squared distance of x~ from x in the discriminator's features.

        l = 1/2 ||f(x) - f(x~)||^2 = -log N(f(x); f(x~), I) - D/2 log 2 pi

    Args:
      discriminator: its params.
      rebuilt: x~, [B, ...].
      x: the same shape.

    Returns:
      [B], >= 0, in nats; f has D values, of all its layers.

    Source: Larsen et al. 2016, equations 6 and 7.
    """
    ours, wanted = (features(discriminator, each, parts=parts) for each in (rebuilt, x))
    return 0.5 * perceptual_loss(ours, wanted)


def adaptive_weight(
    terms: Callable[[Params], tuple[Array, Array]],
    params: Params,
    *,
    last_layer: tuple[str, ...],
    delta: float = 1e-6,
    at_most: float = 1e4,
) -> Array:
    """The weight that gives the gradient of the second term the norm of the first one's, in the decoder's last layer.

        lambda = ||grad_L mean(L_rec)|| / (||grad_L mean(L_G)|| + delta)

    Args:
      terms: params -> (L_rec [B], L_G [B]).
      params: the decoder's.
      last_layer: the keys, at any depth, of the params L.
      delta: keeps the ratio finite where the game has no gradient.
      at_most: the largest weight, as in the authors' code.

    Returns:
      [], without a derivative. With shards, the means are over each of them.

    Raises:
      ValueError: the params have no such keys.

    Source: Esser, Rombach & Ommer 2021, equation 7.
    """
    leaves, structure = jax.tree.flatten_with_path(jax.lax.stop_gradient(params))
    chosen = [any(getattr(entry, "key", None) in last_layer for entry in path) for path, _ in leaves]
    if not any(chosen):
        raise ValueError(f"last_layer: the params have none of the keys {', '.join(last_layer)}")

    def means(last: list[Array]) -> tuple[Array, ...]:
        given = iter(last)
        own = [next(given) if picked else leaf for picked, (_, leaf) in zip(chosen, leaves, strict=True)]
        return tuple(jnp.mean(term) for term in terms(jax.tree.unflatten(structure, own)))

    (first, second), pull_back = jax.vjp(
        means, [leaf for picked, (_, leaf) in zip(chosen, leaves, strict=True) if picked]
    )
    of_first = optax.tree.norm(pull_back((jnp.ones_like(first), jnp.zeros_like(second)))[0])
    of_second = optax.tree.norm(pull_back((jnp.zeros_like(first), jnp.ones_like(second)))[0])
    # not a division, so that every program has the same bits
    ratio = of_first * jax.lax.rsqrt(jnp.square(of_second + delta))
    return jax.lax.stop_gradient(jnp.minimum(ratio, at_most))


def discriminator_objective(parts: VAEGAN, *, penalty: CriticPenalty | None = None) -> gradients.Objective:
    """The discriminator's objective: its loss on data, and on reconstructions and samples in equal parts.

        J_D = 1/2 L_D(x, x~) + 1/2 L_D(x, x_p) + penalty

    Data thus weigh as much as both others together, in any game; in the paper, each of the three has a weight of 1. At
    the best D of a minimax game, J_D = log 4 - 2 JS(p, g), where g is the mixture of reconstructions and samples.

    Args:
      penalty: of data and samples, with its weight in it.

    Returns:
      `objective(discriminator, {"encoder": params, "decoder": params}, batch, key) -> (loss [B], {"discriminator_loss",
      "penalty", "real_logit", "rebuilt_logit", "sampled_logit": [B]})`; the penalty is not in `discriminator_loss`.

    Source: Larsen et al. 2016, section 2.3 and algorithm 1.
    """

    def objective(
        own: Params, others: dict[str, Params], batch: Batch | Turn, key: Key
    ) -> tuple[Array, dict[str, Array]]:
        pass_key, penalty_key = jax.random.split(key)
        passes = forward(others, batch.x, pass_key, parts=parts)
        critic = partial(discriminate, own, parts=parts)
        real, rebuilt, sampled = (critic(x) for x in (batch.x, passes.rebuilt, passes.sampled))
        loss = parts.adversarial.discriminator((real, real), (rebuilt, sampled))
        value = jnp.zeros_like(loss) if penalty is None else penalty(critic, batch.x, passes.sampled, penalty_key)
        return loss + value, {
            "discriminator_loss": loss,
            "penalty": value,
            "real_logit": mean_logit(real),
            "rebuilt_logit": mean_logit(rebuilt),
            "sampled_logit": mean_logit(sampled),
        }

    return objective


def reconstruction_loss(
    discriminator: Params, passes: Passes, x: Array, *, parts: VAEGAN, weights: Weights = UNWEIGHTED
) -> tuple[Array, Array]:
    """L_rec = 1/2 ||f(x) - f(x~)||^2 + weight * -log p(x|z), and -log p(x|z) itself, the distortion: [B] each."""
    of_features = feature_loss(discriminator, passes.rebuilt, x, parts=parts)
    distortion = parts.vae.likelihood.negative_log_likelihood(passes.drawn.output, x)
    return of_features + weights.distortion * distortion, distortion


def encoder_objective(parts: VAEGAN, *, weights: Weights = UNWEIGHTED) -> gradients.Objective:
    """The encoder's objective, in which the game has no part.

        J_E = L_rec + weight KL(q(z|x) || p(z))

    Returns:
      `objective(encoder, {"decoder": params, "discriminator": params}, batch, key) -> (loss [B],
      {"reconstruction_loss", "distortion", "rate": [B]})`, in nats and without weights.

    Source: Larsen et al. 2016, algorithm 1.
    """

    def objective(
        own: Params, others: dict[str, Params], batch: Batch | Turn, key: Key
    ) -> tuple[Array, dict[str, Array]]:
        params = {**others, "encoder": own}
        passes = forward(params, batch.x, key, parts=parts)
        of_features, distortion = reconstruction_loss(
            others["discriminator"], passes, batch.x, parts=parts, weights=weights
        )
        rate = jnp.sum(vae.rates(params, passes.drawn, parts=parts.vae), axis=-1)
        metrics = {"reconstruction_loss": of_features, "distortion": distortion, "rate": rate}
        return of_features + weights.rate * rate, metrics

    return objective


def decoder_objective(parts: VAEGAN, *, weights: Weights = UNWEIGHTED) -> gradients.Objective:
    """The decoder's objective: the reconstruction, and its loss as the generator of reconstructions and of samples.

        J_Dec = gamma L_rec + lambda (1/2 L_G(x~) + 1/2 L_G(x_p))

    lambda is 1 or adaptive, and 0 before the start; the discriminator learns from the first step, because its features
    are what L_rec compares.

    Returns:
      `objective(decoder, {"encoder": params, "discriminator": params}, turn, key) -> (loss [B], {"generator_loss",
      "adversarial_weight": [B]})`; "adversarial_weight" is lambda.

    Source: Larsen et al. 2016, equation 9; Esser et al. 2021, equations 6 and 7.
    """

    def objective(own: Params, others: dict[str, Params], turn: Turn, key: Key) -> tuple[Array, dict[str, Array]]:
        judge = others["discriminator"]
        real = discriminate(judge, turn.x, parts=parts)

        def terms(own: Params, key: Key) -> tuple[Array, Array]:
            passes = forward({**others, "decoder": own}, turn.x, key, parts=parts)
            rebuilt, sampled = (discriminate(judge, x, parts=parts) for x in (passes.rebuilt, passes.sampled))
            of_features, _ = reconstruction_loss(judge, passes, turn.x, parts=parts, weights=weights)
            return of_features, parts.adversarial.generator((real, real), (rebuilt, sampled))

        of_features, of_game = terms(own, key)
        weight = turn.playing
        if weights.last_layer:
            same_draws = partial(terms, key=jax.random.clone(key))
            weight = weight * adaptive_weight(same_draws, own, last_layer=weights.last_layer)
        loss = weights.reconstruction * of_features + weight * of_game
        return loss, {"generator_loss": of_game, "adversarial_weight": weight}

    return objective


def model(
    parts: VAEGAN,
    encoder_optimizer: optax.GradientTransformation,
    decoder_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    weights: Weights = UNWEIGHTED,
    penalty: CriticPenalty | None = None,
    averaging: float | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A VAE-GAN trained by one update of each player in turn: discriminator, encoder, decoder.

    In the paper the three move at once; taking turns, each meets what the players before it have become.

    Args:
      weights: of the terms of the encoder's and the decoder's objectives.
      penalty: added to the discriminator's loss, with its weight in it.
      averaging: the decay, in [0, 1), of an average of the params of encoder and decoder
        (`moving_average.cumulative`), which `evaluate` and `sample` use; None keeps no average.
      reduction: how the gradients of all players are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model whose state is an `alternating.State`; "loss" is the decoder's. `sample` decodes draws from the prior.

    Source: Larsen et al. 2016, algorithm 1.
    """
    average = None if averaging is None else moving_average.cumulative(averaging)
    players = [
        alternating.Player("discriminator", discriminator_objective(parts, penalty=penalty), discriminator_optimizer),
        alternating.Player("encoder", encoder_objective(parts, weights=weights), encoder_optimizer, averaging=average),
        alternating.Player("decoder", decoder_objective(parts, weights=weights), decoder_optimizer, averaging=average),
    ]

    def prepare(state: alternating.State, batch: Batch, key: Key) -> Turn:
        return Turn(batch.x, jnp.full(len(batch.x), state.step >= weights.start, batch.x.dtype))

    def sample(state: alternating.State, num: int, key: Key) -> Array:
        z = vae.sample_prior(state.evaluation_params, num, key, parts=parts.vae)
        return vae.decode(state.evaluation_params, z, parts=parts.vae)

    trained = alternating.model(partial(init_params, parts=parts), players, prepare=prepare, reduction=reduction)
    return trained._replace(sample=sample)
