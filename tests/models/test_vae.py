"""The variational autoencoder against exact linear-Gaussian answers, NumPy, and its gradient assembled by hand."""

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

from genjax import losses, networks, stochastic
from genjax.losses import BERNOULLI, GAUSSIAN, STANDARD_NORMAL, Posterior, Prior
from genjax.models import importance_weighted, vae
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
    draws = jax.vmap(lambda k: vae.negative_elbo(params, x, k, parts=parts))(jax.random.split(key, num))
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


def water_level(values, distortion):
    """Reverse water-filling, Cover & Thomas 2006, theorem 10.3.3: the level t where sum_i min(t, l_i) is D."""
    return scipy.optimize.brentq(lambda t: np.minimum(t, values).sum() - distortion, 0, max(values))


@pytest.mark.parametrize(
    "variance", [0.3, *(pytest.param(variance, marks=pytest.mark.slow) for variance in (0.02, 1.5))]
)
def test_a_linear_vae_of_a_gaussian_source_follows_reverse_water_filling(key, float64, variance):
    # probabilistic PCA with a given variance of the likelihood, a code for each eigenvalue above it: the rate is
    # sum_i max(0, 1/2 log l_i / t) and the squared error sum_i min(t, l_i), the least possible of any code, at t = s^2
    num, values = 500, np.array([4.0, 1.0, 0.5, 0.1, 0.01])
    x = np.asarray(jax.random.normal(key, (num, 5)))
    x = x - x.mean(0)
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    x = np.sqrt(num) * u * np.sqrt(values) @ vt  # of this covariance exactly
    latent_dim = int((values > variance).sum())
    w = vt.T[:, :latent_dim] * np.sqrt(values[:latent_dim] - variance)
    precision = w.T @ w / variance + np.eye(latent_dim)
    params = {
        "encoder": {
            "kernel": w @ np.linalg.inv(precision) / variance,
            "bias": np.zeros(latent_dim),
            "log_variance": -np.log(np.diag(precision)),
        },
        "decoder": {"kernel": w.T, "bias": np.zeros(5), "log_variance": np.log(variance)},
    }
    params, parts = jax.tree.map(jnp.asarray, params), linear_gaussian(latent_dim)
    rates, errors = [], []
    # the error is quadratic in eps, so the points eps in {-1, 1}^d give its expectation without error
    for eps in itertools.product([-1.0, 1.0], repeat=latent_dim):
        mean, s = vae.encode(params, x, parts=parts)
        z = mean + jnp.exp(s / 2) * jnp.array(eps)[None]
        errors.append(np.sum(np.square(x - vae.decode(params, z, parts=parts)), axis=1).mean())
    for n in range(2):
        _, rate = vae.terms(params, x, jax.random.fold_in(key, n), parts=parts)
        rates.append(float(rate.mean()))
    level = water_level(values, np.mean(errors))
    assert level == pytest.approx(variance, rel=1e-9)
    np.testing.assert_allclose(rates, np.maximum(0, 0.5 * np.log(values / level)).sum(), rtol=1e-9)


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
    value, gradient = jax.jit(jax.value_and_grad(expected_bound))(params)
    np.testing.assert_allclose(value, -likelihood, rtol=1e-10)
    chex.assert_trees_all_close(gradient, jax.tree.map(jnp.zeros_like, params), atol=1e-10)
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
    got = vae.terms(params, x, key, parts=parts)
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

    slope = jax.jit(jax.grad(reconstruction))(mean + sigma * eps)
    through_mean = slope + weight * mean / len(x)
    through_s = 0.5 * sigma * (slope * eps) + weight * 0.5 * (jnp.exp(s) - 1) / len(x)
    by_hand = pull_back((through_mean, through_s))[0]
    automatic = jax.jit(jax.grad(mean_loss(parts, x, draw, rate_weight=weight)))(params)["encoder"]
    chex.assert_trees_all_close(automatic, by_hand, rtol=1e-12, atol=1e-14)


