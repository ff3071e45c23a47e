"""Weights as files, read back by hand: the format of safetensors by its specification, and the digest by its."""

import hashlib
import json
import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from genjax.errors import BadInput
from genjax.training import saved, weights
from genjax.training.digest import params_sha256


class Layer(NamedTuple):
    kernel: Any
    bias: Any


def tree():
    """Parameters of every kind of container and dtype."""
    draw = np.random.RandomState(0)
    return {
        "encoder": [Layer(jnp.float32(draw.normal(size=(3, 2))), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.ones(1))],
        "half": (jnp.bfloat16([1.5, -2]), jnp.float16([0.1])),
        "count": jnp.int32(7),
        "mask": jnp.array([True, False, True]),
        "rng": jax.random.key(3),
        "empty": jnp.zeros((0, 4)),
    }


def by_hand(path):
    """The arrays and the metadata of a safetensors file, with NumPy alone."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I32": np.int32, "U32": np.uint32}
    names["BOOL"] = np.bool_
    metadata, arrays = header.pop("__metadata__"), {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        arrays[name] = np.frombuffer(body[start:stop], names[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata


def digest_by_hand(arrays):
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        sha256.update(json.dumps([name, arrays[name].dtype.name, list(arrays[name].shape)]).encode() + b"\n")
        sha256.update(arrays[name].tobytes())
    return sha256.hexdigest()


def test_a_file_read_by_hand_has_the_digest_of_the_parameters(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, tree(), {"step": 3})
    arrays, metadata = by_hand(path)
    assert set(arrays) == {
        *("encoder/0/kernel", "encoder/0/bias", "encoder/1/kernel", "encoder/1/bias"),
        *("half/0", "half/1", "count", "mask", "rng/key<fry>", "empty"),
    }
    assert digest_by_hand(arrays) == params_sha256(tree())
    assert json.loads(metadata["genjax"]) == {"step": 3}


def test_the_same_parameters_give_the_same_bytes(tmp_path):
    about = {name: name * 3 for name in "zyxwvutsrqponm"}
    for number in range(8):
        weights.save(tmp_path / f"{number}", tree(), about)
    assert len({(tmp_path / f"{number}").read_bytes() for number in range(8)}) == 1


def test_a_file_becomes_the_same_tree_again(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, tree(), {})
    found = weights.read(path)
    again = saved.as_tree(jax.eval_shape(tree), found.leaves, "it")
    assert jax.tree.structure(again) == jax.tree.structure(tree())
    assert params_sha256(again) == params_sha256(found.leaves) == params_sha256(tree())
    assert jax.random.key_data(again["rng"]).tolist() == [0, 3]


def test_arrays_that_lie_in_another_order_are_stored_in_c_order(tmp_path):
    weights.save(tmp_path / "w", {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}, {})
    np.testing.assert_array_equal(by_hand(tmp_path / "w")[0]["a"], [[0, 3], [1, 4], [2, 5]])


def test_an_npz_file_has_the_same_arrays(tmp_path):
    params = {name: leaf for name, leaf in tree().items() if name != "half"}
    weights.save_npz(tmp_path / "w.npz", params)
    with np.load(tmp_path / "w.npz") as file:
        arrays = dict(file)
    assert params_sha256(arrays) == params_sha256(params)


@pytest.mark.parametrize(
    ("save", "params", "message"),
    [
        ("safetensors", {"a": jnp.zeros(2, jnp.float8_e4m3fn)}, "^a is float8_e4m3fn, which a safetensors file cannot"),
        ("safetensors", {"a": {"b": "text"}}, "cannot be named: 'a/b' is str, not an array"),
        ("safetensors", {"a": [1.0]}, "cannot be named: 'a/0' is float, not an array"),
        ("npz", tree(), "^half/0 is bfloat16, which a .npz file cannot hold; a safetensors file can"),
        ("npz", {"file": jnp.zeros(2)}, "cannot hold an array called file"),
    ],
)
def test_what_a_file_cannot_hold_is_named(tmp_path, save, params, message):
    write = {"npz": weights.save_npz, "safetensors": partial(weights.save, about={})}[save]
    with pytest.raises(BadInput, match=message) as caught:
        write(tmp_path / "w", params)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_of_weights_are_named(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, tree(), {})
    whole = path.read_bytes()
    contents = {"empty": b"", "text": b"hello world", "cut": whole[:-3], "longer": whole + b"1"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=f"{name} is not a readable safetensors file") as caught:
            weights.read(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=r"^initial_weights: x{200}\.\.\. is not a readable .*File name too long"):
        weights.read(Path("x" * 5000), parameter="initial_weights")
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nowhere"):
        with pytest.raises(BadInput, match=f"initial_weights: there is no file .*{name}"):
            weights.read(tmp_path / name, parameter="initial_weights")


def test_files_of_other_programs_need_no_notes(tmp_path):
    from safetensors.numpy import save_file

    for metadata in (None, {"format": "pt"}, {"genjax": "[1]"}):
        save_file({"a": np.ones(2, np.float32)}, tmp_path / "w", metadata)
        assert weights.read(tmp_path / "w").about == {}
