"""Checkpoints of a run's state: written during training, and used only if their digest agrees.

A checkpoint is one Orbax step directory with the state's leaves by their path, and their `params_sha256`. Orbax makes
it appear completely or not at all, but silently reads flipped bits and casts dtypes to the requested ones. Leaves are
therefore read as stored, and used only if their paths, dtypes, shapes and bits have the stored digest. What else is
stored with them (the step, the name of the run, a note of the caller's) has a digest of its own.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from genjax.errors import BadInput
from genjax.paths import refuse_patterns
from genjax.training.digest import flatten, params_sha256
from genjax.training.quietly import quietly
from genjax.training.saved import damage, digest_of, newest_intact, open_manager


class Checkpoints:
    """The checkpoints in one directory: `save` while training, `restore` when starting, `close` at the end.

    Opening creates the directory and removes what a killed process has left unfinished. In a run of several processes,
    which hold the same state, the first one writes and all of them read.

    Args:
      directory: of the checkpoints; created if missing.
      keep: number of newest checkpoints to keep.
      run: the name of the run, which each checkpoint is stored with; those of another run are refused.
      warn: called with one line for each damaged checkpoint that is skipped.

    Raises:
      BadInput: here or from a later call, the directory cannot be written or the disk is full; here, its path has a
        character that Orbax takes for a pattern.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int,
        run: str | None = None,
        warn: Callable[[str], None] = logging.warning,
    ) -> None:
        self._directory = Path(directory).absolute()
        refuse_patterns(self._directory)
        self._run, self._warn = run, warn
        self.note: Any = None  # what the checkpoint that was last restored was saved with
        self._writes = jax.process_index() == 0
        self._newest: tuple[int, str] | None = None  # step and digest of what was last restored or written here
        self._pending: Future[None] | None = None
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._clear_unfinished()
            self._manager = open_manager(self._directory, keep=keep, writes=self._writes)
        except OSError as error:
            raise BadInput(f"{directory} cannot hold checkpoints: {error.strerror}; give another directory") from error
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")

    def save(self, step: int, state: Any, *, note: Any = None) -> None:
        """Copies `state` to the host and returns; another thread takes the digest of the copy and writes it.

        The state's buffers may be donated at once. Waits for the previous save, and raises its error. A step must
        be newer than those in the directory, except that saving the newest again, unchanged, does nothing.

        Args:
          note: a JSON value to store with it.
        """
        self.wait()
        if self._writes:
            # On a CPU device_get only lends the device's memory, which is overwritten once donated: copy it.
            leaves = {path: np.array(leaf) for path, leaf in jax.device_get(flatten(state)).items()}
            self._pending = self._worker.submit(self._write, step, leaves, note)

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

        Raises BadInput if there are checkpoints but none is intact, or if the newest intact one is of another run, or
        has other paths, dtypes or shapes than `template`; the message names the first.
        """
        self.wait()
        quietly(self._manager.reload)
        found, damaged = newest_intact(self._manager, self._directory)
        if found is None:
            return None
        found.check_run(self._run)
        state = found.part("", template)
        for step, reason in damaged.items():
            aside = self._directory / f"{step}.damaged"
            self._warn(f"{damage(self._directory, step, reason)}; moved to {aside.name}, using {found.step}")
            if self._writes:
                shutil.rmtree(aside, ignore_errors=True)
                (self._directory / str(step)).rename(aside)
        quietly(self._manager.reload)
        self._newest, self.note = (found.step, found.sha256), found.note
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

    def _write(self, step: int, leaves: dict[str, np.ndarray], note: Any) -> None:
        import orbax.checkpoint as ocp

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
        meta |= {"run": self._run, "note": note}
        meta |= {"meta_sha256": digest_of(meta)}
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
