"""Trains a finished run again from its config.json alone, in a fresh process, and compares the bits.

    python -m genjax.runs.reproduce --run=DIR
    python -m genjax.runs.reproduce --run=DIR --page=my_experiment

The exit status is 0 for the same bits, and 1 for other bits, with the first metric that differs. It is 2 if the runs
cannot be compared, with the reason (another version, another backend, ...), or if the run is not finished.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jax

from genjax.errors import BadInput
from genjax.runs import command, directory, opening
from genjax.runs.flags import Record, flag, from_config
from genjax.runs.settings import Flags as RunFlags
from genjax.training import determinism


class Flags(Record):
    """Reproduce."""

    run: str | None = flag(None, "directory of the run")
    page: str | None = flag(
        None, "module that defines the run's experiment; by default the one of its name in `experiments`"
    )
    data_dir: str | None = flag(None, "directory of the run's data, if it has moved")
    dataset: str | None = flag(None, "name of the run's data set, such as folder:PATH, if it has moved")


def main(flags: Flags) -> int:
    """Compares, trains again, compares; returns the exit status."""
    if not flags.run:
        raise BadInput("give the directory of a finished run", parameter="run")
    run = Path(flags.run)
    recorded, summary = directory.read_json(run / "manifest.json"), directory.read_json(run / "summary.json")
    lines = directory.read_metrics(run / "metrics.jsonl")
    page, own = _page_and_flags(directory.read_config(run), flags)

    determinism.set_up(cpu_threads=own.cpu_threads)
    if flags.dataset is not None:
        found = opening.of_module(page).load(own).fingerprint
        if found != recorded["data_fingerprint"]:
            raise BadInput(f"its fingerprint is {found}, not {recorded['data_fingerprint']}", parameter="dataset")
    fixed = tuple(name for name in directory.IDENTITY if name != "data_fingerprint")
    bits_of = "any" if recorded["bits_of_devices"] == "any" else jax.device_count()
    here = directory.manifest(seed=own.seed, data_fingerprint=recorded["data_fingerprint"], bits_of_devices=bits_of)
    obstacles = recorded.get("mixed", []) + directory.differences(recorded, here, fixed)
    if obstacles:
        raise BadInput(f"not comparable: {'; '.join(obstacles)}")

    now, now_lines = _train_again(page, own, xla_flags=recorded["xla_flags"])
    if now["data_fingerprint"] != recorded["data_fingerprint"]:
        raise BadInput(f"not comparable: {'; '.join(directory.differences(recorded, now, ('data_fingerprint',)))}")
    difference = first_difference(lines, now_lines)
    if difference is None and recorded["params_sha256"] == summary["params_sha256"] == now["params_sha256"]:
        print(f"the same bits: params_sha256 {now['params_sha256']} and {len(lines)} metric lines; {run}")
        return 0
    if here["processor"] != recorded["processor"]:
        raise BadInput(f"not comparable: {'; '.join(directory.differences(recorded, here, ('processor',)))}")
    print(
        f"other bits: {difference or 'every metric line agrees'}; params_sha256 {summary['params_sha256']} in "
        f"summary.json, {recorded['params_sha256']} in manifest.json, {now['params_sha256']} now"
    )
    return 1


def _page_and_flags(config: dict[str, Any], flags: Flags) -> tuple[str, RunFlags]:
    """The module of the run's experiment, and the run's flags; only flags that the experiment has are taken."""
    name = config.pop("experiment")
    page = flags.page or f"{opening.PAGES}.{name}"
    experiment = opening.of_module(page) if flags.page else opening.find(name)
    if experiment.name != name:
        raise BadInput(f"{flags.run} is a run of {name}, not of {experiment.name}, which {page} holds")
    own, _ = from_config(experiment.flags, config)
    return page, opening.moved(own, data_dir=flags.data_dir, dataset=flags.dataset)


def _train_again(page: str, flags: RunFlags, *, xla_flags: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manifest and the metric lines of a run with the same flags in another directory, by a fresh process."""
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        again = Path(folder) / "run"
        arguments = command.arguments(flags.replace(workdir=str(again), tensorboard=False))
        done = subprocess.run(
            [sys.executable, "-m", page, *arguments],
            env=os.environ | {"XLA_FLAGS": xla_flags},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise BadInput("not comparable: the run could not be trained again, for the reason above")
        return directory.read_json(again / "manifest.json"), directory.read_metrics(again / "metrics.jsonl")


def first_difference(then: list[dict[str, Any]], now: list[dict[str, Any]]) -> str | None:
    """The first metric in which two metrics.jsonl differ, in words, or None."""
    for a, b in zip_longest(then, now, fillvalue={}):
        for name in (*a, *(name for name in b if name not in a)):
            if a.get(name) != b.get(name):
                line = a or b
                return f"step {line['step']}, {line['split']} {name}: {a.get(name)} recorded, {b.get(name)} now"
    return None


if __name__ == "__main__":
    command.run(main, Flags)
