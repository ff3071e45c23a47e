"""Predictions of factors from codes: perfect codes, turned ones with values by hand, noise, and scikit-learn."""

import itertools

import numpy as np
import pytest
import scipy.stats

from genjax.evaluation import factor_prediction

COUNTS = (3, 2, 4, 5)
FACTORS = np.tile([*itertools.product(*map(range, COUNTS))], (5, 1))
TWO = np.tile([*itertools.product(range(2), range(2))], (100, 1))
TURN = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
NOISE = np.random.RandomState(1).standard_normal((len(FACTORS), 5))


def scores(codes, factors):
    return [
        *factor_prediction.dci(codes, factors),
        factor_prediction.separated_attribute_predictability(codes, factors),
        factor_prediction.beta_vae_score(codes, factors, num_votes=400),
        factor_prediction.factor_vae_score(codes, factors, num_votes=400),
    ]


def test_factors_as_a_code_are_perfect():
    codes = FACTORS[:, [2, 0, 3, 1]] * [1, -2, 5, -1]
    np.testing.assert_allclose(scores(codes, FACTORS), 1, atol=1e-12)
    # dimensions beside them that never vary change nothing, but for the number of them
    # the steadiest dimension is that of the least share of its own variance
    wide = codes * [1e3, 1, 1e-3, 1] + 1e-2 * NOISE[:, :4] * [1e3, 1, 1e-3, 1]
    assert factor_prediction.factor_vae_score(wide, FACTORS, num_votes=400) == 1
    padded = np.concatenate([codes, 0 * codes], axis=1)
    np.testing.assert_allclose(factor_prediction.dci(padded, FACTORS), 1, atol=1e-12)
    assert factor_prediction.separated_attribute_predictability(padded, FACTORS) == pytest.approx(1)
    assert factor_prediction.beta_vae_score(padded, FACTORS, num_votes=400) == 1


def test_a_turn_of_45_degrees_has_the_values_computed_by_hand():
    codes = TWO @ TURN
    # Cov^2 / Var Var = (1/4 / sqrt 2)^2 / (1/4 1/4) = 1/2 of both dimensions
    assert factor_prediction.separated_attribute_predictability(codes, TWO) == pytest.approx(0, abs=1e-12)
    assert factor_prediction.separated_attribute_predictability(codes[:, :1], TWO) == pytest.approx(0.5)
    found = factor_prediction.dci(codes, TWO)
    # one split of either dimension leaves the other to be split: both matter, and the factors are known
    assert found.informativeness == 1 and max(found[:2]) < 0.1


def test_importance_scores_are_entropies():
    importance = np.array([[0.5, 0.1, 0.0], [0.2, 0.2, 0.2], [0.0, 0.0, 0.0], [0.0, 0.3, 0.0]])
    disentanglement, completeness = factor_prediction.importance_scores(importance)
    rows = [1 - scipy.stats.entropy(row) / np.log(3) for row in importance[[0, 1, 3]]]
    assert disentanglement == pytest.approx((0.6 * rows[0] + 0.6 * rows[1] + 0.3 * rows[2]) / 1.5)
    columns = [1 - scipy.stats.entropy(column) / np.log(4) for column in importance.T]
    assert completeness == pytest.approx((0.7 * columns[0] + 0.6 * columns[1] + 0.2 * columns[2]) / 1.5)
    assert factor_prediction.importance_scores(np.zeros((2, 3))) == (0, 0)
    assert factor_prediction.importance_scores([[1.0], [2.0]])[0] == 1


def test_order_and_signs_change_nothing():
    draw = np.random.RandomState(0)
    codes = FACTORS @ draw.standard_normal((4, 4)) + 0.1 * draw.standard_normal((len(FACTORS), 4))
    changed = (codes * [1, -1, -1, 1])[:, [2, 0, 3, 1]]
    found, before = np.array(scores(changed, FACTORS)), np.array(scores(codes, FACTORS))
    np.testing.assert_allclose(found[3:], before[3:], rtol=1e-3)
    np.testing.assert_allclose(found[:3], before[:3], atol=0.03)  # the trees draw the order of dimensions


def test_noise_is_at_chance():
    disentanglement, completeness, _ = factor_prediction.dci(NOISE, FACTORS)
    assert max(disentanglement, completeness) < 0.1
    assert factor_prediction.separated_attribute_predictability(NOISE, FACTORS) < 0.02
    for score in (factor_prediction.beta_vae_score, factor_prediction.factor_vae_score):
        found = score(NOISE, FACTORS)
        assert abs(found - 1 / 4) < 4 * np.sqrt(3 / 16 / 500)
    assert factor_prediction.factor_vae_score(NOISE[:, :0], FACTORS) == 1 / 4


def test_a_categorical_factor_is_scored_by_its_accuracy():
    # three classes at -1, 2, 0 of a code: a line cannot order them by number, a classifier can tell them
    draw = np.random.RandomState(0)
    codes = np.stack([np.array([-1.0, 2.0, 0.0])[FACTORS[:, 0]], np.zeros(len(FACTORS))], axis=1)
    codes[:, 0] += 0.01 * draw.standard_normal(len(codes))
    score = factor_prediction.separated_attribute_predictability
    assert score(codes, FACTORS[:, :1], categorical=(0,)) == pytest.approx(1 - 1 / 3)
    z, v = codes[:, 0], FACTORS[:, 0]
    assert score(codes, FACTORS[:, :1]) == pytest.approx(np.corrcoef(z, v)[0, 1] ** 2)


def test_examples_that_share_a_value_are_drawn_evenly():
    factor = np.array([2, 0, 2, 1, 2, 0])
    rows = np.repeat(np.arange(6), 6000).reshape(6, 6000)
    found = factor_prediction._sharing(np.random.RandomState(0), factor, rows)
    for row, drawn in enumerate(found):
        same = np.flatnonzero(factor == factor[row])
        counts = np.bincount(drawn, minlength=6)
        assert counts[same].sum() == 6000
        assert np.abs(counts[same] - 6000 / len(same)).max() < 4 * np.sqrt(6000 / len(same))
