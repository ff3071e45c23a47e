"""Divergences between densities in closed form, per example, in nats."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from genjax.shapes import as_float, check_same_shape
from genjax.types import Array


def _split_at_overflow(x: Array) -> tuple[Array, Array]:
    """x up to 80 in float32 (638 in float64), where e^x is still finite, and what exceeds that, at most 1000."""
    bound = 0.9 * math.log(jnp.finfo(jnp.result_type(x)).max)
    within = jnp.minimum(x, bound)
    return within, jnp.minimum(x - within, 1e3)


@jax.custom_jvp
def bounded_exp(x: Array) -> Array:
    """Exponential function that does not overflow.

        e^x for x <= c,   e^c (1 + min(x - c, 1000)) beyond;   c = 80 in float32, 638 in float64

    Beyond c it follows the tangent, so that the gradient keeps its sign and 0 e^x is 0.

    Args:
      x: [...].

    Returns:
      [...], >= 0, finite.
    """
    within, excess = _split_at_overflow(x)
    return jnp.exp(within) * (1 + excess)


# a single product, as of jnp.exp itself: terms of 0 beside it would change how XLA rounds the sums that it enters
bounded_exp.defjvps(lambda tangent, _, x: tangent * jnp.exp(_split_at_overflow(x)[0]))


@jax.custom_jvp
def _bounded_expm1(x: Array) -> Array:
    """`bounded_exp` less 1, without cancellation near x = 0."""
    within, excess = _split_at_overflow(x)
    return jnp.expm1(within) + jnp.exp(within) * excess


_bounded_expm1.defjvps(lambda tangent, _, x: tangent * (jnp.expm1(_split_at_overflow(x)[0]) + 1))


def gaussian_kl_to_standard(mean: Array, log_variance: Array) -> Array:
    """Kullback-Leibler divergence of a diagonal Gaussian from the standard normal.

        KL(N(mu, diag e^s) || N(0, I)) = 1/2 sum_k (e^{s_k} + mu_k^2 - 1 - s_k)

    Args:
      mean: mu, [B, d].
      log_variance: s = log sigma^2, [B, d]; e^s is `bounded_exp`.

    Returns:
      [B], >= 0, in nats; 0 only at mu = s = 0.

    Raises:
      ValueError: shapes that differ.

    Source: Kingma & Welling 2014, appendix B.
    """
    return 0.5 * jnp.sum(_twice_kl_to_standard(mean, log_variance), axis=-1)


def gaussian_kl_to_standard_per_dimension(mean: Array, log_variance: Array) -> Array:
    """The terms of `gaussian_kl_to_standard`, one for each latent dimension.

        KL(N(mu_k, e^{s_k}) || N(0, 1)) = 1/2 (e^{s_k} + mu_k^2 - 1 - s_k)

    Args:
      mean: mu, [B, d].
      log_variance: s = log sigma^2, [B, d]; e^s is `bounded_exp`.

    Returns:
      [B, d], each >= 0, in nats.

    Raises:
      ValueError: shapes that differ.

    Source: Kingma & Welling 2014, appendix B.
    """
    return 0.5 * _twice_kl_to_standard(mean, log_variance)


def gaussian_kl_to_standard_full_covariance(mean: Array, cholesky: Array) -> Array:
    """Kullback-Leibler divergence of a Gaussian with any covariance from the standard normal.

        KL(N(mu, L L^T) || N(0, I)) = 1/2 (||L||_F^2 + ||mu||^2 - d) - sum_k log L_kk

    It is `gaussian_kl_to_standard` of the diagonal, L_kk = sigma_k, and half the squares below it.

    Args:
      mean: mu, [B, d].
      cholesky: L, [B, d, d], lower triangular with a positive diagonal; entries above it are ignored.

    Returns:
      [B], >= 0, in nats; 0 only at mu = 0, L = I.

    Raises:
      ValueError: shapes that do not fit.

    Source: Rezende et al. 2014, section 4.3.
    """
    if cholesky.shape != (*mean.shape, mean.shape[-1]):
        raise ValueError(f"mean [B, d] and cholesky [B, d, d] do not fit: {mean.shape} and {cholesky.shape}")
    below = jnp.sum(jnp.square(jnp.tril(as_float(cholesky), -1)), axis=(-2, -1))
    sigma = jnp.diagonal(as_float(cholesky), axis1=-2, axis2=-1)
    return gaussian_kl_to_standard(mean, 2 * jnp.log(sigma)) + below / 2


def _twice_kl_to_standard(mean: Array, log_variance: Array) -> Array:
    check_same_shape(mean=mean, log_variance=log_variance)
    mean, log_variance = as_float(mean), as_float(log_variance)
    # expm1 keeps the value non-negative where e^s - 1 - s would cancel
    return jnp.square(mean) + (_bounded_expm1(log_variance) - log_variance)


def gaussian_kl(mean: Array, log_variance: Array, prior_mean: Array, prior_log_variance: Array) -> Array:
    """Kullback-Leibler divergence between two diagonal Gaussians.

        KL(N(mu, e^s) || N(m, e^t)) = 1/2 sum_k ((e^{s_k} + (mu_k - m_k)^2) e^{-t_k} - 1 - s_k + t_k)

    Args:
      mean, log_variance: mu and s of the first, [B, d].
      prior_mean, prior_log_variance: m and t of the second, [B, d]; e^{s - t} and e^{-t} are `bounded_exp`.

    Returns:
      [B], >= 0, in nats; 0 only where the two are equal.

    Raises:
      ValueError: shapes that differ.

    Source: Kullback & Leibler 1951.
    """
    return 0.5 * jnp.sum(_twice_kl(mean, log_variance, prior_mean, prior_log_variance), axis=-1)


def gaussian_kl_per_dimension(mean: Array, log_variance: Array, prior_mean: Array, prior_log_variance: Array) -> Array:
    """The terms of `gaussian_kl`, one for each latent dimension: the `kl` of a learned or conditional prior.

        KL(N(mu_k, e^{s_k}) || N(m_k, e^{t_k})) = 1/2 ((e^{s_k} + (mu_k - m_k)^2) e^{-t_k} - 1 - s_k + t_k)

    Args:
      mean, log_variance: mu and s of the first, [B, d].
      prior_mean, prior_log_variance: m and t of the second, [B, d]; e^{s - t} and e^{-t} are `bounded_exp`.

    Returns:
      [B, d], each >= 0, in nats.

    Raises:
      ValueError: shapes that differ.
    """
    return 0.5 * _twice_kl(mean, log_variance, prior_mean, prior_log_variance)


def _twice_kl(mean: Array, log_variance: Array, prior_mean: Array, prior_log_variance: Array) -> Array:
    check_same_shape(mean=mean, log_variance=log_variance, prior_mean=prior_mean, prior_log_variance=prior_log_variance)
    mean, log_variance = as_float(mean), as_float(log_variance)
    prior_mean, prior_log_variance = as_float(prior_mean), as_float(prior_log_variance)
    difference = log_variance - prior_log_variance
    distance = jnp.square(mean - prior_mean) * bounded_exp(-prior_log_variance)
    return distance + (_bounded_expm1(difference) - difference)
