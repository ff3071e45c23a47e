"""The variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014).

p(z) = N(0, I) or another prior,   p_theta(x|z) given by the likelihood of the decoder's output,
q_phi(z|x) = N(mu_phi(x), diag e^{s_phi(x)}) or another posterior,   z = mu + e^{s/2} * eps,  eps ~ N(0, I)

-ELBO = E_q[-log p_theta(x|z)] + KL(q_phi(z|x) || p(z)) = distortion + rate  >=  -log p_theta(x)

Every function takes the context of a conditional VAE as its last positional arguments, after the key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import DIAGONAL_GAUSSIAN, STANDARD_NORMAL, Likelihood, Posterior, Prior
from genjax.models import descent
from genjax.types import Array, Batch, Codec, Key, Model, Network, Params, Scalar, check_networks


class VAE(NamedTuple):
    """The parts of a variational autoencoder.

    Its params are {"encoder": ..., "decoder": ...}, with "prior" where the prior has parameters. A conditional VAE
    models p(x|context): `context` reads from a batch what encoder, decoder and prior take after their other arguments,
    as `LabelContext(10)` does for one of 10 classes (Sohn, Lee & Yan 2015). A prior that reads more than
    its own params has them from `prior_params`, as `losses.vamp_prior` those of `with_encoder`.
    """

    encoder: Network  # x [B, ...], *context -> the posterior's parameters; of DIAGONAL_GAUSSIAN mean and log-variance
    decoder: Network  # z [B, d], *context -> the likelihood's parameters
    likelihood: Likelihood
    latent_dim: int  # d
    prior: Prior = STANDARD_NORMAL
    posterior: Posterior = DIAGONAL_GAUSSIAN
    context: Callable[[Any], tuple[Any, ...]] = lambda batch: ()  # batch -> context
    prior_params: Callable[[Params], Params] = lambda params: params.get("prior", ())  # which of them the prior reads


class LabelContext(NamedTuple):
    """The context of a VAE that is conditional on the label: batch -> (label [B],)."""

    num_classes: int

    def __call__(self, batch: Batch) -> tuple[Any, ...]:
        """Reads the label of a batch.

        Raises:
          ValueError: the batch has none.
        """
        if batch.label is None:
            raise ValueError(f"a VAE conditional on {self.num_classes} classes needs labels, and the batch has none")
        return (batch.label,)


def num_classes(parts: VAE) -> int:
    """The number of classes of a VAE that is conditional on the label, 0 of another one."""
    return parts.context.num_classes if isinstance(parts.context, LabelContext) else 0


class Pass(NamedTuple):
    """One pass through a VAE, x -> q(z|x) -> z -> p(x|z), from which every objective is computed."""

    posterior: Any  # the encoder's output
    z: Array  # [B, d], a draw from q(z|x)
    negative_log_q: Array  # [B], -log q(z|x) in nats
    output: Any  # the decoder's


def with_encoder(params: Params) -> Params:
    """The params that a `losses.vamp_prior` reads: its pseudo-inputs, and those of the encoder."""
    return {"pseudo_inputs": params["prior"], "encoder": params["encoder"]}


def init_params(key: Key, *, parts: VAE) -> Params:
    """Fresh parameters of both networks, and of a prior that has any.

    Raises:
      TypeError: the encoder or the decoder is not a network.
      ValueError: the decoder takes codes of another dimension than `latent_dim`, without a context.
    """
    check_networks(encoder=parts.encoder, decoder=parts.decoder)
    encoder_key, decoder_key, prior_key = jax.random.split(key, 3)
    params = {"encoder": parts.encoder.init(encoder_key), "decoder": parts.decoder.init(decoder_key)}
    if parts.context is VAE._field_defaults["context"]:
        code = jax.ShapeDtypeStruct((2, parts.latent_dim), jnp.float32)
        try:
            jax.eval_shape(parts.decoder.apply, params["decoder"], code)
        except (TypeError, ValueError) as error:
            raise ValueError(f"latent_dim: the decoder does not take codes [B, {parts.latent_dim}]: {error}") from error
    prior = parts.prior.init(prior_key)
    return params | {"prior": prior} if jax.tree.leaves(prior) else params


def forward(params: Params, x: Array, key: Key, *context: Any, parts: VAE) -> Pass:
    """Encodes x [B, ...], draws z from q(z|x), and decodes it."""
    return draw(params, encode(params, x, *context, parts=parts), key, *context, parts=parts)


def draw(params: Params, posterior: Any, key: Key, *context: Any, parts: VAE) -> Pass:
    """`forward` from the encoder's output."""
    z, negative_log_q = parts.posterior.sample_and_negative_log_density(posterior, key)
    output = parts.decoder.apply(params["decoder"], z, *context)
    if parts.posterior.negative_log_density is not None:
        # the same number, but behind the decoder: the order in which z is used fixes the last bits of its gradient
        negative_log_q = parts.posterior.negative_log_density(posterior, z)
    return Pass(posterior, z, negative_log_q, output)


