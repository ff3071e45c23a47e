"""The adversarial autoencoder: the best critic of codes, where both players rest, and each player's own update."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.spatial.distance

from genjax import losses, networks
from genjax.losses import CROSS_ENTROPY, SQUARED_ERROR, Prior
from genjax.models import adversarial_autoencoder, autoencoder
from genjax.models.adversarial_autoencoder import AdversarialAutoencoder
from genjax.types import Batch, Network


def listed(z):
    """A prior whose draws are these, whatever the labels."""
    z = jnp.float32(z)
    return Prior(lambda key: (), lambda params, z: jnp.zeros(len(z)), lambda params, shape, key, *label: z)


def function(apply):
    return Network(lambda key: (), apply)


IDENTITY = function(lambda params, x: x)
ECHO = autoencoder.Autoencoder(IDENTITY, IDENTITY, SQUARED_ERROR)  # codes are the data
PLAIN = {"autoencoder": {"encoder": (), "decoder": ()}}


def minimum(loss, size):
    value = jax.jit(jax.value_and_grad(loss))
    return scipy.optimize.minimize(lambda a: tuple(map(np.float64, value(jnp.float32(a)))), np.zeros(size), jac=True)


# The game of codes


def test_the_best_critic_of_codes_is_p_over_p_and_q(key):
    # ten codes of four kinds, q, and ten draws from the prior, p
    q, p = np.repeat(np.arange(4), [1, 2, 3, 4]), np.repeat(np.arange(4), [5, 1, 2, 2])
    critic = function(lambda logits, z: logits[z[:, 0].astype(int)])
    parts = AdversarialAutoencoder(ECHO, critic, 1, listed(p[:, None]))
    objective, batch = adversarial_autoencoder.discriminator_objective(parts), Batch(jnp.float32(q[:, None]))
    found = minimum(lambda logits: objective(logits, PLAIN, batch, key)[0].mean(), 4)
    of_q, of_p = np.bincount(q) / 10, np.bincount(p) / 10
    np.testing.assert_allclose(1 / (1 + np.exp(-found.x)), of_p / (of_p + of_q), atol=1e-3)
    distance = scipy.spatial.distance.jensenshannon(of_p, of_q) ** 2
    assert -found.fun == pytest.approx(-np.log(4) + 2 * distance, abs=1e-5)


def test_with_labels_each_class_has_its_own_best_critic(key):
    # the first six rows are of class 0, the others of class 1
    label = np.repeat([0, 1], 6)
    q, p = np.array([0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1]), np.array([0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1])
    critic = function(lambda logits, z: logits.reshape(2, 2)[jnp.argmax(z[:, 1:], axis=1), z[:, 0].astype(int)])
    parts = AdversarialAutoencoder(ECHO, critic, 1, listed(p[:, None]), num_classes=2)
    objective = adversarial_autoencoder.discriminator_objective(parts)
    batch = Batch(jnp.float32(q[:, None]), jnp.asarray(label))
    found = minimum(lambda logits: objective(logits, PLAIN, batch, key)[0].mean(), 4).x.reshape(2, 2)
    counts = [np.stack([np.bincount(z[label == y], minlength=2) for y in (0, 1)]) for z in (p, q)]
    np.testing.assert_allclose(found, np.log(counts[0] / counts[1]), atol=2e-3)


def test_both_players_rest_where_the_codes_follow_the_prior(key):
    x = jax.random.normal(key, (40, 2))
    mlp = networks.mlp((2,), (), hidden=(7,), activation=jnp.tanh)
    critic = mlp.init(key)
    critic = critic | {"layer_2": jax.tree.map(jnp.zeros_like, critic["layer_2"])}  # its logit is 0 everywhere
    scale = function(lambda params, x: params * x)
    parts = AdversarialAutoencoder(autoencoder.Autoencoder(scale, IDENTITY, SQUARED_ERROR), mlp, 2, listed(x[::-1]))
    of_critic = adversarial_autoencoder.discriminator_objective(parts)
    of_encoder = adversarial_autoencoder.generator_objective(parts)

    @jax.jit
    def slopes(critic, encoder):
        own = {"encoder": encoder, "decoder": ()}
        return (
            jax.grad(lambda c: of_critic(c, {"autoencoder": own}, Batch(x), key)[0].mean())(critic),
            jax.grad(lambda e: of_encoder(own | {"encoder": e}, {"discriminator": critic}, Batch(x), key)[0].mean())(
                encoder
            ),
        )

    def largest(tree):
        return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))

    at_rest = slopes(critic, jnp.float32(1.0))
    assert largest(at_rest) < 1e-6
    # codes of another width: the critic moves, and against where it moves to so does the encoder
    moved, _ = slopes(critic, jnp.float32(2.0))
    assert largest(moved) > 1e-3
    better = jax.tree.map(lambda a, g: a - g, critic, moved)
    assert abs(float(slopes(better, jnp.float32(2.0))[1])) > 1e-4


# The players


def small(num_classes=0, prior=losses.STANDARD_NORMAL):
    mlp = partial(networks.mlp, hidden=(5,), activation=jnp.tanh)
    return AdversarialAutoencoder(
        autoencoder.Autoencoder(mlp((6,), (2,)), mlp((2,), (6,)), CROSS_ENTROPY),
        mlp((2 + num_classes,), ()),
        2,
        prior,
        num_classes=num_classes,
    )


@pytest.fixture
def batch(key):
    return Batch(jax.random.uniform(jax.random.fold_in(key, 1), (8, 6)), jnp.arange(8) % 3)


def test_each_player_moves_its_own_by_hand(key, batch):
    parts = small()
    model = adversarial_autoencoder.model(
        parts, optax.sgd(0.1), optax.sgd(0.3), optax.sgd(0.2), penalty=lambda critic, real, fake, key: critic(real) ** 2
    )
    state = jax.jit(model.init)(key)
    new, metrics = jax.jit(model.train_step)(state, batch, key)
    _, second, third = jax.random.split(jax.random.fold_in(key, 0), 3)
    auto, critic = state.params["autoencoder"], state.params["discriminator"]
    encoder_network, decoder_network = parts.autoencoder.encoder, parts.autoencoder.decoder

    def stepped(loss, params, rate):
        (_, value), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        return value, jax.tree.map(lambda p, g: p - rate * g, params, slope)

    def reconstruction(auto):
        a = decoder_network.apply(auto["decoder"], encoder_network.apply(auto["encoder"], batch.x))
        log_p = batch.x * jax.nn.log_sigmoid(a) + (1 - batch.x) * jax.nn.log_sigmoid(-a)
        return (-jnp.sum(log_p) / 8,) * 2

    def judged(encoder, critic, key):
        z = jax.random.normal(key, (8, 2))
        return (parts.discriminator.apply(critic, each) for each in (z, encoder_network.apply(encoder, batch.x)))

    def discrimination(critic):
        real, fake = judged(auto["encoder"], critic, jax.random.split(second)[0])
        value = -jnp.mean(jnp.log(jax.nn.sigmoid(real)) + jnp.log(1 - jax.nn.sigmoid(fake)))
        return value + jnp.mean(real**2), value

    def deception(encoder):
        _, fake = judged(encoder, critic, third)
        return (-jnp.mean(jnp.log(jax.nn.sigmoid(fake))),) * 2

    reconstruction_loss, auto = stepped(reconstruction, auto, 0.1)
    discriminator_loss, critic = stepped(discrimination, critic, 0.3)
    generator_loss, encoder = stepped(deception, auto["encoder"], 0.2)
    expected = {"autoencoder": {"encoder": encoder, "decoder": auto["decoder"]}, "discriminator": critic}
    chex.assert_trees_all_close(new.params, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["reconstruction_loss"], reconstruction_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["discriminator_loss"], discriminator_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["generator_loss"], generator_loss, rtol=1e-5)
    assert metrics["loss"] == metrics["generator_loss"]
    pushed = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), encoder, auto["encoder"])
    assert max(jax.tree.leaves(pushed)) > 1e-4


def test_the_reconstruction_step_is_that_of_an_autoencoder(key, batch):
    parts, still = small(), optax.sgd(0.0)
    model = adversarial_autoencoder.model(parts, optax.adam(1e-2), still, still)
    plain = autoencoder.model(parts.autoencoder, optax.adam(1e-2), autoencoder.objective(parts.autoencoder))
    state = jax.jit(model.init)(key)
    alone = plain.init(key, jax.tree.map(jnp.copy, state.params["autoencoder"]))
    for _ in range(3):
        state, alone = jax.jit(model.train_step)(state, batch, key)[0], jax.jit(plain.train_step)(alone, batch, key)[0]
    chex.assert_trees_all_close(state.params["autoencoder"], alone.params, rtol=1e-6)


def test_the_generator_leaves_the_decoder_alone(key, batch):
    # under a weight decay that would move whatever the optimizer is given
    decaying = optax.adamw(0.01, weight_decay=0.1)
    model = adversarial_autoencoder.model(small(), optax.sgd(0.0), decaying, decaying)
    state = jax.jit(model.init)(key)
    new, _ = jax.jit(model.train_step)(state, batch, key)
    before, after = state.params["autoencoder"], new.params["autoencoder"]
    chex.assert_trees_all_equal(before["decoder"], after["decoder"])
    assert not np.array_equal(before["encoder"]["layer_1"]["kernel"], after["encoder"]["layer_1"]["kernel"])


# Labels


def test_an_unknown_label_is_no_label_beside_the_whole_prior(key):
    seen = {}

    def critic(params, z):
        seen[len(seen)] = np.asarray(z)
        return z[:, 0]

    num = 4000
    label = jnp.arange(num) % 4 - 1
    prior = losses.ring_prior(3, radius=5.0, radial=0.1, tangential=0.1, classes=True)
    parts = AdversarialAutoencoder(ECHO, function(critic), 2, prior, num_classes=3)
    batch = Batch(jnp.zeros((num, 2)), label)
    adversarial_autoencoder.discriminator_objective(parts)((), PLAIN, batch, key)
    draws, codes = seen[0], seen[1]
    assert (codes[:, :2] == 0).all()
    one_hot = np.concatenate([np.zeros((1, 3)), np.eye(3)])[np.asarray(label) + 1]
    np.testing.assert_array_equal(draws[:, 2:], one_hot)
    np.testing.assert_array_equal(codes[:, 2:], one_hot)
    centre = 5 * np.exp(2j * np.pi * np.arange(3) / 3)
    nearest = np.abs((draws[:, 0] + 1j * draws[:, 1])[:, None] - centre).argmin(1)
    known = np.asarray(label) >= 0
    np.testing.assert_array_equal(nearest[known], np.asarray(label)[known])
    share = np.bincount(nearest[~known], minlength=3) / (~known).sum()
    np.testing.assert_allclose(share, 1 / 3, atol=4.5 * np.sqrt(2 / 9 / 1000))
    with pytest.raises(ValueError, match="3 classes needs labels"):
        adversarial_autoencoder.generator_objective(parts)(
            PLAIN["autoencoder"], {"discriminator": ()}, Batch(jnp.zeros((num, 2))), key
        )


def test_the_generator_is_told_the_labels_that_the_critic_reads(key, batch):
    prior = losses.ring_prior(3, classes=True)
    parts = small(3, prior)
    params = adversarial_autoencoder.init_params(key, parts=parts)
    loss, _ = adversarial_autoencoder.generator_objective(parts)(params["autoencoder"], params, batch, key)
    codes = autoencoder.encode(params["autoencoder"], batch.x, parts=parts.autoencoder)
    labelled = jnp.concatenate([codes, jnp.eye(3)[batch.label]], axis=1)
    expected = jnp.log1p(jnp.exp(-parts.discriminator.apply(params["discriminator"], labelled)))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_the_autoencoder_alone_is_evaluated_and_sampled(key, batch):
    parts = small(3, losses.ring_prior(3, classes=True))
    sgd = optax.sgd(0.1)
    model = adversarial_autoencoder.model(parts, sgd, sgd, sgd, averaging=0.9)
    new, _ = jax.jit(model.train_step)(jax.jit(model.init)(key), batch, key)
    average = new.average["autoencoder"]
    assert new.evaluation_params is average
    assert model.sample is not None
    for label, given in ((jnp.arange(5) % 3, ()), (jnp.array([2, 2, 0, 1, 1]), (jnp.array([2, 2, 0, 1, 1]),))):
        z = parts.prior.sample((), (5, 2), key, label)
        expected = autoencoder.decode(average, z, parts=parts.autoencoder)
        np.testing.assert_allclose(model.sample(new, 5, key, *given), expected, rtol=1e-6)
    score = autoencoder.score(average, batch.x, parts=parts.autoencoder).mean()
    np.testing.assert_allclose(model.evaluate(new, batch, key)["reconstruction_loss"], score, rtol=1e-5)
