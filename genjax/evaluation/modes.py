"""Modes of a known mixture that a set of samples covers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from genjax.evaluation.feature_sets import two_sets


class ModeCoverage(NamedTuple):
    """The result of `mode_coverage`."""

    covered: int  # modes with enough samples, of K
    share: float  # of the samples that are near a mode
    counts: np.ndarray  # [K], samples near each mode


def mode_coverage(
    samples: ArrayLike,
    means: ArrayLike,
    *,
    standard_deviation: float,
    radius: float = 3.0,
    minimum: float = 0.1,
) -> ModeCoverage:
    """Modes that samples of a mixture of equal round Gaussians cover, and the share of samples near a mode.

        sample near mode k: k = argmin_j ||x - mu_j|| and ||x - mu_k|| <= radius * sigma
        mode k covered: at least minimum * N / K samples are near it

    Of N draws from a mixture in the plane, all modes are covered and 1 - e^{-9/2} = 98.9 % of the samples are near one.

    Args:
      samples: x, [N, D].
      means: mu, [K, D].
      standard_deviation: sigma of each Gaussian, in the samples' units.
      radius: in standard deviations.
      minimum: as a share of N / K; the sources count a mode from a single sample on.

    Returns:
      Covered modes of K, the share in [0, 1], and the samples near each mode [K].

    Raises:
      ValueError: samples and means of different dimensions or without rows, or values that are not finite.

    Source: Srivastava et al. 2017; Lin et al. 2018, section 4.1.
    """
    x, centres = two_sets(samples, means, at_least=1)
    distance = np.linalg.norm(x[:, None] - centres[None], axis=2)
    near = distance.min(axis=1) <= radius * standard_deviation
    counts = np.bincount(distance.argmin(axis=1)[near], minlength=len(centres))
    covered = int(np.sum(counts >= max(1, minimum * len(x) / len(centres))))
    return ModeCoverage(covered, float(near.mean()), counts)
