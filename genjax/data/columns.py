"""The columns of a table, and the array of their features: numbers standardised, counts scaled, categories one-hot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from genjax.errors import BadInput, shorten

KINDS = ("number", "count", "category")
"""What the cells of a column can be."""
_MOST = 100  # categories of a column of which nothing was declared
_LARGEST_COUNT = 2**22  # which float32 divided by a scale still holds exactly

Cells = Mapping[str, Sequence[str]]  # of each column by name, as text


class Column(NamedTuple):
    """One column of a table, and how its cells become features.

    A number v is the feature (v - shift) / scale, with the mean and the standard deviation of the training split; a
    count is v / scale, so that none is 0; a category is a one-hot vector.
    """

    name: str
    kind: str  # one of `KINDS`
    shift: float = 0.0
    scale: float = 1.0
    categories: tuple[str, ...] = ()  # sorted

    @property
    def width(self) -> int:
        """The number of its features."""
        return len(self.categories) or 1


def fit(cells: Cells, training: np.ndarray, kinds: Mapping[str, str], *, missing: bool = False) -> tuple[Column, ...]:
    """The columns of a table.

    A column is of numbers if all its cells are, and of categories if none is, unless its kind is declared.

    Args:
      cells: N of each column.
      training: [N] booleans, the rows from which shift and scale are computed; categories are those of all rows.
      kinds: by the name of a column, `number`, `count`, `category`, or `none` to leave it out.
      missing: True to accept cells that are empty or nan, of which nothing is computed.

    Raises:
      BadInput: a kind for a column that there is not, a cell that is empty or not of the column's kind, a column that
        is constant, or no column.
    """
    for name, kind in kinds.items():
        if name not in cells:
            raise BadInput(f"there is no column {name}, but {_listed(cells)}", parameter="column_kinds")
        if kind not in (*KINDS, "none"):
            raise BadInput(f"expected {', '.join(KINDS)} or none for {name}, not {kind}", parameter="column_kinds")
    used = {name: of_column for name, of_column in cells.items() if kinds.get(name) != "none"}
    if not used:
        raise BadInput("it has no columns but those of labels and those that are left out")
    return tuple(_fit(name, of_column, training, kinds.get(name), missing) for name, of_column in used.items())


def is_missing(cell: str) -> bool:
    """Whether a cell is empty or nan."""
    return not cell or cell.lower() == "nan"


def _without_missing(name: str, cells: Sequence[str], missing: bool) -> tuple[Sequence[str], np.ndarray]:
    """The cells with a known one of the column in the place of each missing one, and where they are missing, [N].

    Raises:
      BadInput: there are some, unless `missing`; or there are no others.
    """
    absent = np.array([is_missing(cell) for cell in cells], bool)
    if not absent.any():
        return cells, absent
    if not missing:
        hint = "; the page `imputation` takes missing cells"
        _refuse(name, cells, is_missing, "a cell that is empty or nan", hint)
    if absent.all():
        raise BadInput(f"column {name} has no cell that is not empty or nan")
    known = cells[int(np.argmin(absent))]
    return [known if gone else cell for cell, gone in zip(cells, absent, strict=True)], absent


def _fit(name: str, cells: Sequence[str], training: np.ndarray, kind: str | None, missing: bool) -> Column:
    cells, absent = _without_missing(name, cells, missing)
    training = training & ~absent
    if not training.any():
        raise BadInput(f"column {name} is empty or nan in all rows of the training split")
    declared, kind = kind is not None, kind or _inferred(name, cells)
    if kind == "category":
        categories = tuple(sorted({_code(cell) for cell in cells}))
        if len(categories) > _MOST and not declared:
            raise BadInput(
                f"column {name} has {len(categories)} different texts, such as {shorten(cells[0])!r}; give it in "
                f"`column_kinds` as {name}=none to leave it out, or as {name}=category"
            )
        column, constant = Column(name, kind, categories=categories), len(categories) == 1
    else:
        values = _numbers(name, cells, kind)[training]
        with np.errstate(over="ignore", invalid="ignore"):
            shift, scale = float(values.mean()) if kind == "number" else 0.0, float(values.std())
        column, constant = Column(name, kind, shift, scale), values.min() == values.max()
        if not np.isfinite([scale, shift]).all():
            raise BadInput(f"column {name} has numbers up to {np.abs(values).max():g}, too large to be standardised")
    if constant:
        raise BadInput(
            f"column {name} is constant in the training split ({shorten(cells[int(np.argmax(training))])}); give it in "
            f"`column_kinds` as {name}=none to leave it out"
        )
    return column


def _inferred(name: str, cells: Sequence[str]) -> str:
    """The kind of a column of which nothing was declared."""
    texts = [row for row, cell in enumerate(cells) if not is_number(cell)]
    if not texts:
        return "number"
    first = f"{shorten(cells[texts[0]])!r} in row {texts[0] + 1}"
    if all("," in cells[row] and is_number(cells[row].replace(",", "")) for row in texts):
        raise BadInput(
            f"column {name} has numbers with commas, such as {first}; write 1200.5 and not 1,200.5 or 1200,5"
        )
    if len(texts) < len(cells):
        raise BadInput(
            f"column {name} has texts among its numbers, such as {first}; correct them, or give it in `column_kinds` "
            f"as {name}=category or {name}=none"
        )
    return "category"


def is_number(cell: str) -> bool:
    """Whether a cell is a number, perhaps an infinite one."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # which Python takes


