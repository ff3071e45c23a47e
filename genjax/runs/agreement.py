"""Compares what a run directory records twice: its flags, manifest, summary, metrics and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax.errors import BadInput
from genjax.runs import directory, log, stored
from genjax.runs.settings import NOT_IDENTITY
from genjax.training import saved
from genjax.training.digest import params_sha256


class Record(NamedTuple):
    """The files of a run directory, which agree with each other."""

    workdir: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    summary: dict[str, Any] | None  # of a finished run

    @property
    def name(self) -> str:
        """The name of the run's experiment."""
        return self.config["experiment"]

    @property
    def flags(self) -> dict[str, Any]:
        """The run's flags by name, as they are recorded."""
        return {name: value for name, value in self.config.items() if name != "experiment"}

    @property
    def log(self) -> Path:
        """The path of the run's metrics."""
        return self.workdir / "metrics.jsonl"


def read(workdir: Path) -> Record:
    """Reads config.json, manifest.json and, of a finished run, summary.json.

    Raises:
      BadInput: one of them is missing or damaged, or they are not those of one run; the message names the file.
    """
    config, manifest = stored.read_config(workdir), stored.read_manifest(workdir)
    directory.check_config(workdir, config, manifest, NOT_IDENTITY)
    path = workdir / "summary.json"
    if not path.exists():
        return Record(workdir, config, manifest, None)
    summary = stored.read_summary(workdir)
    stopped = config.get("patience") and summary["num_steps"] < config.get("num_steps", 0)
    pairs = (
        ("experiment", summary["experiment"], "config.json", config["experiment"]),
        *([] if stopped else [("num_steps", summary["num_steps"], "config.json", config.get("num_steps"))]),
        ("num_steps", summary["num_steps"], "manifest.json", manifest["steps_done"]),
        ("params_sha256", summary["params_sha256"], "manifest.json", manifest["params_sha256"]),
    )
    for name, here, other, there in pairs:
        if here != there:
            raise BadInput(f"{path} is damaged: its {name} is {here}, and {there} in {other}; restore it")
    if stored.digest_of(summary) != manifest.get("summary_sha256", stored.digest_of(summary)):
        raise BadInput(f"{path} is damaged: it does not have the digest in manifest.json; restore it")
    return Record(workdir, config, manifest, summary)


def checkpoint(record: Record, *, step: int | None = None) -> saved.Saved:
    """The checkpoint that a run ends with, the newest of one that is not finished, or that of a step.

    A run that ends with the parameters of its best evaluation has that checkpoint in a folder of its own.

    Raises:
      BadInput: it is missing, damaged or of another run, or does not agree with the other files.
    """
    selected = (record.summary or {}).get("selected")
    if selected is None or step not in (None, selected["step"]):
        return _of_training(record, step=step)
    _of_training(record, step=None)
    folder = record.workdir / directory.BEST
    found = saved.read(folder, step=selected["step"])
    found.check_run(record.manifest.get("run"))
    _check_params(record, found, folder)
    return found


def _of_training(record: Record, *, step: int | None) -> saved.Saved:
    """A checkpoint from which training goes on, the newest or that of a step."""
    folder = record.workdir / "checkpoints"
    found = saved.read(folder, step=step)
    found.check_run(record.manifest.get("run"))
    last = record.manifest["steps_done"] if record.summary else None
    if last is not None and step is None and found.step != last:
        raise BadInput(
            f"{folder} does not have checkpoint {last}, the last one of the run; `step` can choose another one: "
            f"{found.step}"
        )
    if record.summary and found.step == last and "selected" not in record.summary:
        _check_params(record, found, folder)
    lines = stored.metric_lines(record.log)
    stored.read_metrics(record.log)
    noted = (found.note or {}).get("metrics.jsonl")
    if noted is not None:
        log.check_log(record.log, lines, noted, at=f"step {found.step}")
        if found.step == last and len(lines) > noted["lines"]:
            raise BadInput(f"{record.log} has lines after step {last}, the last one of the run; restore it")
    return found


def _check_params(record: Record, found: saved.Saved, folder: Path) -> None:
    if _params_sha256(found, record.manifest["params_sha256"]) != record.manifest["params_sha256"]:
        raise BadInput(f"checkpoint {found.step} in {folder} has other parameters than manifest.json names")


def check(workdir: Path) -> Record:
    """Reads all files of a finished run, of one seed or several, and compares them.

    Raises:
      BadInput: the run is not finished, or as `read` and `checkpoint` do.
    """
    record = read(workdir)
    if record.summary is None:
        stored.read_summary(workdir)  # names what is missing
    checkpoint(record)
    for seed, folder in seed_folders(record):
        of_seed = check(folder)
        hashes = record.manifest["params_sha256"]
        if not isinstance(hashes, dict) or of_seed.manifest["params_sha256"] != hashes.get(seed):
            raise BadInput(f"{folder} has other parameters than {workdir / 'manifest.json'} names for its seed")
    return record


def seed_folders(record: Record) -> Sequence[tuple[str, Path]]:
    """The seed and the directory of each run in that of several seeds; none for a run of one seed."""
    hashes = record.manifest["params_sha256"]
    return [(seed, record.workdir / f"seed-{seed}") for seed in hashes] if isinstance(hashes, dict) else []


def _params_sha256(found: saved.Saved, like: Any) -> Any:
    """The digest of a checkpoint's parameters; of several seeds, whose arrays are stacked, one for each."""
    leaves = found.under("params")
    if not isinstance(like, dict):
        return params_sha256(leaves)
    return {seed: params_sha256({k: np.asarray(x[i]) for k, x in leaves.items()}) for i, seed in enumerate(like)}
