"""Copies finished runs into an experiment tracker that works without a network or an account.

    python -m experiments.track --run=runs/a --run=runs/b --to=trackio
    python -m experiments.track --run=runs --to=mlflow --project=study

Each run of each seed becomes a run of the tracker with its flags, its metrics by split and step, and its final metrics.
trackio keeps them in a local database (`trackio show` opens its page), and MLflow in MLFLOW_TRACKING_URI or in
mlflow.db in the current directory. A run that the project already has is left out. Neither tracker is installed with
genjax: `pip install trackio` or `pip install mlflow`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from genjax.errors import BadInput
from genjax.runs import Record, command, flag
from genjax.runs.rows import Logged, found_in, read

Copy = Callable[[str, str, Logged], bool]


class Flags(Record):
    """Tracking."""

    run: tuple[str, ...] = flag(
        (), "directory of a run, of several seeds, or of a folder of runs", may_be_empty=True, repeated=True
    )
    to: str = flag("trackio", "the tracker", choices=("trackio", "mlflow"))
    project: str = flag("genjax", "name of the project, which MLflow calls an experiment")


def reports(run: Logged) -> Iterator[tuple[int, dict[str, float]]]:
    """Each step with its metrics, as test/negative_elbo; at the end, the final ones as final/negative_elbo."""
    for line in run.lines:
        named = {f"{line['split']}/{name}": value for name, value in line.items() if name not in ("step", "split")}
        yield line["step"], {name: value for name, value in named.items() if isinstance(value, int | float)}
    if run.is_finished:
        yield run.step, {f"final/{name}": value for name, value in run.metrics.items()}


def settings(run: Logged) -> dict[str, Any]:
    """The flags of a run, with the digest of its parameters and the commit of its code."""
    manifest = run.record.manifest
    return {**run.record.config, **{name: manifest.get(name) for name in ("params_sha256", "git_commit")}}


def to_trackio(project: str, name: str, run: Logged) -> bool:
    """Copies a run into Trackio; returns False if the project has one of this name."""
    trackio = imported("trackio")
    with contextlib.suppress(ValueError):  # there is no such project yet
        if any(known.name == name for known in trackio.Api().runs(project)):
            return False
    quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    trackio.init(project=project, name=name, config=settings(run), **quiet)
    for step, metrics in reports(run):
        trackio.log(metrics, step=step)
    trackio.finish()
    return True


def to_mlflow(project: str, name: str, run: Logged) -> bool:
    """Copies a run into MLflow; returns False if the experiment has one of this name."""
    imported("mlflow")
    tracking, entities = imported("mlflow.tracking"), imported("mlflow.entities")
    client = tracking.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    experiment = client.get_experiment_by_name(project)
    number = client.create_experiment(project) if experiment is None else experiment.experiment_id
    if any(known.info.run_name == name for known in client.search_runs([number])):
        return False
    made = client.create_run(number, run_name=name).info.run_id
    for some in batches(list(settings(run).items()), 100):  # the most that it takes at once
        client.log_batch(made, params=[entities.Param(key, str(value)) for key, value in some])
    for step, metrics in reports(run):
        client.log_batch(made, metrics=[entities.Metric(key, value, 0, step) for key, value in metrics.items()])
    client.set_terminated(made, status="FINISHED" if run.is_finished else "KILLED")
    return True


def batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    """The items, at most so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


TRACKERS: dict[str, Copy] = {"trackio": to_trackio, "mlflow": to_mlflow}


def imported(module: str) -> Any:
    """An optional package.

    Raises:
      BadInput: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise BadInput(f"needs {package}: pip install {package} ({error})", parameter="to") from None


def main(flags: Flags) -> None:
    """Copies each run, and prints a line for it."""
    if not flags.run:
        raise BadInput("give the directory of a run", parameter="run")
    folders = found_in(flags.run, parameter="run")
    for folder, run in zip(folders, map(read, folders), strict=True):
        name = str(folder.absolute())
        copied = TRACKERS[flags.to](flags.project, name, run)
        print(f"{folder}: {'copied' if copied else 'already there'}, in project {flags.project} of {flags.to}")


if __name__ == "__main__":
    command.run(main, Flags)