def test_decoder_gradient_knows_only_the_reconstruction(small):
    parts, params, x, key = small
    plain = jax.grad(mean_loss(parts, x, key, rate_weight=0.0))(params)
    heavy = jax.grad(mean_loss(parts, x, key, rate_weight=10.0))(params)
    chex.assert_trees_all_equal(plain["decoder"], heavy["decoder"])
    assert not np.allclose(plain["encoder"]["out"]["kernel"], heavy["encoder"]["out"]["kernel"])
    rate_alone = jax.grad(mean_loss(parts, x, key, distortion_weight=0.0))(params)
    chex.assert_trees_all_equal(rate_alone["decoder"], jax.tree.map(jnp.zeros_like, params["decoder"]))


def test_the_loss_is_least_where_the_bound_by_quadrature_is_largest(float64):
    """min -L = max L, over a grid of q(z|x) = N(v x, e^s) for x = w z + e, with L = E_q log[p(x, z) / q(z|x)]."""
    w, variance, x = 1.3, 0.4, 0.9
    slopes, log_variances = np.linspace(0.2, 1.0, 17), np.linspace(-2.5, 0.0, 21)
    posterior = w / (w**2 + variance), np.log(variance / (w**2 + variance))
    slopes, log_variances = np.append(slopes, posterior[0]), np.append(log_variances, posterior[1])
    v, s = (grid.ravel() for grid in np.meshgrid(slopes, log_variances, indexing="ij"))

    z = np.linspace(-8, 8, 4001)
    log_joint = scipy.stats.norm.logpdf(x, w * z, np.sqrt(variance)) + scipy.stats.norm.logpdf(z)
    log_q = scipy.stats.norm.logpdf(z, v[:, None] * x, np.exp(s / 2)[:, None])
    bound = np.trapezoid(np.exp(log_q) * (log_joint - log_q), z)

    encoder = Network(None, lambda p, x: (p[:, :1] * x, p[:, 1:]))
    decoder = Network(None, lambda p, z: (w * z, jnp.array(np.log(variance))))
    params = {"encoder": jnp.stack([jnp.asarray(v), jnp.asarray(s)], axis=1), "decoder": ()}
    batch = Batch(jnp.full((len(v), 1), x))

    def loss_at(eps):
        def fixed(output, key):
            mean, log_variance = output
            return mean + jnp.exp(log_variance / 2) * eps, jnp.zeros(len(mean))

        parts = vae.VAE(encoder, decoder, GAUSSIAN, 1, posterior=Posterior(fixed, lambda output: output[0]))
        return np.asarray(vae.objective(parts)(params, batch, jax.random.key(0))[0])

    # the loss is quadratic in eps, so the points -1 and 1 give its expectation without error
    loss = (loss_at(-1.0) + loss_at(1.0)) / 2
    np.testing.assert_allclose(loss, -bound, atol=1e-9)
    assert np.argmin(loss) == np.argmax(bound) == len(v) - 1  # the exact posterior
    np.testing.assert_allclose(-loss.min(), scipy.stats.norm.logpdf(x, 0, np.sqrt(w**2 + variance)), atol=1e-9)


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


def test_generated_data_take_their_code_and_their_noise_from_two_keys(key, no_key_reuse):
    # x = z + e has the variance 2; with the same noise in both it would be 2 z, of variance 4
    decoder = Network(None, lambda p, z: (z, jnp.zeros([])))
    parts = vae.VAE(Network(None, lambda p, x: x), decoder, GAUSSIAN, 3)
    x = np.asarray(vae.generate({"encoder": (), "decoder": ()}, 4000, key, parts=parts))
    assert abs(x.var() - 2) < 4 * 2 * np.sqrt(2 / x.size)


def test_encoder_and_decoder_start_from_the_two_halves_of_the_key(key, no_key_reuse):
    network = Network(lambda key: jax.random.normal(key, (4,)), lambda p, x: x)
    prior = STANDARD_NORMAL._replace(init=network.init)
    parts = vae.VAE(network, network, GAUSSIAN, 3)
    params = vae.init_params(jax.random.clone(key), parts=parts)
    with_prior = vae.init_params(jax.random.clone(key), parts=parts._replace(prior=prior))
    encoder_key, decoder_key = jax.random.split(key)
    assert set(params) == {"encoder", "decoder"} and set(with_prior) == {"encoder", "decoder", "prior"}
    for found in (params, with_prior):
        np.testing.assert_array_equal(found["encoder"], network.init(jax.random.clone(encoder_key)))
        np.testing.assert_array_equal(found["decoder"], network.init(jax.random.clone(decoder_key)))
    assert len({float(start[0]) for start in with_prior.values()}) == 3


