"""Learned priors against SciPy, quadrature, the exact evidence of linear decoders, and the aggregate posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax import losses
from genjax.losses import GAUSSIAN, Posterior
from genjax.models import importance_weighted, vae
from genjax.types import Batch, Network


@pytest.fixture
def mixture(key, float64):
    """A mixture of three Gaussians in two dimensions, its params, and its density by SciPy."""
    prior = losses.mixture_prior(3, 2)
    names = {"logits": (3,), "mean": (3, 2), "log_variance": (3, 2)}
    keys = jax.random.split(key, 3)
    params = {name: jax.random.normal(k, shape) for k, (name, shape) in zip(keys, names.items(), strict=True)}
    weights = np.exp(params["logits"]) / np.exp(params["logits"]).sum()
    components = [
        scipy.stats.multivariate_normal(np.asarray(m), np.diag(np.exp(s)))
        for m, s in zip(params["mean"], np.asarray(params["log_variance"]), strict=True)
    ]

    def density(z):
        return sum(p * each.pdf(z) for p, each in zip(weights, components, strict=True))

    return prior, params, density


def test_a_mixture_is_scipys(mixture, key):
    prior, params, density = mixture
    assert jax.tree.map(jnp.shape, prior.init(key)) == jax.tree.map(jnp.shape, params)
    z = np.asarray(jax.random.normal(key, (7, 2))) * 2
    np.testing.assert_allclose(prior.negative_log_density(params, jnp.asarray(z)), -np.log(density(z)), rtol=1e-10)
    axis = np.linspace(-14, 14, 561)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    p = np.exp(-np.asarray(prior.negative_log_density(params, jnp.asarray(grid)))) * (axis[1] - axis[0]) ** 2
    draws = np.asarray(prior.sample(params, (20_000, 2), key))
    assert draws.shape == (20_000, 2) and p.sum() == pytest.approx(1, abs=1e-6)
    for moment in (lambda z: z, lambda z: z**2, lambda z: z[:, :1] * z[:, 1:]):
        found = moment(draws)
        assert np.all(np.abs(found.mean(0) - p @ moment(grid)) < 4 * found.std(0) / np.sqrt(len(draws)))


def test_a_mixture_of_one_is_a_gaussian(key, float64):
    prior = losses.mixture_prior(1, 3)
    params = prior.init(key) | {"log_variance": jnp.array([[0.3, -1.0, 0.7]]), "logits": jnp.array([5.0])}
    z = jax.random.normal(jax.random.fold_in(key, 1), (4, 3))
    of_one = jnp.broadcast_to(params["mean"], z.shape), jnp.broadcast_to(params["log_variance"], z.shape)
    np.testing.assert_allclose(
        prior.negative_log_density(params, z), GAUSSIAN.negative_log_likelihood(of_one, z), rtol=1e-12
    )


def test_components_and_codes_are_drawn_from_keys_of_their_own(key, no_key_reuse):
    prior = losses.mixture_prior(2, 3)
    params = prior.init(jax.random.clone(key))
    assert prior.sample(params, (4, 3), key).shape == (4, 3)


# The VampPrior


def linear_encoder():
    def encode(p, x):
        return x @ p["mean"], x @ p["log_variance"] - 1.0

    return Network(lambda key: {"mean": jnp.eye(3, 2), "log_variance": 0.3 * jnp.eye(3, 2)}, encode)


def vamp(encoder, start, **options):
    prior = losses.vamp_prior(encoder, start, **options)
    decoder = Network(lambda key: jnp.ones((2, 3)), lambda p, z: (z @ p, jnp.zeros([])))
    return vae.VAE(encoder, decoder, GAUSSIAN, 2, prior, prior_params=vae.with_encoder)


def test_pseudo_inputs_that_are_the_data_make_the_prior_the_aggregate_posterior(key, float64):
    x = jax.random.normal(key, (6, 3))
    parts = vamp(linear_encoder(), x)
    params = vae.init_params(key, parts=parts)
    np.testing.assert_array_equal(params["prior"], x)
    mean, log_variance = (np.asarray(a) for a in vae.encode(params, x, parts=parts))
    axis = np.linspace(-9, 9, 361)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    q = [
        scipy.stats.multivariate_normal(m, np.diag(np.exp(s))).pdf(grid)
        for m, s in zip(mean, log_variance, strict=True)
    ]
    aggregate = np.mean(q, axis=0)
    found = np.exp(-np.asarray(vae.negative_log_prior(params, jnp.asarray(grid), parts=parts)))
    np.testing.assert_allclose(found, aggregate, rtol=1e-9)  # so that KL(q(z) || p(z)) = 0

    # the rate is then the information I(n; z) <= log N, by quadrature and by its estimate
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.nan_to_num(np.stack(q) * np.log(np.stack(q) / aggregate))
    information = terms.sum(1) * (axis[1] - axis[0]) ** 2
    assert 0 < information.mean() < np.log(6)
    keys = jax.random.split(key, 4000)
    rates = np.asarray(jax.vmap(lambda k: vae.terms(params, x, k, parts=parts)[1])(keys))
    assert np.all(np.abs(rates.mean(0) - information) < 4 * rates.std(0) / np.sqrt(len(keys)))

    z = np.asarray(vae.sample_prior(params, 20_000, key, parts=parts))
    for moment in (lambda z: z, lambda z: z**2):
        exact = aggregate @ moment(grid) * (axis[1] - axis[0]) ** 2
        assert np.all(np.abs(moment(z).mean(0) - exact) < 4 * moment(z).std(0) / np.sqrt(len(z)))


def test_the_bound_under_a_vamp_prior_falls_short_of_the_exact_evidence_by_the_divergence_from_the_posterior(
    key, float64
):
    # x = W z + e: p(x) = (1/K) sum_k N(W m_k, W S_k W^T + v I), and p(z|x) is a mixture of K Gaussians
    u = jax.random.normal(key, (2, 3))
    parts, v = vamp(linear_encoder(), u), 0.5
    w = np.array([[1.0, 0.2, -0.5], [0.3, -1.1, 0.4]])
    params = vae.init_params(key, parts=parts) | {"decoder": jnp.asarray(w)}
    parts = parts._replace(decoder=Network(lambda key: (), lambda p, z: (z @ p, jnp.array(np.log(v)))))
    x = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (3, 3)))
    mean, log_variance = (np.asarray(a) for a in vae.encode(params, u, parts=parts))
    evidence = np.log(
        np.mean(
            [
                scipy.stats.multivariate_normal(m @ w, w.T @ np.diag(np.exp(s)) @ w + v * np.eye(3)).pdf(x)
                for m, s in zip(mean, log_variance, strict=True)
            ],
            axis=0,
        )
    )
    # KL(q(z|x) || p(z|x)) by quadrature, with p(z|x) from SciPy's densities alone
    axis = np.linspace(-8, 8, 321)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    area = (axis[1] - axis[0]) ** 2
    prior = np.mean(
        [
            scipy.stats.multivariate_normal(m, np.diag(np.exp(s))).pdf(grid)
            for m, s in zip(mean, log_variance, strict=True)
        ],
        axis=0,
    )
    own_mean, own_s = (np.asarray(a) for a in vae.encode(params, jnp.asarray(x), parts=parts))
    gaps = []
    for row, m, s, log_p in zip(x, own_mean, own_s, evidence, strict=True):
        q = scipy.stats.multivariate_normal(m, np.diag(np.exp(s))).pdf(grid)
        joint = scipy.stats.multivariate_normal(np.zeros(3), v * np.eye(3)).pdf(row - grid @ w) * prior
        held = q > 1e-14
        gaps.append(np.sum(q[held] * (np.log(q[held]) - np.log(joint[held]) + log_p)) * area)
    assert min(gaps) > 0
    keys = jax.random.split(key, 4000)
    bounds = np.asarray(jax.vmap(lambda k: vae.negative_elbo(params, jnp.asarray(x), k, parts=parts))(keys))
    error = bounds.std(0) / np.sqrt(len(keys))
    assert np.all(np.abs(bounds.mean(0) + evidence - gaps) < 4 * error)
    log_weight = importance_weighted.importance_sampler(params, jnp.asarray(x), parts=parts)
    weights = np.exp(np.asarray(jax.vmap(log_weight)(keys)) - evidence)
    assert np.all(np.abs(weights.mean(0) - 1) < 4 * weights.std(0) / np.sqrt(len(keys)))


def test_one_pseudo_input_in_one_dimension_by_quadrature(float64):
    # p(z) = N(u, e^{-1}): the rate of q = N(x, e^{-1}) is (x - u)^2 e / 2
    encoder = Network(lambda key: (), lambda p, x: (x, jnp.full_like(x, -1.0)))
    prior = losses.vamp_prior(encoder, jnp.array([[0.4]]))
    params = {"pseudo_inputs": prior.init(jax.random.key(0)), "encoder": ()}
    z = np.linspace(-6, 6, 2001)
    p = np.exp(-np.asarray(prior.negative_log_density(params, jnp.asarray(z[:, None]))))
    assert np.trapezoid(p, z) == pytest.approx(1, abs=1e-9)
    q = scipy.stats.norm(1.1, np.exp(-0.5)).pdf(z)
    assert np.trapezoid(q * np.log(q / p), z) == pytest.approx(0.7**2 * np.e / 2, rel=1e-9)


@pytest.mark.slow
def test_the_prior_moves_pseudo_inputs_and_encoder(key, float64):
    parts = vamp(linear_encoder(), jax.random.normal(key, (4, 3)), scale=0.5)
    params, again = (vae.init_params(k, parts=parts) for k in (key, jax.random.fold_in(key, 1)))
    assert not np.array_equal(params["prior"], again["prior"])
    x, draw = jax.random.normal(jax.random.fold_in(key, 2), (5, 3)), jax.random.fold_in(key, 3)
    z = vae.forward(params, x, draw, parts=parts).z

    def of_prior(params):
        return jnp.mean(vae.negative_log_prior(params, z, parts=parts))

    gradient = jax.grad(of_prior)(params)
    for part in ("prior", "encoder"):
        assert all(np.all(np.abs(leaf).sum() > 0) for leaf in jax.tree.leaves(gradient[part]))
    assert not np.any(gradient["decoder"])

    # with one sample, the doubly reparameterised gradient lacks the plain one's term of log q at a fixed z alone
    batch = Batch(x)
    plain, doubly = (
        jax.grad(lambda p, make=make: jnp.mean(make(parts, num_samples=1)(p, batch, draw)[0]))(params)
        for make in (importance_weighted.objective, importance_weighted.doubly_reparameterized_objective)
    )
    sample = jax.random.split(draw, 1)[0]
    z = vae.forward(params, x, sample, parts=parts).z

    def score(encoder):
        output = vae.encode({"encoder": encoder}, x, parts=parts)
        return jnp.mean(-GAUSSIAN.negative_log_likelihood(output, z))

    expected = jax.tree.map(lambda a, b: a - b, plain["encoder"], jax.grad(score)(params["encoder"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), doubly["encoder"], expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), doubly["prior"], plain["prior"])


def test_pseudo_inputs_have_the_context_of_their_encoder(key):
    encoder = Network(lambda key: (), lambda p, x, label: (x + label[:, None], jnp.zeros_like(x)))
    prior = losses.vamp_prior(encoder, jnp.zeros((2, 1)), context=(jnp.array([0, 3]),))
    params = {"pseudo_inputs": jnp.zeros((2, 1)), "encoder": ()}
    z = np.linspace(-2, 5, 8)
    expected = (scipy.stats.norm(0, 1).pdf(z) + scipy.stats.norm(3, 1).pdf(z)) / 2
    found = prior.negative_log_density(params, jnp.float32(z[:, None]), jnp.arange(8))
    np.testing.assert_allclose(found, -np.log(expected), rtol=1e-5)
    draws = prior.sample(params, (5000, 1), key, jnp.arange(5000))
    assert abs(float(draws.mean()) - 1.5) < 4 * np.std(draws) / np.sqrt(5000)


def test_a_posterior_without_a_density_has_no_vamp_prior():
    drawn = Posterior(lambda output, key: (output, output[:, 0]), lambda output: output)
    with pytest.raises(ValueError, match="needs a posterior with a negative_log_density"):
        losses.vamp_prior(linear_encoder(), jnp.zeros((2, 3)), posterior=drawn)


def test_the_prior_of_a_class(key):
    prior = losses.class_prior(3, 2)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(prior.init(key)))
    mean, log_variance = jax.random.normal(key, (2, 3, 2))
    params, label = {"mean": mean, "log_variance": log_variance}, jnp.array([2, 0])
    m, std = np.asarray(mean)[[2, 0]], np.exp(np.asarray(log_variance) / 2)[[2, 0]]
    p = scipy.stats.norm(m, std)
    z = np.array([[0.3, -1.0], [2.0, 0.5]])
    found = prior.negative_log_density(params, jnp.float32(z), label)
    np.testing.assert_allclose(found, -p.logpdf(z).sum(1), rtol=1e-4)
    q = scipy.stats.norm(np.array([[0.5, -0.2], [1.0, 0.1]]), np.array([[0.6, 1.1], [0.9, 0.4]]))
    grid = np.linspace(-12, 12, 4001)[:, None, None]
    kl = np.trapezoid(q.pdf(grid) * (q.logpdf(grid) - p.logpdf(grid)), grid, axis=0)
    output = jnp.float32(q.mean()), jnp.float32(2 * np.log(q.std()))
    assert prior.kl is not None
    np.testing.assert_allclose(prior.kl(params, output, label), kl, rtol=1e-3, atol=1e-5)
    draws = np.asarray(prior.sample(params, (20_000, 2), key, jnp.arange(20_000) % 2 * 2))
    np.testing.assert_allclose(draws[1::2].mean(0), m[0], atol=5 * std[0].max() / 100)
    np.testing.assert_allclose(draws[1::2].std(0), std[0], rtol=0.05)
