"""The bidirectional GAN: the best critic of pairs, the maps that it cannot tell apart, and the players' updates."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.spatial.distance

from genjax import networks
from genjax.losses import DIAGONAL_GAUSSIAN, SQUARED_ERROR, WASSERSTEIN, Prior
from genjax.models import autoencoder, bigan
from genjax.types import Batch, Network


def listed(z):
    """A prior whose draws are these."""
    z = jnp.float32(z)
    return Prior(lambda key: (), lambda params, z: jnp.zeros(len(z)), lambda params, shape, key: z)


def function(apply):
    return Network(lambda key: (), apply)


TABLE = function(lambda params, rows: params[rows[:, 0].astype(int)][:, None])  # a map of whole numbers
TABULAR = bigan.BiGAN(
    autoencoder.Autoencoder(TABLE, TABLE, SQUARED_ERROR),
    function(lambda logits, x, z: logits[x[:, 0].astype(int), z[:, 0].astype(int)]),
    latent_dim=1,
)


# The best critic, and the pairs that it cannot tell apart


def test_the_best_critic_is_the_ratio_of_the_joint_tables(key):
    # twelve rows (x, n) of data and (z, n) of the prior; E and G are random in what the critic sees, the first of both
    x, q = np.repeat([0, 1], [5, 7]), np.array([0, 0, 1, 2, 2, 0, 1, 1, 1, 2, 2, 2])
    z, g = np.repeat([0, 1, 2], [2, 4, 6]), np.array([0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1])
    number = np.arange(12)
    noisy = function(lambda params, rows: jnp.stack([params[rows[:, 1].astype(int)], rows[:, 1]], axis=1))
    parts = TABULAR._replace(
        autoencoder=autoencoder.Autoencoder(noisy, noisy, SQUARED_ERROR),
        prior=listed(np.stack([z, number], axis=1)),
        latent_dim=2,
    )
    batch = Batch(jnp.float32(np.stack([x, number], axis=1)))
    others = {"autoencoder": {"encoder": jnp.float32(q), "decoder": jnp.float32(g)}}
    objective = bigan.discriminator_objective(parts)

    @jax.jit
    @jax.value_and_grad
    def loss(logits):
        return objective(logits.reshape(2, 3), others, batch, key)[0].mean()

    found = scipy.optimize.minimize(lambda a: tuple(map(np.float64, loss(jnp.float32(a)))), np.zeros(6), jac=True)
    real, fake = np.zeros((2, 3)), np.zeros((2, 3))
    np.add.at(real, (x, q), 1 / 12)
    np.add.at(fake, (g, z), 1 / 12)
    assert real.min() > 0 and fake.min() > 0
    np.testing.assert_allclose(found.x.reshape(2, 3), np.log(real / fake), atol=2e-3)
    distance = scipy.spatial.distance.jensenshannon(real.ravel(), fake.ravel()) ** 2
    assert -found.fun == pytest.approx(-np.log(4) + 2 * distance, abs=1e-5)


def test_only_inverse_maps_leave_the_best_critic_nothing_to_tell(key):
    # all 27 x 27 pairs of maps E and G of three equally likely x and z
    maps = np.array(list(itertools.product(range(3), repeat=3)))
    x = np.arange(3)
    real, fake = np.zeros((27, 3, 3)), np.zeros((27, 3, 3))
    for i, each in enumerate(maps):
        real[i, x, each] = fake[i, each, x] = 1 / 3
    with np.errstate(divide="ignore", invalid="ignore"):
        logits = np.clip(np.nan_to_num(np.log(real[:, None] / fake[None])), -40, 40)
    parts, batch = TABULAR._replace(prior=listed(x[:, None])), Batch(jnp.float32(x[:, None]))
    objective = bigan.discriminator_objective(parts)

    def value(logits, encoder, decoder):
        others = {"autoencoder": {"encoder": encoder, "decoder": decoder}}
        return -objective(logits, others, batch, key)[0].mean()

    over = jax.vmap(jax.vmap(value, in_axes=(0, None, 0)), in_axes=(0, 0, None))
    found = np.asarray(jax.jit(over)(jnp.float32(logits), jnp.float32(maps), jnp.float32(maps)))
    flat = [np.broadcast_to(a, (27, 27, 3, 3)).reshape(-1, 9) for a in (real[:, None], fake[None])]
    distance = scipy.spatial.distance.jensenshannon(*flat, axis=1).reshape(27, 27) ** 2
    np.testing.assert_allclose(found, -np.log(4) + 2 * distance, atol=1e-5)
    inverse = np.array([[(g[e] == x).all() for g in maps] for e in maps])
    assert inverse.sum() == 6
    np.testing.assert_array_equal(found < -np.log(4) + 1e-4, inverse)


# A linear generator of a Gaussian, x = w z + s eta: E has to be the posterior

W, S = 1.5, 0.8
VARIANCE = W**2 + S**2
POSTERIOR = W / VARIANCE, S**2 / VARIANCE  # of the mean a x, and the variance


def quadratic(params, x, z):
    """b + c x^2 + e x z + f z^2, of the first code."""
    x, z = x[:, 0], z[:, 0]
    return jnp.stack([jnp.ones_like(x), x**2, x * z, z**2], axis=1) @ params


def best_quadratic(a, variance):
    """log p(x) N(z; a x, variance) / N(z; 0, 1) N(x; w z, s^2)."""
    constant = -0.5 * jnp.log(VARIANCE * variance / S**2)
    square = -0.5 * (1 / VARIANCE + a**2 / variance) + 0.5 / S**2
    return jnp.stack([constant, square, a / variance - W / S**2, -0.5 / variance + 0.5 * (1 + W**2 / S**2)])


def linear():
    """An encoder N(a x, variance) of z with params (a, log variance); eta is a second latent, which nobody sees."""

    def encoder(params, x):
        a, log_variance = params
        return (
            jnp.concatenate([a * x, jnp.zeros_like(x)], axis=1),
            jnp.concatenate([jnp.full_like(x, log_variance), jnp.zeros_like(x)], axis=1),
        )

    decoder = function(lambda params, z: W * z[:, :1] + S * z[:, 1:])
    autoencoder_parts = autoencoder.Autoencoder(function(encoder), decoder, SQUARED_ERROR, DIAGONAL_GAUSSIAN.mean)
    return bigan.BiGAN(autoencoder_parts, function(quadratic), 2, posterior=DIAGONAL_GAUSSIAN)


def gaussian(key, num):
    return Batch(jnp.sqrt(VARIANCE) * jax.random.normal(key, (num, 1)))


@pytest.mark.parametrize("encoder", [(0.3, 0.6), POSTERIOR])
def test_the_best_critic_of_a_gaussian_is_the_known_quadratic(encoder, key):
    a, variance = encoder
    parts, batch = linear(), gaussian(key, 20_000)
    others = {"autoencoder": {"encoder": (a, np.log(variance)), "decoder": ()}}
    objective = bigan.discriminator_objective(parts)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return objective(params, others, batch, key)[0].mean()

    found = scipy.optimize.minimize(lambda p: tuple(map(np.float64, loss(jnp.float32(p)))), np.zeros(4), jac=True).x
    expected = np.asarray(best_quadratic(a, jnp.float32(variance)))
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert (np.abs(expected).max() < 1e-5) == (encoder == POSTERIOR)


def test_against_the_best_critic_the_encoder_becomes_the_posterior(key):
    objective = bigan.generator_objective(linear())

    def loss(encoder, batch, key):
        a, log_variance = jax.lax.stop_gradient(encoder)
        others = {"discriminator": best_quadratic(a, jnp.exp(log_variance))}
        return objective({"encoder": encoder, "decoder": ()}, others, batch, key)[0].mean()

    @jax.jit
    def train(encoder):
        def step(encoder, number):
            data_key, step_key = jax.random.split(jax.random.fold_in(key, number))
            slope = jax.grad(loss)(encoder, gaussian(data_key, 500), step_key)
            return jax.tree.map(lambda p, g: p - 0.1 * g, encoder, slope), encoder

        return jax.lax.scan(step, encoder, jnp.arange(600))[1]

    a, log_variance = (np.asarray(trace)[-200:].mean() for trace in train((jnp.float32(0.0), jnp.float32(0.0))))
    np.testing.assert_allclose((a, np.exp(log_variance)), POSTERIOR, atol=0.03)


# The order of play


def small(adversarial=None, posterior=None):
    mlp = partial(networks.mlp, hidden=(5,), activation=jnp.tanh)
    judge = mlp((5,), ())
    encoder = mlp((3,), (2,)) if posterior is None else networks.gaussian_heads(mlp((3,), (4,)))
    code = None if posterior is None else posterior.mean
    parts = bigan.BiGAN(
        autoencoder.Autoencoder(encoder, mlp((2,), (3,)), SQUARED_ERROR, code),
        Network(judge.init, lambda params, x, z: judge.apply(params, jnp.concatenate([x, z], axis=1))),
        2,
        posterior=posterior,
    )
    return parts if adversarial is None else parts._replace(adversarial=adversarial)


def far_from_both(critic, real, fake, key):
    """No paper's penalty: one whose value tells real from fake, and shows its key and its critic."""
    return 0.5 * jnp.square(critic(2 * fake - real + jax.random.normal(key, real.shape)))


