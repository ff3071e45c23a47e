"""Data sets that identity encoders learn from: rendered people, and halves of a folder of people."""

from __future__ import annotations

import numpy as np

from genjax.data import pairs
from genjax.data.dataset import Dataset, from_arrays

IDENTITIES = {"train": pairs.TRAIN, "score": pairs.SCORE}
"""The identities that encoders learn, by name: those of the swap's training, and others for scoring it."""

_HELD_OUT = 2  # pictures of each identity that `rendered_identities` holds out


def rendered_identities(name: str, *, pictures_each: int, size: int = 32) -> Dataset:
    """Rendered pictures of 1000 identities, which are the labels, for an identity encoder.

    Args:
      name: of the identities, in `IDENTITIES`.
      pictures_each: training pictures of each identity; two more are held out.
      size: S, the side of the pictures in pixels.

    Returns:
      A data set of images [N, S, S, 3] uint8.
    """
    each = pictures_each + _HELD_OUT
    drawn = pairs.rendered_pictures(IDENTITIES[name], each=each, stream=10, size=size)
    held_out = np.arange(len(drawn.label)) % each < _HELD_OUT
    return from_arrays(
        f"{pairs.RENDERED}-{name}",
        drawn.x[~held_out],
        drawn.x[held_out],
        train_label=drawn.label[~held_out],
        test_label=drawn.label[held_out],
    )


def halved(dataset: Dataset, *, first: bool) -> Dataset:
    """The data set with every other training picture of each label: the first, third, ... of them, or the rest.

    Raises:
      BadInput: for data without classes.
    """
    dataset.require_classes("an identity encoder", parameter="dataset")
    label = np.asarray(dataset.train.label)
    place = np.zeros(len(label), int)
    for c in np.unique(label):
        place[label == c] = np.arange(np.sum(label == c))
    chosen = (place % 2 == 0) == first
    return from_arrays(
        dataset.name,
        dataset.train.x[chosen],
        dataset.test.x,
        train_label=label[chosen],
        test_label=dataset.test.label,
        scale=dataset.scale,
        num_classes=dataset.num_classes,
    )
