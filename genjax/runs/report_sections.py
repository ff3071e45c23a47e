"""The sections of a report: what is recorded of runs, as HTML."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genjax.errors import BadInput
from genjax.runs import agreement, code, opening, stored
from genjax.runs.experiment import Experiment
from genjax.runs.flags import Record, Spec, specs
from genjax.runs.html import Html, element, fold, joined, key, picture, section, table
from genjax.runs.metrics import Metric, headline
from genjax.runs.rows import Row, best, standard_error, without_repeated_loss
from genjax.runs.settings import NOT_IDENTITY

SHOWN = 6
"""How many charts are shown; the others are shown on request."""

BESIDE = 12
"""How many pictures of one name are shown at most."""

PICTURE_AT_MOST = 2**25  # bytes
DRAWN_ABOVE = "curves.png"  # the report has its curves as charts

CIRCUMSTANCES = (
    "git_commit",
    "python",
    "packages",
    "backend",
    "device_kind",
    "device_count",
    "process_count",
    "processor",
    "cpu_threads",
    "xla_flags",
    "data_fingerprint",
    "mixed",
)
"""The entries of the manifest that are shown."""


def title(record: agreement.Record) -> str:
    """The experiment's name and its data set."""
    dataset = record.flags.get("dataset")
    return f"{record.name} on {dataset}" if dataset else record.name


def description(experiment: Experiment) -> str:
    """The first paragraph of the docstring of the experiment's module."""
    text = sys.modules[experiment.flags.__module__].__doc__ or experiment.flags.__doc__ or ""
    return " ".join(text.strip().partition("\n\n")[0].split())


def seeds(row: Row) -> str:
    """The seeds of a row."""
    return ", ".join(str(run.record.manifest["seed"]) for run in row.runs)


def state(row: Row) -> str:
    """How far the runs of a row have come."""
    if row.note:
        return row.note
    chosen = (row.runs[0].record.summary or {}).get("selected")
    best = f", the parameters are those of step {chosen['step']}, selected by {chosen['metric']}" if chosen else ""
    return f"{row.runs[0].step}{best}"


def place(row: Row) -> Html:
    """The run directory of a row, the first one of several."""
    more = f" and {len(row.runs) - 1} more" if len(row.runs) > 1 else ""
    return joined([element("code", row.runs[0].record.workdir), more])


def time(summary: Mapping[str, Any]) -> str:
    """The time of a finished run."""
    return f"{summary['seconds']} s ({summary['steps_per_second']} steps per second)"


def final_metrics(
    rows: Sequence[Row], keys: Sequence[Html], about: Callable[[str], Metric], first: Sequence[str]
) -> Html:
    """The final metrics, one on each line, with a column for each row; of a single row, with one for each seed.

    Args:
      keys: heads of the columns of several rows.
      about: the unit and direction of a metric.
      first: metrics that come first.
    """
    names = without_repeated_loss(rows, list(dict.fromkeys(name for row in rows for name in row.metrics)))
    if not names:
        return element("p", "not evaluated yet", class_="note")
    of_seeds = rows[0].runs if len(rows) == 1 and len(rows[0].runs) > 1 else []
    summary = rows[0].runs[0].record.summary if len(rows) == 1 and not of_seeds else None
    errors = (summary or {}).get("metrics_standard_error", {})
    heads = [
        "metric",
        "unit",
        *(keys or ["value"]),
        *(["standard error"] if errors else []),
        *(f"seed {run.record.manifest['seed']}" for run in of_seeds),
    ]

    def line(name: str) -> list[object]:
        metric, marked = about(name), best(rows, name, about(name).better)
        cells = [cell(row.values(name)) for row in rows]
        cells = [element("strong", text) if i in marked else text for i, text in enumerate(cells)]
        arrow = {"higher": " ↑", "lower": " ↓", "": ""}[metric.better]
        values = [f"{run.metrics[name]:.6g}" if name in run.metrics else "" for run in of_seeds]
        error = [f"{errors[name]:.2g}" if name in errors else ""] if errors else []
        return [name + arrow, metric.unit, *cells, *error, *values]

    shown = headline(names, first)
    rest = [name for name in names if name not in shown]
    spread = "; mean ± standard error over the seeds" if any(len(row.runs) > 1 for row in rows) else ""
    spread += "; the standard error is that of the random draws of one evaluation" if errors else ""
    return joined(
        [
            table(heads, map(line, shown), class_="numbers"),
            fold(f"{len(rest)} more", table(heads, map(line, rest), class_="numbers")) if rest else "",
            element("p", f"↑ higher is better, ↓ lower is better{spread}", class_="note"),
        ]
    )


