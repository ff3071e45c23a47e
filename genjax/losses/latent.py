"""The distributions of a latent code z: its prior p(z) and the approximate posterior q(z|x), each one record.

`*context` is what a conditional model is given beside its data, such as a label; it is empty in any other model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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
