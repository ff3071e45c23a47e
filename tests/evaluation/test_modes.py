"""Mode coverage of samples that are known to be good, missing a mode, or off every mode."""

import numpy as np
import pytest
import scipy.stats

from genjax.data import toys
from genjax.evaluation.modes import class_coverage, mode_coverage


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


def test_one_class_diverges_by_the_logarithm_of_their_number():
    found = class_coverage(np.full(50, 17), 1000)
    assert found.covered == 1 and found.counts[17] == 50
    np.testing.assert_allclose(found.divergence, np.log(1000), rtol=1e-12)


def test_classes_diverge_as_scipy_says():
    classes, expected = np.array([0, 0, 1, 3, 3, 3]), np.array([3.0, 1.0, 2.0, 6.0])
    found = class_coverage(classes, 4, expected=expected)
    np.testing.assert_array_equal(found.counts, [2, 1, 0, 3])
    assert found.covered == 3
    np.testing.assert_allclose(found.divergence, scipy.stats.entropy(found.counts, expected), rtol=1e-12)
    uniform = np.log(4) - scipy.stats.entropy(found.counts)
    np.testing.assert_allclose(class_coverage(classes, 4).divergence, uniform, rtol=1e-12)
    assert class_coverage(np.repeat(np.arange(4), [3, 1, 2, 6]), 4, expected=expected).divergence == 0
    assert class_coverage(classes, 4, expected=[1, 1, 1, 0]).divergence == np.inf


def test_draws_of_equal_classes_diverge_by_their_number():
    # 2 N KL is nearly chi-squared with K - 1 degrees of freedom
    num, classes = 26_000, 1000
    draw = np.random.RandomState(0)
    found = [class_coverage(draw.randint(classes, size=num), classes) for _ in range(20)]
    error = np.sqrt(2 * (classes - 1)) / (2 * num) / np.sqrt(len(found))
    assert abs(np.mean([each.divergence for each in found]) - (classes - 1) / (2 * num)) < 4 * error
    assert all(each.covered == classes for each in found)


@pytest.mark.parametrize(
    ("classes", "expected", "problem"),
    [
        ([], None, "one sample or more"),
        ([0.5], None, "not float64"),
        ([0, 4], None, "outside 0..3"),
        ([-1], None, "outside 0..3"),
        ([0], [1, 1], "4 shares"),
        ([0], [0, 0, 0, 0], "4 shares"),
        ([0], [1, 1, 1, -1], "4 shares"),
    ],
)
def test_classes_and_shares_are_checked(classes, expected, problem):
    with pytest.raises(ValueError, match=problem):
        class_coverage(classes, 4, expected=expected)
