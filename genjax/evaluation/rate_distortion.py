"""Rate and distortion of codes: uniform quantisation, entropy, and curves of rate against PSNR."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Quantiser(NamedTuple):
    """Uniform quantisation of each coordinate: symbol k of coordinate j stands for the value low_j + k step_j."""

    low: np.ndarray  # [D], the value of symbol 0
    step: np.ndarray  # [D], > 0
    num_symbols: int  # K; values beyond the last symbol's are moved to it


def with_step(values: ArrayLike, *, step: ArrayLike) -> Quantiser:
    """A quantiser with a given step, aligned to 0, that covers the given values.

        value = low + k step,   low a multiple of the step

    One step for all coordinates spends bits where they matter: a coordinate that hardly varies costs hardly anything.

    Args:
      values: [N, D], those of the training set.
      step: [] for all coordinates, or [D], > 0.

    Returns:
      The quantiser.
    """
    values = np.asarray(values, np.float64)
    step = np.broadcast_to(np.asarray(step, np.float64), values.shape[1:])
    low, high = np.round(values.min(0) / step), np.round(values.max(0) / step)
    return Quantiser(step * low, step, int((high - low).max()) + 1)


def with_bits(values: ArrayLike, *, bits: int) -> Quantiser:
    """A quantiser with 2^bits symbols spread over each coordinate's own range.

        step_j = (max_n x_nj - min_n x_nj) / (2^bits - 1)

    Args:
      values: x, [N, D], those of the training set.
      bits: 1 or more.

    Returns:
      The quantiser.
    """
    values = np.asarray(values, np.float64)
    low, high = values.min(0), values.max(0)
    width = np.where(high > low, high - low, 1.0)  # any step serves a coordinate that never varies
    return Quantiser(low, width / (2**bits - 1), 2**bits)


def quantise(values: ArrayLike, quantiser: Quantiser) -> np.ndarray:
    """Nearest symbols, within half a step except beyond the range.

        k = round((x - low) / step), clipped to 0, ..., K - 1

    Args:
      values: x, [N, D].
      quantiser: as `with_step` or `with_bits` makes it.

    Returns:
      [N, D] int64 from 0 to K - 1.
    """
    symbols = np.round((np.asarray(values, np.float64) - quantiser.low) / quantiser.step)
    return np.clip(symbols, 0, quantiser.num_symbols - 1).astype(np.int64)


def dequantise(symbols: ArrayLike, quantiser: Quantiser) -> np.ndarray:
    """Values that symbols stand for.

        x = low + k step

    Args:
      symbols: k, [N, D] integers.
      quantiser: the one they were made with.

    Returns:
      [N, D] float64.
    """
    return quantiser.low + quantiser.step * np.asarray(symbols)


def histogram(symbols: ArrayLike, *, num_symbols: int) -> np.ndarray:
    """Number of occurrences of each symbol in each column.

    Args:
      symbols: [N, D] integers from 0 to K - 1.
      num_symbols: K.

    Returns:
      [D, K] int64.
    """
    columns = np.asarray(symbols).T
    return np.array([np.bincount(column, minlength=num_symbols) for column in columns], np.int64)


def empirical_entropy(symbols: ArrayLike) -> float:
    """Entropy of the columns' own frequencies, summed: the shortest code of independent columns.

        H = -sum_j sum_k p_jk log2 p_jk,   p_jk = the share of k in column j

    An encoder that also has to transmit the frequencies needs more; a model of the dependence between columns may need
    less.

    Args:
      symbols: [N, D] integers.

    Returns:
      Bits per row, >= 0.

    Source: Shannon 1948.
    """
    from scipy.stats import entropy

    return sum(float(entropy(np.unique(c, return_counts=True)[1], base=2)) for c in np.asarray(symbols).T)


def envelope(rates: ArrayLike, psnrs: ArrayLike) -> np.ndarray:
    """Upper concave envelope of points (rate, PSNR): the points that no chord of others passes above.

    Time-sharing between settings reaches the chords of this envelope, and nothing above it.

    Args:
      rates: [N].
      psnrs: [N].

    Returns:
      Indices of its points in order of rate, [M].
    """
    rates, psnrs = np.asarray(rates, np.float64), np.asarray(psnrs, np.float64)
    hull: list[int] = []
    for i in np.lexsort((-psnrs, rates)):
        if hull and psnrs[i] <= psnrs[hull[-1]]:
            continue
        while len(hull) > 1 and (psnrs[hull[-1]] - psnrs[hull[-2]]) * (rates[i] - rates[hull[-2]]) <= (
            psnrs[i] - psnrs[hull[-2]]
        ) * (rates[hull[-1]] - rates[hull[-2]]):
            hull.pop()
        hull.append(int(i))
    return np.array(hull)


def rate_savings(
    rates: ArrayLike, psnrs: ArrayLike, anchor_rates: ArrayLike, anchor_psnrs: ArrayLike, *, num: int = 200
) -> np.ndarray:
    """Relative rate of a curve compared with an anchor at equal PSNR, over all PSNRs that both curves reach.

        R(D) / R_anchor(D) - 1

    The logarithm of the rate is interpolated over PSNR by monotone cubics (PCHIP), which do not overshoot.

    Args:
      rates, psnrs: the points of the curve, [N >= 2], any order, rates > 0, no PSNR twice.
      anchor_rates, anchor_psnrs: those of the anchor.
      num: of PSNRs.

    Returns:
      [num]; -0.2 is 20 % fewer bits than the anchor.

    Raises:
      ValueError: a curve of one point, or curves without a common range of PSNR.
    """
    curve, anchor, low, high = _common(rates, psnrs, anchor_rates, anchor_psnrs)
    at = np.linspace(low, high, num)
    return np.expm1(curve(at) - anchor(at))


def bd_rate(rates: ArrayLike, psnrs: ArrayLike, anchor_rates: ArrayLike, anchor_psnrs: ArrayLike) -> float:
    """Bjontegaard's mean difference in rate at equal PSNR, with PCHIP interpolation.

        BD = exp(1/(D2 - D1) integral_{D1}^{D2} [log R(D) - log R_anchor(D)] dD) - 1

    over the range [D1, D2] of PSNR that both curves reach.

    Args:
      rates, psnrs: the points of the curve, [N >= 2], any order, rates > 0, no PSNR twice.
      anchor_rates, anchor_psnrs: those of the anchor.

    Returns:
      A number; -0.2 means 20 % fewer bits than the anchor at the same PSNR.

    Raises:
      ValueError: a curve of one point, or curves without a common range of PSNR.

    Source: Bjontegaard 2001 (VCEG-M33).
    """
    curve, anchor, low, high = _common(rates, psnrs, anchor_rates, anchor_psnrs)
    return float(np.expm1((curve.integrate(low, high) - anchor.integrate(low, high)) / (high - low)))


def _common(rates: ArrayLike, psnrs: ArrayLike, anchor_rates: ArrayLike, anchor_psnrs: ArrayLike):
    """Both curves as log R(D), and the range of PSNR that they share."""
    curve, anchor = _log_rate(rates, psnrs), _log_rate(anchor_rates, anchor_psnrs)
    low, high = max(curve.x[0], anchor.x[0]), min(curve.x[-1], anchor.x[-1])
    if not low < high:
        raise ValueError(f"the curves have no common range of PSNR: {curve.x[[0, -1]]} and {anchor.x[[0, -1]]}")
    return curve, anchor, float(low), float(high)


def _log_rate(rates: ArrayLike, psnrs: ArrayLike):
    from scipy.interpolate import PchipInterpolator

    psnrs = np.asarray(psnrs, np.float64)
    if len(psnrs) < 2:
        raise ValueError(f"a curve needs at least 2 points; got {len(psnrs)}")
    order = np.argsort(psnrs)
    return PchipInterpolator(psnrs[order], np.log(np.asarray(rates, np.float64))[order])
