"""The VAE: probabilistic PCA as its linear case, and bits."""

import numpy as np
import pytest
from scipy.special import entr
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from genjax.sklearn import VAE

LINEAR = dict(hidden_layer_sizes=(), activation="identity", learning_rate_init=0.003, random_state=0)
UNITS = np.array([1.0, 10.0, 0.1, 5.0, 1e3])


@pytest.fixture(scope="module")
def X():
    rng = np.random.RandomState(0)
    return (rng.normal(size=(1600, 2)) @ rng.normal(size=(2, 5)) + 0.6 * rng.normal(size=(1600, 5)) + 2) * UNITS


@pytest.fixture(scope="module")
def pca(X):
    """Probabilistic PCA of the standardised data, which a linear VAE converges to."""
    return PCA(2).fit(StandardScaler().fit_transform(X))


@pytest.fixture(scope="module")
def linear(X):
    return VAE(2, max_iter=100, n_draws=2000, **LINEAR).fit(X)


def test_score_is_just_below_the_exact_log_likelihood(X, pca, linear):
    exact = pca.score(StandardScaler().fit_transform(X)) - np.log(StandardScaler().fit(X).scale_).sum()
    assert exact - 0.15 < linear.score(X) < exact + 0.01
    by_row = pca.score_samples(StandardScaler().fit_transform(X)) - np.log(StandardScaler().fit(X).scale_).sum()
    assert np.corrcoef(by_row, linear.score_samples(X))[0, 1] > 0.99


def test_learned_variance_is_that_of_probabilistic_pca(pca, linear):
    assert np.exp(linear.params_["decoder"]["log_variance"]) == pytest.approx(pca.noise_variance_, rel=0.05)


def test_codes_are_the_exact_posterior_means_of_the_decoder(X, linear):
    layer, variance = linear.params_["decoder"]["mean"]["layer_1"], np.exp(linear.params_["decoder"]["log_variance"])
    W = np.asarray(layer["kernel"], np.float64)
    residual = StandardScaler().fit_transform(X) - layer["bias"]
    exact = residual @ W.T @ np.linalg.inv(W @ W.T + variance * np.eye(2))
    assert np.square(linear.transform(X) - exact).mean() < 0.01 * exact.var()


def test_samples_have_the_mean_and_covariance_of_probabilistic_pca(X, pca, linear):
    drawn = linear.sample(20_000, random_state=1)
    assert drawn.shape == (20_000, 5) and drawn.dtype == np.float64
    np.testing.assert_allclose((drawn.mean(axis=0) - X.mean(axis=0)) / X.std(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(drawn / X.std(axis=0), rowvar=False), pca.get_covariance(), atol=0.1)
    assert np.array_equal(linear.sample(3, random_state=1), linear.sample(3, random_state=1))
    assert not np.array_equal(linear.sample(3, random_state=1), linear.sample(3, random_state=2))


def test_scores_are_a_function_of_the_row(X, linear):
    few = clone(linear).set_params(n_draws=3, max_iter=1).fit(X)
    scores = few.score_samples(X[:10])
    assert np.array_equal(scores, few.score_samples(X[:10]))
    assert np.array_equal(scores[::-1], few.score_samples(X[:10][::-1]))
    other = clone(few).set_params(random_state=1).fit(X)
    assert not np.allclose(scores, other.score_samples(X[:10]))


def test_a_fixed_variance_is_a_lower_bound_too(X, pca):
    variance = float(pca.noise_variance_)
    fixed = VAE(2, variance=variance, standardize=False, max_iter=40, n_draws=2000, **LINEAR)
    x = StandardScaler().fit_transform(X)
    assert pca.score(x) - 0.15 < fixed.fit(x).score(x) < pca.score(x) + 0.01
    assert set(fixed.params_["decoder"]) == {"layer_1"}


def test_bits_are_scored_and_sampled_as_bits():
    rates = np.array([0.1, 0.5, 0.8, 0.3])
    X = (np.random.RandomState(0).rand(2000, 4) < rates).astype(int)
    bits = VAE(1, likelihood="bernoulli", max_iter=20, **LINEAR).fit(X)
    p = X.mean(axis=0)
    independent = -(entr(p) + entr(1 - p)).sum()
    assert independent - 0.05 < bits.score(X) < independent + 0.02
    drawn = bits.sample(5000, random_state=0)
    assert set(np.unique(drawn)) == {0, 1}
    np.testing.assert_allclose(drawn.mean(axis=0), rates, atol=0.05)
    with pytest.raises(ValueError, match=r"likelihood: 'bernoulli' needs values in \[0, 1\], and X spans \[0, 2\]"):
        bits.fit(2 * X)