def test_a_step_by_hand(key):
    parts, batch = small(), Batch(jax.random.normal(jax.random.fold_in(key, 1), (6, 3)))
    model = bigan.model(parts, optax.sgd(0.1), optax.sgd(0.3), penalty=far_from_both)
    state = jax.jit(model.init)(key)
    new, metrics = jax.jit(model.train_step)(state, batch, key)
    critic_key, generator_key = jax.random.split(jax.random.fold_in(key, 0))
    networks_of, critic = parts.autoencoder, state.params["discriminator"]

    def both(params, key):
        z = jax.random.normal(jax.random.split(key)[1], (6, 2))
        code = networks_of.encoder.apply(params["encoder"], batch.x)
        return (batch.x, code), (networks_of.decoder.apply(params["decoder"], z), z)

    def probability(critic, pair):
        return jax.nn.sigmoid(parts.discriminator.apply(critic, *pair))

    def stepped(loss, params, rate):
        value, slope = jax.jit(jax.value_and_grad(loss))(params)
        return value, jax.tree.map(lambda p, g: p - rate * g, params, slope)

    pair_key, penalty_key = jax.random.split(critic_key)
    real, fake = both(state.params["autoencoder"], pair_key)

    def discrimination(critic):
        return -jnp.mean(jnp.log(probability(critic, real)) + jnp.log(1 - probability(critic, fake)))

    def penalised(critic):
        noise = jax.random.normal(penalty_key, (6, 5))
        far = tuple(2 * g - x + n for x, g, n in zip(real, fake, (noise[:, :3], noise[:, 3:]), strict=True))
        return discrimination(critic) + jnp.mean(0.5 * parts.discriminator.apply(critic, *far) ** 2)

    np.testing.assert_allclose(metrics["discriminator_loss"], discrimination(critic), rtol=1e-5)
    _, critic = stepped(penalised, critic, 0.3)

    def deception(params):
        real, fake = both(params, generator_key)
        return -jnp.mean(jnp.log(1 - probability(critic, real)) + jnp.log(probability(critic, fake)))

    loss, pair = stepped(deception, state.params["autoencoder"], 0.1)
    chex.assert_trees_all_close(new.params, {"autoencoder": pair, "discriminator": critic}, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    assert metrics["loss"] == metrics["generator_loss"] and int(new.step) == 1


def test_a_critic_without_a_sigmoid_has_opposite_players(key):
    # of WASSERSTEIN the value is E a(x, E(x)) - E a(G(z), z), which encoder and generator lower
    parts, batch = small(WASSERSTEIN), Batch(jax.random.normal(key, (6, 3)))
    params = bigan.init_params(key, parts=parts)
    loss, _ = bigan.generator_objective(parts)(params["autoencoder"], params, batch, key)
    real, fake = bigan.pairs(params["autoencoder"], batch.x, key, parts=parts)
    logits = [parts.discriminator.apply(params["discriminator"], pair[:, :3], pair[:, 3:]) for pair in (real, fake)]
    np.testing.assert_allclose(loss, logits[0] - logits[1], rtol=1e-5, atol=1e-6)


def test_a_gaussian_encoder_is_drawn_from_and_its_mean_is_the_code(key):
    parts, x = small(posterior=DIAGONAL_GAUSSIAN), jax.random.normal(key, (4, 3))
    params = bigan.init_params(key, parts=parts)["autoencoder"]
    mean, log_variance = parts.autoencoder.encoder.apply(params["encoder"], x)
    np.testing.assert_array_equal(autoencoder.encode(params, x, parts=parts.autoencoder), mean)
    keys = jax.random.split(key, 4000)
    codes = np.asarray(jax.vmap(lambda key: bigan.draw_code(params, x, key, parts=parts))(keys), np.float64)
    error = 4.5 * np.exp(log_variance / 2) / np.sqrt(4000)
    assert (np.abs(codes.mean(0) - mean) < error).all()
    np.testing.assert_allclose(codes.var(0), np.exp(log_variance), rtol=0.12)
    seen = bigan.pairs(params, x, keys[0], parts=parts)[0][:, 3:]
    assert not np.allclose(seen, mean, atol=1e-3)


def test_images_are_given_to_the_critic_in_their_shape(key):
    parts = small()._replace(
        discriminator=function(lambda params, x, z: x[:, 1, 0, 0] + 10 * x[:, 0, 2, 0] + 100 * z[:, 1])
    )
    x, z = jax.random.normal(key, (4, 2, 3, 1)), jax.random.normal(key, (4, 2))
    pair = jnp.concatenate([x.reshape(4, -1), z], axis=1)
    found = bigan.discriminate((), pair, (2, 3, 1), parts=parts)
    np.testing.assert_allclose(found, x[:, 1, 0, 0] + 10 * x[:, 0, 2, 0] + 100 * z[:, 1], rtol=1e-5)


def test_encoder_and_generator_alone_are_evaluated_and_sampled(key):
    parts, batch = small(), Batch(jax.random.normal(key, (6, 3)))
    model = bigan.model(parts, optax.sgd(0.1), optax.sgd(0.1), averaging=0.9)
    state = jax.jit(model.init)(key)
    new, _ = jax.jit(model.train_step)(state, batch, key)
    average = new.average["autoencoder"]
    assert new.evaluation_params is average
    assert model.sample is not None
    expected = autoencoder.decode(average, jax.random.normal(key, (5, 2)), parts=parts.autoencoder)
    np.testing.assert_allclose(model.sample(new, 5, key), expected, rtol=1e-6)
    generator_key = jax.random.split(key, 2)[1]
    others = {"discriminator": new.params["discriminator"]}
    loss = bigan.generator_objective(parts)(average, others, batch, generator_key)[0].mean()
    np.testing.assert_allclose(model.evaluate(new, batch, key)["generator_loss"], loss, rtol=1e-5)