def cell(values: np.ndarray) -> str:
    """A metric's value; of several seeds the mean with its standard error; nothing if there is none."""
    if not len(values):
        return ""
    if len(values) == 1:
        return f"{values[0]:.6g}"
    with np.errstate(invalid="ignore"):
        return f"{values.mean():.5g} ± {standard_error(values):.2g}"


def curves(charts: Sequence[Html], colours: Mapping[str, str], *, several: bool, notes: Sequence[str] = ()) -> Html:
    """Charts under a legend, the first ones shown and the others on request.

    Args:
      colours: of the curves, by name.
      several: whether curves are means over seeds.
      notes: lines below the charts.
    """
    if not charts:
        return element("p", "no metrics yet", class_="note")
    legend = element("div", *(key(name, of, number=i) for i, (name, of) in enumerate(colours.items())), class_="legend")
    grids = [element("div", *some, class_="charts") for some in (charts[:SHOWN], charts[SHOWN:]) if some]
    spread = "Curves are means over the seeds, with a band of one standard error. " if several else ""
    return joined(
        [
            element("p", spread + "The wheel zooms, dragging moves, a double click resets.", class_="note"),
            legend,
            grids[0],
            *(fold(f"{len(charts) - SHOWN} more", each) for each in grids[1:]),
            *(element("p", note, class_="note") for note in notes),
        ]
    )


def pictures(rows: Sequence[Row]) -> list[Html]:
    """The pictures by name, those of the first seed of each row beside each other; of a single row, of its seeds."""
    runs = [(row.name, row.runs[0]) for row in rows]
    if len(rows) == 1:
        runs = [(f"seed {run.record.manifest['seed']}", run) for run in rows[0].runs]
    captions = {run.record.workdir: caption for caption, run in runs}
    places: dict[str, list[Path]] = {}
    for workdir in captions:
        for path in sorted(workdir.glob("*.png")):
            if path.name != DRAWN_ABOVE:
                places.setdefault(path.name, []).append(path)
    shown = []
    for name, paths in places.items():
        words = Path(name).stem.replace("_", " ")
        drawn = [_picture(path, words if len(runs) == 1 else captions[path.parent]) for path in paths[:BESIDE]]
        more = [element("p", f"and {len(paths) - BESIDE} more", class_="note")] if len(paths) > BESIDE else []
        shown.append(
            drawn if len(runs) == 1 else [element("h3", words), element("div", *drawn, class_="pictures"), *more]
        )
    if not shown:
        return []
    flat = [part for parts in shown for part in parts]
    return [section("Pictures", *([element("div", *flat, class_="pictures")] if len(runs) == 1 else flat))]


def _picture(path: Path, caption: str) -> Html:
    """A picture, or why it cannot be shown."""
    try:
        contents = stored.read_bytes(path, PICTURE_AT_MOST)
    except BadInput as error:
        return element("p", error, class_="note")
    if not contents.startswith(b"\x89PNG\r\n\x1a\n"):
        return element("p", f"{path} is not a PNG picture", class_="note")
    return picture(contents, caption)


def flags(own: Record) -> tuple[Html, Html]:
    """The flags that differ from the page's defaults, and all of them by purpose."""
    known = specs(type(own))
    changed = [spec for spec in known if spec.name not in NOT_IDENTITY and getattr(own, spec.name) != spec.default]
    groups: dict[str, list[Spec]] = {}
    for spec in known:
        groups.setdefault(spec.group, []).append(spec)
    of_changed = table(
        ["flag", "value", "default"],
        [[_flag(spec), _value(spec, getattr(own, spec.name)), _default(spec)] for spec in changed],
    )
    every = [
        joined(
            [
                element("h3", group),
                table(["flag", "value"], [[_flag(spec), _value(spec, getattr(own, spec.name))] for spec in members]),
            ]
        )
        for group, members in groups.items()
    ]
    return of_changed if changed else element("p", "All flags have their defaults.", class_="note"), joined(every)


