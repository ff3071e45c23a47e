"""Latent codes on the unit sphere: the von Mises-Fisher posterior and the uniform prior (Davidson et al. 2018)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from genjax.losses.latent import Posterior, Prior
from genjax.stochastic.von_mises_fisher import log_scaled_bessel, mean_resultant_gap, sample_von_mises_fisher
from genjax.types import Array, Key, Params


def _log_sphere_area(latent_dim: int) -> float:
    """The logarithm of the area of the unit sphere of R^d, 2 pi^{d/2} / Gamma(d/2)."""
    return math.log(2) + latent_dim / 2 * math.log(math.pi) - math.lgamma(latent_dim / 2)


def _negative_log_density(output: tuple[Array, Array], z: Array) -> Array:
    """-log C_d(k) - k mu^T z = (d/2) log 2 pi + log(I_nu(k) k^{-nu} e^{-k}) + (k/2) ||z - mu||^2, nu = d/2 - 1."""
    mean_direction, concentration = output
    latent_dim = z.shape[-1]
    # k (1 - mu^T z), without the cancellation
    distance = 0.5 * concentration * jnp.sum(jnp.square(z - mean_direction), axis=-1)
    return latent_dim / 2 * math.log(2 * math.pi) + log_scaled_bessel(concentration, latent_dim) + distance


def _sample(output: tuple[Array, Array], key: Key) -> tuple[Array, Array]:
    z = sample_von_mises_fisher(*output, key)
    return z, _negative_log_density(output, z)


VON_MISES_FISHER = Posterior(_sample, lambda output: output[0], _negative_log_density)
"""The von Mises-Fisher density on the unit sphere; the encoder returns the mean direction mu [B, d] and the
concentration k [B], as `networks.von_mises_fisher_heads` makes them.

    -log q(z|x) = -log C_d(k) - k mu^T z, in nats,   C_d(k) = k^nu / ((2 pi)^{d/2} I_nu(k)),   nu = d/2 - 1

`mean` is the mean direction, a code on the sphere (the expectation, inside it, is A_d(k) mu)."""


def von_mises_fisher_kl_to_uniform(concentration: Array, latent_dim: int) -> Array:
    """Kullback-Leibler divergence of a von Mises-Fisher density from the uniform one on the sphere.

        KL = k A_d(k) + log C_d(k) + log(2 pi^{d/2} / Gamma(d/2)),   A_d(k) = I_{d/2}(k) / I_{d/2-1}(k)

    Args:
      concentration: k >= 0, [B].
      latent_dim: d >= 2, of the space around the sphere.

    Returns:
      [B], >= 0, in nats; 0 only at k = 0.

    Source: Davidson et al. 2018, equation 5.
    """
    normaliser = -latent_dim / 2 * math.log(2 * math.pi) - log_scaled_bessel(concentration, latent_dim)
    distance = -concentration * mean_resultant_gap(concentration, latent_dim)
    return distance + normaliser + _log_sphere_area(latent_dim)


def _uniform_negative_log_density(params: Params, z: Array, *context: Any) -> Array:
    return jnp.full(z.shape[:-1], _log_sphere_area(z.shape[-1]), z.dtype)


def _uniform_sample(params: Params, shape: tuple[int, int], key: Key, *context: Any) -> Array:
    noise = jax.random.normal(key, shape)
    return noise * jax.lax.rsqrt(jnp.sum(jnp.square(noise), axis=-1, keepdims=True))


def _uniform_kl(params: Params, output: tuple[Array, Array], *context: Any) -> Array:
    mean_direction, concentration = output
    return von_mises_fisher_kl_to_uniform(concentration, mean_direction.shape[-1])[:, None]


UNIFORM_ON_SPHERE = Prior(lambda key: (), _uniform_negative_log_density, _uniform_sample, _uniform_kl)
"""The uniform density on the unit sphere, whatever the context; `kl`, of the whole code as [B, 1], takes the output of
a `VON_MISES_FISHER` posterior."""
