"""The variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014).

p(z) = N(0, I),   p_theta(x|z) given by the likelihood of the decoder's output,
q_phi(z|x) = N(mu_phi(x), diag e^{s_phi(x)}),   z = mu + e^{s/2} * eps,  eps ~ N(0, I)

-ELBO = E_q[-log p_theta(x|z)] + KL(q_phi(z|x) || p(z)) = distortion + rate  >=  -log p_theta(x)

With importance weights w = p_theta(x|z) p(z) / q_phi(z|x), log p_theta(x) = log E_q[w], and k draws bound it more
tightly (Burda, Grosse & Salakhutdinov 2016):

-ELBO = -E_q[log w]  >=  -E[log (1/k) sum_k w_k]  >=  -log p_theta(x)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, stochastic
from genjax.losses import GAUSSIAN, Likelihood, gaussian_kl_to_standard
from genjax.models import descent
from genjax.types import Array, Batch, Key, Model, Network, Params


class VAE(NamedTuple):
    """The parts of a variational autoencoder; its params are {"encoder": ..., "decoder": ...}."""

    encoder: Network  # x [B, ...] -> (mean [B, d], log_variance [B, d])
    decoder: Network  # z [B, d] -> what the likelihood takes
    likelihood: Likelihood
    latent_dim: int  # d


def init_params(key: Key, *, parts: VAE) -> Params:
    """Fresh parameters of both networks."""
    encoder_key, decoder_key = jax.random.split(key)
    return {"encoder": parts.encoder.init(encoder_key), "decoder": parts.decoder.init(decoder_key)}


def negative_elbo(params: Params, x: Array, key: Key, *, parts: VAE) -> tuple[Array, Array]:
    """One-sample estimate of the negative evidence lower bound, as its two terms.

        distortion = -log p_theta(x|z) at z = mu + e^{s/2} * eps,    rate = KL(q_phi(z|x) || N(0, I)) in closed form

    Args:
      x: [B, ...].
      key: draws eps.

    Returns:
      (distortion [B], rate [B]) in nats; their sum is the estimate, and its mean over eps bounds -log p_theta(x).
    """
    distortion, rates = _distortion_and_rates(params, x, key, parts=parts)
    return distortion, jnp.sum(rates, axis=-1)


def _distortion_and_rates(params: Params, x: Array, key: Key, *, parts: VAE) -> tuple[Array, Array]:
    """The distortion [B], and the rate of each latent dimension [B, d]."""
    mean, log_variance = parts.encoder.apply(params["encoder"], x)
    z = stochastic.sample_gaussian(mean, log_variance, key)
    distortion = parts.likelihood.negative_log_likelihood(parts.decoder.apply(params["decoder"], z), x)
    return distortion, gaussian_kl_to_standard(mean[..., None], log_variance[..., None])


def objective(
    parts: VAE,
    *,
    rate_weight: stochastic.Scalar = 1.0,
    distortion_weight: stochastic.Scalar = 1.0,
    free_bits: float = 0.0,
) -> gradients.Objective:
    """The weighted objective of a VAE.

        J = distortion_weight * distortion + rate_weight * sum_j max(free_bits, rate_j)

    At weights of 1 it is the negative ELBO; rate_weight alone is the beta of a beta-VAE (Higgins et al. 2017). A latent
    dimension whose rate, as the batch's mean, is below `free_bits` nats costs that much and is not pressed further
    (Kingma et al. 2016, appendix C.8).

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo", "distortion", "rate": [B]})`, in nats.
    """

    def weighted(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        distortion, rates = _distortion_and_rates(params, batch.x, key, parts=parts)
        rate = jnp.sum(rates, axis=-1)
        # the mean over the batch of the chosen branch is max(free_bits, mean rate)
        charged = jnp.where(jnp.mean(rates, axis=0, keepdims=True) > free_bits, rates, free_bits)
        loss = distortion_weight * distortion + rate_weight * jnp.sum(charged, axis=-1)
        return loss, {"negative_elbo": distortion + rate, "distortion": distortion, "rate": rate}

    return weighted


# Importance weighting


def importance_sampler(params: Params, x: Array, *, parts: VAE) -> Callable[[Key], Array]:
    """Draws of the log importance weight, whose mean exponential is the likelihood: p_theta(x) = E[w].

        log w = log p_theta(x|z) + log p(z) - log q_phi(z|x),   z ~ q_phi(z|x)

    Args:
      x: [B, ...], encoded once.

    Returns:
      `log_weight(key) -> [B]`, in nats, one draw of z for each x; `jax.vmap` it over keys.
    """
    mean, log_variance = parts.encoder.apply(params["encoder"], x)

    def log_weight(key: Key) -> Array:
        z = stochastic.sample_gaussian(mean, log_variance, key)
        return _log_weight(params["decoder"], z, (mean, log_variance), x, parts=parts)

    return log_weight


def _log_weight(decoder: Params, z: Array, posterior: tuple[Array, Array], x: Array, *, parts: VAE) -> Array:
    """Log w [B] at z [B, d], from q's mean and log-variance."""
    negative_log_p = parts.likelihood.negative_log_likelihood(parts.decoder.apply(decoder, z), x)
    prior = (jnp.zeros_like(z), jnp.zeros([], z.dtype))
    negative_log_prior, negative_log_q = (
        GAUSSIAN.negative_log_likelihood(density, z) for density in (prior, posterior)
    )
    return negative_log_q - negative_log_prior - negative_log_p


