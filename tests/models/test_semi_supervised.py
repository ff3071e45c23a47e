"""The semi-supervised VAE against enumeration in NumPy, an exact mixture, and the objective's two ends."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from genjax.losses import GAUSSIAN, class_prior
from genjax.models import classifier, semi_supervised, vae
from genjax.types import Batch, Network

C = 3
MEANS = np.array([[2.0, -1.0], [-0.5, 0.5], [0.0, 1.5]])


def made(key) -> Any:
    """z ~ N(m_y, I), x = W z + e, with the exact q(z|x, y): parts, params, x, and log p(x, y) [B, C]."""
    w = np.array([[1.2, 0.0, 0.0], [0.0, 0.7, 0.0]])  # rows at right angles, so that the posterior is diagonal
    v = 0.4
    precision = np.diag(w @ w.T) / v + 1

    def encode(p, x, label):
        mean = (x @ jnp.asarray(w.T) / v + jnp.asarray(MEANS)[label]) / jnp.asarray(precision)[None] + p
        return mean, jnp.broadcast_to(-jnp.log(jnp.asarray(precision))[None], mean.shape)

    encoder = Network(lambda key: jnp.zeros([]), encode)
    decoder = Network(lambda key: (), lambda p, z, label: (z @ jnp.asarray(w), jnp.array(np.log(v))))
    # without the closed form of the rate, the bound is the evidence at every draw
    prior = class_prior(C, 2)._replace(kl=None)
    conditional = vae.VAE(encoder, decoder, GAUSSIAN, 2, prior, context=vae.LabelContext(C))
    layer = Network(lambda key: jax.random.normal(key, (3, 4)), lambda p, x: x @ p)
    head = Network(lambda key: jax.random.normal(key, (4, C)), lambda p, h: h @ p)
    parts = semi_supervised.SemiSupervised(conditional, classifier.Classifier(layer, head, jnp.tanh))
    params = semi_supervised.init_params(key, parts=parts)
    params["vae"]["prior"] = {"mean": jnp.asarray(MEANS), "log_variance": jnp.zeros((C, 2))}
    x = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (5, 3)))
    noise = scipy.stats.multivariate_normal(np.zeros(3), w.T @ w + v * np.eye(3))
    joint = np.stack([noise.logpdf(x - m @ w) for m in MEANS], axis=1) - np.log(C)
    return parts, params, jnp.asarray(x), joint


def test_with_the_exact_posteriors_the_bounds_are_the_evidence(key, float64):
    parts, params, x, joint = made(key)
    bounds = semi_supervised.labelled_bounds(params, x, key, parts=parts)
    np.testing.assert_allclose(bounds, -joint, rtol=1e-10)
    for c in range(C):
        one = semi_supervised.labelled_bound(params, x, jnp.full(5, c), key, parts=parts)
        np.testing.assert_allclose(one, -joint[:, c], rtol=1e-10)
    # at q(y|x) = p(y|x) the bound without a label is the mixture's evidence
    found = semi_supervised.unlabelled_bound(jnp.asarray(joint), bounds)
    np.testing.assert_allclose(found, -np.log(np.exp(joint).sum(1)), rtol=1e-10)


def test_the_bound_without_a_label_is_enumerated(key, float64):
    logits, bounds = np.asarray(jax.random.normal(key, (2, 5, C))) * 3
    q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy = scipy.stats.entropy(q, axis=1)
    found = semi_supervised.unlabelled_bound(jnp.asarray(logits), jnp.asarray(bounds))
    np.testing.assert_allclose(found, (q * bounds).sum(1) - entropy, rtol=1e-10)
    least = -np.log(np.exp(-bounds).sum(1))
    assert np.all(found > least)
    at_best = semi_supervised.unlabelled_bound(jnp.asarray(-bounds), jnp.asarray(bounds))
    np.testing.assert_allclose(at_best, least, rtol=1e-10)
    gradient = jax.grad(lambda a: jnp.sum(semi_supervised.unlabelled_bound(a, jnp.asarray(bounds))))(-bounds)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_the_objective_is_kingmas_for_any_share_of_labelled_examples(key, float64):
    # N = 10 examples of which 2 have labels; every batch of this data set in turn, 1 labelled and 2 others
    parts, params, _, _ = made(key)
    params["vae"]["encoder"] = jnp.array(0.3)  # not the posterior, so that the bounds depend on the draw
    x = jax.random.normal(jax.random.fold_in(key, 2), (10, 3))
    label, alpha = np.array([1, 2]), 0.1 * 10

    @jax.jit
    def bounds_at(x):  # a draw that is the same for each example
        return semi_supervised.labelled_bounds(params, x, key, parts=parts)

    objective = jax.jit(
        semi_supervised.objective(parts, labelled_fraction=0.2, labelled_share=1 / 3, classification_weight=alpha / 10)
    )
    total, means = 0.0, {"negative_elbo": 0.0, "cross_entropy": 0.0, "error": 0.0}
    expected = {"negative_elbo": 0.0, "cross_entropy": 0.0, "error": 0.0}
    q = np.asarray(semi_supervised.classify(params, x, parts=parts))
    for i in range(2):
        for j in range(2, 10, 2):
            rows = np.array([j, i, j + 1])
            batch = Batch(x[rows], jnp.array([semi_supervised.UNKNOWN, label[i], semi_supervised.UNKNOWN]))
            loss, metrics = objective(params, batch, key)
            total += float(loss.mean()) / 8
            means = {name: means[name] + float(value.mean()) / 8 for name, value in metrics.items()}
            bounds = np.asarray(bounds_at(x[rows]))
            own = bounds[1, label[i]]
            entropy = scipy.stats.entropy(q[rows], axis=1)
            of_others = ((q[rows] * bounds).sum(1) - entropy)[[0, 2]]
            # by equation 8: a sum over 2 labelled and 8 unlabelled examples
            expected["negative_elbo"] += (2 * own + 8 * of_others.mean()) / 10 / 8
            expected["cross_entropy"] += -np.log(q[i, label[i]]) / 8
            expected["error"] += float(q[i].argmax() != label[i]) / 8
    assert means == pytest.approx(expected, rel=1e-10)
    assert total == pytest.approx(expected["negative_elbo"] + alpha / 10 * expected["cross_entropy"], rel=1e-10)


def test_held_out_labels_are_read_by_the_error_alone(key, float64):
    parts, params, x, joint = made(key)
    model = semi_supervised.model(
        parts,
        optax.sgd(0.0),
        semi_supervised.objective(parts, labelled_fraction=0.5, labelled_share=0.5, classification_weight=0.1),
    )
    state = model.init(key)._replace(params=params)
    q = np.asarray(semi_supervised.classify(params, x, parts=parts))
    bound = ((q * -joint).sum(1) - scipy.stats.entropy(q, axis=1)).mean()
    for label in (np.array([0, 1, 2, 0, 1]), q.argmax(1)):
        found = model.evaluate(state, Batch(x, jnp.asarray(label)), key)
        assert float(found["loss"]) == float(found["negative_elbo"]) == pytest.approx(bound, rel=1e-10)
        assert float(found["error"]) == np.mean(q.argmax(1) != label)
    assert model.sample is not None
    samples = np.asarray(model.sample(state, 3000, key))
    for c in range(C):
        of_class = samples[c::C]
        expected = MEANS[c] @ np.array([[1.2, 0.0, 0.0], [0.0, 0.7, 0.0]])
        assert np.all(np.abs(of_class.mean(0) - expected) < 4 * of_class.std(0) / np.sqrt(1000) + 1e-12)


def test_what_does_not_fit_is_refused(key):
    parts = made(key)[0]
    plain = parts.vae._replace(context=lambda batch: ())
    with pytest.raises(ValueError, match="conditional on the label"):
        semi_supervised.init_params(key, parts=parts._replace(vae=plain))
    with pytest.raises(ValueError, match=r"inside \(0, 1\), got 1.0 and 0.5"):
        semi_supervised.objective(parts, labelled_fraction=1.0, labelled_share=0.5, classification_weight=0.1)
    objective = semi_supervised.objective(parts, labelled_fraction=0.5, labelled_share=0.5, classification_weight=0.1)
    for each in (objective, semi_supervised.evaluation(parts)):
        with pytest.raises(ValueError, match="needs labels, -1 for an unknown one"):
            each({}, Batch(jnp.zeros((2, 3))), key)
    with pytest.raises(ValueError, match="a VAE conditional on 3 classes needs labels"):
        vae.LabelContext(3)(Batch(jnp.zeros((2, 3))))
