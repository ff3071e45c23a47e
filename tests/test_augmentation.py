"""Differentiable augmentation: pixels by loops of NumPy, the identity, the spread of draws, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from genjax import stochastic

STRENGTHS = {
    stochastic.translation: {"ratio": 0.25},
    stochastic.cutout: {"ratio": 0.4},
    stochastic.colour_jitter: {"brightness": 0.2, "saturation": 0.7, "contrast": 0.6},
}
kinds = pytest.mark.parametrize("kind", STRENGTHS, ids=lambda kind: kind.__name__)


@pytest.fixture
def images():
    return np.random.RandomState(0).uniform(size=(5, 8, 6, 3)).astype(np.float32)


def test_translated_pixels(images, key):
    row_key, column_key = jax.random.split(key)
    down = np.asarray(jax.random.randint(row_key, (5, 1), -2, 3))[:, 0]
    right = np.asarray(jax.random.randint(column_key, (5, 1), -2, 3))[:, 0]  # a quarter of 6, rounded
    expected = np.full_like(images, 0.3)
    for n, i, j in np.ndindex(5, 8, 6):
        if 0 <= i + down[n] < 8 and 0 <= j + right[n] < 6:
            expected[n, i + down[n], j + right[n]] = images[n, i, j]
    assert len({*zip(down, right, strict=True)}) > 2
    found = stochastic.translation(ratio=0.25, fill=0.3)(jnp.asarray(images), key)
    np.testing.assert_array_equal(found, expected)


def test_pixels_of_a_cutout(images, key):
    row_key, column_key = jax.random.split(key)
    # 0.4 of 8 is 3, of 6 is 2; a side of odd length has its middle on a pixel, one of even length on an edge
    middle = np.asarray(jax.random.randint(row_key, (5, 1), 0, 8))[:, 0]
    edge = np.asarray(jax.random.randint(column_key, (5, 1), 0, 7))[:, 0]
    expected = images.copy()
    for n, i, j in np.ndindex(5, 8, 6):
        if middle[n] - 1 <= i <= middle[n] + 1 and edge[n] - 1 <= j <= edge[n]:
            expected[n, i, j] = 0.3
    found = stochastic.cutout(ratio=0.4, fill=0.3)(jnp.asarray(images), key)
    np.testing.assert_array_equal(found, expected)


def test_recoloured_pixels(images, key):
    b, s, c = np.asarray(jax.random.uniform(key, (3, 5, 1, 1, 1), minval=-1)).reshape(3, 5) * [[0.2], [0.7], [0.6]]
    expected = np.empty_like(images)
    for n in range(5):
        grey = images[n] + b[n]
        for i, j in np.ndindex(8, 6):
            mean = sum(grey[i, j]) / 3
            expected[n, i, j] = mean + (1 + s[n]) * (grey[i, j] - mean)
        mean = expected[n].mean()
        expected[n] = mean + (1 + c[n]) * (expected[n] - mean)
    found = stochastic.colour_jitter(brightness=0.2, saturation=0.7, contrast=0.6)(jnp.asarray(images), key)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@kinds
def test_strength_zero_is_the_identity(kind, images, key):
    none = kind(**dict.fromkeys(STRENGTHS[kind], 0.0))
    np.testing.assert_array_equal(none(jnp.asarray(images), key), images)
    assert not np.array_equal(kind()(jnp.asarray(images), key), images)


def test_shifts_and_holes_are_uniform(key):
    # a white pixel in the middle of each image, and how often each pixel is in the hole
    x = jnp.zeros((4000, 9, 9, 1)).at[:, 4, 4].set(1)
    moved = np.asarray(stochastic.translation(ratio=0.2, fill=0.0)(x, key))[..., 0]
    places = moved.sum(axis=0)
    assert places[2:7, 2:7].sum() == 4000 and places.shape == (9, 9)
    assert scipy.stats.chisquare(places[2:7, 2:7].ravel()).pvalue > 1e-4
    holes = np.asarray(stochastic.cutout(ratio=1 / 3, fill=1.0)(0 * x, key))[..., 0]
    # of nine middles, three put a pixel into the hole, or two if it lies on an edge
    share = np.array([2, 3, 3, 3, 3, 3, 3, 3, 2]) / 9
    expected = np.outer(share, share)
    error = (holes.mean(axis=0) - expected) / np.sqrt(expected * (1 - expected) / 4000)
    assert np.abs(error).max() < 4.5


def test_strengths_of_colour_are_uniform(key):
    x = jnp.tile(jnp.array([0.1, 0.4, 0.7]), (4000, 2, 2, 1)).at[:, 0].add(0.2)
    y = np.asarray(stochastic.colour_jitter(brightness=0.2, saturation=0.7, contrast=0.6)(x, key), np.float64)
    mean = y.mean(axis=(1, 2, 3)) - 0.5
    contrast = (y[:, 0].mean(axis=(1, 2)) - y[:, 1].mean(axis=(1, 2))) / 0.2 - 1
    saturation = (y[:, 0, 0, 2] - y[:, 0, 0, 0]) / 0.6 / (1 + contrast) - 1
    for found, strength in ((mean, 0.2), (saturation, 0.7), (contrast, 0.6)):
        uniform = scipy.stats.uniform(-strength, 2 * strength)
        assert scipy.stats.kstest(found, uniform.cdf).statistic < 1.95 / np.sqrt(4000)
    assert np.abs(np.corrcoef([mean, saturation, contrast]) - np.eye(3)).max() < 0.08


def test_corruptions_in_turn_have_a_key_each(images, key):
    x = jnp.asarray(images)
    noise = stochastic.gaussian_noise(scale=0.5)
    first, second = jax.random.split(key)
    found = stochastic.in_turn(noise, stochastic.cutout())(x, key)
    np.testing.assert_array_equal(found, stochastic.cutout()(noise(x, first), second))


@kinds
def test_augmentation_commutes_with_gradients(kind, images, key, float64):
    # of a nonlinear critic of augmented pixels; and T is affine: T(x + v) - T(x) is its derivative along v
    augmentation = kind(**STRENGTHS[kind])
    x, v = jnp.asarray(images[:2, :4, :4], jnp.float64), jnp.asarray(images[2:4, :4, :4], jnp.float64)
    check_grads(jax.jit(lambda x: jnp.sum(jnp.sin(augmentation(x, key)))), (x,), order=1, modes=["rev"])
    along = jax.jvp(lambda x: augmentation(x, key), (x,), (v,))[1]
    np.testing.assert_allclose(augmentation(x + v, key) - augmentation(x, key), along, atol=1e-14)
    assert np.abs(along).max() > 0.1
