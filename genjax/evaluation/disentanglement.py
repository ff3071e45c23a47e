"""How codes and known factors of variation depend on each other: information, interventions, agreement between models.

Codes are [N, d], factors [N, F] integers, row by row of the same examples; every combination of the factors should be
there equally often. Measures that predict the factors are in `factor_prediction`. No measure changes if the dimensions
of the code are permuted, or if some of them change their sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from genjax.data.dataset import choose
from genjax.losses.divergence import bounded_exp
from genjax.shapes import check_same_shape
from genjax.types import Array, Key


def discretise(codes: ArrayLike, *, num_bins: int = 20) -> np.ndarray:
    """Codes in bins of equal width between the extremes of each dimension.

    Published values of the gap differ by this choice: 20 bins of equal width are those of Locatello et al. 2019.

    Args:
      codes: [N, d].
      num_bins: of each dimension.

    Returns:
      [N, d] integers from 0; a dimension that never varies is 0.
    """
    codes = np.asarray(codes, np.float64)
    low, span = codes.min(axis=0), np.ptp(codes, axis=0)
    place = (codes - low) / np.where(span > 0, span, 1)
    return np.minimum((place * num_bins).astype(int), num_bins - 1)


def entropy(factors: ArrayLike) -> np.ndarray:
    """Entropy of each column of integers.

        H(v_k) = -sum_v p(v) log p(v)

    Args:
      factors: v, [N, F].

    Returns:
      [F], >= 0, in nats.
    """
    counts = [np.unique(column, return_counts=True)[1] for column in np.asarray(factors).T]
    return np.array([-np.sum(count / count.sum() * np.log(count / count.sum())) for count in counts])


def mutual_information(codes: ArrayLike, factors: ArrayLike) -> np.ndarray:
    """Mutual information between each pair of columns, from their contingency tables.

        I(z_j; v_k) = sum_{z, v} p(z, v) log (p(z, v) / (p(z) p(v)))

    Over a whole population it is exact; of a sample of N it is too large by about (m - 1)(n - 1) / 2N, for columns of m
    and n values.

    Args:
      codes: integers, [N, d], as `discretise` makes them.
      factors: integers, [N, F].

    Returns:
      [d, F], >= 0, in nats.
    """
    codes, factors = np.asarray(codes), np.asarray(factors)
    information = np.empty((codes.shape[1], factors.shape[1]))
    for k, column in enumerate(factors.T):
        together = entropy(codes * (column.max() + 1) + column[:, None])
        information[:, k] = entropy(codes) + entropy(column[:, None]) - together
    return np.maximum(information, 0)


def posterior_information(
    mean: Array, log_variance: Array, factors: ArrayLike, key: Key, *, num_draws: int = 2000
) -> np.ndarray:
    """Mutual information between each dimension of z ~ q(z|x) and each factor, without discretising the code.

        I(z_j; v_k) = E[log q(z_j|v_k) - log q(z_j)],
        q(z_j|v) = mean of q(z_j|x_n) over the n with v_nk = v,   q(z_j) = mean of q(z_j|x_n) over all n

    The densities are sums over the whole set; the expectation is a mean over draws of z from some of the examples.

    Args:
      mean, log_variance: of the posteriors of all examples, [N, d].
      factors: v, [N, F].
      key: draws z.
      num_draws: examples for the expectation, a fixed random choice, with one draw each.

    Returns:
      [d, F], in nats; an estimate, slightly negative at worst where there is no information.

    Raises:
      ValueError: shapes that differ.

    Source: Chen et al. 2018, equation 6 and appendix A.
    """
    check_same_shape(mean=mean, log_variance=log_variance)
    rows, factors = choose(len(mean), num_draws), jnp.asarray(factors)
    noise = jax.random.normal(key, (len(rows), mean.shape[1]), mean.dtype)

    @jax.jit
    def estimate(mean: Array, s: Array, factors: Array) -> Array:
        precision = bounded_exp(-s)

        def log_ratio(drawn: tuple[Array, Array]) -> Array:
            z, own = drawn
            log_density = -0.5 * (jnp.square(z[None] - mean) * precision + s)  # [N, d]
            density = jnp.exp(log_density - jnp.max(log_density, axis=0, keepdims=True))
            same = (factors == own[None]).astype(density.dtype)  # [N, F]
            given = density.T @ same / jnp.sum(same, axis=0)[None]  # [d, F]
            tiny = jnp.finfo(density.dtype).tiny
            return jnp.log(jnp.maximum(given, tiny)) - jnp.log(jnp.mean(density, axis=0))[:, None]

        z = mean[rows] + jnp.exp(s[rows] / 2) * noise
        return jnp.mean(jax.lax.map(log_ratio, (z, factors[rows]), batch_size=8), axis=0)

    return np.asarray(estimate(mean, log_variance, factors), np.float64)


def information_gaps(information: ArrayLike, factor_entropy: ArrayLike) -> np.ndarray:
    """Mutual information gap of each factor; their mean is the MIG.

        (I(z_j1; v_k) - I(z_j2; v_k)) / H(v_k),   j1 and j2 the dimensions of most and second most information

    Args:
      information: I, [d, F], of `mutual_information` or `posterior_information`.
      factor_entropy: H, [F], of `entropy`.

    Returns:
      [F], in [0, 1], larger is better: 1 where one dimension determines the factor and no other depends on it. A factor
      that two dimensions share has 0, however well they determine it.

    Raises:
      ValueError: a factor that never varies.

    Source: Chen et al. 2018, equation 6.
    """
    information, factor_entropy = np.asarray(information), np.asarray(factor_entropy)
    if not (factor_entropy > 0).all():
        raise ValueError("a factor that never varies has no information gap")
    ranked = np.sort(np.concatenate([information, np.zeros((2, information.shape[1]))]), axis=0)
    return (ranked[-1] - ranked[-2]) / factor_entropy


def modularity(information: ArrayLike) -> float:
    """Whether each dimension depends on one factor alone.

        mean over j of 1 - sum_{k != k_j} I_jk^2 / ((F - 1) I_{j k_j}^2),   k_j = argmax_k I_jk

    Args:
      information: I, [d, F], F at least 2. A dimension without any information counts 0, so leave out inactive ones.

    Returns:
      In [0, 1], larger is better. Several dimensions may share a factor without lowering it.

    Source: Ridgeway & Mozer 2018, equation 2, where the template's entries are the information.
    """
    squares = np.square(np.asarray(information))
    largest = squares.max(axis=1)
    others = (squares.sum(axis=1) - largest) / (squares.shape[1] - 1)
    return float(np.mean(np.where(largest > 0, 1 - others / np.where(largest > 0, largest, 1), 0)))


def interventional_robustness(codes: ArrayLike, factors: ArrayLike, *, quantile: float = 1.0) -> float:
    """Whether a dimension keeps its value when factors other than its own are changed: the IRS.

        IRS_jk = 1 - mean over v of q{|z_nj - E[z_j|v_k = v]| : v_nk = v} / max_n |z_nj - E[z_j]|

    with q the quantile, by default the maximum. The score of a dimension is the largest over k, and the whole is their
    mean, weighted by the denominators.

    Args:
      codes: z, [N, d].
      factors: v, [N, F].
      quantile: 1 as in the paper; 0.99, as in Locatello et al. 2019, is less sensitive to single examples.

    Returns:
      In [0, 1], larger is better; 0 where no dimension varies. Few values of a factor alone raise it.

    Source: Suter et al. 2019, equation 11.
    """
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors)
    widest = np.abs(codes - codes.mean(axis=0)).max(axis=0)
    codes, widest = codes[:, widest > 0], widest[widest > 0]
    if not len(widest):
        return 0.0

    def deviation(column: np.ndarray) -> np.ndarray:
        groups = [codes[column == value] for value in np.unique(column)]
        return np.mean([np.quantile(np.abs(z - z.mean(axis=0)), quantile, axis=0) for z in groups], axis=0)

    robustness = 1 - np.array([deviation(column) for column in factors.T]) / widest  # [F, d]
    return float(np.average(robustness.max(axis=0), weights=widest))


def unsupervised_ranking(codes: Sequence[ArrayLike]) -> np.ndarray:
    """How well each model's code agrees with those of other models up to order and sign: the UDR, without factors.

        UDR_ij = 1/(d_i + d_j) (sum_b r_b^2 / sum_a R_ab + sum_a r_a^2 / sum_b R_ab),
        R = |Spearman's correlation| of model i's dimensions a with model j's b,   r_b = max_a R_ab, r_a = max_b R_ab

    Args:
      codes: [N, d_i] of at least two models on the same examples, each without its inactive dimensions.

    Returns:
      The median of each model's agreement with the others, in [0, 1], larger is better; 0 for a model without
      dimensions. It measures agreement: models that are all the same have 1 if their dimensions are uncorrelated.

    Raises:
      ValueError: fewer than two models.

    Source: Duan et al. 2020, equation 4 with Spearman's correlation.
    """
    from scipy.stats import rankdata

    if len(codes) < 2:
        raise ValueError("a model is ranked by its agreement with others; give at least two")
    ranks = [rankdata(np.asarray(z), axis=0) for z in codes]
    scores = np.array([[_agreement(one, other) for other in ranks] for one in ranks])
    return np.array([np.median(np.delete(row, i)) for i, row in enumerate(scores)])


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    dims = one.shape[1]
    if not dims or not other.shape[1]:
        return 0.0
    correlation = np.abs(np.corrcoef(one.T, other.T).reshape(dims + other.shape[1], -1)[:dims, dims:])
    by_axis = (np.sum(correlation.max(axis=axis) ** 2 / correlation.sum(axis=axis)) for axis in (0, 1))
    return float(sum(by_axis) / sum(correlation.shape))


def gaussian_total_correlation(codes: ArrayLike) -> float:
    """Total correlation of a Gaussian with the covariance of the codes.

        TC = -1/2 log det R,   R the matrix of correlations

    Where each dimension by itself is Gaussian, it is a lower bound of the total correlation of the codes.

    Args:
      codes: [N, d], each dimension varying.

    Returns:
      >= 0, in nats, smaller is better; 0 for uncorrelated dimensions, infinite for dependent ones.

    Source: Watanabe 1960; Locatello et al. 2019, appendix.
    """
    correlation = np.corrcoef(np.asarray(codes, np.float64), rowvar=False)
    return float(-0.5 * np.linalg.slogdet(np.atleast_2d(correlation))[1]) + 0.0
