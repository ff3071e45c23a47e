"""Standard errors of statistics of whole sets, by leaving parts of the sets out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def standard_error(statistic: Callable[..., float], *sets: np.ndarray, num_groups: int = 10) -> float:
    """Standard error of a statistic of independent sets of samples, by the jackknife.

        SE^2 = (g - 1) / g sum_b (T_b - mean T)^2,   T_b the statistic without group b of each set

    The sets are put into a fixed random order first, and group b has every g-th sample, from the b-th on. It is for
    smooth statistics; where a distance is of two sets from one distribution, it is only the right order of magnitude.

    Args:
      statistic: of the sets in their order, a number.
      sets: [N, ...] each, with at least `num_groups` samples.
      num_groups: g, 2 or more.

    Returns:
      In units of the statistic.

    Raises:
      ValueError: fewer than two groups, or a set that is too small for them.

    Source: Efron & Tibshirani 1993, chapter 11, with groups in place of single samples.
    """
    fewest = min(map(len, sets))
    if not 2 <= num_groups <= fewest:
        raise ValueError(f"num_groups must be from 2 to {fewest}, the size of the smallest set; got {num_groups}")
    mixed = [a[np.random.RandomState(0).permutation(len(a))] for a in sets]
    without = [
        statistic(*(np.delete(a, np.s_[group::num_groups], axis=0) for a in mixed)) for group in range(num_groups)
    ]
    return float(np.sqrt((num_groups - 1) * np.var(without)))