def rates(params: Params, drawn: Pass, *context: Any, parts: VAE) -> Array:
    """The rate of each latent dimension, KL(q(z_j|x) || p(z_j)): [B, d], in nats.

    For a prior without a closed form it is the estimate log q(z|x) - log p(z) of the whole code: [B, 1], which may be
    negative; its mean over z is the divergence.
    """
    if parts.prior.kl is None:
        return (negative_log_prior(params, drawn.z, *context, parts=parts) - drawn.negative_log_q)[:, None]
    return parts.prior.kl(parts.prior_params(params), drawn.posterior, *context)


def negative_log_prior(params: Params, z: Array, *context: Any, parts: VAE) -> Array:
    """The prior's -log p(z), in nats: z [B, d] -> [B]."""
    return parts.prior.negative_log_density(parts.prior_params(params), z, *context)


def terms(params: Params, x: Array, key: Key, *context: Any, parts: VAE) -> tuple[Array, Array]:
    """The two terms of `negative_elbo`: (distortion [B], rate [B]), in nats."""
    _, distortion, by_dimension = _pass_and_terms(params, x, key, *context, parts=parts)
    return distortion, jnp.sum(by_dimension, axis=-1)


def negative_elbo(params: Params, x: Array, key: Key, *context: Any, parts: VAE) -> Array:
    """One-sample estimate of the negative evidence lower bound, distortion + rate.

        distortion = -log p_theta(x|z) at z ~ q_phi(z|x),   rate = KL(q_phi(z|x) || p(z)), the sum of the rates

    Args:
      x: [B, ...].
      key: draws z.

    Returns:
      [B], in nats; its mean over z is an upper bound of -log p_theta(x).
    """
    distortion, rate = terms(params, x, key, *context, parts=parts)
    return distortion + rate


def _pass_and_terms(params: Params, x: Array, key: Key, *context: Any, parts: VAE) -> tuple[Pass, Array, Array]:
    """A pass, its distortion [B], and the rate of each latent dimension [B, d]."""
    drawn = forward(params, x, key, *context, parts=parts)
    distortion = parts.likelihood.negative_log_likelihood(drawn.output, x)
    return drawn, distortion, rates(params, drawn, *context, parts=parts)


class Penalty(NamedTuple):
    """What an objective adds to the weighted negative ELBO: a named function of the pass, and its weight."""

    name: str
    weight: Scalar
    value: Callable[..., Array]  # pass, and a key if it draws -> [B], or [] of the whole batch
    draws: bool = False