def importance_weighted_objective(parts: VAE, *, num_samples: int) -> gradients.Objective:
    """The objective of an importance-weighted autoencoder (Burda, Grosse & Salakhutdinov 2016, equation 8).

        L_k = -log (1/k) sum_k w_k,   E[L_1] = -ELBO >= E[L_k] >= E[L_{k+1}] >= -log p_theta(x)

    Args:
      num_samples: k.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo": [B]})`, in nats; the ELBO's estimate is of the
      same k draws, -(1/k) sum_k log w_k.
    """

    def bound(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        log_weight = importance_sampler(params, batch.x, parts=parts)
        log_w = jax.vmap(log_weight)(jax.random.split(key, num_samples))
        return -_log_mean_exp(log_w), {"negative_elbo": -jnp.mean(log_w, axis=0)}

    return bound


def doubly_reparameterized_objective(parts: VAE, *, num_samples: int) -> gradients.Objective:
    """The same values as `importance_weighted_objective`, with the doubly reparameterised gradient of the encoder.

        -grad_theta = sum_k v_k dlog w_k / dtheta,   -grad_phi = sum_k v_k^2 (dlog w_k / dz_k) dz_k / dphi,
        v_k = w_k / sum_j w_j

    It is unbiased too, and its signal does not drown in noise as k grows (Tucker et al. 2018, equation 8).
    """

    def log_weights(decoder: Params, z: Array, posterior: tuple[Array, Array], x: Array) -> Array:
        return jax.vmap(lambda z: _log_weight(decoder, z, posterior, x, parts=parts))(z)

    @jax.custom_vjp
    def bound(decoder: Params, z: Array, posterior: tuple[Array, Array], x: Array) -> tuple[Array, Array]:
        log_w = log_weights(decoder, z, posterior, x)
        return -_log_mean_exp(log_w), log_w

    def forward(decoder: Params, z: Array, posterior: tuple[Array, Array], x: Array) -> Any:
        # log q's own parameters are held fixed: phi acts through z alone
        log_w, pull_back = jax.vjp(lambda decoder, z: log_weights(decoder, z, posterior, x), decoder, z)
        return (-_log_mean_exp(log_w), log_w), (jax.nn.softmax(log_w, axis=0), pull_back)

    def backward(kept: Any, slope: tuple[Array, Array]) -> Any:
        v, pull_back = kept
        d_decoder, d_z = pull_back(-v * slope[0][None])
        return d_decoder, v[..., None] * d_z, None, None

    bound.defvjp(forward, backward)

    def doubly_reparameterized(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        posterior = parts.encoder.apply(params["encoder"], batch.x)
        z = jax.vmap(partial(stochastic.sample_gaussian, *posterior))(jax.random.split(key, num_samples))
        loss, log_w = bound(params["decoder"], z, jax.lax.stop_gradient(posterior), batch.x)
        return loss, {"negative_elbo": -jnp.mean(log_w, axis=0)}

    return doubly_reparameterized


def _log_mean_exp(log_w: Array) -> Array:
    """Log (1/k) sum_k w_k: [k, B] -> [B]."""
    return jax.nn.logsumexp(log_w, axis=0) - math.log(len(log_w))


# Using and training it


def encode(params: Params, x: Array, *, parts: VAE) -> tuple[Array, Array]:
    """The approximate posterior q(z|x): x [B, ...] -> (mean [B, d], log_variance [B, d])."""
    return parts.encoder.apply(params["encoder"], x)


def decode(params: Params, z: Array, *, parts: VAE) -> Array:
    """The mean of p(x|z): z [B, d] -> [B, ...]."""
    return parts.likelihood.mean(parts.decoder.apply(params["decoder"], z))


def reconstruct(params: Params, x: Array, *, parts: VAE) -> Array:
    """The decoded posterior mean, without noise: [B, ...] -> [B, ...]."""
    return decode(params, encode(params, x, parts=parts)[0], parts=parts)


def generate(params: Params, num: int, key: Key, *, parts: VAE) -> Array:
    """New data x ~ p(x|z), z ~ N(0, I): [num, ...]."""
    z_key, x_key = jax.random.split(key)
    z = jax.random.normal(z_key, (num, parts.latent_dim))
    return parts.likelihood.sample(parts.decoder.apply(params["decoder"], z), x_key)


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
      A Model; `sample` gives the means E[x|z] at z ~ N(0, I).
    """

    def sample(state: descent.State, num: int, key: Key) -> Array:
        return decode(state.evaluation_params, jax.random.normal(key, (num, parts.latent_dim)), parts=parts)

    trained = descent.model(partial(init_params, parts=parts), optimizer, objective, **options)
    return trained._replace(sample=sample)
