"""Writes the directory of several seeds that are trained in one program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genjax.runs import auxiliary, directory, hosts, log, stored
from genjax.runs.claiming import claim
from genjax.runs.recording import LOG, Recorder, Setting, save_curves, write_end
from genjax.runs.settings import CADENCE, Flags
from genjax.training import checkpoint


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
                auxiliary.note(folder, setting.auxiliaries, warn=setting.warn)
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
        log.append_metrics(
            self._metrics_path, step, self._setting.named(split), {name: v.tolist() for name, v in metrics.items()}
        )
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

    def finish(
        self, states: Any, speed: dict[str, Any], errors: Mapping[str, Any], final: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Finishes the run of each seed and saves its checkpoint; writes means and standard deviations."""
        summaries = {}
        for i, (seed, (recorder, state)) in enumerate(zip(self._recorders, self._each(states), strict=True)):
            folder = self._workdir / f"seed-{seed}" / "checkpoints"
            run = directory.read_manifest(folder.parent).get("run")
            with checkpoint.Checkpoints(folder, keep=1, run=run, warn=self._setting.warn) as checkpoints:
                checkpoints.restore(state)  # a checkpoint from an earlier start is not written again
                checkpoints.save(speed["num_steps"], state, note=recorder.logs)
            own = {name: error[i] for name, error in errors.items() if error[i] > 0}  # as the run alone has them
            of_seed = None if final is None else {name: value[i] for name, value in final.items()}
            summaries[str(seed)] = recorder.finish(state, speed, own, of_seed)
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
