"""Folders of the user: the home directory, and the cache."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

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
