"""Players with batch normalisation in three games: both losses by NumPy, real and generated examples apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients, losses, networks
from genjax.losses import NON_SATURATING, SQUARED_ERROR
from genjax.models import autoencoder, bigan, gan, info_gan, stateful
from genjax.types import Batch

NUM, DIM, WIDTHS = 6, 2, dict(hidden=(4, 5), activation=jnp.tanh)
WEIGHTS = info_gan.Weights(0.0, 0.0)
close = dict(rtol=1e-3, atol=1e-4)


def mlp(size, *output_shape):
    return networks.stateful_mlp((size,), output_shape, **WIDTHS)


def forward(variables, x, averages=None):
    """The network in NumPy, and the moments of what it normalises; by these, or by moving averages."""
    p = jax.tree.map(np.asarray, variables["params"])
    h = np.tanh(np.asarray(x) @ p["layer_1"]["kernel"] + p["layer_1"]["bias"]) @ p["layer_2"]["kernel"]
    moments = {"mean": h.mean(0), "var": h.var(0)}
    by = moments if averages is None else jax.tree.map(np.asarray, averages["norm_2"])
    h = np.tanh((h - by["mean"]) / np.sqrt(by["var"] + 1e-5) * p["norm_2"]["scale"] + p["norm_2"]["bias"])
    return h @ p["layer_3"]["kernel"] + p["layer_3"]["bias"], moments


@pytest.fixture
def draw():
    """`draw(*shape)`: normal."""
    generator = np.random.default_rng(0)
    return lambda *shape: jnp.float32(generator.normal(size=shape))


@pytest.fixture
def variables(draw):
    """`variables(size, *output_shape)`: arbitrary params of an mlp, with averages of variances above 0."""

    def make(size, *output_shape):
        shapes = jax.eval_shape(mlp(size, *output_shape).init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: draw(*leaf.shape), shapes)
        return params | {"batch_stats": jax.tree.map(jnp.abs, params["batch_stats"])}

    return make


class Played:
    """Both objectives of a game, in training or evaluation, and its examples by hand."""

    def __init__(self, name, variables, draw, key, evaluation):
        self.x, self.evaluation = draw(NUM, 3), evaluation
        if name == "gan":
            self.parts = gan.GAN(mlp(DIM, 3), mlp(3), NON_SATURATING, DIM)
            made, self.module, options = (variables(DIM, 3), variables(3)), gan, {}
        elif name == "info_gan":
            judge = networks.discriminator_heads(mlp(3, 1 + 2))
            self.parts = info_gan.InfoGAN(mlp(DIM + 2, 3), judge, NON_SATURATING, DIM, 2)
            made, self.module, options = (variables(DIM + 2, 3), variables(3, 3)), info_gan, {"weights": WEIGHTS}
        else:
            judge = networks.around(mlp(3 + DIM), inputs=lambda x, z: (jnp.concatenate([x, z], axis=1),))
            own = autoencoder.Autoencoder(mlp(3, DIM), mlp(DIM, 3), SQUARED_ERROR)
            self.parts = bigan.BiGAN(own, judge, DIM)
            encoder, decoder = variables(3, DIM), variables(DIM, 3)
            made, self.module, options = ({"encoder": encoder, "decoder": decoder}, variables(3 + DIM)), bigan, {}
        self.own, self.judge = made
        self.name, self.key = name, key
        self.options = options | {"evaluation": evaluation}

    def _forward(self, params, x):
        return forward(params, x, params["batch_stats"] if self.evaluation else None)

    def examples(self, key):
        """What the discriminator is given of both kinds, by a key, and the moments of the other player's passes."""
        if self.name == "gan":
            z = jax.random.normal(key, (NUM, DIM))
        elif self.name == "info_gan":
            codes = info_gan.sample_codes(NUM, key, parts=self.parts)
            z = np.concatenate([codes.noise, np.eye(2)[np.asarray(codes.category)]], axis=1)
        else:
            z = jax.random.normal(jax.random.split(key)[1], (NUM, DIM))
            code, of_encoder = self._forward(self.own["encoder"], self.x)
            fake, of_decoder = self._forward(self.own["decoder"], z)
            pair = np.concatenate([self.x, code], axis=1), np.concatenate([fake, z], axis=1)
            return *pair, {"encoder": of_encoder, "decoder": of_decoder}
        fake, moments = self._forward(self.own, z)
        return self.x, fake, moments

    def logits(self, key):
        """Those of both kinds, each normalised by its own moments, and all moments."""
        real, fake, of_own = self.examples(key)
        (real, of_real), (fake, of_fake) = (self._forward(self.judge, each) for each in (real, fake))
        return real[:, 0], fake[:, 0], (of_real, of_fake), of_own


