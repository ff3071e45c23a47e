"""A semi-supervised VAE, which learns a classifier from a few labels and many unlabelled examples (Kingma et al. 2014).

    python -m experiments.semi_supervised
    python -m experiments.semi_supervised --dataset=mnist --data_dir=DIR --num_labels=100 --num_steps=20000

It is the model M2: the classes are latent variables where they are unknown. --num_labels training examples keep their
labels, as many of each class, chosen by --label_seed; the others lose theirs. A batch has --num_labelled of the former.
The metric `error` is the share of held-out examples that are misclassified; nearest_neighbour_error is that of the
nearest of the labelled examples. analogies.png has held-out images, and beside each its code z decoded as every class.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import few_labels
from genjax import data, networks, runs
from genjax.data import batching
from genjax.drawing import pictures
from genjax.gradients import Reduction
from genjax.losses import BERNOULLI
from genjax.models import classifier, semi_supervised, vae
from genjax.runs import flag, showing
from genjax.types import Array, Key, Params

SHOWN_CLASSES = 20  # in a picture


class Flags(runs.Flags):
    """Semi-supervised VAE."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    num_labels: int = flag(100, "number of training examples that keep their labels", at_least=1)
    label_seed: int = flag(0, "seed of the choice of these examples", at_least=0, at_most=2**32 - 1)
    num_labelled: int = flag(32, "number of labelled examples in a batch", at_least=1)
    classification_weight: float = flag(
        0.1, "weight of the classifier's cross-entropy on labelled examples: the paper's alpha / N", at_least=0
    )
    hidden: tuple[int, ...] = flag(
        (500,), "widths of the hidden layers of encoder and classifier; the decoder mirrors them", at_least=1
    )
    activation: str = flag("relu", "activation of the hidden layers", choices=networks.ELEMENTWISE_ACTIVATIONS)
    latent_dim: int = flag(50, "number of latent dimensions", at_least=1)


def check(flags: Flags, dataset: data.Dataset) -> int:
    """Checks the flags against each other and the data; returns the number of classes."""
    dataset.require_classes("a classifier", at_least=2, parameter="dataset")
    dataset.require_bounded("a Bernoulli likelihood", parameter="dataset")
    return few_labels.check(flags, dataset)


def source(flags: Flags, dataset: data.Dataset) -> batching.Source:
    """Batches of unlabelled and labelled examples; the held-out examples have their labels."""
    check(flags, dataset)
    return few_labels.source(flags, dataset)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks and the model."""
    num_classes, shape, d = check(flags, dataset), dataset.train.x.shape[1:], flags.latent_dim
    mlp = partial(networks.mlp, activation=networks.ELEMENTWISE_ACTIVATIONS[flags.activation])
    inputs = int(np.prod(shape)) + num_classes
    encoder = networks.with_label(mlp((inputs,), (2 * d,), hidden=flags.hidden), num_classes)
    decoder = networks.with_label(mlp((d + num_classes,), shape, hidden=flags.hidden[::-1]), num_classes)
    parts = semi_supervised.SemiSupervised(
        vae.VAE(
            networks.gaussian_heads(networks.flattened(encoder)),
            decoder,
            BERNOULLI,
            d,
            context=vae.LabelContext(num_classes),
        ),
        classifier.Classifier(
            mlp(shape, (flags.hidden[-1],), hidden=flags.hidden[:-1]),
            mlp((flags.hidden[-1],), (num_classes,), hidden=()),
            networks.ELEMENTWISE_ACTIVATIONS[flags.activation],
        ),
    )
    objective = semi_supervised.objective(
        parts,
        labelled_fraction=flags.num_labels / len(dataset.train.x),
        labelled_share=flags.num_labelled / flags.batch_size,
        classification_weight=flags.classification_weight,
    )
    model = semi_supervised.model(
        parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction
    )
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws samples of each class and analogies; measures the nearest labelled example as a classifier."""
    parts, dataset = trained.parts, trained.dataset
    classes = vae.num_classes(parts.vae)
    shown = min(classes, SHOWN_CLASSES)
    captions = pictures.class_captions(range(shown), dataset.class_names)
    assert trained.model.sample is not None
    samples = trained.model.sample(trained.state, 10 * shown, trained.key, jnp.arange(10 * shown) % shown)
    title = "E[x|y, z] at z drawn from N(0, I)"
    showing.save_samples(trained, samples, title=title, columns=shown, captions=captions)
    if trained.examples.x.ndim == 4:
        x = trained.shown(10).x
        table = jax.jit(partial(analogies, parts=parts, num=shown))(trained.params, x)
        table = np.concatenate([np.asarray(x)[:, None], np.asarray(table)], axis=1)
        pictures.save_captioned_grid(
            trained.workdir / "analogies.png",
            dataset.visible(table),
            title="held-out images, and their codes z decoded as each class",
            columns=["held out", *captions],
        )
    seen = trained.examples
    error = few_labels.nearest_neighbour_error(flags, dataset, seen.x, seen.label, classes)
    return {"nearest_neighbour_error": error}


def analogies(params: Params, x: Array, *, parts: semi_supervised.SemiSupervised, num: int) -> Array:
    """The codes of x [B, ...], at its most probable class, decoded as each of the first classes: [B, num, ...]."""
    own = jnp.argmax(semi_supervised.logits(params, x, parts=parts), axis=-1)
    z = parts.vae.posterior.mean(vae.encode(params["vae"], x, own, parts=parts.vae))

    def as_class(label: Array) -> Array:
        return vae.decode(params["vae"], z, jnp.full(z.shape[:1], label), parts=parts.vae)

    return jax.vmap(as_class, out_axes=1)(jnp.arange(num))


def applications(flags: Flags, parts: semi_supervised.SemiSupervised) -> dict[str, runs.Application]:
    """What the classifier computes from examples."""

    def probabilities(params: Params, x: Array, key: Key) -> Array:
        return semi_supervised.classify(params, x, parts=parts)

    def classes(params: Params, x: Array, key: Key) -> dict[str, Array]:
        found = probabilities(params, x, key)
        return {"class": jnp.argmax(found, axis=-1), "probability": jnp.max(found, axis=-1)}

    return {"classes": runs.Application(classes), "probabilities": runs.Application(probabilities)}


def generator(flags: Flags, parts: semi_supervised.SemiSupervised) -> runs.Generator:
    """How the VAE makes new data of codes and labels."""

    def decode(params: Params, z: Array, label: Array) -> Array:
        return vae.decode(params["vae"], z, label, parts=parts.vae)

    def prior(params: Params, num: int, key: Key, label: Array) -> Array:
        return vae.sample_prior(params["vae"], num, key, label, parts=parts.vae)

    def draw(params: Params, z: Array, key: Key, label: Array) -> Array:
        output = parts.vae.decoder.apply(params["vae"]["decoder"], z, label)
        return parts.vae.likelihood.sample(output, key)

    return runs.Generator(decode, parts.vae.latent_dim, prior, draw, vae.num_classes(parts.vae))


def metrics(flags: Any) -> dict[str, runs.Metric]:
    """Units and directions that names do not show."""
    errors = {name: runs.Metric("", "lower") for name in ("error", "nearest_neighbour_error")}
    return {"loss": runs.Metric("nats", "lower"), **errors}


EXPERIMENT = runs.Experiment(
    "semi_supervised",
    Flags,
    build,
    summarise,
    watch=("error", "negative_elbo"),
    source=source,
    applications=applications,
    generator=generator,
    metrics=metrics,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
