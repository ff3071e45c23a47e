"""Wavelets: orthonormality, coefficients by hand, thresholds and shrinkage in NumPy, and the noise that they remove."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.evaluation import images, wavelets


def test_the_transform_is_that_of_a_block_by_hand():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    bands = np.asarray(wavelets.haar(jnp.float32(x)))[:, 0, :, :, 0]
    blocks = [[x[0, i : i + 2, j : j + 2, 0].ravel() for j in (0, 2)] for i in (0, 2)]
    for band, signs in zip(bands, ([1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]), strict=True):
        np.testing.assert_allclose(band, [[np.dot(block, signs) / 2 for block in row] for row in blocks])


def test_the_transform_is_orthonormal_and_inverted(key):
    x = jax.random.normal(key, (3, 8, 12, 2))
    bands = wavelets.haar(x)
    assert bands.shape == (4, 3, 4, 6, 2)
    np.testing.assert_allclose(jnp.sum(bands**2, (0, 2, 3)), jnp.sum(x**2, (1, 2)), rtol=1e-5)  # Parseval
    np.testing.assert_allclose(wavelets.inverse_haar(bands), x, atol=1e-5)
    flat = np.eye(16).reshape(16, 4, 4, 1)  # the matrix of the transform
    matrix = np.moveaxis(np.asarray(wavelets.haar(jnp.float32(flat))), 1, 0).reshape(16, 16)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(16), atol=1e-6)


def test_the_threshold_is_the_noises_variance_over_the_signals_deviation(key):
    # y of sample second moment s_x^2 + s^2 exactly, for each image and channel its own
    signal, variance = np.array([[0.5, 2.0], [3.0, 1.0]]), np.array([[0.25, 0.5], [1.0, 4.0]])
    y = np.float64(jax.random.normal(key, (2, 6, 6, 2)))
    second = (signal**2 + variance)[:, None, None]
    y *= np.sqrt(second / np.mean(y**2, axis=(1, 2), keepdims=True))
    found = wavelets.bayes_threshold(jnp.float32(y), jnp.float32(variance)[:, None, None])
    np.testing.assert_allclose(found[:, 0, 0], variance / signal, rtol=1e-4)
    assert np.all(np.isinf(wavelets.bayes_threshold(jnp.float32(y), jnp.float32(second * 1.01))))


bayes_shrink = jax.jit(wavelets.bayes_shrink, static_argnames="num_levels")


def shrunk(x, num_levels):
    """One channel of one image [H, W], by loops."""

    def split(a):
        a, b, c, d = a[::2, ::2], a[::2, 1::2], a[1::2, ::2], a[1::2, 1::2]
        return (a + b + c + d) / 2, (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2

    def join(low, h, v, d):
        whole = np.zeros((2 * len(low), 2 * low.shape[1]))
        whole[::2, ::2], whole[::2, 1::2] = (low + h + v + d) / 2, (low - h + v - d) / 2
        whole[1::2, ::2], whole[1::2, 1::2] = (low + h - v - d) / 2, (low - h - v + d) / 2
        return whole

    sigma = np.median(np.abs(split(x)[3])) / scipy.stats.norm.ppf(0.75)

    def recursed(x, levels):
        if not levels:
            return x
        low, *details = split(x)
        kept = []
        for y in details:
            signal = max(np.mean(y**2) - sigma**2, 0) ** 0.5
            kept.append(np.sign(y) * np.maximum(np.abs(y) - sigma**2 / signal, 0) if signal else 0 * y)
        return join(recursed(low, levels - 1), *kept)

    return recursed(x, num_levels)


@pytest.mark.parametrize(
    ("shape", "num_levels"),
    [((8, 8), 1), ((16, 32), 2), ((12, 16), 1), pytest.param((32, 32), 3, marks=pytest.mark.slow)],
)
def test_shrinkage_is_that_of_each_image_and_channel_alone(key, shape, num_levels):
    x = np.asarray(jax.random.normal(key, (2, *shape, 2)), np.float64)
    x += 2 * np.sin(np.arange(shape[0]))[:, None, None]
    found = bayes_shrink(jnp.float32(x))  # of the default number of levels
    for n in range(2):
        for c in range(2):
            np.testing.assert_allclose(found[n, ..., c], shrunk(x[n, ..., c], num_levels), atol=1e-4)


def test_sides_that_cannot_be_halved_are_mirrored(key):
    x = np.asarray(jax.random.normal(key, (1, 7, 10, 1)), np.float64)
    padded = np.pad(x[0, ..., 0], ((0, 1), (0, 2)), mode="symmetric")
    found = bayes_shrink(jnp.float32(x), num_levels=2)
    assert found.shape == x.shape
    np.testing.assert_allclose(found[0, ..., 0], shrunk(padded, 2)[:7, :10], atol=1e-4)


def test_an_image_without_noise_stays_and_noise_without_an_image_goes(key):
    square = jnp.zeros((1, 32, 32, 1)).at[:, 8:24, 8:24].set(1)  # no diagonal details but at its corners
    np.testing.assert_allclose(bayes_shrink(square), square, atol=1e-6)
    noise = jax.random.normal(key, (20, 32, 32, 1))
    assert np.mean(bayes_shrink(noise) ** 2) < 0.1
    noisy = square + 0.3 * noise
    gain = images.set_psnr(bayes_shrink(noisy), 0 * noisy + square) - images.set_psnr(noisy, 0 * noisy + square)
    assert gain > 6  # dB


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="even sides"):
        wavelets.haar(jnp.zeros((1, 3, 4, 1)))
    with pytest.raises(ValueError, match="num_levels must be at least 1; got 0"):
        wavelets.bayes_shrink(jnp.zeros((1, 4, 4, 1)), num_levels=0)
