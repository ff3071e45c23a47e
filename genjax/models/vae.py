"""The variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014).

p(z) = N(0, I),   p_theta(x|z) given by the likelihood of the decoder's output,
q_phi(z|x) = N(mu_phi(x), diag e^{s_phi(x)}),   z = mu + e^{s/2} * eps,  eps ~ N(0, I)

-ELBO = E_q[-log p_theta(x|z)] + KL(q_phi(z|x) || p(z)) = distortion + rate  >=  -log p_theta(x)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, stochastic
from genjax.losses import Likelihood, gaussian_kl_to_standard
from genjax.types import Array, Batch, Key, Metrics, Model, Network, Params


class VAE(NamedTuple):
    """The parts of a variational autoencoder; its params are {"encoder": ..., "decoder": ...}."""

    encoder: Network  # x [B, ...] -> (mean [B, d], log_variance [B, d])
    decoder: Network  # z [B, d] -> what the likelihood takes
    likelihood: Likelihood
    latent_dim: int  # d


class State(NamedTuple):
    """What is carried from step to step."""

    step: Array  # [] int32, updates done
    params: Params
    optimizer_state: Any


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
    mean, log_variance = parts.encoder.apply(params["encoder"], x)
    z = stochastic.gaussian(mean, log_variance, key)
    distortion = parts.likelihood.negative_log_likelihood(parts.decoder.apply(params["decoder"], z), x)
    return distortion, gaussian_kl_to_standard(mean, log_variance)


def objective(parts: VAE, *, rate_weight: float = 1.0, distortion_weight: float = 1.0) -> gradients.Objective:
    """The weighted objective of a VAE.

        J = distortion_weight * distortion + rate_weight * rate

    At weights of 1 it is the negative ELBO; rate_weight alone is the beta of a beta-VAE (Higgins et al. 2017).

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo", "distortion", "rate": [B]})`, in nats.
    """

    def weighted(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        distortion, rate = negative_elbo(params, batch.x, key, parts=parts)
        loss = distortion_weight * distortion + rate_weight * rate
        return loss, {"negative_elbo": distortion + rate, "distortion": distortion, "rate": rate}

    return weighted


def encode(params: Params, x: Array, *, parts: VAE) -> tuple[Array, Array]:
    """The approximate posterior q(z|x): x [B, ...] -> (mean [B, d], log_variance [B, d])."""
    return parts.encoder.apply(params["encoder"], x)


def decode(params: Params, z: Array, *, parts: VAE) -> Array:
    """The mean of p(x|z): z [B, d] -> [B, ...]."""
    return parts.likelihood.mean(parts.decoder.apply(params["decoder"], z))


def reconstruct(params: Params, x: Array, *, parts: VAE) -> Array:
    """The decoded posterior mean, without noise: [B, ...] -> [B, ...]."""
    return decode(params, encode(params, x, parts=parts)[0], parts=parts)


def model(parts: VAE, optimizer: optax.GradientTransformation, objective: gradients.Objective) -> Model:
    """A VAE that trains on the given objective: `objective(parts)` of this module, or one of your own.

    Returns:
      A Model; `sample` gives the means E[x|z] at z ~ N(0, I).
    """
    update = gradients.updater(objective, optimizer)

    def init(key: Key) -> State:
        params = init_params(key, parts=parts)
        return State(jnp.zeros([], jnp.int32), params, optimizer.init(params))

    def train_step(state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        key = jax.random.fold_in(key, state.step)
        params, optimizer_state, metrics = update(state.params, state.optimizer_state, batch, key)
        return State(state.step + 1, params, optimizer_state), metrics

    def evaluate(state: State, batch: Batch, key: Key) -> Metrics:
        return gradients.batch_means(*objective(state.params, batch, key))

    def sample(state: State, num: int, key: Key) -> Array:
        return decode(state.params, jax.random.normal(key, (num, parts.latent_dim)), parts=parts)

    return Model(init, train_step, evaluate, sample)
