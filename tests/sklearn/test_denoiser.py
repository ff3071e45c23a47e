"""The denoiser: linear ones against the Wiener filter and the linear MMSE estimator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.evaluation import linear
from genjax.sklearn import Denoiser

LINEAR = dict(hidden_layer_sizes=(), activation="identity", learning_rate_init=0.003, random_state=0)
MIXING = np.array([[3.0, 1.0, 0.0, 1.0], [0.0, 2.0, 1.0, -1.0], [0.0, 0.0, 0.7, 0.3], [0.0, 0.0, 0.0, 0.4]]) * 10
MEAN = np.array([100.0, 0.0, -30.0, 5.0])


def draw(num, seed):
    return np.random.RandomState(seed).normal(size=(num, 4)) @ MIXING + MEAN


def error(x, y):
    return float(np.square(x - y).sum(axis=1).mean())


def test_linear_one_is_the_wiener_filter_in_the_units_of_the_data():
    clean = draw(20_000, 1)
    noisy = clean + 8 * np.random.RandomState(2).normal(size=clean.shape)
    denoiser = Denoiser(noise="gaussian", noise_level=8, max_iter=20, **LINEAR).fit(draw(4000, 0))
    with jax.enable_x64(True):
        best = np.asarray(linear.wiener(jnp.asarray(MIXING.T @ MIXING), variance=64.0))
    reached, optimum = error(denoiser.transform(noisy), clean), error((noisy - MEAN) @ best + MEAN, clean)
    assert optimum < 0.9 * error(noisy, clean)
    assert 0.99 * optimum < reached < 1.03 * optimum


def test_pairs_teach_any_corruption():
    def pairs(num, seed):
        clean = draw(num, seed)
        return np.where(np.random.RandomState(seed + 10).rand(*clean.shape) < 0.3, clean - 40, 2 * clean), clean

    corrupted, clean = pairs(4000, 0)
    denoiser = Denoiser(max_iter=20, **LINEAR).fit(corrupted, clean)
    held_out, truth = pairs(20_000, 1)
    with jax.enable_x64(True):
        best = linear.linear_mmse(jnp.asarray(clean), jnp.asarray(corrupted))
        optimum = error(np.asarray(best(jnp.asarray(held_out))), truth)
    assert 0.98 * optimum < error(denoiser.transform(held_out), truth) < 1.05 * optimum


def test_masked_values_are_0_in_the_units_of_the_data():
    """If everything is masked, all that can be learned is to answer 0 with the mean."""
    X = draw(2000, 0)
    denoiser = Denoiser(noise="masking", noise_level=1.0, max_iter=20, **LINEAR).fit(X)
    np.testing.assert_allclose(denoiser.transform(np.zeros((1, 4)))[0], X.mean(axis=0), atol=0.1 * X.std(axis=0).max())


def test_labels_are_ignored_and_names_are_kept():
    X = draw(50, 0)
    with_labels = Denoiser(max_iter=1, **LINEAR).fit(X, X[:, 0] > 0)
    assert np.array_equal(with_labels.transform(X), Denoiser(max_iter=1, **LINEAR).fit(X).transform(X))
    assert list(with_labels.get_feature_names_out()) == ["x0", "x1", "x2", "x3"]


def test_wrong_arguments_are_refused():
    X = draw(50, 0)
    with pytest.raises(ValueError, match=r"y: clean rows need the shape of X, \(50, 4\), not \(50, 3\)"):
        Denoiser().fit(X, X[:, :3])
    with pytest.raises(ValueError, match=r"noise_level: the probability of masking noise must be at most 1, not 1\.5"):
        Denoiser(noise="masking", noise_level=1.5).fit(X)
    with pytest.raises(ValueError, match="'noise' parameter of Denoiser must be a str among"):
        Denoiser(noise="pink").fit(X)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["rayleigh", "centred_rayleigh", "salt_and_pepper", "speckle"])
def test_every_kind_of_noise_is_reduced(noise):
    from genjax.sklearn.denoiser import NOISES

    X = np.clip(draw(2000, 0) / 200 + 0.5, 0, 1)
    noisy = np.asarray(NOISES[noise](0.2)(jnp.asarray(X, jnp.float32), jax.random.key(1)))
    denoiser = Denoiser(noise=noise, noise_level=0.2, max_iter=60, random_state=0).fit(X)
    assert error(denoiser.transform(noisy), X) < 0.7 * error(noisy, X)
