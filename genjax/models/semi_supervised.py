"""The semi-supervised VAE M2: labels are latent where they are unknown (Kingma, Rezende, Mohamed & Welling 2014).

    p(x, y, z) = p(x|y, z) p(y) p(z),   q(y, z|x) = q(y|x) q(z|x, y)

Of the labelled examples it minimises the bound L(x, y) of -log p(x, y), of the others the bound U(x) of -log p(x), in
which y is summed over, and of the labelled ones a classifier's cross-entropy beside it:

    L(x, y) = E_q[-log p(x|y, z)] + KL(q(z|x, y) || p(z)) - log p(y)  >=  -log p(x, y)
    U(x) = sum_y q(y|x) L(x, y) - H(q(y|x))  >=  -log p(x)
    J = sum_labelled L(x, y) + sum_unlabelled U(x) + alpha E_labelled[-log q(y|x)]

U is least at q(y|x) propto e^{-L(x, y)}, where it is -log sum_y e^{-L(x, y)}. A label below 0 is unknown.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import softmax_cross_entropy
from genjax.models import classifier, descent, vae
from genjax.types import Array, Batch, Key, Model, Params, Scalar

UNKNOWN = -1
"""The label of an example whose class is not known."""


class SemiSupervised(NamedTuple):
    """The parts of a semi-supervised VAE; its params are {"vae": ..., "classifier": ...}."""

    vae: vae.VAE  # conditional on the label, of `vae.LabelContext`: q(z|x, y), p(x|y, z) and p(z)
    classifier: classifier.Classifier  # q(y|x)


def init_params(key: Key, *, parts: SemiSupervised) -> Params:
    """Fresh parameters of the VAE and of the classifier.

    Raises:
      ValueError: the VAE is not conditional on the label.
    """
    if not vae.num_classes(parts.vae):
        raise ValueError("vae: expected one that is conditional on the label, with a context of vae.LabelContext")
    vae_key, classifier_key = jax.random.split(key)
    return {
        "vae": vae.init_params(vae_key, parts=parts.vae),
        "classifier": classifier.init_params(classifier_key, parts=parts.classifier),
    }


def labelled_bound(params: Params, x: Array, label: Array, key: Key, *, parts: SemiSupervised) -> Array:
    """One-draw estimate of the bound of an example and its label.

        L(x, y) = -log p(x|y, z) + rate - log p(y) at z ~ q(z|x, y),   p(y) = 1/C

    Args:
      x: [B, ...].
      label: y, [B].

    Returns:
      [B], in nats; its mean over z is an upper bound of -log p(x, y).

    Source: Kingma et al. 2014, equation 6.
    """
    bound = vae.negative_elbo(params["vae"], x, key, label, parts=parts.vae)
    return bound + math.log(vae.num_classes(parts.vae))


def labelled_bounds(params: Params, x: Array, key: Key, *, parts: SemiSupervised) -> Array:
    """`labelled_bound` for each of the C classes, with the same noise: [B, C]."""
    num_classes = vae.num_classes(parts.vae)

    def of_class(label: Array) -> Array:
        return labelled_bound(params, x, jnp.full(x.shape[:1], label), key, parts=parts)

    return jax.vmap(of_class, out_axes=1)(jnp.arange(num_classes))


def logits(params: Params, x: Array, *, parts: SemiSupervised) -> Array:
    """The classifier's unnormalised log q(y|x): x [B, ...] -> [B, C]."""
    return classifier.logits(params["classifier"], x, parts=parts.classifier)


def unlabelled_bound(logits: Array, bounds: Array) -> Array:
    """The bound of an example whose label is unknown, from those of all its labels.

        U(x) = sum_y q(y|x) L(x, y) - H(q(y|x)) = sum_y q(y|x) (L(x, y) + log q(y|x))

    Args:
      logits: of q(y|x), [B, C].
      bounds: L(x, y), [B, C].

    Returns:
      [B], in nats, >= -log sum_y e^{-L(x, y)}, which it is at q(y|x) = softmax(-L(x, y)).

    Source: Kingma et al. 2014, equation 7.
    """
    log_q = jax.nn.log_softmax(logits, axis=-1)
    return jnp.sum(jnp.exp(log_q) * (bounds + log_q), axis=-1)


