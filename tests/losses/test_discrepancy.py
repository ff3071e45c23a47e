"""Distances of two sets of vectors against loops, optimal transport by SciPy, and Gaussians in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from genjax import losses
from genjax.evaluation import distances

KERNELS = {
    "gaussian": (losses.gaussian_kernel(0.7), lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * 0.7**2))),
    "gaussian_of_the_dimension": (losses.gaussian_kernel(), lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * len(a)))),
    "inverse_multiquadric": (
        losses.inverse_multiquadric_kernel(),
        lambda a, b: sum(
            (c := 2 * len(a) * s) / (c + np.sum((a - b) ** 2)) for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
        ),
    ),
}


@pytest.fixture
def sets():
    draw = np.random.RandomState(0)
    return draw.normal(size=(5, 3)), draw.normal(0.4, 1.3, (7, 3))


@pytest.mark.parametrize("name", KERNELS)
def test_the_discrepancy_by_double_loops(name, sets, float64):
    kernel, by_hand = KERNELS[name]
    (x, y), expected = sets, 0.0
    for a, num in ((x, 5), (y, 7)):
        expected += sum(by_hand(a[i], a[j]) for i in range(num) for j in range(num) if i != j) / (num * (num - 1))
    expected -= 2 * sum(by_hand(a, b) for a in x for b in y) / 35
    np.testing.assert_allclose(losses.squared_mmd(jnp.asarray(x), jnp.asarray(y), kernel), expected, rtol=1e-10)


def gaussian_mmd(mean, variance, scale):
    """Of N(m, v I) and N(0, I): the mean of a Gaussian kernel over two Gaussians is a Gaussian's density."""
    dim, square = len(mean), scale**2

    def expectation(shift, total):
        return (square / (square + total)) ** (dim / 2) * np.exp(-np.sum(shift**2) / (2 * (square + total)))

    return expectation(0 * mean, 2 * variance) + expectation(0 * mean, 2) - 2 * expectation(mean, 1 + variance)


@pytest.mark.parametrize(("mean", "variance"), [([0.0, 0.0, 0.0], 1.0), ([0.6, -0.3, 0.2], 1.7)])
def test_the_discrepancy_of_two_gaussians(mean, variance):
    mean, scale = np.array(mean), 0.9
    kernel = losses.gaussian_kernel(scale)

    def estimate(key):
        x, y = jax.random.normal(key, (2, 20, 3))
        return losses.squared_mmd(jnp.float32(mean)[None] + jnp.float32(variance) ** 0.5 * x, y, kernel)

    found = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(0), 4000)), np.float64)
    error = found.std() / np.sqrt(len(found))
    exact = gaussian_mmd(mean, variance, scale)
    assert abs(found.mean() - exact) < 4 * error
    assert (exact == pytest.approx(0, abs=1e-12)) == (variance == 1) and error < 1e-3
    # the pairs i = j would add this much for x alone
    assert (1 - (scale**2 / (scale**2 + 2 * variance)) ** 1.5) / 20 > 20 * error


def test_a_single_vector_has_no_pairs(sets):
    x, y = (jnp.float32(a) for a in sets)
    kernel, by_hand = KERNELS["gaussian"]
    np.testing.assert_allclose(
        losses.squared_mmd(x[:1], y[:1], kernel), -2 * by_hand(np.asarray(x[0]), np.asarray(y[0])), rtol=1e-5
    )


def test_samples_are_compared_by_the_same_estimate(sets):
    # kernel_distance of two blocks is the mean of two estimates with its polynomial kernel
    x = np.random.RandomState(1).normal(size=(12, 3))
    y = x[::-1] * 1.5
    order = np.random.RandomState(0).permutation(12)
    halves = [losses.squared_mmd(x[order][b::2], y[order][b::2], lambda a, c: (a @ c.T / 3 + 1) ** 3) for b in (0, 1)]
    assert distances.kernel_distance(x, y, num_blocks=2).value == pytest.approx(np.mean(halves))


def test_sorting_is_optimal_transport_in_one_dimension(float64):
    x, y = np.random.RandomState(0).normal(size=(2, 9, 1))
    cost = (x - y.T) ** 2
    matched = cost[scipy.optimize.linear_sum_assignment(cost)].mean()
    for seed in range(3):  # whatever the projections, which are 1 and -1
        found = losses.sliced_wasserstein(jnp.asarray(x), jnp.asarray(y), jax.random.key(seed), num_projections=4)
        np.testing.assert_allclose(found, matched, rtol=1e-10)
    # N(1, 4) and N(0, 1) at their quantiles: W_2^2 = (1 - 0)^2 + (2 - 1)^2
    u = scipy.stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None]
    found = losses.sliced_wasserstein(jnp.asarray(1 - 2 * u), jnp.asarray(u), jax.random.key(0), num_projections=1)
    np.testing.assert_allclose(found, 2, rtol=1e-3)


@pytest.mark.parametrize("sizes", [(4, 7), (6, 3), (6, 4), (1, 5)])
def test_sets_of_different_sizes_are_transported_at_the_least_cost(sizes, float64):
    draw = np.random.RandomState(0)
    x, y = (draw.normal(size=(num, 1)) for num in sizes)
    out, into = np.kron(np.eye(sizes[0]), np.ones(sizes[1])), np.kron(np.ones(sizes[0]), np.eye(sizes[1]))
    mass = np.concatenate([np.full(num, 1 / num) for num in sizes])
    plan = scipy.optimize.linprog(((x - y.T) ** 2).ravel(), A_eq=np.concatenate([out, into]), b_eq=mass)
    found = losses.sliced_wasserstein(jnp.asarray(x), jnp.asarray(y), jax.random.key(0))
    np.testing.assert_allclose(found, plan.fun, rtol=1e-8)


def test_each_vector_counts_equally_in_sets_of_different_sizes(key, float64):
    x, y = (jnp.asarray(np.random.RandomState(seed).normal(size=(num, 3))) for seed, num in enumerate((4, 6)))
    whole = losses.sliced_wasserstein(jnp.repeat(x, 3, axis=0), jnp.repeat(y, 2, axis=0), key)
    np.testing.assert_allclose(losses.sliced_wasserstein(x, y, key), whole, rtol=1e-12)


def test_the_distance_of_shifted_sets_is_that_of_their_means(float64):
    # as of N(m, I) and N(0, I): each projection is shifted by v^T m, whose mean square is m'm / d
    m = np.array([1.0, -2.0, 0.5, 0.0])
    x = np.random.RandomState(0).normal(size=(6, 4))
    one = jax.vmap(lambda key: losses.sliced_wasserstein(jnp.asarray(x + m), jnp.asarray(x), key, num_projections=1))
    found = np.asarray(jax.jit(one)(jax.random.split(jax.random.key(0), 20_000)))
    assert abs(found.mean() - m @ m / 4) < 4 * found.std() / np.sqrt(len(found))
    many = losses.sliced_wasserstein(jnp.asarray(x + m), jnp.asarray(x), jax.random.key(1), num_projections=20_000)
    assert abs(many - m @ m / 4) < 4 * found.std() / np.sqrt(len(found))


def test_what_cannot_be_compared_is_refused(key):
    with pytest.raises(ValueError, match="num_projections must be at least 1; got 0"):
        losses.sliced_wasserstein(jnp.zeros((3, 2)), jnp.zeros((3, 2)), key, num_projections=0)
    with pytest.raises(ValueError, match=r"same dimension; got \(3, 2\) and \(3, 4\)"):
        losses.squared_mmd(jnp.zeros((3, 2)), jnp.zeros((3, 4)), losses.gaussian_kernel())
