"""Writes a run's directory during training and at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from genjax import data
from genjax.data import batching
from genjax.drawing import charts
from genjax.errors import BadInput
from genjax.runs import agreement, directory, hosts, log, report, stored
from genjax.runs.experiment import Built, Experiment, Trained
from genjax.runs.metrics import best_evaluation, describe, headline
from genjax.runs.selection import Selection
from genjax.runs.settings import Flags
from genjax.runs.tensorboard import TensorBoard
from genjax.stderr import print_line
from genjax.training import digest, saved
from genjax.training.streams import streams
from genjax.types import Key

Warn = Callable[[str], None]  # a line -> shows it
LOG = "metrics.jsonl"  # in the run directory


class Setting(NamedTuple):
    """What all parts of a run share."""

    experiment: Experiment
    built: Built
    dataset: data.Dataset  # as used for training
    source: batching.Source
    manifest: dict[str, Any]
    warn: Warn
    # both with the validation split in the place of the test split, if there is one
    validation: tuple[data.Dataset, batching.Source] | None = None
    auxiliaries: Mapping[str, str] = {}  # the digests of auxiliary models, by the names of their folders

    @property
    def watched(self) -> tuple[data.Dataset, batching.Source]:
        """The data set and the source whose held-out examples are evaluated while training."""
        return self.validation or (self.dataset, self.source)

    def named(self, split: str) -> str:
        """The name of a split in metrics.jsonl, "train" or "test" in `fit`."""
        return "validation" if self.validation and split == "test" else split


class Recorder:
    """Writes the directory of a run of one seed, from `first_step` on, where its logs were as a checkpoint notes.

    With `may_end`, `report` raises BadInput where the experiment says that the training has collapsed.
    """

    def __init__(
        self,
        setting: Setting,
        flags: Flags,
        workdir: Path,
        first_step: int,
        logs: Mapping[str, Any],
        selection: Selection | None = None,
        *,
        may_end: bool = False,
    ) -> None:
        self._setting, self._flags, self._workdir, self._selection = setting, flags, workdir, selection
        self._metrics_path = workdir / LOG
        self._board = TensorBoard(workdir) if flags.tensorboard and hosts.is_first() else None
        self._picture_key, self._sample_key = jax.random.split(streams(flags.seed).pictures)
        self._dataset, source = setting.watched
        self._examples = held_out_examples(source, self._picture_key)
        self._examined = None
        self.examine = self._examine if setting.experiment.monitor or selection else None
        self._may_end = may_end
        self._evaluations: list[Mapping[str, Any]] = []
        if hosts.is_first():
            log.cut_metrics(self._metrics_path, upto=first_step, log=logs.get(LOG))
            if self._metrics_path.exists():
                lines = directory.read_metrics(self._metrics_path)
                self._evaluations = [line for line in lines if line["split"] != "train"]

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
            dataset=self._dataset,
            examples=self._examples,
            key=self._sample_key,
            workdir=self._workdir,
        )

    def _examine(self, step: int, state: Any) -> dict[str, Any]:
        self._examined = state
        return self._monitor(step, state)

    def _monitor(self, step: int, state: Any) -> dict[str, Any]:
        monitor = self._setting.experiment.monitor
        if monitor is None or not hosts.is_first():
            return {}
        with threadpool_limits(limits=1):  # on whose number the last bits of linear algebra depend
            return monitor(self._flags, self._trained(step, state))

    def report(self, step: int, split: str, metrics: dict[str, Any]) -> None:
        """Appends a line of metrics, and compares an evaluation with those before."""
        split = self._setting.named(split)
        log.append_metrics(self._metrics_path, step, split, metrics)
        if self._board:
            self._board.write_scalars(step, split, metrics)
        if split == "train":
            return
        self._evaluations.append({"step": step, "split": split} | metrics)
        if self._selection is not None:
            self._selection.consider({"step": step} | metrics, self._examined)
        self._judge()

    def _judge(self) -> None:
        """Prints what the last evaluation says of the training, and ends it where it has collapsed."""
        experiment, evaluations = self._setting.experiment, self._evaluations
        found = experiment.collapse(self._flags, evaluations) if self._may_end else None
        if found is None:
            remark = experiment.remark(self._flags, evaluations)
            if remark is not None:
                self._setting.warn(f"{remark}, in {self._workdir}")
            return
        folder = self._workdir / "checkpoints"
        before = [step for step in saved.steps(folder) if step < found.since]
        kept = f"the last checkpoint before that is {before[-1]}, in {folder}" if before else "no checkpoint is left"
        raise BadInput(f"{found.reason}; stopped at step {evaluations[-1]['step']}, {kept}")

    def _remarks(self) -> list[str]:
        """What each evaluation says of the training, where it says anything."""
        until = (self._evaluations[: number + 1] for number in range(len(self._evaluations)))
        remarks = [self._setting.experiment.remark(self._flags, evaluations) for evaluations in until]
        return [remark for remark in remarks if remark is not None]

    def sync(self) -> None:
        """Flushes the lines so far to the disk."""
        if hosts.is_first():
            log.sync(self._metrics_path)

    def close(self) -> None:
        """Completes the events for TensorBoard."""
        if self._board:
            self._board.close()
        if self._selection is not None:
            self._selection.close()

    def finish(
        self, state: Any, speed: dict[str, Any], errors: Mapping[str, Any], final: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Draws and measures the trained model; writes and returns its summary.

        Args:
          errors: the standard errors of the last evaluation's metrics, as `standard_errors` returns them.
          final: the metrics of the state on the test split, if the evaluations so far were of a validation split.
        """
        step = speed["num_steps"] if self._selection is None else self._selection.best["step"]
        measured = {}
        if final is not None:
            self._dataset = self._setting.dataset
            self._examples = held_out_examples(self._setting.source, self._picture_key)
            measured = {name: float(value) for name, value in final.items()} | self._monitor(step, state)
        with threadpool_limits(limits=1):
            summarised = self._setting.experiment.summarise(self._flags, self._trained(step, state))
        lines = directory.read_metrics(self._metrics_path)
        last = (speed["num_steps"], self._setting.named("test"))
        if not lines or (lines[-1]["step"], lines[-1]["split"]) != last:
            raise BadInput(
                f"{self._metrics_path} lacks the metrics of step {speed['num_steps']}, the last one; restore it, or "
                "start in another `workdir`"
            )
        save_curves(self._workdir, self._setting.experiment, self._flags, lines)
        if self._selection is None:
            self._note_best(lines, errors)
        else:
            self._note_selected(speed["num_steps"])
        if self._board:
            self._board.write_pictures(speed["num_steps"], self._workdir)
        self.close()
        params_sha256 = digest.params_sha256(state.params)
        evaluated = {name: value for name, value in lines[-1].items() if name not in ("step", "split")}
        metrics = (measured or evaluated) | summarised
        more = {"metrics_standard_error": {name: float(error) for name, error in errors.items()}} if errors else {}
        more |= {} if self._selection is None else {"selected": self._selection.best}
        remarks = self._remarks()
        more |= {"remarks": remarks} if remarks else {}
        return write_end(self._workdir, self._setting, speed, metrics, params_sha256, more)

    def _note_selected(self, reached: int) -> None:
        """Prints a line with the step whose parameters the run ends with."""
        assert self._selection is not None
        best, due = self._selection.best, self._flags.num_steps
        trained = (
            f"training stopped early, after {reached} of {due} steps" if reached < due else f"{due} steps were trained"
        )
        print_line(
            f"the parameters are those of step {best['step']}, where the validation {best['metric']} was best, "
            f"{best['value']:.4f}; {trained}"
        )

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
