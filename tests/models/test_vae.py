"""The variational autoencoder against exact linear-Gaussian answers, NumPy, and its gradient assembled by hand."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from genjax import losses, stochastic
from genjax.losses import BERNOULLI, GAUSSIAN
from genjax.models import vae
from genjax.types import Batch, Network


def affine(x, params):
    return x @ params["kernel"] + params["bias"][None]


def linear_gaussian(latent_dim):
    """x = W z + m + sigma e with q(z|x) = N(V x + c, diag e^s): networks with one affine map each."""
    encoder = Network(
        None, lambda p, x: (affine(x, p), jnp.broadcast_to(p["log_variance"][None], (len(x), latent_dim)))
    )
    decoder = Network(None, lambda p, z: (affine(z, p), p["log_variance"]))
    return vae.VAE(encoder, decoder, GAUSSIAN, latent_dim)


def linear_params(key, data_dim, latent_dim, log_variance=-0.7):
    """W^T [d, D] with orthogonal rows, so that the exact posterior is diagonal, and that posterior as the encoder."""
    w_key, m_key = jax.random.split(key)
    directions = np.linalg.qr(np.asarray(jax.random.normal(w_key, (data_dim, latent_dim)), np.float64))[0]
    w = directions * np.linspace(0.8, 1.6, latent_dim)
    m = np.asarray(jax.random.normal(m_key, (data_dim,)), np.float64)
    variance = np.exp(log_variance)
    precision = w.T @ w / variance + np.eye(latent_dim)  # of the posterior
    v = np.linalg.solve(precision, w.T) / variance
    posterior = {"kernel": v.T, "bias": -v @ m, "log_variance": -np.log(np.diag(precision))}
    params = {"encoder": posterior, "decoder": {"kernel": w.T, "bias": m, "log_variance": np.array(log_variance)}}
    return jax.tree.map(jnp.asarray, params), w, m, variance


def expected_negative_elbo(params, x, w, m, variance):
    """E_eps of the bound in closed form, in NumPy: residual at the mean plus tr(W S W^T), and the KL term."""
    encoder = jax.tree.map(np.asarray, params["encoder"])
    mean, s = x @ encoder["kernel"] + encoder["bias"], np.exp(encoder["log_variance"])
    residual = np.sum((x - mean @ w.T - m) ** 2, axis=1) + np.trace(w @ np.diag(s) @ w.T)
    distortion = 0.5 * (residual / variance + x.shape[1] * np.log(2 * np.pi * variance))
    return distortion + 0.5 * np.sum(s + mean**2 - 1 - np.log(s), axis=1)


def monte_carlo_bound(parts, params, x, key, num):
    draws = jax.vmap(lambda k: sum(vae.negative_elbo(params, x, k, parts=parts)))(jax.random.split(key, num))
    draws = np.asarray(draws)
    return draws.mean(0), draws.std(0) / np.sqrt(num)


def test_bound_is_the_evidence_where_q_is_the_posterior(key, float64):
    parts = linear_gaussian(2)
    params, w, m, variance = linear_params(key, 5, 2)
    x = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (3, 5))) * 1.5
    evidence = scipy.stats.multivariate_normal(m, w @ w.T + variance * np.eye(5)).logpdf(x)
    np.testing.assert_allclose(expected_negative_elbo(params, x, w, m, variance), -evidence, rtol=1e-10)
    mean, error = monte_carlo_bound(parts, params, jnp.asarray(x), jax.random.fold_in(key, 2), 20_000)
    assert np.all(np.abs(mean + evidence) < 4 * error)


def test_gap_of_the_bound_is_the_divergence_from_the_posterior(key, float64):
    parts = linear_gaussian(2)
    params, w, m, variance = linear_params(key, 5, 2)
    x = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (3, 5))) * 1.5
    evidence = scipy.stats.multivariate_normal(m, w @ w.T + variance * np.eye(5)).logpdf(x)
    exact = params["encoder"]
    wrong = exact | {"bias": exact["bias"] + jnp.array([0.3, -0.2]), "log_variance": exact["log_variance"] + 0.5}
    shape = (3, 2)
    gap = losses.gaussian_kl(
        x @ wrong["kernel"] + wrong["bias"][None],
        jnp.broadcast_to(wrong["log_variance"][None], shape),
        x @ exact["kernel"] + exact["bias"][None],
        jnp.broadcast_to(exact["log_variance"][None], shape),
    )
    assert np.all(gap > 0.1)
    mean, error = monte_carlo_bound(
        parts, params | {"encoder": wrong}, jnp.asarray(x), jax.random.fold_in(key, 2), 20_000
    )
    assert np.all(np.abs(mean + evidence - gap) < 4 * error)


@pytest.mark.slow
def test_probabilistic_pca_is_the_optimum_of_a_linear_vae(key, float64):
    # Tipping & Bishop 1999: W = U (L - s^2 I)^{1/2}, s^2 the mean discarded eigenvalue; there the bound is the
    # exact likelihood, and the gradient of its expectation in every parameter is 0
    latent_dim, num = 2, 60
    mixing = jax.random.normal(key, (6, 6)) * jnp.linspace(2.0, 0.2, 6)[None]
    x = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (num, 6)) @ mixing.T) + 1.0
    m, covariance = x.mean(0), np.cov(x.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    variance = values[latent_dim:].mean()
    w = vectors[:, :latent_dim] * np.sqrt(values[:latent_dim] - variance)
    precision = w.T @ w / variance + np.eye(latent_dim)
    v = np.linalg.solve(precision, w.T) / variance
    params = {
        "encoder": {"kernel": v.T, "bias": -v @ m, "log_variance": -np.log(np.diag(precision))},
        "decoder": {"kernel": w.T, "bias": m, "log_variance": np.log(variance)},
    }
    params = jax.tree.map(jnp.asarray, params)
    parts = linear_gaussian(latent_dim)

    # the bound is quadratic in eps, so the four points eps in {-1, 1}^2 give its expectation without error
    points = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0]), -1).reshape(4, 2)

    def expected_bound(params):
        def at(point):
            mean, s = parts.encoder.apply(params["encoder"], jnp.asarray(x))
            z = mean + jnp.exp(s / 2) * point[None]
            likelihood = GAUSSIAN.negative_log_likelihood(parts.decoder.apply(params["decoder"], z), jnp.asarray(x))
            return jnp.mean(likelihood + losses.gaussian_kl_to_standard(mean, s))

        return jnp.mean(jax.vmap(at)(jnp.asarray(points)))

    likelihood = scipy.stats.multivariate_normal(m, w @ w.T + variance * np.eye(6)).logpdf(x).mean()
    np.testing.assert_allclose(expected_bound(params), -likelihood, rtol=1e-10)
    chex.assert_trees_all_close(jax.grad(expected_bound)(params), jax.tree.map(jnp.zeros_like, params), atol=1e-10)
    mean, error = monte_carlo_bound(parts, params, jnp.asarray(x), jax.random.fold_in(key, 2), 4000)
    assert abs(mean.mean() + likelihood) < 4 * np.sqrt(np.mean(error**2) / num)


def two_layer(key, image_shape=(3, 2, 1), latent_dim=2, width=4):
    """A small nonlinear VAE of hand-written functions."""
    size = int(np.prod(image_shape))

    def layer(key, rows, columns):
        return {"kernel": jax.random.normal(key, (rows, columns)) / np.sqrt(rows), "bias": jnp.zeros(columns)}

    def init(key, rows, columns):
        first, second = jax.random.split(key)
        return {"hidden": layer(first, rows, width), "out": layer(second, width, columns)}

    def run(params, x):
        return affine(jnp.tanh(affine(x, params["hidden"])), params["out"])

    def encode(params, x):
        return tuple(jnp.split(run(params, x.reshape(len(x), -1)), 2, axis=-1))

    encoder = Network(lambda key: init(key, size, 2 * latent_dim), encode)
    decoder = Network(lambda key: init(key, latent_dim, size), lambda p, z: run(p, z).reshape(-1, *image_shape))
    return vae.VAE(encoder, decoder, BERNOULLI, latent_dim)


@pytest.fixture
def small(key):
    parts = two_layer(key)
    params = vae.init_params(key, parts=parts)
    x = jax.random.uniform(jax.random.fold_in(key, 1), (5, 3, 2, 1))
    return parts, params, x, jax.random.fold_in(key, 2)


def test_loss_is_its_definition_in_numpy(small):
    parts, params, x, key = small
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    eps = np.asarray(stochastic.sample_gaussian(jnp.zeros((5, 2)), jnp.zeros((5, 2)), key), np.float64)

    def run(p, x):
        hidden = np.tanh(x @ p["hidden"]["kernel"] + p["hidden"]["bias"])
        return hidden @ p["out"]["kernel"] + p["out"]["bias"]

    flat = np.asarray(x, np.float64).reshape(5, 6)
    heads = run(p["encoder"], flat)
    mean, s = heads[:, :2], heads[:, 2:]
    logits = run(p["decoder"], mean + np.exp(s / 2) * eps)
    distortion = np.sum(np.logaddexp(0, logits) - flat * logits, axis=1)
    rate = 0.5 * np.sum(np.exp(s) + mean**2 - 1 - s, axis=1)
    got = vae.negative_elbo(params, x, key, parts=parts)
    np.testing.assert_allclose(got[0], distortion, rtol=1e-5)
    np.testing.assert_allclose(got[1], rate, rtol=1e-4)
    loss, metrics = vae.objective(parts, rate_weight=0.3, distortion_weight=2.0)(params, Batch(x), key)
    np.testing.assert_allclose(loss, 2 * distortion + 0.3 * rate, rtol=1e-5)
    np.testing.assert_allclose(metrics["negative_elbo"], distortion + rate, rtol=1e-5)


def mean_loss(parts, x, key, **weights):
    return lambda params: jnp.mean(vae.objective(parts, **weights)(params, Batch(x), key)[0])


def test_encoder_gradient_by_its_two_paths(key, float64):
    # dJ/dw = (dL/dz + lambda mu) dmu/dw + (dL/dz * eps * sigma / 2 + lambda (e^s - 1) / 2) ds/dw
    weight = 0.7
    parts = two_layer(key)
    params = vae.init_params(key, parts=parts)
    x = jax.random.uniform(jax.random.fold_in(key, 1), (5, 3, 2, 1))
    draw = jax.random.fold_in(key, 2)
    eps = stochastic.sample_gaussian(jnp.zeros((5, 2)), jnp.zeros((5, 2)), draw)
    (mean, s), pull_back = jax.vjp(lambda p: parts.encoder.apply(p, x), params["encoder"])
    sigma = jnp.exp(s / 2)

    def reconstruction(z):
        return jnp.mean(BERNOULLI.negative_log_likelihood(parts.decoder.apply(params["decoder"], z), x))

    slope = jax.grad(reconstruction)(mean + sigma * eps)
    through_mean = slope + weight * mean / len(x)
    through_s = 0.5 * sigma * (slope * eps) + weight * 0.5 * (jnp.exp(s) - 1) / len(x)
    by_hand = pull_back((through_mean, through_s))[0]
    automatic = jax.grad(mean_loss(parts, x, draw, rate_weight=weight))(params)["encoder"]
    chex.assert_trees_all_close(automatic, by_hand, rtol=1e-12, atol=1e-14)


def test_decoder_gradient_knows_only_the_reconstruction(small):
    parts, params, x, key = small
    plain = jax.grad(mean_loss(parts, x, key, rate_weight=0.0))(params)
    heavy = jax.grad(mean_loss(parts, x, key, rate_weight=10.0))(params)
    chex.assert_trees_all_equal(plain["decoder"], heavy["decoder"])
    assert not np.allclose(plain["encoder"]["out"]["kernel"], heavy["encoder"]["out"]["kernel"])
    rate_alone = jax.grad(mean_loss(parts, x, key, distortion_weight=0.0))(params)
    chex.assert_trees_all_equal(rate_alone["decoder"], jax.tree.map(jnp.zeros_like, params["decoder"]))


@pytest.mark.slow
def test_minimising_the_loss_is_maximising_the_bound(small):
    parts, params, x, key = small

    def bound(params):
        return -mean_loss(parts, x, key)(params)

    descended = ascended = params
    for _ in range(10):
        descended = jax.tree.map(lambda p, g: p - 0.1 * g, descended, jax.grad(mean_loss(parts, x, key))(descended))
        ascended = jax.tree.map(lambda p, g: p + 0.1 * g, ascended, jax.grad(bound)(ascended))
    chex.assert_trees_all_equal(descended, ascended)
    assert bound(ascended) > bound(params)


def test_one_step_moves_both_networks_at_once_and_is_the_optimizers(small):
    parts, _, x, key = small
    optimizer = optax.adam(1e-2)
    model = vae.model(parts, optimizer, vae.objective(parts))
    state = model.init(key)
    new, metrics = jax.jit(model.train_step)(state, Batch(x), key)
    step_key = jax.random.fold_in(key, 0)
    gradient = jax.grad(mean_loss(parts, x, step_key))(state.params)
    updates, _ = optimizer.update(gradient, optimizer.init(state.params))
    chex.assert_trees_all_close(new.params, optax.apply_updates(state.params, updates), rtol=1e-5, atol=1e-6)
    assert int(new.step) == 1
    assert set(metrics) == {"loss", "negative_elbo", "distortion", "rate"}
    np.testing.assert_allclose(metrics["loss"], mean_loss(parts, x, step_key)(state.params), rtol=1e-5)


def test_noise_is_new_at_every_step_and_set_by_the_key(small):
    parts, _, x, key = small
    model = vae.model(parts, optax.sgd(0.0), vae.objective(parts))
    first = model.init(key)
    second, metrics = model.train_step(first, Batch(x), key)
    _, metrics_2 = model.train_step(second, Batch(x), key)
    _, again = model.train_step(first, Batch(x), key)
    assert float(metrics["loss"]) != float(metrics_2["loss"])
    chex.assert_trees_all_equal(metrics, again)


def test_samples_are_decoded_prior_draws(small):
    parts, _, _, key = small
    model = vae.model(parts, optax.sgd(0.0), vae.objective(parts))
    state = model.init(key)
    assert model.sample is not None
    images = model.sample(state, 7, key)
    z = jax.random.normal(key, (7, 2))
    logits = parts.decoder.apply(state.params["decoder"], z)
    np.testing.assert_allclose(images, 1 / (1 + np.exp(-np.asarray(logits))), rtol=1e-5)


def test_reconstruction_decodes_the_posterior_mean(small):
    parts, params, x, _ = small
    mean, _ = vae.encode(params, x, parts=parts)
    chex.assert_trees_all_equal(vae.reconstruct(params, x, parts=parts), vae.decode(params, mean, parts=parts))


def test_evaluate_is_the_mean_over_the_batch(small):
    parts, _, x, key = small
    model = vae.model(parts, optax.sgd(0.0), vae.objective(parts))
    state = model.init(key)
    metrics = jax.jit(model.evaluate)(state, Batch(x), key)
    distortion, rate = vae.negative_elbo(state.params, x, key, parts=parts)
    np.testing.assert_allclose(metrics["negative_elbo"], np.mean(distortion + rate), rtol=1e-6)


def test_an_objective_of_ones_own_trains(small):
    parts, _, x, key = small

    def objective(params, batch, key):
        distortion, rate = vae.negative_elbo(params, batch.x, key, parts=parts)
        size = sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(params))
        return distortion + rate + 0.01 * size, {"distortion": distortion}

    model = vae.model(parts, optax.adam(1e-2), objective)
    state = model.init(key)
    step = jax.jit(partial(model.train_step, batch=Batch(x), key=key))
    losses_seen = []
    for _ in range(50):
        state, metrics = step(state)
        losses_seen.append(float(metrics["loss"]))
    assert np.mean(losses_seen[-10:]) < np.mean(losses_seen[:10])
