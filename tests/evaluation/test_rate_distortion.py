"""Quantisers, entropies and curves against what is known of them."""

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial import ConvexHull

from genjax.evaluation import rate_distortion


@pytest.fixture
def values():
    return np.random.RandomState(0).normal(size=(500, 3)) * [1, 5, 0.1] + [0, 2, -7]


def test_a_step_bounds_the_error_and_is_aligned_to_zero(values):
    quantiser = rate_distortion.with_step(values, step=0.25)
    symbols = rate_distortion.quantise(values, quantiser)
    decoded = rate_distortion.dequantise(symbols, quantiser)
    assert np.abs(decoded - values).max() <= 0.125 + 1e-12
    np.testing.assert_allclose(decoded, 0.25 * np.round(values / 0.25), atol=1e-12)
    assert symbols.min() == 0 and symbols.max() == quantiser.num_symbols - 1


def test_bits_spread_over_each_coordinates_range(values):
    for bits in (1, 3, 8):
        quantiser = rate_distortion.with_bits(values, bits=bits)
        symbols = rate_distortion.quantise(values, quantiser)
        assert quantiser.num_symbols == 2**bits
        np.testing.assert_array_equal(symbols.min(0), 0)
        np.testing.assert_array_equal(symbols.max(0), 2**bits - 1)
        decoded = rate_distortion.dequantise(symbols, quantiser)
        assert (np.abs(decoded - values) <= quantiser.step / 2 + 1e-12).all()


def test_many_bits_give_the_values_back(values):
    quantiser = rate_distortion.with_bits(values, bits=30)
    decoded = rate_distortion.dequantise(rate_distortion.quantise(values, quantiser), quantiser)
    np.testing.assert_allclose(decoded, values, atol=1e-7)


def test_beyond_the_training_range_is_its_end(values):
    for quantiser in (rate_distortion.with_step(values, step=0.25), rate_distortion.with_bits(values, bits=3)):
        symbols = rate_distortion.quantise(np.stack([values.min(0) - 9, values.max(0) + 99]), quantiser)
        assert (symbols[0] == 0).all() and (symbols[1] == quantiser.num_symbols - 1).any()


def test_a_constant_coordinate_is_one_symbol():
    values = np.full((10, 1), 3.0)
    for quantiser in (rate_distortion.with_step(values, step=0.5), rate_distortion.with_bits(values, bits=4)):
        symbols = rate_distortion.quantise(values, quantiser)
        assert rate_distortion.empirical_entropy(symbols) == 0
        np.testing.assert_allclose(rate_distortion.dequantise(symbols, quantiser), values)


def test_entropy_of_known_frequencies():
    symbols = np.array([[0, 5], [0, 6], [1, 7], [2, 8]])
    assert rate_distortion.empirical_entropy(symbols) == pytest.approx(1.5 + 2)
    np.testing.assert_array_equal(
        rate_distortion.histogram(symbols, num_symbols=9), [[2, 1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1, 1]]
    )


def test_a_gaussian_at_small_steps_loses_a_quarter_bit_to_shannons_bound():
    # H(step) -> h(X) - log2(step), D -> step^2 / 12: 1/2 log2(2 pi e / 12) = 0.2546 bits above R(D) (Gish, Pierce 1968)
    x = np.random.RandomState(0).normal(size=(200_000, 1))
    quantiser = rate_distortion.with_step(x, step=0.2)
    symbols = rate_distortion.quantise(x, quantiser)
    distortion = np.mean((rate_distortion.dequantise(symbols, quantiser) - x) ** 2)
    gap = rate_distortion.empirical_entropy(symbols) + 0.5 * np.log2(distortion)
    assert gap == pytest.approx(0.5 * np.log2(2 * np.pi * np.e / 12), abs=0.01)


CURVE = (np.array([0.5, 1.0, 1.8, 3.1]), np.array([20.0, 25.0, 29.0, 33.0]))


def test_a_curve_against_itself_and_against_a_multiple():
    rates, psnrs = CURVE
    assert rate_distortion.bd_rate(rates, psnrs, rates, psnrs) == 0
    for factor in (0.5, 0.9, 2.0):
        assert rate_distortion.bd_rate(factor * rates, psnrs, rates, psnrs) == pytest.approx(factor - 1)
        np.testing.assert_allclose(rate_distortion.rate_savings(factor * rates, psnrs, rates, psnrs), factor - 1)


