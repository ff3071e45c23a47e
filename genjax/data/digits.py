"""The embedded data set: 1797 handwritten digits of 8 x 8 pixels, which are part of scikit-learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from genjax.data.dataset import Dataset, from_arrays

_NUM_TRAIN = 1297


def load() -> Dataset:
    """The digits: 1297 for training and 500 held out.

    The split is the permutation of `np.random.RandomState(0)`, whose stream NumPy keeps frozen: it is part of the data,
    the same in every run and for every seed.

    Returns:
      Images [N, 8, 8, 1] uint8 in 0..16, with ten classes.

    Source: Alpaydin & Kaynak 1998, Optical recognition of handwritten digits.
    """
    # scikit-learn's file, without scikit-learn: importing that takes longer than all else before the first step
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.origin is not None, "scikit-learn is not installed"
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",").astype(np.uint8)
    table = table[np.random.RandomState(0).permutation(len(table))]
    x, label = table[:, :-1].reshape(-1, 8, 8, 1), table[:, -1]
    return from_arrays(
        "digits",
        x[:_NUM_TRAIN],
        x[_NUM_TRAIN:],
        train_label=label[:_NUM_TRAIN],
        test_label=label[_NUM_TRAIN:],
        scale=16,
    )