def objective(
    parts: SemiSupervised, *, labelled_fraction: float, labelled_share: float, classification_weight: Scalar
) -> gradients.Objective:
    """The objective of labelled and unlabelled examples together.

        J = f E_labelled[L(x, y)] + (1 - f) E_unlabelled[U(x)] + w E_labelled[-log q(y|x)]

    It is Kingma et al.'s, divided by the number N of examples: f = N_labelled / N, and w = alpha / N for their alpha.
    Labelled examples may be more frequent in the batches than in the data, and are weighted accordingly.

    Args:
      labelled_fraction: f, in (0, 1).
      labelled_share: of labelled examples in a batch, in (0, 1).
      classification_weight: w, 0.1 in the paper.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo", "cross_entropy", "error": [B]})`, weighted so that
      their means over a batch are J, its first two terms, and the means of -log q(y|x) and of the share of wrong
      classes over labelled examples; in nats.

    Raises:
      ValueError: a fraction or a share outside (0, 1); when the returned objective gets a batch without labels.

    Source: Kingma et al. 2014, equations 8 and 9.
    """
    if not (0 < labelled_fraction < 1 and 0 < labelled_share < 1):
        raise ValueError(f"expected fractions inside (0, 1), got {labelled_fraction} and {labelled_share}")
    of_labelled, of_others = labelled_fraction / labelled_share, (1 - labelled_fraction) / (1 - labelled_share)

    def semi_supervised(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        label = _labels(batch)
        known, label = label >= 0, jnp.maximum(label, 0)
        bounds, scores = labelled_bounds(params, batch.x, key, parts=parts), logits(params, batch.x, parts=parts)
        of_label = jnp.take_along_axis(bounds, label[:, None], axis=1)[:, 0]
        bound = jnp.where(known, of_labelled * of_label, of_others * unlabelled_bound(scores, bounds))
        weight = known / labelled_share
        cross_entropy = weight * softmax_cross_entropy(scores, label)
        error = weight * (jnp.argmax(scores, axis=-1) != label)
        loss = bound + classification_weight * cross_entropy
        return loss, {"negative_elbo": bound, "cross_entropy": cross_entropy, "error": error}

    return semi_supervised


def evaluation(parts: SemiSupervised) -> gradients.Objective:
    """The objective of held-out examples, whose labels are read by the error alone.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo", "cross_entropy", "error": [B]})`: loss and
      negative_elbo are U(x), in nats, and the error is whether the most probable class is not the label.

    Raises:
      ValueError: when the returned objective gets a batch without labels.
    """

    def held_out(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        label = _labels(batch)
        bounds, scores = labelled_bounds(params, batch.x, key, parts=parts), logits(params, batch.x, parts=parts)
        bound = unlabelled_bound(scores, bounds)
        error = (jnp.argmax(scores, axis=-1) != label).astype(bound.dtype)
        cross_entropy = softmax_cross_entropy(scores, label)
        return bound, {"negative_elbo": bound, "cross_entropy": cross_entropy, "error": error}

    return held_out


def _labels(batch: Batch) -> Array:
    if batch.label is None:
        raise ValueError(f"a semi-supervised VAE needs labels, {UNKNOWN} for an unknown one, and the batch has none")
    return batch.label


def classify(params: Params, x: Array, *, parts: SemiSupervised) -> Array:
    """The probabilities of the classes: x [B, ...] -> q(y|x) [B, C]."""
    return jax.nn.softmax(logits(params, x, parts=parts))


def model(
    parts: SemiSupervised,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    **options: Unpack[descent.Options],
) -> Model:
    """A semi-supervised VAE that trains on the given objective, and is evaluated by `evaluation` unless told otherwise.

    Args:
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; `sample` gives the means E[x|y, z] at z ~ p(z) for labels [num], or for one class after the other.
    """

    def sample(state: descent.State, num: int, key: Key, label: Array | None = None) -> Array:
        label = jnp.arange(num) % vae.num_classes(parts.vae) if label is None else label
        params = state.evaluation_params["vae"]
        z = vae.sample_prior(params, num, key, label, parts=parts.vae)
        return vae.decode(params, z, label, parts=parts.vae)

    options = descent.Options(evaluation=evaluation(parts)) | options
    trained = descent.model(partial(init_params, parts=parts), optimizer, objective, **options)
    return trained._replace(sample=sample)
