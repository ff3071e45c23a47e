"""Importance-weighted bounds, their two gradients, free bits, warm-up, and what a trained linear VAE attains."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.stats
from sklearn.decomposition import PCA

from genjax import data, losses, networks
from genjax.losses import BERNOULLI, GAUSSIAN
from genjax.models import descent, importance_weighted, vae
from genjax.types import Batch, Network


def affine(x, params):
    return x @ params["kernel"] + params["bias"][None]


@pytest.fixture
def linear(float64):
    """x = W z + m + sigma e with a proposal that is too wide and off: parts, params, x [4, 5], log p(x)."""
    draw = np.random.RandomState(0)
    w, m, variance, x = draw.randn(5, 2), draw.randn(5), 0.4, draw.randn(4, 5) * 1.5
    covariance = np.linalg.inv(w.T @ w / variance + np.eye(2))
    v = covariance @ w.T / variance
    params = {
        "encoder": {"kernel": v.T, "bias": -v @ m + 0.1, "log_variance": np.log(np.diag(covariance)) + 0.5},
        "decoder": {"kernel": w.T, "bias": m, "log_variance": np.log(variance)},
    }
    encoder = Network(None, lambda p, x: (affine(x, p), jnp.broadcast_to(p["log_variance"][None], (len(x), 2))))
    decoder = Network(None, lambda p, z: (affine(z, p), p["log_variance"]))
    evidence = scipy.stats.multivariate_normal(m, w @ w.T + variance * np.eye(5)).logpdf(x)
    return vae.VAE(encoder, decoder, GAUSSIAN, 2), jax.tree.map(jnp.asarray, params), jnp.asarray(x), evidence


def bounds(objective, params, x, key, num):
    """The objective's loss over many keys: mean [B] and its standard error."""
    drawn = np.asarray(jax.jit(jax.vmap(lambda k: objective(params, Batch(x), k)[0]))(jax.random.split(key, num)))
    return drawn.mean(0), drawn.std(0) / np.sqrt(num)


def test_one_sample_is_the_vaes_bound(linear, key):
    parts, params, x, _ = linear
    one, error = bounds(importance_weighted.objective(parts, num_samples=1), params, x, key, 20_000)
    plain, plain_error = bounds(vae.objective(parts), params, x, jax.random.fold_in(key, 1), 20_000)
    assert np.all(np.abs(one - plain) < 4 * np.hypot(error, plain_error))


def test_bound_grows_with_the_samples_up_to_the_evidence(linear, key):
    parts, params, x, evidence = linear
    previous = np.full(4, np.inf)
    for num_samples, num in ((1, 8000), (5, 4000), (50, 1000)):
        objective = importance_weighted.objective(parts, num_samples=num_samples)
        mean, error = bounds(objective, params, x, jax.random.fold_in(key, num_samples), num)
        assert np.all(mean + 4 * error > -evidence)
        assert np.all(mean < previous)
        previous = mean - 4 * error
    objective = importance_weighted.objective(parts, num_samples=2000)
    np.testing.assert_allclose(bounds(objective, params, x, key, 50)[0], -evidence, atol=0.02)


def test_weights_are_their_definition(linear, key):
    # log w = log p(x|z) + log p(z) - log q(z|x) by scipy, at the z that the key draws
    parts, params, x, _ = linear
    mean, s = parts.encoder.apply(params["encoder"], x)
    z = np.asarray(mean + jnp.exp(s / 2) * jax.random.normal(key, mean.shape, mean.dtype))
    normal = scipy.stats.norm.logpdf
    location, log_variance = parts.decoder.apply(params["decoder"], jnp.asarray(z))
    expected = normal(x, location, np.exp(log_variance / 2)).sum(1)
    expected += normal(z).sum(1) - normal(z, mean, np.exp(s / 2)).sum(1)
    np.testing.assert_allclose(
        importance_weighted.importance_sampler(params, x, parts=parts)(key), expected, rtol=1e-10
    )


