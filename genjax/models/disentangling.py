"""Penalties that make the dimensions of a VAE's code independent, for `vae.objective`; the equations are in `losses`.

J = -ELBO + lambda R,   R = TC(q(z)) of a beta-TCVAE with beta = 1 + lambda, or the covariance penalty of DIP-VAE

The posterior has to be `DIAGONAL_GAUSSIAN`. Each penalty is of the whole batch, or of each shard where a batch is cut
into shards.
"""

from __future__ import annotations

from genjax import losses
from genjax.losses.aggregate import LogWeights
from genjax.models.vae import Pass, Penalty
from genjax.types import Array


def total_correlation_penalty(
    weight: float, *, num_examples: int, log_weights: LogWeights = losses.stratified_log_weights
) -> Penalty:
    """The total correlation of a beta-TCVAE, estimated by the batch.

        rate + lambda TC = I(x; z) + beta TC + sum_k KL(q(z_k) || p(z_k)),   beta = 1 + lambda

    The rate beside it is the closed form, which the three parts sum to in expectation.

    Args:
      weight: lambda = beta - 1.
      num_examples: N, of the training set.
      log_weights: the estimator of q(z), `losses.stratified_log_weights` or `losses.weighted_log_weights`.

    Source: Chen et al. 2018, equation 4 with alpha = gamma = 1.
    """

    def value(drawn: Pass) -> Array:
        log_w = log_weights(len(drawn.z), num_examples)
        mean, log_variance = drawn.posterior
        return losses.total_correlation(drawn.z, mean, log_variance, log_w)

    return Penalty("total_correlation", weight, value)


def dip_i_penalty(weight: float, *, diagonal_weight: float = 10.0) -> Penalty:
    """The penalty of DIP-VAE-I, on the covariance of the posterior means.

        lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2,   C = Cov[mu]

    Args:
      weight: lambda_od.
      diagonal_weight: lambda_d / lambda_od.

    Source: Kumar, Sattigeri & Balakrishnan 2018, equation 6.
    """

    def value(drawn: Pass) -> Array:
        return losses.dip_penalty(losses.code_covariance(drawn.posterior[0]), diagonal_weight=diagonal_weight)

    return Penalty("dip_penalty", weight, value)


def dip_ii_penalty(weight: float, *, diagonal_weight: float = 1.0) -> Penalty:
    """The penalty of DIP-VAE-II, on the covariance of the aggregate posterior.

        lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2,   C = Cov[mu] + E[diag e^s]

    Args:
      weight: lambda_od.
      diagonal_weight: lambda_d / lambda_od.

    Source: Kumar, Sattigeri & Balakrishnan 2018, equation 7.
    """

    def value(drawn: Pass) -> Array:
        return losses.dip_penalty(losses.code_covariance(*drawn.posterior), diagonal_weight=diagonal_weight)

    return Penalty("dip_penalty", weight, value)
