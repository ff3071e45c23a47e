"""Reads checkpoints: each is checked for damage before anything is made of it.

Orbax is imported where checkpoints are opened, because that takes a third of a second.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from genjax.errors import BadInput
from genjax.training.digest import flatten, is_key, params_sha256
from genjax.training.quietly import quietly

if TYPE_CHECKING:
    import orbax.checkpoint as ocp


class Saved(NamedTuple):
    """An intact checkpoint as it was read."""

    directory: Path
    step: int
    sha256: str
    leaves: dict[str, np.ndarray]  # by path
    run: str | None  # the name of the run that saved it, and
    note: Any  # a note of its own; None in checkpoints of versions before them

    def part(self, path: str, template: Any) -> Any:
        """The part at `path`, such as `params/decoder`; an empty path stands for the whole state.

        Args:
          template: that of the part alone, as in `Checkpoints.restore`; the rest of the state need not be known.

        Raises:
          BadInput: the part has other paths, dtypes or shapes than `template`.
        """
        where = f"{path} of checkpoint" if path else "checkpoint"
        return as_tree(template, self.under(path), f"{where} {self.step} in {self.directory}")

    def under(self, path: str) -> dict[str, np.ndarray]:
        """The leaves of the part at `path`, by their path within it."""
        prefix = f"{path}/" if path else ""
        return {k[len(path) :].lstrip("/"): x for k, x in self.leaves.items() if f"{k}/".startswith(prefix)}

    def check_run(self, run: str | None) -> None:
        """Raises BadInput unless the checkpoint was saved by the run of this name."""
        if self.run != run:
            raise BadInput(
                f"checkpoint {self.step} in {self.directory} is not one of this run, but of another; restore its own, "
                "or use another directory"
            )


def read(directory: str | Path, *, step: int | None = None) -> Saved:
    """Reads the newest checkpoint, or that of a step; nothing is written.

    Raises:
      BadInput: there is none, or it is damaged; the message names the others.
    """
    root = Path(directory).absolute()
    if not root.is_dir():
        raise BadInput(f"no checkpoint in {root}; give the directory of a run that has saved one")
    manager = open_manager(root, keep=None, writes=False)
    try:
        steps = sorted(manager.all_steps(), reverse=True)
        if not steps:
            raise BadInput(f"no checkpoint in {root}; give the directory of a run that has saved one")
        wanted = steps[0] if step is None else step
        others = ", ".join(str(other) for other in steps if other != wanted) or "none"
        if wanted not in steps:
            raise BadInput(f"{root} has no checkpoint {wanted}; it has {others}")
        found = _read(manager, root, wanted)
    finally:
        quietly(manager.close)
    if isinstance(found, str):
        raise BadInput(f"{damage(root, wanted, found)}; `step` can choose another one: {others}")
    return found


def steps(directory: str | Path) -> list[int]:
    """The steps that have a checkpoint, ascending; none if there is no such directory."""
    root = Path(directory).absolute()
    if not root.is_dir():
        return []
    manager = open_manager(root, keep=None, writes=False)
    try:
        return sorted(manager.all_steps())
    finally:
        quietly(manager.close)


def open_manager(directory: Path, *, keep: int | None, writes: bool) -> ocp.CheckpointManager:
    """Orbax's view of a directory of checkpoints.

    Raises:
      BadInput: a file that Orbax reads of every checkpoint is damaged.
    """
    import orbax.checkpoint as ocp

    def make() -> ocp.CheckpointManager:
        # Synchronous, as the thread that calls it is our own; and alone, waiting for no other process of the run.
        me = jax.process_index()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            read_only=not writes,
            enable_async_checkpointing=False,
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}),
        )
        return ocp.CheckpointManager(directory, options=options)

    try:
        return quietly(make)
    except OSError:
        raise
    except Exception as error:  # whatever Orbax meets there
        raise BadInput(
            f"the checkpoints in {directory} cannot be read ({_first_line(error)}); restore an intact copy, or use "
            "another directory"
        ) from error


def newest_intact(manager: ocp.CheckpointManager, directory: Path) -> tuple[Saved | None, dict[int, str]]:
    """The newest intact checkpoint, if there are any, and the newer steps with what is wrong with each."""
    damaged: dict[int, str] = {}
    steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        found = _read(manager, directory, step)
        if not isinstance(found, str):
            return found, damaged
        damaged[step] = found
    if not steps:
        return None, {}
    raise BadInput(
        f"{damage(directory, steps[0], damaged[steps[0]])}; none of {len(steps)} checkpoints is intact: "
        "restore an intact copy, or use another directory"
    )


def _read(manager: ocp.CheckpointManager, directory: Path, step: int) -> Saved | str:
    """The checkpoint of a step, or what is wrong with it."""
    import orbax.checkpoint as ocp

    items = ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
    try:
        _refuse_special_files(directory / str(step))
        read = quietly(functools.partial(manager.restore, step, args=items))
        state, meta = read["state"], read["meta"]
        leaves = {k: np.zeros(shape, dtype) if 0 in shape else state[k] for k, dtype, shape in meta["leaves"]}
        sealed = {name: value for name, value in meta.items() if name != "meta_sha256"}
        # versions before the digest of meta stored the first three entries alone
        whole = meta.keys() == {"step", "sha256", "leaves"} or meta["meta_sha256"] == digest_of(sealed)
        if not whole or (meta["step"], meta["sha256"]) != (step, params_sha256(leaves)):
            return "its values are not those that were saved"
        return Saved(directory, step, meta["sha256"], leaves, meta.get("run"), meta.get("note"))
    except PermissionError as error:
        raise BadInput(f"checkpoint {step} in {directory} cannot be read: {error.strerror}") from error
    except Exception as error:  # whatever Orbax meets in a damaged file
        return _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _refuse_special_files(folder: Path) -> None:
    """Raises OSError unless everything in a checkpoint is a regular file or a directory: a FIFO would be waited for."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(parent, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise OSError(f"{os.path.relpath(os.path.join(parent, name), folder)} is not a regular file")


