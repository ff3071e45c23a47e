"""Likelihoods: the negative log-likelihood, mean and sampler of a density p(x|z) as one record.

The record fixes the density, and its parameters are the decoder's output: logits for `BERNOULLI` and
`binomial_likelihood`, a mean for `gaussian_likelihood`, a mean with a log-variance for `GAUSSIAN`, a location with a
log-scale for `discretized_logistic_likelihood`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax import stochastic
from genjax.losses.divergence import bounded_exp
from genjax.losses.reconstruction import binary_cross_entropy, sum_features
from genjax.shapes import as_float, check_same_shape
from genjax.types import Array, Key


class Likelihood(NamedTuple):
    """A density p(x|z) as three functions of the decoder's output.

    `negative_log_likelihood(output, x)` -> [B] in nats; `mean(output)` -> E[x|z], [B, ...]; `sample(output, key)` -> a
    draw of x, [B, ...]. Of a density that is a product of named ones, `terms(output, x)` -> {name: [B]} in nats, which
    add up to the first.
    """

    negative_log_likelihood: Callable[[Any, Array], Array]
    mean: Callable[[Any], Array]
    sample: Callable[[Any, Key], Array]
    terms: Callable[[Any, Array], dict[str, Array]] | None = None


def _bernoulli_negative_log_likelihood(logits: Array, x: Array) -> Array:
    check_same_shape(logits=logits, x=x)
    # as vectors: XLA sums a trailing axis of one channel several times more slowly on a CPU
    return binary_cross_entropy(logits.reshape(logits.shape[0], -1), x.reshape(x.shape[0], -1))


BERNOULLI = Likelihood(_bernoulli_negative_log_likelihood, jax.nn.sigmoid, stochastic.sample_bernoulli)
"""Independent Bernoulli pixels; the decoder returns logits [B, ...].

    -log p(x|z) = sum_j softplus(a_j) - x_j a_j, in nats

For grey x it is the usual cross-entropy, which is not a normalised density of grey values."""


def _gaussian_negative_log_likelihood(output: tuple[Array, Array], x: Array) -> Array:
    """-log N(x; mean, e^s) = 1/2 sum_j ((x_j - m_j)^2 e^{-s_j} + s_j + log 2 pi)."""
    mean, log_variance, x = *map(as_float, output), as_float(x)
    check_same_shape(mean=mean, x=x)
    log_variance = jnp.broadcast_to(log_variance, mean.shape)
    terms = jnp.square(x - mean) * bounded_exp(-log_variance) + log_variance + math.log(2 * math.pi)
    return 0.5 * sum_features(terms)


def _gaussian_sample(output: tuple[Array, Array], key: Key) -> Array:
    mean, log_variance = output
    return stochastic.sample_gaussian(mean, jnp.broadcast_to(log_variance, mean.shape), key)


GAUSSIAN = Likelihood(_gaussian_negative_log_likelihood, lambda output: output[0], _gaussian_sample)
"""Independent Gaussian pixels with a learned variance; the decoder returns (mean m, log-variance s).

    -log p(x|z) = 1/2 sum_j ((x_j - m_j)^2 e^{-s_j} + s_j + log 2 pi), in nats

