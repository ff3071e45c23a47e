"""Outlines of data sets: what building a model needs without the content, so that a run opens without its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.data.columns import Column
from genjax.data.dataset import Dataset, Split
from genjax.errors import BadInput


class NoContent(BadInput):
    """The content of a data set was read of which only an outline is known."""


class Outline:
    """Stands in for an array of which only the dtype and the shape are known; reading it raises `NoContent`."""

    def __init__(self, dtype: str, shape: Sequence[int]) -> None:
        self.dtype, self.shape = np.dtype(dtype), tuple(shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getattr__(self, name: str) -> Any:  # whatever else an array has, and what NumPy looks for in one
        raise NoContent("the run was opened without its data, of which only the shape is known; open it with them")

    def __getitem__(self, rows: Any) -> Any:
        return self.__getattr__("__getitem__")


def record(dataset: Dataset) -> dict[str, Any]:
    """The outline of a data set in types that JSON can hold: its fields, with [dtype, shape] in place of each array."""

    def arrays(split: Split) -> dict[str, Any]:
        found = split._asdict().items()
        return {key: [array.dtype.name, list(array.shape)] for key, array in found if array is not None}

    found = dataset._asdict() | {"train": arrays(dataset.train), "test": arrays(dataset.test)}
    if dataset.columns is None:
        del found["columns"]
    return found


def read(recorded: Any) -> Dataset:
    """The data set of an outline, with an `Outline` in the place of each array.

    Args:
      recorded: from `record`.

    Raises:
      BadInput: it is something else.
    """
    try:
        train, test = (
            Split(**{name: Outline(*array) for name, array in recorded[key].items()})  # type: ignore[arg-type]
            for key in ("train", "test")
        )
        names = recorded["class_names"]
        return Dataset(
            str(recorded["name"]),
            train,
            test,
            float(recorded["scale"]),
            recorded["num_classes"],
            str(recorded["fingerprint"]),
            None if names is None else tuple(map(str, names)),
            bool(recorded["bounded"]),
            _columns(recorded.get("columns")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"it does not describe a data set ({type(error).__name__}: {error})") from None


def _columns(recorded: Any) -> tuple[Column, ...] | None:
    if recorded is None:
        return None
    return tuple(
        Column(str(name), str(kind), float(shift), float(scale), tuple(map(str, categories)))
        for name, kind, shift, scale, categories in recorded
    )