def objective(
    parts: VAE,
    *,
    rate_weight: Scalar = 1.0,
    distortion_weight: Scalar = 1.0,
    free_bits: float = 0.0,
    penalties: Sequence[Penalty] = (),
) -> gradients.Objective:
    """The weighted objective of a VAE.

        J = distortion_weight * distortion + rate_weight * sum_j max(free_bits, rate_j) + sum_r lambda_r R_r

    At weights of 1 it is the negative ELBO; rate_weight alone is the beta of a beta-VAE (Higgins et al. 2017). A latent
    dimension whose rate, as the batch's mean, is below `free_bits` nats costs that much and is not reduced further
    (Kingma et al. 2016, appendix C.8). Without a closed form of the rate, `free_bits` applies to the whole
    code, since only the rate of the whole is known.

    Args:
      penalties: with distinct names, such as those of `disentangling` and `info_vae`.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo", "distortion", "rate" and each penalty's name:
      [B]})`, in nats.
    """

    num_draws = sum(penalty.draws for penalty in penalties)

    def weighted(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        context = parts.context(batch)
        key, *penalty_keys = jax.random.split(key, 1 + num_draws) if num_draws else [key]
        drawn, distortion, by_dimension = _pass_and_terms(params, batch.x, key, *context, parts=parts)
        rate = jnp.sum(by_dimension, axis=-1)
        # the mean over the batch of the chosen branch is max(free_bits, mean rate)
        above = jnp.mean(by_dimension, axis=0, keepdims=True) > free_bits
        charged = jnp.where(above, by_dimension, free_bits)
        loss = distortion_weight * distortion + rate_weight * jnp.sum(charged, axis=-1)
        metrics = {"negative_elbo": distortion + rate, "distortion": distortion, "rate": rate}
        for penalty in penalties:
            given = (drawn, penalty_keys.pop()) if penalty.draws else (drawn,)
            value = jnp.broadcast_to(penalty.value(*given), loss.shape)
            loss += penalty.weight * value
            metrics[penalty.name] = value
        return loss, metrics

    return weighted


# Using and training it


def encode(params: Params, x: Array, *context: Any, parts: VAE) -> Any:
    """The parameters of q(z|x): x [B, ...] -> (mean [B, d], log_variance [B, d]) of a diagonal Gaussian."""
    return parts.encoder.apply(params["encoder"], x, *context)


def decode(params: Params, z: Array, *context: Any, parts: VAE) -> Array:
    """The mean of p(x|z): z [B, d] -> [B, ...]."""
    return parts.likelihood.mean(parts.decoder.apply(params["decoder"], z, *context))


def reconstruct(params: Params, x: Array, *context: Any, parts: VAE) -> Array:
    """The decoded posterior mean, without noise: [B, ...] -> [B, ...]."""
    mean = parts.posterior.mean(encode(params, x, *context, parts=parts))
    return decode(params, mean, *context, parts=parts)


def sample_prior(params: Params, num: int, key: Key, *context: Any, parts: VAE) -> Array:
    """Codes z ~ p(z): [num, d]; a context has `num` rows."""
    return parts.prior.sample(parts.prior_params(params), (num, parts.latent_dim), key, *context)


def generate(params: Params, num: int, key: Key, *context: Any, parts: VAE) -> Array:
    """New data x ~ p(x|z), z ~ p(z): [num, ...]; a context has `num` rows."""
    z_key, x_key = jax.random.split(key)
    z = sample_prior(params, num, z_key, *context, parts=parts)
    return parts.likelihood.sample(parts.decoder.apply(params["decoder"], z, *context), x_key)


def model(
    parts: VAE,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    **options: Unpack[descent.Options],
) -> Model:
    """A VAE that trains on the given objective: one of this module, or one of your own.

    Args:
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; `sample` gives the means E[x|z] at z ~ p(z). If the VAE is conditional on the label, it takes labels,
      [num]; without them it draws one class after the other.
    """

    def sample(state: descent.State, num: int, key: Key, *context: Any) -> Array:
        if not context and num_classes(parts):
            context = (jnp.arange(num) % num_classes(parts),)
        z = sample_prior(state.evaluation_params, num, key, *context, parts=parts)
        return decode(state.evaluation_params, z, *context, parts=parts)

    trained = descent.model(partial(init_params, parts=parts), optimizer, objective, **options)
    return trained._replace(sample=sample)


def codec(parts: VAE) -> Codec:
    """The encoder x -> posterior mean and the decoder z -> E[x|z] as networks, of the context too if there is one."""

    def encode_mean(params: Params, x: Array, *context: Any) -> Array:
        return parts.posterior.mean(encode({"encoder": params}, x, *context, parts=parts))

    def decode_mean(params: Params, z: Array, *context: Any) -> Array:
        return decode({"decoder": params}, z, *context, parts=parts)

    has_prior = parts.prior.sample is STANDARD_NORMAL.sample
    return Codec(Network(parts.encoder.init, encode_mean), Network(parts.decoder.init, decode_mean), has_prior)
