"""Distances between two sets of samples, through features: [N, D] arrays of whatever tells the samples apart well.

A value says little without the features it was measured in and without N: both distances are of finite sets, and a
Frechet distance is larger the fewer the samples. Compare values of one kind of features and one N.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Distance(NamedTuple):
    """An estimate of a squared distance and its uncertainty."""

    value: float
    standard_error: float


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Frechet distance between the Gaussians of two sets' means and covariances, also where N < D.

        d^2 = ||mu_x - mu_y||^2 + Tr(S_x + S_y - 2 (S_x S_y)^{1/2})

    with unbiased covariances S. Of two sets of one distribution it is not 0 but about what their N leaves uncertain.

    Args:
      x: [N, D], N > 1.
      y: [M, D], M > 1.

    Returns:
      In squared units of the features, >= 0.

    Raises:
      ValueError: sets of other dimensions, or of fewer than two samples, naming both shapes.

    Source: Dowson & Landau 1982, equation 16; as a distance between images Heusel et al. 2017, equation 6.
    """
    x, y = _two_sets(x, y, at_least=2)
    # a triangular root of each covariance, R^T R = S, taken from the samples themselves: nothing is squared first
    root_x, root_y = (np.linalg.qr(a - a.mean(axis=0), mode="r") / np.sqrt(len(a) - 1) for a in (x, y))
    return _frechet(x.mean(axis=0), root_x, y.mean(axis=0), root_y)


def gaussian_frechet_distance(
    mean_x: ArrayLike, covariance_x: ArrayLike, mean_y: ArrayLike, covariance_y: ArrayLike
) -> float:
    """`frechet_distance` of two Gaussians whose means [D] and covariances [D, D] are known.

    The covariances need to be symmetric and positive semi-definite; they may be singular.
    """
    roots = []
    for covariance in (covariance_x, covariance_y):
        values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
        roots.append(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)
    return _frechet(np.asarray(mean_x, np.float64), roots[0], np.asarray(mean_y, np.float64), roots[1])


def _frechet(mean_x: np.ndarray, root_x: np.ndarray, mean_y: np.ndarray, root_y: np.ndarray) -> float:
    """The distance from roots R^T R = S [r, D] of the covariances.

    S_x S_y has the eigenvalues of R_y S_x R_y^T = (R_x R_y^T)^T (R_x R_y^T), besides zeros; so Tr (S_x S_y)^{1/2} is
    the sum of the singular values of R_x R_y^T, and no square root of a nearly singular matrix is needed.
    """
    traces = np.sum(np.square(root_x)) + np.sum(np.square(root_y))
    shared = np.sum(np.linalg.svd(root_x @ root_y.T, compute_uv=False))
    return float(np.sum(np.square(mean_x - mean_y)) + max(traces - 2 * shared, 0.0))


def kernel_distance(x: ArrayLike, y: ArrayLike, *, degree: int = 3, num_blocks: int = 10) -> Distance:
    """Squared maximum mean discrepancy with a polynomial kernel, without bias: the mean over blocks of both sets.

        MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j),
        k(a, b) = (a . b / D + 1)^degree

    It compares the moments up to `degree`. Block b has every `num_blocks`-th sample from the b-th on, so the blocks are
    independent where the samples are, and their spread gives the standard error.

    Args:
      x: [N, D].
      y: [M, D].
      degree: of the kernel, 1 or more.
      num_blocks: 2 or more, and at most half as many as there are samples in the smaller set.

    Returns:
      The estimate, which may be below 0, and is 0 in expectation for sets of one distribution; no unit.

    Raises:
      ValueError: sets of other dimensions, or too small for so many blocks.

    Source: Binkowski et al. 2018, section 4; blocks as Zaremba, Gretton & Blaschko 2013.
    """
    if num_blocks < 2 or degree < 1:
        raise ValueError(f"two blocks or more and a degree of 1 or more; not {num_blocks} and {degree}")
    x, y = _two_sets(x, y, at_least=2 * num_blocks)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** degree

    def mean_of_pairs(a: np.ndarray) -> float:
        values = kernel(a, a)
        return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1))

    blocks = [(x[b::num_blocks], y[b::num_blocks]) for b in range(num_blocks)]
    estimates = np.array([mean_of_pairs(a) + mean_of_pairs(b) - 2 * kernel(a, b).mean() for a, b in blocks])
    return Distance(float(estimates.mean()), float(estimates.std(ddof=1) / np.sqrt(num_blocks)))


def _two_sets(x: ArrayLike, y: ArrayLike, *, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    """Both in double precision, checked."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < at_least:
        raise ValueError(
            f"two sets of features [N, D] of one D, with {at_least} samples each or more; got {x.shape} and {y.shape}"
        )
    return x, y
