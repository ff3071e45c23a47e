"""Sources of data by name, each as two splits of arrays: embedded digits, TensorFlow Datasets, images and tables."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from genjax import lazy
from genjax.data import array_file, digits, folder, sprites, table, tfds, toys, triples
from genjax.data.dataset import Dataset, Split, choose, cut_validation, from_arrays
from genjax.errors import BadInput, shorten
from genjax.paths import expand_user

__all__ = ["Dataset", "Split", "absolute", "choose", "cut_validation", "from_arrays", "is_local", "load"]
__getattr__, __dir__ = lazy.submodules(__name__)


def _faces() -> Dataset:
    from genjax.data import faces  # rendered by JAX, which the other sources do without

    return faces.load()


EMBEDDED = {
    "digits": digits.load,
    "faces": _faces,
    **{name: partial(sprites.load, name) for name in sprites.GRIDS},
    "curve": toys.curve,
    "inverse_sine": toys.inverse_sine,
    "ring": toys.ring,
    "grid": toys.grid,
    "breast_cancer": partial(table.embedded, "breast_cancer"),
    "wine": partial(table.embedded, "wine"),
}
"""The sources that need no folder, by name."""
_FOLDER, _FILE, _TABLE = _LOCAL = "folder:", "file:", "table:"


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    size: int | Sequence[int] | None = None,
    label_column: str | None = None,
    column_kinds: Mapping[str, str] | None = None,
    missing: bool = False,
) -> Dataset:
    """The data set with this name: `EMBEDDED`, `folder:PATH`, `file:PATH`, `table:PATH`, or one of TFDS in `data_dir`.

    `stacked:NAME` makes triples of the grey images of an embedded data set or of one of TFDS: see `triples.stack`.

    Args:
      name: as above.
      data_dir: where data sets of TensorFlow Datasets were prepared, and where decoded images are kept.
      size: for a folder only: height and width of its images, or one number for squares; see `folder.load`.
      label_column: for a `.csv` or a table only: the column with the labels; see `array_file.load` and `table.load`.
      column_kinds: for a table only: the kinds of its columns by name; see `table.load`.
      missing: for a file or a table only: True to accept NaN and empty cells, which then stand for missing values.

    Returns:
      Two splits of arrays, with the fingerprint of their content.

    Raises:
      BadInput: an unknown name (the message has the nearest known one), or data that the source cannot read.
    """
    data_dir = None if data_dir is None else expand_user(data_dir, parameter="data_dir")
    if name in EMBEDDED:
        return EMBEDDED[name]()
    if name.startswith(triples.PREFIX):
        channel = name.removeprefix(triples.PREFIX)
        if channel.startswith((*_LOCAL, triples.PREFIX)):
            raise BadInput(
                f"only the images of a data set that is built in, or from TensorFlow Datasets, are stacked, not those "
                f"of {shorten(channel)!r}",
                parameter="dataset",
            )
        return triples.stack(load(channel, data_dir=data_dir))
    if name.startswith(_FOLDER):
        return folder.load(name.removeprefix(_FOLDER), data_dir=data_dir, size=size)
    if name.startswith(_FILE):
        return array_file.load(name.removeprefix(_FILE), label_column=label_column, missing=missing)
    if name.startswith(_TABLE):
        return table.load(name.removeprefix(_TABLE), label_column=label_column, kinds=column_kinds, missing=missing)
    if tfds.find(name, data_dir) is None:
        check_name(name, data_dir=data_dir)
    return tfds.load(name, data_dir=data_dir)


def is_local(name: str) -> bool:
    """Whether the name is the place of a folder or a file of the user's, which may move while its content stays."""
    return name.startswith(_LOCAL)


def absolute(name: str) -> str:
    """The name of a data set that is the same from every directory: with the absolute path of a folder or file."""
    for kind in _LOCAL:
        if name.startswith(kind):
            return kind + os.path.abspath(expand_user(name.removeprefix(kind)))
    return name


def check_name(name: str, *, data_dir: str | Path | None = None) -> None:
    """Raises BadInput, with the known names and the nearest one, unless a source knows `name`."""
    base = name.partition(":")[0].partition("/")[0]
    known, prepared = tfds.known(), tfds.prepared(data_dir)
    if name in EMBEDDED or base in known or base in prepared:
        return
    near = difflib.get_close_matches(base, [*EMBEDDED, *prepared, *known], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    raise BadInput(
        f"unknown data set {shorten(name)!r}{hint} there is {', '.join(EMBEDDED)}, "
        + "".join(f"{kind}PATH, " for kind in _LOCAL)
        + f"{triples.PREFIX}NAME, "
        + (f"prepared in {data_dir}: {', '.join(prepared)}, " if prepared else "")
        + f"and the {len(known)} names of TensorFlow Datasets",
        parameter="dataset",
    )
