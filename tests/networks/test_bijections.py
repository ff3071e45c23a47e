"""Layers of flows and whole flows, against the Jacobian by automatic differentiation and densities in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.flatten_util import ravel_pytree

from genjax import networks
from genjax.losses import flow_prior
from genjax.types import Flow, Network

D, CONTEXT = 4, 3
ORDER = (3, 1, 4, 2)


def coupling_network(dim=D):
    return networks.mlp((dim,), (2 * dim,), hidden=(8,), activation=jnp.tanh)


def masked_network(order=ORDER):
    return networks.masked_mlp([networks.mask_degrees(order, (8, 8))], 2, activation=jnp.tanh)


LAYERS = {
    "planar": networks.planar(D),
    "affine_coupling": networks.affine_coupling(coupling_network(), [True, False, False, True]),
    "masked_autoregressive": networks.masked_autoregressive(masked_network(), ORDER),
    "inverse_autoregressive": networks.inverse_autoregressive(masked_network(), ORDER),
    "activation_normalization": networks.activation_normalization(np.arange(D), 1.0 + np.arange(D)),
    "permutation": networks.permutation([2, 0, 3, 1]),
    "inverted": networks.inverted(networks.masked_autoregressive(masked_network(), ORDER)),
}
options = dict(hidden=(8,), activation=jnp.tanh)
FLOWS = {
    "planar_flow": networks.planar_flow(D, 3),
    "coupling_flow": networks.coupling_flow(D, 3, **options),
    "masked_autoregressive_flow": networks.masked_autoregressive_flow(D, 3, **options),
    "inverse_autoregressive_flow": networks.inverse_autoregressive_flow(D, 3, **options),
}
WITH_CONTEXT = {  # autoregressive flows of one layer, whose first dimension has nothing but the context before it
    "coupling_flow": networks.coupling_flow(D, 3, context_dim=CONTEXT, **options),
    "masked_autoregressive_flow": networks.masked_autoregressive_flow(D, 1, context_dim=CONTEXT, **options),
    "inverse_autoregressive_flow": networks.inverse_autoregressive_flow(D, 1, context_dim=CONTEXT, **options),
    "amortized": networks.amortized(networks.planar_flow(D, 3)),
}


def context_of(name, draw):
    if name == "amortized":
        return 0.3 * draw(5, networks.num_parameters(networks.planar_flow(D, 3)))
    return draw(5, CONTEXT)


def check_determinant(flow: Flow, params, z, *context):
    """Against the LU decomposition of the whole Jacobian of each example."""

    def alone(z, *context):
        return flow.forward(params, z[None], *(c[None] for c in context))[0][0]

    @jax.jit
    def everything(z, *context):
        u, log_determinant = flow.forward(params, z, *context)
        back = None if flow.inverse is None else flow.inverse(params, u, *context)
        return u, log_determinant, jax.vmap(jax.jacfwd(alone))(z, *context), back

    u, log_determinant, jacobian, back = everything(z, *context)
    expected = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_determinant, expected, rtol=1e-9, atol=1e-12)
    if back is not None:
        np.testing.assert_allclose(back[0], z, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(back[1], -expected, rtol=1e-9, atol=1e-12)
    return u


@pytest.mark.parametrize("name", [*LAYERS, *FLOWS])
def test_the_determinant_is_the_jacobians_and_the_inverse_undoes(name, float64, draw, parameters):
    flow = (LAYERS | FLOWS)[name]
    params, z = parameters(flow), draw(5, D)
    u = check_determinant(flow, params, z)
    assert u.shape == z.shape and float(jnp.abs(u - z).max()) > 0.05


@pytest.mark.parametrize("name", [*LAYERS, *FLOWS])
def test_each_parameter_has_a_draw_of_its_own(name, key, no_key_reuse):
    (LAYERS | FLOWS)[name].init(key)


def test_a_coupling_moves_some_dimensions_by_those_it_keeps(float64, draw, parameters):
    flow, kept = LAYERS["affine_coupling"], np.array([True, False, False, True])
    params, z = parameters(flow), draw(D)
    slope = np.asarray(jax.jacfwd(lambda z: flow.forward(params, z[None])[0][0])(z))
    expected = np.where(kept, np.where(kept[:, None], np.eye(D), 1), np.eye(D))
    np.testing.assert_array_equal(slope != 0, expected.astype(bool))


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_a_flow_reads_its_context(name, float64, draw, parameters):
    flow, z, context = WITH_CONTEXT[name], draw(5, D), context_of(name, draw)
    params = parameters(flow)
    u = check_determinant(flow, params, z, context)
    assert u.shape == z.shape
    # every dimension depends on the example's own context, the first one in an order too, and on no other's
    slope = np.abs(jax.jit(jax.jacrev(lambda c: flow.forward(params, z, c)[0]))(context)).sum(axis=3)  # [5, D, 5]
    np.testing.assert_array_equal(slope > 0, np.broadcast_to(np.eye(5, dtype=bool)[:, None], (5, D, 5)))


@pytest.mark.parametrize("name", ["coupling_flow", "masked_autoregressive_flow"])  # of three layers, two reversals
def test_a_flow_whose_last_layers_are_zero_is_its_base_bit_for_bit(name, draw, key):
    z = jnp.float32(draw(50, D))
    params = jax.jit(FLOWS[name].init)(key)  # as it begins
    u, log_determinant = jax.jit(FLOWS[name].forward)(params, z)
    np.testing.assert_array_equal(u, z)
    assert not log_determinant.any()
    base = flow_prior(Flow(lambda key: (), lambda params, z: (z, jnp.zeros(len(z))), lambda params, u: (u, 0)))
    density = jax.jit(flow_prior(FLOWS[name]).negative_log_density)(params, z)
    np.testing.assert_array_equal(density, jax.jit(base.negative_log_density)((), z))
    layers = [each for each in params if each]  # a permutation has no parameters
    kernels = [(each["layer_1"]["kernel"], each["layer_2"]["kernel"]) for each in layers]
    assert len(kernels) == 3 and all(np.any(first) and not np.any(last) for first, last in kernels)


def test_planar_layers_stay_invertible_whatever_their_parameters(float64):
    flow = networks.planar(D)
    # without the constraint w^T v >= -1 these would fold space: u points against w
    params = {"u": -40 * jnp.ones(D), "w": jnp.ones(D), "b": jnp.asarray(0.0)}
    along = np.linspace(-3, 3, 1001)[:, None] * np.ones(D) / D
    image, log_determinant = jax.jit(flow.forward)(params, along)
    assert (np.diff(np.sum(image, axis=1)) > 0).all() and np.isfinite(log_determinant).all()


def test_a_planar_layer_is_that_of_the_paper_by_hand(float64, draw):
    z, u, w, b = draw(200, D), np.asarray(draw(D)), np.asarray(draw(D)), 0.3
    x = np.asarray(z)
    h = np.tanh(x @ w + b)
    m = np.log(1 + np.exp(w @ u)) - 1
    v = u + (m - w @ u) * w / (w @ w)
    found = networks.planar(D).forward({"u": jnp.asarray(u), "w": jnp.asarray(w), "b": jnp.asarray(b)}, z)
    np.testing.assert_allclose(found[0], x + h[:, None] * v, rtol=1e-10)
    np.testing.assert_allclose(found[1], np.log(np.abs(1 + (1 - h**2) * (w @ v))), rtol=1e-9)


def test_layers_are_those_of_the_papers_by_hand(float64, draw):
    """With networks that ignore their input: RealNVP's equation 9, MAF's 3 and 4, IAF's 13 and 14."""
    z, output = np.asarray(draw(3, D)), np.asarray(draw(2 * D))
    constant = Network(lambda key: (), lambda params, z: jnp.broadcast_to(output[None], (len(z), 2 * D)))
    pairs = Network(lambda key: (), lambda params, z: constant.apply((), z).reshape(-1, D, 2))
    a, t, kept = 3 * np.tanh(output[:D] / 3), output[D:], np.array([1, 0, 0, 1])
    found = networks.affine_coupling(constant, kept).forward((), jnp.asarray(z))
    np.testing.assert_allclose(found[0], kept * z + (1 - kept) * (z * np.exp(a) + t), rtol=1e-12)
    np.testing.assert_allclose(found[1], ((1 - kept) * a).sum(), rtol=1e-12)
    mu, alpha = output.reshape(D, 2).T
    alpha = 3 * np.tanh(alpha / 3)
    found = networks.masked_autoregressive(pairs, ORDER).forward((), jnp.asarray(z))
    np.testing.assert_allclose(np.asarray(found[0]) * np.exp(alpha) + mu, z, rtol=1e-12)
    np.testing.assert_allclose(found[1], -alpha.sum(), rtol=1e-12)
    sigma = 1 / (1 + np.exp(-2 - alpha))
    found = networks.inverse_autoregressive(pairs, ORDER).forward((), jnp.asarray(z))
    np.testing.assert_allclose(found[0], sigma * z + (1 - sigma) * mu, rtol=1e-12)
    np.testing.assert_allclose(found[1], np.log(sigma).sum(), rtol=1e-12)


