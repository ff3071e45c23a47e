"""A softmax classifier of images, whose features also serve to compare generated samples with data.

    python -m experiments.classifier
    python -m experiments.classifier --dataset=mnist --data_dir=DIR --network=convolutional --num_steps=1500

It writes a table of its mistakes: for each pair of true and predicted class, the most confident one. On the
digits it reaches an accuracy of 0.98 within 30 seconds on two CPU cores.
"""

from __future__ import annotations

import jax

from experiments import applications, mistakes
from genjax import data, networks, runs
from genjax.gradients import Reduction
from genjax.models import classifier
from genjax.runs import flag


class Flags(runs.Flags):
    """Classifier."""

    num_steps: int = 1000
    batch_size: int = 128
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    weight_decay: float = 1e-2
    decay_biases: bool = True
    network: str = flag("mlp", "architecture of the feature network", choices=("mlp", "convolutional"))
    hidden: tuple[int, ...] = flag(
        (256,), "widths of the MLP's hidden layers before the penultimate layer", at_least=1, may_be_empty=True
    )
    features: tuple[int, ...] = flag((32, 64), "channels of the convolutional layers", at_least=1)
    feature_dim: int = flag(64, "width of the penultimate layer", at_least=1)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The network of the features, a linear layer for the classes, and the model."""
    num_classes = dataset.require_classes("a classifier", at_least=2, parameter="dataset")
    shape, feature_shape = dataset.train.x.shape[1:], (flags.feature_dim,)
    if flags.network == "mlp":
        body = networks.mlp(shape, feature_shape, hidden=flags.hidden, activation=jax.nn.relu)
    else:
        dataset.require_images("a convolutional network", parameter="network")
        body = networks.convolutional_encoder(shape, feature_shape, features=flags.features, activation=jax.nn.relu)
    head = networks.mlp(feature_shape, (num_classes,), hidden=(), activation=jax.nn.relu)
    parts = classifier.Classifier(body, head)
    objective = classifier.objective(parts)
    model = classifier.model(
        parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction
    )
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws the table of mistakes among held-out examples."""
    mistakes.save(trained, trained.parts)
    return {}


EXPERIMENT = runs.Experiment(
    "classifier",
    Flags,
    build,
    summarise,
    watch=("cross_entropy", "accuracy"),
    applications=applications.of_classifier,
    metrics=lambda flags: {"loss": runs.Metric("nats", "lower")},
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
