"""The importance-weighted autoencoder: a VAE that trains on a tighter bound (Burda, Grosse & Salakhutdinov 2016).

With importance weights w = p_theta(x|z) p(z) / q_phi(z|x), log p_theta(x) = log E_q[w], and k draws bound it more
tightly than the one draw of a VAE:

-ELBO = -E_q[log w]  >=  -E[log (1/k) sum_k w_k]  >=  -log p_theta(x)

A tighter bound teaches the decoder better and the encoder worse, whose gradient has a signal-to-noise ratio that falls
with k (Rainforth et al. 2018). Three objectives weigh the two: means of several bounds (MIWAE), these for the encoder
alone (PIWAE), and a mixture with the ELBO (CIWAE).

Its parts, parameters and model are those of `genjax.models.vae`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax import gradients
from genjax.models import vae
from genjax.types import Array, Batch, Key, Params, Scalar


def importance_sampler(params: Params, x: Array, *context: Any, parts: vae.VAE) -> Callable[[Key], Array]:
    """Draws of the log importance weight, whose mean exponential is the likelihood: p_theta(x) = E[w].

        log w = log p_theta(x|z) + log p(z) - log q_phi(z|x),   z ~ q_phi(z|x)

    Args:
      x: [B, ...], encoded once.

    Returns:
      `log_weight(key) -> [B]`, in nats, one draw of z for each x; `jax.vmap` it over keys.
    """
    return _sampler(params, params, x, *context, parts=parts)


def _sampler(proposal: Params, model: Params, x: Array, *context: Any, parts: vae.VAE) -> Callable[[Key], Array]:
    """`importance_sampler` with the params of q(z|x) apart from those of p(x|z) and p(z)."""
    posterior = vae.encode(proposal, x, *context, parts=parts)

    def log_weight(key: Key) -> Array:
        drawn = vae.draw(model, posterior, key, *context, parts=parts)
        return _log_weight(parts.prior_params(model), drawn, x, *context, parts=parts)

    return log_weight


def _log_weight(prior_params: Params, drawn: vae.Pass, x: Array, *context: Any, parts: vae.VAE) -> Array:
    """Log w [B] of one pass."""
    negative_log_p = parts.likelihood.negative_log_likelihood(drawn.output, x)
    negative_log_prior = parts.prior.negative_log_density(prior_params, drawn.z, *context)
    return drawn.negative_log_q - negative_log_prior - negative_log_p


def _of_all(f: Callable[[Array], Array], draws: Array, remat: int | None) -> Array:
    """f of each draw, [k, ...] -> [k, ...]; with `remat`, of that many at a time, and the gradient computes f again."""
    return jax.vmap(f)(draws) if remat is None else jax.lax.map(jax.checkpoint(f), draws, batch_size=remat)


def objective(parts: vae.VAE, *, num_samples: int, remat: int | None = None) -> gradients.Objective:
    """The importance-weighted bound (Burda, Grosse & Salakhutdinov 2016, equation 8).

        L_k = -log (1/k) sum_i w_i,   E[L_1] = -ELBO >= E[L_k] >= E[L_{k+1}] >= -log p_theta(x)

    Args:
      num_samples: k.
      remat: number of draws that are decoded at a time, and once more for the gradient (rematerialisation; Chen et al.
        2016), so that memory does not grow with k; None decodes all at once and keeps what the gradient needs.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo": [B]})`, in nats; the ELBO's estimate is of the
      same k draws, -(1/k) sum_i log w_i.
    """

    def bound(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        log_weight = importance_sampler(params, batch.x, *parts.context(batch), parts=parts)
        log_w = _of_all(log_weight, jax.random.split(key, num_samples), remat)
        return -_log_mean_exp(log_w), {"negative_elbo": -jnp.mean(log_w, axis=0)}

    return bound


def doubly_reparameterized_objective(
    parts: vae.VAE, *, num_samples: int, remat: int | None = None
) -> gradients.Objective:
    """The same values as `objective`, with the doubly reparameterised gradient of the encoder.

        -grad_theta L_k = sum_i v_i (dlog w_i / dtheta),   -grad_phi L_k = sum_i v_i^2 (dlog w_i / dz_i) (dz_i / dphi),
        v_i = w_i / sum_j w_j

    with theta the parameters of decoder and prior, phi those of the encoder, as far as they act through z: those that a
    `losses.vamp_prior` reads belong to theta. It is also unbiased, and its
    signal-to-noise ratio does not vanish as k grows (Tucker et al. 2018, equation 8).

    Args:
      num_samples: k.
      remat: as in `objective`.

    Raises:
      ValueError: the posterior has no density that can be evaluated at any z.
    """
    negative_log_density = parts.posterior.negative_log_density
    if negative_log_density is None:
        raise ValueError("the doubly reparameterised gradient needs a posterior with a negative_log_density")

    def log_weights(theta: Params, z: Array, posterior: Any, x: Array, context: tuple[Any, ...]) -> Array:
        def at(z: Array) -> Array:
            output = parts.decoder.apply(theta["decoder"], z, *context)
            drawn = vae.Pass(posterior, z, negative_log_density(posterior, z), output)
            return _log_weight(theta["prior"], drawn, x, *context, parts=parts)

        return _of_all(at, z, remat)

    @jax.custom_vjp
    def bound(theta: Params, z: Array, posterior: Any, x: Array, context: tuple[Any, ...]) -> tuple[Array, Array]:
        log_w = log_weights(theta, z, posterior, x, context)
        return -_log_mean_exp(log_w), log_w

    def forward(theta: Params, z: Array, posterior: Any, x: Array, context: tuple[Any, ...]) -> Any:
        # log q's own parameters are held fixed: phi acts through z alone
        log_w, pull_back = jax.vjp(lambda theta, z: log_weights(theta, z, posterior, x, context), theta, z)
        return (-_log_mean_exp(log_w), log_w), (jax.nn.softmax(log_w, axis=0), pull_back)

    def backward(kept: Any, slope: tuple[Array, Array]) -> Any:
        v, pull_back = kept
        d_theta, d_z = pull_back(-v * slope[0][None])
        return d_theta, v[..., None] * d_z, None, None, None

    bound.defvjp(forward, backward)

    def doubly_reparameterized(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        context = parts.context(batch)
        posterior = vae.encode(params, batch.x, *context, parts=parts)
        keys = jax.random.split(key, num_samples)
        z = jax.vmap(lambda key: parts.posterior.sample_and_negative_log_density(posterior, key)[0])(keys)
        theta = {"decoder": params["decoder"], "prior": parts.prior_params(params)}
        loss, log_w = bound(theta, z, jax.lax.stop_gradient(posterior), batch.x, context)
        return loss, {"negative_elbo": -jnp.mean(log_w, axis=0)}

    return doubly_reparameterized


def multiply_weighted_objective(
    parts: vae.VAE, *, num_samples: int, num_bounds: int, remat: int | None = None
) -> gradients.Objective:
    """The mean of several importance-weighted bounds: the multiply importance-weighted autoencoder, MIWAE.

        L_{M,k} = -(1/M) sum_m log (1/k) sum_i w_{m,i}

    It is `objective` at M = 1 and the negative ELBO, averaged over M draws, at k = 1.

    Args:
      num_samples: k, in each bound.
      num_bounds: M.
      remat: as in `objective`.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo": [B]})`, in nats, of M k draws; the loss's
      expectation is that of `objective` with k samples.

    Raises:
      ValueError: fewer than one sample or bound.

    Source: Rainforth et al. 2018, section 5.
    """
    _check_positive(num_samples=num_samples, num_bounds=num_bounds)

    def bound(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        log_weight = importance_sampler(params, batch.x, *parts.context(batch), parts=parts)
        log_w = _of_all(log_weight, jax.random.split(key, num_bounds * num_samples), remat)
        return -_mean_of_bounds(log_w, num_bounds), {"negative_elbo": -jnp.mean(log_w, axis=0)}

    return bound


def partially_weighted_objective(
    parts: vae.VAE, *, num_samples: int, num_bounds: int, remat: int | None = None
) -> gradients.Objective:
    """Two bounds of the same M k draws, one for each part: the partially importance-weighted autoencoder, PIWAE.

        theta descends L_{M k} = -log (1/(M k)) sum_{m,i} w_{m,i},
        phi descends L_{M,k} = -(1/M) sum_m log (1/k) sum_i w_{m,i}

    with theta the parameters of decoder and prior, phi those of the encoder; those that a `losses.vamp_prior` reads
    belong to theta. The decoder has the tightest bound, and the encoder a gradient of a larger signal-to-noise ratio.

    Args:
      num_samples: k, in each of the encoder's bounds.
      num_bounds: M.
      remat: as in `objective`.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo": [B]})`, in nats. The loss is L_{M k}; its gradient
      is that of no one function, so it does not suit optimizers that search along a line.

    Raises:
      ValueError: fewer than one sample or bound.

    Source: Rainforth et al. 2018, section 5.
    """
    _check_positive(num_samples=num_samples, num_bounds=num_bounds)

    def partially_weighted(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        held, keys = jax.lax.stop_gradient(params), jax.random.split(key, num_bounds * num_samples)

        def log_weights(proposal: Params, model: Params) -> Array:
            log_weight = _sampler(proposal, model, batch.x, *parts.context(batch), parts=parts)
            return _of_all(log_weight, jax.random.clone(keys), remat)  # the same draws both times

        log_w = log_weights(held, params)
        of_encoder = -_mean_of_bounds(log_weights(params, held), num_bounds)
        # a value of 0 with the encoder's gradient
        loss = -_log_mean_exp(log_w) + (of_encoder - jax.lax.stop_gradient(of_encoder))
        return loss, {"negative_elbo": -jnp.mean(log_w, axis=0)}

    return partially_weighted


def combined_objective(
    parts: vae.VAE, *, num_samples: int, beta: Scalar, remat: int | None = None
) -> gradients.Objective:
    """A mixture of the ELBO and the importance-weighted bound: the combination importance-weighted autoencoder, CIWAE.

        L = -beta (1/k) sum_i log w_i - (1 - beta) log (1/k) sum_i w_i

    Args:
      num_samples: k, the draws of both terms.
      beta: from 0, where it is `objective`, to 1, where it is the negative ELBO averaged over k draws.
      remat: as in `objective`.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo": [B]})`, in nats; the loss's mean is an upper bound
      of -log p_theta(x).

    Raises:
      ValueError: fewer than one sample.

    Source: Rainforth et al. 2018, section 5.
    """
    _check_positive(num_samples=num_samples)
    weighted = objective(parts, num_samples=num_samples, remat=remat)

    def combined(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        loss, metrics = weighted(params, batch, key)
        return beta * metrics["negative_elbo"] + (1 - beta) * loss, metrics

    return combined


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1; got {number}")


def _log_mean_exp(log_w: Array) -> Array:
    """Log (1/k) sum_k w_k: [k, B] -> [B]."""
    return jax.nn.logsumexp(log_w, axis=0) - math.log(len(log_w))


def _mean_of_bounds(log_w: Array, num_bounds: int) -> Array:
    """The mean of M values of `_log_mean_exp`: [M k, B] -> [B]."""
    grouped = log_w.reshape(num_bounds, -1, *log_w.shape[1:])
    return jnp.mean(jax.vmap(_log_mean_exp)(grouped), axis=0)
