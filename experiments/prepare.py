"""Prepares a data set of TensorFlow Datasets for the experiments, mostly without TensorFlow.

    python -m experiments.prepare --dataset=mnist --data_dir=DIR
    python -m experiments.prepare --dataset=mnist --data_dir=DIR --archives=DIR_WITH_THE_ORIGINAL_ARCHIVES

The first downloads what the data set is made of, the second needs no network. About 20 s for MNIST; it ends with

    mnist: train 60000, test 10000 of [28, 28, 1] uint8, 10 classes, fingerprint 3d1d79608914...

What is prepared already is checked and left as it is.
"""

from __future__ import annotations

from absl import flags, logging

from experiments import common
from genjax import data
from genjax.data import prepare

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_string("dataset", None, "a TFDS name, such as mnist, fashion_mnist or emnist/letters", required=True)
    flags.DEFINE_string(
        "data_dir", None, "where to prepare it, and what experiments then take as --data_dir", required=True
    )
    flags.DEFINE_string("archives", None, "folder of the original archives, where there is no network")


def describe(dataset: data.Dataset) -> str:
    """The data set on one line."""
    train, test = dataset.train.x, dataset.test.x
    classes = "no labels" if dataset.num_classes is None else f"{dataset.num_classes} classes"
    return (
        f"{dataset.name}: train {len(train)}, test {len(test)} of {list(train.shape[1:])} {train.dtype}, {classes}, "
        f"fingerprint {dataset.fingerprint}"
    )


def main() -> None:
    """Prepares, loads and describes."""
    logging.set_verbosity(logging.WARNING)
    print(describe(prepare.prepare(FLAGS.dataset, data_dir=FLAGS.data_dir, archives=FLAGS.archives)))


if __name__ == "__main__":
    define_flags()
    common.guarded(main)
