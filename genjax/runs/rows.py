"""What is recorded of runs, in rows of those that differ only in the seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax.drawing.charts import Series
from genjax.errors import BadInput
from genjax.paths import expand_user
from genjax.runs import agreement, directory, opening
from genjax.runs.experiment import Experiment
from genjax.runs.flags import from_config
from genjax.runs.metrics import Metric, describe
from genjax.runs.settings import CADENCE, NOT_IDENTITY

NOT_COMPARED = (*NOT_IDENTITY, *CADENCE, "seed", "num_seeds", "seeds_mode")
"""Flags that do not make two runs different configurations."""


class Logged(NamedTuple):
    """What is recorded of one run of one seed, finished or not."""

    record: agreement.Record
    lines: list[dict[str, Any]]  # of metrics.jsonl

    @property
    def is_finished(self) -> bool:
        """Whether the run has a summary."""
        return self.record.summary is not None

    @property
    def step(self) -> int:
        """The last step, of a run that is not finished that of its last line."""
        return self.record.summary["num_steps"] if self.record.summary else self.lines[-1]["step"] if self.lines else 0

    @property
    def metrics(self) -> dict[str, float]:
        """The final test metrics, of a run that is not finished those of its last evaluation; none before the first."""
        if self.record.summary:
            return self.record.summary["metrics"]
        tests = [line for line in self.lines if line["split"] != "train"]
        return {name: value for name, value in tests[-1].items() if name not in ("step", "split")} if tests else {}


def held_out(series: Mapping[str, dict[str, Series]], metric: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The values of a metric at the evaluations of the rows that have it, on the validation split if there is one.

    Args:
      series: what `Row.series` returns, by the name of the row.
    """
    found = {}
    for name, of_row in series.items():
        splits = of_row.get(metric, {})
        if "validation" in splits or "test" in splits:
            found[name] = splits.get("validation") or splits["test"]
    return found


class Row(NamedTuple):
    """A configuration: runs that differ only in the seed."""

    flags: dict[str, str]  # those that differ among the rows
    runs: list[Logged]

    @property
    def name(self) -> str:
        """The flags in words."""
        return ", ".join(f"{name}={value}" for name, value in self.flags.items()) or self.runs[0].record.name

    @property
    def note(self) -> str:
        """Of runs that are not finished, the least step."""
        steps = [run.step for run in self.runs if not run.is_finished]
        return f"step {min(steps)}, not finished" if steps else ""

    @property
    def metrics(self) -> list[str]:
        """The names of all final metrics."""
        return list(dict.fromkeys(name for run in self.runs for name in run.metrics))

    def values(self, metric: str) -> np.ndarray:
        """Those of the seeds that have the metric."""
        return np.array([run.metrics[metric] for run in self.runs if metric in run.metrics])

    def series(self) -> dict[str, Series]:
        """The values along the runs by metric and split, at the steps that all seeds have: [T] and [T, seeds]."""
        found: dict[str, Series] = {}
        for name in sorted({name for run in self.runs for line in run.lines for name in line} - {"step", "split"}):
            for split in ("train", "validation", "test"):
                of_seeds = [
                    {
                        line["step"]: line[name]
                        for line in run.lines
                        if line["split"] == split and type(line.get(name)) in (int, float)
                    }
                    for run in self.runs
                ]
                steps = sorted(set.intersection(*map(set, of_seeds)))
                if steps:
                    values = np.array([[of_seed[step] for of_seed in of_seeds] for step in steps])
                    found.setdefault(name, {})[split] = np.array(steps), values
        return found


def standard_error(values: np.ndarray) -> np.ndarray:
    """The standard error of the mean over the last axis, s / sqrt(n) with the unbiased s; n >= 2."""
    return values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])


def found(path: Path, *, parameter: str = "runs") -> list[Path]:
    """The directories of runs of one seed at a path: of a run, a run of several seeds, or a folder of runs.

    Raises:
      BadInput: there is none.
    """
    if (path / "config.json").is_file():
        seeds = {file.parent.name.removeprefix("seed-"): file for file in path.glob("seed-*/config.json")}
        seeds = [seeds[seed] for seed in sorted(filter(str.isdecimal, seeds), key=int)]
        return [file.parent for file in seeds] or [path]
    inside = [one for folder in sorted(path.glob("*/config.json")) for one in found(folder.parent, parameter=parameter)]
    # the folders of cached auxiliary models have no metrics
    inside = [one for one in inside if (one / "metrics.jsonl").is_file()]
    if not inside:
        raise BadInput(f"{path} is not the directory of a run, nor a folder of runs", parameter=parameter)
    return inside