def test_no_key_is_used_twice(small, no_key_reuse):
    parts, _, x, key = small
    model = vae.model(parts._replace(prior=STANDARD_NORMAL._replace(kl=None)), optax.sgd(0.1), vae.objective(parts))
    init_key, train_key, test_key, sample_key = jax.random.split(key, 4)
    state, _ = jax.jit(model.train_step)(jax.jit(model.init)(init_key), Batch(x), train_key)
    jax.jit(model.evaluate)(state, Batch(x), test_key)
    assert model.sample is not None
    jax.jit(model.sample, static_argnums=1)(state, 3, sample_key)


def test_reconstruction_decodes_the_posterior_mean(small):
    parts, params, x, _ = small
    mean, _ = vae.encode(params, x, parts=parts)
    chex.assert_trees_all_equal(vae.reconstruct(params, x, parts=parts), vae.decode(params, mean, parts=parts))


def test_evaluate_is_the_mean_over_the_batch(small):
    parts, _, x, key = small
    model = vae.model(parts, optax.sgd(0.0), vae.objective(parts))
    state = model.init(key)
    metrics = jax.jit(model.evaluate)(state, Batch(x), key)
    distortion, rate = vae.terms(state.params, x, key, parts=parts)
    np.testing.assert_allclose(metrics["negative_elbo"], np.mean(distortion + rate), rtol=1e-6)


def test_an_objective_of_ones_own_trains(small):
    parts, _, x, key = small

    def objective(params, batch, key):
        distortion, rate = vae.terms(params, batch.x, key, parts=parts)
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


# Priors of one's own


def gaussian_mixture(num_components, latent_dim):
    """p(z) = sum_k pi_k N(z; m_k, diag e^{t_k}), with all three learned."""

    def init(key):
        mean = jax.random.normal(key, (num_components, latent_dim))
        return {"logits": jnp.zeros(num_components), "mean": mean, "log_variance": jnp.zeros(mean.shape)}

    def negative_log_density(params, z):
        def of_component(mean, log_variance):
            mean = jnp.broadcast_to(mean[None], z.shape)
            return -GAUSSIAN.negative_log_likelihood((mean, jnp.broadcast_to(log_variance[None], z.shape)), z)

        log_p = jax.vmap(of_component, out_axes=-1)(params["mean"], params["log_variance"])
        return -jax.nn.logsumexp(log_p + jax.nn.log_softmax(params["logits"])[None], axis=-1)

    def sample(params, shape, key):
        component_key, z_key = jax.random.split(key)
        k = jax.random.categorical(component_key, params["logits"], shape=shape[:1])
        return stochastic.sample_gaussian(params["mean"][k], params["log_variance"][k], z_key)

    return Prior(init, negative_log_density, sample)


def drawn_rate(parts, params, x, key, num):
    draws = jax.vmap(lambda k: vae.terms(params, x, k, parts=parts)[1])(jax.random.split(key, num))
    return np.asarray(draws).mean(0), np.asarray(draws).std(0) / np.sqrt(num)


def test_drawn_rate_has_the_closed_form_as_its_mean(key, float64):
    params, *_ = linear_params(key, 5, 2)
    x = jax.random.normal(jax.random.fold_in(key, 1), (3, 5))
    mean, s = linear_gaussian(2).encoder.apply(params["encoder"], x)
    m, t = jnp.array([0.4, -1.0]), jnp.array([0.3, -0.5])
    for prior, prior_params, exact in (
        (STANDARD_NORMAL._replace(kl=None), (), losses.gaussian_kl_to_standard(mean, s)),
        (
            gaussian_mixture(1, 2),
            {"logits": jnp.zeros(1), "mean": m[None], "log_variance": t[None]},
            losses.gaussian_kl(mean, s, jnp.broadcast_to(m[None], mean.shape), jnp.broadcast_to(t[None], s.shape)),
        ),
    ):
        parts = linear_gaussian(2)._replace(prior=prior)
        found, error = drawn_rate(parts, params | {"prior": prior_params}, x, key, 20_000)
        assert np.all(error < 0.02)
        assert np.all(np.abs(found - exact) < 4 * error)


