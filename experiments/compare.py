"""Compares runs: a table of their final metrics, and their learning curves over each other.

    python -m experiments.compare --runs=runs/a,runs/b --out=DIR
    python -m experiments.compare --runs=runs --metrics=negative_elbo,rate

A directory in --runs is a run, a run of several seeds, or a folder of runs. Runs that differ only in the seed are one
row, with mean +- standard deviation over the seeds. The rows are named by the flags that differ. The best mean of a
column is marked if it is known whether larger or smaller values are better, and all runs have the same data. Of
different experiments, the metrics that all of them have are compared. A run that is not finished counts with its last
evaluation, and its row names the step.

It prints the table, and writes comparison.md, comparison.tex (for the LaTeX package booktabs), comparison.csv (all
metrics) and curves.png.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax.drawing import charts
from genjax.errors import BadInput
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import Experiment, Record, agreement, command, directory, flag, opening
from genjax.runs.flags import from_config
from genjax.runs.metrics import Metric, describe, headline
from genjax.runs.settings import CADENCE, NOT_IDENTITY

NOT_COMPARED = (*NOT_IDENTITY, *CADENCE, "seed", "num_seeds", "seeds_mode")
"""Flags that do not make two runs different configurations."""


class Flags(Record):
    """Comparison."""

    runs: tuple[str, ...] = flag((), "directories of runs, or of folders of runs", may_be_empty=True)
    page: tuple[str, ...] = flag((), "modules that define experiments of your own", may_be_empty=True)
    metrics: tuple[str, ...] = flag((), "metrics to compare; by default a few that all runs have", may_be_empty=True)
    out: str = flag("comparison", "output folder")


class Finished(NamedTuple):
    """What is recorded of one run of one seed."""

    directory: Path
    experiment: str
    config: dict[str, Any]
    step: int
    is_finished: bool
    metrics: dict[str, float]
    lines: list[dict[str, Any]]


class Row(NamedTuple):
    """A configuration: runs that differ only in the seed."""

    flags: dict[str, str]  # those that differ among the rows
    runs: list[Finished]

    @property
    def name(self) -> str:
        """The flags in words."""
        return ", ".join(f"{name}={value}" for name, value in self.flags.items()) or self.runs[0].experiment

    @property
    def note(self) -> str:
        """Of runs that are not finished, the least step."""
        steps = [run.step for run in self.runs if not run.is_finished]
        return f"step {min(steps)}, not finished" if steps else ""

    def values(self, metric: str) -> np.ndarray:
        """Those of the seeds that have the metric."""
        return np.array([run.metrics[metric] for run in self.runs if metric in run.metrics])


def found(path: Path) -> list[Path]:
    """The directories of runs of one seed at a path."""
    if (path / "config.json").is_file():
        seeds = sorted(path.glob("seed-*/config.json"), key=lambda file: int(file.parent.name.removeprefix("seed-")))
        return [file.parent for file in seeds] or [path]
    inside = [one for folder in sorted(path.glob("*/config.json")) for one in found(folder.parent)]
    # the folders of cached auxiliary models have no metrics
    inside = [one for one in inside if (one / "metrics.jsonl").is_file()]
    if not inside:
        raise BadInput(f"{path} is not the directory of a run, nor a folder of runs", parameter="runs")
    return inside


def read(path: Path) -> Finished:
    """What is recorded in a run's directory."""
    record = agreement.read(path)
    experiment, config = record.name, record.flags
    lines = directory.read_metrics(path / "metrics.jsonl") if (path / "metrics.jsonl").is_file() else []
    tests = [line for line in lines if line["split"] == "test"]
    summary = record.summary
    if summary is not None:
        return Finished(path, experiment, config, summary["num_steps"], True, summary["metrics"], lines)
    if not tests:
        raise BadInput(f"{path} has not been evaluated yet", parameter="runs")
    metrics = {name: value for name, value in tests[-1].items() if name not in ("step", "split")}
    return Finished(path, experiment, config, tests[-1]["step"], False, metrics, lines)


