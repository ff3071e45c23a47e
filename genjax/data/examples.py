"""A user's own examples, without labels, in the form that a trained model takes: pictures, arrays and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax.data import array_file, image_file, table
from genjax.data.columns import Column, encode
from genjax.data.dataset import Dataset
from genjax.errors import BadInput

NAMES = "example"
"""The head of a table's first column, if this holds the names of its rows and not numbers."""


class Examples(NamedTuple):
    """Examples that are read a part at a time, so that more than fit in memory can be passed through a model."""

    names: list[str]  # of each: of a picture its path below the folder, otherwise its place
    kind: str  # "pictures", "arrays" or "tables"
    scale: float  # the values are divided by it
    read: Callable[[int, int], np.ndarray]  # start, stop -> x [stop - start, ...], float32


def open_examples(path: Path, known: Dataset, *, scale: float | None = None, resize: bool = False) -> Examples:
    """The examples at a path: a picture, a folder of pictures (its subfolders too), an array or a table of numbers.

    Of a model of a table with a record of its columns, it is a table with the same columns, and perhaps others.

    Args:
      path: a file or a folder; arrays are [N, ...] in a .npy file, or as `x` or alone in a .npz file; the rows of a
        table are examples, after a line of names or without one. Rows [D] are accepted for images of D values,
        and [H, W] for grey ones.
      known: the data that the model was trained on, or their outline.
      scale: divides the values of arrays and tables. None: for whole numbers the scale of the training data; for others
        1, or the scale of the training data if these are not integers either.
      resize: cuts pictures to the shape of the training data, resizes them, and makes them grey if those are.

    Returns:
      The examples. Values that the training data could not have are refused where they are read.

    Raises:
      BadInput: nothing that can be read is there, or its shape is not that of the training data.
    """
    shape = known.train.x.shape[1:]
    if known.columns is not None:
        return _of_table(path, known.columns, scale)
    if path.suffix.lower() in array_file.SUFFIXES:
        rows = read_rows(path)
        accepted = [shape, (int(np.prod(shape)),), *([shape[:-1]] if shape[-1] == 1 else [])]
        if rows.shape[1:] not in accepted:
            raise BadInput(f"{path} has examples of shape {list(rows.shape[1:])}; the model takes {list(shape)}")
        same = not np.issubdtype(known.train.x.dtype, np.integer) or _are_whole(rows)
        divisor = scale or (known.scale if same else 1.0)

        def read_array(start: int, stop: int) -> np.ndarray:
            return _scaled(rows[start:stop].reshape(-1, *shape), divisor, known.bounded, path, start)

        kind = "tables" if path.suffix.lower() in array_file.TABLES else "arrays"
        return Examples([str(i) for i in range(len(rows))], kind, divisor, read_array)
    if len(shape) != 3:
        listed = " or ".join(array_file.SUFFIXES)
        raise BadInput(f"the model takes vectors of {shape[0]} values, not pictures; give a file of {listed}")
    files = _pictures(path)
    names = [file.relative_to(path).as_posix() if path.is_dir() else file.name for file in files]

    def read_pictures(start: int, stop: int) -> np.ndarray:
        return np.stack([_read_picture(file, shape, resize) for file in files[start:stop]])

    return Examples(names, "pictures", 255.0, read_pictures)


def _of_table(path: Path, known: Sequence[Column], scale: float | None) -> Examples:
    """The rows of a table with at least the columns of the training data, as these were standardised."""
    if scale is not None:
        raise BadInput("the columns of a table are scaled as those of the training data were", parameter="scale")
    cells = table.read(path)
    try:
        x = encode(cells, known)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    return Examples([str(i) for i in range(len(x))], "tables", 1.0, lambda start, stop: x[start:stop])


def read_rows(path: Path) -> np.ndarray:
    """Rows of numbers [N, ...] from a .npy, .npz, .csv or .parquet file.

    Raises:
      BadInput: no such file, another kind of file, or a file that does not hold rows of numbers.
    """
    arrays = array_file.read(path, label_column=NAMES if _has_names(path) else None)
    if "x" not in arrays and len(arrays) != 1:
        raise BadInput(f"{path} holds {', '.join(arrays) or 'nothing'}; the rows must be `x`, or the only array")
    rows = arrays["x"] if "x" in arrays else next(iter(arrays.values()))
    if rows.ndim < 2 or not len(rows) or rows.dtype.kind not in "biuf":
        raise BadInput(f"{path} holds {rows.dtype} {list(rows.shape)}; expected numbers [N, ...], a row per example")
    return rows


def _has_names(path: Path) -> bool:
    """Whether a table begins with a column of names."""
    if path.suffix.lower() != ".csv" or not path.is_file():  # a .parquet has types, by which numbers are known
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().startswith(f"{NAMES},")


def _are_whole(rows: np.ndarray) -> bool:
    """Whether the values are integers; those of a table have no type of their own."""
    return rows.dtype.kind in "biu" or bool(np.isfinite(rows).all() and (rows == np.round(rows)).all())


def _scaled(rows: np.ndarray, scale: float, bounded: bool, path: Path, start: int) -> np.ndarray:
    """The rows divided by the scale; raises for values that no training example could have."""
    x = np.asarray(rows, np.float32) / np.float32(scale)
    outside = ~((x >= 0) & (x <= 1)) if bounded else ~np.isfinite(x)  # NaN too
    if outside.any():
        row = start + int(np.argmax(outside.reshape(len(x), -1).any(axis=1)))
        raise BadInput(
            f"{path}: example {row} has the value {rows[outside].ravel()[0]:g}; the model takes "
            + (f"values from 0 to {scale:g}" if bounded else "finite values")
            + "; if another number stands for 1, give it as `scale`"
        )
    return x


def _pictures(path: Path) -> list[Path]:
    """The picture files at a path, in the order of their names; hidden ones are left out."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadInput(f"there is no file or folder {path}", parameter="input")
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in image_file.suffixes()
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise BadInput(f"{path} contains no pictures", parameter="input")
    return found


def _read_picture(file: Path, shape: tuple[int, ...], resize: bool) -> np.ndarray:
    """One picture [H, W, C] in [0, 1]; grey ones become coloured where the model is."""
    height, width, channels = shape
    pixels: Any = image_file.read(file, (height, width) if resize else None).pixels
    pixels = np.float32(pixels) / np.float32(255 if pixels.dtype == np.uint8 else 1)
    if resize and pixels.shape[2] > channels:
        pixels = pixels.mean(axis=2, keepdims=True)
    if pixels.shape[:2] != (height, width) or pixels.shape[2] > channels:
        kinds = [f"{size[1]}x{size[0]} {'grey' if size[2] == 1 else 'colour'}" for size in (pixels.shape, shape)]
        raise BadInput(f"{file} is {kinds[0]}, and the model takes {kinds[1]}; give `resize` to fit pictures to it")
    return np.broadcast_to(pixels, shape)