def logged(record: agreement.Record) -> Logged:
    """A run's record with its lines of metrics."""
    return Logged(record, directory.read_metrics(record.log) if record.log.is_file() else [])


def found_in(given: Iterable[str], *, parameter: str) -> list[Path]:
    """The directories of runs at all of these paths, each once; raises as `found` does."""
    paths = [expand_user(each, parameter=parameter) for each in given]
    return list(dict.fromkeys(run for path in paths for run in found(path, parameter=parameter)))


def read(path: Path) -> Logged:
    """What is recorded in a run's directory; raises as `agreement.read` does."""
    return logged(agreement.read(path))


def grouped(runs: Iterable[Logged]) -> list[Row]:
    """The configurations in the order in which they were given, with the flags in which they differ."""
    groups: dict[str, list[Logged]] = {}
    for run in runs:
        own = {name: value for name, value in run.record.flags.items() if name not in NOT_COMPARED}
        groups.setdefault(json.dumps([run.record.name, own], sort_keys=True), []).append(run)
    identities = [json.loads(key) for key in groups]
    names = dict.fromkeys(name for _, own in identities for name in own)
    of_experiments: dict[str, list[dict[str, Any]]] = {}
    for experiment, own in identities:
        of_experiments.setdefault(experiment, []).append(own)
    everyone = [own for _, own in identities]
    differing = [
        name
        for name in names
        if any(_differ(name, among) for among in of_experiments.values())
        or (all(name in own for own in everyone) and _differ(name, everyone))
    ]
    rows = []
    for (experiment, own), members in zip(identities, groups.values(), strict=True):
        flags = {"experiment": experiment} if len(of_experiments) > 1 else {}
        for name in differing:
            known = any(name in other for other in of_experiments[experiment])
            flags[name] = text(own[name]) if name in own else "not recorded" if known else ""
        rows.append(Row(flags, members))
    return rows


def _differ(name: str, among: Iterable[Mapping[str, Any]]) -> bool:
    missing = object()
    return len({str(own.get(name, missing)) for own in among}) > 1


def text(value: Any) -> str:
    """A flag's value in words, empty for none."""
    return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def best(rows: Sequence[Row], metric: str, better: str) -> set[int]:
    """The rows of the best mean: finished ones, unless none is; none if it is not known which is better.

    Rows of several data sets are not rivals.
    """
    finished = [i for i, row in enumerate(rows) if not row.note] or range(len(rows))
    means = {i: rows[i].values(metric).mean() for i in finished if len(rows[i].values(metric))}
    if not better or len(rows) < 2 or not means or any({"dataset", "binarize"} & row.flags.keys() for row in rows):
        return set()
    extreme = (max if better == "higher" else min)(means.values())
    return {i for i, mean in means.items() if mean == extreme}


def experiments_of(rows: Sequence[Row], pages: Sequence[str] = ()) -> dict[str, Experiment]:
    """The experiments of the rows by name, those of the modules `pages` or else of the package `experiments`.

    Raises:
      BadInput: one is not known.
    """
    own = {experiment.name: experiment for experiment in map(opening.of_module, pages)}
    names = dict.fromkeys(row.runs[0].record.name for row in rows)
    return {name: own.get(name) or opening.find(name) for name in names}


def flags_of(row: Row, experiments: Mapping[str, Experiment]) -> Any:
    """The record of flags of the row's first run.

    Raises:
      BadInput: the experiment has no such flag, or a value is not valid.
    """
    record = row.runs[0].record
    return from_config(experiments[record.name].flags, record.flags, source=str(record.workdir / "config.json"))[0]


def describer(rows: Sequence[Row], experiments: Mapping[str, Experiment]) -> Callable[[str], Metric]:
    """The unit and direction of each metric; neither if they are not the same in all rows."""
    declared = [experiments[row.runs[0].record.name].metrics(flags_of(row, experiments)) for row in rows]

    def about(metric: str) -> Metric:
        different = {describe(metric, of_row) for of_row in declared}
        return different.pop() if len(different) == 1 else Metric()

    return about


def without_repeated_loss(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """The metrics without `loss` if another one has its values in all rows, whose name says more."""
    is_repeated = any(len(row.values("loss")) for row in rows) and any(
        all(np.array_equal(row.values(name), row.values("loss"), equal_nan=True) for row in rows)
        for name in names
        if name != "loss"
    )
    return [name for name in names if name != "loss" or not is_repeated]
