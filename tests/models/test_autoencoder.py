"""The autoencoder against hand-set weights, supervised training on (x, x), NumPy, and denoising identities."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients, losses, networks, stochastic
from genjax.errors import BadInput
from genjax.losses import CROSS_ENTROPY, SQUARED_ERROR
from genjax.models import autoencoder
from genjax.types import Batch, Network


def mlps(data_dim=6, latent_dim=2, hidden=(5,), reconstruction=SQUARED_ERROR, code=None):
    """An encoder and its mirror image."""
    encoder = networks.mlp((data_dim,), (latent_dim,), hidden=hidden, activation=jnp.tanh)
    decoder = networks.mlp((latent_dim,), (data_dim,), hidden=hidden[::-1], activation=jnp.tanh)
    return autoencoder.Autoencoder(encoder, decoder, reconstruction, code)


def affine_params(w, b, v, p):
    return {
        "encoder": {"layer_1": {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)}},
        "decoder": {"layer_1": {"kernel": jnp.asarray(v), "bias": jnp.asarray(p)}},
    }


def denoiser(a):
    """The autoencoder x -> A x, in rows x A^T, as an encoder alone."""
    identity = Network(lambda key: {}, lambda params, z: z)
    return autoencoder.Autoencoder(Network(lambda key: {}, lambda params, x: x @ a.T), identity, SQUARED_ERROR)


NO_PARAMS = {"encoder": {}, "decoder": {}}


def test_a_decoder_that_undoes_its_encoder_reconstructs(key):
    parts = mlps(4, 4, hidden=())
    w = np.linalg.qr(np.asarray(jax.random.normal(key, (4, 4))))[0]
    b = np.arange(4.0)
    params = affine_params(w, b, w.T, -b @ w.T)
    x = jax.random.normal(key, (7, 4))
    np.testing.assert_allclose(autoencoder.reconstruct(params, x, parts=parts), x, atol=1e-5)
    np.testing.assert_allclose(autoencoder.score(params, x, parts=parts), 0, atol=1e-10)


def test_rows_and_columns_are_one_autoencoder(key):
    # z = sigm(W_e x + b), x' = W_d z + p with columns; Flax kernels are the transposes
    keys = jax.random.split(key, 4)
    we, b, wd, p = (
        np.asarray(jax.random.normal(k, s)) for k, s in zip(keys, [(2, 6), (2,), (6, 2), (6,)], strict=True)
    )
    parts = mlps(hidden=(), code=jax.nn.sigmoid)
    x = np.asarray(jax.random.normal(key, (5, 6)))
    columns = [wd @ (1 / (1 + np.exp(-(we @ one + b)))) + p for one in x]
    got = autoencoder.reconstruct(affine_params(we.T, b, wd.T, p), jnp.asarray(x), parts=parts)
    np.testing.assert_allclose(got, columns, atol=1e-5)


@pytest.mark.parametrize("reconstruction", [SQUARED_ERROR, CROSS_ENTROPY])
@pytest.mark.slow
def test_reconstruct_is_decode_of_encode_for_each_example(key, reconstruction):
    parts = mlps(reconstruction=reconstruction, code=partial(networks.k_sparse, k=1))
    params = autoencoder.init_params(key, parts=parts)
    x = jax.random.uniform(key, (8, 6))
    z = autoencoder.encode(params, x, parts=parts)
    assert np.all(np.sum(np.asarray(z) != 0, axis=1) == 1)
    whole = autoencoder.reconstruct(params, x, parts=parts)
    np.testing.assert_array_equal(whole, autoencoder.decode(params, z, parts=parts))
    order = np.random.RandomState(0).permutation(8)
    np.testing.assert_allclose(autoencoder.reconstruct(params, x[order], parts=parts), whole[order], rtol=1e-5)
    one = autoencoder.score(params, x[3:4], parts=parts)
    np.testing.assert_allclose(autoencoder.score(params, x, parts=parts)[3:4], one, rtol=1e-5)
    output = parts.decoder.apply(params["decoder"], z)
    np.testing.assert_array_equal(autoencoder.score(params, x, parts=parts), reconstruction.loss(output, x))
    np.testing.assert_array_equal(whole, reconstruction.mean(output))


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(1e-2)])
def test_a_step_is_a_supervised_step_with_x_as_its_target(key, optimizer):
    parts = mlps()
    model = autoencoder.model(parts, optimizer, autoencoder.objective(parts))
    state = model.init(key)

    def supervised(params, x, y, key):
        loss = losses.squared_error(
            parts.decoder.apply(params["decoder"], parts.encoder.apply(params["encoder"], x)), y
        )
        return loss, {}

    update = jax.jit(gradients.updater(supervised, optimizer))
    params, optimizer_state = state.params, state.optimizer_state
    for seed in range(3):
        x = jax.random.normal(jax.random.key(seed), (4, 6))
        state, metrics = jax.jit(model.train_step)(state, Batch(x), key)
        params, optimizer_state, expected = update(params, optimizer_state, x, x, key)
        chex.assert_trees_all_equal(state.params, params)
        assert metrics["loss"] == metrics["reconstruction_loss"] == expected["loss"]
    assert state.step == 3


def test_least_squares_is_what_a_linear_model_learns(key, float64):
    # argmin 1/2 sum |y^ - y|^2 is that of numpy.linalg.lstsq; of y = a x + e the risk is s^2 + (a - t)^2 E x^2
    x = jax.random.normal(key, (40, 3))
    y = jax.random.normal(jax.random.fold_in(key, 1), (40, 2))

    def risk(w, batch, key):
        return losses.squared_error(batch[0] @ w, batch[1]) / 2, {}

    optimizer = optax.sgd(0.3)
    update = jax.jit(gradients.updater(risk, optimizer))
    w, state = jnp.zeros((3, 2)), optimizer.init(jnp.zeros((3, 2)))
    for _ in range(200):
        w, state, _ = update(w, state, (x, y), key)
    np.testing.assert_allclose(w, np.linalg.lstsq(x, y)[0], atol=1e-6)

    x_key, e_key = jax.random.split(key)
    x, noise = jax.random.uniform(x_key, (100_000, 1)), 0.5 * jax.random.normal(e_key, (100_000, 1))
    values = np.asarray(losses.squared_error(1.2 * x, 2.0 * x + noise))
    assert abs(values.mean() - (0.25 + 0.8**2 / 3)) < 4 * values.std() / np.sqrt(len(values))


def test_each_penalty_is_added_with_its_weight(key):
    parts = mlps(hidden=(), code=jax.nn.sigmoid)
    params = autoencoder.init_params(key, parts=parts)
    x = jax.random.normal(key, (4, 6))
    kernels = [np.asarray(params[half]["layer_1"]["kernel"]) for half in ("encoder", "decoder")]
    logits = parts.encoder.apply(params["encoder"], x)
    z = np.asarray(jax.nn.sigmoid(logits))
    plain = autoencoder.score(params, x, parts=parts)
    norm = ((z * (1 - z)) ** 2) @ np.sum(kernels[0] ** 2, axis=0)
    expected = {
        autoencoder.weight_l1_penalty(0.3): np.full(4, sum(np.abs(k).sum() for k in kernels)),
        autoencoder.weight_l2_penalty(0.3): np.full(4, sum(np.sum(k**2) for k in kernels) / 2),
        autoencoder.code_l1_penalty(0.3): np.abs(z).sum(1) / 2,
        autoencoder.code_l2_penalty(0.3): np.square(z).sum(1) / 2,
        autoencoder.decoder_l2_penalty(0.3): np.full(4, np.sum(kernels[1] ** 2) / 2),
        autoencoder.code_kl_penalty(0.3, rate=0.1): np.full(4, losses.code_kl(logits, rate=0.1)),
        autoencoder.contractive_penalty(0.3): norm,
        autoencoder.sigmoid_layer_contractive_penalty(0.3): norm,
    }
    for penalty, value in expected.items():
        loss, metrics = autoencoder.objective(parts, penalties=[penalty])(params, Batch(x), key)
        assert {name: value.shape for name, value in metrics.items()} == {
            "reconstruction_loss": (4,),
            penalty.name: (4,),
        }
        np.testing.assert_allclose(metrics["reconstruction_loss"], plain, rtol=1e-6)
        np.testing.assert_allclose(metrics[penalty.name], value, rtol=1e-5, err_msg=penalty.name)
        np.testing.assert_allclose(loss, plain + 0.3 * value, rtol=1e-5, err_msg=penalty.name)

    two = list(expected)[1:3]
    loss, _ = autoencoder.objective(parts, penalties=two)(params, Batch(x), key)
    np.testing.assert_allclose(loss, plain + 0.3 * sum(expected[penalty] for penalty in two), rtol=1e-5)


def test_the_decoders_jacobian_is_that_of_its_weights(key):
    # a linear decoder: the mean of the estimate over draws is ||W||_F^2, at every code
    parts = mlps(hidden=())
    params = autoencoder.init_params(key, parts=parts)
    x = jax.random.normal(key, (4, 6))
    objective = autoencoder.objective(parts, penalties=[autoencoder.decoder_jacobian_penalty(1.0)])
    draw = jax.jit(jax.vmap(lambda k: objective(params, Batch(x), k)[1]["decoder_jacobian_norm"]))
    found = np.asarray(draw(jax.random.split(key, 2000)))
    exact = np.sum(np.square(params["decoder"]["layer_1"]["kernel"]))
    assert np.all(np.abs(found.mean(0) - exact) < 5 * found.std(0) / np.sqrt(2000))
    assert exact > 20 * found.std() / np.sqrt(2000)


PRIOR = losses.STANDARD_NORMAL._replace(sample=lambda params, shape, key: 2 + jax.random.normal(key, shape))


@pytest.mark.parametrize("name", ["mmd", "sliced_wasserstein"])
def test_codes_are_compared_with_draws_from_the_prior(name, key):
    parts = mlps(hidden=())
    params = autoencoder.init_params(key, parts=parts)
    x = jax.random.normal(key, (4, 6))
    of_penalty = jax.random.split(key)[1]
    z = autoencoder.encode(params, x, parts=parts)
    if name == "mmd":
        penalty = autoencoder.mmd_penalty(0.3, prior=PRIOR)
        draws = 2 + jax.random.normal(of_penalty, (4, 2))
        expected = losses.squared_mmd(z, draws, losses.inverse_multiquadric_kernel())
    else:
        penalty = autoencoder.sliced_wasserstein_penalty(0.3, prior=PRIOR, num_projections=7)
        prior_key, projections = jax.random.split(of_penalty)
        draws = 2 + jax.random.normal(prior_key, (4, 2))
        expected = losses.sliced_wasserstein(z, draws, projections, num_projections=7)
    loss, metrics = autoencoder.objective(parts, penalties=[penalty])(params, Batch(x), key)
    np.testing.assert_allclose(metrics[name], np.full(4, expected), rtol=1e-6)
    np.testing.assert_allclose(loss, autoencoder.score(params, x, parts=parts) + 0.3 * expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["mmd", "sliced_wasserstein"])
def test_codes_come_to_follow_the_prior(name, key):
    # a linear encoder of x ~ N((3, 0), diag(4, 1/4)) and a decoder that is free: the codes become N(0, I)
    data = jnp.array([[3.0, 0.0]]) + jnp.array([[2.0, 0.5]]) * jax.random.normal(key, (2000, 2))
    parts = autoencoder.Autoencoder(networks.affine((2,), (2,)), networks.affine((2,), (2,)), SQUARED_ERROR)
    penalty = {"mmd": autoencoder.mmd_penalty, "sliced_wasserstein": autoencoder.sliced_wasserstein_penalty}[name](30.0)
    objective = autoencoder.objective(parts, penalties=[penalty], overcomplete=True)
    model = autoencoder.model(parts, optax.adam(optax.cosine_decay_schedule(0.03, 600)), objective)

    @jax.jit
    def trained(key):
        def update(step, state):
            rows = jax.random.randint(jax.random.fold_in(key, step), (128,), 0, 2000)
            return model.train_step(state, Batch(data[rows]), key)[0]

        return jax.lax.fori_loop(0, 600, update, model.init(key)).params

    z = np.asarray(autoencoder.encode(trained(key), data, parts=parts), np.float64)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.15)


def test_samples_are_decoded_draws(key):
    parts = mlps()
    objective = autoencoder.objective(parts)
    assert autoencoder.model(parts, optax.sgd(0.1), objective).sample is None
    drawn = lambda num, key: jax.random.uniform(key, (num, 2))  # noqa: E731
    model: Any = autoencoder.model(parts, optax.sgd(0.1), objective, sample_codes=drawn)
    state = model.init(key)
    expected = autoencoder.decode(state.params, drawn(5, key), parts=parts)
    np.testing.assert_array_equal(model.sample(state, 5, key), expected)


@pytest.mark.slow
def test_hutchinson_penalty_draws_anew_at_every_step_and_agrees_on_average(key):
    parts = mlps(latent_dim=3, code=jax.nn.sigmoid)
    params = autoencoder.init_params(key, parts=parts)
    batch = Batch(jax.random.normal(key, (4, 6)))
    exact = autoencoder.objective(parts, penalties=[autoencoder.contractive_penalty(1.0)])(params, batch, key)[1]
    estimate = autoencoder.objective(parts, penalties=[autoencoder.hutchinson_contractive_penalty(1.0)])
    draws = jax.vmap(lambda k: estimate(params, batch, k)[1]["jacobian_norm"])(jax.random.split(key, 4000))
    error = np.std(draws, axis=0) / np.sqrt(4000)
    assert np.all(np.abs(np.mean(draws, axis=0) - exact["jacobian_norm"]) < 4 * error)


def test_the_encoder_sees_the_corrupted_example_and_the_loss_the_clean_one(key):
    parts = mlps()
    params = autoencoder.init_params(key, parts=parts)
    x = jax.random.normal(key, (4, 6))
    seen = []

    def penalty(params, x, z, key, *, parts):
        seen.append((x, z))
        return jnp.zeros(())

    objective = autoencoder.objective(
        parts, corruption=lambda x, key: x + 1, penalties=[autoencoder.Penalty("none", 1.0, penalty)]
    )
    loss, _ = objective(params, Batch(x), key)
    output = autoencoder.reconstruct(params, x + 1, parts=parts)
    np.testing.assert_allclose(loss, np.sum((np.asarray(output) - np.asarray(x)) ** 2, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(seen[0][0], x + 1)
    np.testing.assert_array_equal(seen[0][1], autoencoder.encode(params, x + 1, parts=parts))


def test_noise_is_fresh_at_every_step_and_no_key_is_used_twice(key, no_key_reuse):
    parts = mlps()
    objective = autoencoder.objective(
        parts,
        corruption=stochastic.gaussian_noise(scale=0.5),
        penalties=[autoencoder.hutchinson_contractive_penalty(0.1)],
    )
    model = autoencoder.model(parts, optax.sgd(0.0), objective)
    state, batch = model.init(jax.random.fold_in(key, 0)), Batch(jax.random.normal(jax.random.fold_in(key, 1), (4, 6)))
    step = jax.jit(model.train_step)
    losses_seen = set()
    for _ in range(3):
        state, metrics = step(state, batch, jax.random.fold_in(key, 2))
        losses_seen.add(float(metrics["reconstruction_loss"]))
    assert len(losses_seen) == 3


def test_denoising_a_linear_map_splits_into_bias_and_noise(key, float64):
    # E ||x - A (x + n)||^2 = ||x - A x||^2 + s^2 ||A||_F^2
    a, scale = np.asarray(jax.random.normal(key, (4, 4))) / 2, 0.7
    x = jnp.broadcast_to(jax.random.normal(jax.random.fold_in(key, 1), (1, 4)), (50_000, 4))
    objective = autoencoder.objective(denoiser(a), corruption=stochastic.gaussian_noise(scale=scale))
    values = np.asarray(objective(NO_PARAMS, Batch(x), key)[0])
    exact = np.sum((x[0] - a @ x[0]) ** 2) + scale**2 * np.sum(a**2)
    assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.slow
def test_the_best_denoiser_follows_the_score(key, float64):
    # Alain & Bengio 2014 (Tweedie's formula): r(y) = E[x|y] minimises the denoising loss, and (r(y) - y) / s^2 is the
    # gradient of log p_s(y); p = 1/2 N(-1, .3^2) + 1/2 N(1, .3^2), so p_s = 1/2 N(-1, v) + 1/2 N(1, v), v = .3^2 + s^2
    scale, spread = 0.4, 0.3
    variance = spread**2 + scale**2

    def log_p(y):
        return jax.nn.logsumexp(jnp.stack([-((y - m) ** 2) / (2 * variance) for m in (-1, 1)]))

    score = jax.vmap(jax.grad(log_p))
    m_key, x_key, noise_key = jax.random.split(key, 3)
    x = jax.random.rademacher(m_key, (100_000, 1)) + spread * jax.random.normal(x_key, (100_000, 1))
    identity = Network(lambda key: {}, lambda params, z: z)

    def loss_of(shift):
        encoder = Network(lambda key: {}, lambda params, y: y + scale**2 * score(y[:, 0])[:, None] + shift(y))
        parts = autoencoder.Autoencoder(encoder, identity, SQUARED_ERROR)
        objective = autoencoder.objective(parts, corruption=stochastic.gaussian_noise(scale=scale))
        return np.asarray(objective(NO_PARAMS, Batch(x), noise_key)[0])

    best = loss_of(jnp.zeros_like)
    # the best error is the posterior variance, s^2 + s^4 E[(log p_s)''], and any departure h costs E h^2, exactly
    y = x + scale * jax.random.normal(jax.random.fold_in(noise_key, 1), x.shape)
    curvature = jax.vmap(jax.grad(jax.grad(log_p)))(y[:, 0])
    expected = scale**2 + scale**4 * np.asarray(curvature)
    assert abs(best.mean() - expected.mean()) < 4 * np.hypot(best.std(), expected.std()) / np.sqrt(len(x))
    for shift in (lambda y: 0.1 + 0 * y, lambda y: 0.1 * y, lambda y: 0.1 * jnp.sin(3 * y)):
        worse = loss_of(shift) - best
        cost = np.asarray(jnp.square(shift(y)))[:, 0]
        assert abs(worse.mean() - cost.mean()) < 4 * np.hypot(worse.std(), cost.std()) / np.sqrt(len(x))


def test_evaluate_is_the_mean_over_the_batch(key):
    parts = mlps()
    model = autoencoder.model(parts, optax.sgd(0.1), autoencoder.objective(parts))
    state, x = model.init(key), jax.random.normal(key, (4, 6))
    metrics = model.evaluate(state, Batch(x), key)
    np.testing.assert_allclose(
        metrics["reconstruction_loss"], np.mean(autoencoder.score(state.params, x, parts=parts)), rtol=1e-6
    )
    assert model.sample is None


@pytest.mark.parametrize("latent_dim", [6, 8])
def test_a_plain_autoencoder_needs_a_bottleneck(key, latent_dim):
    batch = Batch(jax.random.normal(key, (4, 6)))

    def trained(code=None, **options):
        parts = mlps(latent_dim=latent_dim, code=code)
        model = autoencoder.model(parts, optax.sgd(0.1), autoencoder.objective(parts, **options))
        return jax.eval_shape(lambda key: model.train_step(model.init(key), batch, key), key)

    with pytest.raises(BadInput, match=f"6 dimensions, so a code of {latent_dim} is not a bottleneck") as error:
        trained()
    assert error.value.parameter == "latent_dim"
    trained(overcomplete=True)
    trained(code=partial(networks.k_sparse, k=2))
    trained(penalties=[autoencoder.contractive_penalty(0.1)])
    trained(corruption=stochastic.gaussian_noise(scale=0.1))


def test_a_bottleneck_is_smaller_than_the_whole_example():
    autoencoder.check_bottleneck(11, (2, 3, 2))
    with pytest.raises(BadInput, match=r"12 dimensions, so a code of 12 is not a bottleneck; give fewer$"):
        autoencoder.check_bottleneck(12, (2, 3, 2))
    with pytest.raises(BadInput, match=r"give fewer, or `noise`$"):
        autoencoder.check_bottleneck(12, (2, 3, 2), unless="`noise`")


def test_a_penalty_of_another_shape_is_refused(key):
    parts = mlps()
    wrong = autoencoder.Penalty("wrong", 1.0, lambda params, x, z, key, *, parts: z)
    params = autoencoder.init_params(key, parts=parts)
    with pytest.raises(ValueError, match=r"\(4, 2\)"):
        autoencoder.objective(parts, penalties=[wrong])(params, Batch(jnp.zeros((4, 6))), key)


@pytest.mark.slow
def test_more_code_penalty_gives_sparser_codes(key):
    # a linear dictionary of unit atoms, an overcomplete code: the number of active units falls as lambda grows
    encoder = networks.mlp((4,), (8,), hidden=(), activation=jnp.tanh)
    decoder = networks.unit_norm_rows(networks.mlp((8,), (4,), hidden=(), activation=jnp.tanh))
    parts = autoencoder.Autoencoder(encoder, decoder, SQUARED_ERROR, jax.nn.relu)
    batch, active = Batch(jax.random.normal(key, (64, 4))), []
    for weight in (0.0, 0.5, 2.0):
        objective = autoencoder.objective(parts, penalties=[autoencoder.code_l1_penalty(weight)])
        model = autoencoder.model(parts, optax.adam(1e-2), objective)
        step = jax.jit(lambda s, model=model: model.train_step(s, batch, key)[0])
        state = jax.lax.fori_loop(0, 500, lambda _, s, step=step: step(s), model.init(key))
        active.append(np.mean(np.asarray(autoencoder.encode(state.params, batch.x, parts=parts)) > 1e-3))
    assert active[0] > active[1] + 0.03 > active[2] + 0.06


def test_encoder_and_decoder_start_from_keys_of_their_own(key, no_key_reuse):
    network = Network(lambda key: jax.random.normal(key, (4,)), lambda params, x: x)
    params = autoencoder.init_params(
        jax.random.clone(key), parts=autoencoder.Autoencoder(network, network, SQUARED_ERROR)
    )
    encoder_key, decoder_key = jax.random.split(key)
    np.testing.assert_array_equal(params["encoder"], network.init(encoder_key))
    np.testing.assert_array_equal(params["decoder"], network.init(decoder_key))


def test_a_codec_is_both_networks_with_the_code_and_the_mean(key):
    parts = mlps(reconstruction=CROSS_ENTROPY, code=jnp.cos)
    params, codec = autoencoder.init_params(key, parts=parts), autoencoder.codec(parts)
    x, z = jax.random.normal(key, (3, 6)), jax.random.normal(key, (3, 2))
    np.testing.assert_array_equal(
        codec.encoder.apply(params["encoder"], x), jnp.cos(parts.encoder.apply(params["encoder"], x))
    )
    np.testing.assert_array_equal(
        codec.decoder.apply(params["decoder"], z), jax.nn.sigmoid(parts.decoder.apply(params["decoder"], z))
    )
    for found, own in ((codec.encoder, parts.encoder), (codec.decoder, parts.decoder)):
        chex.assert_trees_all_equal(found.init(key), own.init(key))
    assert not codec.has_prior
