"""Distances between sets against closed forms, other routes to the same number, and double loops."""

import math

import jax
import numpy as np
import pytest
import scipy.linalg

from genjax.evaluation import distances
from genjax.losses import sliced_wasserstein

KEY = jax.random.key(0)


def covariance(draw, dim):
    root = draw.normal(size=(dim, dim))
    return root @ root.T / dim


def test_frechet_distance_of_covariances_with_common_axes():
    draw = np.random.RandomState(0)
    axes = np.linalg.qr(draw.normal(size=(5, 5)))[0]
    a, b, shift = draw.uniform(0, 4, 5), draw.uniform(0, 4, 5), draw.normal(size=5)
    a[:3] = 0  # singular, with eigenvalues that rounding makes negative
    expected = np.sum(shift**2) + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    covariances = (axes * a) @ axes.T, (axes * b) @ axes.T
    found = distances.gaussian_frechet_distance(shift + 1, covariances[0], np.ones(5), covariances[1])
    assert found == pytest.approx(expected, rel=1e-7)


def test_frechet_distance_by_the_matrix_square_root():
    draw = np.random.RandomState(1)
    x, y = draw.normal(size=(40, 6)) @ draw.normal(size=(6, 6)), draw.normal(size=(60, 6)) + 0.3
    sx, sy, shift = np.cov(x.T), np.cov(y.T), x.mean(0) - y.mean(0)
    root = scipy.linalg.sqrtm(sx @ sy).real
    expected = shift @ shift + np.trace(sx + sy - 2 * root)
    assert distances.frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)
    assert distances.gaussian_frechet_distance(x.mean(0), sx, y.mean(0), sy) == pytest.approx(expected, rel=1e-10)
    # and by eigenvalues of the symmetric product
    half = scipy.linalg.sqrtm(sx).real
    values = np.linalg.eigvalsh(half @ sy @ half)
    assert distances.frechet_distance(y, x) == pytest.approx(
        shift @ shift + np.trace(sx + sy) - 2 * np.sqrt(values).sum(), rel=1e-10
    )


def test_frechet_distance_of_fewer_samples_than_dimensions():
    draw = np.random.RandomState(2)
    x, y = draw.normal(size=(8, 30)), 2 * draw.normal(size=(11, 30))
    # the same distance within the space that the samples span, where nothing is singular: a second route
    shift = x.mean(0) - y.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    kept = vectors[:, -7:]
    half = kept * np.sqrt(values[-7:])
    shared = np.sqrt(np.linalg.eigvalsh(half.T @ np.cov(y.T) @ half)).sum()
    expected = shift @ shift + np.trace(np.cov(x.T) + np.cov(y.T)) - 2 * shared
    assert distances.frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)
    assert 0 <= distances.frechet_distance(x, x) < 1e-12 * np.trace(np.cov(x.T))
    moved = distances.frechet_distance(x, x + 0.5)
    assert moved == pytest.approx(30 * 0.25, rel=1e-12)


def test_frechet_distance_of_many_samples_is_that_of_their_gaussians():
    draw = np.random.RandomState(3)
    sx, sy, mean = covariance(draw, 3), covariance(draw, 3), np.array([0.5, 0.0, -0.2])
    x = draw.multivariate_normal(mean, sx, 100_000)
    y = draw.multivariate_normal(np.zeros(3), sy, 100_000)
    exact = distances.gaussian_frechet_distance(mean, sx, np.zeros(3), sy)
    assert distances.frechet_distance(x, y) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("degree", [1, 3])
def test_kernel_distance_by_double_loops(degree):
    draw = np.random.RandomState(4)
    x, y = draw.normal(size=(11, 4)), draw.normal(size=(15, 4)) + 0.5

    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / 4 + 1) ** degree

    blocks = []
    first, second = (a[np.random.RandomState(0).permutation(len(a))] for a in (x, y))
    for b in range(3):
        u, v = first[b::3], second[b::3]
        within_u = [k(u[i], u[j]) for i in range(len(u)) for j in range(len(u)) if i != j]
        within_v = [k(v[i], v[j]) for i in range(len(v)) for j in range(len(v)) if i != j]
        across = [k(p, q) for p in u for q in v]
        blocks.append(np.mean(within_u) + np.mean(within_v) - 2 * np.mean(across))
    found = distances.kernel_distance(x, y, degree=degree, num_blocks=3)
    assert found.value == pytest.approx(np.mean(blocks))
    variance = sum((value - np.mean(blocks)) ** 2 for value in blocks) / 2
    assert found.standard_error == pytest.approx(math.sqrt(variance / 3))


