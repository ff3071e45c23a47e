"""Log-likelihood of a latent-variable model by importance sampling, in bounded memory for any number of samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.types import Array, Key


class Estimate(NamedTuple):
    """A Monte Carlo estimate for each example, in nats."""

    value: Array  # [B]
    standard_error: Array  # [B], of the sampling of z alone, to first order


def log_likelihood(log_weight: Callable[[Key], Array], key: Key, *, num_samples: int, chunk_size: int = 50) -> Estimate:
    """Importance-sampled log-likelihood of each example.

        log p(x) ~= log (1/k) sum_i w_i,   log w = log p(x|z) + log p(z) - log q(z|x),   z ~ q(z|x)

    It is below log p(x) in expectation, by about the variance of w / E[w] over 2 k. Sample i draws from
    `fold_in(key, i)`, so the chunk size changes nothing but memory and speed.

    Args:
      log_weight: key -> log w [B], one draw of z for each example, as the importance sampler of a VAE makes it.
      key: draws z.
      num_samples: k, any number.
      chunk_size: samples held at a time, inside one compiled loop.

    Returns:
      The estimates [B], in nats, larger = better, with the standard error of log (1/k) sum_i w_i by the delta method:
      sqrt(sum_i v_i^2 - 1/k), v = w / sum_j w_j. Where a few weights dominate the sum, that is too small.

    Raises:
      ValueError: fewer than one sample, or chunks of fewer than one.

    Source: Burda, Grosse & Salakhutdinov 2016, section 5, with k = 5000.
    """
    if num_samples < 1 or chunk_size < 1:
        raise ValueError(f"num_samples and chunk_size must be at least 1; got {num_samples} and {chunk_size}")
    chunk = min(chunk_size, num_samples)

    def add(index: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        peak, total, squares = sums  # max log w, sum w / e^peak, sum (w / e^peak)^2
        number = index * chunk + jnp.arange(chunk)
        log_w = jax.vmap(lambda i: log_weight(jax.random.fold_in(key, i)))(number)
        log_w = jnp.where((number < num_samples)[:, None], log_w, -jnp.inf)
        new_peak = jnp.maximum(peak, jnp.max(log_w, axis=0))
        unit = jnp.where(jnp.isneginf(new_peak), 0, new_peak)  # before the first weight: no NaN
        shrink, w = jnp.exp(peak - unit), jnp.exp(log_w - unit[None])
        return new_peak, shrink * total + jnp.sum(w, axis=0), shrink**2 * squares + jnp.sum(w**2, axis=0)

    shape = jax.eval_shape(log_weight, key)
    zero = jnp.zeros(shape.shape, shape.dtype)
    peak, total, squares = jax.lax.fori_loop(0, -(-num_samples // chunk), add, (zero - jnp.inf, zero, zero))
    variance = squares / total**2 - 1 / num_samples
    return Estimate(peak + jnp.log(total) - math.log(num_samples), jnp.sqrt(jnp.maximum(variance, 0)))
