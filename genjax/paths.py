"""Folders of the user, paths that can be used, and files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from genjax.errors import BadInput


def expand_user(path: str | Path, *, parameter: str | None = None) -> Path:
    """The path, with a leading `~` or `~name` replaced by that user's home directory.

    Args:
      parameter: the name of the argument, for the error.

    Raises:
      BadInput: there is no such user, or no home directory is known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BadInput(f"no home directory is known for {path}; give the path in full", parameter=parameter) from None


def user_cache() -> Path:
    """The user's cache folder: `genjax` in XDG_CACHE_HOME, else in ~/.cache.

    If no home directory is known, as for a container's user without an entry in passwd, it is a folder in the temporary
    directory that no other user can write to, since machine code is loaded from it.

    Raises:
      BadInput: that folder belongs to another user, or others can access it.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given) / "genjax"
    try:
        return Path.home() / ".cache" / "genjax"
    except RuntimeError:
        return _private_folder(Path(tempfile.gettempdir()) / f"genjax-{os.getuid()}")


def _private_folder(folder: Path) -> Path:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise BadInput(f"{folder} is not a private folder of this user; set XDG_CACHE_HOME to a folder for caches")
    return folder


def refuse_patterns(path: Path, *, parameter: str | None = None) -> None:
    """Refuses a path in which Orbax could write checkpoints but not read them.

    Orbax finds the parts of a checkpoint by a pattern that contains the whole path, unescaped.

    Raises:
      BadInput: the absolute path contains one of `* ? [` or a backslash.
    """
    found = [character for character in "*?[\\" if character in str(path.absolute())]
    if found:
        raise BadInput(
            f"{path.absolute()} contains {' '.join(found)}, and checkpoints in such a path cannot be read; "
            "give a path without * ? [ and backslashes",
            parameter=parameter,
        )


def make_folder(folder: Path) -> None:
    """Creates a folder and its parents where they are missing; the user's cache is made closed to other users."""
    cache = user_cache()
    if cache in (folder, *folder.parents):
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.mkdir(mode=0o700, exist_ok=True)
        mode = cache.stat().st_mode
        if mode & stat.S_IWOTH:  # made under umask 0: machine code is loaded from it
            cache.chmod(stat.S_IMODE(mode) & ~0o022)
    folder.mkdir(parents=True, exist_ok=True)


def may_write(folder: Path) -> bool:
    """Whether the folder, or its nearest existing parent, is writable.

    Root may write anywhere, but a folder without any write permission counts as read-only.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK) and bool(existing.stat().st_mode & 0o222)


def refuse_unwritable(folder: Path, *, parameter: str | None = None) -> None:
    """Refuses a folder in which no file can be made, before the work whose results it is for. Creates nothing.

    Raises:
      BadInput: the folder is read-only, is or lies below a file, or its path is too long.
    """
    try:
        refused = None if may_write(folder) else "cannot be written to"
    except OSError as error:
        refused = f"cannot be used: {(error.strerror or str(error)).lower()}"
    if refused:
        raise BadInput(f"{folder} {refused}; give another path", parameter=parameter)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file opened for writing, which appears under its name only when it is complete and on the disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def drafts(path: Path) -> list[Path]:
    """The incomplete files that killed processes have left of a file written by `replacing`."""
    return [draft for draft in path.parent.glob(f".{path.name}.*") if draft.suffix[1:].isdigit()]
