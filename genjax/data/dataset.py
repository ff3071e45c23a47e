"""Data sets: two splits of arrays as stored, and the fingerprint of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from genjax.data.columns import Column
from genjax.errors import BadInput


def choose(count: int, num: int) -> np.ndarray:
    """A fixed random choice of `num` of `count` examples; all of them, in their order, if there are no more than that.

    A source may hold one class after the other, so that its first examples are of the first classes alone.

    Args:
      count: number of examples.
      num: number of examples wanted.

    Returns:
      Different indices [min(count, num)], the same in every run.
    """
    if count <= num:
        return np.arange(count)
    return np.random.RandomState(0).permutation(count)[:num]  # a stream that NumPy keeps frozen


class Split(NamedTuple):
    """Examples as stored, and their labels if there are any."""

    x: np.ndarray  # [N, H, W, C] images or [N, D] vectors; uint8 or float32
    label: np.ndarray | None = None  # [N] int32

    def sample(self, num: int) -> Split:
        """`num` examples that stand for the split, as `choose` draws them."""
        rows = choose(len(self.x), num)
        return self if len(rows) == len(self.x) else self.at(rows)

    def at(self, rows: np.ndarray) -> Split:
        """The examples of these indices."""
        return Split(self.x[rows], None if self.label is None else self.label[rows])

    def __repr__(self) -> str:
        shown = ", ".join(f"{a.dtype}{list(a.shape)}" for a in self if a is not None)
        return f"Split({shown})"


class Dataset(NamedTuple):
    """A data set held in memory; models take `x / scale`, which lies in [0, 1] where `bounded`."""

    name: str
    train: Split
    test: Split  # held out; never empty
    scale: float  # 255 for bytes, 16 for the embedded digits, 1 for floats
    num_classes: int | None  # None without labels, or where these are numbers, as of a regression
    fingerprint: str  # sha256 of the content: see `fingerprint`
    class_names: tuple[str, ...] | None = None  # of the labels 0, 1, ..., if they are known; not in the fingerprint
    bounded: bool = True  # whether x / scale lies in [0, 1]; False only where `from_arrays` was allowed it
    columns: tuple[Column, ...] | None = None  # of a table, whose features x are

    def __repr__(self) -> str:
        unlabelled = "no labels" if self.train.label is None else "numbers as labels"
        classes = unlabelled if self.num_classes is None else f"{self.num_classes} classes"
        return f"Dataset({self.name!r}, train={self.train}, test={self.test}, scale={self.scale:g}, {classes})"

    def scaled(self, split: Split) -> np.ndarray:
        """The examples of a split in the form that models take: x / scale, float32."""
        return np.asarray(split.x, np.float32) / np.float32(self.scale)

    def classes(self, split: Split) -> np.ndarray | None:
        """The labels of a split of this data set if they are classes, [N]; otherwise None."""
        return None if self.num_classes is None else split.label

    def require_classes(self, what: str, *, at_least: int = 1, parameter: str | None = None) -> int:
        """Checks that there are labels, and that they are classes.

        Args:
          what: what needs them, in words such as "a classifier".
          at_least: the number of classes that are needed.
          parameter: the name of the argument that chose it, for the error.

        Returns:
          The number of classes.

        Raises:
          BadInput: there are none, or fewer.
        """
        if self.num_classes is not None and self.num_classes >= at_least:
            return self.num_classes
        if self.num_classes is not None:
            found = f"{self.num_classes}"
        elif self.train.label is not None:
            found = "labels that are numbers, not classes"
        else:
            found = "no labels; a folder has a subfolder for each class"
        needed = "classes" if at_least == 1 else f"{at_least} classes or more"
        raise BadInput(f"{what} needs {needed}, and data set {self.name!r} has {found}", parameter=parameter)

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest value that pictures show: 0 and 1, or those of training data beyond."""
        if self.bounded:
            return 0.0, 1.0
        return float(np.nanmin(self.train.x) / self.scale), float(np.nanmax(self.train.x) / self.scale)

    def visible(self, x: ArrayLike) -> np.ndarray:
        """Examples, or what a model makes of them, with `limits` at 0 and 1, as pictures show them."""
        low, high = self.limits
        return np.asarray(x) if (low, high) == (0, 1) else (np.asarray(x) - low) / (high - low)

    def require_images(self, what: str, *, parameter: str | None = None) -> None:
        """Checks that examples are images, [H, W, C], with the arguments of `require_classes`.

        Raises:
          BadInput: they are vectors.
        """
        if self.train.x.ndim != 4:
            raise BadInput(f"{what} needs images, and data set {self.name!r} has none", parameter=parameter)

    def require_bounded(self, what: str, *, parameter: str | None = None) -> None:
        """Checks that x / scale lies in [0, 1].

        Args:
          what: what needs that, in words such as "a Bernoulli likelihood".
          parameter: the name of the argument that chose it, for the error.

        Raises:
          BadInput: some values are outside.
        """
        if not self.bounded:
            low, high = self.limits
            raise BadInput(
                f"{what} needs values in [0, 1], and data set {self.name!r} has others: its training examples span "
                f"[{low:g}, {high:g}]; rescale them, or choose what takes any values, as a Gaussian likelihood does",
                parameter=parameter,
            )


