"""Data sets: two splits of arrays as stored, and the fingerprint of their content."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from genjax.errors import BadInput


class Split(NamedTuple):
    """Examples as stored, and their labels if there are any."""

    x: np.ndarray  # [N, H, W, C] images or [N, D] vectors; uint8 or float32
    label: np.ndarray | None = None  # [N] int32

    def __repr__(self) -> str:
        shown = ", ".join(f"{a.dtype}{list(a.shape)}" for a in self if a is not None)
        return f"Split({shown})"


class Dataset(NamedTuple):
    """A data set held in memory; `x / scale` lies in [0, 1]."""

    name: str
    train: Split
    test: Split  # held out; never empty
    scale: float  # 255 for bytes, 16 for the embedded digits, 1 for floats
    num_classes: int | None  # None without labels
    fingerprint: str  # sha256 of the content: see `fingerprint`

    def __repr__(self) -> str:
        classes = "no labels" if self.num_classes is None else f"{self.num_classes} classes"
        return f"Dataset({self.name!r}, train={self.train}, test={self.test}, scale={self.scale:g}, {classes})"

    def scaled(self, split: Split, *, at_most: int | None = None) -> np.ndarray:
        """The first examples of a split, or all of them, in the form that models take: x / scale, float32 in [0, 1]."""
        return np.asarray(split.x[:at_most], np.float32) / np.float32(self.scale)


def from_arrays(
    name: str,
    train_x: np.ndarray,
    test_x: np.ndarray,
    *,
    train_label: np.ndarray | None = None,
    test_label: np.ndarray | None = None,
    scale: float | None = None,
    num_classes: int | None = None,
) -> Dataset:
    """A data set of arrays in memory, checked.

    Args:
      name: of the data set.
      train_x, test_x: images [N, H, W, C] or vectors [N, D], alike in shape and dtype, uint8 or floating (kept as
        float32), with every value in [0, scale].
      train_label, test_label: [N] integers from 0, for both splits or for neither.
      scale: 255 for uint8 and 1 for floats unless given.
      num_classes: one more than the largest label unless given.

    Returns:
      The data set, with the fingerprint of its content.

    Raises:
      BadInput: an empty split, shapes, dtypes or labels that disagree, NaN, infinity, or values outside [0, scale].
    """
    train_x, test_x = _checked_x(name, "train", train_x), _checked_x(name, "test", test_x)
    if train_x.shape[1:] != test_x.shape[1:] or train_x.dtype != test_x.dtype:
        raise BadInput(
            f"data set {name!r}: train examples are {list(train_x.shape[1:])} {train_x.dtype} and test examples "
            f"{list(test_x.shape[1:])} {test_x.dtype}; both splits need the same shape and dtype"
        )
    scale = (255.0 if train_x.dtype == np.uint8 else 1.0) if scale is None else float(scale)
    if not (np.isfinite(scale) and scale > 0):
        raise BadInput(f"data set {name!r}: scale is {scale}; it must be finite and above 0")
    for split, x in (("train", train_x), ("test", test_x)):
        low, high = x.min(), x.max()  # NaN, if there is one anywhere
        if not (np.isfinite(low) and np.isfinite(high)):
            bad = int(x.size - np.isfinite(x).sum())
            raise BadInput(f"data set {name!r}: {bad} of {x.size} values of the {split} split are NaN or infinite")
        if low < 0 or high > scale:
            raise BadInput(
                f"data set {name!r}: the {split} split spans [{low}, {high}]; its values must be in [0, {scale:g}]"
            )

    if (train_label is None) != (test_label is None):
        seen, unseen = ("train", "test") if test_label is None else ("test", "train")
        raise BadInput(
            f"data set {name!r}: the {seen} split has labels and the {unseen} split has none; give both or neither"
        )
    if train_label is not None and test_label is not None:
        train_label = _checked_label(name, "train", train_label, len(train_x))
        test_label = _checked_label(name, "test", test_label, len(test_x))
        seen_classes = 1 + int(max(train_label.max(), test_label.max()))
        num_classes = seen_classes if num_classes is None else num_classes
        if seen_classes > num_classes:
            raise BadInput(
                f"data set {name!r}: a label is {seen_classes - 1}; {num_classes} classes have 0..{num_classes - 1}"
            )
    elif num_classes is not None:
        raise BadInput(f"data set {name!r}: {num_classes} classes are declared, but there are no labels")

    train, test = Split(train_x, train_label), Split(test_x, test_label)
    return Dataset(
        name, train, test, scale, num_classes, fingerprint(train, test, scale=scale, num_classes=num_classes)
    )


def fingerprint(train: Split, test: Split, *, scale: float, num_classes: int | None) -> str:
    """SHA-256 over the scale, the number of classes, and the name, dtype, shape and little-endian bytes of every array.

    It depends only on the content, not on where the data lie, in which files and under which name.

    Args:
      train, test: the splits.
      scale: of the data set.
      num_classes: of the data set.

    Returns:
      64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"scale {float(scale)!r}, classes {num_classes}\n".encode())
    arrays = {"train.x": train.x, "train.label": train.label, "test.x": test.x, "test.label": test.label}
    for name, array in arrays.items():
        if array is None:
            digest.update(f"{name} absent\n".encode())
        else:
            digest.update(f"{name} {array.dtype.name} {list(array.shape)}\n".encode())
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def _checked_x(name: str, split: str, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim not in (2, 4):
        raise BadInput(
            f"data set {name!r}: the {split} split has shape {list(x.shape)}; images are [N, H, W, C] (grey ones too: "
            "x[..., None]), vectors [N, D]"
        )
    if x.size == 0:
        raise BadInput(
            f"data set {name!r}: the {split} split is empty, of shape {list(x.shape)}; it needs at least one example"
        )
    if x.dtype == np.uint8:
        return x
    if not np.issubdtype(x.dtype, np.floating):
        raise BadInput(f"data set {name!r}: the {split} split is {x.dtype}; it must be uint8 or floating")
    return x.astype(np.float32)


def _checked_label(name: str, split: str, label: np.ndarray, num: int) -> np.ndarray:
    label = np.asarray(label)
    if label.shape != (num,):
        raise BadInput(f"data set {name!r}: {split} labels have shape {list(label.shape)}; {num} examples need [{num}]")
    if label.dtype.kind in "USO":  # texts, or objects
        raise BadInput(
            f"data set {name!r}: {split} labels are {label.dtype} such as '{label.flat[0]}'; they must be "
            "integers from 0, as from: classes, label = np.unique(texts, return_inverse=True)"
        )
    if not np.issubdtype(label.dtype, np.integer) or label.min() < 0:
        raise BadInput(
            f"data set {name!r}: {split} labels are {label.dtype} from {label.min()}; they must be integers from 0"
        )
    return label.astype(np.int32)
