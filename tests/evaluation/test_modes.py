"""Mode coverage of samples that are known to be good, missing a mode, or off every mode."""

import numpy as np
import pytest
import scipy.stats

from genjax.data import toys
from genjax.evaluation.modes import mode_coverage


@pytest.mark.parametrize("modes", [toys.RING, toys.GRID], ids=["ring", "grid"])
def test_draws_of_the_mixture_itself(modes):
    num, (means, sigma) = 20_000, modes
    draw = np.random.RandomState(0)
    label = draw.randint(len(means), size=num)
    x = means[label] + sigma * draw.normal(size=(num, 2))
    found = mode_coverage(x, means, standard_deviation=sigma)
    # |x - mean| / sigma is Rayleigh in the plane
    inside = scipy.stats.rayleigh.cdf(3)
    assert found.covered == len(means)
    assert abs(found.share - inside) < 4 * np.sqrt(inside * (1 - inside) / num)
    radius = np.linalg.norm(x - means[label], axis=1) / sigma
    np.testing.assert_array_equal(found.counts, np.bincount(label[radius <= 3], minlength=len(means)))
    two = scipy.stats.rayleigh.cdf(2)
    found = mode_coverage(x, means, standard_deviation=sigma, radius=2)
    assert abs(found.share - two) < 4 * np.sqrt(two * (1 - two) / num)


def test_a_mode_with_too_few_samples_is_not_covered():
    means = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    x = np.repeat(means, [150, 146, 4], axis=0)
    assert mode_coverage(x, means, standard_deviation=1.0).covered == 2
    assert mode_coverage(x, means, standard_deviation=1.0, minimum=0.04).covered == 3
    assert mode_coverage(x[:296], means, standard_deviation=1.0, minimum=0.0).covered == 2
    np.testing.assert_array_equal(mode_coverage(x, means, standard_deviation=1.0).counts, [150, 146, 4])


def test_samples_off_every_mode():
    x = np.array([[3.1, 0.0], [0.0, -4.0]])
    found = mode_coverage(x, np.zeros((1, 2)), standard_deviation=1.0)
    assert (found.covered, found.share) == (0, 0.0)
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(1, 3\)"):
        mode_coverage(x, np.zeros((1, 3)), standard_deviation=1.0)