@pytest.mark.parametrize("name", ["masked_autoregressive", "inverse_autoregressive", "inverted"])
def test_the_jacobian_is_triangular_in_the_order(name, float64, draw, parameters):
    flow = LAYERS[name]
    params = parameters(flow)
    slope = np.asarray(jax.jit(jax.jacfwd(lambda z: flow.forward(params, z[None])[0][0]))(draw(D)))
    by_place = np.argsort(ORDER)
    sorted_slope = slope[by_place][:, by_place]
    assert (np.triu(sorted_slope, 1) == 0).all() and (np.abs(np.tril(sorted_slope)) > 0)[np.tril_indices(D)].all()


@pytest.mark.parametrize("name", ["coupling_flow", "masked_autoregressive_flow"])
def test_a_density_sums_to_1_and_has_the_moments_of_its_draws(name, key, parameters):
    flow = getattr(networks, name)(2, 3, **options)
    params, prior = jax.tree.map(lambda a: 1.5 * a, parameters(flow)), flow_prior(flow)
    axis = np.linspace(-16, 16, 321)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.exp(-np.float64(jax.jit(prior.negative_log_density)(params, jnp.float32(z)))) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(mass.sum(), 1, atol=1e-3)
    mean = mass @ z
    covariance = (z - mean).T @ ((z - mean) * mass[:, None])
    draws = np.float64(jax.jit(prior.sample, static_argnums=1)(params, (40_000, 2), key))
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(draws.T), covariance, rtol=0.06, atol=0.06)
    assert np.abs(covariance - np.eye(2)).max() > 0.2


