"""The record of what a command made of a finished run, from which the same bytes can be made again.

It holds the command, its flags, the SHA-256 of each file and of the run's parameters, and the conditions. In the
folder of a command it is made.json, of the last command that wrote there. Beside a file or an exported folder NAME it
is NAME.made.json, so that what is passed on holds no place of this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from genjax import data
from genjax.errors import BadInput
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import directory, stored
from genjax.runs.flags import Record
from genjax.runs.opening import Run
from genjax.training.digest import params_sha256

FILE = "made.json"
"""The name of a record in a folder."""

RUNS = ("run", "beside")
"""Flags that name a run."""

PLACES = (*RUNS, "input")
"""Flags that name files or folders. One that holds the record is recorded relative to it: they move together."""

DRAWING = ("matplotlib", "pillow", "safetensors")
"""The packages that determine the bytes of files, beside those of a run's identity."""


def beside(out: Path) -> Path:
    """The place of the record of a file, or of a folder that is to be passed on."""
    return Path(f"{os.path.abspath(out)}.{FILE}")


def find(out: Path) -> Path | None:
    """The record of a file or a folder that a command made, if it has one."""
    return next((path for path in (out / FILE, beside(out)) if path.is_file()), None)


def refuse_output(folder: Path, *, parameter: str | None = None) -> None:
    """Refuses a folder that a command cannot write to, or should not, before its work.

    Raises:
      BadInput: no file can be made there, or it is a run directory, whose files have names that the command may use.
    """
    refuse_unwritable(folder, parameter=parameter)
    if (folder / "manifest.json").exists():
        raise BadInput(f"{folder} is the directory of a run; give another path", parameter=parameter)


@contextlib.contextmanager
def writing(out: Path, command: str, flags: Record, *opened: Run, is_file: bool = False) -> Iterator[Path]:
    """A path to write to in place of `out`. At the end of the block all files appear in `out`, with their record.

    Files that are there already stay, unless they have the same names. If the block raises, nothing changes.

    Args:
      out: a folder, which is created, or a file.
      command: the name of the command, one of the package `experiments`.
      flags: of the command.
      opened: the runs that the flags in `RUNS` name.
      is_file: whether `out` is a file.
    """
    folder = out.parent if is_file else out
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".made-", dir=folder) as drafts:
        draft = Path(drafts)
        yield draft / out.name if is_file else draft
        names = [path.relative_to(draft) for path in files_in(draft)]
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft / name, folder / name)
    keep(beside(out) if is_file else out / FILE, command, flags, opened, [folder / name for name in names])


def files_in(folder: Path) -> list[Path]:
    """The files in a folder and those below it, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def keep(record: Path, command: str, flags: Record, opened: Iterable[Run], files: Iterable[Path]) -> None:
    """Writes the record of files that a command has made.

    Args:
      record: its path; the files lie in its folder or below.
      command, flags, opened: as for `writing`.
    """
    folder = Path(os.path.abspath(record.parent))
    now = directory.manifest(seed=0, data_fingerprint="")
    now["packages"] |= directory.versions(DRAWING)
    of_input = getattr(flags, "input", None)
    value = {
        "command": command,
        "flags": _from(folder, flags),
        "params_sha256": {name: params_sha256(run.state.params) for name, run in zip(RUNS, opened, strict=False)},
        **({} if of_input is None else {"input_sha256": _content_sha256(expand_user(of_input))}),
        **{name: now[name] for name in (*stored.CONDITIONS, "git_commit")},
        "files": {Path(os.path.abspath(path)).relative_to(folder).as_posix(): file_sha256(path) for path in files},
    }
    directory.write_json(record, stored.sealed(value))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_sha256(path: Path) -> str:
    """The digest of a file, or of the names and bytes of the files in a folder."""
    if not path.is_dir():
        return file_sha256(path)
    return stored.digest_of({each.relative_to(path).as_posix(): file_sha256(each) for each in files_in(path)})


def _from(folder: Path, flags: Record) -> dict[str, Any]:
    """Flags as they are recorded in a folder."""
    recorded = flags.to_config() | {"out": None}
    given = {name: value for name, value in recorded.items() if value is not None}
    here = Path(os.path.realpath(folder))
    for name in given.keys() & set(PLACES):
        place = Path(os.path.realpath(expand_user(given[name])))
        recorded[name] = os.path.relpath(place, here) if here.is_relative_to(place) else str(place)
    if "dataset" in given:
        recorded["dataset"] = data.absolute(given["dataset"])
    if "data_dir" in given:
        recorded["data_dir"] = str(expand_user(given["data_dir"]).absolute())
    return recorded
