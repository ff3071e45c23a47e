"""A file of arrays or a table as a data set: .npy, .npz, .csv and .parquet."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from genjax.data.dataset import Dataset, choose, from_arrays
from genjax.data.decoded import mapped
from genjax.errors import BadInput
from genjax.paths import expand_user

SUFFIXES = (".npy", ".npz", ".csv", ".parquet")  # of the files that are read
TABLES = (".csv", ".parquet")  # those with a row per example
MAPPED_FROM = 2**30  # bytes of a split, from which on it is mapped from the disk and not read into memory
_SPLIT = ("x_train", "x_test", "y_train", "y_test")


def load(path: str | Path, *, label_column: str | None = None, missing: bool = False) -> Dataset:
    """The arrays in a file: x with any finite values, and labels if it has some.

    `.npy` holds x: vectors [N, D], or images [N, H, W] or [N, H, W, C]. `.npz` holds x and perhaps y, the labels [N];
    or x_train and x_test, and perhaps y_train and y_test. `.csv` is a table with a row per example, of numbers
    separated by commas, semicolons or tabs; empty cells are NaN, and its first row is a header if it is not of numbers.
    `.parquet` is a table with named columns of numbers or booleans. A tenth of the examples, drawn by NumPy's frozen
    `RandomState(0)`, is held out unless the file has two splits.

    uint8 is divided by 255. All else is taken as it is, as float32; integers too. The splits of a file that `np.savez`
    wrote, of 1 GiB or more and float32 or uint8, stay on the disk: they are mapped into memory, and must not change
    while a run reads them.

    Args:
      path: the file.
      label_column: the column of a table with the labels, integers or texts: its name in the header, or `last`. By
        default all columns are numbers of x.
      missing: True to accept NaN, which then stands for a missing value.

    Returns:
      The data set, named `file:PATH`.

    Raises:
      BadInput: no such file or column, or content that is not as above.
    """
    name, file = f"file:{path}", expand_user(path)
    try:
        arrays = read(file, label_column=label_column)
    except BadInput as error:
        if error.parameter is not None:
            raise
        raise BadInput(f"data set {name!r}: {error}") from error
    if "x" in arrays:
        arrays = _tenth_held_out(name, arrays)
    if not {"x_train", "x_test"} <= arrays.keys() <= {*_SPLIT}:
        raise BadInput(
            f"data set {name!r}: {file} holds the arrays {', '.join(arrays)}; expected x and perhaps y, or x_train and "
            "x_test and perhaps y_train and y_test"
        )
    train_label, test_label, class_names = class_labels(arrays.get("y_train"), arrays.get("y_test"))
    return from_arrays(
        name,
        _examples(name, arrays["x_train"]),
        _examples(name, arrays["x_test"]),
        train_label=train_label,
        test_label=test_label,
        class_names=class_names,
        bounded=False,
        missing=missing,
    )


def read(file: Path, *, label_column: str | None = None) -> dict[str, np.ndarray]:
    """The arrays in a file of one of the `SUFFIXES`, by name; that of a .npy, and the columns of a table, are x.

    Raises:
      BadInput: no such file or column, or a file that cannot be read.
    """
    if not file.is_file():
        raise BadInput(f"there is no file {file}; give a file, or its new place as `dataset`")
    kind = file.suffix.lower()
    if kind not in SUFFIXES:
        raise BadInput("expected a file of .npy, .npz, .csv or .parquet")
    if label_column is not None and kind not in TABLES:
        raise BadInput(f"only a .csv or .parquet has columns, not {file}", parameter="label_column")
    try:
        if kind == ".parquet":
            return _parquet(file, label_column)
        return _table(file, label_column) if kind == ".csv" else _arrays(file)
    except BadInput:
        raise
    except Exception as error:  # any error that a damaged file causes in the zip, npy and text readers
        line = " ".join(str(error).split())
        hint = "; for a column of labels give `label_column`" if kind == ".csv" and label_column is None else ""
        raise BadInput(f"{file} cannot be read ({line}){hint}") from error


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of NumPy's by name; that of a .npy is x. Objects are not unpickled."""
    found: Any = np.load(file, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return {"x": found}
    with found:
        return {name: _on_disk(file, name) if _is_large(found.zip, name) else found[name] for name in found}


def _is_large(archive: zipfile.ZipFile, name: str) -> bool:
    """Whether an array is a split that is better left on the disk, where it is not compressed."""
    if name not in ("x_train", "x_test"):
        return False
    member = archive.getinfo(f"{name}.npy")
    return member.compress_type == zipfile.ZIP_STORED and member.file_size >= MAPPED_FROM


def _on_disk(file: Path, name: str) -> np.ndarray:
    """An array of an .npz, mapped if it has the dtype that it is used in; its checksum is compared first."""
    found = mapped(file, name)
    with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as content:
        while content.read(2**20):  # the end of the content raises if its checksum is another one
            pass
    return found if found.dtype in (np.float32, np.uint8) else np.array(found)


def _table(file: Path, label_column: str | None) -> dict[str, np.ndarray]:
    """The columns of a table as x [N, D] and, if there is a column of labels, y [N]."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        line = stream.readline()
        delimiter = max(",;\t", key=line.count)
        first = next(csv.reader([line], delimiter=delimiter), [])
    columns = [cell.strip() for cell in first]
    place = _place(file, columns, label_column)
    of_x = [number for number in range(len(columns)) if number != place]
    header = label_column not in (None, "last") or not all(_is_number(columns[number] or "nan") for number in of_x)

    def read(use: list[int], dtype: type, **options: Any) -> np.ndarray:
        return np.loadtxt(
            file,
            dtype,
            comments=None,
            delimiter=delimiter,
            quotechar='"',
            skiprows=int(header),
            usecols=use,
            ndmin=2,
            encoding="utf-8-sig",
            **options,
        )

    try:
        x = read(of_x, np.float64)
    except ValueError:  # perhaps for empty cells, which are looked for only then because it is slow
        x = read(of_x, np.float64, converters=lambda cell: float(cell.strip() or "nan"))
    return {"x": x} if place is None else {"x": x, "y": read([place], str)[:, 0]}


def _place(file: Path, columns: list[str], label_column: str | None) -> int | None:
    """The place of the column of labels, if there is one."""
    if label_column is None:
        return None
    if not columns or (label_column != "last" and label_column not in columns):
        raise BadInput(f"{file} has the columns {', '.join(columns)}, not {label_column}", parameter="label_column")
    return len(columns) - 1 if label_column == "last" else columns.index(label_column)


def _parquet(file: Path, label_column: str | None) -> dict[str, np.ndarray]:
    """The columns of a Parquet file, as `_table` gives those of the same table."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise BadInput(f"{file} needs the package pyarrow: pip install pyarrow") from None
    # not a path, which would be searched for parts of a data set
    table = pyarrow.parquet.ParquetFile(file, memory_map=False).read()
    place = _place(file, table.column_names, label_column)
    x, labels = [], []
    for number, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        is_number = any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal))
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        is_x = number != place
        if column.null_count:
            raise BadInput(f"{file} has {column.null_count} missing values in its column {name}")
        if not (is_number or pa.types.is_boolean(kind) or (is_text and not is_x)):
            raise BadInput(
                f"{file} has {column.type} in its column {name}; expected numbers"
                + (", or the labels, to be given as `label_column`" if is_x and label_column is None else "")
            )
        if is_x:
            column = column.cast(kind) if kind != column.type else column
            x.append(column.cast(pa.float64(), safe=False).to_numpy())
        else:
            labels = [str(value) for value in column.to_pylist()]
    values = np.stack(x, axis=1) if x else np.zeros((table.num_rows, 0))
    return {"x": values} if place is None else {"x": values, "y": np.array(labels, str)}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _tenth_held_out(name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    num = len(arrays["x"])
    if num < 2 or any(len(array) != num for array in arrays.values()):
        shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())
        raise BadInput(f"data set {name!r}: its arrays are {shapes}; expected two rows or more, as many in each")
    held_out = np.isin(np.arange(num), choose(num, max(1, num // 10)))
    splits = {"train": ~held_out, "test": held_out}
    return {f"{key}_{split}": array[rows] for key, array in arrays.items() for split, rows in splits.items()}


def _examples(name: str, x: np.ndarray) -> np.ndarray:
    """x as `from_arrays` takes it: with channels, uint8 or float32."""
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[3] > 4:
        raise BadInput(
            f"data set {name!r}: images of shape {list(x.shape[1:])} seem to have their channels first; give them "
            "last, as x.transpose(0, 2, 3, 1)"
        )
    if x.ndim == 3:
        x = x[..., None]
    is_number = np.issubdtype(x.dtype, np.integer) or x.dtype == np.bool_
    return x.astype(np.float32) if is_number and x.dtype != np.uint8 else x


def class_labels(
    train: np.ndarray | None, test: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None, list[str] | None]:
    """Labels [N] of both splits, and the names of the classes where they are whole numbers other than 0, 1, ...

    Whole numbers may be written as floats or as texts. Anything else is left to `from_arrays`.
    """
    if train is None or test is None:
        return train, test, None
    train, test = (y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for y in (train, test))
    try:
        numbers = np.concatenate([train, test]).astype(np.float64)
    except ValueError:
        return train, test, None
    if numbers.ndim != 1 or np.any(numbers != np.round(numbers)):
        return train.astype(np.float64), test.astype(np.float64), None
    values, places = np.unique(numbers, return_inverse=True)
    names = None if np.array_equal(values, np.arange(len(values))) else [f"{value:.0f}" for value in values]
    return places[: len(train)], places[len(train) :], names
