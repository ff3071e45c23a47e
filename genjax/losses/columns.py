"""Likelihoods of the columns of a table, and the one that is made of several.

The features of a category are a one-hot vector, those of a count are the count divided by a scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.losses.divergence import bounded_exp
from genjax.losses.likelihood import Likelihood
from genjax.losses.reconstruction import sum_features
from genjax.shapes import as_float, check_same_shape
from genjax.types import Array, Key

_LARGEST_DRAW = 20.0  # the log of a rate beyond which draws would not be integers of 32 bits


def _categorical_negative_log_likelihood(logits: Array, x: Array) -> Array:
    logits, x = as_float(logits), as_float(x)
    check_same_shape(logits=logits, x=x)
    return -sum_features(x * jax.nn.log_softmax(logits, axis=-1))


def _categorical_sample(logits: Array, key: Key) -> Array:
    logits = as_float(logits)
    return jax.nn.one_hot(jax.random.categorical(key, logits), logits.shape[-1], dtype=logits.dtype)


CATEGORICAL = Likelihood(
    _categorical_negative_log_likelihood, lambda logits: jax.nn.softmax(as_float(logits)), _categorical_sample
)
"""One of K categories as a one-hot vector x; the decoder returns logits a, [B, K].

    -log p(x|z) = log sum_k e^{a_k} - sum_k x_k a_k, in nats, >= 0

