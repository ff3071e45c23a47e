"""Annealed importance sampling against exact evidences, quadrature, and hand-written Hamiltonian dynamics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from genjax.evaluation import annealing
from genjax.evaluation.likelihood import log_likelihood

W = np.array([[1.5, 0.2], [-0.7, 0.9], [0.3, -0.4]])
M, VARIANCE = np.array([0.3, -0.2, 0.1]), 0.4


def log_normal(x, mean, variance):
    return -0.5 * jnp.sum((x - mean) ** 2 / variance + jnp.log(2 * jnp.pi * variance), axis=1)


def linear_gaussian(x):
    """The path at x = W z + m + e, [B, 3], whose evidence is N(m, W W^T + v I)."""
    w, m, x = jnp.asarray(W), jnp.asarray(M), jnp.asarray(x)
    return annealing.Path(
        lambda key: jax.random.normal(key, (len(x), 2)),
        lambda z: log_normal(z, 0.0, 1.0),
        lambda z: log_normal(x, z @ w.T + m[None], VARIANCE),
    )


def evidence(x):
    return scipy.stats.multivariate_normal(M, W @ W.T + VARIANCE * np.eye(3)).logpdf(x)


def samplers(path, z, num_steps, *, size=None, num_leapfrog=4):
    """Forward and, from z, reverse log-weights, with step sizes of a pilot or fixed ones."""
    b = annealing.temperatures(num_steps)
    sizes = jnp.full((num_steps, len(z)), size) if size else annealing.tuned_step_sizes(path, b, jax.random.key(99))
    return (
        annealing.forward_sampler(path, b, sizes, num_leapfrog=num_leapfrog),
        annealing.reverse_sampler(path, jnp.asarray(z), b, sizes, num_leapfrog=num_leapfrog),
    )


def many(log_weight, key, num):
    return np.asarray(jax.jit(jax.vmap(log_weight))(jax.random.split(key, num)))


def drawn(num, seed=0):
    """Codes and examples from the linear-Gaussian model, of which each code is a draw from its posterior."""
    draw = np.random.RandomState(seed)
    z = draw.randn(num, 2)
    return z, z @ W.T + M + np.sqrt(VARIANCE) * draw.randn(num, 3)


def test_temperatures_are_a_sigmoid_from_0_to_1():
    t = np.linspace(-1, 1, 8)
    low, high = scipy.special.expit([-3.0, 3.0])
    found = annealing.temperatures(7, steepness=3.0)
    np.testing.assert_allclose(found, (scipy.special.expit(3 * t) - low) / (high - low), atol=1e-6)
    assert (found[0], found[-1]) == (0, 1)
    np.testing.assert_array_equal(annealing.temperatures(1), [0, 1])
    with pytest.raises(ValueError, match="num_steps must be at least 1; got 0"):
        annealing.temperatures(0)


def test_a_transition_is_hamiltonian_dynamics_by_hand(float64, key):
    # f(z) = N(0, diag(1, 4)), with the draws of the same keys; a chain in each row
    precision, eps = np.array([1.0, 0.25]), np.array([0.9, 0.4, 1.7])
    z = np.array([[0.3, -2.0], [1.5, 0.4], [-0.2, 5.0]])

    def log_density(z):
        return -jnp.sum(jnp.asarray(precision)[None] * z**2, axis=1) / 2

    found, acceptance = annealing.hamiltonian_step(log_density, jnp.asarray(z), jnp.asarray(eps), key, num_leapfrog=3)
    momentum_key, size_key, accept_key = jax.random.split(key, 3)
    size = eps * np.asarray(jax.random.uniform(size_key, (3,), jnp.float64, 0.8, 1.2))
    u, start = np.asarray(jax.random.uniform(accept_key, (3,))), np.asarray(jax.random.normal(momentum_key, (3, 2)))
    for row in range(3):
        at, r = z[row].copy(), start[row].copy()
        for _ in range(3):
            r -= size[row] / 2 * precision * at
            at += size[row] * r
            r -= size[row] / 2 * precision * at
        energy = (precision * z[row] ** 2).sum() / 2 + (start[row] ** 2).sum() / 2
        a = min(1, np.exp(energy - (precision * at**2).sum() / 2 - (r**2).sum() / 2))
        np.testing.assert_allclose(acceptance[row], a, rtol=1e-10)
        np.testing.assert_allclose(found[row], at if u[row] < a else z[row], rtol=1e-10)


def test_transitions_keep_a_density(float64, key):
    # 1/2 N(-2, .5^2) + 1/2 N(2, 1), by large steps of which many are refused
    draw = np.random.RandomState(0)
    z = np.where(draw.rand(20_000) < 0.5, -2 + 0.5 * draw.randn(20_000), 2 + draw.randn(20_000))

    def log_density(z):
        near = jax.scipy.stats.norm.logpdf(z[:, 0], -2.0, 0.5), jax.scipy.stats.norm.logpdf(z[:, 0], 2.0, 1.0)
        return jnp.logaddexp(*near)

    @jax.jit
    def move(z, key):
        return annealing.hamiltonian_step(log_density, z, jnp.full(len(z), 0.9), key, num_leapfrog=3)

    z, accepted = jnp.asarray(z[:, None]), []
    for step in range(10):
        z, acceptance = move(z, jax.random.fold_in(key, step))
        accepted.append(np.mean(acceptance))
    assert 0.3 < np.mean(accepted) < 0.9

    def distribution(z):
        return (scipy.stats.norm.cdf(z, -2, 0.5) + scipy.stats.norm.cdf(z, 2, 1)) / 2

    assert scipy.stats.kstest(np.asarray(z)[:, 0], distribution).pvalue > 1e-3


def test_a_trajectory_that_diverges_is_refused(key):
    z = jnp.ones((2, 1))
    found, acceptance = annealing.hamiltonian_step(
        lambda z: -jnp.sum(z**4, axis=1), z, jnp.array([100.0, 1e-3]), key, num_leapfrog=9
    )
    assert acceptance[0] == 0 and found[0] == z[0]
    assert acceptance[1] > 0.99 and found[1] != z[1] and np.isfinite(found).all()


def test_weights_are_unbiased(float64, key):
    # few temperatures and steps that are far too large or small: E[w] = p(x) and E[1 / w] = 1 / p(x) all the same
    x = np.array([[0.5, 0.1, -0.3], [1.5, -1.0, 0.6]])
    posterior = np.linalg.inv(np.eye(2) + W.T @ W / VARIANCE)
    for size in (0.9, 0.15):
        forward, _ = samplers(linear_gaussian(x), np.zeros((2, 2)), 8, size=size)
        ratio = np.exp(many(forward, key, 20_000) - evidence(x))
        assert np.all(np.abs(ratio.mean(0) - 1) < 4 * ratio.std(0) / np.sqrt(20_000)), size
        assert np.all(ratio.std(0) > 0.1)
        # a draw from the posterior for each chain
        one = np.repeat(x[:1], 20_000, axis=0)
        mean = (x[0] - M) @ W @ posterior / VARIANCE
        z = mean + np.random.RandomState(1).randn(20_000, 2) @ np.linalg.cholesky(posterior).T
        _, reverse = samplers(linear_gaussian(one), z, 8, size=size)
        ratio = np.exp(evidence(x[:1]) - np.asarray(jax.jit(reverse)(key)))
        assert np.abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(20_000), size
        assert ratio.std() > 0.1


def test_one_step_is_the_likelihood_at_a_draw_of_the_prior(float64, key):
    x = drawn(3)[1]
    path = linear_gaussian(x)
    forward, _ = samplers(path, np.zeros((3, 2)), 1, size=0.1)
    z = path.sample_prior(jax.random.split(key)[0])
    np.testing.assert_allclose(forward(key), path.log_likelihood(z), rtol=1e-10)


@pytest.mark.slow
def test_the_evidence_is_between_both_bounds_on_the_models_own_draws(float64, key):
    z, x = drawn(1000)
    gaps = []
    for num_steps in (2, 20):
        forward, reverse = samplers(linear_gaussian(x), z, num_steps, size=0.5)
        below, above = (np.asarray(jax.jit(each)(key)) - evidence(x) for each in (forward, reverse))
        assert below.mean() < -4 * below.std() / np.sqrt(1000)
        assert above.mean() > 4 * above.std() / np.sqrt(1000)
        gaps.append(above.mean() - below.mean())
    assert gaps[1] < 0.3 * gaps[0]


@pytest.mark.slow
def test_many_temperatures_reach_the_exact_evidence(float64, key):
    z, x = drawn(20)
    forward, reverse = samplers(linear_gaussian(x), z, 60)
    below, above = (
        bound(each, key, num_samples=64)
        for bound, each in ((log_likelihood, forward), (annealing.upper_bound, reverse))
    )
    assert np.max(below.standard_error) < 0.15
    assert np.all(np.abs(below.value - evidence(x)) < 4.5 * below.standard_error)
    np.testing.assert_allclose(above.value, evidence(x), atol=0.25)
    assert abs(np.mean(above.value - evidence(x))) < 0.05


def test_upper_bound_is_the_harmonic_mean_of_the_weights(key):
    log_w = jnp.array([[0.3, -2.0], [1.2, -1.0], [0.1, 0.5]])

    def log_weight(key):
        return log_w[jax.random.randint(key, (), 0, 3)]

    rows = jax.jit(jax.vmap(lambda i: log_weight(jax.random.fold_in(key, i))))(jnp.arange(40))
    rows = np.asarray(rows, np.float64)
    found = annealing.upper_bound(log_weight, key, num_samples=40, chunk_size=7)
    np.testing.assert_allclose(found.value, -np.log(np.mean(np.exp(-rows), axis=0)), rtol=1e-5)
    v = np.exp(-rows) / np.exp(-rows).sum(axis=0)
    np.testing.assert_allclose(found.standard_error, np.sqrt((v**2).sum(axis=0) - 1 / 40), rtol=1e-4)


@pytest.mark.slow
def test_a_nonlinear_decoder_by_quadrature(float64, key):
    # one latent dimension, Bernoulli pixels of logits that wind with z, so that the posterior has several modes
    x, phase = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]]), np.arange(4.0)

    def log_p(z):
        logits = 3 * jnp.sin(2 * z + jnp.asarray(phase)[None])
        return jnp.sum(jnp.asarray(x) * logits - jax.nn.softplus(logits), axis=1)

    def joint(z, row):
        logits = 3 * np.sin(2 * z + phase)
        return np.exp(np.sum(row * logits - np.logaddexp(0, logits))) * scipy.stats.norm.pdf(z)

    expected = [np.log(scipy.integrate.quad(joint, -9, 9, args=(row,), limit=200)[0]) for row in x]
    path = annealing.Path(lambda key: jax.random.normal(key, (2, 1)), lambda z: log_normal(z, 0.0, 1.0), log_p)
    forward, _ = samplers(path, np.zeros((2, 1)), 20)
    found = log_likelihood(forward, key, num_samples=1000, chunk_size=1000)
    assert np.all(np.abs(found.value - np.asarray(expected)) < 4 * found.standard_error)
    assert np.all(found.standard_error < 0.03)


def test_step_sizes_are_tuned_to_the_acceptance_of_their_density(float64, key):
    # posteriors of width .005 and .5 beside a prior of width 1
    deviation = jnp.array([0.005, 0.5])
    path = annealing.Path(
        lambda key: jax.random.normal(key, (2, 1)),
        lambda z: log_normal(z, 0.0, 1.0),
        lambda z: -0.5 * (z[:, 0] / deviation) ** 2,
    )
    b = annealing.temperatures(300)
    sizes = annealing.tuned_step_sizes(path, b, key)
    assert sizes.shape == (300, 2) and np.allclose(sizes[0], 0.3)
    for which, size in enumerate(sizes[-1]):
        start = deviation[which] * jax.random.normal(key, (4000, 1))
        accepted = annealing.hamiltonian_step(
            lambda z, s=deviation[which]: -0.5 * (z[:, 0] / s) ** 2,
            start,
            jnp.full(4000, size),
            jax.random.fold_in(key, which),
            num_leapfrog=10,
        )[1]
        assert 0.4 < np.mean(accepted) < 0.9
    assert sizes[-1][1] > 20 * sizes[-1][0]
