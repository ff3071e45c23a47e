"""Divergences between densities in closed form, per example, in nats."""

from __future__ import annotations

import chex
import jax.numpy as jnp

from genjax.types import Array


def gaussian_kl_to_standard(mean: Array, log_variance: Array) -> Array:
    """Kullback-Leibler divergence of a diagonal Gaussian from the standard normal.

        KL(N(mu, diag e^s) || N(0, I)) = 1/2 sum_k (e^{s_k} + mu_k^2 - 1 - s_k)

    Args:
      mean: mu, [B, d].
      log_variance: s = log sigma^2, [B, d].

    Returns:
      [B], in nats, >= 0, and 0 only at mu = s = 0.

    Raises:
      AssertionError: naming both shapes where they differ.

    Source: Kingma & Welling 2014, Appendix B.
    """
    return 0.5 * jnp.sum(_twice_kl_to_standard(mean, log_variance), axis=-1)


def gaussian_kl_to_standard_per_dimension(mean: Array, log_variance: Array) -> Array:
    """The terms of `gaussian_kl_to_standard`, one for each latent dimension: [B, d], in nats, each >= 0."""
    return 0.5 * _twice_kl_to_standard(mean, log_variance)


def _twice_kl_to_standard(mean: Array, log_variance: Array) -> Array:
    chex.assert_equal_shape([mean, log_variance])
    # expm1 keeps the value non-negative where e^s - 1 - s would cancel
    return jnp.square(mean) + (jnp.expm1(log_variance) - log_variance)


def gaussian_kl(mean: Array, log_variance: Array, prior_mean: Array, prior_log_variance: Array) -> Array:
    """Kullback-Leibler divergence between two diagonal Gaussians, for a learned or conditional prior.

        KL(N(mu, e^s) || N(m, e^t)) = 1/2 sum_k ((e^{s_k} + (mu_k - m_k)^2) e^{-t_k} - 1 - s_k + t_k)

    Args:
      mean, log_variance: mu and s of the first, [B, d].
      prior_mean, prior_log_variance: m and t of the second, [B, d].

    Returns:
      [B], in nats, >= 0.

    Raises:
      AssertionError: naming the shapes where they differ.
    """
    chex.assert_equal_shape([mean, log_variance, prior_mean, prior_log_variance])
    difference = log_variance - prior_log_variance
    distance = jnp.square(mean - prior_mean) * jnp.exp(-prior_log_variance)
    return 0.5 * jnp.sum(distance + (jnp.expm1(difference) - difference), axis=-1)
