"""Claims a run directory: a new one is made this run's, of an existing one it is checked that it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genjax import data
from genjax.runs import agreement, directory, opening, starting
from genjax.runs.experiment import Experiment
from genjax.runs.recording import Setting
from genjax.runs.settings import NOT_IDENTITY, Flags

Objection = Callable[[dict[str, Any], list[str]], str | None]  # recorded flags, names that change -> why they may not


def config(experiment: Experiment, flags: Flags) -> dict[str, Any]:
    """The contents of config.json."""
    return {"experiment": experiment.name, **flags.to_config()}


def claim(workdir: Path, setting: Setting, flags: Flags, *, objection: Objection, goes_on: bool = False) -> None:
    """Makes the directory this run's, or checks that it is; raises as `directory.claim` does.

    Flags that an earlier version of the code did not have count with their defaults, and are named in a warning. A run
    whose flags change goes on from its last checkpoint. A folder or file of data, or of initial weights, may have moved
    if its content has still the fingerprint that the manifest records. Nothing else is written to a finished run that
    does not go on.

    Args:
      objection: why flags cannot change, as `directory.claim` takes it.
      goes_on: whether the run goes on even if it is finished.
    """
    experiment, own = setting.experiment, config(setting.experiment, flags)

    def upgrade(recorded: dict[str, Any]) -> dict[str, Any]:
        if recorded.get("experiment") != experiment.name:
            return recorded
        found, missing = opening.read_flags(workdir, experiment, recorded)
        if missing:
            setting.warn(f"{workdir} has no value for {', '.join(missing)}; the defaults are used")
        if (workdir / "manifest.json").exists():
            manifest = directory.read_manifest(workdir)
            same = manifest["data_fingerprint"] == setting.manifest["data_fingerprint"]
            if same and data.is_local(found.dataset) and data.is_local(flags.dataset):
                found = found.replace(dataset=flags.dataset)
            found = starting.moved(found, flags, manifest, setting.manifest, workdir)
        return config(experiment, found)

    earlier = directory.claim(workdir, own, free=NOT_IDENTITY, upgrade=upgrade, objection=objection)
    if directory.is_finished(workdir):
        if not goes_on:
            agreement.check(workdir)
            if "num_steps" not in earlier:
                recorded = directory.read_config(workdir)
                moved = recorded | {name: own[name] for name in ("dataset", *NOT_IDENTITY)}
                if recorded != moved:
                    with contextlib.suppress(OSError):  # the run may be read-only
                        directory.replace_config(workdir, moved, NOT_IDENTITY)
                return
        (workdir / "summary.json").unlink()
    directory.open_manifest(workdir, setting.manifest, own, warn=setting.warn, free=NOT_IDENTITY, earlier=earlier)