@pytest.fixture
def mixture(key, float64):
    """A linear-Gaussian model under a mixture prior: parts, params, x [4, 5], log p(x) by SciPy."""
    parts = linear_gaussian(2)._replace(prior=gaussian_mixture(2, 2))
    params, w, m, variance = linear_params(key, 5, 2)
    means, variances = np.array([[1.5, -0.5], [-1.0, 0.7]]), np.array([[0.3, 1.2], [0.8, 0.5]])
    weights = np.array([0.3, 0.7])
    prior = {"logits": np.log(weights), "mean": means, "log_variance": np.log(variances)}
    x = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (4, 5))) * 1.5
    evidence = np.log(
        sum(
            p * scipy.stats.multivariate_normal(w @ mu + m, w @ np.diag(v) @ w.T + variance * np.eye(5)).pdf(x)
            for p, mu, v in zip(weights, means, variances, strict=True)
        )
    )
    return parts, jax.tree.map(jnp.asarray, params | {"prior": prior}), jnp.asarray(x), evidence


def test_bound_under_a_learned_prior_is_below_the_evidence_and_attains_it_where_q_is_the_posterior(mixture, key):
    parts, params, x, evidence = mixture
    mean, error = monte_carlo_bound(parts, params, x, key, 4000)
    assert np.all(mean + evidence > 4 * error)

    # Of a component alone the posterior is Gaussian, and diagonal since the rows of W^T are orthogonal. There
    # log q(z|x) - log p(z) - log p(x|z) = -log p(x) at every z.
    w, variance = np.asarray(params["decoder"]["kernel"]).T, np.exp(float(params["decoder"]["log_variance"]))
    mu, v = np.asarray(params["prior"]["mean"][0]), np.exp(np.asarray(params["prior"]["log_variance"][0]))
    m = np.asarray(params["decoder"]["bias"])
    posterior = 1 / (np.diag(w.T @ w) / variance + 1 / v)
    encoder = {
        "kernel": w * (posterior / variance)[None],
        "bias": posterior * (mu / v - w.T @ m / variance),
        "log_variance": np.log(posterior),
    }
    alone = {name: value[:1] for name, value in params["prior"].items()}
    exact = scipy.stats.multivariate_normal(w @ mu + m, w @ np.diag(v) @ w.T + variance * np.eye(5)).logpdf(x)
    params = params | {"prior": alone, "encoder": jax.tree.map(jnp.asarray, encoder)}
    for draw in jax.random.split(key, 3):
        np.testing.assert_allclose(vae.negative_elbo(params, x, draw, parts=parts), -exact, rtol=1e-10)


@pytest.mark.slow
def test_a_learned_prior_is_sampled_and_trained(mixture, key):
    parts, params, x, _ = mixture
    z = np.asarray(vae.sample_prior(params, 20_000, key, parts=parts))
    weights, means = np.array([0.3, 0.7]), np.asarray(params["prior"]["mean"])
    second = weights @ (np.exp(np.asarray(params["prior"]["log_variance"])) + means**2)
    assert z.shape == (20_000, 2)
    assert np.all(np.abs(z.mean(0) - weights @ means) < 4 * z.std(0) / np.sqrt(len(z)))
    assert np.all(np.abs((z**2).mean(0) - second) < 4 * (z**2).std(0) / np.sqrt(len(z)))
    generated = np.asarray(vae.generate(params, 20_000, key, parts=parts))
    expected = np.asarray(params["decoder"]["bias"]) + np.asarray(params["decoder"]["kernel"]).T @ (weights @ means)
    assert np.all(np.abs(generated.mean(0) - expected) < 4 * generated.std(0) / np.sqrt(len(generated)))
    gradient = jax.grad(mean_loss(parts, x, key))(params)["prior"]
    drawn = vae.forward(params, x, key, parts=parts)
    by_hand = jax.grad(lambda prior: jnp.mean(parts.prior.negative_log_density(prior, drawn.z)))(params["prior"])
    chex.assert_trees_all_close(gradient, by_hand, rtol=1e-10)
    assert all(np.all(leaf != 0) for leaf in jax.tree.leaves(gradient))


