"""How the codes of data lie beside the prior that they are made to follow: the measure of several pages."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def prior_moments(codes: ArrayLike, draws: ArrayLike) -> dict[str, float]:
    """First and second moment of codes in units of the prior's; 0 and 1 where the codes follow it.

        max_j |E_q[z_j] - E_p[z_j]| / sigma_j,   mean_j E_q[(z_j - E_p[z_j])^2] / sigma_j^2

    Args:
      codes: of data, or draws from their posteriors, [N, d].
      draws: from the prior, [M, d], of means E_p[z_j] and standard deviations sigma_j.

    Returns:
      "prior_moment_mean" and "prior_moment_second".
    """
    codes, draws = np.asarray(codes, np.float64), np.asarray(draws, np.float64)
    standard = (codes - draws.mean(axis=0)) / draws.std(axis=0)
    return {
        "prior_moment_mean": float(np.abs(standard.mean(axis=0)).max()),
        "prior_moment_second": float(np.square(standard).mean()),
    }
