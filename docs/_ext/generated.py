"""Pages that the build writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write(folder: Path, pages: Mapping[str, str], *, pattern: str) -> None:
    """Writes pages by their names into a folder, and removes the other files of this pattern.

    A page whose text is the same is left untouched, so that Sphinx does not read it again.
    """
    folder.mkdir(exist_ok=True)
    for file in folder.glob(pattern):
        if file.name not in pages:
            file.unlink()
    for name, text in pages.items():
        file = folder / name
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
