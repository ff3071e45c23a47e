"""Variational inference against exact evidence: finite tables, ten enumerated spins, Gaussians, a grid."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from genjax import gradients, information, variational

# A finite latent variable


def tables(key, shape, zeros=0.0):
    """Joint tables p(x, z) at one x, and distributions q over z; with some entries of both exactly 0."""
    draw = np.random.RandomState(int(jax.random.randint(key, (), 0, 2**31 - 1)))
    joint = draw.gamma(0.5, size=shape) + 1e-12
    q = draw.gamma(0.5, size=shape) + 1e-12
    off = (draw.random_sample(shape) < zeros) & (np.arange(shape[-1]) > 0)  # the first state stays
    joint, q = np.where(off, 0, joint), np.where(off | (draw.random_sample(shape) < zeros), 0, q)
    q[..., 0] += 0.1
    joint /= 2 * joint.sum(axis=-1, keepdims=True) * draw.uniform(0.6, 5, shape[:-1])[..., None]
    return jnp.asarray(joint), jnp.asarray(q / q.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("zeros", [0.0, 0.3])
def test_evidence_is_divergence_plus_bound(key, float64, zeros):
    joint, q = tables(key, (500, 7), zeros)
    bound = variational.evidence_lower_bound(q, joint)
    gap = information.kl_divergence(q, variational.posterior(joint))
    np.testing.assert_allclose(gap + bound, variational.log_evidence(joint), atol=1e-10, rtol=0)
    assert np.all(bound <= variational.log_evidence(joint) + 1e-12) and np.all(gap > 0)


def test_bound_is_its_definition(key, float64):
    joint, q = map(np.asarray, tables(key, (20, 5)))
    wanted = [sum(b * np.log(a / b) for a, b in zip(*rows, strict=True)) for rows in zip(joint, q, strict=True)]
    np.testing.assert_allclose(variational.evidence_lower_bound(jnp.asarray(q), jnp.asarray(joint)), wanted, rtol=1e-12)
    np.testing.assert_allclose(variational.log_evidence(jnp.asarray(joint)), np.log(joint.sum(1)), rtol=1e-12)
    np.testing.assert_allclose(variational.posterior(jnp.asarray(joint)), joint / joint.sum(1)[:, None], rtol=1e-12)


def test_bound_is_the_evidence_at_the_posterior_and_its_other_form(key, float64):
    # E_q log p(x|z) - KL(q || p(z)), with p(x, z) = p(z) p(x|z)
    prior, q = tables(key, (50, 6))
    prior = prior / jnp.sum(prior, axis=-1, keepdims=True)
    likelihood = jax.random.uniform(key, prior.shape, float, 0.01, 1.0)
    joint = prior * likelihood
    other = jnp.sum(q * jnp.log(likelihood), axis=-1) - information.kl_divergence(q, prior)
    np.testing.assert_allclose(variational.evidence_lower_bound(q, joint), other, atol=1e-10)
    tight = variational.evidence_lower_bound(variational.posterior(joint), joint)
    np.testing.assert_allclose(tight, variational.log_evidence(joint), atol=1e-12)


def test_bound_is_minus_infinity_where_q_allows_what_the_model_excludes(float64):
    bound = variational.evidence_lower_bound(jnp.array([0.5, 0.5]), jnp.array([0.2, 0.0]))
    assert float(bound) == -np.inf


# Ising


def spins(seed, num, strength):
    draw = np.random.RandomState(seed)
    coupling = np.triu(draw.randn(num, num), 1) * strength
    return coupling + coupling.T, draw.randn(num) * 0.5


def enumerated(coupling, field) -> tuple[Any, Any]:
    """(log Z, the exact means) over all 2^n settings."""
    s = np.array(list(itertools.product([-1, 1], repeat=len(field))))
    energy = 0.5 * np.einsum("ki,ij,kj->k", s, coupling, s) + s @ field
    return scipy.special.logsumexp(energy), scipy.special.softmax(energy) @ s


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strength", [0.1, 0.5, 2.0])
def test_mean_field_bound_is_below_the_partition_function_and_never_falls(seed, strength, float64):
    coupling, field = spins(seed, 10, strength)
    log_z, _ = enumerated(coupling, field)
    start = jnp.asarray(np.random.RandomState(seed).uniform(-1, 1, 10))
    first = variational.ising_lower_bound(start, jnp.asarray(coupling), jnp.asarray(field))
    mean, bounds = variational.ising_mean_field(start, jnp.asarray(coupling), jnp.asarray(field), num_sweeps=300)
    values = np.concatenate([[first], bounds])
    assert np.all(values <= log_z) and np.all(np.diff(values) >= -1e-10) and values[-1] > values[0] + 0.1
    np.testing.assert_allclose(mean, np.tanh(field + coupling @ np.asarray(mean)), atol=1e-6)
    np.testing.assert_allclose(
        bounds[-1], variational.ising_lower_bound(mean, jnp.asarray(coupling), jnp.asarray(field))
    )


def test_mean_field_bound_is_the_evidence_bound_of_a_product_over_all_settings(float64):
    coupling, field = spins(3, 6, 0.7)
    mean = np.random.RandomState(4).uniform(-1, 1, 6)
    s = np.array(list(itertools.product([-1, 1], repeat=6)))
    q = jnp.asarray(np.prod((1 + s * mean) / 2, axis=1))
    joint = jnp.asarray(np.exp(0.5 * np.einsum("ki,ij,kj->k", s, coupling, s) + s @ field))
    bound = variational.ising_lower_bound(jnp.asarray(mean), jnp.asarray(coupling), jnp.asarray(field))
    np.testing.assert_allclose(bound, variational.evidence_lower_bound(q, joint), rtol=1e-10)


def test_mean_field_is_exact_without_coupling_and_near_it_where_that_is_weak(float64):
    coupling, field = spins(1, 10, 0.05)
    zero = jnp.zeros(10)
    mean, bounds = variational.ising_mean_field(zero, jnp.zeros((10, 10)), jnp.asarray(field), num_sweeps=1)
    np.testing.assert_allclose(bounds[0], np.sum(np.log(2 * np.cosh(field))), rtol=1e-12)
    np.testing.assert_allclose(mean, np.tanh(field), rtol=1e-12)
    log_z, exact = enumerated(coupling, field)
    mean, bounds = variational.ising_mean_field(zero, jnp.asarray(coupling), jnp.asarray(field), num_sweeps=20)
    np.testing.assert_allclose(mean, exact, atol=0.02)
    assert 0 < log_z - bounds[-1] < 0.1


# A Gaussian family


def fit(log_joint, dim, key, num_steps=2000, num_draws=64):
    params = {"mean": jnp.zeros(dim), "log_variance": jnp.zeros(dim)}
    objective = variational.gaussian_objective(log_joint, num_draws=num_draws)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, num_steps))
    update = gradients.updater(objective, optimizer)

    def step(index, carry):
        params, optimizer_state, _ = update(*carry, jax.random.fold_in(key, index))
        return params, optimizer_state

    params, _ = jax.jit(lambda carry: jax.lax.fori_loop(0, num_steps, step, carry))((params, optimizer.init(params)))
    return params["mean"], jnp.exp(params["log_variance"])


def test_mean_field_of_a_correlated_gaussian_has_the_variances_of_its_precision(key):
    mean = jnp.array([1.0, -0.5, 2.0])
    precision = jnp.array([[2.0, 1.2, -0.3], [1.2, 1.5, 0.4], [-0.3, 0.4, 0.8]])
    m, v = fit(lambda z: -0.5 * (z - mean) @ precision @ (z - mean), 3, key)
    np.testing.assert_allclose(m, mean, atol=0.02)
    np.testing.assert_allclose(v, 1 / np.diag(precision), rtol=0.02)
    assert np.all(np.diag(np.linalg.inv(np.asarray(precision))) > 1.3 * np.asarray(v))  # the marginals are wider


def logistic_posterior():
    """1-D logistic regression with a N(0, 4) prior: skew, and so far from every Gaussian."""
    draw = np.random.RandomState(0)
    x = draw.uniform(0, 3, 8)
    y = (draw.random_sample(8) < scipy.special.expit(1.5 * x)).astype(float)

    def log_joint(z):
        z = z.reshape(())
        log_likelihood = jnp.sum(jnp.where(y > 0, jax.nn.log_sigmoid(z * x), jax.nn.log_sigmoid(-z * x)))
        return log_likelihood - z**2 / 8 - 0.5 * np.log(8 * np.pi)

    return log_joint


@pytest.mark.slow
def test_gaussian_is_the_nearest_to_a_logistic_posterior(key, float64):
    """Against the smallest KL(q || p(z|x)) by quadrature, over mean and scale."""
    log_joint = logistic_posterior()
    z = np.linspace(-15, 20, 20_001)
    log_p = np.asarray(jax.vmap(log_joint)(jnp.asarray(z)[:, None]))
    log_evidence = np.log(np.trapezoid(np.exp(log_p), z))

    def divergence(at):
        q = scipy.stats.norm(at[0], np.exp(at[1]))
        return np.trapezoid(q.pdf(z) * (q.logpdf(z) - (log_p - log_evidence)), z)

    best = scipy.optimize.minimize(divergence, [0.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-6})
    m, v = fit(log_joint, 1, key, num_draws=256)
    np.testing.assert_allclose(m[0], best.x[0], atol=0.02)
    np.testing.assert_allclose(np.sqrt(v[0]), np.exp(best.x[1]), rtol=0.02)
    assert divergence([m[0], 0.5 * np.log(v[0])]) < best.fun + 1e-4
    # and the bound that was maximised is the evidence less that divergence
    params = {"mean": m, "log_variance": jnp.log(v)}
    objective = variational.gaussian_objective(log_joint, num_draws=100)
    keys = jax.random.split(jax.random.fold_in(key, 10**6), 1000)
    losses = np.asarray(jax.vmap(lambda key: objective(params, key)[0][0])(keys))
    assert abs(losses.mean() - (best.fun - log_evidence)) < 4 * losses.std() / np.sqrt(len(losses)) + 1e-4


def test_loss_is_the_evidence_at_the_posterior_of_a_conjugate_model(key, float64):
    # x ~ N(z, 1/4) seen once, z ~ N(0, 1): the posterior is N(0.8 x, 0.2), the evidence N(x; 0, 1.25)
    x = 0.9

    def log_joint(z):
        return jnp.sum(jax.scipy.stats.norm.logpdf(x, z, 0.5) + jax.scipy.stats.norm.logpdf(z))

    params = {"mean": jnp.array([0.8 * x]), "log_variance": jnp.log(jnp.array([0.2]))}
    losses = []
    for seed in range(20):
        loss, _ = variational.gaussian_objective(log_joint, num_draws=100)(params, jax.random.fold_in(key, seed))
        losses.append(float(loss[0]))
    evidence = scipy.stats.norm(0, np.sqrt(1.25)).logpdf(x)
    # E_q log p has a spread, as the entropy is taken in closed form; its mean is the evidence
    assert abs(np.mean(losses) + evidence) < 4 * np.std(losses) / np.sqrt(len(losses))
    wrong = params | {"mean": jnp.array([0.0])}
    gap = 0.5 * (0.8 * x) ** 2 / 0.2
    keys = jax.random.split(key, 200)
    losses = np.asarray(
        jax.vmap(lambda k: variational.gaussian_objective(log_joint, num_draws=100)(wrong, k)[0][0])(keys)
    )
    assert abs(losses.mean() + evidence - gap) < 4 * losses.std() / np.sqrt(len(losses))