def test_free_bits_of_a_prior_without_closed_form_are_of_the_whole_code(mixture, key):
    parts, params, x, _ = mixture
    distortion, rate = vae.terms(params, x, key, parts=parts)
    for free_bits in (float(rate.mean()) - 0.1, float(rate.mean()) + 0.1):
        loss, metrics = vae.objective(parts, free_bits=free_bits)(params, Batch(x), key)
        expected = np.mean(distortion) + max(free_bits, float(rate.mean()))
        np.testing.assert_allclose(np.mean(loss), expected, rtol=1e-10)
        np.testing.assert_allclose(metrics["rate"], rate, rtol=1e-12)


def test_a_posterior_of_ones_own_is_drawn_from_and_charged(key, float64):
    # a Laplace posterior: E[log q - log p] = -log(2 b) - 1 + (mu^2 + 2 b^2 + log 2 pi) / 2 for each dimension
    def sample_and_negative_log_density(output, key):
        location, b = output
        e = jax.random.laplace(key, location.shape)
        return location + b * e, jnp.sum(jnp.log(2 * b) + jnp.abs(e), axis=-1)

    laplace = Posterior(sample_and_negative_log_density, lambda output: output[0])
    encoder = Network(None, lambda p, x: (x @ p, jnp.full((len(x), 2), 0.6)))
    decoder = Network(None, lambda p, z: (z @ p, jnp.zeros([])))
    parts = vae.VAE(encoder, decoder, GAUSSIAN, 2, STANDARD_NORMAL._replace(kl=None), laplace)
    params = {"encoder": jax.random.normal(key, (3, 2)), "decoder": jax.random.normal(key, (2, 3))}
    x = jax.random.normal(jax.random.fold_in(key, 1), (4, 3))
    mu, b = np.asarray(x @ params["encoder"]), 0.6
    exact = np.sum(-np.log(2 * b) - 1 + 0.5 * (mu**2 + 2 * b**2 + np.log(2 * np.pi)), axis=1)
    found, error = drawn_rate(parts, params, x, key, 20_000)
    assert np.all(np.abs(found - exact) < 4 * error)
    np.testing.assert_allclose(vae.reconstruct(params, x, parts=parts), mu @ params["decoder"], rtol=1e-10)


def test_a_posterior_with_correlations_attains_the_evidence_of_any_linear_model(key, float64):
    # W without orthogonal columns: p(z|x) = N(m, (W^T W / s^2 + I)^{-1}), which no diagonal Gaussian is
    w_key, x_key, draw_key = jax.random.split(key, 3)
    w, variance = np.asarray(jax.random.normal(w_key, (5, 3))), 0.3
    x = np.asarray(jax.random.normal(x_key, (4, 5)))
    covariance = np.linalg.inv(w.T @ w / variance + np.eye(3))
    root = np.linalg.cholesky(covariance)
    rows, columns = np.tril_indices(3, -1)
    heads = np.concatenate([2 * np.log(np.diag(root)), root[rows, columns]])
    network = Network(None, lambda p, x: jnp.concatenate([x @ p, jnp.tile(heads, (len(x), 1))], axis=1))
    encoder = networks.full_covariance_heads(network, 3)
    decoder = Network(None, lambda p, z: (z @ p, jnp.array(np.log(variance))))
    params = {"encoder": jnp.asarray(w @ covariance / variance), "decoder": jnp.asarray(w.T)}
    evidence = scipy.stats.multivariate_normal(np.zeros(5), w @ w.T + variance * np.eye(5)).logpdf(x)
    drawn = STANDARD_NORMAL._replace(kl=None)
    parts = vae.VAE(encoder, decoder, GAUSSIAN, 3, drawn, losses.FULL_COVARIANCE_GAUSSIAN)
    for draw in jax.random.split(draw_key, 3):
        np.testing.assert_allclose(vae.negative_elbo(params, jnp.asarray(x), draw, parts=parts), -evidence, rtol=1e-10)

    mean, factor = parts.encoder.apply(params["encoder"], jnp.asarray(x))
    np.testing.assert_allclose(factor, np.tile(root, (4, 1, 1)), rtol=1e-12)
    z, negative = losses.FULL_COVARIANCE_GAUSSIAN.sample_and_negative_log_density((mean, factor), draw_key)
    for row, m, value in zip(np.asarray(z), np.asarray(mean), negative, strict=True):
        np.testing.assert_allclose(value, -scipy.stats.multivariate_normal(m, covariance).logpdf(row), rtol=1e-9)

    # the rate's closed form, of the whole code, is the mean of its estimate
    closed = drawn._replace(kl=lambda p, output: losses.gaussian_kl_to_standard_full_covariance(*output)[:, None])
    found, error = drawn_rate(parts, params, jnp.asarray(x), draw_key, 4000)
    _, exact = vae.terms(params, jnp.asarray(x), draw_key, parts=parts._replace(prior=closed))
    assert np.all(np.abs(found - exact) < 4 * error)
    np.testing.assert_allclose(vae.reconstruct(params, jnp.asarray(x), parts=parts), mean @ w.T, rtol=1e-10)
    with pytest.raises(ValueError, match=r"3 dimensions need 9 outputs, got \(4, 5\)"):
        networks.full_covariance_heads(Network(None, lambda p, x: x), 3).apply((), jnp.asarray(x))


