"""A user's own examples, without labels, in the form that a trained model takes: pictures, arrays and tables."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genjax.errors import BadInput

ARRAYS, TABLES = (".npy", ".npz"), (".csv",)
NAMES = "example"
"""The head of a table's first column, if this holds the names of its rows and not numbers."""


class Examples(NamedTuple):
    """Examples that are read a part at a time, so that more than fit in memory can be passed through a model."""

    names: list[str]  # of each: of a picture its path below the folder, otherwise its place
    kind: str  # "pictures", "arrays" or "tables"
    scale: float  # the values are divided by it
    read: Callable[[int, int], np.ndarray]  # start, stop -> x [stop - start, ...] in [0, 1], float32


def open_examples(
    path: Path,
    shape: Sequence[int],
    *,
    scale: float | None = None,
    trained: np.dtype,
    trained_scale: float,
    resize: bool = False,
) -> Examples:
    """The examples at a path: a picture, a folder of pictures (its subfolders too), an array or a table of numbers.

    Args:
      path: a file or a folder; arrays are [N, ...] in a .npy file, or as `x` or alone in a .npz file; the rows of a
        table are examples, after a line of names or without one.
      shape: of one example of the model's; rows [D] are accepted for images of D values.
      scale: divides the values. None: 255 for pictures; for integers the scale of the training data; for other numbers
        1, or the scale of the training data if these are not integers either.
      trained, trained_scale: dtype and scale of the training data.
      resize: cuts pictures to the shape's proportions, resizes them, and makes them grey or coloured as the model is.

    Returns:
      The examples. Values outside [0, scale] are refused where they are read.

    Raises:
      BadInput: nothing that can be read is there, or its shape is not the model's.
    """
    shape = tuple(shape)
    if path.suffix.lower() in ARRAYS + TABLES:
        rows = read_rows(path)
        if rows.shape[1:] not in (shape, (int(np.prod(shape)),)):
            raise BadInput(f"{path} has examples of shape {list(rows.shape[1:])}; the model takes {list(shape)}")
        whole = np.issubdtype(trained, np.integer)
        same = whole == _are_whole(rows, path)
        divisor = scale or (trained_scale if same or not whole else 1.0)
        kind = "tables" if path.suffix.lower() in TABLES else "arrays"
        names = [str(i) for i in range(len(rows))]
        return Examples(names, kind, divisor, lambda a, b: _scaled(rows[a:b].reshape(-1, *shape), divisor, path, a))
    if len(shape) != 3:
        raise BadInput(f"the model takes vectors of {shape[0]} values, not pictures; give a file of {_listed()}")
    files = _pictures(path)
    names = [file.relative_to(path).as_posix() if path.is_dir() else file.name for file in files]
    divisor = scale or 255.0

    def read(start: int, stop: int) -> np.ndarray:
        pixels = np.stack([_read_picture(file, shape, resize) for file in files[start:stop]])
        return _scaled(pixels, divisor, path, start)

    return Examples(names, "pictures", divisor, read)


def read_rows(path: Path) -> np.ndarray:
    """Rows of numbers [N, ...] from a .npy, .npz or .csv file; a .npy file stays on the disk until it is used.

    Raises:
      BadInput: no such file, another kind of file, or a file that does not hold rows of numbers.
    """
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix not in ARRAYS + TABLES:
        raise BadInput(f"{path} is not a file of {_listed()}")
    try:
        rows = _read_table(path) if suffix in TABLES else _read_array(path)
    except BadInput:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is unreadable ({error})") from None
    if rows.ndim < 2 or not len(rows) or rows.dtype.kind not in "biuf":
        raise BadInput(f"{path} holds {rows.dtype} {list(rows.shape)}; expected numbers [N, ...], a row per example")
    return rows


def _listed() -> str:
    return " or ".join(ARRAYS + TABLES)


def _read_array(path: Path) -> np.ndarray:
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    with found:
        names = list(found)
        if "x" not in names and len(names) != 1:
            raise BadInput(f"{path} holds {', '.join(names) or 'nothing'}; the examples must be `x`, or the only array")
        return found["x" if "x" in names else names[0]]


def _read_table(path: Path) -> np.ndarray:
    with open(path, newline="") as file:
        lines = [line for line in csv.reader(file) if line]
    if lines and not _is_number(lines[0]):  # names of the columns
        named = lines.pop(0)[0] == NAMES
        lines = [line[1:] for line in lines] if named else lines
    rows = []
    for number, line in enumerate(lines, start=1):
        if not _is_number(line) or len(line) != len(lines[0]):
            raise BadInput(f"{path}: row {number} is {','.join(line)[:60]!r}; expected {len(lines[0])} numbers")
        rows.append([float(cell) for cell in line])
    return np.array(rows, np.float64)


def _is_number(line: list[str]) -> bool:
    try:
        return bool([float(cell) for cell in line])
    except ValueError:
        return False


def _are_whole(rows: np.ndarray, path: Path) -> bool:
    """Whether the values are integers: by their type, or in a table, which has none, by their values."""
    if path.suffix.lower() in TABLES:
        return bool(np.isfinite(rows).all() and (rows == np.round(rows)).all())
    return rows.dtype.kind in "biu"


def _scaled(rows: np.ndarray, scale: float, path: Path, start: int) -> np.ndarray:
    """The rows divided by the scale; raises for values that no training example could have."""
    x = np.asarray(rows, np.float32) / np.float32(scale)
    outside = ~((x >= 0) & (x <= 1))  # NaN too
    if outside.any():
        row = start + int(np.argmax(outside.reshape(len(x), -1).any(axis=1)))
        value = rows[outside].ravel()[0]
        raise BadInput(
            f"{path}: example {row} has the value {value:g}; the model takes values from 0 to {scale:g}; if another "
            "number stands for 1, give it as `scale`"
        )
    return x


def _pictures(path: Path) -> list[Path]:
    """The picture files at a path, in the order of their names; hidden ones are left out."""
    from PIL import Image

    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadInput(f"there is no file or folder {path}", parameter="input")
    known = Image.registered_extensions()
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in known
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise BadInput(f"{path} contains no pictures", parameter="input")
    return found


def _read_picture(file: Path, shape: tuple[int, ...], resize: bool) -> np.ndarray:
    """One picture as the camera held it, uint8 [H, W, C]."""
    from PIL import Image, ImageOps

    height, width, channels = shape
    mode = {1: "L", 3: "RGB"}.get(channels)
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if resize:
                image = ImageOps.fit(image.convert(mode), (width, height), Image.Resampling.BOX)
            elif image.mode == "1":
                image = image.convert("L")
            elif image.mode == "P":
                image = image.convert("RGB")
            pixels = np.asarray(image)
    except Exception as error:  # Pillow has a dozen, by format and by what is wrong
        raise BadInput(f"{file} is unreadable as a picture ({type(error).__name__}: {error})") from error
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if pixels.shape != shape or image.mode != mode:
        raise BadInput(
            f"{file} is {pixels.shape[1]}x{pixels.shape[0]} {image.mode}; the model takes {width}x{height} {mode}; "
            "give `resize` to fit pictures to it"
        )
    return pixels
