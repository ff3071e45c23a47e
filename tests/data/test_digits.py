"""The embedded digits, against scikit-learn's own arrays."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from genjax import data


def test_splits_are_all_of_scikit_learns_digits_once():
    made = data.load("digits")
    pixels, target = load_digits(return_X_y=True)
    assert made.train.x.shape == (1297, 8, 8, 1)
    assert made.test.x.shape == (500, 8, 8, 1)
    assert made.train.x.dtype == np.uint8
    assert (made.scale, made.num_classes) == (16.0, 10)
    assert made.train.label is not None
    assert made.test.label is not None

    images = np.concatenate([made.train.x, made.test.x])[..., 0]
    labels = np.concatenate([made.train.label, made.test.label])
    order = np.random.RandomState(0).permutation(1797)
    assert len(set(order[:1297]) & set(order[1297:])) == 0
    np.testing.assert_array_equal(images, pixels.reshape(-1, 8, 8)[order])
    np.testing.assert_array_equal(labels, target[order])


def test_fingerprint_is_the_same_for_ever():
    # Every published number on the digits is a number on this split. If this fails, the split has changed.
    assert data.load("digits").fingerprint == "e38fb80745e8e6659b4ac4a88052a237e5281fef9231da0e62f7e12b2fb92f4f"
