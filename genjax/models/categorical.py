"""A VAE of d categorical variables of K values, by enumeration of its K^d codes.

q(z|x) = prod_j q_j(z_j|x) with the logits that the encoder gives,   p(z) = K^-d

Its parts are those of `vae`, with `losses.uniform_categorical` and `losses.relaxed_categorical`; what the relaxation
estimates with a bias is exact here, at the price of K^d passes through the decoder.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax import gradients
from genjax.models import vae
from genjax.types import Array, Batch, Key, Params


def settings(num_categories: int, num_variables: int) -> Array:
    """All codes, one-hot vectors side by side: [K^d, d K], the first variable the slowest.

    Raises:
      ValueError: for more than 2^16 codes.
    """
    if num_categories**num_variables > 2**16:
        raise ValueError(
            f"{num_variables} variables of {num_categories} values have {num_categories}^{num_variables} codes; "
            "enumeration is for 2^16 at most: draw them"
        )
    values = jnp.indices((num_categories,) * num_variables).reshape(num_variables, -1).T
    return jax.nn.one_hot(values, num_categories).reshape(values.shape[0], -1)


def _negative_logs(params: Params, x: Array, parts: vae.VAE, num_categories: int) -> tuple[Array, Array, Array]:
    """At every code: -log p(x|z) [K^d, B], -log p(z) [K^d] and -log q(z|x) [K^d, B]."""
    z = settings(num_categories, parts.latent_dim // num_categories)
    posterior = vae.encode(params, x, parts=parts)
    assert parts.posterior.negative_log_density is not None

    def at(code: Array) -> tuple[Array, Array]:
        each = jnp.broadcast_to(code[None], (x.shape[0], len(code)))
        output = parts.decoder.apply(params["decoder"], each)
        negative_log_q = parts.posterior.negative_log_density(posterior, each)  # type: ignore[misc] # asserted
        return parts.likelihood.negative_log_likelihood(output, x), negative_log_q

    negative_log_x, negative_log_q = jax.vmap(at)(z)
    return negative_log_x, vae.negative_log_prior(params, z, parts=parts), negative_log_q


def terms(params: Params, x: Array, *, parts: vae.VAE, num_categories: int) -> tuple[Array, Array]:
    """The two terms of the negative ELBO, without draws.

        distortion = -sum_z q(z|x) log p(x|z),   rate = sum_z q(z|x) [log q(z|x) - log p(z)]

    Args:
      x: [B, ...].
      num_categories: K.

    Returns:
      (distortion [B], rate [B]), in nats.

    Raises:
      ValueError: for more than 2^16 codes.
    """
    negative_log_x, negative_log_z, negative_log_q = _negative_logs(params, x, parts, num_categories)
    q = jnp.exp(-negative_log_q)
    rate = jnp.sum(q * (negative_log_z[:, None] - negative_log_q), axis=0)
    return jnp.sum(q * negative_log_x, axis=0), rate


def negative_log_likelihood(params: Params, x: Array, *, parts: vae.VAE, num_categories: int) -> Array:
    """Minus log p(x) = -log sum_z p(x|z) p(z), exactly.

    Args:
      x: [B, ...].
      num_categories: K.

    Returns:
      [B], in nats, at most the sum of `terms`.

    Raises:
      ValueError: for more than 2^16 codes.
    """
    negative_log_x, negative_log_z, _ = _negative_logs(params, x, parts, num_categories)
    return -jax.nn.logsumexp(-(negative_log_x + negative_log_z[:, None]), axis=0)


def objective(parts: vae.VAE, *, num_categories: int) -> gradients.Objective:
    """The exact negative ELBO as an objective of `vae.model`, and its exact gradient with it.

    Args:
      num_categories: K.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo", "distortion", "rate": [B]})`, in nats, as that of
      `vae.objective` with weights of 1; it draws nothing.
    """

    def exact(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        del key
        distortion, rate = terms(params, batch.x, parts=parts, num_categories=num_categories)
        elbo = distortion + rate
        return elbo, {"negative_elbo": elbo, "distortion": distortion, "rate": rate}

    return exact