def grouped(runs: list[Finished]) -> list[Row]:
    """The configurations in the order in which they were given, with the flags in which they differ."""
    groups: dict[str, list[Finished]] = {}
    for run in runs:
        own = {name: value for name, value in run.config.items() if name not in NOT_COMPARED}
        groups.setdefault(json.dumps([run.experiment, own], sort_keys=True), []).append(run)
    identities = [json.loads(key) for key in groups]
    names = dict.fromkeys(name for _, own in identities for name in own)
    missing = object()
    differing = [name for name in names if len({str(own.get(name, missing)) for _, own in identities}) > 1]
    several = len({experiment for experiment, _ in identities}) > 1
    if several:  # flags that only some experiments have say nothing about the others
        differing = [name for name in differing if all(name in own for _, own in identities)]
    rows = []
    for (experiment, own), members in zip(identities, groups.values(), strict=True):
        flags = {"experiment": experiment} if several else {}
        rows.append(Row(flags | {name: _text(own.get(name)) for name in differing}, members))
    return rows


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def chosen(rows: list[Row], experiments: dict[str, Experiment], wanted: tuple[str, ...]) -> list[str]:
    """The metrics of the table: those wanted, or the headline of those that the rows have in common."""
    of_rows = [[name for name in row.runs[0].metrics if len(row.values(name))] for row in rows]
    names = list(dict.fromkeys(name for of_row in of_rows for name in of_row))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise BadInput(f"no run has {', '.join(unknown)}; there is {', '.join(names)}", parameter="metrics")
    if wanted:
        return list(wanted)
    common = [name for name in names if all(name in of_row for of_row in of_rows)]
    if not common:
        raise BadInput("the runs have no metric in common; give them as `metrics`", parameter="runs")
    repeated = any(
        all(np.array_equal(row.values(name), row.values("loss")) for row in rows) for name in common if name != "loss"
    )
    if repeated and "loss" in common:
        common.remove("loss")  # the other name says more
    first = [name for each in experiments.values() for name in (*each.headline, *each.watch)]
    return headline(common, first)


def best(rows: list[Row], metric: str, better: str) -> set[int]:
    """The rows of the best mean: finished ones, unless none is; none if it is not known which is better.

    Rows of several data sets are not rivals.
    """
    finished = [i for i, row in enumerate(rows) if not row.note] or range(len(rows))
    means = {i: rows[i].values(metric).mean() for i in finished if len(rows[i].values(metric))}
    if not better or len(rows) < 2 or not means or any({"dataset", "binarize"} & row.flags.keys() for row in rows):
        return set()
    extreme = (max if better == "higher" else min)(means.values())
    return {i for i, mean in means.items() if mean == extreme}


def cell(values: np.ndarray, plus_minus: str) -> str:
    """Mean and standard deviation over seeds with four significant digits, or nothing."""
    if not len(values):
        return ""
    deviation = f" {plus_minus} {values.std(ddof=1):.2g}" if len(values) > 1 else ""
    return f"{values.mean():.4g}{deviation}"


