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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genjax.drawing import charts
from genjax.errors import BadInput
from genjax.paths import expand_user
from genjax.runs import Experiment, Record, command, flag, provenance
from genjax.runs.metrics import Metric, headline
from genjax.runs.rows import Row, best, describer, experiments_of, found, grouped, held_out, read, without_repeated_loss
from genjax.runs.settings import figure_formats


class Flags(Record):
    """Comparison."""

    runs: tuple[str, ...] = flag((), "directories of runs, or of folders of runs", may_be_empty=True)
    page: tuple[str, ...] = flag((), "modules that define experiments of your own", may_be_empty=True)
    metrics: tuple[str, ...] = flag((), "metrics to compare; by default a few that all runs have", may_be_empty=True)
    out: str = flag("comparison", "output folder")
    figure_formats: tuple[str, ...] = figure_formats()


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
    common = without_repeated_loss(rows, common)
    first = [name for each in experiments.values() for name in (*each.headline, *each.watch)]
    return headline(common, first)


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


def main(flags: Flags) -> None:
    """Reads, compares, prints and writes."""
    if not flags.runs:
        raise BadInput("give the directories of the runs", parameter="runs")
    out = expand_user(flags.out, parameter="out")
    provenance.refuse_output(out, parameter="out")
    paths = [path for given in flags.runs for path in found(expand_user(given, parameter="runs"))]
    runs = [read(path) for path in dict.fromkeys(paths)]
    for run in runs:
        if not run.metrics:
            raise BadInput(f"{run.record.workdir} has not been evaluated yet", parameter="runs")
    rows = grouped(runs)
    experiments = experiments_of(rows, flags.page)
    about = describer(rows, experiments)
    metrics = chosen(rows, experiments, flags.metrics)
    out.mkdir(parents=True, exist_ok=True)
    text = markdown(*table(rows, metrics, about, bold="**{}**", plus_minus="±"))
    (out / "comparison.md").write_text(text, encoding="utf-8")
    in_latex = latex(*table(rows, metrics, about, bold=r"\textbf{{{}}}", plus_minus=r"$\pm$"), len(metrics))
    (out / "comparison.tex").write_text(in_latex, encoding="utf-8")
    save_csv(out / "comparison.csv", rows)
    series = {row.name: row.series() for row in rows}
    drawn = {metric: evaluated for metric in metrics if (evaluated := held_out(series, metric))}
    if drawn:
        charts.save_comparison(out / "curves.png", drawn, unit=lambda metric: about(metric).unit)
    print(text)
    print(f"{len(paths)} runs, {len(rows)} configurations: {out}")


if __name__ == "__main__":
    command.run(main, Flags)
