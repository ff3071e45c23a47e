"""Tables of mixed columns as data sets: .csv and .npz files, and two that are part of scikit-learn."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax.data import columns
from genjax.data.array_file import class_labels
from genjax.data.dataset import Dataset, choose, from_arrays
from genjax.errors import BadInput
from genjax.paths import expand_user

SUFFIXES = (".csv", ".npz")  # of the files that are read
_LABEL = "y"  # the array of a .npz with the labels unless another is named

_PARTS = "radius texture perimeter area smoothness compactness concavity concave_points symmetry fractal_dimension"
_FEATURES = {  # in the order of scikit-learn's files
    "breast_cancer": [f"{kind} {part}" for kind in ("mean", "error of", "worst") for part in _PARTS.split()],
    "wine": [
        *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids"),
        *("nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue"),
        *("od280/od315_of_diluted_wines", "proline"),
    ],
}


def load(
    path: str | Path,
    *,
    label_column: str | None = None,
    kinds: Mapping[str, str] | None = None,
    missing: bool = False,
) -> Dataset:
    """The table in a file, with a record of its columns: `Dataset.columns`.

    `.csv` has a row per example, of cells separated by commas, semicolons or tabs, which may be quoted; its first row
    is a header unless one of its cells is a number, and columns without a header are called 1, 2, ... `.npz` has an
    array per column [N], of numbers or texts; the columns of an array [N, D] are called NAME_1, NAME_2, ...

    Columns are of numbers or of categories by their cells; counts, and categories with integer codes, have to be
    declared. A tenth of the examples, drawn by NumPy's frozen `RandomState(0)`, is held out. Numbers and counts are
    scaled as in `columns.Column` by what the training split shows; categories are those of both splits.

    Args:
      path: the file.
      label_column: the column with the labels, integers or texts: its name, or `last`. By default that of a .npz
        called y, if there is one.
      kinds: by the name of a column: number, count, category, or none to leave it out.
      missing: True to accept cells that are empty or nan, whose features are NaN.

    Returns:
      The data set, named `table:PATH`, with the features of its columns, [N, D].

    Raises:
      BadInput: no such file or column, or a cell that is empty, not finite or not of its column's kind.
    """
    name, file = f"table:{path}", expand_user(path)
    try:
        cells = dict(read(file))
        place = _label_place(file, list(cells), label_column)
        labels = None if place is None else cells.pop(place)
        num = len(next(iter(cells.values()), ()))
        if num < 2:
            raise BadInput(f"{file} has {num} rows of examples; expected two or more")
        held_out = np.isin(np.arange(num), choose(num, max(1, num // 10)))
        return of_cells(name, cells, labels, held_out, kinds or {}, missing=missing)
    except BadInput as error:
        if error.parameter is not None:
            raise
        raise BadInput(f"data set {name!r}: {error}") from error


def of_cells(
    name: str,
    cells: columns.Cells,
    labels: Any,
    held_out: np.ndarray,
    kinds: Mapping[str, str] | None = None,
    *,
    missing: bool = False,
) -> Dataset:
    """A data set of the cells of a table.

    Args:
      name: of the data set.
      cells: N texts of each column.
      labels: [N], or None.
      held_out: [N] booleans, the rows of the test split.
      kinds: as in `load`.
      missing: as in `load`.

    Raises:
      BadInput: as `columns.fit` does.
    """
    known = columns.fit(cells, ~held_out, kinds or {}, missing=missing)
    x, label = columns.encode(cells, known, missing=missing), None if labels is None else np.array(labels, str)
    if label is not None and (empty := np.flatnonzero(np.char.str_len(np.char.strip(label)) == 0)).size:
        raise BadInput(f"the column of labels has an empty cell in row {empty[0] + 1}")
    y_train, y_test = (None, None) if label is None else (label[~held_out], label[held_out])
    train_label, test_label, class_names = class_labels(y_train, y_test)
    found = from_arrays(
        name,
        x[~held_out],
        x[held_out],
        train_label=train_label,
        test_label=test_label,
        class_names=class_names,
        bounded=False,
        missing=missing,
    )
    # the same features may be of other units
    content = hashlib.sha256(f"{found.fingerprint} {json.dumps(known)}".encode()).hexdigest()
    return found._replace(fingerprint=content, columns=known, bounded=False)


def embedded(name: str) -> Dataset:
    """Breast cancer (569 rows of 30 numbers, 2 classes) or wine (178 rows of 13, 3 classes); a third is held out.

    Source: Street, Wolberg & Mangasarian 1993; Aeberhard & Forina 1992, both of the UCI repository.
    """
    package = importlib.util.find_spec("sklearn")  # its file, without importing it: see `digits`
    assert package is not None and package.origin is not None, "scikit-learn is not installed"
    file = Path(package.origin).parent / "datasets" / "data" / {"wine": "wine_data.csv"}.get(name, f"{name}.csv")
    with file.open(newline="") as stream:
        (_, _, *classes), *rows = csv.reader(stream)
    order = np.random.RandomState(0).permutation(len(rows))
    *features, label = zip(*(rows[row] for row in order), strict=True)
    names = [feature.replace("/", "_") for feature in _FEATURES[name]]
    held_out = np.arange(len(rows)) >= len(rows) - len(rows) // 3
    found = of_cells(name, dict(zip(names, features, strict=True)), label, held_out)
    return found._replace(class_names=tuple(classes))


def read(file: Path) -> columns.Cells:
    """The cells of the columns of a .csv or .npz file, by name, as text without surrounding space.

    Raises:
      BadInput: no such file, or one that cannot be read as a table.
    """
    if not file.is_file():
        raise BadInput(f"there is no file {file}; give a file, or its new place as `dataset`")
    if file.suffix.lower() not in SUFFIXES:
        raise BadInput(f"expected a table of {' or '.join(SUFFIXES)}, not {file}")
    try:
        named = _of_text(file) if file.suffix.lower() == ".csv" else _of_arrays(file)
    except BadInput:
        raise
    except Exception as error:  # any error that a damaged file causes in the zip, npy and text readers
        raise BadInput(f"{file} cannot be read ({' '.join(str(error).split())})") from error
    cells: dict[str, list[str]] = {}
    for name, column in named:
        name = name.replace("/", "_")  # results are written to files of these names
        if name in cells or not name:
            raise BadInput(f"{file} has {'two columns called ' + name if name else 'a column without a name'}")
        cells[name] = [cell.strip() for cell in column]
    if not cells or not len(next(iter(cells.values()))):
        raise BadInput(f"{file} has no rows")
    return cells


def _of_text(file: Path) -> list[tuple[str, list[str]]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        line = stream.readline()
        stream.seek(0)
        rows = [row for row in csv.reader(stream, delimiter=max(",;\t", key=line.count), strict=True) if row]
    if not rows:
        raise BadInput(f"{file} has no rows")
    first = [cell.strip() for cell in rows[0]]
    has_header = not any(map(columns.is_number, first))
    names = first if has_header else [str(place) for place in range(1, len(first) + 1)]
    rows = rows[1:] if has_header else rows
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise BadInput(f"{file} has {len(row)} cells in row {number}; expected {len(names)}, as in its first line")
    return list(zip(names, map(list, zip(*rows, strict=True)), strict=False))


def _of_arrays(file: Path) -> list[tuple[str, list[str]]]:
    with np.load(file, allow_pickle=False) as arrays:
        found = dict(arrays)
    num = {len(array) if array.ndim else 0 for array in found.values()}
    if len(num) != 1 or any(array.ndim not in (1, 2) for array in found.values()):
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items())
        raise BadInput(f"{file} holds the arrays {shapes}; expected columns [N] or [N, D], all of one length")
    named = []
    for name, array in found.items():
        alone = array.ndim == 1 or (name == _LABEL and array.shape[1] == 1)
        parts = [array.ravel()] if alone else array.T
        names = [name] if alone else [f"{name}_{place}" for place in range(1, len(parts) + 1)]
        named += [(each, [str(value) for value in part.tolist()]) for each, part in zip(names, parts, strict=True)]
    return named


def _label_place(file: Path, names: list[str], label_column: str | None) -> str | None:
    """The name of the column of labels, if there is one."""
    if label_column is None:
        return _LABEL if file.suffix.lower() == ".npz" and _LABEL in names else None
    if label_column != "last" and label_column not in names:
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise BadInput(f"{file} has the columns {listed}, not {label_column}", parameter="label_column")
    return names[-1] if label_column == "last" else label_column
