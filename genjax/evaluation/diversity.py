"""How many different samples a set holds, without any data to compare it with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from genjax.evaluation.feature_sets import vectors


def vendi_score(features: ArrayLike) -> float:
    """Vendi score: the effective number of different samples, by the cosines between their features.

        VS = exp(-sum_i lambda_i log lambda_i),   lambda the eigenvalues of K / N,   K_ij = cos(x_i, x_j)

    The exponential of an entropy: 1 where all samples point in one direction, N where they are orthogonal. A vector of
    zeros counts as a direction of its own, shared by all of them.

    Args:
      features: x, [N, ...]; flattened.

    Returns:
      In [1, N], and at most D + 1.

    Raises:
      ValueError: no samples, or features that are not finite.

    Source: Friedman & Dieng 2023, with the cosine as the kernel.
    """
    from scipy.special import entr

    x = vectors(features)
    if not len(x):
        raise ValueError("the diversity of no samples is not defined")
    length = np.linalg.norm(x, axis=1, keepdims=True)
    # one more axis, along which vectors of zeros lie
    unit = np.hstack([x / np.where(length > 0, length, 1), length == 0])
    # the smaller of K / N and the matrix of the features' own products, whose eigenvalues above 0 are the same
    products = unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit
    return float(np.exp(entr(np.maximum(np.linalg.eigvalsh(products / len(x)), 0)).sum()))
