"""The VAE-GAN: its reconstruction in features, the weight of the game, the best discriminator, the players' updates."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.spatial.distance
import scipy.stats

from genjax import networks
from genjax.losses import MINIMAX, NON_SATURATING, Posterior, Prior, gaussian_likelihood
from genjax.models import vae, vae_gan
from genjax.types import Batch, Network

UNIT = gaussian_likelihood(variance=1.0)


def function(apply):
    return Network(lambda key: (), apply)


def draw(key, *shape):
    return jax.random.normal(jax.random.fold_in(key, len(shape) + sum(shape)), shape)


IDENTITY = function(lambda slope, x: (x, x @ slope))  # the data are their own features, and the logit is linear


def small(discriminator=None, adversarial=NON_SATURATING):
    """Data of 3 dimensions, codes of 2; by default the features are a hidden layer of 4 units."""
    mlp = partial(networks.mlp, hidden=(4,), activation=jnp.tanh)
    return vae_gan.VAEGAN(
        vae.VAE(networks.gaussian_heads(mlp((3,), (4,))), mlp((2,), (3,)), UNIT, 2),
        mlp((3,), (), with_features=True) if discriminator is None else discriminator,
        adversarial,
    )


def batch_of(key):
    return Batch(jax.random.normal(jax.random.fold_in(key, 1), (6, 3)))


# The reconstruction


def test_in_the_data_itself_it_is_the_gaussian_likelihood(key):
    x, rebuilt = jax.random.normal(key, (2, 5, 3))
    found = vae_gan.feature_loss(jnp.ones(3), rebuilt, x, parts=small(IDENTITY))
    np.testing.assert_allclose(found, 0.5 * np.sum(np.square(x - rebuilt), axis=1), rtol=1e-5)
    log_density = scipy.stats.norm.logpdf(np.asarray(x), np.asarray(rebuilt)).sum(axis=1)
    np.testing.assert_allclose(found, -log_density - 1.5 * np.log(2 * np.pi), rtol=1e-5)


def test_in_the_data_itself_and_without_a_game_it_is_a_vae(key):
    parts, x = small(IDENTITY), batch_of(key).x
    params = vae_gan.init_params(key, parts=parts) | {"discriminator": jnp.ones(3)}
    posterior_key, _ = jax.random.split(key)

    def bound(params):
        return vae.negative_elbo(params, x, posterior_key, parts=parts.vae)

    turn = vae_gan.Turn(x, jnp.zeros(6))
    objectives = {"encoder": vae_gan.encoder_objective(parts), "decoder": vae_gan.decoder_objective(parts)}
    for name, objective in objectives.items():

        def loss(own, name=name, objective=objective):
            others = {other: value for other, value in params.items() if other != name}
            return objective(own, others, turn, key)[0].mean()

        found = jax.jit(jax.grad(loss))(params[name])
        expected = jax.jit(jax.grad(lambda own, name=name: bound({**params, name: own}).mean()))(params[name])
        chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)
    encoder = vae_gan.encoder_objective(parts)(params["encoder"], params, turn, key)[0]
    np.testing.assert_allclose(encoder, bound(params) - 1.5 * np.log(2 * np.pi), rtol=1e-5)


# The weight of the game


def test_the_adaptive_weight_is_the_ratio_of_two_gradient_norms_by_hand(key):
    of = partial(draw, key)
    h, x, slope = of(6, 4), of(6, 3), of(3)
    params = {"body": {"kernel": of(4, 4)}, "head": {"kernel": of(4, 3), "bias": 2 * of(3) + 1}}

    def terms(params):
        rebuilt = h @ params["body"]["kernel"] @ params["head"]["kernel"] + params["head"]["bias"][None]
        return 0.5 * jnp.sum(jnp.square(rebuilt - x), axis=1), -(rebuilt @ slope)

    h64, x64, body, head, bias = (
        np.asarray(a, np.float64) for a in (h, x, params["body"]["kernel"], *params["head"].values())
    )
    inner = h64 @ body
    residual = inner @ head + bias - x64
    game = -np.broadcast_to(np.asarray(slope, np.float64), (6, 3))

    def norm(of_output):
        return np.hypot(np.linalg.norm(inner.T @ of_output / 6), np.linalg.norm(of_output.mean(axis=0)))

    weigh = partial(vae_gan.adaptive_weight, terms)
    found = jax.jit(partial(weigh, last_layer=("head",)))(params)
    assert float(found) == pytest.approx(norm(residual) / norm(game), rel=1e-5)
    found = weigh(params, last_layer=("head",), delta=2.5)
    assert float(found) == pytest.approx(norm(residual) / (norm(game) + 2.5), rel=1e-5)
    # both layers: the gradient in the body, h^T e W^T, joins the norms
    back = [h64.T @ e @ head.T / 6 for e in (residual, game)]
    both = [np.hypot(norm(e), np.linalg.norm(b)) for e, b in zip((residual, game), back, strict=True)]
    found = jax.jit(partial(weigh, last_layer=("head", "body")))(params)
    assert float(found) == pytest.approx(both[0] / both[1], rel=1e-5)


def test_the_adaptive_weight_is_bounded_and_has_no_derivative(key):
    params = {"head": draw(key, 3)}

    def without_game(params):
        return params["head"] ** 2, jnp.zeros(3)

    weigh = partial(vae_gan.adaptive_weight, last_layer=("head",))
    assert float(weigh(without_game, params)) == 1e4
    assert float(weigh(without_game, params, at_most=7.0)) == 7

    def terms(params):
        return params["head"] ** 2, params["head"] ** 3

    assert 0 < float(weigh(terms, params)) < 1e4
    slope = jax.grad(lambda params: weigh(terms, params))(params)
    np.testing.assert_array_equal(slope["head"], 0)
    with pytest.raises(ValueError, match="last_layer: the params have none of the keys layer_9, output"):
        vae_gan.adaptive_weight(terms, params, last_layer=("layer_9", "output"))


# The best discriminator


def test_the_best_discriminator_is_the_ratio_of_data_and_the_mixture(key):
    # twelve rows of data, their reconstructions, and samples: what is decoded is a code, a whole number
    x, rebuilt = np.repeat([0, 1, 2], [6, 4, 2]), np.array([0, 0, 1, 2, 2, 0, 1, 1, 1, 2, 2, 0])
    sampled = np.repeat([0, 1, 2], [1, 2, 9])
    listed = jnp.float32(sampled[:, None])
    prior = Prior(lambda key: (), lambda params, z: jnp.zeros(len(z)), lambda params, shape, key, *context: listed)
    exact = Posterior(lambda output, key: (output, jnp.zeros(len(output))), lambda output: output)
    encoder = function(lambda params, rows: rows[:, 1:])
    decoder = function(lambda params, z: jnp.concatenate([z, z], axis=1))
    parts = vae_gan.VAEGAN(
        vae.VAE(encoder, decoder, UNIT, 1, prior, exact),
        function(lambda logits, rows: (rows, logits[rows[:, 0].astype(int)])),
    )
    batch = Batch(jnp.float32(np.stack([x, rebuilt], axis=1)))
    objective = vae_gan.discriminator_objective(parts)

    @jax.jit
    @jax.value_and_grad
    def loss(logits):
        return objective(logits, {"encoder": (), "decoder": ()}, batch, key)[0].mean()

    found = scipy.optimize.minimize(lambda a: tuple(map(np.float64, loss(jnp.float32(a)))), np.zeros(3), jac=True)
    p, q, g = (np.bincount(rows, minlength=3) / 12 for rows in (x, rebuilt, sampled))
    np.testing.assert_allclose(found.x, np.log(p / ((q + g) / 2)), atol=2e-3)
    distance = scipy.spatial.distance.jensenshannon(p, (q + g) / 2) ** 2
    assert found.fun == pytest.approx(np.log(4) - 2 * distance, abs=1e-5)


# The order of play


def far_from_both(critic, real, fake, key):
    """No paper's penalty: one whose value tells real from fake, and shows its key and its critic."""
    return 0.5 * jnp.square(critic(2 * fake - real + jax.random.normal(key, real.shape)))


