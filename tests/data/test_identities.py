"""Data sets of identity encoders: two halves of people's pictures, and rendered identities by their numbers."""

import numpy as np
import pytest

from genjax.data import identities, pairs
from genjax.data.dataset import from_arrays
from genjax.errors import BadInput


def people(num=3, each=5):
    """Pictures that are their own number, shuffled: label and place in it."""
    label = np.random.RandomState(0).permutation(np.repeat(np.arange(num), each))
    x = np.zeros((len(label), 2, 2, 1), np.uint8)
    x[:, 0, 0, 0] = label
    for c in range(num):
        x[label == c, 1, 1, 0] = np.arange(each)
    return from_arrays("people", x, x[:2], train_label=label, test_label=label[:2], scale=7.0)


def test_two_halves_have_every_picture_once_and_each_persons_in_turn():
    whole = people()
    first, second = (identities.halved(whole, first=first) for first in (True, False))
    for c in range(3):
        assert [list(half.train.x[half.train.label == c][:, 1, 1, 0]) for half in (first, second)] == [
            [0, 2, 4],
            [1, 3],
        ]
    for half in (first, second):
        np.testing.assert_array_equal(half.train.x[:, 0, 0, 0], half.train.label)
        assert (half.name, half.scale, half.num_classes) == (whole.name, whole.scale, whole.num_classes)
        np.testing.assert_array_equal(half.test.x, whole.test.x)
    with pytest.raises(BadInput, match="'bare' has no labels"):
        identities.halved(from_arrays("bare", whole.train.x, whole.test.x), first=True)


@pytest.mark.slow
def test_rendered_identities_are_those_of_their_numbers(monkeypatch):
    monkeypatch.setattr(identities, "IDENTITIES", {"train": range(7, 10), "score": range(50_000, 50_003)})
    found = identities.rendered_identities("train", pictures_each=2, size=8)
    drawn = pairs.rendered_pictures(range(7, 10), each=4, stream=10, size=8)
    np.testing.assert_array_equal(found.test.x, drawn.x[[0, 1, 4, 5, 8, 9]])
    np.testing.assert_array_equal(found.train.x, drawn.x[[2, 3, 6, 7, 10, 11]])
    np.testing.assert_array_equal(found.train.label, [0, 0, 1, 1, 2, 2])
    assert found.name == "faces-train" and found.num_classes == 3
    assert np.any(identities.rendered_identities("score", pictures_each=2, size=8).train.x != found.train.x)
