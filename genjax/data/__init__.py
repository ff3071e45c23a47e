"""Sources of data by name, each as two splits of arrays: embedded digits, TensorFlow Datasets, folders of images."""

from __future__ import annotations

import difflib
from pathlib import Path

from genjax import lazy
from genjax.data import digits, folder, tfds, toys
from genjax.data.dataset import Dataset, Split, from_arrays
from genjax.errors import BadInput
from genjax.paths import expand_user

__all__ = ["Dataset", "Split", "from_arrays", "load"]
__getattr__, __dir__ = lazy.submodules(__name__)


def _faces() -> Dataset:
    from genjax.data import faces  # rendered by JAX, which the other sources do without

    return faces.load()


# what needs no folder, by name
_EMBEDDED = {
    "digits": digits.load,
    "faces": _faces,
    "curve": toys.curve,
    "inverse_sine": toys.inverse_sine,
    "ring": toys.ring,
    "grid": toys.grid,
}
_FOLDER = "folder:"


def load(name: str, *, data_dir: str | Path | None = None, size: int | None = None) -> Dataset:
    """The data set with this name: `digits`, `faces`, a toy, `folder:PATH`, or a TFDS data set prepared in `data_dir`.

    Args:
      name: as above.
      data_dir: where data sets of TensorFlow Datasets were prepared, and where decoded images are kept.
      size: for a folder only: its images are made squares with sides of so many pixels.

    Returns:
      Two splits of arrays, with the fingerprint of their content.

    Raises:
      BadInput: an unknown name (the message has the nearest known one), or data that the source cannot read.
    """
    data_dir = None if data_dir is None else expand_user(data_dir, parameter="data_dir")
    if name in _EMBEDDED:
        return _EMBEDDED[name]()
    if name.startswith(_FOLDER):
        return folder.load(name.removeprefix(_FOLDER), data_dir=data_dir, size=size)
    if tfds.find(name, data_dir) is None:
        check_name(name, data_dir=data_dir)
    return tfds.load(name, data_dir=data_dir)


def check_name(name: str, *, data_dir: str | Path | None = None) -> None:
    """Raises BadInput, with the known names and the nearest one, unless a source knows `name`."""
    base = name.partition(":")[0].partition("/")[0]
    known, prepared = tfds.known(), tfds.prepared(data_dir)
    if name in _EMBEDDED or base in known or base in prepared:
        return
    near = difflib.get_close_matches(base, [*_EMBEDDED, *prepared, *known], n=1)
    raise BadInput(
        f"unknown data set {name!r}{f'; did you mean {near[0]!r}?' if near else ';'} there is {', '.join(_EMBEDDED)}, "
        f"{_FOLDER}PATH, "
        + (f"prepared in {data_dir}: {', '.join(prepared)}, " if prepared else "")
        + f"and the {len(known)} names of TensorFlow Datasets"
    )