@pytest.mark.parametrize("evaluation", [False, True])
@pytest.mark.parametrize("name", ["gan", "info_gan", "bigan"])
def test_both_losses_are_of_batches_that_are_normalised_apart(name, evaluation, variables, draw, key):
    game = Played(name, variables, draw, key, evaluation)
    own_name = "autoencoder" if name == "bigan" else "generator"
    objective = game.module.discriminator_objective(game.parts, **game.options)
    loss, metrics, *statistics = objective(game.judge, {own_name: game.own}, Batch(game.x), key)
    real, fake, moments, _ = game.logits(jax.random.split(key)[0])
    expected = np.logaddexp(0, -real) + np.logaddexp(0, fake)
    np.testing.assert_allclose(loss, expected, **close)
    np.testing.assert_allclose(metrics["fake_logit"], fake, **close)
    check_averages(game.parts.discriminator, game.judge, statistics, moments, evaluation)

    objective = game.module.generator_objective(game.parts, **game.options)
    loss, _, *statistics = objective(game.own, {"discriminator": game.judge}, Batch(game.x), key)
    real, fake, _, moments = game.logits(key)
    expected = np.logaddexp(0, real) + np.logaddexp(0, -fake) if name == "bigan" else np.logaddexp(0, -fake)
    np.testing.assert_allclose(loss, expected, **close)
    if name != "bigan":
        return check_averages(game.parts.generator, game.own, statistics, [moments], evaluation)
    for part, network in (("encoder", game.parts.autoencoder.encoder), ("decoder", game.parts.autoencoder.decoder)):
        own = [each[part][0] for each in statistics]
        check_averages(network, game.own[part], own, [moments[part]], evaluation)


def check_averages(network, params, statistics, moments, evaluation):
    """That r <- .9 r + .1 b, with b the mean of the moments of all passes; none of evaluation."""
    if evaluation:
        assert statistics == []
        return
    found = network.refresh(params, *statistics)["batch_stats"]["norm_2"]
    for name, value in found.items():
        mean = np.mean([each[name] for each in moments], axis=0)
        np.testing.assert_allclose(value, 0.9 * params["batch_stats"]["norm_2"][name] + 0.1 * mean, **close)


@pytest.mark.slow
def test_encoder_and_generator_of_a_bigan_keep_their_own_averages(variables, draw, key):
    game = Played("bigan", variables, draw, key, evaluation=False)
    optimizer = gradients.frozen(optax.sgd(0.1), "batch_stats")
    model = bigan.model(game.parts, optimizer, optimizer)
    state = model.init(key, {"autoencoder": game.own, "discriminator": game.judge})
    after = jax.jit(model.train_step)(state, Batch(game.x), key)[0].params
    of_judge, own_key = jax.random.split(jax.random.fold_in(key, 0))
    _, _, moments, _ = game.logits(jax.random.split(of_judge)[0])
    expected = 0.9 * game.judge["batch_stats"]["norm_2"]["mean"] + 0.05 * (moments[0]["mean"] + moments[1]["mean"])
    np.testing.assert_allclose(after["discriminator"]["batch_stats"]["norm_2"]["mean"], expected, **close)
    _, _, moments = game.examples(own_key)
    for part in ("encoder", "decoder"):
        expected = 0.9 * game.own[part]["batch_stats"]["norm_2"]["mean"] + 0.1 * moments[part]["mean"]
        np.testing.assert_allclose(after["autoencoder"][part]["batch_stats"]["norm_2"]["mean"], expected, **close)


def test_a_penalty_of_a_discriminator_that_judges_batches_is_refused():
    def penalty(critic, real, fake, key):
        return losses.r1_penalty(critic, real)

    plain = networks.mlp((3,), (), **WIDTHS)
    stateful.check_penalty(plain, penalty)
    stateful.check_penalty(mlp(3), None)
    own = autoencoder.Autoencoder(plain, plain, SQUARED_ERROR)
    for make in (
        lambda: gan.discriminator_objective(gan.GAN(plain, mlp(3), NON_SATURATING, DIM), penalty=penalty),
        lambda: info_gan.discriminator_objective(
            info_gan.InfoGAN(plain, mlp(3, 3), NON_SATURATING, DIM, 2), weights=WEIGHTS, penalty=penalty
        ),
        lambda: bigan.discriminator_objective(bigan.BiGAN(own, mlp(5), DIM), penalty=penalty),
    ):
        with pytest.raises(ValueError, match="a penalty is of the slope at one example"):
            make()
