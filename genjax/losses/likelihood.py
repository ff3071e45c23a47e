"""What a decoder's output means: its negative log-likelihood, mean and sampler travel as one record.

A density is fixed by the record, its parameters are whatever the decoder returns: logits for `BERNOULLI`, a mean for
`gaussian`, a mean with a log-variance for `GAUSSIAN`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from genjax import stochastic
from genjax.losses.reconstruction import binary_cross_entropy, sum_features
from genjax.types import Array, Key


class Likelihood(NamedTuple):
    """A density p(x|z) as three functions of the decoder's output.

    `negative_log_likelihood(output, x)` -> [B] in nats; `mean(output)` -> E[x|z], [B, ...]; `sample(output, key)` -> a
    draw of x, [B, ...].
    """

    negative_log_likelihood: Callable[[Any, Array], Array]
    mean: Callable[[Any], Array]
    sample: Callable[[Any, Key], Array]


BERNOULLI = Likelihood(binary_cross_entropy, jax.nn.sigmoid, stochastic.bernoulli)
"""Independent Bernoulli pixels; the decoder returns logits [B, ...]. For grey x it is the usual cross-entropy, a bound
on no normalised density of grey values."""


def _gaussian_negative_log_likelihood(output: tuple[Array, Array], x: Array) -> Array:
    """-log N(x; mean, e^s) = 1/2 sum_j ((x_j - m_j)^2 e^{-s_j} + s_j + log 2 pi)."""
    mean, log_variance = output
    chex.assert_equal_shape([mean, x])
    log_variance = jnp.broadcast_to(log_variance, mean.shape)
    terms = jnp.square(x - mean) * jnp.exp(-log_variance) + log_variance + math.log(2 * math.pi)
    return 0.5 * sum_features(terms)


def _gaussian_sample(output: tuple[Array, Array], key: Key) -> Array:
    mean, log_variance = output
    return stochastic.gaussian(mean, jnp.broadcast_to(log_variance, mean.shape), key)


GAUSSIAN = Likelihood(_gaussian_negative_log_likelihood, lambda output: output[0], _gaussian_sample)
"""N(mean, e^{log_variance}); the decoder returns both, the log-variance a scalar or of the mean's shape, as
`networks.with_log_variance` makes it. At its optimum a scalar variance is the mean squared residual."""


def gaussian(*, variance: float) -> Likelihood:
    """N(mean, variance I) with a fixed variance; the decoder returns the mean [B, ...].

        -log p(x|z) = ||x - mean||^2 / (2 variance) + (D/2) log(2 pi variance)

    Weights lambda_1 on the rate and lambda_2 on a squared error are this density at variance lambda_1 / (2 lambda_2).

    Raises:
      ValueError: if the variance is not positive.
    """
    if not variance > 0:
        raise ValueError(f"the variance of a Gaussian is positive, not {variance}")

    def with_variance(mean: Array) -> tuple[Array, Array]:
        return mean, jnp.full([], math.log(variance), mean.dtype)

    return Likelihood(
        lambda mean, x: _gaussian_negative_log_likelihood(with_variance(mean), x),
        lambda mean: mean,
        lambda mean, key: _gaussian_sample(with_variance(mean), key),
    )
