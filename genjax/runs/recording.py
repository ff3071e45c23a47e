"""Writes a run's directory during training and at the end, for one seed or several."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data
from genjax.data import batching
from genjax.drawing import charts
from genjax.errors import BadInput
from genjax.runs import agreement, directory, hosts, log, opening, report, starting, stored
from genjax.runs.experiment import Built, Experiment, Trained
from genjax.runs.metrics import best_evaluation, describe, headline
from genjax.runs.settings import CADENCE, NOT_IDENTITY, Flags
from genjax.runs.tensorboard import TensorBoard
from genjax.stderr import print_line
from genjax.training import checkpoint, digest
from genjax.training.streams import streams
from genjax.types import Key

Warn = Callable[[str], None]  # a line -> shows it
Objection = Callable[[dict[str, Any], list[str]], str | None]  # recorded flags, names that change -> why they may not
LOG = "metrics.jsonl"  # in the run directory


class Setting(NamedTuple):
    """What all parts of a run share."""

    experiment: Experiment
    built: Built
    dataset: data.Dataset  # as used for training
    source: batching.Source
    manifest: dict[str, Any]
    warn: Warn


class Recorder:
    """Writes the directory of a run of one seed, from `first_step` on, where its logs were as a checkpoint notes."""

    def __init__(self, setting: Setting, flags: Flags, workdir: Path, first_step: int, logs: Mapping[str, Any]) -> None:
        self._setting, self._flags, self._workdir = setting, flags, workdir
        self._metrics_path = workdir / LOG
        self._board = TensorBoard(workdir) if flags.tensorboard and hosts.is_first() else None
        picture_key, self._sample_key = jax.random.split(streams(flags.seed).pictures)
        self._examples = held_out_examples(setting.source, picture_key)
        self.examine = self._monitor if setting.experiment.monitor else None
        if hosts.is_first():
            log.cut_metrics(self._metrics_path, upto=first_step, log=logs.get(LOG))

    @property
    def logs(self) -> dict[str, Any]:
        """What a checkpoint records of the metric lines so far, by file."""
        return {LOG: stored.log_of(stored.metric_lines(self._metrics_path))}

    def _trained(self, step: int, state: Any) -> Trained:
        setting = self._setting
        return Trained(
            model=setting.built.model,
            parts=setting.built.parts,
            auxiliaries=setting.built.auxiliaries,
            state=state,
            step=step,
            dataset=setting.dataset,
            examples=self._examples,
            key=self._sample_key,
            workdir=self._workdir,
        )

    def _monitor(self, step: int, state: Any) -> dict[str, Any]:
        monitor = self._setting.experiment.monitor
        return monitor(self._flags, self._trained(step, state)) if monitor and hosts.is_first() else {}

    def report(self, step: int, split: str, metrics: dict[str, Any]) -> None:
        """Appends a line of metrics."""
        log.append_metrics(self._metrics_path, step, split, metrics)
        if self._board:
            self._board.write_scalars(step, split, metrics)

    def sync(self) -> None:
        """Flushes the lines so far to the disk."""
        if hosts.is_first():
            log.sync(self._metrics_path)

    def close(self) -> None:
        """Completes the events for TensorBoard."""
        if self._board:
            self._board.close()

    def finish(self, state: Any, speed: dict[str, Any], errors: Mapping[str, Any]) -> dict[str, Any]:
        """Draws and measures the trained model; writes and returns its summary.

        Args:
          errors: the standard errors of the last evaluation's metrics, as `standard_errors` returns them.
        """
        trained = self._trained(speed["num_steps"], state)
        summarised = self._setting.experiment.summarise(self._flags, trained)
        lines = directory.read_metrics(self._metrics_path)
        if not lines or (lines[-1]["step"], lines[-1]["split"]) != (speed["num_steps"], "test"):
            raise BadInput(
                f"{self._metrics_path} lacks the metrics of step {speed['num_steps']}, the last one; restore it, or "
                "start in another `workdir`"
            )
        save_curves(self._workdir, self._setting.experiment, self._flags, lines)
        self._note_best(lines, errors)
        if self._board:
            self._board.write_pictures(speed["num_steps"], self._workdir)
        self.close()
        params_sha256 = digest.params_sha256(state.params)
        metrics = {name: value for name, value in lines[-1].items() if name not in ("step", "split")} | summarised
        more = {"metrics_standard_error": {name: float(error) for name, error in errors.items()}} if errors else {}
        return write_end(self._workdir, self._setting, speed, metrics, params_sha256, more)

    def _note_best(self, lines: list[dict[str, Any]], errors: Mapping[str, Any]) -> None:
        """Prints a line if the model was better at an earlier evaluation than it is now."""
        experiment = self._setting.experiment
        for name in headline(list(lines[-1]), (*experiment.headline, *experiment.watch)):
            better = describe(name, experiment.metrics(self._flags)).better
            if better:
                best = best_evaluation(lines, name, better=better, error=float(errors.get(name, 0.0)))
                if best is not None:
                    print_line(
                        f"note: the held-out {name} was best at step {best['step']}, {best[name]:.4f}; at the end it "
                        f"is {lines[-1][name]:.4f}, in {self._workdir}"
                    )
                return


class SeedsRecorder:
    """Writes the directory of several seeds: a complete run directory for each, and their summary above."""

    def __init__(self, setting: Setting, flags: Flags, workdir: Path, first_step: int, logs: Mapping[str, Any]) -> None:
        self._setting, self._flags, self._workdir = setting, flags, workdir
        self._metrics_path = workdir / LOG
        self._recorders: dict[int, Recorder] = {}
        for seed in range(flags.seed, flags.seed + flags.num_seeds):
            folder, own = workdir / f"seed-{seed}", setting
            alone = flags.replace(seed=seed, workdir=str(folder), num_seeds=1)
            if flags.seeds_mode == "map":  # the run has the same bits as alone
                bits_of = "any" if flags.shards else 1
                own = setting._replace(manifest=setting.manifest | {"seed": seed, "bits_of_devices": bits_of})
            if hosts.is_first():
                # what may change was checked for all of them
                claim(folder, own, alone, objection=_only_what_may_change, goes_on=True)
            of_seed = {LOG: logs.get(f"{folder.name}/{LOG}")}
            self._recorders[seed] = Recorder(own, alone, folder, first_step, of_seed)
        self.examine = self._monitor if setting.experiment.monitor else None
        if hosts.is_first():
            log.cut_metrics(self._metrics_path, upto=first_step, log=logs.get(LOG))

    @property
    def logs(self) -> dict[str, Any]:
        """What a checkpoint records of the metric lines so far, by file."""
        own = {LOG: stored.log_of(stored.metric_lines(self._metrics_path))}
        return own | {f"seed-{seed}/{LOG}": recorder.logs[LOG] for seed, recorder in self._recorders.items()}

    def _monitor(self, step: int, states: Any) -> dict[str, Any]:
        measured = [recorder._monitor(step, state) for recorder, state in self._each(states)]
        return {name: np.array([metrics[name] for metrics in measured]) for name in measured[0]}

    def _each(self, states: Any) -> list[tuple[Recorder, Any]]:
        """Each seed's recorder with its state, taken from the stacked states."""
        return [
            (recorder, jax.tree.map(lambda a, i=i: a[i], states)) for i, recorder in enumerate(self._recorders.values())
        ]

    def report(self, step: int, split: str, metrics: dict[str, Any]) -> None:
        """Appends a line of metrics for all seeds, and one for each."""
        log.append_metrics(self._metrics_path, step, split, {name: v.tolist() for name, v in metrics.items()})
        for i, recorder in enumerate(self._recorders.values()):
            recorder.report(step, split, {name: float(value[i]) for name, value in metrics.items()})

    def sync(self) -> None:
        """Flushes the lines so far to the disk."""
        if hosts.is_first():
            log.sync(self._metrics_path)
            for recorder in self._recorders.values():
                recorder.sync()

    def close(self) -> None:
        """Completes the events for TensorBoard."""
        for recorder in self._recorders.values():
            recorder.close()

    def finish(self, states: Any, speed: dict[str, Any], errors: Mapping[str, Any]) -> dict[str, Any]:
        """Finishes the run of each seed and saves its checkpoint; writes means and standard deviations."""
        summaries = {}
        for i, (seed, (recorder, state)) in enumerate(zip(self._recorders, self._each(states), strict=True)):
            folder = self._workdir / f"seed-{seed}" / "checkpoints"
            run = directory.read_manifest(folder.parent).get("run")
            with checkpoint.Checkpoints(folder, keep=1, run=run, warn=self._setting.warn) as checkpoints:
                checkpoints.restore(state)  # a checkpoint from an earlier start is not written again
                checkpoints.save(speed["num_steps"], state, note=recorder.logs)
            summaries[str(seed)] = recorder.finish(state, speed, {name: error[i] for name, error in errors.items()})
        save_curves(self._workdir, self._setting.experiment, self._flags, directory.read_metrics(self._metrics_path))
        names = next(iter(summaries.values()))["metrics"]
        values = {name: [summary["metrics"][name] for summary in summaries.values()] for name in names}
        metrics = {name: float(np.mean(of_seeds)) for name, of_seeds in values.items()}
        more = {
            "metrics_deviation": {name: float(np.std(of_seeds, ddof=1)) for name, of_seeds in values.items()},
            "metrics_of_seeds": {seed: summary["metrics"] for seed, summary in summaries.items()},
        }
        hashes = {seed: summary["params_sha256"] for seed, summary in summaries.items()}
        return write_end(self._workdir, self._setting, speed, metrics, hashes, more)


