"""Triples of grey images against the images that they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from genjax import data
from genjax.data import triples
from genjax.errors import BadInput


@pytest.fixture(scope="module")
def stacked():
    return data.load("stacked:digits")


def rows_of(image):
    """Images [N, H, W] as hashable rows."""
    return [each.tobytes() for each in np.ascontiguousarray(image)]


def test_each_channel_is_an_image_of_its_own_split_with_its_own_label(stacked):
    digits = data.load("digits")
    assert (stacked.name, stacked.scale, stacked.num_classes) == ("stacked:digits", digits.scale, 1000)
    for split, grey, num in ((stacked.train, digits.train, 60_000), (stacked.test, digits.test, 10_000)):
        assert split.x.shape == (num, 8, 8, 3) and split.x.dtype == np.uint8
        known = {}
        for image, label in zip(rows_of(grey.x[..., 0]), grey.label, strict=True):
            known.setdefault(image, set()).add(label)
        digit = np.stack([split.label // 100, split.label // 10 % 10, split.label % 10], axis=1)
        for channel in range(3):
            images = rows_of(split.x[..., channel])
            assert all(label in known[image] for image, label in zip(images, digit[:, channel], strict=True))
            assert set(images) == set(known)  # all are drawn sooner or later


def test_no_image_that_is_held_out_is_in_a_triple_for_training(stacked):
    seen, unseen = ({row for c in range(3) for row in rows_of(split.x[..., c])} for split in stacked[1:3])
    assert not seen & unseen


def test_channels_are_drawn_independently_of_each_other(stacked):
    # of 60 000 draws, each digit of a channel given another one is as frequent as without it
    first, second, third = (stacked.train.label // 100, stacked.train.label // 10 % 10, stacked.train.label % 10)
    shares = np.bincount(data.load("digits").train.label) / 1297
    for one, other in ((first, second), (second, third), (first, third)):
        table = np.zeros((10, 10))
        np.add.at(table, (one, other), 1)
        expected = 60_000 * np.outer(shares, shares)
        statistic = np.sum((table - expected) ** 2 / expected)
        assert abs(statistic - 99) < 4 * np.sqrt(2 * 99)  # chi-squared with 99 degrees of freedom
    assert len(np.unique(stacked.train.label)) == 1000


def test_they_are_the_same_every_time(stacked):
    assert data.load("stacked:digits").fingerprint == stacked.fingerprint != data.load("digits").fingerprint
    assert stacked.fingerprint.startswith("5f1c5b6b93261566")


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("stacked:folder:PATH", "dataset: only the images of a data set that is built in"),
        ("stacked:stacked:digits", "dataset: only the images of a data set that is built in"),
        pytest.param(
            "stacked:faces",
            "dataset: three grey images are stacked, and the examples of 'faces'",
            marks=pytest.mark.slow,
        ),
        ("stacked:wine", "dataset: three grey images are stacked, and the examples of 'wine'"),
        ("stacked:ring", "dataset: three grey images are stacked"),
        ("stacked:curve", "a stack of images needs classes"),
        ("stacked:digit", "unknown data set 'digit'; did you mean 'digits'"),
    ],
)
def test_only_grey_images_with_classes_are_stacked(name, problem):
    with pytest.raises(BadInput, match=problem):
        data.load(name)


def test_any_number_of_classes():
    x = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2, 1)
    grey = data.from_arrays("own", x, x + 100, train_label=np.array([0, 1, 2, 3, 0]), test_label=np.array([3] * 5))
    made = triples.stack(grey)
    assert made.num_classes == 64 and made.train.label is not None
    np.testing.assert_array_equal(made.test.label, (3 * 4 + 3) * 4 + 3)
    assert grey.train.label is not None
    first = np.argmax(np.all(x[..., 0] == made.train.x[0, ..., 0], axis=(1, 2)))
    assert made.train.label[0] // 16 == grey.train.label[first]
