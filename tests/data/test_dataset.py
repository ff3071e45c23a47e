"""Data sets from arrays, their checks and their fingerprint."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from genjax import data
from genjax.data import batching, examples, outline
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
        ({"train_label": np.array(["cat", 1] * 3, object), "test_label": ["cat", "dog"]}, "train labels are object"),
        ({"class_names": ["a"]}, "named classes are declared, but there are no labels"),
        ({"train_label": TRAIN_LABEL, "test_label": TEST_LABEL, "class_names": "ab"}, "a label is 2; 2 classes have"),
        (
            {"train_label": TRAIN_LABEL, "test_label": TEST_LABEL, "class_names": "abcd", "num_classes": 3},
            "4 names are given for 3 classes",
        ),
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


def test_texts_become_classes_in_the_order_of_their_names():
    made = build(train_label=["dog", "ant", "dog", "cat", "ant", "dog"], test_label=np.array(["bee", "cat"]))
    assert made.class_names == ("ant", "bee", "cat", "dog")
    assert made.num_classes == 4
    assert made.train.label is not None and made.test.label is not None
    np.testing.assert_array_equal(made.train.label, [3, 0, 3, 2, 0, 3])
    np.testing.assert_array_equal(made.test.label, [1, 2])


def test_names_of_classes_are_not_in_the_fingerprint():
    labels = {"train_label": TRAIN_LABEL, "test_label": TEST_LABEL}
    named = build(**labels, class_names=["a", "b", "c"])
    assert named.class_names == ("a", "b", "c")
    assert named.fingerprint == build(**labels).fingerprint


def test_a_choice_is_fixed_random_and_whole_where_there_are_no_more():
    np.testing.assert_array_equal(data.choose(7, 7), np.arange(7))
    np.testing.assert_array_equal(data.choose(7, 8), np.arange(7))
    rows = data.choose(5000, 1000)
    np.testing.assert_array_equal(rows, np.random.RandomState(0).permutation(5000)[:1000])
    of_class = np.bincount(np.repeat(np.arange(10), 500)[rows], minlength=10)
    assert of_class.min() > 70  # of 100 in expectation; the first 1000 would be of two classes
    split = data.Split(np.arange(5000)[:, None], np.arange(5000))
    assert split.sample(5000) is split
    some = split.sample(10)
    assert some.label is not None
    np.testing.assert_array_equal(some.x[:, 0], some.label)
    np.testing.assert_array_equal(some.label, np.random.RandomState(0).permutation(5000)[:10])
    assert data.Split(split.x).sample(10).label is None


def test_values_outside_the_unit_interval_are_taken_where_that_is_asked_for():
    x = np.linspace(-2, 3, 12).reshape(6, 2)
    made = build(x, x[:2] * 2, bounded=False)
    assert not made.bounded and made.scale == 1
    np.testing.assert_array_equal(made.scaled(made.train), x.astype(np.float32))
    assert made.limits == (-2, 3)
    np.testing.assert_allclose(made.visible(np.array([-2.0, 0.5, 3.0])), [0, 0.5, 1])
    with pytest.raises(
        BadInput, match=r"^likelihood: x needs values in \[0, 1\], and data set 'own' .* span \[-2, 3\]"
    ):
        made.require_bounded("x", parameter="likelihood")
    inside = build(x.clip(0, 1), x[:2].clip(0, 1), bounded=False)
    assert inside.bounded and inside.limits == (0, 1)
    inside.require_bounded("x")
    np.testing.assert_array_equal(inside.visible(x), x)


def test_an_outline_has_the_shapes_and_none_of_the_content():
    made = build(train_label=TRAIN_LABEL, test_label=TEST_LABEL, class_names=["a", "b", "c"])
    known = outline.read(json.loads(json.dumps(outline.record(made))))
    assert known._replace(train=made.train, test=made.test) == made
    assert repr(known) == repr(made)
    for split, whole in ((known.train, made.train), (known.test, made.test)):
        assert (len(split.x), split.x.ndim, split.x.shape[1:]) == (len(whole.x), 4, (2, 2, 1))
    reading = [
        lambda: known.scaled(known.train),
        lambda: known.train.x[:3],
        lambda: known.train.x.mean(axis=0),
        lambda: np.unique(known.train.label),  # type: ignore[arg-type]
    ]
    for read in reading:
        with pytest.raises(outline.NoContent):
            read()
    for wrong in ([], {}, {"train": 3}, outline.record(made) | {"train": {"x": 3}}):
        with pytest.raises(BadInput, match="does not describe a data set"):
            outline.read(wrong)


def test_repr_prints_shapes_and_no_arrays():
    assert repr(build().train) == "Split(uint8[6, 2, 2, 1])"
    shown = (
        "Dataset('own', train=Split(uint8[6, 2, 2, 1], int32[6]), test=Split(uint8[2, 2, 2, 1], int32[2]), scale=255"
    )
    assert repr(build(train_label=TRAIN_LABEL, test_label=TEST_LABEL)) == f"{shown}, 3 classes)"


def test_labels_that_are_numbers_are_not_classes():
    sine, curve, ring = (data.load(name) for name in ("inverse_sine", "curve", "ring"))
    assert sine.train.label is not None and sine.classes(sine.train) is None and curve.classes(curve.train) is None
    np.testing.assert_array_equal(ring.classes(ring.test), ring.test.label)
    assert ring.require_classes("a classifier", at_least=2) == ring.num_classes == len(np.unique(ring.train.label))
    with pytest.raises(
        BadInput, match=r"^dataset: a classifier needs classes, and .* has labels that are numbers, not"
    ):
        sine.require_classes("a classifier", parameter="dataset")
    with pytest.raises(BadInput, match="a classifier needs classes, and data set 'curve' has no labels; a folder has"):
        curve.require_classes("a classifier")
    with pytest.raises(BadInput, match="needs 9 classes or more, and data set 'ring' has 8"):
        ring.require_classes("a classifier", at_least=9)
    assert "numbers as labels" in repr(sine) and "no labels" in repr(curve)


def test_images_are_asked_for_by_name():
    build().require_images("a convolution")
    with pytest.raises(BadInput, match=r"^network: a convolution needs images, and data set 'own' has none$"):
        build(TRAIN.reshape(6, 4), TEST.reshape(2, 4)).require_images("a convolution", parameter="network")


def test_new_examples_have_the_shape_of_the_data_or_a_simpler_one(tmp_path):
    for shape in [(6, 2, 2, 1), (6, 2, 2), (6, 4)]:
        np.save(tmp_path / "x.npy", TRAIN.reshape(shape))
        found = examples.open_examples(tmp_path / "x.npy", build()).read(0, 6)
        np.testing.assert_allclose(found, TRAIN / 255, rtol=1e-6)
    np.save(tmp_path / "x.npy", TRAIN.reshape(6, 4, 1))
    with pytest.raises(BadInput, match=r"has examples of shape \[4, 1\]; the model takes \[2, 2, 1\]$"):
        examples.open_examples(tmp_path / "x.npy", build())
