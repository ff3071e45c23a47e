"""Checkpoints of a run's state: written during training, and used only if their digest agrees.

A checkpoint is one Orbax step directory with the state's leaves by their path, and their `params_sha256`. Orbax makes
it appear completely or not at all, but silently reads flipped bits and casts dtypes to the requested ones. Leaves are
therefore read as stored, and used only if their paths, dtypes, shapes and bits have the stored digest.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from genjax.errors import BadInput
from genjax.paths import refuse_patterns
from genjax.training.digest import flatten, is_key, params_sha256
from genjax.training.quietly import quietly


class Checkpoints:
    """The checkpoints in one directory: `save` while training, `restore` when starting, `close` at the end.

    Opening creates the directory and removes what a killed process has left unfinished. In a run of several processes,
    which hold the same state, the first one writes and all of them read.

    Args:
      directory: of the checkpoints; created if missing.
      keep: number of newest checkpoints to keep.
      warn: called with one line for each damaged checkpoint that is skipped.

    Raises:
      BadInput: here or from a later call, the directory cannot be written or the disk is full; here, its path has a
        character that Orbax takes for a pattern.
    """

    def __init__(self, directory: str | Path, *, keep: int, warn: Callable[[str], None] = logging.warning) -> None:
        self._directory = Path(directory).absolute()
        refuse_patterns(self._directory)
        self._warn = warn
        self._writes = jax.process_index() == 0
        self._newest: tuple[int, str] | None = None  # step and digest of what was last restored or written here
        self._pending: Future[None] | None = None
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._clear_unfinished()
            self._manager = _manager(self._directory, keep=keep, writes=self._writes)
        except OSError as error:
            raise BadInput(f"{directory} cannot hold checkpoints: {error.strerror}; give another directory") from error
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")

    def save(self, step: int, state: Any) -> None:
        """Copies `state` to the host and returns; another thread takes the digest of the copy and writes it.

        The state's buffers may be donated at once. Waits for the previous save, and raises its error. A step must
        be newer than those in the directory, except that saving the newest again, unchanged, does nothing.
        """
        self.wait()
        if self._writes:
            # On a CPU device_get only lends the device's memory, which is overwritten once donated: copy it.
            leaves = {path: np.array(leaf) for path, leaf in jax.device_get(flatten(state)).items()}
            self._pending = self._worker.submit(self._write, step, leaves)

    def wait(self) -> None:
        """Returns when the last save is on disk; raises BadInput if it could not be written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def restore(self, template: Any) -> tuple[int, Any] | None:
        """The newest intact checkpoint as `(step, state)`; None if there is none yet.

        Newer, damaged ones are reported by `warn` and renamed to `STEP.damaged`, so that training can save those steps
        again.

        Args:
          template: a state of arrays or of `jax.ShapeDtypeStruct`, for its structure, dtypes, shapes and (where
            committed) shardings; its values are ignored.

        Raises BadInput if there are checkpoints but none is intact, or if the newest intact one has other paths, dtypes
        or shapes than `template`; the message names the first.
        """
        self.wait()
        quietly(self._manager.reload)
        found = _newest_whole(self._manager, self._directory)
        if found is None:
            return None
        state = _fit(template, found.leaves, f"checkpoint {found.step} in {self._directory}")
        for step, reason in found.damaged.items():
            aside = self._directory / f"{step}.damaged"
            self._warn(f"{_damage(self._directory, step, reason)}; moved to {aside.name}, using {found.step}")
            if self._writes:
                shutil.rmtree(aside, ignore_errors=True)
                (self._directory / str(step)).rename(aside)
        quietly(self._manager.reload)
        self._newest = found.step, found.sha256
        return found.step, state

    def close(self) -> None:
        """Waits for the last save and ends the writing thread; raises as `wait` does."""
        try:
            self.wait()
        finally:
            self._worker.shutdown()
            quietly(self._manager.close)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, step: int, leaves: dict[str, np.ndarray]) -> None:
        sha256 = params_sha256(leaves)
        if self._newest == (step, sha256):
            return
        latest = self._manager.latest_step()
        if latest is not None and step <= latest:  # Orbax would write nothing and return False
            raise BadInput(
                f"{self._directory} has checkpoint {latest}, so step {step} cannot be saved there; "
                "resume from it, or use another directory"
            )
        meta = {"step": step, "sha256": sha256, "leaves": [[k, x.dtype.name, list(x.shape)] for k, x in leaves.items()]}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave({k: x for k, x in leaves.items() if x.size}),  # Orbax refuses empty arrays
            meta=ocp.args.JsonSave(meta),
        )
        try:
            saved = quietly(functools.partial(self._manager.save, step, args=items))
        except OSError as error:
            self._clear_unfinished()  # it may be what fills the disk
            raise BadInput(
                f"checkpoint {step} of {sum(x.nbytes for x in leaves.values()) / 1e6:.1f} MB cannot be written in "
                f"{self._directory}: {error.strerror}; free some space there and start again; the older ones are kept"
            ) from error
        if not saved:
            raise RuntimeError(f"Orbax did not save step {step} in {self._directory}")
        self._newest = step, sha256

    def _clear_unfinished(self) -> None:
        # Orbax would do so in a thread that can outlive this object.
        for unfinished in self._directory.glob("*.orbax-checkpoint-tmp*") if self._writes else ():
            shutil.rmtree(unfinished, ignore_errors=True)


