"""Whether samples are copies of training examples, by their distances to the nearest ones in feature space."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from genjax.evaluation import neighbours
from genjax.evaluation.feature_sets import two_sets, vectors

FEWEST = 20
"""Samples in a cell of `data_copying`, below which it is left out, as in the paper."""


class Authenticity(NamedTuple):
    """Share of the samples that are no copies, in [0, 1]."""

    share: float
    standard_error: float  # binomial, for the given training set


class DataCopying(NamedTuple):
    """C_T, below 0 where samples are nearer to the training set than held-out data are."""

    value: float
    standard_error: float  # of C_T where samples and held-out data are alike; 1 for a single cell


def authenticity(samples: ArrayLike, train: ArrayLike) -> Authenticity:
    """Share of samples that are farther from the nearest training example than that one is from the other examples.

        A = 1/M sum_j 1[ ||y_j - x_i|| > min over l != i of ||x_l - x_i|| ],   x_i the training example nearest to y_j

    Of copies it is 0. Of new draws from a smooth density of the data, one minus the probability that a nearest
    neighbour's nearest neighbour is the point itself: 1/3 in one dimension, .38 in two, and nearly 1/2 in many.

    Args:
      samples: y, [M, D].
      train: x, [N, D], N > 1.

    Returns:
      The share, in [0, 1]; smaller = more copies.

    Raises:
      ValueError: sets of different dimensions, no samples or fewer than two training examples, or features that are not
        finite.

    Source: Alaa et al. 2022, in the given features; reflexive neighbours Cox 1981.
    """
    y, x = two_sets(samples, train, at_least=1)
    if len(x) < 2:
        raise ValueError(f"train must have at least 2 examples, of which one is another's neighbour; got {len(x)}")
    found = neighbours.nearest(y, x)
    place, which = np.unique(found.index[:, 0], return_inverse=True)
    around = neighbours.nearest(x[place], x, num_neighbours=2)
    # one of the two is the example itself, or both are other examples that are equal to it
    itself = around.index[:, 0] == place
    radius = np.where(itself, around.distance[:, 1], around.distance[:, 0])
    share = float(np.mean(found.distance[:, 0] > radius[which]))
    return Authenticity(share, float(np.sqrt(share * (1 - share) / len(y))))


def data_copying(samples: ArrayLike, train: ArrayLike, held_out: ArrayLike, *, num_cells: int = 3) -> DataCopying:
    """Test statistic C_T of data copying: whether samples are nearer to the training set than held-out data are.

        C_T = (sum_k p_k Z_k) / (sum_k p_k),   Z = (U - m n / 2) / sqrt(m n (m + n + 1) / 12)

    where Z_k is the standardised Mann-Whitney statistic of the distances to the nearest training example, of the m
    samples against the n held-out examples in cell k, U being the number of pairs in which the sample is farther; p_k
    is the share of the held-out examples in the cell. The cells are those of k-means of the training set; those with
    fewer than `FEWEST` samples are left out, and without any left the whole space is one cell. Ties count half, and the
    variance is corrected for them.

    Where samples and held-out data are alike, each Z is N(0, 1) for large m and n, and C_T has mean 0 and the standard
    error sqrt(sum_k p_k^2) / sum_k p_k.

    Args:
      samples: [M, D].
      train: [N, D], N >= num_cells.
      held_out: [H, D].
      num_cells: number of cells; 1 for the whole space at once.

    Returns:
      C_T without a unit: far below 0 for copies, far above 0 for samples that are farther away than data are.

    Raises:
      ValueError: sets of different dimensions or empty ones, or features that are not finite.

    Source: Meehan, Chaudhuri & Dasgupta 2020.
    """
    from sklearn.cluster import KMeans

    y, x = two_sets(samples, train, at_least=1)
    h, _ = two_sets(held_out, x, at_least=1)
    far, near = (neighbours.nearest(points, x).distance[:, 0] for points in (y, h))
    of_sample, of_held_out = np.zeros(len(y), int), np.zeros(len(h), int)
    if num_cells > 1:
        cells = KMeans(num_cells, n_init="auto", random_state=0).fit(x)
        of_sample, of_held_out = cells.predict(y), cells.predict(h)
    sizes = np.bincount(of_sample, minlength=num_cells), np.bincount(of_held_out, minlength=num_cells)
    used = np.flatnonzero((sizes[0] >= FEWEST) & (sizes[1] > 0))
    if not len(used):
        return DataCopying(standardised_rank_sum(far, near), 1.0)
    share = sizes[1][used] / sizes[1][used].sum()
    z = [standardised_rank_sum(far[of_sample == cell], near[of_held_out == cell]) for cell in used]
    return DataCopying(float(share @ z), float(np.linalg.norm(share)))


def standardised_rank_sum(a: ArrayLike, b: ArrayLike) -> float:
    """The Mann-Whitney statistic of two samples of numbers, in standard deviations of its null distribution.

        Z = (U - m n / 2) / sqrt(t m n (m + n + 1) / 12),   U = sum_ij 1[a_i > b_j] + 1/2 sum_ij 1[a_i = b_j]

    with the correction t for ties.

    Args:
      a: [m].
      b: [n].

    Returns:
      Above 0 where the a are larger; 0 where all numbers are equal.

    Raises:
      ValueError: numbers that are not finite.

    Source: Mann & Whitney 1947.
    """
    from scipy.stats import rankdata, tiecorrect

    x, y = vectors(a)[:, 0], vectors(b)[:, 0]
    m, n = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]))
    u = ranks[:m].sum() - m * (m + 1) / 2
    deviation = np.sqrt(tiecorrect(ranks) * m * n * (m + n + 1) / 12)
    return float((u - m * n / 2) / deviation) if deviation > 0 else 0.0