def small(key):
    """A nonlinear VAE of Linen networks on 6 binary pixels, its encoder far from the posterior."""
    encoder = networks.gaussian_heads(networks.mlp((6,), (4,), hidden=(5,), activation=jnp.tanh))
    decoder = networks.mlp((2,), (6,), hidden=(5,), activation=jnp.tanh)
    parts = vae.VAE(encoder, decoder, BERNOULLI, 2)
    params = jax.tree.map(lambda p: 2 * p, vae.init_params(key, parts=parts))
    return parts, params, jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (3, 6)).astype(jnp.float32)


def gradients(make, parts, params, x, key, *, num_samples, num):
    """Gradients over many keys, flattened: {"encoder": [num, P], "decoder": [num, Q]}."""
    objective = make(parts, num_samples=num_samples)

    def one(key):
        found = jax.grad(lambda p: jnp.mean(objective(p, Batch(x), key)[0]))(params)
        return {name: jax.flatten_util.ravel_pytree(part)[0] for name, part in found.items()}

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(key, num)))


@pytest.mark.parametrize("num_samples", [10, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_doubly_reparameterized_gradient_has_the_same_mean(num_samples, key):
    case, num = small(key), 40_000
    plain, doubly = (
        gradients(make, *case, jax.random.fold_in(key, 2 + i), num_samples=num_samples, num=num)
        for i, make in enumerate((importance_weighted.objective, importance_weighted.doubly_reparameterized_objective))
    )
    for name in ("encoder", "decoder"):
        error = np.hypot(plain[name].std(0), doubly[name].std(0)) / np.sqrt(num)
        difference = np.abs(plain[name].mean(0) - doubly[name].mean(0))
        assert np.all(difference < 4.5 * error + 1e-6), name
        assert np.linalg.norm(plain[name].mean(0)) > 10 * np.linalg.norm(error) / np.sqrt(len(error))


def test_doubly_reparameterized_gradient_of_the_encoder_is_less_noisy(linear, key):
    case = linear[:3]  # a proposal wider than the posterior, as an encoder in training has
    draw = dict(num_samples=200, num=500)
    plain = gradients(importance_weighted.objective, *case, key, **draw)
    doubly = gradients(importance_weighted.doubly_reparameterized_objective, *case, key, **draw)
    assert doubly["encoder"].var(0).sum() < 0.01 * plain["encoder"].var(0).sum()
    # the decoder's is the same estimator
    np.testing.assert_allclose(doubly["decoder"], plain["decoder"], rtol=1e-3, atol=1e-5)


def test_both_objectives_have_the_same_values(key):
    parts, params, x = small(key)
    plain = jax.jit(importance_weighted.objective(parts, num_samples=7))(params, Batch(x), key)
    doubly_reparameterized = importance_weighted.doubly_reparameterized_objective(parts, num_samples=7)
    doubly = jax.jit(doubly_reparameterized)(params, Batch(x), key)
    chex.assert_trees_all_close(plain, doubly, rtol=1e-6)


@pytest.mark.slow
def test_a_learned_prior_is_weighed_and_trained_by_both_objectives(linear, key):
    # z ~ N(a, diag e^t): the evidence is N(W a + m, W diag e^t W^T + sigma^2 I)
    parts, params, x, _ = linear
    a, t = np.array([0.5, -0.3]), np.array([0.4, -0.2])

    def negative_log_density(p, z):
        return GAUSSIAN.negative_log_likelihood(tuple(jnp.broadcast_to(p[n][None], z.shape) for n in ("a", "t")), z)

    parts = parts._replace(prior=losses.Prior(None, negative_log_density, None))
    params = params | {"prior": {"a": jnp.asarray(a), "t": jnp.asarray(t)}}
    w, m = np.asarray(params["decoder"]["kernel"]).T, np.asarray(params["decoder"]["bias"])

    def evidence(a):
        return scipy.stats.multivariate_normal(w @ a + m, w @ np.diag(np.exp(t)) @ w.T + 0.4 * np.eye(5)).logpdf(x)

    slope = [np.mean(evidence(a + h) - evidence(a - h)) / 2e-4 for h in 1e-4 * np.eye(2)]
    found = {}
    for make in (importance_weighted.objective, importance_weighted.doubly_reparameterized_objective):
        objective = make(parts, num_samples=4000)
        np.testing.assert_allclose(bounds(objective, params, x, key, 20)[0], -evidence(a), atol=0.02)
        gradient = jax.grad(lambda p, o=objective: jnp.mean(o(p, Batch(x), key)[0]))(params)
        np.testing.assert_allclose(gradient["prior"]["a"], -np.array(slope), atol=0.05)
        found[make] = gradient["prior"] | gradient["decoder"]
    chex.assert_trees_all_close(*found.values(), rtol=1e-9)


def value_and_gradients(objective, params, x, key):
    """Loss [B], metrics, and the gradients of the mean loss."""

    @jax.jit
    def compute(params, x, key):
        def mean(params):
            loss, metrics = objective(params, Batch(x), key)
            return jnp.mean(loss), (loss, metrics)

        found, (loss, metrics) = jax.grad(mean, has_aux=True)(params)
        return loss, metrics, found

    return compute(params, x, key)


def test_one_bound_and_a_beta_of_zero_are_the_iwae_bit_for_bit(key):
    parts, params, x = small(key)
    expected = value_and_gradients(importance_weighted.objective(parts, num_samples=6), params, x, key)
    multiply = importance_weighted.multiply_weighted_objective(parts, num_samples=6, num_bounds=1)
    chex.assert_trees_all_equal(value_and_gradients(multiply, params, x, key), expected)
    combined = importance_weighted.combined_objective(parts, num_samples=6, beta=0.0)
    chex.assert_trees_all_equal(value_and_gradients(combined, params, x, key), expected)


def test_bounds_of_one_sample_and_a_beta_of_one_are_the_vae_bit_for_bit(key):
    parts, params, x = small(key)
    elbo = vae.objective(parts._replace(prior=losses.STANDARD_NORMAL._replace(kl=None)))  # its rate by one draw, too
    keys = jax.random.split(key, 6)
    drawn = jax.vmap(lambda key: elbo(params, Batch(x), key)[0])(keys)
    for objective in (
        importance_weighted.multiply_weighted_objective(parts, num_samples=1, num_bounds=6),
        importance_weighted.combined_objective(parts, num_samples=6, beta=1.0),
    ):
        loss, metrics = objective(params, Batch(x), key)
        chex.assert_trees_all_equal(loss, jnp.mean(drawn, axis=0), metrics["negative_elbo"])
    for objective in (
        importance_weighted.objective(parts, num_samples=1),
        importance_weighted.partially_weighted_objective(parts, num_samples=1, num_bounds=1),
    ):
        loss, _ = objective(params, Batch(x), key)
        chex.assert_trees_all_equal(loss, elbo(params, Batch(x), jax.random.split(key, 1)[0])[0])


def test_each_bound_has_draws_of_its_own_and_their_mean_is_descended(linear, key):
    parts, params, x, _ = linear
    log_w = jax.vmap(importance_weighted.importance_sampler(params, x, parts=parts))(jax.random.split(key, 12))
    groups = np.asarray(log_w).reshape(3, 4, len(x))
    expected = -np.mean(scipy.special.logsumexp(groups, axis=1) - np.log(4), axis=0)
    multiply = importance_weighted.multiply_weighted_objective(parts, num_samples=4, num_bounds=3)
    np.testing.assert_allclose(multiply(params, Batch(x), key)[0], expected, rtol=1e-12)
    combined = importance_weighted.combined_objective(parts, num_samples=12, beta=0.3)
    whole = scipy.special.logsumexp(log_w, axis=0) - np.log(12)
    np.testing.assert_allclose(
        combined(params, Batch(x), key)[0], -0.3 * np.mean(log_w, axis=0) - 0.7 * whole, rtol=1e-12
    )


def test_the_parts_of_a_piwae_have_the_gradients_of_two_bounds_bit_for_bit(key):
    parts, params, x = small(key)
    partially = importance_weighted.partially_weighted_objective(parts, num_samples=3, num_bounds=4)
    loss, metrics, found = value_and_gradients(partially, params, x, key)
    whole = importance_weighted.objective(parts, num_samples=12)
    multiply = importance_weighted.multiply_weighted_objective(parts, num_samples=3, num_bounds=4)
    tight, own, of_decoder = value_and_gradients(whole, params, x, key)
    of_encoder = value_and_gradients(multiply, params, x, key)[2]
    chex.assert_trees_all_equal(found, {"encoder": of_encoder["encoder"], "decoder": of_decoder["decoder"]})
    chex.assert_trees_all_equal((loss, metrics), (tight, own))
    for name in ("encoder", "decoder"):
        # the two bounds do differ
        assert not np.array_equal(of_encoder[name]["layer_2"]["kernel"], of_decoder[name]["layer_2"]["kernel"])


def test_an_encoder_that_a_prior_reads_learns_from_both_bounds_of_a_piwae(key):
    parts, params, x = small(key)
    pseudo_inputs = jnp.linspace(0.1, 0.9, 12).reshape(2, 6)
    parts = parts._replace(prior=losses.vamp_prior(parts.encoder, pseudo_inputs), prior_params=vae.with_encoder)
    params = params | {"prior": pseudo_inputs}
    partially = importance_weighted.partially_weighted_objective(parts, num_samples=2, num_bounds=3)
    found = value_and_gradients(partially, params, x, key)[2]
    whole = importance_weighted.objective(parts, num_samples=6)
    # as the prior's, the encoder has the gradient of the tight bound: apart from the encoder of the posterior
    apart = parts._replace(prior_params=lambda p: {"pseudo_inputs": p["prior"], "encoder": p["read"]})
    objective = importance_weighted.objective(apart, num_samples=6)
    read = value_and_gradients(objective, params | {"read": params["encoder"]}, x, key)[2]["read"]
    multiply = importance_weighted.multiply_weighted_objective(apart, num_samples=2, num_bounds=3)
    own = value_and_gradients(multiply, params | {"read": params["encoder"]}, x, key)[2]["encoder"]
    chex.assert_trees_all_close(found["encoder"], jax.tree.map(jnp.add, read, own), rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_equal(found["prior"], value_and_gradients(whole, params, x, key)[2]["prior"])


@pytest.mark.parametrize(
    ("make", "options", "name"),
    [
        (importance_weighted.multiply_weighted_objective, dict(num_samples=0, num_bounds=2), "num_samples"),
        (importance_weighted.partially_weighted_objective, dict(num_samples=2, num_bounds=0), "num_bounds"),
        (importance_weighted.combined_objective, dict(num_samples=0, beta=0.5), "num_samples"),
    ],
)
def test_bounds_of_nothing_are_refused(key, make, options, name):
    with pytest.raises(ValueError, match=rf"^{name} must be at least 1; got 0"):
        make(small(key)[0], **options)


def test_a_posterior_known_at_its_draws_alone_has_the_same_weights(linear, key):
    parts, params, x, _ = linear
    alone = parts._replace(posterior=losses.DIAGONAL_GAUSSIAN._replace(negative_log_density=None))
    found, expected = (importance_weighted.importance_sampler(params, x, parts=each)(key) for each in (alone, parts))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="negative_log_density"):
        importance_weighted.doubly_reparameterized_objective(alone, num_samples=2)


def test_free_bits_charge_each_dimension_its_batch_mean_or_the_allowance(key):
    parts, params, x = small(key)
    mean, s = vae.encode(params, x, parts=parts)
    rates = np.asarray(0.5 * (jnp.exp(s) + mean**2 - 1 - s)).mean(0)
    allowance = float(rates.mean())  # between the two
    assert rates.min() < allowance < rates.max()
    loss, metrics = vae.objective(parts, free_bits=allowance)(params, Batch(x), key)
    expected = np.mean(metrics["distortion"]) + np.maximum(rates, allowance).sum()
    np.testing.assert_allclose(jnp.mean(loss), expected, rtol=1e-5)
    np.testing.assert_allclose(jnp.mean(metrics["rate"]), rates.sum(), rtol=1e-5)
    chex.assert_trees_all_close(
        vae.objective(parts)(params, Batch(x), key)[0], metrics["distortion"] + metrics["rate"], rtol=1e-6
    )


@pytest.mark.slow
def test_nothing_presses_a_dimension_within_its_free_bits(key):
    parts, params, x = small(key)

    def rate_alone(params, **free):
        return jnp.mean(vae.objective(parts, distortion_weight=0.0, **free)(params, Batch(x), key)[0])

    chex.assert_trees_all_equal(jax.grad(rate_alone)(params, free_bits=1e3), jax.tree.map(jnp.zeros_like, params))
    assert np.any(jax.grad(rate_alone)(params)["encoder"]["layer_2"]["kernel"] != 0)


@pytest.mark.slow
def test_a_scheduled_objective_is_that_of_its_step(key):
    parts, _, x = small(key)
    warm_up = optax.linear_schedule(0.0, 2.0, 4)
    scheduled = vae.model(
        parts, optax.sgd(0.1), descent.Scheduled(lambda step: vae.objective(parts, rate_weight=warm_up(step)))
    )
    step, state = jax.jit(scheduled.train_step), scheduled.init(key)
    for number, weight in enumerate((0.0, 0.5, 1.0, 1.5, 2.0, 2.0)):
        fixed = vae.model(parts, optax.sgd(0.1), vae.objective(parts, rate_weight=weight))
        expected = jax.jit(fixed.train_step)(state, Batch(x), key)
        chex.assert_trees_all_close(scheduled.evaluate(state, Batch(x), key), fixed.evaluate(state, Batch(x), key))
        found = step(state, Batch(x), key)
        chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-7)
        state = found[0]
        assert int(state.step) == number + 1


def test_generated_data_have_the_density_of_the_model(linear, key):
    parts, params, _, _ = linear
    x = np.asarray(vae.generate(params, 20_000, key, parts=parts))
    w, m = np.asarray(params["decoder"]["kernel"]).T, np.asarray(params["decoder"]["bias"])
    covariance = w @ w.T + 0.4 * np.eye(5)
    assert np.all(np.abs(x.mean(0) - m) < 4 * np.sqrt(np.diag(covariance) / len(x)))
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.15)


