"""Data sets from arrays, their checks and their fingerprint."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from genjax import data
from genjax.data import batching
from genjax.errors import BadInput

TRAIN = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1)
TEST = TRAIN[:2] + 100
TRAIN_LABEL, TEST_LABEL = np.array([0, 1, 2, 0, 1, 2]), np.array([2, 0])


def build(train_x=TRAIN, test_x=TEST, **arguments) -> data.Dataset:
    return data.from_arrays("own", train_x, test_x, **arguments)


def test_arrays_come_out_as_they_went_in():
    made = build(train_label=TRAIN_LABEL, test_label=TEST_LABEL)
    np.testing.assert_array_equal(made.train.x, TRAIN)
    np.testing.assert_array_equal(made.test.x, TEST)
    assert made.train.x.dtype == np.uint8
    assert made.train.label is not None
    assert made.train.label.dtype == np.int32
    np.testing.assert_array_equal(made.train.label, TRAIN_LABEL)
    assert (made.name, made.scale, made.num_classes) == ("own", 255.0, 3)


def test_floats_are_kept_as_float32_of_scale_one():
    made = build(TRAIN[:, :, 0, 0] / 255, TEST[:, :, 0, 0] / 255)
    assert (made.train.x.dtype, made.train.x.shape, made.scale) == (np.float32, (6, 2), 1.0)
    assert made.num_classes is None
    assert made.train.label is None


def test_scaled_examples_are_what_batches_hold():
    bytes_, sixteenths = build(), data.from_arrays("own", TRAIN % 17, TEST % 17, scale=16)
    for made, x in ((bytes_, TRAIN / 255), (sixteenths, TRAIN % 17 / 16)):
        scaled = made.scaled(made.train)
        assert scaled.dtype == np.float32
        np.testing.assert_array_equal(scaled, x.astype(np.float32))
        np.testing.assert_array_equal(made.scaled(made.train, at_most=2), scaled[:2])
    held_out = batching.held_out(bytes_.test, batch_size=2, scale=bytes_.scale)
    stored = tuple(a if a is None else a[0] for a in held_out.groups[0])
    np.testing.assert_array_equal(bytes_.scaled(bytes_.test), held_out.read(stored, None).x)


def test_fingerprint_is_the_sha256_of_the_written_out_content():
    made = build(train_label=TRAIN_LABEL, test_label=TEST_LABEL, scale=200)
    text = b"scale 200.0, classes 3\n"
    text += b"train.x uint8 [6, 2, 2, 1]\n" + bytes(range(24))
    text += b"train.label int32 [6]\n" + b"".join(int(i).to_bytes(4, "little") for i in TRAIN_LABEL)
    text += b"test.x uint8 [2, 2, 2, 1]\n" + bytes(range(100, 108))
    text += b"test.label int32 [2]\n" + b"".join(int(i).to_bytes(4, "little") for i in TEST_LABEL)
    assert made.fingerprint == hashlib.sha256(text).hexdigest()


def test_fingerprint_tells_contents_apart_and_nothing_else():
    one_bit = TRAIN.copy()
    one_bit[3, 1, 0, 0] ^= 1
    labels = {"train_label": TRAIN_LABEL, "test_label": TEST_LABEL}
    variants = [
        build(),
        build(one_bit),
        build(TRAIN[::-1]),
        build(TRAIN.reshape(6, 1, 4, 1), TEST.reshape(2, 1, 4, 1)),
        build(TRAIN[:5]),
        build(scale=254),
        build(TRAIN.astype(np.float32), TEST.astype(np.float32), scale=255),
        build(**labels),
        build(**labels, num_classes=4),
        build(train_label=TRAIN_LABEL, test_label=TEST_LABEL[::-1]),
    ]
    assert len({made.fingerprint for made in variants}) == len(variants)
    same = data.from_arrays("renamed", np.asfortranarray(TRAIN), TEST[:])
    assert same.fingerprint == build().fingerprint


NAN = np.where(np.arange(6)[:, None] == 2, np.nan, np.zeros((6, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_x": NAN, "test_x": NAN[:2]}, "3 of 18 values of the train split are NaN or infinite"),
        ({"train_x": NAN[:2], "test_x": np.full((1, 3), -np.inf)}, "3 of 3 values of the test split are NaN or inf"),
        (
            {"test_x": TEST.reshape(2, 4, 1, 1)},
            r"train examples are \[2, 2, 1\] uint8 and test examples \[4, 1, 1\] uint8",
        ),
        ({"test_x": TEST / 255}, r"\[2, 2, 1\] uint8 and test examples \[2, 2, 1\] float32"),
        ({"train_x": np.full((2, 3), 1.5), "test_x": np.ones((2, 3))}, r"train split spans \[1.5, 1.5\].* in \[0, 1\]"),
        ({"train_x": np.ones((2, 3)), "test_x": -np.ones((2, 3))}, r"test split spans \[-1.0, -1.0\].* in \[0, 1\]"),
        ({"scale": 16}, r"test split spans \[100, 107\].* in \[0, 16\]|train split spans \[0, 23\].* in \[0, 16\]"),
        ({"scale": 0}, "scale is 0.0"),
        ({"test_x": TEST[:0]}, r"the test split is empty, of shape \[0, 2, 2, 1\]"),
        ({"train_x": TRAIN[..., 0]}, r"shape \[6, 2, 2\]; images are \[N, H, W, C\]"),
        ({"train_x": TRAIN.astype(np.int64)}, "the train split is int64; it must be uint8 or floating"),
        ({"train_label": TRAIN_LABEL}, "the train split has labels and the test split has none"),
        ({"test_label": TEST_LABEL}, "the test split has labels and the train split has none"),
        ({"train_label": TRAIN_LABEL[:5], "test_label": TEST_LABEL}, r"shape \[5\]; 6 examples need \[6\]"),
        ({"train_label": TRAIN_LABEL / 1, "test_label": TEST_LABEL}, "train labels are float64"),
        ({"train_label": np.array(["cat", "dog"] * 3), "test_label": ["cat", "dog"]}, "labels are <U3 such as 'cat'"),
        ({"train_label": TRAIN_LABEL, "test_label": TEST_LABEL - 1}, "test labels are int64 from -1"),
        ({"train_label": TRAIN_LABEL, "test_label": TEST_LABEL, "num_classes": 2}, "a label is 2; 2 classes have 0..1"),
        ({"num_classes": 2}, "2 classes are declared, but there are no labels"),
    ],
)
def test_bad_arrays_are_named(arguments, message):
    with pytest.raises(BadInput, match=message) as caught:
        build(**arguments)
    assert "\n" not in str(caught.value)
    assert "'own'" in str(caught.value)


def test_repr_prints_shapes_and_no_arrays():
    assert repr(build().train) == "Split(uint8[6, 2, 2, 1])"
    shown = (
        "Dataset('own', train=Split(uint8[6, 2, 2, 1], int32[6]), test=Split(uint8[2, 2, 2, 1], int32[2]), scale=255"
    )
    assert repr(build(train_label=TRAIN_LABEL, test_label=TEST_LABEL)) == f"{shown}, 3 classes)"