def _only_what_may_change(recorded: dict[str, Any], names: list[str]) -> str | None:
    return None if set(names) <= {"num_steps", *CADENCE} else ""


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


def save_curves(workdir: Path, experiment: Experiment, flags: Flags, lines: list[dict[str, Any]]) -> None:
    """Draws the learning curves, with the units that the experiment and the metrics' names show."""
    own = experiment.metrics(flags)
    first = (*experiment.watch, *experiment.headline)
    charts.save_curves(workdir / "curves.png", lines, unit=lambda name: describe(name, own).unit, first=first)


def write_end(
    workdir: Path,
    setting: Setting,
    speed: dict[str, Any],
    metrics: dict[str, float],
    params_sha256: Any,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Completes the manifest, and writes the report and the summary, whose presence marks a run as finished."""
    summary = {
        "experiment": setting.experiment.name,
        **speed,
        "metrics": metrics,
        **(more or {}),
        "params_sha256": params_sha256,
    }
    trained = {
        "steps_done": speed["num_steps"],
        "params_sha256": params_sha256,
        "summary_sha256": stored.digest_of(summary),
    }
    directory.write_manifest(workdir, directory.read_manifest(workdir) | trained)
    manifest = directory.read_manifest(workdir)
    record = agreement.Record(workdir, directory.read_config(workdir), manifest, summary)
    report.leave(record, setting.experiment, warn=setting.warn)
    directory.write_json(workdir / "summary.json", summary)
    return summary


def held_out_examples(source: batching.Source, key: Key, *, at_most: int = 2000) -> Any:
    """Held-out examples that stand for all, as `data.choose` draws them, in the form that the model takes."""
    groups = [jax.tree.map(np.asarray, group) for group in source.test.groups]
    shapes = [jax.tree.leaves(group)[0].shape[:2] for group in groups]
    places = [(g, b, row) for g, (batches, rows) in enumerate(shapes) for b in range(batches) for row in range(rows)]
    chosen = [places[i] for i in data.choose(len(places), at_most)]
    size = shapes[0][1]
    read = []
    for number, start in enumerate(range(0, len(chosen), size)):
        some = chosen[start : start + size]
        stored = jax.tree.map(lambda *arrays, some=some: np.stack([arrays[g][b, row] for g, b, row in some]), *groups)
        read.append(source.test.read(jax.tree.map(jnp.asarray, stored), jax.random.fold_in(key, number)))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *read)