@pytest.mark.slow
def test_a_trained_linear_vae_attains_probabilistic_pca(float64, key):
    # Lucas et al. 2019: the only stable optimum of a linear VAE's bound is the maximum likelihood of Tipping & Bishop
    # 1999. The bound is quadratic in eps, so the rows of a Hadamard matrix give its expectation without error, and
    # L-BFGS climbs it from a random start.
    digits = data.load("digits")
    images, d = digits.train.x.reshape(len(digits.train.x), -1) / digits.scale, 4
    w, v = np.linalg.eigh(np.cov(images.T, bias=True))
    # the bound knows the data by mean and covariance alone, which these 128 points share with the 1297 images
    steps = np.sqrt(64 * np.maximum(w, 0)) * v
    x = jnp.asarray(images.mean(0) + np.concatenate([steps.T, -steps.T]))
    encoder = Network(None, lambda p, x: (affine(x, p), jnp.broadcast_to(p["log_variance"][None], (len(x), d))))
    decoder = Network(None, lambda p, z: (affine(z, p), p["log_variance"]))
    parts = vae.VAE(encoder, decoder, GAUSSIAN, d)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    points = jnp.asarray(np.column_stack([signs, signs.prod(1)]))  # eight points with the moments of N(0, I) up to 2

    def negative_bound(params):
        mean, s = vae.encode(params, x, parts=parts)

        def distortion(eps):
            z = mean + jnp.exp(s / 2) * eps[None]
            return GAUSSIAN.negative_log_likelihood(parts.decoder.apply(params["decoder"], z), x)

        return jnp.mean(jnp.mean(jax.vmap(distortion)(points), axis=0) + losses.gaussian_kl_to_standard(mean, s))

    def layer(key, rows, columns):
        kernel = jax.random.normal(key, (rows, columns)) / np.sqrt(rows)
        return {"kernel": kernel, "bias": jnp.zeros(columns)}

    first, second = jax.random.split(key)
    start = {
        "encoder": layer(first, 64, d) | {"log_variance": jnp.zeros(d)},
        "decoder": layer(second, d, 64) | {"log_variance": jnp.array(-2.0)},
    }
    flat, unravel = jax.flatten_util.ravel_pytree(start)
    value_and_slope = jax.jit(jax.value_and_grad(lambda flat: negative_bound(unravel(flat))))
    found = scipy.optimize.minimize(
        lambda p: tuple(np.asarray(a) for a in value_and_slope(p)),
        flat,
        jac=True,
        method="L-BFGS-B",
        options=dict(maxiter=800, ftol=0.0),
    )
    params = unravel(jnp.asarray(found.x))

    variance = w[:-d].mean()
    covariance = variance * np.eye(64) + (v[:, -d:] * (w[-d:] - variance)) @ v[:, -d:].T
    exact = scipy.stats.multivariate_normal(images.mean(0), covariance).logpdf(images).mean()
    np.testing.assert_allclose(-found.fun, exact, atol=1e-3)
    np.testing.assert_allclose(
        exact, PCA(d, svd_solver="full").fit(images).score(images), atol=1e-2
    )  # its divisor is N - 1
    np.testing.assert_allclose(np.exp(params["decoder"]["log_variance"]), variance, rtol=0.01)
    subspace = np.linalg.qr(np.asarray(params["decoder"]["kernel"]).T)[0]
    assert np.linalg.svd(subspace.T @ v[:, -d:])[1].min() > 0.999
    drawn = jax.jit(jax.vmap(lambda k: jnp.mean(vae.negative_elbo(params, jnp.asarray(images), k, parts=parts))))(
        jax.random.split(key, 100)
    )
    assert abs(np.mean(drawn) + exact) < 1e-3 + 4 * np.std(drawn) / np.sqrt(100)


