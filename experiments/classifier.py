"""A softmax classifier of images: how well their classes can be told, and features to compare samples in.

    python -m experiments.classifier
    python -m experiments.classifier --dataset=mnist --data_dir=DIR --network=convolutional --num_steps=1500

It leaves a table of its mistakes: at true class and predicted class, the one it is most certain of. On the digits it
has an accuracy of 0.98 within half a minute on two CPU cores.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import optax
from absl import flags

from experiments import common, training
from genjax import data, networks
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.models import classifier
from genjax.types import Model


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=1000, batch_size=128, learning_rate=1e-3, eval_every=500)
    flags.DEFINE_enum("network", "mlp", ["mlp", "convolutional"], "what makes the features")
    flags.DEFINE_list("hidden", ["256"], "widths of the MLP's layers before the features")
    flags.DEFINE_list("features", ["32", "64"], "channels of the convolutions before the features")
    flags.DEFINE_integer("feature_dim", 64, "width of the penultimate layer", lower_bound=1)
    flags.DEFINE_float("weight_decay", 1e-2, "AdamW's, of all parameters", lower_bound=0.0)


def build_parts(config: common.Config, dataset: data.Dataset) -> classifier.Classifier:
    """The networks that the flags name."""
    if not dataset.num_classes or dataset.num_classes < 2:
        raise BadInput(
            f"data set {dataset.name!r} has {dataset.num_classes or 'no'} classes; a classifier needs two or more"
        )
    shape, wide = dataset.train.x.shape[1:], (config.feature_dim,)
    if config.network == "mlp":
        body = networks.mlp(shape, wide, hidden=common.widths(config, "hidden"), activation=jax.nn.relu)
    else:
        body = networks.convolutional_encoder(
            shape, wide, features=common.widths(config, "features"), activation=jax.nn.relu
        )
    head = networks.mlp(wide, (dataset.num_classes,), hidden=(), activation=jax.nn.relu)
    return classifier.Classifier(body, head)


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    parts = build_parts(config, dataset)
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.num_steps)
    optimizer = optax.adamw(schedule, weight_decay=config.weight_decay)
    return classifier.model(parts, optimizer, classifier.objective(parts), reduction=config.reduction)


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Writes the table of mistakes among the first held-out examples."""
    x, truth = np.asarray(finished.examples.x), np.asarray(finished.examples.label)
    apply = jax.jit(partial(classifier.probabilities, parts=build_parts(config, finished.dataset)))
    probabilities = np.asarray(apply(finished.state.params, x))
    wrong = probabilities.argmax(axis=1) != truth
    if x.ndim == 4 and wrong.any():
        classes, table = mistakes(x[wrong], truth[wrong], probabilities[wrong])
        names = [str(value) for value in classes]
        title = f"{wrong.sum()} of {len(x)} mistaken: true classes in rows, predicted ones in columns"
        pictures.save_captioned_grid(finished.workdir / "mistakes.png", table, title=title, rows=names, columns=names)
    return {}


def mistakes(
    x: np.ndarray, truth: np.ndarray, probabilities: np.ndarray, *, at_most: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """The mistake of each kind that the classifier is most certain of.

    Args:
      x: misclassified images, [N, H, W, C].
      truth: [N].
      probabilities: [N, classes].
      at_most: classes shown: those with the most mistakes.

    Returns:
      The classes [K], and the images by true and predicted class [K, K, H, W, C], white where there is no mistake.
    """
    predicted, certain = probabilities.argmax(axis=1), probabilities.max(axis=1)
    counts = np.bincount(np.concatenate([truth, predicted]))
    classes = np.sort(np.argsort(-counts, kind="stable")[:at_most])
    classes = classes[counts[classes] > 0]
    table = np.ones((len(classes), len(classes), *x.shape[1:]), np.float32)
    for index in np.argsort(certain, kind="stable"):  # the most certain comes last, and stays
        table[classes == truth[index], classes == predicted[index]] = x[index]
    return classes, table


EXPERIMENT = common.Experiment("classifier", define_flags, build, conclude, watch=("cross_entropy", "accuracy"))

if __name__ == "__main__":
    training.main(EXPERIMENT)
