"""Flows as densities of data, trained by maximum likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from genjax import losses, networks
from genjax.models import flow
from genjax.types import Batch


def trained(parts, x, key, *, steps, rate=0.03):
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))
    model = flow.model(parts, optimizer, flow.objective(parts))
    batch = Batch(jnp.float32(x))
    fit = jax.jit(lambda s: jax.lax.fori_loop(0, steps, lambda i, s: model.train_step(s, batch, key)[0], s))
    state = fit(jax.jit(model.init)(key))
    return model, state, float(jax.jit(model.evaluate)(state, batch, key)["negative_log_likelihood"])


@pytest.mark.parametrize("normalised", [True, False])
def test_a_gaussian_is_learned_to_its_likelihood_if_the_data_are_normalised(normalised, key):
    """Training examples 100 away and 30 wide: without normalisation, the layers do not get there in as many steps."""
    factor = np.array([[30.0, 0], [20, 8]])
    x = 100 + np.random.RandomState(0).standard_normal((500, 2)) @ factor.T
    mean, covariance = x.mean(0), np.cov(x.T, bias=True)
    best = -scipy.stats.multivariate_normal(mean, covariance).logpdf(x).mean()
    affine = networks.masked_autoregressive_flow(2, 1, hidden=(), activation=jnp.tanh)
    layers = [networks.activation_normalization(mean, x.std(0))] if normalised else []
    model, state, found = trained(flow.FlowDensity(networks.chain(*layers, affine), (2,)), x, key, steps=300)
    if not normalised:
        assert found > best + 1
        return
    assert best - 1e-3 < found < best + 0.01
    draws = np.asarray(jax.jit(model.sample, static_argnums=1)(state, 4000, key))
    np.testing.assert_allclose(draws.mean(0), mean, atol=5 * 30 / 4000**0.5)
    np.testing.assert_allclose(np.cov(draws.T), covariance, rtol=0.12)


def test_the_parts_of_a_density_agree(key):
    parts = flow.FlowDensity(networks.coupling_flow(6, 2, hidden=(8,), activation=jnp.tanh), (1, 2, 3))
    params = jax.tree.map(lambda a: a + 0.2 * jax.random.normal(key, a.shape), jax.jit(parts.flow.init)(key))
    x = np.random.RandomState(0).standard_normal((5, 1, 2, 3)).astype(np.float32)

    @jax.jit
    def everything(x, key):
        u = flow.encode(params, x, parts=parts)
        density = flow.negative_log_likelihood(params, x, parts=parts)
        drawn = flow.sample(params, 3, key, parts=parts)
        return u, flow.decode(params, u, parts=parts), density, parts.flow.forward(params, x.reshape(5, 6))[1], drawn

    u, back, density, log_determinant, drawn = everything(x, key)
    assert u.shape == (5, 6) and drawn.shape == (3, 1, 2, 3)
    np.testing.assert_allclose(back, x, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(density, -scipy.stats.norm.logpdf(u).sum(1) - log_determinant, rtol=1e-5)


def test_a_flow_without_an_inverse_is_refused(key):
    parts = flow.FlowDensity(networks.planar_flow(2, 1), (2,))
    with pytest.raises(ValueError, match="planar flow"):
        flow.decode(parts.flow.init(key), jnp.zeros((1, 2)), parts=parts)
    with pytest.raises(ValueError, match="planar flow"):
        losses.flow_prior(parts.flow)