def with_bounds(make):
    """An objective of two bounds, each of half the draws."""
    return lambda parts, num_samples, **options: make(parts, num_samples=num_samples // 2, num_bounds=2, **options)


MAKE = {
    "plain": importance_weighted.objective,
    "doubly_reparameterized": importance_weighted.doubly_reparameterized_objective,
    "miwae": with_bounds(importance_weighted.multiply_weighted_objective),
    "piwae": with_bounds(importance_weighted.partially_weighted_objective),
    "ciwae": partial(importance_weighted.combined_objective, beta=0.3),
}


SLOWER = [pytest.param(name, marks=pytest.mark.slow) if name != "plain" else name for name in MAKE]


@pytest.mark.parametrize("name", SLOWER)
@pytest.mark.parametrize(
    "remat", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(50, marks=pytest.mark.slow)]
)
def test_draws_that_are_decoded_again_change_neither_values_nor_gradients(name, remat, linear, key):
    parts, params, x, _ = linear
    expected = value_and_gradients(MAKE[name](parts, num_samples=10), params, x, key)
    found = value_and_gradients(MAKE[name](parts, num_samples=10, remat=remat), params, x, key)
    chex.assert_trees_all_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", SLOWER)
def test_draws_that_are_decoded_again_need_less_memory(name, linear, key):
    parts, params, x, _ = linear

    def temporaries(**options):
        objective = MAKE[name](parts, num_samples=4000, **options)
        gradient = jax.grad(lambda params: objective(params, Batch(x), key)[0].mean())
        analysis = jax.jit(gradient).lower(params).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert temporaries(remat=40) < temporaries() / 2