def table(
    rows: list[Row], metrics: list[str], about: Callable[[str], Metric], *, bold: str, plus_minus: str
) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the table, the best of a column as `bold.format(...)`."""
    noted, seeds = any(row.note for row in rows), any(len(row.runs) > 1 for row in rows)
    arrows = {"higher": "higher is better", "lower": "lower is better", "": ""}
    heads = [*(rows[0].flags or {"run": ""}), *(["seeds"] if seeds else []), *(["state"] if noted else [])]
    for metric in metrics:
        notes = [text for text in (about(metric).unit, arrows[about(metric).better]) if text]
        heads.append(metric + (f" ({', '.join(notes)})" if notes else ""))
    marked = {metric: best(rows, metric, about(metric).better) for metric in metrics}
    cells = []
    for i, row in enumerate(rows):
        line = list(row.flags.values()) or [row.name]
        line += ([str(len(row.runs))] if seeds else []) + ([row.note] if noted else [])
        for metric in metrics:
            text = cell(row.values(metric), plus_minus)
            line.append(bold.format(text) if text and i in marked[metric] else text)
        cells.append(line)
    return heads, cells


def markdown(heads: list[str], cells: list[list[str]]) -> str:
    """The table in Markdown, its columns aligned."""
    lines = [heads, *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    padded = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (padded[0], rule, *padded[1:])) + "\n"


def latex(heads: list[str], cells: list[list[str]], num_metrics: int) -> str:
    """The table in LaTeX, for booktabs."""
    escaped = [[text.replace("_", r"\_").replace("%", r"\%") for text in line] for line in (heads, *cells)]
    lines = [" & ".join(line) + r" \\" for line in escaped]
    columns = "l" * (len(heads) - num_metrics) + "r" * num_metrics
    body = ["\\toprule", lines[0], "\\midrule", *lines[1:], "\\bottomrule"]
    return "\n".join([f"\\begin{{tabular}}{{{columns}}}", *body, "\\end{tabular}"]) + "\n"


def save_csv(path: Path, rows: list[Row]) -> None:
    """Writes mean and standard deviation of all metrics, without rounding."""
    names = list(dict.fromkeys(name for row in rows for run in row.runs for name in run.metrics))
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        heads = [f"{name}{part}" for name in names for part in ("", "_deviation")]
        writer.writerow([*rows[0].flags, "seeds", "step", "finished", *heads])
        for row in rows:
            numbers: list[Any] = []
            for name in names:
                values = row.values(name)
                numbers.append(repr(float(values.mean())) if len(values) else "")
                numbers.append(repr(float(values.std(ddof=1))) if len(values) > 1 else "")
            step = min(run.step for run in row.runs)
            writer.writerow([*row.flags.values(), len(row.runs), step, not row.note, *numbers])


def curves(rows: list[Row], metrics: list[str]) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The held-out metrics that are evaluated along the runs, at the steps that all seeds of a row have."""
    found: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for metric in metrics:
        for row in rows:
            of_seeds = [
                {line["step"]: line[metric] for line in run.lines if line["split"] == "test" and metric in line}
                for run in row.runs
            ]
            steps = sorted(set.intersection(*(set(of_seed) for of_seed in of_seeds)))
            if steps:
                values = np.array([[of_seed[step] for of_seed in of_seeds] for step in steps])
                found.setdefault(metric, {})[row.name] = np.array(steps), values
    return found


def flags_of(experiments: dict[str, Experiment], run: Finished) -> Any:
    """The run's own record of flags."""
    return from_config(experiments[run.experiment].flags, run.config)[0]


def main(flags: Flags) -> None:
    """Reads, compares, prints and writes."""
    if not flags.runs:
        raise BadInput("give the directories of the runs", parameter="runs")
    out = expand_user(flags.out, parameter="out")
    refuse_unwritable(out, parameter="out")
    paths = [path for given in flags.runs for path in found(expand_user(given, parameter="runs"))]
    rows = grouped([read(path) for path in dict.fromkeys(paths)])
    own = {experiment.name: experiment for experiment in map(opening.of_module, flags.page)}
    first = [row.runs[0] for row in rows]
    experiments = {run.experiment: own.get(run.experiment) or opening.find(run.experiment) for run in first}
    declared = [experiments[run.experiment].metrics(flags_of(experiments, run)) for run in first]

    def about(metric: str) -> Metric:
        """Nothing if a metric has not the same unit and direction in all rows."""
        different = {describe(metric, of_row) for of_row in declared}
        return different.pop() if len(different) == 1 else Metric()

    metrics = chosen(rows, experiments, flags.metrics)
    out.mkdir(parents=True, exist_ok=True)
    text = markdown(*table(rows, metrics, about, bold="**{}**", plus_minus="±"))
    (out / "comparison.md").write_text(text, encoding="utf-8")
    in_latex = latex(*table(rows, metrics, about, bold=r"\textbf{{{}}}", plus_minus=r"$\pm$"), len(metrics))
    (out / "comparison.tex").write_text(in_latex, encoding="utf-8")
    save_csv(out / "comparison.csv", rows)
    drawn = curves(rows, metrics)
    if drawn:
        charts.save_comparison(out / "curves.png", drawn, unit=lambda metric: about(metric).unit)
    print(text)
    print(f"{len(paths)} runs, {len(rows)} configurations: {out}")


if __name__ == "__main__":
    command.run(main, Flags)
