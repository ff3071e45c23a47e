"""The held-out likelihood: of every test example, read as in training, with its two standard errors."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import held_out_likelihood
from genjax.data import from_arrays

SCALE = 255.0


@pytest.fixture(scope="module")
def trained():
    """2107 test images, more than a run keeps as examples and no multiple of a batch."""
    x = np.random.RandomState(0).randint(0, 256, (2107, 3, 3, 1)).astype(np.uint8)
    return SimpleNamespace(dataset=from_arrays("grey", x[:100], x), params={"shift": jnp.float32(1)}, model=None)


def total(params, batch, key):
    return jnp.sum(batch.x, axis=(1, 2, 3)) + params["shift"]


def test_every_test_example_is_read_in_order(trained, key):
    found = held_out_likelihood.over_test_split(total, trained, key, binarize="none")
    np.testing.assert_allclose(found, trained.dataset.test.x.sum(axis=(1, 2, 3)) / SCALE + 1, rtol=1e-5)


def test_pixels_are_drawn_anew_with_dynamic_binarization(trained, key):
    found = held_out_likelihood.over_test_split(total, trained, key, binarize="dynamic")
    assert (found == np.round(found)).all()
    intensity = trained.dataset.test.x / SCALE
    error = np.sqrt((intensity * (1 - intensity)).sum()) / len(found)
    assert abs(found.mean() - intensity.sum(axis=(1, 2, 3)).mean() - 1) < 4 * error


def test_the_mean_and_its_errors_are_those_of_known_weights(trained, key):
    """w is e^s, or 0, with equal chances: log E[w] = s - log 2, and the variance of w / E[w] is 1."""

    def sampler(params, batch):
        s = jnp.sum(batch.x, axis=(1, 2, 3))
        return lambda key: jnp.where(jax.random.bernoulli(key, 0.5, s.shape), s, -jnp.inf)

    k, num = 400, len(trained.dataset.test.x)
    found = held_out_likelihood.by_importance(sampler, trained, key, num_samples=k, binarize="none")
    exact = np.log(2) - trained.dataset.test.x.sum(axis=(1, 2, 3)) / SCALE
    error = found["negative_log_likelihood_error"]
    np.testing.assert_allclose(error, (1 / k / num) ** 0.5, rtol=0.02)
    bias = 1 / (2 * k)  # of the logarithm, to first order
    assert abs(found["negative_log_likelihood"] - exact.mean() - bias) < 4 * error
    np.testing.assert_allclose(found["negative_log_likelihood_spread"], exact.std() / num**0.5, rtol=0.02)
