"""Prepares a data set of TensorFlow Datasets for the experiments, mostly without TensorFlow.

    python -m experiments.prepare --dataset=mnist --data_dir=DIR
    python -m experiments.prepare --dataset=mnist --data_dir=DIR --archives=DIR_WITH_THE_ORIGINAL_ARCHIVES

The first line downloads the original archives; the second takes them from a folder and needs no network. It takes about
20 s for MNIST, and ends with `mnist: train 60000, test 10000 of [28, 28, 1] uint8, 10 classes, fingerprint 3d1d...`.
A data set that has been prepared before is only checked.
"""

from __future__ import annotations

from absl import logging

from genjax import data
from genjax.data import prepare
from genjax.errors import BadInput
from genjax.runs import command
from genjax.runs.flags import Record, flag


class Flags(Record):
    """Prepare."""

    dataset: str | None = flag(
        None, "name of the data set in TensorFlow Datasets, such as mnist, fashion_mnist or emnist/letters"
    )
    data_dir: str | None = flag(None, "directory to prepare it in, which experiments then take as --data_dir")
    archives: str | None = flag(None, "folder that contains the original archives, for use without a network")


def describe(dataset: data.Dataset) -> str:
    """The data set on one line."""
    train, test = dataset.train.x, dataset.test.x
    classes = "no labels" if dataset.num_classes is None else f"{dataset.num_classes} classes"
    return (
        f"{dataset.name}: train {len(train)}, test {len(test)} of {list(train.shape[1:])} {train.dtype}, {classes}, "
        f"fingerprint {dataset.fingerprint}"
    )


def main(flags: Flags) -> None:
    """Prepares, loads and describes."""
    if not flags.dataset or not flags.data_dir:
        raise BadInput("`dataset` and `data_dir` are needed: give the name of a data set and a folder")
    logging.set_verbosity(logging.WARNING)
    print(describe(prepare.prepare(flags.dataset, data_dir=flags.data_dir, archives=flags.archives)))


if __name__ == "__main__":
    command.run(main, Flags)
