"""The semi-supervised adversarial autoencoder: codes of a class and a style (Makhzani et al. 2016, section 5).

    z = (y, s),   y = softmax(a(x)),   J_AE = E[l(x, decoder(y, s))],   J_C = E_labelled[-log y_label]
    min_encoder max_D 1/2 E[log D_y(k) + log(1 - D_y(y))] + 1/2 E[log D_s(n) + log(1 - D_s(s))]

where k is a uniform class, one-hot, and n ~ p(s). Each part of the code has its own discriminator: one makes the
distribution of y that of a categorical variable, the other that of s the prior. In every step the autoencoder, the two
discriminators and the encoder against them move as in `adversarial_autoencoder`, on all examples, and then the encoder
lowers the cross-entropy of the few known labels. A label below 0 is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, losses, networks
from genjax.losses import NON_SATURATING, STANDARD_NORMAL, Adversarial, Prior, Reconstruction, softmax_cross_entropy
from genjax.models import adversarial_autoencoder, alternating, autoencoder
from genjax.models.adversarial_autoencoder import AdversarialAutoencoder, State
from genjax.types import Array, Batch, Key, Model, Network, Params


class SemiSupervisedAdversarial(NamedTuple):
    """The parts of a semi-supervised adversarial autoencoder, as `parts_of` makes them; its params are those of `game`.

    A code is (y, s), [B, K + d].
    """

    game: AdversarialAutoencoder
    heads: Network  # x [B, ...] -> (logits of y, s) [B, K + d], with the params of the encoder
    num_classes: int  # K


def parts_of(
    heads: Network,
    decoder: Network,
    discriminators: Sequence[Network],
    reconstruction: Reconstruction,
    *,
    num_classes: int,
    style_dim: int,
    style: Prior = STANDARD_NORMAL,
    adversarial: Adversarial = NON_SATURATING,
) -> SemiSupervisedAdversarial:
    """The parts, from networks.

    Args:
      heads: x [B, ...] -> (logits of y, s) [B, K + d].
      decoder: (y, s) [B, K + d] -> x.
      discriminators: of y [B, K], and of s [B, d].
      num_classes: K.
      style_dim: d.
      style: p(s), without parameters.
    """
    return SemiSupervisedAdversarial(
        AdversarialAutoencoder(
            autoencoder.Autoencoder(networks.class_probabilities(heads, num_classes), decoder, reconstruction),
            networks.in_parts(discriminators, (num_classes, style_dim)),
            num_classes + style_dim,
            losses.class_and_style_prior(num_classes, style=style),
            adversarial,
        ),
        heads,
        num_classes,
    )


def logits(params: Params, x: Array, *, parts: SemiSupervisedAdversarial) -> Array:
    """The unnormalised log-probabilities of the classes, of the params of the autoencoder: x [B, ...] -> [B, K]."""
    return parts.heads.apply(params["encoder"], x)[:, : parts.num_classes]


def classify(params: Params, x: Array, *, parts: SemiSupervisedAdversarial) -> Array:
    """The probabilities of the classes: x [B, ...] -> y [B, K]."""
    return jax.nn.softmax(logits(params, x, parts=parts))


def classification_objective(parts: SemiSupervisedAdversarial, *, labelled_share: float = 1.0) -> gradients.Objective:
    """The encoder's objective as a classifier, -log y_label of the examples whose label is known.

    Args:
      labelled_share: of examples with known labels in a batch, in (0, 1].

    Returns:
      `objective(autoencoder, others, batch, key) -> (loss [B], {"cross_entropy", "error": [B]})`, weighted so that
      means over a batch are means over its labelled examples: in nats, and whether the likeliest class is wrong.

    Raises:
      ValueError: when the returned objective gets a batch without labels.
    """

    def objective(own: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        if batch.label is None:
            raise ValueError("a semi-supervised autoencoder needs labels, below 0 for unknown ones")
        weight = (batch.label >= 0) * (1 / labelled_share)
        scores, label = logits(own, batch.x, parts=parts), jnp.maximum(batch.label, 0)
        cross_entropy = weight * softmax_cross_entropy(scores, label)
        return cross_entropy, {
            "cross_entropy": cross_entropy,
            "error": weight * (jnp.argmax(scores, axis=-1) != label),
        }

    return objective


def over_training_set(
    objective: gradients.Objective, *, labelled_fraction: float, labelled_share: float
) -> gradients.Objective:
    """An objective of batches that have more labelled examples than the data, whose means are still those of the data.

    Args:
      labelled_fraction: of labelled examples among the training examples, in (0, 1).
      labelled_share: of labelled examples in a batch, in (0, 1).
    """
    of_labelled, of_others = labelled_fraction / labelled_share, (1 - labelled_fraction) / (1 - labelled_share)

    def weighted(own: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        loss, metrics = objective(own, others, batch, key)
        assert batch.label is not None  # or the classification has refused the batch
        weight = jnp.where(batch.label >= 0, of_labelled, of_others)
        return weight * loss, {name: weight * value for name, value in metrics.items()}

    return weighted


def model(
    parts: SemiSupervisedAdversarial,
    optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    generator_optimizer: optax.GradientTransformation,
    classifier_optimizer: optax.GradientTransformation,
    *,
    labelled_fraction: float,
    labelled_share: float,
    reduction: gradients.Reduction = gradients.whole_batch,
    **options: Any,
) -> Model:
    """A semi-supervised adversarial autoencoder, trained by one update of each player in turn.

    Args:
      optimizer: of encoder and decoder, for the reconstruction.
      discriminator_optimizer: of both discriminators.
      generator_optimizer: of the encoder against the discriminators.
      classifier_optimizer: of the encoder, for the cross-entropy of the known labels.
      labelled_fraction: of labelled examples among the training examples, in (0, 1).
      labelled_share: of labelled examples in a batch, in (0, 1).
      reduction: how the gradients of all players are taken over the batch, one of `genjax.gradients`.
      options: `penalty` and `averaging`, as of `adversarial_autoencoder.model`.

    Returns:
      A Model whose state is an `adversarial_autoencoder.State`; "loss" is the classifier's. `sample` decodes draws from
      the prior of labels [num], or of one class after the other. Held-out examples are evaluated with equal weights,
      all of their labels known.

    Raises:
      ValueError: a fraction or a share outside (0, 1).

    Source: Makhzani et al. 2016, section 5.
    """
    if not (0 < labelled_fraction < 1 and 0 < labelled_share < 1):
        raise ValueError(f"expected fractions inside (0, 1), got {labelled_fraction} and {labelled_share}")
    shares = dict(labelled_fraction=labelled_fraction, labelled_share=labelled_share)
    optimizers = optimizer, discriminator_optimizer, generator_optimizer
    players = [
        player._replace(objective=over_training_set(player.objective, **shares), evaluation=player.objective)
        for player in adversarial_autoencoder.players(parts.game, *optimizers, **options)
    ]
    classifier = alternating.Player(
        "classifier",
        classification_objective(parts, labelled_share=labelled_share),
        gradients.frozen(classifier_optimizer, "decoder"),
        moves="autoencoder",
        evaluation=classification_objective(parts),
    )

    def sample(state: State, num: int, key: Key, label: Array | None = None) -> Array:
        label = jnp.arange(num) % parts.num_classes if label is None else label
        z = parts.game.prior.sample((), (num, parts.game.latent_dim), key, label)
        return autoencoder.decode(state.evaluation_params, z, parts=parts.game.autoencoder)

    init_params = partial(adversarial_autoencoder.init_params, parts=parts.game)
    trained = alternating.model(init_params, [*players, classifier], reduction=reduction)
    return alternating.with_state(trained, State)._replace(sample=sample)
