"""The softmax classifier against NumPy, scikit-learn's logistic regression, and Bayes' rule."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from sklearn.linear_model import LogisticRegression

from genjax import networks
from genjax.models import classifier, descent
from genjax.types import Batch, Network

IDENTITY = Network(lambda key: {}, lambda params, x: x)


def mlps(num_classes=3, width=4, activation=jax.nn.relu):
    body = networks.mlp((2, 1), (width,), hidden=(5,), activation=jnp.tanh)
    head = networks.mlp((width,), (num_classes,), hidden=(), activation=jnp.tanh)
    return classifier.Classifier(body, head, activation)


def linear(num_classes):
    """Multinomial logistic regression: the features are x itself."""
    head = networks.mlp((2,), (num_classes,), hidden=(), activation=jnp.tanh)
    return classifier.Classifier(IDENTITY, head, lambda h: h)


@pytest.fixture
def small(key):
    parts = mlps()
    params = jax.jit(partial(classifier.init_params, parts=parts))(key)
    x = jax.random.normal(jax.random.fold_in(key, 1), (6, 2, 1))
    return parts, params, Batch(x, jnp.array([0, 1, 2, 2, 1, 0]))


def test_it_is_its_definition_in_numpy(small, key):
    parts, params, batch = small
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    hidden = np.tanh(np.asarray(batch.x).reshape(6, 2) @ p["body"]["layer_1"]["kernel"] + p["body"]["layer_1"]["bias"])
    h = np.maximum(hidden @ p["body"]["layer_2"]["kernel"] + p["body"]["layer_2"]["bias"], 0)
    scores = h @ p["head"]["layer_1"]["kernel"] + p["head"]["layer_1"]["bias"]
    expected = scipy.special.softmax(scores, axis=1)
    np.testing.assert_allclose(classifier.features(params, batch.x, parts=parts), h, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(classifier.logits(params, batch.x, parts=parts), scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(classifier.probabilities(params, batch.x, parts=parts), expected, rtol=1e-5)
    loss, metrics = classifier.objective(parts)(params, batch, key)
    label = np.asarray(batch.label)
    np.testing.assert_allclose(loss, -np.log(expected[np.arange(6), label]), rtol=1e-5)
    np.testing.assert_array_equal(metrics["cross_entropy"], loss)
    np.testing.assert_array_equal(metrics["accuracy"], expected.argmax(1) == label)
    evaluated = classifier.model(parts, optax.sgd(0.1), classifier.objective(parts)).evaluate(
        descent.State(jnp.zeros([], jnp.int32), params, None), batch, key
    )
    assert evaluated["accuracy"] == pytest.approx(np.mean(expected.argmax(1) == label))
    assert evaluated["cross_entropy"] == pytest.approx(float(loss.mean()))


def train(parts, batch, key, *, num_steps, learning_rate):
    model = classifier.model(parts, optax.adam(learning_rate), classifier.objective(parts))

    @jax.jit
    def run(state):
        return jax.lax.fori_loop(0, num_steps, lambda _, s: model.train_step(s, batch, key)[0], state)

    return run(jax.jit(model.init)(key))


def test_trained_on_raw_inputs_it_is_logistic_regression(key, float64):
    centres = np.array([[0.0, 1.0], [1.0, -0.5], [-1.0, -0.5]])
    draw = np.random.RandomState(0)
    label = draw.randint(0, 3, 150)
    x = centres[label] + draw.normal(size=(150, 2))
    state = train(linear(3), Batch(jnp.array(x), jnp.array(label)), key, num_steps=3000, learning_rate=0.05)
    assert int(state.step) == 3000
    known = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, label)
    found = classifier.probabilities(state.params, jnp.array(x), parts=linear(3))
    np.testing.assert_allclose(found, known.predict_proba(x), atol=1e-5)


def test_probabilities_are_those_of_bayes_rule(key):
    # two Gaussians of equal covariance and equal prior: p(1|x) = sigm(2 x_1)
    label_key, x_key = jax.random.split(key)
    label = jax.random.bernoulli(label_key, shape=(20_000,)).astype(jnp.int32)
    x = jax.random.normal(x_key, (20_000, 2)) + (2 * label[:, None] - 1) * jnp.array([[1.0, 0.0]])
    state = train(linear(2), Batch(x, label), key, num_steps=300, learning_rate=0.05)
    found = classifier.probabilities(state.params, x, parts=linear(2))[:, 1]
    np.testing.assert_allclose(found, scipy.special.expit(2 * np.asarray(x[:, 0])), atol=0.03)


@pytest.mark.slow
def test_a_hidden_layer_separates_what_a_line_cannot(key):
    x = jnp.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    batch = Batch(x[..., None], jnp.array([0, 0, 1, 1]))
    parts = mlps(num_classes=2, width=8, activation=jnp.tanh)
    state = train(parts, batch, key, num_steps=500, learning_rate=0.03)
    _, metrics = classifier.objective(parts)(state.params, batch, key)
    assert np.all(np.asarray(metrics["accuracy"]) == 1)


@pytest.mark.slow
def test_metrics_of_a_step_are_of_the_parameters_before_it(small, key):
    parts, _, batch = small
    model = classifier.model(parts, optax.sgd(0.5), classifier.objective(parts))
    state = jax.jit(model.init)(key)
    after, metrics = jax.jit(model.train_step)(state, batch, key)
    evaluate = jax.jit(model.evaluate)
    before = evaluate(state, batch, key)
    for name in ("loss", "cross_entropy", "accuracy"):
        np.testing.assert_allclose(metrics[name], before[name], rtol=1e-6)
    assert float(evaluate(after, batch, key)["loss"]) < float(before["loss"])
    assert model.sample is None


def test_labels_of_another_shape_are_refused(small, key):
    parts, params, batch = small
    with pytest.raises(ValueError, match="needs labels"):
        classifier.objective(parts)(params, batch._replace(label=None), key)
    with pytest.raises(ValueError, match="label"):
        classifier.objective(parts)(params, batch._replace(label=jnp.zeros((6, 1), jnp.int32)), key)