# Conditional on the label

MEANS = np.array([[2.0, -1.0], [-0.5, 0.5], [0.0, 1.5]])  # of z, for each of three labels


def label_prior():
    """p(z|label) = N(m_label, I)."""

    def mean_of(z, label):
        return jnp.asarray(MEANS)[label], jnp.zeros(z.shape)

    return Prior(
        lambda key: (),
        lambda params, z, label: GAUSSIAN.negative_log_likelihood(mean_of(z, label), z),
        lambda params, shape, key, label: jnp.asarray(MEANS)[label] + jax.random.normal(key, shape),
    )


@pytest.fixture
def conditional(key, float64):
    """x = W z + m + 1.5 label + sigma e, z ~ N(m_label, I), and its exact posterior: parts, params, batch, log p(x)."""
    params, w, m, variance = linear_params(key, 5, 2)

    def encode(p, x, label):
        precision = jnp.exp(-p["log_variance"])  # of the posterior; the prior's is 1
        mean = affine(x - 1.5 * label[:, None], p) + jnp.asarray(MEANS)[label] / precision[None]
        return mean, jnp.broadcast_to(p["log_variance"][None], mean.shape)

    def decode(p, z, label):
        return affine(z, p) + 1.5 * label[:, None], p["log_variance"]

    parts = vae.VAE(
        Network(None, encode),
        Network(None, decode),
        GAUSSIAN,
        2,
        prior=label_prior(),
        context=lambda batch: (batch.label,),
    )
    label = np.array([0, 1, 2, 1])
    x = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (4, 5))) * 1.5
    noise = scipy.stats.multivariate_normal(np.zeros(5), w @ w.T + variance * np.eye(5))
    evidence = noise.logpdf(x - 1.5 * label[:, None] - m - MEANS[label] @ w.T)
    return parts, params, Batch(jnp.asarray(x), jnp.asarray(label)), evidence


def test_conditional_bound_is_the_conditional_evidence_where_q_is_the_posterior(conditional, key):
    parts, params, batch, evidence = conditional
    # where log q(z|x) - log p(z) - log p(x|z) is the same at every z, and so at every draw
    for draw in jax.random.split(key, 3):
        np.testing.assert_allclose(vae.objective(parts)(params, batch, draw)[0], -evidence, rtol=1e-10)


