"""The report of a run, and of several beside each other: one HTML file that needs neither a server nor a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from genjax.drawing import charts, vega
from genjax.drawing.palette import PALETTE
from genjax.paths import replacing
from genjax.runs import agreement
from genjax.runs import report_sections as sections
from genjax.runs.experiment import Experiment
from genjax.runs.html import Html, chart, element, fold, joined, key, page, section, table
from genjax.runs.metrics import headline
from genjax.runs.rows import Row, describer, flags_of, grouped, held_out, logged, read, without_repeated_loss

FILE = "report.html"  # in the run directory
SPLITS = {"train": "training", "test": "held out", "validation": "validation"}  # what a report calls them

Experiments = Mapping[str, Experiment]  # by name


def leave(record: agreement.Record, experiment: Experiment, *, warn: Callable[[str], None]) -> None:
    """Writes report.html in the directory of a run of one seed or several. If that fails, a warning names the reason.

    Args:
      record: of the run, whose summary need not be written yet, but those of its seeds.
    """
    path = record.workdir / FILE
    try:
        seeds = [read(folder) for _, folder in agreement.seed_folders(record)]
        write(path, grouped(seeds or [logged(record)]), {experiment.name: experiment}, directory=record.workdir)
    except Exception as error:  # whatever it is, the run's results are worth more than their report
        reason = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
        warn(f"{path} could not be written ({' '.join(reason.split())}); the run is complete without it")


def write(path: Path, rows: Sequence[Row], experiments: Experiments, *, directory: Path | None = None) -> None:
    """Writes the report of one configuration, or the comparison of several.

    Args:
      experiments: those of the rows, by name.
      directory: the run directory that holds all of the runs, if there is one.
    """
    if len(rows) == 1:
        whole = page(sections.title(rows[0].runs[0].record), *of_one(rows[0], experiments, directory))
    else:
        whole = page(f"{len(rows)} configurations", *comparison(rows, experiments))
    with replacing(path) as file:
        file.write(whole)


def counted(rows: Sequence[Row]) -> str:
    """The number of runs and of configurations, in words."""
    num = sum(len(row.runs) for row in rows)
    runs = "1 run" if num == 1 else f"{num} runs"
    return f"{runs} of {'1 configuration' if len(rows) == 1 else f'{len(rows)} configurations'}"


def of_one(row: Row, experiments: Experiments, directory: Path | None) -> list[Html]:
    """The contents of the report of runs that differ in nothing but the seed."""
    experiment, record = experiments[row.runs[0].record.name], row.runs[0].record
    first, about = (*experiment.headline, *experiment.watch), describer([row], experiments)
    facts = {
        "run directory": sections.place(row) if directory is None else element("code", directory),
        "seeds" if len(row.runs) > 1 else "seed": sections.seeds(row),
        "steps": sections.state(row),
        **({"time": sections.time(record.summary)} if record.summary and len(row.runs) == 1 else {}),
        "device": f"{record.manifest['device_kind']}, {record.manifest['processor']}",
    }
    series = row.series()
    shared, constant = charts.arranged(series, first) if series else ({}, {})
    colours = {name: PALETTE[i] for i, name in enumerate(SPLITS.values())}
    drawn = []
    for name, equal in shared.items():
        curves = {SPLITS[split]: curve for split, curve in series[name].items()}
        spec = vega.curves(curves, ylabel=about(name).unit or name, order=list(colours))
        drawn.append(chart(" = ".join([name, *equal]), spec))
    notes = [f"{name} is always {value:.6g}" for name, value in constant.items()]
    changed, every = sections.flags(flags_of(row, experiments))
    return [
        element("h1", sections.title(record)),
        element("p", sections.description(experiment), class_="lead"),
        element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in facts.items())),
        section("Final metrics", sections.final_metrics([row], [], about, first)),
        section("Curves", sections.curves(drawn, colours, several=len(row.runs) > 1, notes=notes)),
        *sections.pictures([row]),
        section("Configuration", changed, fold("All flags", every)),
        section("Reproduce", sections.reproduction(row, experiment, directory), sections.circumstances([row])),
    ]


def comparison(rows: Sequence[Row], experiments: Experiments) -> list[Html]:
    """The contents of the comparison of several configurations."""
    first = [name for each in experiments.values() for name in (*each.headline, *each.watch)]
    about, several = describer(rows, experiments), any(len(row.runs) > 1 for row in rows)
    colours = {row.name: PALETTE[i % len(PALETTE)] for i, row in enumerate(rows)}
    heads = ["", *rows[0].flags, "seeds", "steps", "run directory"]
    lines = [
        [key("", colour, number=i), *row.flags.values(), sections.seeds(row), sections.state(row), sections.place(row)]
        for i, (row, colour) in enumerate(zip(rows, colours.values(), strict=True))
    ]
    series = [row.series() for row in rows]
    names = without_repeated_loss(rows, list(dict.fromkeys(name for of_row in series for name in of_row)))
    shown = headline(names, first)
    drawn = {}
    by_row = {row.name: of_row for row, of_row in zip(rows, series, strict=True)}
    for split in ("test", "train"):
        for name in [*shown, *(name for name in names if name not in shown)]:
            trained = {row: of[name]["train"] for row, of in by_row.items() if "train" in of.get(name, {})}
            curves = trained if split == "train" else held_out(by_row, name)
            if curves:
                spec = vega.curves(curves, ylabel=about(name).unit or name, order=list(colours))
                drawn.setdefault(split, []).append(chart(name, spec))
    keys = [key(name, colour, number=i) for i, (name, colour) in enumerate(colours.items())]
    reproductions = [
        joined([element("h3", row.name), sections.reproduction(row, experiments[row.runs[0].record.name], None)])
        for row in rows
    ]
    return [
        element("h1", counted(rows)),
        *(element("p", sections.description(each), class_="lead") for each in experiments.values()),
        section("Flags that differ", table(heads, lines)),
        section("Final metrics", sections.final_metrics(rows, keys, about, first)),
        section(
            "Curves of held-out metrics",
            sections.curves(drawn.get("test", []), colours, several=several),
            fold("Curves of training metrics", sections.curves(drawn.get("train", []), colours, several=several)),
        ),
        *sections.pictures(rows),
        section("All flags", *(fold(row.name, sections.flags(flags_of(row, experiments))[1]) for row in rows)),
        section("Reproduce", *reproductions, sections.circumstances(rows)),
    ]
