"""Missing values in the examples of a VAE, which are NaN: trained around them, and filled in.

A VAE of `losses.observed(likelihood)` and an encoder `networks.missing_as_zero(network)` trains on what is observed by
any objective of `models.vae` or `models.importance_weighted`; these bound log p_theta(x_o), where the missing values
are integrated out. They are then estimated by `impute`.

Source: Mattei & Frellsen 2019 (MIWAE).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.models import vae
from genjax.types import Array, Key, Params


def impute(params: Params, x: Array, key: Key, *context: Array, parts: vae.VAE, num_samples: int) -> Array:
    """The examples with each missing value replaced by an estimate of its mean given the observed ones.

        E[x_m|x_o] ~= sum_i v_i E[x_m|z_i],   v = w / sum_j w_j,   w = p_theta(x_o|z) p(z) / q_phi(z|x_o),   z ~ q_phi

    Args:
      x: [B, ...], NaN where a value is missing.
      key: draws z; sample i uses `fold_in(key, i)`.
      num_samples: number of draws of z, one at a time in memory. The estimate converges as it grows, whatever q_phi.

    Returns:
      [B, ...]; observed values as they are.

    Source: Mattei & Frellsen 2019, equations 10 to 12.
    """
    posterior = vae.encode(params, x, *context, parts=parts)

    def wide(weight: Array) -> Array:
        return weight.reshape(len(x), *(1,) * (x.ndim - 1))

    def add(number: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        peak, total, weighted = sums  # max log w, sum w / e^peak, sum (w / e^peak) E[x|z]
        drawn = vae.draw(params, posterior, jax.random.fold_in(key, number), *context, parts=parts)
        negative_log_prior = vae.negative_log_prior(params, drawn.z, *context, parts=parts)
        distortion = parts.likelihood.negative_log_likelihood(drawn.output, x)
        log_w = drawn.negative_log_q - negative_log_prior - distortion
        new_peak = jnp.maximum(peak, log_w)
        shrink, w = jnp.exp(peak - new_peak), jnp.exp(log_w - new_peak)
        mean = parts.likelihood.mean(drawn.output).reshape(x.shape)
        return new_peak, shrink * total + w, wide(shrink) * weighted + wide(w) * mean

    none = jnp.zeros(len(x), x.dtype)
    _, total, weighted = jax.lax.fori_loop(0, num_samples, add, (none - jnp.inf, none, jnp.zeros_like(x)))
    return jnp.where(jnp.isnan(x), weighted / wide(total), x)
