"""Triples of digits: images of three channels, each an image of another digit, with a thousand classes that are known.

A channel is drawn independently of the others from a data set of grey images with labels, so that all combinations of
its classes appear about equally often. A classifier of the grey images then tells which of them a set of samples
covers, and how evenly: with MNIST, this is Stacked MNIST (Srivastava et al. 2017).
"""

from __future__ import annotations

import numpy as np

from genjax.data.dataset import Dataset, Split, from_arrays
from genjax.errors import BadInput

PREFIX = "stacked:"
"""What the name of a data set of triples begins with."""
NUM_TRAIN, NUM_TEST = 60_000, 10_000
"""Triples of both splits: of MNIST, 165 MB together, and of the embedded digits 13 MB."""


def stack(dataset: Dataset) -> Dataset:
    """The triples of a data set of grey images, of which those for training and those held out are made apart.

        x = [x_a, x_b, x_c],   label = (y_a K + y_b) K + y_c

    The rows a, b, c are drawn with replacement by NumPy's frozen `RandomState(0)`, the same in every run.

    Args:
      dataset: images [N, H, W, 1] with labels of K classes.

    Returns:
      Images [60 000, H, W, 3] for training and [10 000, H, W, 3] held out, with K^3 classes, named `stacked:NAME`.

    Raises:
      BadInput: the examples are not grey images, or have no classes.

    Source: Srivastava et al. 2017; Metz et al. 2017, section 3.3.1.
    """
    num_classes = dataset.require_classes("a stack of images", parameter="dataset")
    if dataset.train.x.ndim != 4 or dataset.train.x.shape[-1] != 1:
        raise BadInput(
            f"three grey images are stacked, and the examples of {dataset.name!r} are of shape "
            f"{list(dataset.train.x.shape[1:])}",
            parameter="dataset",
        )
    draw = np.random.RandomState(0)
    train = _triples(dataset.train, NUM_TRAIN, num_classes, draw)
    test = _triples(dataset.test, NUM_TEST, num_classes, draw)
    return from_arrays(
        PREFIX + dataset.name,
        train.x,
        test.x,
        train_label=train.label,
        test_label=test.label,
        scale=dataset.scale,
        num_classes=num_classes**3,
    )


def _triples(split: Split, num: int, num_classes: int, draw: np.random.RandomState) -> Split:
    """Images [num, H, W, 3] of rows that are drawn independently, and the numbers of their classes."""
    assert split.label is not None  # there are classes
    rows = draw.randint(0, len(split.x), (num, 3))
    x = np.empty((num, *split.x.shape[1:3], 3), split.x.dtype)
    for channel in range(3):
        x[..., channel] = split.x[rows[:, channel], ..., 0]
    return Split(x, number_of(split.label[rows], num_classes))


def number_of(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """The number of a triple's class: of the classes of its channels [N, 3], each of K, [N] in 0..K^3 - 1."""
    return classes @ np.array([num_classes**2, num_classes, 1])
