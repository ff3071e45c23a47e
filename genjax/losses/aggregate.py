"""Losses of the aggregate posterior, q(z) = 1/N sum_n q(z|x_n): how its dimensions depend on each other.

Posteriors are diagonal Gaussians, q(z|x_n) = N(mu_n, diag e^{s_n}). `dip_penalty` and `code_covariance` are of a whole
batch; the other functions have one value per example.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.losses.divergence import bounded_exp
from genjax.shapes import as_float, check_same_shape
from genjax.types import Array, Key

LogWeights = Callable[[int, int], Array]  # batch size B, number of examples N -> log w [B, B]


def weighted_log_weights(batch_size: int, num_examples: int) -> Array:
    """Weights of minibatch weighted sampling, by which a batch estimates the aggregate posterior.

        log w_ij = -log(N B),   q(z_i) is estimated by sum_j w_ij q(z_i|x_j)

    The weights add up to 1/N instead of 1, so the estimate of log q(z) is biased, by up to -log N. Its error is nearly
    the same constant for q(z) and for each q(z_k), so it grows with the number of dimensions in a total correlation.

    Args:
      batch_size: B.
      num_examples: N, of the training set.

    Returns:
      [B, B].

    Source: Chen et al. 2018, equation 5.
    """
    return jnp.full((batch_size, batch_size), -math.log(num_examples * batch_size))


def stratified_log_weights(batch_size: int, num_examples: int) -> Array:
    """Weights of minibatch stratified sampling, by which a batch estimates the aggregate posterior without bias.

        w_ii = 1/N,   w_ij = (N - 1) / (N (B - 1)),   q(z_i) is estimated by sum_j w_ij q(z_i|x_j)

    They are the paper's weights averaged over the order of the batch, so that no example is special. The mean of the
    estimate over all batches that contain x_i is q(z_i); at B = N there is one batch, and q(z) is exact.

    Args:
      batch_size: B, at least 2 unless N is 1.
      num_examples: N, of the training set.

    Returns:
      [B, B].

    Source: Chen et al. 2018, appendix C.2.
    """
    others = jnp.log((num_examples - 1) / (num_examples * max(1, batch_size - 1)))
    return jnp.where(jnp.eye(batch_size, dtype=bool), -math.log(num_examples), others)


class RateSplit(NamedTuple):
    """The three parts of the rate, of each example or their means, in nats; their sum is log q(z|x) - log p(z)."""

    mutual_information: Array  # log q(z|x) - log q(z); its mean is I(x; z), at most log N
    total_correlation: Array  # log q(z) - sum_k log q(z_k); its mean is KL(q(z) || prod_k q(z_k))
    dimension_wise_kl: Array  # sum_k log q(z_k) - log p(z); its mean is sum_k KL(q(z_k) || p(z_k))


def aggregate_log_density(z: Array, mean: Array, log_variance: Array, log_weights: Array) -> tuple[Array, Array]:
    """Log density of the aggregate posterior, and of each of its dimensions.

        log q(z_i) = log sum_j w_ij prod_k q(z_ik|x_j),   log q(z_ik) = log sum_j w_ij q(z_ik|x_j)

    Args:
      z: [B, d].
      mean: mu, [M, d].
      log_variance: s = log sigma^2, [M, d]; e^{-s} is `bounded_exp`.
      log_weights: log w, [B, M]; -log M of each for the density of the mixture of these M.

    Returns:
      log q(z) [B], and log q(z_k) [B, d].

    Raises:
      ValueError: shapes that differ.
    """
    check_same_shape(mean=mean, log_variance=log_variance)
    z, mean, s = as_float(z), as_float(mean), as_float(log_variance)
    distance = jnp.square(z[:, None] - mean[None]) * bounded_exp(-s)[None]
    by_dimension = -0.5 * (distance + s[None] + math.log(2 * math.pi))  # [B, M, d]
    together = jax.nn.logsumexp(log_weights + jnp.sum(by_dimension, axis=-1), axis=1)
    return together, jax.nn.logsumexp(log_weights[..., None] + by_dimension, axis=1)


def total_correlation(z: Array, mean: Array, log_variance: Array, log_weights: Array) -> Array:
    """Total correlation of the codes, estimated by one draw of each.

        TC = KL(q(z) || prod_k q(z_k)) = E[log q(z) - sum_k log q(z_k)]

    Args:
      z: a draw from each posterior, [B, d].
      mean: mu, [M, d].
      log_variance: s, [M, d].
      log_weights: [B, M], as of `stratified_log_weights`.

    Returns:
      [B], in nats; single values may be negative, the mean at exact q is >= 0, and 0 only of independent dimensions.

    Source: Watanabe 1960; Chen et al. 2018, equation 2.
    """
    log_q, log_marginals = aggregate_log_density(z, mean, log_variance, log_weights)
    return log_q - jnp.sum(log_marginals, axis=-1)


def split_rate(
    z: Array,
    negative_log_q: Array,
    negative_log_prior: Array,
    mean: Array,
    log_variance: Array,
    log_weights: Array,
) -> RateSplit:
    """Splits the rate of each example into the information, the total correlation and the divergence of each dimension.

        log q(z|x) - log p(z) = log (q(z|x) / q(z)) + log (q(z) / prod_k q(z_k)) + log (prod_k q(z_k) / p(z))

    Args:
      z: a draw from each posterior, [B, d].
      negative_log_q: -log q(z|x), [B].
      negative_log_prior: -log p(z), [B]; the last part is a sum over dimensions where the prior is a product.
      mean: mu, [M, d].
      log_variance: s, [M, d].
      log_weights: [B, M], as of `stratified_log_weights`.

    Returns:
      The parts, [B] each, in nats; their means are the expectations at exact q.

    Source: Chen et al. 2018, equation 2.
    """
    log_q, log_marginals = aggregate_log_density(z, mean, log_variance, log_weights)
    log_product = jnp.sum(log_marginals, axis=-1)
    return RateSplit(-negative_log_q - log_q, log_q - log_product, log_product + negative_log_prior)


def permute_dimensions(z: Array, key: Key) -> Array:
    """Codes whose dimensions are shuffled independently over the batch: draws from the product of the marginals.

        z'_ik = z_{pi_k(i), k},   pi_1, ..., pi_d independent permutations

    Args:
      z: [B, d].
      key: draws the permutations.

    Returns:
      [B, d], each column a permutation of z's.

    Source: Kim & Mnih 2018, algorithm 1.
    """
    return jax.random.permutation(key, z, axis=0, independent=True)


def code_covariance(mean: Array, log_variance: Array | None = None) -> Array:
    """Covariance of the posterior means over a batch, or of the aggregate posterior.

        C = 1/B sum_i (mu_i - m) (mu_i - m)^T [+ 1/B sum_i diag e^{s_i}],   m = 1/B sum_i mu_i

    Args:
      mean: mu, [B, d].
      log_variance: s, [B, d], for the covariance of z ~ q(z); without it, that of the means.

    Returns:
      [d, d].

    Raises:
      ValueError: shapes that differ.

    Source: Kumar, Sattigeri & Balakrishnan 2018, equation 5.
    """
    mean = as_float(mean)
    centred = mean - jnp.mean(mean, axis=0, keepdims=True)
    covariance = centred.T @ centred / len(mean)
    if log_variance is None:
        return covariance
    check_same_shape(mean=mean, log_variance=log_variance)
    return covariance + jnp.diag(jnp.mean(bounded_exp(as_float(log_variance)), axis=0))


def dip_penalty(covariance: Array, *, diagonal_weight: float = 1.0) -> Array:
    """Distance of the codes' covariance from that of the prior N(0, I), of DIP-VAE (disentangled inferred prior).

        R = sum_{i != j} C_ij^2 + r sum_i (C_ii - 1)^2

    With the weight lambda_od before it, r = lambda_d / lambda_od. Of the covariance of the posterior means it is
    DIP-VAE-I, of that of the aggregate posterior DIP-VAE-II.

    Args:
      covariance: C, [d, d], of `code_covariance`.
      diagonal_weight: r.

    Returns:
      [], >= 0; one number for the batch, 0 at C = I.

    Source: Kumar, Sattigeri & Balakrishnan 2018, equations 6 and 7.
    """
    diagonal = jnp.diagonal(covariance)
    off_diagonal = jnp.sum(jnp.square(covariance - jnp.diag(diagonal)))
    return off_diagonal + diagonal_weight * jnp.sum(jnp.square(diagonal - 1))