The log-variance is a scalar, as `networks.with_log_variance` makes it, or of the mean's shape. At its optimum a scalar
variance is the mean squared residual. For s < -80 (in float32) e^{-s} is `divergence.bounded_exp`, so that value and
gradient stay finite."""


def gaussian_likelihood(*, variance: float) -> Likelihood:
    """Independent Gaussian pixels with a fixed variance; the decoder returns the mean [B, ...].

        -log p(x|z) = ||x - mean||^2 / (2 sigma^2) + (D/2) log(2 pi sigma^2)

    Weights lambda_1 on the rate and lambda_2 on a squared error are this density at variance lambda_1 / (2 lambda_2).

    Args:
      variance: sigma^2, in squared units of the data.

    Returns:
      The likelihood; its loss is [B], in nats, and negative where the density exceeds 1.

    Raises:
      ValueError: a variance that is not positive.
    """
    if not variance > 0:
        raise ValueError(f"variance must be positive; got {variance}")

    def with_variance(mean: Array) -> tuple[Array, Array]:
        mean = as_float(mean)
        return mean, jnp.full([], math.log(variance), jnp.result_type(mean))

    return Likelihood(
        lambda mean, x: _gaussian_negative_log_likelihood(with_variance(mean), x),
        lambda mean: mean,
        lambda mean, key: _gaussian_sample(with_variance(mean), key),
    )


def binomial_likelihood(*, num_trials: int) -> Likelihood:
    """Independent binomial pixels, x = counts / n in {0, 1/n, ..., 1}; the decoder returns logits a, [B, ...].

        -log p(x|z) = sum_j [n (softplus(a_j) - x_j a_j) - log C(n, n x_j)]

    Unlike `BERNOULLI` it is a normalised density of grey values.

    Args:
      num_trials: n, the largest count: 16 for the embedded digits, 255 for bytes.

    Returns:
      The likelihood; its loss is [B], >= 0, in nats.

    Raises:
      ValueError: fewer than 1 trial.
    """
    n = num_trials
    if n < 1:
        raise ValueError(f"num_trials must be at least 1; got {n}")

    def negative_log_likelihood(logits: Array, x: Array) -> Array:
        x = as_float(x)
        lgamma = jax.scipy.special.gammaln
        log_choices = math.lgamma(n + 1) - lgamma(n * x + 1) - lgamma(n * (1 - x) + 1)
        return n * binary_cross_entropy(logits, x) - sum_features(log_choices)

    def sample(logits: Array, key: Key) -> Array:
        return jax.random.binomial(key, n, jax.nn.sigmoid(logits)) / n

    return Likelihood(negative_log_likelihood, jax.nn.sigmoid, sample)


def discretized_logistic_likelihood(*, num_levels: int, scale: float | None = None) -> Likelihood:
    """Independent logistic pixels, rounded to the levels 0, 1/(L-1), ..., 1; the outermost levels take the tails.

        p(x|z) = F((x + h - m) / s) - F((x - h - m) / s),   F = sigm,   h = 1 / (2 (L - 1)),
        with F = 1 above the highest level and F = 0 below the lowest

    Args:
      num_levels: L: 17 for the embedded digits, 256 for bytes.
      scale: s, if it is fixed; the decoder then returns the location m [B, ...]. None: the decoder returns (m, log s),
        the log-scale a scalar, as `networks.with_log_variance` makes it, or of m's shape; below -7 it counts as -7.

    Returns:
      The likelihood; its loss is [B], >= 0, in nats.

    Raises:
      ValueError: fewer than 2 levels, or a scale that is not positive.

    Source: Salimans, Karpathy, Chen & Kingma 2017 (PixelCNN++), section 2.1.
    """
    if num_levels < 2:
        raise ValueError(f"num_levels must be at least 2; got {num_levels}")
    if scale is not None and not scale > 0:
        raise ValueError(f"scale must be positive; got {scale}")
    steps = num_levels - 1
    h = 0.5 / steps

    def location_and_log_scale(output: Any) -> tuple[Array, Array]:
        if scale is not None:
            output = as_float(output)
            return output, jnp.full_like(output, math.log(scale))
        location, log_scale = map(as_float, output)
        return location, jnp.broadcast_to(jnp.maximum(log_scale, -7), location.shape)

    def negative_log_likelihood(output: Any, x: Array) -> Array:
        location, log_s = location_and_log_scale(output)
        check_same_shape(location=location, x=x)
        x = as_float(x)
        above = (x + h - location) * jnp.exp(-log_s)
        below = (x - h - location) * jnp.exp(-log_s)
        # F(b) - F(a) = F(b) (1 - F(a)) (1 - e^{a-b}), where nothing cancels
        log_below_top, log_above_bottom = jax.nn.log_sigmoid(above), jax.nn.log_sigmoid(-below)
        log_inside = log_below_top + log_above_bottom + _log1mexp(-math.log(steps) - log_s)
        log_p = jnp.where(x < h, log_below_top, jnp.where(x > 1 - h, log_above_bottom, log_inside))
        return -sum_features(log_p)

    def mean(output: Any) -> Array:
        # E[x] = (1 / (L - 1)) sum_{l >= 1} P(x >= l / (L - 1)), one level at a time to save memory
        location, log_s = location_and_log_scale(output)

        def add(level: Array, total: Array) -> Array:
            return total + jax.nn.sigmoid((location - (level - 0.5) / steps) * jnp.exp(-log_s))

        return jax.lax.fori_loop(1, num_levels, add, jnp.zeros_like(location)) / steps

    def sample(output: Any, key: Key) -> Array:
        location, log_s = location_and_log_scale(output)
        y = location + jnp.exp(log_s) * jax.random.logistic(key, location.shape, location.dtype)
        return jnp.clip(jnp.round(y * steps), 0, steps) / steps

    return Likelihood(negative_log_likelihood, mean, sample)


def _log1mexp(log_w: Array) -> Array:
    """Log(1 - e^{-w}) from log w, finite in value and gradient for any finite log w."""
    small = log_w < -10  # where 1 - e^{-w} = w (1 - w/2) in float32
    w = jnp.exp(jnp.where(small, 0.0, jnp.minimum(log_w, 5)))  # e^{-w} is 0 beyond
    return jnp.where(small, log_w - 0.5 * jnp.exp(jnp.minimum(log_w, 0)), jnp.log(-jnp.expm1(-w)))


def observed(likelihood: Likelihood) -> Likelihood:
    """The likelihood of the features x_o that are observed; those that are missing are NaN.

        -log p(x_o|z) = -sum_{j in o} log p(x_j|z)

    With it, and with an encoder made by `networks.missing_as_zero`, every objective of a VAE is one of incomplete
    examples, whose missing values are integrated out.

    Args:
      likelihood: of independent features, each with parameters of its own or parameters that all share, such as
        `BERNOULLI` and `GAUSSIAN`.

    Returns:
      The likelihood; its loss is [B], in nats. Its mean and its draws are of all features.

    Source: Mattei & Frellsen 2019 (MIWAE), equation 4.
    """

    def negative_log_likelihood(output: Any, x: Array) -> Array:
        x = as_float(x)
        missing = jnp.isnan(x)

        def one_a_row(leaf: Array) -> Array:
            return jnp.broadcast_to(leaf, x.shape).reshape(-1, 1) if jnp.ndim(leaf) else leaf

        filled = one_a_row(jnp.where(missing, 0, x))
        each = likelihood.negative_log_likelihood(jax.tree.map(one_a_row, output), filled).reshape(x.shape)
        return sum_features(jnp.where(missing, 0, each))

    return likelihood._replace(negative_log_likelihood=negative_log_likelihood, terms=None)