def cut_validation(dataset: Dataset, num: int) -> tuple[Dataset, Dataset]:
    """Cuts a validation split from the training split: a fixed random choice, as `choose` draws it.

    Args:
      dataset: with its training split in memory.
      num: number of validation examples.

    Returns:
      The data set with the training examples that are left, and the same with the validation examples in the place of
      the test split. Both keep the fingerprint of the whole.

    Raises:
      BadInput: no training example would be left.
    """
    count = len(dataset.train.x)
    if not 0 < num < count:
        raise BadInput(f"{num} of {count} training examples cannot be used for validation", parameter="num_validation")
    chosen = choose(count, num)
    kept = dataset._replace(train=dataset.train.at(np.delete(np.arange(count), chosen)))
    return kept, kept._replace(test=dataset.train.at(np.sort(chosen)))


def from_arrays(
    name: str,
    train_x: np.ndarray,
    test_x: np.ndarray,
    *,
    train_label: np.ndarray | None = None,
    test_label: np.ndarray | None = None,
    scale: float | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    bounded: bool = True,
    missing: bool = False,
) -> Dataset:
    """A data set of arrays, checked; those that are mapped from the disk stay there.

    Args:
      name: of the data set.
      train_x, test_x: images [N, H, W, C] or vectors [N, D], alike in shape and dtype, uint8 or floating (kept as
        float32), with every value in [0, scale].
      train_label, test_label: [N] integers from 0, or texts, for both splits or for neither. Texts become the places of
        the classes among their sorted names, and the names are kept.
      scale: 255 for uint8 and 1 for floats unless given.
      num_classes: one more than the largest label unless given.
      class_names: the classes' names in the order of the labels, for pictures and tables.
      bounded: False to accept any finite values, as of standardised tables.
      missing: True to accept NaN, which then stands for a missing value.

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
    within = True
    for split, x in (("train", train_x), ("test", test_x)):
        known = x[~np.isnan(x)] if missing else x
        if not known.size:
            raise BadInput(f"data set {name!r}: all values of the {split} split are missing")
        low, high = known.min(), known.max()  # NaN, if there is one anywhere
        if not (np.isfinite(low) and np.isfinite(high)):
            bad = int(known.size - np.isfinite(known).sum())
            what = "infinite" if missing else "NaN or infinite"
            hint = "; the page `imputation` takes NaN as missing values" if np.isnan(low) else ""
            raise BadInput(f"data set {name!r}: {bad} of {x.size} values of the {split} split are {what}{hint}")
        inside = low >= 0 and high <= scale
        if bounded and not inside:
            raise BadInput(
                f"data set {name!r}: the {split} split spans [{low}, {high}]; its values must be in [0, {scale:g}], "
                "unless `bounded` is False"
            )
        within = within and bool(inside)

    if (train_label is None) != (test_label is None):
        seen, unseen = ("train", "test") if test_label is None else ("test", "train")
        raise BadInput(
            f"data set {name!r}: the {seen} split has labels and the {unseen} split has none; give both or neither"
        )
    if train_label is not None and test_label is not None:
        named, train_label, test_label = _numbered(train_label, test_label)
        class_names = class_names or named
        train_label = _checked_label(name, "train", train_label, len(train_x))
        test_label = _checked_label(name, "test", test_label, len(test_x))
        num_classes = _num_classes(name, 1 + int(max(train_label.max(), test_label.max())), num_classes, class_names)
    elif num_classes is not None or class_names is not None:
        raise BadInput(f"data set {name!r}: {num_classes or 'named'} classes are declared, but there are no labels")

    train, test = Split(train_x, train_label), Split(test_x, test_label)
    content = fingerprint(train, test, scale=scale, num_classes=num_classes)
    names = None if class_names is None else tuple(map(str, class_names))
    return Dataset(name, train, test, scale, num_classes, content, names, within)


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
    on_disk = isinstance(x, np.memmap)
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
    return x.astype(np.float32, copy=not on_disk)


def _checked_label(name: str, split: str, label: np.ndarray, num: int) -> np.ndarray:
    label = np.asarray(label)
    if label.shape != (num,):
        raise BadInput(f"data set {name!r}: {split} labels have shape {list(label.shape)}; {num} examples need [{num}]")
    if not np.issubdtype(label.dtype, np.integer) or label.min() < 0:
        first = label.min() if np.issubdtype(label.dtype, np.number) else label[0]
        raise BadInput(
            f"data set {name!r}: {split} labels are {label.dtype} from {first}; they must be integers from 0, or texts"
        )
    return label.astype(np.int32)


def _numbered(train: np.ndarray, test: np.ndarray) -> tuple[list[str] | None, np.ndarray, np.ndarray]:
    """Labels as integers, and the sorted names of the classes if the labels are texts."""
    train, test = np.asarray(train), np.asarray(test)
    if not all(label.dtype.kind == "U" or all(isinstance(each, str) for each in label.flat) for label in (train, test)):
        return None, train, test
    names, numbers = np.unique(np.concatenate([train.ravel(), test.ravel()]).astype(str), return_inverse=True)
    return names.tolist(), numbers[: train.size].reshape(train.shape), numbers[train.size :].reshape(test.shape)


def _num_classes(name: str, seen: int, declared: int | None, class_names: Sequence[str] | None) -> int:
    """The number of classes: that declared, else that of the names, else the number seen; checked."""
    if declared is None:
        declared = seen if class_names is None else len(class_names)
    if seen > declared:
        raise BadInput(f"data set {name!r}: a label is {seen - 1}; {declared} classes have 0..{declared - 1}")
    if class_names is not None and len(class_names) != declared:
        raise BadInput(f"data set {name!r}: {len(class_names)} names are given for {declared} classes")
    return declared
