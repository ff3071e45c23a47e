"""The jackknife against the standard errors of means, and the spread of a distance over many draws."""

import jax
import numpy as np
import pytest

from genjax.evaluation import distances, jackknife


def test_the_error_of_a_mean_is_that_of_the_means_of_groups():
    x = np.random.RandomState(0).normal(size=(60, 2))
    groups = x[np.random.RandomState(0).permutation(60), 0].reshape(6, 10)  # those of the jackknife are its columns
    expected = groups.mean(axis=0).std(ddof=1) / np.sqrt(10)
    assert jackknife.standard_error(lambda a: a[:, 0].mean(), x) == pytest.approx(expected, rel=1e-12)
    single = x[:, 0].std(ddof=1) / np.sqrt(60)
    assert jackknife.standard_error(lambda a: a[:, 0].mean(), x, num_groups=60) == pytest.approx(single, rel=1e-12)


@pytest.mark.parametrize(
    "distance",
    [distances.frechet_distance, lambda a, b: distances.mind(a, b, jax.random.key(0), num_projections=100)],
)
def test_the_error_of_a_distance_is_its_spread_over_draws(distance):
    draw = np.random.RandomState(1)
    shift = np.array([2, 0, 0])
    drawn = [(draw.normal(size=(200, 3)) + shift, draw.normal(size=(150, 3))) for _ in range(60)]
    spread = np.std([distance(*pair) for pair in drawn], ddof=1)
    errors = [jackknife.standard_error(distance, *pair) for pair in drawn[:20]]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.35)


def test_small_sets_are_refused():
    with pytest.raises(ValueError, match="num_groups must be from 2 to 5, the size of the smallest set; got 10"):
        jackknife.standard_error(np.mean, np.zeros(20), np.zeros(5))