def test_kernel_distance_estimates_the_difference_of_moments():
    # in one dimension MMD^2 = sum_j C(3, j) (E x^j - E y^j)^2: N(0.3, 1) has moments 0.3, 1.09, 0.927
    draw = np.random.RandomState(5)
    exact = 3 * 0.3**2 + 3 * 0.09**2 + (0.3**3 + 3 * 0.3) ** 2
    found = distances.kernel_distance(draw.normal(0.3, 1, (20_000, 1)), draw.normal(size=(20_000, 1)), num_blocks=40)
    assert abs(found.value - exact) < 4 * found.standard_error < exact / 2


def test_kernel_distance_of_equal_distributions_is_0_within_its_error():
    draw = np.random.RandomState(6)
    found = [distances.kernel_distance(*draw.normal(size=(2, 100, 5))) for _ in range(400)]
    values, errors = np.array(found).T
    assert abs(values.mean()) < 4 * values.std() / 20
    assert (values < 0).any()
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(values.std(), rel=0.15)


@pytest.mark.parametrize("order", ["in cycles", "sorted"])
def test_kernel_distance_does_not_depend_on_the_order_of_classes(order):
    # ten classes far apart and as many blocks: with one class in each block the estimate would be far above 0
    draw = np.random.RandomState(8)
    centres = 3 * draw.normal(size=(10, 4))

    def samples(label):
        return centres[label] + 0.1 * draw.normal(size=(len(label), 4))

    mixed = draw.permutation(np.arange(1000) % 10)
    label = np.sort(mixed) if order == "sorted" else np.arange(1000) % 10
    found = distances.kernel_distance(samples(label), samples(mixed))
    assert abs(found.value) < 4 * found.standard_error
    of_mixed = distances.kernel_distance(samples(draw.permutation(label)), samples(mixed))
    assert found.standard_error == pytest.approx(of_mixed.standard_error, rel=1)


def test_mind_of_shifted_gaussians_is_three_times_the_squared_shift():
    draw = np.random.RandomState(0)
    for dim in (3, 12):  # whatever the dimension
        m = draw.normal(size=dim)
        x, y = draw.normal(size=(2, 2000, dim))
        found = [distances.mind(x + m, x, jax.random.key(seed), num_projections=200) for seed in range(20)]
        assert np.mean(found) == pytest.approx(3 * m @ m, abs=4 * np.std(found) / np.sqrt(20))
        assert np.std(found) < 0.2 * np.mean(found)
        assert distances.mind(x + m, y[:1500], KEY) == pytest.approx(3 * m @ m, rel=0.1)


def test_mind_of_scaled_gaussians_and_of_one_distribution():
    draw = np.random.RandomState(1)
    x, y = draw.normal(size=(2, 2000, 4))
    # each projection is N(0, 4) against N(0, 1): (2 - 1)^2
    assert distances.mind(2 * x, x, KEY) == pytest.approx(3 * 4, rel=0.05)
    few, many = (distances.mind(x[:num], y[:num], KEY) for num in (200, 2000))
    assert 0 < many < 0.2 * few < 0.2
    assert distances.mind(x, x[::-1], KEY) == 0
    assert distances.mind(x[:500], y[:400], KEY) == pytest.approx(
        3 * 4 * float(sliced_wasserstein(x[:500], y[:400], KEY, num_projections=1000)), rel=1e-3
    )
    # far from 0, where single precision would be coarse
    assert distances.mind(x + 1e4, y + 1e4, KEY) == pytest.approx(many, rel=1e-4)


def test_sets_that_cannot_be_compared_are_refused():
    x = np.zeros((9, 3))
    with pytest.raises(ValueError, match=r"\(9, 3\) and \(9, 2\)"):
        distances.frechet_distance(x, x[:, :2])
    with pytest.raises(ValueError, match="at least 2 samples"):
        distances.frechet_distance(x, x[:1])
    with pytest.raises(ValueError, match="at least 20 samples"):
        distances.kernel_distance(x, x)
    with pytest.raises(ValueError, match="num_blocks must be at least 2"):
        distances.kernel_distance(x, x, num_blocks=1)
