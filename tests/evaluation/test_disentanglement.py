"""Measures of disentanglement against scikit-learn, SciPy, and codes whose values are known by hand.

The factors' own values as a code are perfect; two factors of two values, turned by 45 degrees, share everything:
z_1 = (v_1 + v_2) / sqrt 2 has I(z_1; v_1) = I(z_1; v_2) = 1/2 log 2, and so has z_2.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import mutual_info_score

from genjax.evaluation import disentanglement

COUNTS = (3, 2, 4, 5)
FACTORS = np.array([*itertools.product(*map(range, COUNTS))])
TWO = np.array([*itertools.product(range(2), range(2))])
TURN = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
ENTROPY = np.log(COUNTS)


def gaps(codes, factors):
    information = disentanglement.mutual_information(disentanglement.discretise(codes), factors)
    return disentanglement.information_gaps(information, disentanglement.entropy(factors))


def test_information_of_tables_is_that_of_scikit_learn():
    draw = np.random.RandomState(0)
    codes, factors = draw.randint(7, size=(200, 3)), draw.randint(4, size=(200, 2))
    codes[:, 0] = (codes[:, 0] + 3 * factors[:, 1]) % 7
    found = disentanglement.mutual_information(codes, factors)
    expected = [[mutual_info_score(z, v) for v in factors.T] for z in codes.T]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(
        disentanglement.entropy(factors), [scipy.stats.entropy(np.bincount(v)) for v in factors.T], rtol=1e-12
    )


def test_bins_are_of_equal_width():
    codes = np.random.RandomState(0).standard_normal((300, 2)) * [1, 40]
    found = disentanglement.discretise(codes, num_bins=7)
    for bins, z in zip(found.T, codes.T, strict=True):
        counts, _ = np.histogram(z, 7)
        np.testing.assert_array_equal(np.bincount(bins, minlength=7), counts)
    assert not disentanglement.discretise(np.ones((5, 1))).any()


def test_factors_as_a_code_are_perfect():
    np.testing.assert_allclose(gaps(FACTORS, FACTORS), 1, rtol=1e-12)
    information = disentanglement.mutual_information(FACTORS, FACTORS)
    np.testing.assert_allclose(information, np.diag(ENTROPY), atol=1e-12)
    assert disentanglement.modularity(information) == pytest.approx(1)
    # a dimension alone, without a second one to compare with, has its factor's whole information
    assert gaps(FACTORS[:, :1], FACTORS)[0] == pytest.approx(1)
    assert disentanglement.interventional_robustness(FACTORS, FACTORS) == pytest.approx(1)


def test_two_dimensions_of_one_factor_close_its_gap_alone():
    codes = np.concatenate([FACTORS, -3 * FACTORS[:, [2]]], axis=1)
    np.testing.assert_allclose(gaps(codes, FACTORS), [1, 1, 0, 1], atol=1e-12)
    assert disentanglement.modularity(disentanglement.mutual_information(codes + 20, FACTORS)) == pytest.approx(1)


def test_a_turn_of_45_degrees_has_the_values_computed_by_hand():
    codes = TWO @ TURN
    information = disentanglement.mutual_information(disentanglement.discretise(codes), TWO)
    np.testing.assert_allclose(information, np.full((2, 2), np.log(2) / 2), rtol=1e-12)
    np.testing.assert_allclose(gaps(codes, TWO), 0, atol=1e-12)
    assert disentanglement.modularity(information) == pytest.approx(0)
    # with v_1 fixed, z_1 still moves by half of its range
    assert disentanglement.interventional_robustness(codes, TWO) == pytest.approx(0.5)
    # a factor of three values beside one of two: z_1 = v_1 + 2 v_2, z_2 = v_1
    factors = np.array([*itertools.product(range(2), range(3))])
    codes = np.stack([factors[:, 0] + 2 * factors[:, 1], factors[:, 0]], axis=1)
    # z_1 determines both: v_1's gap is closed, that of v_2 is open
    np.testing.assert_allclose(gaps(codes, factors), [0, 1], atol=1e-12)
    by_hand = np.array([1 - np.log(2) ** 2 / np.log(3) ** 2, 1])
    information = disentanglement.mutual_information(codes, factors)
    assert disentanglement.modularity(information) == pytest.approx(by_hand.mean())


def measures(codes, factors):
    information = disentanglement.mutual_information(disentanglement.discretise(codes), factors)
    return [
        *gaps(codes, factors),
        disentanglement.modularity(information),
        disentanglement.interventional_robustness(codes, factors, quantile=0.9),
        disentanglement.gaussian_total_correlation(codes),
    ]


def test_order_and_signs_change_nothing():
    draw = np.random.RandomState(0)
    codes = FACTORS @ draw.standard_normal((4, 4)) + 0.1 * draw.standard_normal((len(FACTORS), 4))
    changed = (codes * [1, -1, -1, 1])[:, [2, 0, 3, 1]]
    # the bins of a reflected dimension are reflected where no value is on an edge
    np.testing.assert_allclose(measures(changed, FACTORS), measures(codes, FACTORS), rtol=1e-9)


def test_noise_has_no_gap_beyond_its_bias():
    draw = np.random.RandomState(0)
    factors = FACTORS[draw.randint(len(FACTORS), size=20_000)]
    information = disentanglement.mutual_information(
        disentanglement.discretise(draw.random_sample((20_000, 3))), factors
    )
    # the expected information of independent columns of m and n values is (m - 1)(n - 1) / 2N
    bias = 19 * (np.array(COUNTS) - 1) / 40_000
    np.testing.assert_allclose(information.mean(0), bias, rtol=0.6)
    assert gaps(draw.random_sample((20_000, 3)), factors).max() < 3e-3
    assert disentanglement.interventional_robustness(draw.random_sample((20_000, 3)), factors) < 0.02


def test_information_of_posteriors_is_that_of_narrow_ones_and_by_quadrature(key):
    mean = jnp.float32(FACTORS)
    # posteriors narrower than the distance of the means determine the factor
    found = disentanglement.posterior_information(mean, jnp.full_like(mean, -8.0), FACTORS, key)
    np.testing.assert_allclose(found, np.diag(ENTROPY), atol=1e-3)
    # two values at distance 1 with deviation 1/2: H(z) - H(z|v) by quadrature
    mean = jnp.float32(TWO[np.arange(1600) % 4])
    factors = TWO[np.arange(1600) % 4]
    found = disentanglement.posterior_information(mean, jnp.full_like(mean, np.log(0.25)), factors, key)
    z = np.linspace(-5, 6, 20_001)
    p = scipy.stats.norm.pdf(z[:, None], [0, 1], 0.5)
    mixture = p.mean(1)
    exact = np.mean([np.trapezoid(q * np.log(q / mixture), z) for q in p.T])
    np.testing.assert_allclose(np.diag(found), exact, atol=0.04)
    np.testing.assert_allclose(found[[0, 1], [1, 0]], 0, atol=1e-5)
    # one factor tells the widths apart, of the same means: N(0, 1) and N(0, 1/16)
    s = jnp.where(jnp.asarray(factors) == 0, 0.0, np.log(1 / 16))
    found = disentanglement.posterior_information(0 * mean, s, factors, key)
    p = scipy.stats.norm.pdf(z[:, None], 0, [1, 0.25])
    mixture = p.mean(1)
    exact = np.mean([np.trapezoid(q * np.log(np.maximum(q, 1e-300) / mixture), z) for q in p.T])
    np.testing.assert_allclose(np.diag(found), exact, atol=0.04)


def test_information_does_not_need_all_examples_for_its_expectation(key):
    mean = jnp.float32(FACTORS)
    s = jnp.full_like(mean, np.log(0.3))
    all_draws = disentanglement.posterior_information(mean, s, FACTORS, key, num_draws=120)
    fewer = disentanglement.posterior_information(mean, s, FACTORS, jax.random.fold_in(key, 1), num_draws=60)
    np.testing.assert_allclose(np.diag(fewer), np.diag(all_draws), atol=0.2)
    assert not np.array_equal(fewer, all_draws)


def test_robustness_by_loops():
    draw = np.random.RandomState(0)
    codes = FACTORS @ draw.standard_normal((4, 3))
    scores, widths = [], []
    for z in codes.T:
        widest, per_factor = max(abs(z - z.mean())), []
        for k, count in enumerate(COUNTS):
            deviations = []
            for value in range(count):
                own = z[FACTORS[:, k] == value]
                deviations.append(max(abs(own - own.mean())))
            per_factor.append(1 - np.mean(deviations) / widest)
        scores.append(max(per_factor))
        widths.append(widest)
    found = disentanglement.interventional_robustness(np.concatenate([codes, 0 * codes], axis=1), FACTORS)
    assert found == pytest.approx(np.dot(scores, widths) / sum(widths))
    assert disentanglement.interventional_robustness(0 * codes, FACTORS) == 0


def test_ranking_of_models_by_their_agreement():
    draw = np.random.RandomState(0)
    codes = draw.standard_normal((4000, 3))
    same = np.exp(codes[:, [2, 0, 1]]) * [1, -1, 1]  # order, sign and monotone maps do not matter
    mixed = codes @ np.linalg.qr(draw.standard_normal((3, 3)))[0]
    found = disentanglement.unsupervised_ranking([codes, same, codes[:, ::-1], mixed])
    assert found[:3].min() > 0.9 > found[3] + 0.2
    # two models by hand, with SciPy's correlations
    r = np.abs(scipy.stats.spearmanr(codes, mixed[:, :2]).statistic[:3, 3:])
    expected = (sum(r.max(0) ** 2 / r.sum(0)) + sum(r.max(1) ** 2 / r.sum(1))) / 5
    np.testing.assert_allclose(disentanglement.unsupervised_ranking([codes, mixed[:, :2]]), expected, rtol=1e-9)
    assert disentanglement.unsupervised_ranking([codes, codes[:, :0]]).tolist() == [0, 0]
    with pytest.raises(ValueError, match="give at least two"):
        disentanglement.unsupervised_ranking([codes])


def test_total_correlation_of_gaussians():
    s = np.array([[1.0, 0.6], [0.6, 2.0]])
    draw = np.random.RandomState(0)
    white = draw.standard_normal((500, 2))
    white = (white - white.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T))).T
    codes = white @ np.linalg.cholesky(s).T * [1, 30]
    exact = -0.5 * np.log(1 - 0.36 / 2)
    assert disentanglement.gaussian_total_correlation(codes) == pytest.approx(exact)
    assert disentanglement.gaussian_total_correlation(white) == pytest.approx(0, abs=1e-12)
    assert disentanglement.gaussian_total_correlation(white[:, :1]) == 0


def test_a_factor_that_never_varies_is_refused():
    with pytest.raises(ValueError, match="never varies"):
        gaps(FACTORS, 0 * FACTORS)
