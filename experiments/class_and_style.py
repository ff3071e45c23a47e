"""The variant `semi_supervised` of the page `adversarial_autoencoder`, whose codes have a class and a style."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments import applications, games
from genjax import data, networks, runs
from genjax.gradients import Reduction
from genjax.losses import RECONSTRUCTIONS, Prior
from genjax.models import autoencoder, semi_supervised_adversarial
from genjax.models.adversarial_autoencoder import AdversarialAutoencoder
from genjax.models.semi_supervised_adversarial import SemiSupervisedAdversarial
from genjax.types import Array, Key, Params

Parts = AdversarialAutoencoder | SemiSupervisedAdversarial  # of any variant


def build(flags: Any, dataset: data.Dataset, style: Prior, reduction: Reduction) -> runs.Built:
    """The networks and the model, whose styles follow the given prior."""
    classes, shape, d = dataset.require_classes("a classifier"), dataset.train.x.shape[1:], flags.latent_dim
    mlp = partial(networks.mlp, activation=jax.nn.relu)
    parts = semi_supervised_adversarial.parts_of(
        mlp(shape, (classes + d,), hidden=flags.hidden),
        mlp((classes + d,), shape, hidden=flags.hidden[::-1]),
        [mlp((size,), (), hidden=flags.hidden) for size in (classes, d)],
        RECONSTRUCTIONS[flags.reconstruction],
        num_classes=classes,
        style_dim=d,
        style=style,
    )
    adversary = partial(runs.optimizer, flags, learning_rate=flags.adversarial_learning_rate, b1=flags.beta1)
    model = semi_supervised_adversarial.model(
        parts,
        runs.optimizer(flags),
        adversary(),
        adversary(),
        runs.optimizer(flags),
        labelled_fraction=flags.num_labels / len(dataset.train.x),
        labelled_share=flags.num_labelled / flags.batch_size,
        penalty=games.r1_of(flags),
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def game_of(parts: Parts) -> AdversarialAutoencoder:
    """The autoencoder and its discriminator."""
    return parts.game if isinstance(parts, SemiSupervisedAdversarial) else parts


def style_of(codes: Array, parts: Parts) -> Array:
    """The part of codes that follows the flag `prior`: all of it, or without the class."""
    return codes[:, parts.num_classes :] if isinstance(parts, SemiSupervisedAdversarial) else codes


def table(trained: runs.Trained, *, num_styles: int = 10) -> Array:
    """Decoded draws of styles, each with every class: [num_styles * K, ...], one style after the other."""
    parts: SemiSupervisedAdversarial = trained.parts
    style = style_of(parts.game.prior.sample((), (num_styles, parts.game.latent_dim), trained.key), parts)
    classes = jnp.tile(jnp.eye(parts.num_classes), (num_styles, 1))
    z = jnp.concatenate([classes, jnp.repeat(style, parts.num_classes, axis=0)], axis=1)
    return jax.jit(partial(autoencoder.decode, parts=parts.game.autoencoder))(trained.params, z)


def applications_of(flags: Any, parts: Parts) -> Mapping[str, runs.Application]:
    """What an autoencoder computes from examples, and the classes of codes that have them."""
    found = applications.of_autoencoder(flags, game_of(parts).autoencoder)
    if not isinstance(parts, SemiSupervisedAdversarial):
        return found

    def probabilities(params: Params, x: Array, key: Key) -> Array:
        return semi_supervised_adversarial.classify(params, x, parts=parts)

    def classes(params: Params, x: Array, key: Key) -> dict[str, Array]:
        y = probabilities(params, x, key)
        return {"class": jnp.argmax(y, axis=-1), "probability": jnp.max(y, axis=-1)}

    return {**found, "classes": runs.Application(classes), "probabilities": runs.Application(probabilities)}
