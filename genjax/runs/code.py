"""Which version of the code runs: its commit, and changes that are in no commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

FILE = "code.diff"  # in the run directory
AT_MOST = 2**20  # bytes
DIRTY = "-dirty"  # after the commit of a clone with changes

REBUILD = (
    "git checkout {commit} && python -m pip install --require-hashes -r requirements.lock && "
    "python -m pip install --no-deps -e ."
)
"""The commands that rebuild the environment of a commit, as README.md has them."""


def commit() -> str | None:
    """The commit of the code, with `-dirty` at its end if files have changed since; None outside a repository."""
    found = _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return None if found is None else found.decode().strip()


def keep_changes(workdir: Path, of: str | None) -> None:
    """Writes what has changed since the commit, at most 1 MiB of it, to code.diff in the run directory."""
    if of is None or not of.endswith(DIRTY) or (workdir / FILE).exists():
        return
    changes = _git("diff", "HEAD")
    if changes is not None:
        cut = b"\n... (longer than 1 MiB, cut here)\n" if len(changes) > AT_MOST else b""
        (workdir / FILE).write_bytes(changes[:AT_MOST] + cut)


def comparison(then: str | None, now: str | None, workdir: Path) -> str:
    """Lines that name the commit that made a run and the one that runs now, and how to return to the former."""
    lines = [f"code then: {_described(then)}", f"code now:  {_described(now)}"]
    if then is not None:
        lines.append(f"rebuild the environment of then: {REBUILD.format(commit=then.removesuffix(DIRTY))}")
        if then.endswith(DIRTY) and (workdir / FILE).exists():
            lines.append(f"and the changes: git apply {(workdir / FILE).absolute()}")
    return "\n".join(lines)


def _described(of: str | None) -> str:
    if of is None:
        return "not in a repository"
    return f"commit {of.removesuffix(DIRTY)}" + (", with changes" if of.endswith(DIRTY) else "")


def _git(*arguments: str) -> bytes | None:
    """The output of a git command on the repository that holds this code, or None if it has none."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
