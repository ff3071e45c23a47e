"""The digest against a second implementation on leaves listed by hand, and against every small change."""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from genjax.training.digest import flatten, params_sha256


class Layer(NamedTuple):
    kernel: object
    bias: object


def tree(asarray=np.asarray):
    return {
        "dense": Layer(asarray(np.float32([[1.5, -0.0], [np.inf, 2.0]])), asarray(np.array(-3, np.int32))),
        "Bits": [asarray(np.array([True, False]))],
        "half": asarray(np.array([1.0, -2.0], ml_dtypes.bfloat16)),
        "none": asarray(np.zeros((0, 3), np.float32)),
    }


def test_golden_by_a_second_implementation():
    # Code points: "B" < "d" < "h" < "n", and "dense/bias" < "dense/kernel". bfloat16 is the upper half of a float32.
    text = (
        b'["Bits/0", "bool", [2]]\n' + bytes([1, 0]),
        b'["dense/bias", "int32", []]\n' + struct.pack("<i", -3),
        b'["dense/kernel", "float32", [2, 2]]\n' + struct.pack("<4f", 1.5, -0.0, float("inf"), 2.0),
        b'["half", "bfloat16", [2]]\n' + struct.pack("<f", 1.0)[2:] + struct.pack("<f", -2.0)[2:],
        b'["none", "float32", [0, 3]]\n',
    )
    assert params_sha256(tree()) == hashlib.sha256(b"".join(text)).hexdigest()


def test_does_not_depend_on_how_the_tree_is_held():
    expected = params_sha256(tree())
    assert params_sha256(tree(jnp.asarray)) == expected
    assert params_sha256(dict(reversed(tree().items()))) == expected
    assert params_sha256(flatten(tree())) == expected
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    for same in (np.asfortranarray(x), x.astype(">f4"), np.repeat(x, 2, axis=1)[:, ::2]):
        assert params_sha256({"x": same}) == params_sha256({"x": x})


def test_trees_without_leaves():
    for empty in ({}, (), None, {"a": {}}):
        assert params_sha256(empty) == hashlib.sha256().hexdigest()


def test_every_change_changes_it():
    a, b = np.arange(6, dtype=np.float32), np.arange(6, 12, dtype=np.float32)
    flipped = a.copy()
    flipped.view(np.uint32)[4] ^= 1
    variants = {
        "as it is": {"a": a, "b": b},
        "one bit": {"a": flipped, "b": b},
        "a name": {"a": a, "c": b},
        "names swapped": {"a": b, "b": a},
        "a dtype, the same bytes": {"a": a.view(np.int32), "b": b},
        "a shape, the same bytes": {"a": a.reshape(2, 3), "b": b},
        "another shape, the same bytes": {"a": a.reshape(3, 2), "b": b},
        "a leaf less": {"a": a},
        "an empty leaf more": {"a": a, "b": b, "c": np.zeros(0, np.float32)},
        "a level more": {"a": a, "b": {"b": b}},
        "negative zero": {"a": np.where(a == 0, np.float32(-0.0), a), "b": b},
        "another NaN": {"a": np.where(a == 0, np.float32(np.nan), a), "b": b},
        "and another": {"a": np.where(a == 0, -np.float32(np.nan), a), "b": b},
        "split elsewhere": {"a": np.concatenate([a, b[:1]]), "b": b[1:]},
    }
    assert len({params_sha256(variant) for variant in variants.values()}) == len(variants)


@pytest.mark.parametrize("leaf", [3, 0.5, "text", np.array(["text"]), np.array([None])])
def test_refuses_what_is_not_an_array_of_numbers(leaf):
    with pytest.raises(TypeError, match=r"'params/a' is .*, not an array of numbers"):
        params_sha256({"params": {"a": leaf}})


@pytest.mark.parametrize(("impl", "name"), [("threefry2x32", "key<fry>"), ("rbg", "key<rbg>")])
def test_a_typed_key_is_its_data_and_the_name_of_its_implementation(impl, name):
    keys = jax.random.split(jax.random.key(7, impl=impl), 3)
    data = np.asarray(jax.random.key_data(keys))
    assert params_sha256({"key": keys}) == params_sha256({"key": {name: data}}) != params_sha256({"key": data})
    assert flatten(jax.eval_shape(lambda: {"key": keys})) == {
        f"key/{name}": jax.ShapeDtypeStruct(data.shape, data.dtype)
    }


def test_refuses_two_leaves_of_one_path():
    with pytest.raises(ValueError, match="two leaves have the path 'a/b'"):
        params_sha256({"a/b": np.ones(1), "a": {"b": np.ones(1)}})
