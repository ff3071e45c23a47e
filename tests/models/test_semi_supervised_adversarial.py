"""The semi-supervised adversarial autoencoder: the best critics of both codes, where they rest, and the few labels."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.spatial.distance

from genjax import gradients, networks
from genjax.losses import CROSS_ENTROPY, SQUARED_ERROR, Prior
from genjax.models import adversarial_autoencoder, autoencoder, classifier
from genjax.models import semi_supervised_adversarial as semi
from genjax.types import Batch, Network

K, D = 3, 2
SURE = 50.0  # a logit whose softmax is one-hot in float32


def function(apply):
    return Network(lambda key: (), apply)


def listed(z):
    """A prior whose draws are these."""
    return Prior(lambda key: (), lambda params, z: jnp.zeros(len(z)), lambda params, shape, key, *label: jnp.float32(z))


def echo(discriminators, draws):
    """Examples are the logits of their class and their style."""
    identity = function(lambda params, x: x)
    parts = semi.parts_of(identity, identity, discriminators, SQUARED_ERROR, num_classes=K, style_dim=1)
    return parts._replace(game=parts.game._replace(prior=listed(draws)))


def rows(classes, styles, sure=1.0):
    return jnp.concatenate([sure * jax.nn.one_hot(jnp.array(classes), K), jnp.float32(styles)[:, None]], axis=1)


def test_the_best_critics_are_p_over_p_and_q_of_each_part(key):
    # how often codes, q, and draws from the prior, p, are of each class and of each of two styles
    q, p = ([0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 0, 1]), ([0, 0, 0, 1, 2, 2], [0, 0, 1, 0, 0, 1])
    critics = [
        function(lambda logits, y: logits[jnp.argmax(y, axis=1)]),
        function(lambda logits, s: logits[s[:, 0].astype(int)]),
    ]
    parts = echo(critics, rows(*p))
    others = {"autoencoder": {"encoder": (), "decoder": ()}}
    objective, batch = adversarial_autoencoder.discriminator_objective(parts.game), Batch(rows(*q, sure=SURE))

    def loss(table):
        return objective({"part_1": table[:K], "part_2": table[K:]}, others, batch, key)[0].mean()

    value = jax.jit(jax.value_and_grad(loss))
    found = scipy.optimize.minimize(lambda a: tuple(map(np.float64, value(jnp.float32(a)))), np.zeros(K + 2), jac=True)
    divergence = 0.0
    for logit, of_q, of_p, size in zip((found.x[:K], found.x[K:]), q, p, (K, 2), strict=True):
        of_q, of_p = (np.bincount(each, minlength=size) / 6 for each in (of_q, of_p))
        np.testing.assert_allclose(1 / (1 + np.exp(-logit)), of_p / (of_p + of_q), atol=1e-3)
        divergence += scipy.spatial.distance.jensenshannon(of_p, of_q) ** 2
    assert -found.fun == pytest.approx(-np.log(4) + divergence, abs=1e-5)  # the mean of -log 4 + 2 JS of both


@pytest.mark.slow
def test_all_rest_where_both_parts_follow_the_prior(key):
    draws = rows([0, 1, 2, 0, 1, 2], np.asarray(jax.random.normal(key, (6,))))
    critics = [networks.mlp((size,), (), hidden=(5,), activation=jnp.tanh) for size in (K, 1)]
    parts = echo(critics, draws)
    scale = function(lambda params, x: jnp.concatenate([SURE * params["y"] * x[:, :K], params["s"] * x[:, K:]], axis=1))
    parts = parts._replace(
        game=parts.game._replace(
            autoencoder=autoencoder.Autoencoder(networks.class_probabilities(scale, K), scale, SQUARED_ERROR)
        )
    )
    critic = parts.game.discriminator.init(key)
    for part in critic.values():
        part["layer_2"] = jax.tree.map(jnp.zeros_like, part["layer_2"])  # its logit is 0 everywhere
    of_critics = adversarial_autoencoder.discriminator_objective(parts.game)
    of_encoder = adversarial_autoencoder.generator_objective(parts.game)

    @jax.jit
    def slopes(critic, encoder, x):
        def judged(critic):
            own = {"encoder": encoder, "decoder": ()}
            return of_critics(critic, {"autoencoder": own}, Batch(x), key)[0].mean()

        def fooled(encoder):
            own = {"encoder": encoder, "decoder": ()}
            return of_encoder(own, {"discriminator": critic}, Batch(x), key)[0].mean()

        return jax.grad(judged)(critic), jax.grad(fooled)(encoder)

    def largest(tree):
        return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))

    one = {"y": jnp.float32(1.0), "s": jnp.float32(1.0)}
    assert largest(slopes(critic, one, draws[::-1])) < 1e-6
    # too many of class 0, or wider styles, move the critic of that part alone
    more, _ = slopes(critic, one, draws.at[1, :K].set(jnp.eye(K)[0]))
    wider, _ = slopes(critic, one | {"s": jnp.float32(2.0)}, draws)
    assert largest(more["part_1"]) > 1e-2 and largest(more["part_2"]) < 1e-6
    assert largest(wider["part_1"]) < 1e-6 and largest(wider["part_2"]) > 1e-3
    better = jax.tree.map(lambda a, g: a - g, critic, wider)
    assert abs(float(slopes(better, one | {"s": jnp.float32(2.0)}, draws)[1]["s"])) > 1e-5


def small():
    def mlp(num_in, num_out):
        return networks.mlp((num_in,), (num_out,) if num_out else (), hidden=(5,), activation=jnp.tanh)

    critics = [mlp(K, 0), mlp(D, 0)]
    return semi.parts_of(mlp(6, K + D), mlp(K + D, 6), critics, CROSS_ENTROPY, num_classes=K, style_dim=D)


@pytest.fixture
def batch(key):
    return Batch(jax.random.uniform(jax.random.fold_in(key, 1), (8, 6)), jnp.array([-1, 2, -1, -1, 0, -1, -1, -1]))


def test_the_supervised_phase_has_the_gradient_of_a_classifier_of_the_known_labels(key, batch):
    parts = small()
    own = adversarial_autoencoder.init_params(key, parts=parts.game)["autoencoder"]
    objective = semi.classification_objective(parts, labelled_share=0.25)
    found, metrics, _ = jax.jit(gradients.whole_batch(objective))(own, {}, batch, key)
    body = Network(parts.heads.init, lambda params, x: parts.heads.apply(params, x)[:, :K])
    alone = classifier.Classifier(body, function(lambda params, h: h), lambda h: h)
    known = Batch(batch.x[jnp.array([1, 4])], jnp.array([2, 0]))
    params = {"body": own["encoder"], "head": ()}
    expected, of_classifier, _ = jax.jit(gradients.whole_batch(classifier.objective(alone)))(params, known, key)
    chex.assert_trees_all_close(found["encoder"], expected["body"], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found["encoder"]["layer_2"]["kernel"][:, K:], 0)  # of the style
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(found["decoder"]))
    np.testing.assert_allclose(metrics["cross_entropy"], of_classifier["cross_entropy"], rtol=1e-6)
    np.testing.assert_allclose(metrics["error"], 1 - of_classifier["accuracy"], atol=1e-6)
    # and the class of the code is the classifier's
    y = autoencoder.encode(own, batch.x, parts=parts.game.autoencoder)
    np.testing.assert_allclose(y[:, :K], semi.classify(own, batch.x, parts=parts), rtol=1e-6)
    np.testing.assert_array_equal(y[:, K:], parts.heads.apply(own["encoder"], batch.x)[:, K:])


@pytest.mark.slow
def test_the_other_phases_are_of_the_training_set_and_read_no_label(key, batch):
    def objective(own, others, batch, key):
        return batch.x[:, 0], {"value": batch.x[:, 1]}

    weighted = semi.over_training_set(objective, labelled_fraction=0.1, labelled_share=0.25)
    loss, metrics = weighted({}, {}, batch, key)
    known = np.asarray(batch.label) >= 0
    for found, values in ((loss, batch.x[:, 0]), (metrics["value"], batch.x[:, 1])):
        expected = 0.1 * values[known].mean() + 0.9 * values[~known].mean()
        np.testing.assert_allclose(found.mean(), expected, rtol=1e-6)
    sgd, still = optax.sgd(0.1), optax.sgd(0.0)
    model = semi.model(small(), sgd, sgd, sgd, still, labelled_fraction=0.1, labelled_share=0.25)
    state, step = model.init(key), jax.jit(model.train_step)
    other = batch._replace(label=jnp.where(batch.label >= 0, 1, -1))
    chex.assert_trees_all_equal(step(state, batch, key)[0], step(state, other, key)[0])
    decayed = optax.chain(optax.add_decayed_weights(0.5), sgd)  # which must not reach the decoder
    moves = semi.model(small(), still, still, still, decayed, labelled_fraction=0.1, labelled_share=0.25)
    state, step = moves.init(key), jax.jit(moves.train_step)
    one, two = (step(state, given, key)[0].params["autoencoder"] for given in (batch, other))
    assert not np.array_equal(one["encoder"]["layer_1"]["kernel"], two["encoder"]["layer_1"]["kernel"])
    chex.assert_trees_all_equal(one["decoder"], state.params["autoencoder"]["decoder"])


@pytest.mark.slow
def test_samples_are_decoded_draws_of_the_class_and_all_held_out_labels_count(key):
    parts, sgd = small(), optax.sgd(0.1)
    model = semi.model(parts, sgd, sgd, sgd, sgd, labelled_fraction=0.1, labelled_share=0.25, averaging=0.5)
    state = model.init(key)
    assert model.sample is not None
    label = jnp.array([2, 0, 1, 1])
    z = parts.game.prior.sample((), (4, K + D), key, label)
    np.testing.assert_array_equal(z[:, :K], jnp.eye(K)[label])
    expected = autoencoder.decode(state.evaluation_params, z, parts=parts.game.autoencoder)
    np.testing.assert_allclose(model.sample(state, 4, key, label), expected, rtol=1e-6)
    np.testing.assert_allclose(
        model.sample(state, 4, key), model.sample(state, 4, key, jnp.array([0, 1, 2, 0])), rtol=1e-6
    )
    x, label = jax.random.uniform(key, (9, 6)), jnp.arange(9) % K
    found = model.evaluate(state, Batch(x, label), key)
    y = semi.classify(state.evaluation_params, x, parts=parts)
    np.testing.assert_allclose(found["error"], np.mean(np.argmax(y, axis=1) != label), atol=1e-6)
    np.testing.assert_allclose(found["cross_entropy"], -np.log(y[np.arange(9), label]).mean(), rtol=1e-5)


def test_what_cannot_be_is_refused(key, batch):
    with pytest.raises(ValueError, match="expected fractions inside"):
        semi.model(small(), *[optax.sgd(0.1)] * 4, labelled_fraction=0.0, labelled_share=0.25)
    with pytest.raises(ValueError, match="needs labels"):
        semi.classification_objective(small())({}, {}, batch._replace(label=None), key)
