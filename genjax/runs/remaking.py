"""Makes again what a command made of a finished run, in a fresh process, and compares the bytes of all files."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from genjax.errors import BadInput
from genjax.runs import code, command, directory, opening, provenance, stored
from genjax.runs.flags import from_config

COMMANDS = ("apply", "export", "generate", "latent_space")
"""The commands that keep a record: no other module that a record names is imported."""


class Moved(NamedTuple):
    """Where a run and its data are now, if they are not where they were, and the module of the run's experiment."""

    run: str | None = None
    page: str | None = None
    data_dir: str | None = None
    dataset: str | None = None


def compare(out: Path, moved: Moved) -> int:
    """Makes files again from their record alone and compares them with it; returns the exit status of `reproduce`.

    Args:
      out: the file or the folder that a command made.
      moved: where the run is now; a page only if the command was given one.

    Raises:
      BadInput: there is no record, a file is missing or has been changed since, the files cannot be made again, or
        they differ while the circumstances differ too.
    """
    path = provenance.find(out)
    if path is None:
        raise BadInput(
            f"{out} has no record of how it was made, {provenance.FILE} in it or {provenance.beside(out).name} beside "
            "it; make it again to have one",
            parameter="made",
        )
    record = stored.read_made(path)
    _check_files(path, record["files"])
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        again = Path(folder) / Path(os.path.abspath(out)).name
        arguments = _arguments(path, record, again, moved)
        done = subprocess.run(
            [sys.executable, "-m", f"{opening.PAGES}.{record['command']}", *arguments],
            env=os.environ | {"XLA_FLAGS": record["xla_flags"]},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        place = provenance.find(again)
        if done.returncode or place is None:
            raise BadInput(f"not comparable: {out} could not be made again, for the reason above")
        now = stored.read_made(place)
    what = f"{len(record['files'])} files of {record['command']}"
    difference = first_difference(record["files"], now["files"])
    if difference is None:
        print(f"the same bytes: {what}; {out}")
        return 0
    names = ("params_sha256", "input_sha256", *stored.CONDITIONS)
    obstacles = directory.differences(record, now, names)
    if obstacles:
        raise BadInput(f"not comparable: {difference}, and {'; '.join(obstacles)}")
    print(f"other bytes: {difference}, of {what}; {out}")
    print(code.comparison(record["git_commit"], now["git_commit"], path.parent))
    return 1


def first_difference(then: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first file whose digest differs, or that only one side has, in words, and how many do; None if none does.

    Args:
      then, now: the SHA-256 of files by name.
    """
    names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    if not names:
        return None
    first = names[0]
    said = f"{first} has SHA-256 {then.get(first, 'none')} recorded, {now.get(first, 'none')} now"
    return said if len(names) == 1 else f"{said}, and {len(names) - 1} more files differ"


def _check_files(path: Path, files: Mapping[str, str]) -> None:
    """Checks that the files are still those of the record."""
    for name, sha256 in files.items():
        file = path.parent / name
        if not file.is_file():
            raise BadInput(f"{file} is missing, which {path} names; restore it, or make the files again")
        if provenance.file_sha256(file) != sha256:
            raise BadInput(f"{file} has been changed since {path} was written; restore it, or make the files again")


def _arguments(path: Path, record: Mapping[str, Any], out: Path, moved: Moved) -> list[str]:
    """The arguments of the command, with another place of its output, and of the run and its data where they moved."""
    if record["command"] not in COMMANDS:
        raise BadInput(f"{path} is of the command {record['command']!r}; expected one of {', '.join(COMMANDS)}")
    own = importlib.import_module(f"{opening.PAGES}.{record['command']}").Flags
    flags, _ = from_config(own, record["flags"], source=str(path))
    if flags.page != moved.page:  # its code is run: only the user can name it
        wanted = "no page" if flags.page is None else f"the page {flags.page}"
        raise BadInput(f"the files were made with {wanted}; give the same, whose code is then run", parameter="page")
    for name in provenance.PLACES:
        if getattr(flags, name, None) is not None:
            place = os.path.realpath(path.parent / getattr(flags, name))
            flags = flags.replace(**{name: place})
    flags = opening.moved(flags.replace(out=str(out)), data_dir=moved.data_dir, dataset=moved.dataset)
    return command.arguments(flags if moved.run is None else flags.replace(run=moved.run))