def test_affine_layers_are_the_gaussian_that_scipy_knows(float64, draw):
    """Of linear layers: z = mu + L u, whose covariance is L L^T."""
    network = networks.masked_mlp([networks.mask_degrees((1, 2, 3), ())], 2, activation=jnp.tanh)
    flow = networks.chain(
        networks.activation_normalization(np.array([1.0, -2, 0.5]), np.array([2.0, 0.5, 1])),
        networks.masked_autoregressive(network, (1, 2, 3)),
    )
    params = jax.jit(flow.init)(jax.random.key(0))
    kernel, coefficients = np.zeros((3, 3, 2)), draw(3, 3)
    kernel[:, :, 0] = coefficients  # the shifts alone depend on z
    params[1] = {"layer_1": {"kernel": jnp.asarray(kernel.reshape(3, 6)), "bias": 0.3 * draw(6)}}

    inverse = flow.inverse
    assert inverse is not None

    @jax.jit
    def generated(u):
        return inverse(params, u[None])[0][0]

    mean, factor = np.asarray(generated(jnp.zeros(3))), np.asarray(jax.jit(jax.jacfwd(generated))(jnp.zeros(3)))
    z = np.asarray(draw(6, 3))
    expected = -scipy.stats.multivariate_normal(mean, factor @ factor.T).logpdf(z)
    found = jax.jit(flow_prior(flow).negative_log_density)(params, z)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_context_of_zeros_is_the_flow_itself(draw, parameters):
    flow = networks.planar_flow(D, 3)
    params, z = parameters(flow), jnp.float32(draw(5, D))
    size = networks.num_parameters(flow)
    assert size == 3 * (2 * D + 1) == ravel_pytree(params)[0].size
    own, forward = jax.jit(networks.amortized(flow).forward), jax.jit(flow.forward)
    for found, expected in zip(own(params, z, jnp.zeros((5, size))), forward(params, z), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # row i of the context is added to the parameters of example i
    theta, unravel = ravel_pytree(params)
    context = jnp.float32(0.3 * draw(5, size))
    found = own(params, z, context)[0]
    for i in range(5):
        expected = forward(unravel(theta + context[i]), z)[0][i]
        np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-5)


def test_normalization_begins_as_the_standardisation_of_data(draw):
    x = np.float32(5 + 3 * draw(100, D))
    flow = networks.activation_normalization(x.mean(0), x.std(0))
    u = np.asarray(jax.jit(lambda x: flow.forward(flow.init(jax.random.key(0)), x)[0])(x))
    np.testing.assert_allclose(u.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(u.std(0), 1, rtol=1e-5)


def test_flows_that_cannot_be_built_are_refused():
    with pytest.raises(ValueError, match="keeps some dimensions"):
        networks.affine_coupling(coupling_network(), [True] * D)
    with pytest.raises(ValueError, match="without an inverse"):
        networks.inverted(networks.chain(networks.permutation([1, 0]), networks.planar(2)))
    with pytest.raises(ValueError, match="planar flow does not have"):
        flow_prior(networks.planar_flow(2, 1))
    heads = networks.flow_heads(networks.mlp((2,), (3,), hidden=(), activation=jnp.tanh), networks.planar(2), 2)
    with pytest.raises(ValueError, match="at least 4 outputs"):
        jax.eval_shape(lambda key: heads.apply(heads.init(key), jnp.zeros((1, 2))), jax.random.key(0))
