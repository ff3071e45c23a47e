"""The distributions of a latent code z: its prior p(z) and the approximate posterior q(z|x), each one record.

`*context` is what a conditional model is given beside its data, such as a label; it is empty in any other model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax import stochastic
from genjax.losses.divergence import gaussian_kl_to_standard_per_dimension
from genjax.losses.likelihood import GAUSSIAN
from genjax.types import Array, Key, Params


class Prior(NamedTuple):
    """A density p(z), or p(z|context), with parameters of its own or with none.

    `init(key)` -> params, () for a prior without parameters; `negative_log_density(params, z, *context)` -> [B] in
    nats; `sample(params, shape, key, *context)` -> z of that shape, [num, d]; `kl(params, output, *context)` -> [B, d],
    the divergence KL(q(z_j|x) || p(z_j)) of each latent dimension in nats, from the encoder's output. `kl` is None
    where there is no closed form for the model's posterior, and is then estimated by one draw of log q(z|x) - log p(z).
    """

    init: Callable[[Key], Params]
    negative_log_density: Callable[..., Array]
    sample: Callable[..., Array]
    kl: Callable[..., Array] | None = None


def _standard_normal_negative_log_density(params: Params, z: Array, *context: Any) -> Array:
    del params, context
    return GAUSSIAN.negative_log_likelihood((jnp.zeros_like(z), jnp.zeros([], z.dtype)), z)


def _standard_normal_sample(params: Params, shape: tuple[int, int], key: Key, *context: Any) -> Array:
    del params, context
    return jax.random.normal(key, shape)


def _standard_normal_kl(params: Params, output: tuple[Array, Array], *context: Any) -> Array:
    del params, context
    return gaussian_kl_to_standard_per_dimension(*output)


STANDARD_NORMAL = Prior(
    lambda key: (), _standard_normal_negative_log_density, _standard_normal_sample, _standard_normal_kl
)
"""N(0, I), whatever the context; `kl` takes the output of a `DIAGONAL_GAUSSIAN` posterior. With another posterior use
`STANDARD_NORMAL._replace(kl=None)`."""


class Posterior(NamedTuple):
    """A density q(z|x), given by the encoder's output.

    `sample_and_negative_log_density(output, key)` -> (z [B, d], -log q(z|x) [B]), z differentiable in the output (a
    reparameterised draw); `mean(output)` -> [B, d]; `negative_log_density(output, z)` -> [B] at any z, or None where
    it is known at draws alone, as of an inverse autoregressive flow.
    """

    sample_and_negative_log_density: Callable[[Any, Key], tuple[Array, Array]]
    mean: Callable[[Any], Array]
    negative_log_density: Callable[[Any, Array], Array] | None = None


def _gaussian_sample_and_negative_log_density(output: tuple[Array, Array], key: Key) -> tuple[Array, Array]:
    z = GAUSSIAN.sample(output, key)
    return z, GAUSSIAN.negative_log_likelihood(output, z)


DIAGONAL_GAUSSIAN = Posterior(
    _gaussian_sample_and_negative_log_density, GAUSSIAN.mean, GAUSSIAN.negative_log_likelihood
)
"""N(mean, diag e^{log_variance}); the encoder returns both, [B, d] each, as `networks.gaussian_heads` makes them."""


def _full_covariance_negative_log_density(output: tuple[Array, Array], z: Array) -> Array:
    """-log N(z; mu, L L^T) = 1/2 ||eps||^2 + sum_k log L_kk + d/2 log 2 pi, with L eps = z - mu."""
    mean, cholesky = output
    eps = jax.vmap(lambda factor, difference: jax.scipy.linalg.solve_triangular(factor, difference, lower=True))(
        cholesky, z - mean
    )
    log_sigma = jnp.log(jnp.diagonal(cholesky, axis1=-2, axis2=-1))
    return jnp.sum(0.5 * jnp.square(eps) + log_sigma + 0.5 * math.log(2 * math.pi), axis=-1)


def _full_covariance_sample(output: tuple[Array, Array], key: Key) -> tuple[Array, Array]:
    z = stochastic.sample_gaussian_full_covariance(*output, key)
    return z, _full_covariance_negative_log_density(output, z)


FULL_COVARIANCE_GAUSSIAN = Posterior(
    _full_covariance_sample, lambda output: output[0], _full_covariance_negative_log_density
)
"""N(mean, L L^T); the encoder returns mean [B, d] and L [B, d, d], as `networks.full_covariance_heads` makes them.

The prior beside it is `STANDARD_NORMAL._replace(kl=...)`, with `gaussian_kl_to_standard_full_covariance` of the whole
code as [B, 1], or with None for its estimate."""