WEIGHTS = vae_gan.Weights(reconstruction=0.7, rate=0.3, distortion=0.2)


@pytest.mark.parametrize(
    ("adversarial", "last_layer"),
    [
        pytest.param(NON_SATURATING, ("layer_2",), id="adaptive"),
        pytest.param(MINIMAX, (), id="minimax"),
        pytest.param(NON_SATURATING, (), id="fixed", marks=pytest.mark.slow),
    ],
)
def test_a_step_by_hand(adversarial, last_layer, key):
    parts, x = small(adversarial=adversarial), batch_of(key).x
    weights = WEIGHTS._replace(last_layer=last_layer)
    model = vae_gan.model(parts, optax.sgd(0.1), optax.sgd(0.2), optax.sgd(0.3), weights=weights, penalty=far_from_both)
    state = jax.jit(model.init)(key)
    new, metrics = jax.jit(model.train_step)(state, Batch(x), key)
    _, critic_key, encoder_key, decoder_key = jax.random.split(jax.random.fold_in(key, 0), 4)

    def mlp(p, x):
        h = jnp.tanh(x @ p["layer_1"]["kernel"] + p["layer_1"]["bias"][None])
        return h, h @ p["layer_2"]["kernel"] + p["layer_2"]["bias"][None]

    def made(params, key):
        """Mean, log-variance, reconstructions and samples."""
        posterior_key, prior_key = jax.random.split(key)
        mean, log_variance = jnp.split(mlp(params["encoder"], x)[1], 2, axis=1)
        z = mean + jnp.exp(log_variance / 2) * jax.random.normal(posterior_key, (6, 2))
        z_p = jax.random.normal(prior_key, (6, 2))
        return mean, log_variance, mlp(params["decoder"], z)[1], mlp(params["decoder"], z_p)[1]

    def probability(critic, x):
        return jax.nn.sigmoid(mlp(critic, x)[1][:, 0])

    def stepped(loss, params, rate):
        value, slope = jax.jit(jax.value_and_grad(loss))(params)
        return value, jax.tree.map(lambda p, g: p - rate * g, params, slope)

    params = dict(state.params)
    pass_key, penalty_key = jax.random.split(critic_key)
    _, _, rebuilt, sampled = made(params, pass_key)

    def discrimination(critic):
        fake = jnp.log(1 - probability(critic, rebuilt)) + jnp.log(1 - probability(critic, sampled))
        return -jnp.mean(jnp.log(probability(critic, x)) + fake / 2)

    def penalised(critic):
        far = 2 * sampled - x + jax.random.normal(penalty_key, (6, 3))
        return discrimination(critic) + jnp.mean(0.5 * mlp(critic, far)[1][:, 0] ** 2)

    np.testing.assert_allclose(metrics["discriminator_loss"], discrimination(params["discriminator"]), rtol=1e-5)
    params["discriminator"] = stepped(penalised, params["discriminator"], 0.3)[1]

    def reconstruction(rebuilt):
        of_features = mlp(params["discriminator"], x)[0] - mlp(params["discriminator"], rebuilt)[0]
        of_pixels = jnp.sum(jnp.square(x - rebuilt), axis=1) / 2 + 1.5 * jnp.log(2 * jnp.pi)
        return jnp.mean(jnp.sum(jnp.square(of_features), axis=1) / 2 + 0.2 * of_pixels)

    def encoding(encoder):
        mean, log_variance, rebuilt, _ = made({**params, "encoder": encoder}, encoder_key)
        rate = jnp.sum(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance, axis=1) / 2
        return reconstruction(rebuilt) + 0.3 * jnp.mean(rate)

    params["encoder"] = stepped(encoding, params["encoder"], 0.1)[1]

    def both(decoder):
        _, _, rebuilt, sampled = made({**params, "decoder": decoder}, decoder_key)
        fooled = [probability(params["discriminator"], each) for each in (rebuilt, sampled)]
        game = [jnp.mean(jnp.log(1 - d) if adversarial is MINIMAX else -jnp.log(d)) for d in fooled]
        return reconstruction(rebuilt), sum(game) / 2

    ratio = 1.0
    if last_layer:
        slopes = [jax.jit(jax.grad(lambda p, i=i: both(p)[i]))(params["decoder"])["layer_2"] for i in range(2)]
        flat = [np.concatenate([np.ravel(s["kernel"]), s["bias"]]) for s in slopes]
        ratio = np.linalg.norm(flat[0]) / (np.linalg.norm(flat[1]) + 1e-6)
    np.testing.assert_allclose(metrics["adversarial_weight"], ratio, rtol=1e-4)
    loss, params["decoder"] = stepped(lambda p: 0.7 * both(p)[0] + ratio * both(p)[1], params["decoder"], 0.2)
    chex.assert_trees_all_close(new.params, params, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    assert int(new.step) == 1


@pytest.mark.parametrize(
    "last_layer", [("layer_2",), pytest.param((), marks=pytest.mark.slow)], ids=["adaptive", "fixed"]
)
def test_the_decoder_plays_from_its_start(last_layer, key):
    parts, batch = small(), batch_of(key)
    make = partial(vae_gan.model, parts, optax.sgd(0.1), optax.sgd(0.1), optax.sgd(0.1))
    model = make(weights=vae_gan.Weights(start=2, last_layer=last_layer))
    state, weights = jax.jit(model.init)(key), []
    step = jax.jit(model.train_step)
    for _ in range(4):
        before, (state, metrics) = state, step(state, batch, key)
        weights.append(float(metrics["adversarial_weight"]))
    assert weights[:2] == [0, 0] and min(weights[2:]) > 0 and (weights[2:] == [1, 1]) != bool(last_layer)
    # an earlier start is the same step from there on, and before it only reconstruction moves the decoder
    early, _ = jax.jit(make(weights=vae_gan.Weights(last_layer=last_layer)).train_step)(before, batch, key)
    chex.assert_trees_all_close(early.params, state.params, rtol=1e-5)
    first = jax.jit(model.init)(key)
    moved, metrics = step(first, batch, key)
    assert metrics["loss"] != metrics["generator_loss"]
    assert not np.allclose(
        moved.params["discriminator"]["layer_1"]["kernel"], first.params["discriminator"]["layer_1"]["kernel"]
    )


def test_averages_of_encoder_and_decoder_are_evaluated_and_sampled(key):
    parts, batch = small(), batch_of(key)
    model = vae_gan.model(parts, *3 * [optax.sgd(0.1)], averaging=0.9)
    state = jax.jit(model.init)(key)
    new, _ = jax.jit(model.train_step)(state, batch, key)
    assert new.average.keys() == {"encoder", "decoder"}
    params = new.evaluation_params
    assert params["decoder"] is new.average["decoder"]
    assert model.sample is not None
    z = jax.random.normal(key, (5, 2))
    np.testing.assert_allclose(model.sample(new, 5, key), vae.decode(params, z, parts=parts.vae), rtol=1e-6)
    keys = jax.random.split(key, 4)
    loss, _ = vae_gan.decoder_objective(parts)(params["decoder"], params, vae_gan.Turn(batch.x, jnp.ones(6)), keys[3])
    np.testing.assert_allclose(model.evaluate(new, batch, key)["loss"], loss.mean(), rtol=1e-5)
