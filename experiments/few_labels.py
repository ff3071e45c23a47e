"""Training on few labels: which examples keep theirs, and batches that have a number of these, of several pages."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from genjax import data
from genjax.data import batching
from genjax.errors import BadInput
from genjax.evaluation import neighbours
from genjax.models.semi_supervised import UNKNOWN


def check(flags: Any, dataset: data.Dataset) -> int:
    """Checks `num_labels` and `num_labelled` against the data and the batch; returns the number of classes."""
    num_classes = dataset.require_classes("a classifier", at_least=2, parameter="dataset")
    num = len(dataset.train.x)
    if not num_classes <= flags.num_labels < num:
        raise BadInput(
            f"expected a number from {num_classes}, one for each class, to {num - 1}, not {flags.num_labels}",
            parameter="num_labels",
        )
    if flags.num_labelled > flags.num_labels or flags.num_labelled >= flags.batch_size:
        raise BadInput(
            f"expected at most `num_labels`, {flags.num_labels}, and fewer than `batch_size`, {flags.batch_size}, not "
            f"{flags.num_labelled}",
            parameter="num_labelled",
        )
    return num_classes


def rows(label: np.ndarray, flags: Any, num_classes: int) -> np.ndarray:
    """The training examples that keep their labels, in order: as many of each class, the first classes one more."""
    draw = np.random.RandomState(flags.label_seed)  # a stream that NumPy keeps frozen
    chosen = []
    for c in range(num_classes):
        wanted = flags.num_labels // num_classes + (c < flags.num_labels % num_classes)
        of_class = np.flatnonzero(label == c)
        if wanted > len(of_class):
            raise BadInput(
                f"class {c} has {len(of_class)} training examples, not {wanted}, the share of each class in "
                f"{flags.num_labels}",
                parameter="num_labels",
            )
        chosen.append(draw.permutation(of_class)[:wanted])
    return np.sort(np.concatenate(chosen))


def source(flags: Any, dataset: data.Dataset) -> batching.Source:
    """Batches of unlabelled and labelled examples; the held-out examples have their labels."""
    num_classes, train = check(flags, dataset), dataset.train
    if train.x.nbytes > flags.memory_limit * 2**20:
        raise BadInput("labelled examples are chosen in memory; raise it", parameter="memory_limit")
    transform = batching.dynamic_binarization if flags.binarize == "dynamic" else None
    label = np.asarray(train.label)
    labelled = rows(label, flags, num_classes)
    others = np.setdiff1d(np.arange(len(label)), labelled)
    hidden = data.Split(train.x[others], np.full(len(others), UNKNOWN, np.int32))
    num_hidden = flags.batch_size - flags.num_labelled
    if num_hidden > len(others):
        raise BadInput(
            f"expected at most {len(others) + flags.num_labelled}, {len(others)} examples without and "
            f"{flags.num_labelled} with labels, not {flags.batch_size}",
            parameter="batch_size",
        )
    read = partial(batching.shuffled, scale=dataset.scale, transform=transform)
    stream = batching.joined(
        read(hidden, batch_size=num_hidden),
        read(data.Split(train.x[labelled], label[labelled]), batch_size=flags.num_labelled),
    )
    return batching.Source(
        stream, batching.held_out(dataset.test, batch_size=500, scale=dataset.scale, transform=transform)
    )


def nearest_neighbour_error(flags: Any, dataset: data.Dataset, x: Any, label: Any, num_classes: int) -> float:
    """The share of examples x [N, ...] whose nearest labelled example is of another class than theirs."""
    classes = np.asarray(dataset.train.label)
    labelled = rows(classes, flags, num_classes)
    known = np.asarray(dataset.scaled(dataset.train._replace(x=dataset.train.x[labelled]))).reshape(len(labelled), -1)
    seen = np.reshape(x, (len(x), -1))
    return 1 - float(neighbours.knn_accuracy(known, classes[labelled], seen, label, num_neighbours=1))