def restore_part(
    directory: str | Path, path: str, template: Any, *, warn: Callable[[str], None] = logging.warning
) -> tuple[int, Any]:
    """Reads the part at `path`, such as `params/decoder`, of the newest intact checkpoint: `(step, part)`.

    An empty path stands for the whole state. `template` is that of the part alone, as in `Checkpoints.restore`; the
    rest of the state need not be known. Nothing is written. Raises BadInput if no checkpoint is intact, or if the part
    has other paths, dtypes or shapes than `template`.
    """
    root = Path(directory).absolute()
    found = None
    if root.is_dir():
        manager = _manager(root, keep=None, writes=False)
        try:
            found = _newest_whole(manager, root)
        finally:
            quietly(manager.close)
    if found is None:
        raise BadInput(f"no checkpoint in {root}; give the directory of a run that has saved one")
    for step, reason in found.damaged.items():
        warn(f"{_damage(root, step, reason)}; using {found.step}")
    prefix = f"{path}/" if path else ""
    leaves = {k[len(path) :].lstrip("/"): x for k, x in found.leaves.items() if f"{k}/".startswith(prefix)}
    return found.step, _fit(template, leaves, f"{path or 'the state'} of checkpoint {found.step} in {root}")


class _Found(NamedTuple):
    step: int
    sha256: str
    leaves: dict[str, np.ndarray]
    damaged: dict[int, str]  # the newer steps that were skipped, with what is wrong with each


def _manager(directory: Path, *, keep: int | None, writes: bool) -> ocp.CheckpointManager:
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

    return quietly(make)


def _newest_whole(manager: ocp.CheckpointManager, directory: Path) -> _Found | None:
    damaged: dict[int, str] = {}
    steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        try:
            leaves, stored, sha256 = quietly(functools.partial(_read, manager, step))
        except PermissionError as error:
            raise BadInput(f"checkpoint {step} in {directory} cannot be read: {error.strerror}") from error
        except (OSError, RuntimeError) as error:
            damaged[step] = str(error)
            continue
        if stored == (step, sha256):
            return _Found(step, sha256, leaves, damaged)
        damaged[step] = "its values are not those that were saved"
    if not steps:
        return None
    raise BadInput(
        f"{_damage(directory, steps[0], damaged[steps[0]])}; none of {len(steps)} checkpoints is intact: "
        "restore an intact copy, or use another directory"
    )


def _read(manager: ocp.CheckpointManager, step: int) -> tuple[dict[str, np.ndarray], tuple[int, str], str]:
    """The leaves; the step and the digest stored with them; and their digest as they were read."""
    read = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore()))
    state, meta = read["state"], read["meta"]
    leaves = {k: np.zeros(shape, dtype) if 0 in shape else state[k] for k, dtype, shape in meta["leaves"]}
    return leaves, (meta["step"], meta["sha256"]), params_sha256(leaves)


def _damage(directory: Path, step: int, reason: str) -> str:
    return f"checkpoint {step} in {directory} is damaged ({reason})"


def _fit(template: Any, leaves: dict[str, np.ndarray], where: str) -> Any:
    """The leaves as JAX arrays in the structure of the template; raises BadInput if they do not match it."""

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
                "use the flags that it was made with, or another directory"
            )
    placed = [place(path, like) for path, like in expected.items()]
    wanted, structure = jax.tree.flatten(template)
    whole = [
        jax.random.wrap_key_data(x, dtype=like.dtype) if is_key(like) else x
        for x, like in zip(placed, wanted, strict=True)
    ]
    return jax.tree.unflatten(structure, whole)
