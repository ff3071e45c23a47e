"""Weights as files of named arrays: safetensors, which NumPy, PyTorch and others read, and NumPy's .npz.

A tree of parameters becomes arrays by path, as `digest.flatten` names them (`decoder/layer_1/kernel`), in C order. A
typed PRNG key is stored as its data. The file's metadata hold one entry, `genjax`, a JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy

from genjax.errors import BadInput, shorten
from genjax.paths import replacing
from genjax.training.digest import flatten

LAYOUT = """\
Arrays are named by their paths in genjax's parameters, joined by "/". A dense kernel is [in, out] and computes \
x @ kernel + bias, with examples in rows: PyTorch's Linear.weight is kernel.T. A convolution's kernel is [height, \
width, in, out], of images [N, H, W, C]: PyTorch's Conv2d.weight is kernel.transpose(3, 2, 0, 1). The kernel of a \
transposed convolution has the same axes and is not flipped: PyTorch's ConvTranspose2d.weight is kernel[::-1, \
::-1].transpose(2, 3, 0, 1). Images are flattened in the order [H, W, C]. Arrays of several networks may be stacked \
along a first axis. Arrays whose names end in key<...> are the data of random keys."""
"""How the arrays of genjax's own networks are to be read; it is written into the metadata."""

_DTYPES = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
_DTYPES += ("float16", "bfloat16", "float32", "float64", "complex64")
"""What a safetensors file can hold and NumPy (with ml_dtypes) reads back."""


class Weights(NamedTuple):
    """The content of a file of weights."""

    leaves: dict[str, np.ndarray]  # by path
    about: dict[str, Any]  # what `save` was given; empty if another program wrote the file


def named(params: Any) -> dict[str, np.ndarray]:
    """The leaves of a tree of parameters by path, as NumPy arrays in C order.

    Raises:
      BadInput: a leaf is not an array of numbers or keys, or two have the same path.
    """
    try:
        leaves = jax.device_get(flatten(params))
    except (TypeError, ValueError) as error:
        raise BadInput(f"these parameters cannot be named: {error}") from error
    return {path: np.asarray(leaf, order="C") for path, leaf in sorted(leaves.items())}


def save(path: Path, params: Any, about: Mapping[str, Any]) -> None:
    """Writes parameters as a safetensors file, the same bytes for the same arguments.

    Args:
      about: what to note in the metadata, in values that JSON can hold.

    Raises:
      BadInput: as `named` does, or a leaf has a dtype that such a file cannot hold.
    """
    leaves = named(params)
    for name, leaf in leaves.items():
        if leaf.dtype.name not in _DTYPES:
            raise BadInput(f"{name} is {leaf.dtype.name}, which a safetensors file cannot hold for NumPy")
    # one entry, because safetensors writes several in an order that changes from call to call
    metadata = {"genjax": json.dumps(about, sort_keys=True)}
    with replacing(path) as file:
        file.write(safetensors.numpy.save(leaves, metadata))


def save_npz(path: Path, params: Any) -> None:
    """Writes parameters as a .npz file.

    Raises:
      BadInput: as `named` does, or a leaf has a dtype or a name that such a file cannot hold.
    """
    leaves = named(params)
    for name, leaf in leaves.items():
        if leaf.dtype.kind not in "biufc":
            raise BadInput(f"{name} is {leaf.dtype.name}, which a .npz file cannot hold; a safetensors file can")
        if name in ("file", "allow_pickle"):
            raise BadInput(f"a .npz file cannot hold an array called {name}; a safetensors file can")
    with replacing(path) as file:
        np.savez(file, **leaves)  # type: ignore[arg-type] # none of the names is an argument


def read(path: Path, *, parameter: str | None = None) -> Weights:
    """Reads a safetensors file.

    Args:
      parameter: the name of the argument that names the file, for the error.

    Raises:
      BadInput: there is no such file, or it is not one of safetensors.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError
        with safetensors.safe_open(path, framework="np") as file:
            # copied: the file's memory ends with it
            leaves = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            about = json.loads((file.metadata() or {}).get("genjax", "{}"))
    except FileNotFoundError:
        raise BadInput(f"there is no file {path}", parameter=parameter) from None
    except (OSError, safetensors.SafetensorError, AttributeError, TypeError, ValueError) as error:
        reason = shorten(" ".join(str(error).split()))
        raise BadInput(
            f"{shorten(str(path))} is not a readable safetensors file ({reason})", parameter=parameter
        ) from error
    return Weights(leaves, about if isinstance(about, dict) else {})
