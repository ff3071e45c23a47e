"""Probabilities of rounded numbers, which are densities too: those of numbers with the noise that stands for rounding.

    P(q) = F(q + 1/2) - F(q - 1/2),   F the cumulative distribution of y

At an integer q this is the probability that y is rounded to q. At any other number it is the density of y + u with
u ~ U(-1/2, 1/2), so that one function prices codes in training, where noise stands for rounding, and on the disk.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, logsumexp

from genjax.types import Array, Params

LOG_SCALES = (-2.2, 5.5)  # of a Gaussian: below .11 every code of a rounded number costs the same, as good as nothing
_LEAST_LOG_SCALE = -6.0  # of a logistic distribution


def rounded_gaussian_log_probability(q: Array, log_scale: Array) -> Array:
    """Logarithm of the probability that a Gaussian number is rounded to an integer.

        log P(q) = log [Phi((q + 1/2) / s) - Phi((q - 1/2) / s)],   s = e^t, t clipped to LOG_SCALES

    Args:
      q: integers, or any numbers for the density under uniform noise, [...].
      log_scale: t, [...] of the same shape, or one that broadcasts with it.

    Returns:
      [...], <= 0, in nats, in single precision or better.

    Source: Balle et al. 2018, equation 6.
    """
    q, log_scale = (jnp.asarray(a, jnp.promote_types(jnp.result_type(a), jnp.float32)) for a in (q, log_scale))
    scale = jnp.exp(jnp.clip(log_scale, *LOG_SCALES))
    upper, lower = log_ndtr((0.5 - jnp.abs(q)) / scale), log_ndtr((-0.5 - jnp.abs(q)) / scale)
    return upper + jnp.log(-jnp.expm1(lower - upper))


def rounded_mixture_log_probability(params: Params, q: Array) -> Array:
    """Logarithm of the probability that a number from a mixture of logistic distributions is rounded to an integer.

        log P_d(q) = log sum_k pi_dk [sigm((q + 1/2 - m_dk) / s_dk) - sigm((q - 1/2 - m_dk) / s_dk)]

    Each dimension d has a mixture of its own, with pi_d = softmax(a_d) and s = e^t; t is at least -6. It stands for the
    paper's density by a small network, and has as free a form with enough components.

    Args:
      params: {"logits": a, "mean": m, "log_scale": t}, [D, K] each, as `init_rounded_mixture` makes them.
      q: integers, or any numbers for the density under uniform noise, [B, D].

    Returns:
      [B, D], <= 0, in nats.

    Source: Balle et al. 2018, equations 4 and 5; Salimans et al. 2017, equation 2, for the mixture.
    """
    inverse = jnp.exp(-jnp.maximum(params["log_scale"], _LEAST_LOG_SCALE))[None]
    centred = q[:, :, None] - params["mean"][None]
    upper, lower = (centred + 0.5) * inverse, (centred - 0.5) * inverse
    # sigm(b) - sigm(a) = sigm(b) sigm(-a) (1 - e^(a - b)), without a difference of nearly equal numbers
    component = jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower) + jnp.log(-jnp.expm1(-inverse))
    return logsumexp(jax.nn.log_softmax(params["logits"], axis=-1)[None] + component, axis=-1)


def init_rounded_mixture(dim: int, num_components: int) -> Params:
    """Parameters of a mixture of logistic distributions for each dimension, to start from.

        pi_dk = 1 / K,   m_dk = 6 k / (K + 1) - 3,   s_dk = 1;   k = 1, ..., K

    Args:
      dim: D.
      num_components: K.

    Returns:
      {"logits", "mean", "log_scale"}, [D, K] each.
    """
    shape = (dim, num_components)
    means = jnp.linspace(-3.0, 3.0, num_components + 2)[1:-1]
    return {
        "logits": jnp.zeros(shape),
        "mean": jnp.broadcast_to(means[None], shape),
        "log_scale": jnp.zeros(shape),
    }