The loss is the cross-entropy, and the mean has the probabilities."""


def _like(scale: Any, x: Array) -> Array:
    """A number, or one for each feature, in the shape of x."""
    return jnp.broadcast_to(jnp.asarray(scale, x.dtype), x.shape)


def poisson_likelihood(*, scale: Any = 1.0) -> Likelihood:
    """Independent Poisson counts, x = count / c; the decoder returns the log-rate of the count relative to c, [B, ...].

        -log p(x|z) = sum_j [lambda_j - n_j log lambda_j + log Gamma(n_j + 1)],   lambda = c e^a,   n = c x

    Args:
      scale: c, a number, or one for each of the features.

    Returns:
      The likelihood; its loss is [B], >= 0, in nats. e^a is `divergence.bounded_exp`.
    """

    def negative_log_likelihood(log_rate: Array, x: Array) -> Array:
        log_rate, x = as_float(log_rate), as_float(x)
        check_same_shape(log_rate=log_rate, x=x)
        log_rate, n = log_rate + _like(np.log(scale), log_rate), jnp.round(x * _like(scale, x))
        return sum_features(bounded_exp(log_rate) - n * log_rate + jax.scipy.special.gammaln(n + 1))

    def sample(log_rate: Array, key: Key) -> Array:
        log_rate = as_float(log_rate)
        rate = jnp.exp(jnp.minimum(log_rate + _like(np.log(scale), log_rate), _LARGEST_DRAW))
        return jax.random.poisson(key, rate).astype(log_rate.dtype) / _like(scale, log_rate)

    return Likelihood(negative_log_likelihood, lambda log_rate: bounded_exp(as_float(log_rate)), sample)


def negative_binomial_likelihood(*, scale: Any = 1.0) -> Likelihood:
    """Independent counts, x = count / c, that vary more than Poisson's: Poisson of a rate that is gamma-distributed.

        -log p(x|z) = sum_j [log B(n_j + 1, r_j) + log(n_j + r_j) + r_j log(1 + m_j / r_j) + n_j log(1 + r_j / m_j)],
        m = c e^a,   n = c x

    The mean of a count is m and its variance m + m^2 s, with the dispersion s = 1 / r; s -> 0 is Poisson.

    Args:
      scale: c, a number, or one for each of the features.

    Returns:
      The likelihood of (a, log s), where log s is of a's shape or broadcasts to it, and counts as within -10 and 10;
      its loss is [B], >= 0, in nats.

    Source: Hilbe 2011, NB2.
    """

    def parameters(output: tuple[Array, Array]) -> tuple[Array, Array]:
        """Log m and log r."""
        log_rate, log_dispersion = map(as_float, output)
        log_r = -jnp.clip(log_dispersion, -10, 10)
        return log_rate + _like(np.log(scale), log_rate), jnp.broadcast_to(log_r, log_rate.shape)

    def negative_log_likelihood(output: tuple[Array, Array], x: Array) -> Array:
        (log_m, log_r), x = parameters(output), as_float(x)
        check_same_shape(log_rate=log_m, x=x)
        n, r = jnp.round(x * _like(scale, x)), jnp.exp(log_r)
        log_choices = jax.scipy.special.betaln(n + 1, r) + jnp.log(n + r)  # without cancellation for large r
        not_counted, counted = jax.nn.softplus(log_m - log_r), jax.nn.softplus(log_r - log_m)
        return sum_features(log_choices + r * not_counted + n * counted)

    def sample(output: tuple[Array, Array], key: Key) -> Array:
        log_m, log_r = parameters(output)
        rate_key, count_key = jax.random.split(key)
        log_rate = jax.random.loggamma(rate_key, jnp.exp(log_r), log_m.shape) - log_r + log_m
        rate = jnp.exp(jnp.minimum(log_rate, _LARGEST_DRAW))
        return jax.random.poisson(count_key, rate).astype(log_m.dtype) / _like(scale, log_m)

    return Likelihood(negative_log_likelihood, lambda output: bounded_exp(as_float(output[0])), sample)


def joint_likelihood(parts: Mapping[str, tuple[int, Likelihood]]) -> Likelihood:
    """The likelihood of independent parts of the features.

        -log p(x|z) = sum_r -log p_r(x_r|z)

    Args:
      parts: by name, the number of features of a part, and its likelihood. The features are those of the parts in
        turn, [B, D]; a part receives its slice of the last axis of every array that the decoder returns.

    Returns:
      The likelihood; its `terms` are -log p_r(x_r|z) by name, [B], in nats.

    Raises:
      ValueError: features of another number than the parts have.
    """
    total = sum(width for width, _ in parts.values())

    def split(tree: Any) -> list[Any]:
        for leaf in jax.tree.leaves(tree):
            if leaf.shape[-1:] != (total,):
                raise ValueError(f"the parts have {total} features; got {leaf.shape}")
        slices, start = [], 0
        for width, _ in parts.values():
            slices.append(jax.tree.map(lambda leaf, a=start, b=start + width: leaf[..., a:b], tree))
            start += width
        return slices

    def terms(output: Any, x: Array) -> dict[str, Array]:
        check_same_shape(output=jax.tree.leaves(output)[0], x=x)
        each = zip(parts.items(), split(output), split(x), strict=True)
        return {name: part.negative_log_likelihood(own, own_x) for (name, (_, part)), own, own_x in each}

    def mean(output: Any) -> Array:
        each = zip(parts.values(), split(output), strict=True)
        return jnp.concatenate([part.mean(own) for (_, part), own in each], axis=-1)

    def sample(output: Any, key: Key) -> Array:
        each = zip(parts.values(), split(output), jax.random.split(key, len(parts)), strict=True)
        return jnp.concatenate([part.sample(own, own_key) for (_, part), own, own_key in each], axis=-1)

    return Likelihood(lambda output, x: sum(terms(output, x).values()), mean, sample, terms)  # type: ignore[arg-type]


def of_location(likelihood: Likelihood) -> Likelihood:
    """The same likelihood beside others that have a spread: it reads the first of the decoder's two arrays.

        -log p(x|z) of the outputs (a, s) = -log p(x|z) of the output a

    Args:
      likelihood: of one array, such as `CATEGORICAL`.

    Returns:
      The likelihood; its loss is [B], in nats.
    """
    return Likelihood(
        lambda output, x: likelihood.negative_log_likelihood(output[0], x),
        lambda output: likelihood.mean(output[0]),
        lambda output, key: likelihood.sample(output[0], key),
    )