@pytest.mark.slow
def test_a_one_hot_label_beside_x_and_z_is_a_bias_of_the_first_layers(key, float64):
    # [x, e_k] W = x W_x + row k of W_label: for one label, the unconditional VAE with other biases
    num_labels, keys = 3, iter(jax.random.split(key, 10))

    def layer(rows, columns):
        return {
            "kernel": jax.random.normal(next(keys), (rows, columns)),
            "bias": jax.random.normal(next(keys), columns),
        }

    def run(p, inputs):
        return affine(jnp.tanh(affine(inputs, p["hidden"])), p["out"])

    def heads(p, inputs):
        return tuple(jnp.split(run(p, inputs), 2, axis=-1))

    def beside(apply):
        return lambda p, inputs, label: apply(p, jnp.concatenate([inputs, jax.nn.one_hot(label, num_labels)], axis=-1))

    params = {
        "encoder": {"hidden": layer(6 + num_labels, 5), "out": layer(5, 4)},
        "decoder": {"hidden": layer(2 + num_labels, 5), "out": layer(5, 6)},
    }
    plain = vae.VAE(Network(None, heads), Network(None, run), BERNOULLI, 2)
    parts = vae.VAE(
        Network(None, beside(heads)), Network(None, beside(run)), BERNOULLI, 2, context=lambda batch: (batch.label,)
    )
    x, draw = jax.random.uniform(next(keys), (4, 6)), next(keys)

    def with_bias_of(label, p, size):
        hidden = {
            "kernel": p["hidden"]["kernel"][:size],
            "bias": p["hidden"]["bias"] + p["hidden"]["kernel"][size + label],
        }
        return p | {"hidden": hidden}

    for label in range(num_labels):
        batch = Batch(x, jnp.full(4, label))
        of_label = {
            "encoder": with_bias_of(label, params["encoder"], 6),
            "decoder": with_bias_of(label, params["decoder"], 2),
        }
        for make in (
            vae.objective,
            partial(importance_weighted.objective, num_samples=3),
            partial(importance_weighted.doubly_reparameterized_objective, num_samples=3),
        ):

            def gradient_and_values(parts, params, make=make, batch=batch):
                def mean(params):
                    loss, metrics = make(parts)(params, batch, draw)
                    return jnp.mean(loss), (loss, metrics)

                gradient, values = jax.grad(mean, has_aux=True)(params)
                return gradient["encoder"]["out"], gradient["decoder"]["out"], values

            found, expected = gradient_and_values(parts, params), gradient_and_values(plain, of_label)
            chex.assert_trees_all_close(found, expected, rtol=1e-10, atol=1e-13)


def test_conditional_samples_and_reconstructions_are_of_their_context(conditional, key):
    parts, params, batch, _ = conditional
    label = jnp.arange(30_000) % 3
    w, m = np.asarray(params["decoder"]["kernel"]).T, np.asarray(params["decoder"]["bias"])

    def init(key):
        return ()

    model = vae.model(
        parts._replace(encoder=parts.encoder._replace(init=init), decoder=parts.decoder._replace(init=init)),
        optax.sgd(0.0),
        vae.objective(parts),
    )
    assert model.sample is not None
    means = model.sample(model.init(key)._replace(params=params), len(label), key, label)
    for images in (vae.generate(params, len(label), key, label, parts=parts), means):
        for number in range(3):
            of_label = np.asarray(images)[np.asarray(label) == number]
            expected = w @ MEANS[number] + m + 1.5 * number
            assert np.all(np.abs(of_label.mean(0) - expected) < 4 * of_label.std(0) / np.sqrt(len(of_label)))
    codes = np.asarray(vae.encode(params, batch.x, batch.label, parts=parts)[0])
    found = vae.reconstruct(params, batch.x, batch.label, parts=parts)
    np.testing.assert_allclose(found, codes @ w.T + m + 1.5 * np.asarray(batch.label)[:, None], rtol=1e-10)


def test_a_codec_is_the_posteriors_mean_and_the_likelihoods(key):
    encoder = networks.gaussian_heads(networks.mlp((5,), (4,), hidden=(), activation=jnp.tanh))
    decoder = networks.mlp((2,), (5,), hidden=(), activation=jnp.tanh)
    parts = vae.VAE(encoder, decoder, BERNOULLI, 2)
    params, codec = vae.init_params(key, parts=parts), vae.codec(parts)
    x, z = jax.random.normal(key, (3, 5)), jax.random.normal(key, (3, 2))
    np.testing.assert_array_equal(codec.encoder.apply(params["encoder"], x), encoder.apply(params["encoder"], x)[0])
    np.testing.assert_array_equal(
        codec.decoder.apply(params["decoder"], z), jax.nn.sigmoid(decoder.apply(params["decoder"], z))
    )
    for found, own in ((codec.encoder, encoder), (codec.decoder, decoder)):
        chex.assert_trees_all_equal(found.init(key), own.init(key))
    assert codec.has_prior