def _code(cell: str) -> str:
    """A category as text: the same for the integer codes 1 and 1.0."""
    return str(int(float(cell))) if is_number(cell) and float(cell).is_integer() else cell


def _refuse(name: str, cells: Sequence[str], wrong: Callable[[str], bool], found: str, hint: str = "") -> None:
    """Raises for the first cell that is wrong, if there is one."""
    rows = [row for row, cell in enumerate(cells) if wrong(cell)]
    if rows:
        more = f" and in {len(rows) - 1} other rows" if len(rows) > 1 else ""
        raise BadInput(f"column {name} has {found} in row {rows[0] + 1}{more}{hint}")


def _numbers(name: str, cells: Sequence[str], kind: str) -> np.ndarray:
    """The cells of a column of numbers or counts, [N] float64."""
    _refuse(name, cells, lambda cell: not is_number(cell), "a cell that is not a number")
    values = np.array([float(cell) for cell in cells])
    _refuse(name, cells, lambda cell: not np.isfinite(float(cell)), "a cell that is infinite or nan")
    if kind == "count":
        limits = f"a cell that is not a whole number from 0 to {_LARGEST_COUNT}"
        _refuse(name, cells, lambda cell: float(cell) % 1 != 0 or not 0 <= float(cell) <= _LARGEST_COUNT, limits)
    return values


def encode(cells: Cells, columns: Sequence[Column], *, missing: bool = False) -> np.ndarray:
    """The features of rows of a table.

    Args:
      cells: N of each column, and perhaps of others.
      columns: of the table that a model was trained on.
      missing: True to accept cells that are empty or nan.

    Returns:
      x [N, D] float32, the features of the columns in their order; NaN are all of a cell that is missing.

    Raises:
      BadInput: a column that there is not, or a cell that is empty, not of the column's kind, or of a category that
        the column did not have.
    """
    features = []
    for column in columns:
        name = column.name
        if name not in cells:
            raise BadInput(f"there is no column {name}, but {_listed(cells)}")
        own, absent = _without_missing(name, cells[name], missing)
        if column.kind == "category":
            codes, known = [_code(cell) for cell in own], {value: i for i, value in enumerate(column.categories)}
            expected = f"a category that is not one of {_listed(column.categories)}"
            _refuse(name, codes, lambda cell, known=known: cell not in known, expected)
            found = np.eye(len(known))[[known[cell] for cell in codes]]
        else:
            found = ((_numbers(name, own, column.kind) - column.shift) / column.scale)[:, None]
        features.append(np.where(absent[:, None], np.nan, found))
    return np.concatenate(features, axis=1).astype(np.float32)


def decode(x: Any, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """The cells of features: the inverse of `encode`, up to the rounding of float32 for numbers.

    Args:
      x: [N, D]; of a category, the largest feature counts.
      columns: whose features they are.

    Returns:
      By the name of the column, [N]: float64 of numbers, int64 of counts, texts of categories.
    """
    cells, x = {}, np.asarray(x, np.float64)
    for column, start, stop in spans(columns):
        own = x[:, start:stop]
        if column.kind == "category":
            cells[column.name] = np.array(column.categories)[own.argmax(axis=1)]
        else:
            values = own[:, 0] * column.scale + column.shift
            cells[column.name] = np.round(values).astype(np.int64) if column.kind == "count" else values
    return cells


def spans(columns: Sequence[Column]) -> list[tuple[Column, int, int]]:
    """Each column with the places of its features: from start to before stop."""
    stops = np.cumsum([column.width for column in columns]).tolist()
    return [(column, stop - column.width, stop) for column, stop in zip(columns, stops, strict=True)]


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(map(shorten, names[:20])) + (", ..." if len(names) > 20 else "")
