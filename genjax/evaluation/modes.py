"""How many modes of a known mixture a set of samples reaches, and how closely."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class ModeCoverage(NamedTuple):
    """What `mode_coverage` finds."""

    covered: int  # modes that have their samples, of K
    share: float  # of the samples that lie near a mode
    counts: np.ndarray  # [K], samples near each mode


def mode_coverage(
    samples: ArrayLike,
    means: ArrayLike,
    *,
    standard_deviation: float,
    radius: float = 3.0,
    minimum: float = 0.1,
) -> ModeCoverage:
    """Modes covered by samples of a mixture of equal round Gaussians, and the share of samples that are of some mode.

    A sample is near its nearest mode within `radius` standard deviations; a mode is covered by `minimum` N / K samples
    near it or more. Of N draws from a mixture in the plane, all modes are covered, and 1 - e^{-9/2} = 98.9 % are near.

    Args:
      samples: [N, D].
      means: [K, D].
      standard_deviation: of each Gaussian, in the samples' units.
      radius: in standard deviations.
      minimum: as a share of the N / K that a mode would have; the literature asks for a single sample
        (Srivastava et al. 2017; Lin et al. 2018, section 4.1).

    Raises:
      ValueError: samples and means of different dimensions.
    """
    x, centres = np.asarray(samples, np.float64), np.asarray(means, np.float64)
    if x.ndim != 2 or centres.ndim != 2 or x.shape[1] != centres.shape[1]:
        raise ValueError(f"samples [N, D] and means [K, D] do not fit: {x.shape} and {centres.shape}")
    distance = np.linalg.norm(x[:, None] - centres[None], axis=2)
    near = distance.min(axis=1) <= radius * standard_deviation
    counts = np.bincount(distance.argmin(axis=1)[near], minlength=len(centres))
    covered = int(np.sum(counts >= max(1, minimum * len(x) / len(centres))))
    return ModeCoverage(covered, float(near.mean()), counts)
