"""Toy data: drawn as they say, the same every time, and their truths as counted from very many draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax import data
from genjax.data import batching, toys


def test_the_inverse_problem_is_pairs_in_the_unit_square():
    dataset = data.load("inverse_sine")
    assert dataset.fingerprint == toys.inverse_sine().fingerprint
    for x, y in (dataset.train, dataset.test):
        assert y is not None
        assert x.shape == y.shape and x.dtype == y.dtype == np.float32
        assert 0 <= min(x.min(), y.min()) and max(x.max(), y.max()) <= 1
        v = x * (1 + 2 * toys.SINE_NOISE) - toys.SINE_NOISE
        noise = ((v - toys.sine(y)) / toys.SINE_NOISE).ravel()
        assert scipy.stats.kstest(noise, scipy.stats.uniform(-1, 2).cdf).statistic < 1.95 / np.sqrt(len(noise))
        assert scipy.stats.kstest(y.ravel(), scipy.stats.uniform.cdf).statistic < 1.95 / np.sqrt(len(y))
    train, test = ({*map(tuple, np.hstack(split).tolist())} for split in (dataset.train, dataset.test))
    assert len(train) == 2000 and len(test) == 1000 and not train & test


def test_batches_carry_the_pairs():
    dataset = data.load("inverse_sine")
    stream = batching.source(dataset, batch_size=50).train
    key = jax.random.key(0)
    carried = stream.start(stream.arrays, jnp.asarray(3), key)
    _, batch = stream.next(jax.device_put(stream.arrays), carried, jnp.asarray(3), key)
    of_x = dict(np.hstack(dataset.train).tolist())
    assert batch.label.shape == (50, 1) and batch.label.dtype == jnp.float32
    got = zip(batch.x.ravel().tolist(), batch.label.ravel().tolist(), strict=True)
    assert all(of_x[x] == y for x, y in got)


def test_the_inverse_problems_likelihood_is_that_of_pairs_by_counting():
    # in a thin slice of x among very many pairs, y is uniform where it is possible
    draw = np.random.RandomState(5)
    y = draw.random_sample(2_000_000)
    x = (y + 0.3 * np.sin(2 * np.pi * y) + draw.uniform(-0.1, 0.1, len(y)) + 0.1) / 1.2
    for at in (0.2, 0.45, 0.6):
        density, _ = np.histogram(y[np.abs(x - at) < 0.002], bins=100, range=(0, 1), density=True)
        expected = np.exp(-toys.inverse_sine_negative_log_likelihood(np.array([[at]]))[0])
        np.testing.assert_allclose(np.median(density[density > 0.8 * expected]), expected, rtol=0.05)


def test_the_curve_is_three_quarters_of_a_noisy_circle():
    dataset, (x, t) = data.load("curve"), toys.draw_curve(1000, seed=1)
    np.testing.assert_array_equal(dataset.test.x, x.astype(np.float32))
    assert len(dataset.train.x) == 2000 and dataset.num_classes is None
    plane = toys.CURVE_RADIUS * (2 * x - 1)
    noise = plane - np.stack([np.cos(t), np.sin(t)], axis=1)
    assert scipy.stats.kstest(noise.ravel() / 0.02, scipy.stats.norm.cdf).statistic < 1.95 / np.sqrt(noise.size)
    assert scipy.stats.kstest(t, scipy.stats.uniform(0, 1.5 * np.pi).cdf).statistic < 1.95 / np.sqrt(len(t))


@pytest.mark.parametrize(
    ("name", "modes", "count", "scale"), [("ring", toys.RING, 8, 5.0), ("grid", toys.GRID, 25, 10.0)]
)
def test_mixtures_are_equal_round_gaussians(name, modes, count, scale):
    dataset, (means, sigma) = data.load(name), modes
    assert dataset.num_classes == len(means) == count
    plane = scale * (means - 0.5)
    if name == "ring":
        np.testing.assert_allclose(np.linalg.norm(plane, axis=1), 2)
        np.testing.assert_allclose(np.linalg.norm(plane - np.roll(plane, 1, axis=0), axis=1), 4 * np.sin(np.pi / 8))
    else:
        assert {*map(tuple, plane.round(9).tolist())} == {
            (2.0 * i, 2.0 * j) for i in range(-2, 3) for j in range(-2, 3)
        }
    np.testing.assert_allclose(sigma * scale, {"ring": 0.02, "grid": 0.05}[name])
    for x, label in (dataset.train, dataset.test):
        assert label is not None and 0 <= x.min() and x.max() <= 1
        noise = ((x - means[label]) / sigma).ravel()
        assert scipy.stats.kstest(noise, scipy.stats.norm.cdf).statistic < 1.95 / np.sqrt(len(noise))
        assert scipy.stats.chisquare(np.bincount(label, minlength=count)).pvalue > 1e-3
    train, test = ({*map(tuple, split.x.tolist())} for split in (dataset.train, dataset.test))
    assert len(train) == 20_000 and len(test) == 2000 and not train & test


def test_a_mixtures_likelihood_is_scipys():
    x = toys.GRID.means[:4] + np.array([[0.0, 0.0], [0.003, 0.001], [0.1, 0.1], [0.3, -0.2]])
    density = np.mean(
        [scipy.stats.multivariate_normal(mean, toys.GRID.standard_deviation**2).pdf(x) for mean in toys.GRID.means], 0
    )
    got = toys.modes_negative_log_likelihood(x, modes=toys.GRID)
    near = density > 0
    assert near[:3].all() and np.isfinite(got).all()
    np.testing.assert_allclose(got[near], -np.log(density[near]), rtol=1e-9)