def test_a_straight_curve_shifted_in_psnr():
    # log R = a + b D, so D shifted by s changes log R by -b s at every D
    psnrs = np.linspace(20, 40, 6)
    rates = np.exp(-3 + 0.1 * psnrs)
    expected = np.expm1(-0.1 * 2)
    assert rate_distortion.bd_rate(rates, psnrs + 2, rates, psnrs) == pytest.approx(expected)
    assert rate_distortion.bd_rate(rates[::-1], psnrs[::-1] + 2, rates, psnrs) == pytest.approx(expected)


@pytest.mark.parametrize(("first", "last"), [(20, 40), (24, 48), (12, 36), (28, 32), (10, 50)])
def test_curves_are_compared_over_all_psnrs_that_both_reach(first, last):
    # two straight lines, log R = -3 + 0.1 D and log R_anchor = -2 + 0.04 D, whose difference has its mean in the middle
    psnrs, anchor_psnrs = np.linspace(first, last, 6), np.linspace(20, 40, 6)
    curves = np.exp(-3 + 0.1 * psnrs), psnrs, np.exp(-2 + 0.04 * anchor_psnrs), anchor_psnrs
    low, high = max(first, 20), min(last, 40)
    assert rate_distortion.bd_rate(*curves) == pytest.approx(np.expm1(-1 + 0.06 * (low + high) / 2))
    savings = rate_distortion.rate_savings(*curves, num=3)
    np.testing.assert_allclose(savings, np.expm1(-1 + 0.06 * np.array([low, (low + high) / 2, high])))


def test_bd_rate_is_the_mean_of_the_savings_in_logarithms():
    draw = np.random.RandomState(0)
    rates, psnrs = np.sort(draw.uniform(0.2, 4, 6)), np.sort(draw.uniform(18, 32, 6))
    savings = rate_distortion.rate_savings(rates, psnrs, *CURVE, num=20_001)
    mean = np.trapezoid(np.log1p(savings), dx=1 / 20_000)
    assert rate_distortion.bd_rate(rates, psnrs, *CURVE) == pytest.approx(np.expm1(mean), rel=1e-6)


@pytest.mark.parametrize("measure", [rate_distortion.bd_rate, rate_distortion.rate_savings])
def test_curves_without_common_psnr_are_refused(measure):
    rates, psnrs = CURVE
    with pytest.raises(ValueError, match="no common range"):
        measure(rates, psnrs + 20, rates, psnrs)
    with pytest.raises(ValueError, match="at least 2 points"):
        measure(rates[:1], psnrs[:1], rates, psnrs)


def test_the_envelope_is_what_time_sharing_cannot_beat():
    draw = np.random.RandomState(0)
    rates, psnrs = draw.uniform(size=40), draw.uniform(size=40)
    kept = rate_distortion.envelope(rates, psnrs)
    assert (np.diff(rates[kept]) > 0).all() and (np.diff(psnrs[kept]) > 0).all()

    def best(rate):  # the PSNR of the best mixture of settings within this mean rate, by linear programming
        return -linprog(-psnrs, A_ub=[rates], b_ub=[rate], A_eq=[np.ones(40)], b_eq=[1], bounds=(0, 1)).fun

    for rate in np.linspace(rates[kept[0]], 1, 9):
        assert best(rate) == pytest.approx(np.interp(rate, rates[kept], psnrs[kept]), abs=1e-7)
    for i in range(40):
        assert (i in kept) == (psnrs[i] > best(rates[i]) - 1e-9 and not (psnrs[rates < rates[i]] >= psnrs[i]).any())


@pytest.mark.parametrize("seed", range(5))
def test_the_envelope_is_the_hull_of_points_far_from_the_origin(seed):
    rates, psnrs = 5 + np.random.RandomState(seed).rand(2, 12)
    kept = rate_distortion.envelope(rates, psnrs)
    best = np.argmax(psnrs)  # beyond it the hull falls
    hull = {i for i in ConvexHull(np.stack([rates, psnrs], axis=1)).vertices if rates[i] <= rates[best]}
    start = np.argmin(rates)
    slope = (psnrs[best] - psnrs[start]) / (rates[best] - rates[start])
    upper = {i for i in hull if psnrs[i] >= psnrs[start] + slope * (rates[i] - rates[start]) - 1e-12}
    assert set(kept.tolist()) == upper and (np.diff(rates[kept]) > 0).all()