def digest_of(meta: dict[str, Any]) -> str:
    """The digest of what is stored with a checkpoint's leaves."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def damage(directory: Path, step: int, reason: str) -> str:
    """A clause that names a damaged checkpoint."""
    return f"checkpoint {step} in {directory} is damaged ({reason})"


def as_tree(template: Any, leaves: Mapping[str, np.ndarray], where: str, *, parameter: str | None = None) -> Any:
    """The leaves as JAX arrays in the structure of a template.

    Args:
      template: as in `Checkpoints.restore`.
      leaves: by path, as `digest.flatten` names them.
      where: what holds the leaves, for the error.
      parameter: the name of the argument that chose them, for the error.

    Raises:
      BadInput: the leaves have other paths, dtypes or shapes than the template; the message names the first.
    """

    def show(x: Any) -> str:
        return "absent" if x is None else f"{np.dtype(x.dtype).name}{list(x.shape)}"

    def place(path: str, like: Any) -> jax.Array:
        sharding = getattr(like, "sharding", None) if getattr(like, "committed", True) else None
        x = jax.device_put(leaves[path], sharding, may_alias=False)  # never NumPy's memory: the state is donated
        if x.dtype != like.dtype:
            raise BadInput(f"{where}: {path} is {like.dtype}, of which JAX keeps {x.dtype}; set JAX_ENABLE_X64=1")
        return x

    expected = flatten(template)
    for path in sorted(expected.keys() | leaves.keys()):
        seen, due = show(leaves.get(path)), show(expected.get(path))
        if seen != due:
            raise BadInput(
                f"{where} is of another model: {path} is {seen} in it, and {due} here; "
                f"use the flags that it was made with, or another {'directory' if parameter is None else 'file'}",
                parameter=parameter,
            )
    placed = [place(path, like) for path, like in expected.items()]
    wanted, structure = jax.tree.flatten(template)
    whole = [
        jax.random.wrap_key_data(x, dtype=like.dtype) if is_key(like) else x
        for x, like in zip(placed, wanted, strict=True)
    ]
    return jax.tree.unflatten(structure, whole)