def _flag(spec: Spec) -> Html:
    return element("code", f"--{spec.name}", title=spec.help)


def _value(spec: Spec, value: Any) -> str:
    return "none" if value is None else spec.text(value)


def _default(spec: Spec) -> str:
    if spec.default is None and not spec.is_optional:
        return "depends on the data or on other flags"
    return _value(spec, spec.default)


def reproduction(row: Row, experiment: Experiment, directory: Path | None) -> Html:
    """The commands that train the runs again and compare the bits, and the hashes of their parameters.

    Args:
      directory: of a run of several seeds; by default the runs are compared one by one.
    """
    module = _module(experiment)
    own = f"{opening.PAGES}.{experiment.name}"
    compare = f"{opening.PAGES}.reproduce" if module == own else "genjax.runs.reproduce"
    page = [] if module == own else [f"--page={module}"]
    wanted = [run.record.workdir for run in row.runs] if directory is None else [directory]
    commands = [shlex.join(["python", "-m", compare, f"--run={workdir}", *page]) for workdir in wanted]
    hashes = [[run.record.manifest["seed"], _hash(run.record.manifest["params_sha256"])] for run in row.runs]
    mixed = any(run.record.manifest.get("mixed") for run in row.runs)
    warning = "The run was resumed under other conditions, so its bits cannot be reproduced."
    return joined(
        [
            element(
                "p",
                "These commands train again and compare the bits:"
                if len(commands) > 1
                else "This command trains again and compares the bits:",
            ),
            element("pre", "\n".join(commands)),
            *([element("p", warning)] if mixed else []),
            table(["seed", "params_sha256"], hashes),
            *([] if directory is None else [_again(module, directory)]),
        ]
    )


def _again(module: str, directory: Path) -> Html:
    """The command that starts another run with the same flags."""
    command = shlex.join(["python", "-m", module, f"--config={directory / 'config.json'}", "--workdir=OTHER"])
    return joined([element("p", "This command trains another run with the same flags:"), element("pre", command)])


def _module(experiment: Experiment) -> str:
    """The module of an experiment, also if it runs as a command."""
    module = experiment.flags.__module__
    main = sys.modules["__main__"]
    if module != "__main__":
        return module
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return spec.name if spec else Path(file).stem if file else "MODULE"


def _hash(value: Any) -> Html:
    return element("span", value or "not finished", class_="hash")


def circumstances(rows: Sequence[Row]) -> Html:
    """Versions, devices and data of the runs: of several rows first what differs, then everything of the first run."""
    found = [_circumstances(row.runs[0].record) for row in rows]
    names = list(dict.fromkeys(name for each in found for name in each))
    differing = [name for name in names if len({each.get(name) for each in found}) > 1]
    heads = ["", *(row.name for row in rows)]
    parts = []
    if differing:
        parts.append(element("p", "The runs differ in:"))
        parts.append(table(heads, [[name, *(each.get(name, "") for each in found)] for name in differing]))
    commit = rows[0].runs[0].record.manifest["git_commit"]
    same = [[name, found[0][name]] for name in found[0] if name not in differing]
    rebuild = [] if commit is None else [element("pre", code.REBUILD.format(commit=commit.removesuffix(code.DIRTY)))]
    return joined([*parts, fold("Versions, device and data", table(["", "value"], same), *rebuild)])


def _circumstances(record: agreement.Record) -> dict[str, str]:
    found = {}
    for name in CIRCUMSTANCES:
        value = record.manifest.get(name)
        if isinstance(value, dict):
            found |= {package: str(version) for package, version in value.items()}
        elif value not in (None, "", []):
            found[name.replace("_", " ")] = "; ".join(value) if isinstance(value, list) else str(value)
    return found
