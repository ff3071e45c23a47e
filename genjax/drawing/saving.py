"""Writes figures as PNG and, where they are wanted for a paper, as vector graphics too."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FORMATS = ("svg", "pdf")
"""Vector formats, in which lines and text stay sharp at every size."""

_wanted: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("wanted", default=())


@contextlib.contextmanager
def formats(also: Sequence[str]) -> Iterator[None]:
    """Writes figures in these vector formats too while the block runs, each beside its PNG."""
    token = _wanted.set(tuple(also))
    try:
        yield
    finally:
        _wanted.reset(token)


def save(figure: Any, path: Path, *, dpi: int = 120, comment: str | None = None) -> None:
    """Writes a figure of Matplotlib as PNG, and in the formats of `formats`. The same figure gives the same bytes.

    Args:
      dpi: of the PNG.
      comment: kept in the metadata of each file.
    """
    import matplotlib

    figure.savefig(path, dpi=dpi, metadata={"Comment": comment} if comment else None)
    described = {"svg": {"Description": comment, "Date": None}, "pdf": {"Subject": comment, "CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none", "pdf.fonttype": 42}):
        for form in _wanted.get():
            figure.savefig(path.with_suffix(f".{form}"), metadata=described[form])
