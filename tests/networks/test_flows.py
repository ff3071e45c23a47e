"""Flows as prior and posterior of a VAE, against the exact evidence of linear Gaussians and against quadrature."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax import networks
from genjax.losses import DIAGONAL_GAUSSIAN, STANDARD_NORMAL, flow_posterior, flow_prior, gaussian_likelihood
from genjax.models import importance_weighted, vae
from genjax.types import Batch, Flow, Network

D, X = 2, 3
VARIANCE = 0.3
IDENTITY = Flow(lambda key: (), lambda params, z: (z, jnp.zeros(len(z))), lambda params, u: (u, jnp.zeros(len(u))))
options = dict(hidden=(8,), activation=jnp.tanh)


def linear_vae(draw, *, prior, posterior, encoder):
    """A VAE with a linear decoder of unit Gaussian noise, x = W z + b + eps, and its W and b."""
    weight, bias = np.asarray(draw(D, X)), np.asarray(draw(X))
    decoder = Network(lambda key: {}, lambda params, z: z @ jnp.asarray(weight) + bias[None])
    parts = vae.VAE(encoder, decoder, gaussian_likelihood(variance=VARIANCE), D, prior, posterior)
    return parts, weight, bias


def exact_posterior(weight, bias, x):
    """Of z ~ N(0, I): its covariance and the means for x [B, X]."""
    covariance = np.linalg.inv(np.eye(D) + weight @ weight.T / VARIANCE)
    return covariance, (x - bias) @ weight.T @ covariance / VARIANCE


def affine_flow():
    """z = mean + L z0 of any L with a positive diagonal, as a flow from draws to codes."""
    network = networks.masked_mlp([networks.mask_degrees((1, 2), ())], 2, activation=jnp.tanh)
    return networks.masked_autoregressive(network, (1, 2))


def test_an_affine_flow_makes_the_bound_of_a_gaussian_target_the_evidence(float64, draw):
    """The exact posterior is full: no diagonal Gaussian reaches it, and one with an affine flow behind it does."""
    flow = affine_flow()
    encoder = Network(lambda key: {}, lambda params, x: params)
    parts, weight, bias = linear_vae(
        draw, prior=STANDARD_NORMAL._replace(kl=None), posterior=flow_posterior(flow), encoder=encoder
    )
    x = np.asarray(draw(1, X)).repeat(5, axis=0)  # five draws at one x
    covariance, mean = exact_posterior(weight, bias, x[:1])
    factor = np.linalg.cholesky(covariance)
    # L z0 = z0 scaled, plus a multiple of the z0 before: in the flow's form u_j = (z_j - mu_j) e^{-alpha_j}
    scale = np.diag(factor)
    kernel = np.zeros((2, 2, 2))
    kernel[0, 1, 0] = -factor[1, 0] / scale[1]
    limit = networks.bijections.LARGEST_LOG_SCALE
    alpha = -limit * np.arctanh(np.log(scale) / limit)
    shift = np.stack([np.zeros(2), alpha], axis=1)
    params = {"layer_1": {"kernel": jnp.asarray(kernel.reshape(2, 4)), "bias": jnp.asarray(shift.ravel())}}
    start = np.linalg.solve(factor, mean[0])
    output = (jnp.broadcast_to(start[None], (5, 2)), jnp.zeros((5, 2)), (), params)
    evidence = scipy.stats.multivariate_normal(bias, weight.T @ weight + VARIANCE * np.eye(X)).logpdf(x)

    bound = jax.jit(lambda output, key: vae.negative_elbo({"encoder": output, "decoder": {}}, x, key, parts=parts))
    np.testing.assert_allclose(bound(output, jax.random.key(0)), -evidence, rtol=1e-9)
    # every importance weight is then the evidence
    sampler = importance_weighted.importance_sampler({"encoder": output, "decoder": {}}, jnp.asarray(x), parts=parts)
    np.testing.assert_allclose(jax.jit(sampler)(jax.random.key(1)), evidence, rtol=1e-9)
    # without the flow's shear it is above
    params["layer_1"]["kernel"] = jnp.zeros((2, 4))
    assert np.mean(bound(output, jax.random.key(0))) > -evidence[0] + 0.01


@pytest.mark.parametrize("name", ["inverse_autoregressive", "planar", "amortized"])
def test_the_density_of_a_draw_is_that_of_its_base_through_the_jacobian(name, float64, draw, parameters):
    flow = {
        "inverse_autoregressive": networks.inverse_autoregressive_flow(D, 2, context_dim=3, **options),
        "planar": networks.planar_flow(D, 4),
        "amortized": networks.amortized(networks.planar_flow(D, 4)),
    }[name]
    width = {"inverse_autoregressive": 3, "planar": 0, "amortized": 4 * (2 * D + 1)}[name]
    encoder = networks.flow_heads(networks.mlp((X,), (2 * D + width,), **options), flow, D)
    params, x, key = parameters(encoder), draw(4, X), jax.random.key(3)
    posterior = flow_posterior(flow)
    output = jax.jit(encoder.apply)(params, x)
    z, negative_log_q = jax.jit(posterior.sample_and_negative_log_density)(output, key)
    mean, log_variance, context, own = output
    assert len(context) == (1 if width else 0)
    start = np.asarray(DIAGONAL_GAUSSIAN.sample_and_negative_log_density((mean, log_variance), key)[0])

    @jax.jit
    @jax.vmap
    def slope(start, *context):
        return jax.jacfwd(lambda z0: flow.forward(own, z0[None], *(c[None] for c in context))[0][0])(start)

    scale = np.exp(np.asarray(log_variance) / 2)
    base = scipy.stats.norm(np.asarray(mean), scale).logpdf(start).sum(axis=1)
    expected = base - np.linalg.slogdet(slope(start, *context))[1]
    np.testing.assert_allclose(negative_log_q, -expected, rtol=1e-9)
    image = jax.jit(flow.forward)(own, mean, *context)[0]
    np.testing.assert_allclose(jax.jit(posterior.mean)(output), image, rtol=1e-12)
    assert np.abs(z - start).max() > 0.01


def test_flows_that_are_the_identity_leave_the_vae_as_it_is(key, draw):
    encoder = networks.gaussian_heads(networks.mlp((X,), (2 * D,), **options))
    heads = networks.flow_heads(networks.mlp((X,), (2 * D,), **options), IDENTITY, D)
    plain = vae.VAE(encoder, networks.mlp((D,), (X,), **options), gaussian_likelihood(variance=VARIANCE), D)
    plain = plain._replace(prior=STANDARD_NORMAL._replace(kl=None))
    with_flows = plain._replace(encoder=heads, prior=flow_prior(IDENTITY), posterior=flow_posterior(IDENTITY))
    params, batch = jax.jit(partial(vae.init_params, parts=plain))(key), Batch(jnp.float32(draw(4, X)))
    behind = params | {"encoder": {"network": params["encoder"], "flow": ()}}
    expected = jax.jit(vae.objective(plain))(params, batch, key)[0]
    np.testing.assert_array_equal(jax.jit(vae.objective(with_flows))(behind, batch, key)[0], expected)


def test_the_doubly_reparameterised_gradient_refuses_a_flow_posterior(draw):
    parts, *_ = linear_vae(draw, prior=STANDARD_NORMAL, posterior=flow_posterior(IDENTITY), encoder=IDENTITY)
    with pytest.raises(ValueError, match="needs a posterior with a negative_log_density"):
        importance_weighted.doubly_reparameterized_objective(parts, num_samples=2)


def test_a_conditional_prior_passes_its_context_to_the_flow(key, parameters, draw):
    flow = networks.coupling_flow(D, 2, context_dim=1, **options)
    prior, params, label = flow_prior(flow), parameters(flow), jnp.arange(4.0)[:, None]
    z = jax.jit(prior.sample, static_argnums=1)(params, (4, D), key, label)
    u, log_determinant = jax.jit(flow.forward)(params, z, label)
    np.testing.assert_allclose(u, jax.random.normal(key, (4, D)), rtol=1e-3, atol=1e-4)
    expected = -scipy.stats.norm.logpdf(u).sum(1) - log_determinant
    np.testing.assert_allclose(jax.jit(prior.negative_log_density)(params, z, label), expected, rtol=1e-5)
