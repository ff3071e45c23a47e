"""Distances between two sets of samples, through features [N, D] of any extractor that separates the samples well.

A value means little without its features and N: all distances are of finite sets, and a Frechet distance and MIND are
larger the fewer the samples. Compare values with the same kind of features and the same N.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from genjax.evaluation.feature_sets import two_sets, vectors
from genjax.losses import UNIFORM_ON_SPHERE, squared_mmd
from genjax.losses.discrepancy import transport_of_sorted
from genjax.types import Key


class Distance(NamedTuple):
    """An estimate of a squared distance and its uncertainty."""

    value: float
    standard_error: float


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Frechet distance between the Gaussians with two sets' means and covariances; N < D is allowed.

        d^2 = ||mu_x - mu_y||^2 + Tr(S_x + S_y - 2 (S_x S_y)^{1/2})

    with unbiased covariances S. For two sets from one distribution it is not 0, but about as large as the uncertainty
    of their moments.

    Args:
      x: [N, D], N > 1.
      y: [M, D], M > 1.

    Returns:
      d^2 >= 0, in squared units of the features.

    Raises:
      ValueError: sets of different dimensions or of fewer than two samples, or features that are not finite.

    Source: Dowson & Landau 1982, equation 16; as a distance between images Heusel et al. 2017, equation 6.
    """
    x, y = two_sets(x, y, at_least=2)
    # a triangular root of each covariance, R^T R = S, from the samples themselves, so that nothing is squared first
    root_x, root_y = (np.linalg.qr(a - a.mean(axis=0), mode="r") / np.sqrt(len(a) - 1) for a in (x, y))
    return _frechet(x.mean(axis=0), root_x, y.mean(axis=0), root_y)


def gaussian_frechet_distance(
    mean_x: ArrayLike, covariance_x: ArrayLike, mean_y: ArrayLike, covariance_y: ArrayLike
) -> float:
    """`frechet_distance` between two Gaussians with known moments.

        d^2 = ||mu_x - mu_y||^2 + Tr(S_x + S_y - 2 (S_x S_y)^{1/2})

    Args:
      mean_x, mean_y: [D].
      covariance_x, covariance_y: [D, D], symmetric and positive semi-definite; they may be singular.

    Returns:
      d^2 >= 0, in squared units of the features.

    Raises:
      ValueError: moments that are not finite.

    Source: Dowson & Landau 1982, equation 16.
    """
    means = [vectors(mean, name="mean")[:, 0] for mean in (mean_x, mean_y)]
    roots = []
    for covariance in (covariance_x, covariance_y):
        values, axes = np.linalg.eigh(vectors(covariance, name="covariance"))
        roots.append(np.sqrt(np.maximum(values, 0))[:, None] * axes.T)
    return _frechet(means[0], roots[0], means[1], roots[1])


def _frechet(mean_x: np.ndarray, root_x: np.ndarray, mean_y: np.ndarray, root_y: np.ndarray) -> float:
    """The distance from roots R^T R = S [r, D] of the covariances.

    S_x S_y has the eigenvalues of R_y S_x R_y^T = (R_x R_y^T)^T (R_x R_y^T), besides zeros; so Tr (S_x S_y)^{1/2} is
    the sum of the singular values of R_x R_y^T, and no square root of a nearly singular matrix is needed.
    """
    traces = np.sum(np.square(root_x)) + np.sum(np.square(root_y))
    shared = np.sum(np.linalg.svd(root_x @ root_y.T, compute_uv=False))
    return float(np.sum(np.square(mean_x - mean_y)) + max(traces - 2 * shared, 0.0))


def kernel_distance(x: ArrayLike, y: ArrayLike, *, degree: int = 3, num_blocks: int = 10) -> Distance:
    """Unbiased estimate of the squared maximum mean discrepancy with a polynomial kernel, a mean over blocks.

        MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j),
        k(a, b) = (a . b / D + 1)^degree

    of each block by `losses.squared_mmd`. It compares the moments up to `degree`. The samples are put into a fixed
    random order first, as they may come class by class or in cycles of the classes. Block b has every `num_blocks`-th
    of them, from the b-th on, so the blocks are independent where the samples are, and their spread gives the standard
    error.

    Args:
      x: [N, D].
      y: [M, D].
      degree: of the kernel, 1 or more.
      num_blocks: 2 or more, and at most half the number of samples in the smaller set.

    Returns:
      The estimate, without a unit; it may be negative, and its expectation is 0 for sets from one distribution.

    Raises:
      ValueError: sets of different dimensions or too small for the blocks, or features that are not finite.

    Source: Binkowski et al. 2018, section 4; blocks as Zaremba, Gretton & Blaschko 2013.
    """
    if num_blocks < 2 or degree < 1:
        raise ValueError(f"num_blocks must be at least 2 and degree at least 1; got {num_blocks} and {degree}")
    x, y = two_sets(x, y, at_least=2 * num_blocks)
    x, y = (a[np.random.RandomState(0).permutation(len(a))] for a in (x, y))

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** degree

    blocks = [(x[b::num_blocks], y[b::num_blocks]) for b in range(num_blocks)]
    estimates = np.array([squared_mmd(a, b, kernel) for a, b in blocks])
    return Distance(float(estimates.mean()), float(estimates.std(ddof=1) / np.sqrt(num_blocks)))


def mind(x: ArrayLike, y: ArrayLike, key: Key, *, num_projections: int = 1000) -> float:
    """Monge inception distance: the squared sliced 2-Wasserstein distance, times three times the dimension.

        MIND = 3 D SW_2^2(x, y),   SW_2^2 = E_v[W_2^2(v^T x, v^T y)],   v uniform on the unit sphere

    as `losses.sliced_wasserstein` estimates it. It needs no covariance, and sees what the first two moments do not. A
    projection on a unit vector keeps 1/D of a squared distance in the mean; the factor D makes up for that, so that the
    values of features of different dimensions are on one scale, and 3 is the authors' constant: of N(m, I) and N(0, I)
    it is 3 ||m||^2, where `frechet_distance` is ||m||^2. With finite sets of one distribution it is above 0.

    Args:
      x: [N, D].
      y: [M, D].
      key: draws the projections.
      num_projections: over how many of them the mean is taken.

    Returns:
      >= 0, in squared units of the features.

    Raises:
      ValueError: sets of different dimensions or empty ones, or features that are not finite.

    Source: Berthet et al. 2026 (arXiv 2605.06797), there of Inception features.
    """
    x, y = two_sets(x, y, at_least=1)
    directions = np.asarray(UNIFORM_ON_SPHERE.sample((), (num_projections, x.shape[1]), key), np.float64)
    a, b = (np.sort(directions @ points.T, axis=1).T for points in (x, y))  # here NumPy sorts faster than XLA
    return 3 * x.shape[1] * float(transport_of_sorted(a, b))
