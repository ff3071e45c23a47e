"""Trains a finished run again from its config.json alone, in a fresh process, and compares the bits.

    python -m experiments.reproduce --run=DIR

Exit status 0: the same bits. 1: other bits; the first metric line that differs is named. 2: not comparable (another
version, backend, ...: named), or no finished run.
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
from absl import flags

from experiments import common
from genjax.errors import BadInput
from genjax.runs import directory as run_directory
from genjax.training import determinism

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_string("run", None, "the run directory to reproduce")
    flags.DEFINE_string("data_dir", None, "where the data lies now, if it has moved")


def first_difference(then: list[dict[str, Any]], now: list[dict[str, Any]]) -> str | None:
    """Names the first metric in which two metrics.jsonl differ, or None."""
    for a, b in zip_longest(then, now, fillvalue={}):
        for name in (*a, *(name for name in b if name not in a)):
            if a.get(name) != b.get(name):
                line = a or b
                return f"step {line['step']}, {line['split']} {name}: {a.get(name)} recorded, {b.get(name)} now"
    return None


def command(config: dict[str, Any], workdir: Path) -> list[str]:
    """The command line of a run with the same flags in another directory."""
    given = {name: value for name, value in config.items() if name not in ("experiment", "workdir", "tensorboard")}
    arguments = [
        f"--{name}={','.join(value) if isinstance(value, list) else value}"
        for name, value in given.items()
        if value is not None
    ]
    return [sys.executable, "-m", f"experiments.{config['experiment']}", *arguments, f"--workdir={workdir}"]


def main() -> int:
    """Compares, trains again, compares."""
    if not FLAGS.run:
        raise BadInput("--run is missing: give the directory of a finished run")
    directory = Path(FLAGS.run)
    config, recorded = (
        run_directory.read_json(directory / "config.json"),
        run_directory.read_json(directory / "manifest.json"),
    )
    summary, lines = (
        run_directory.read_json(directory / "summary.json"),
        run_directory.read_metrics(directory / "metrics.jsonl"),
    )
    if FLAGS.data_dir:
        config["data_dir"] = FLAGS.data_dir

    determinism.set_up(cpu_threads=config["cpu_threads"])
    fixed = tuple(name for name in run_directory.IDENTITY if name != "data_fingerprint")
    bits_of = "any" if recorded["bits_of_devices"] == "any" else jax.device_count()
    here = run_directory.manifest(
        seed=config["seed"], data_fingerprint=recorded["data_fingerprint"], bits_of_devices=bits_of
    )
    obstacles = recorded.get("mixed", []) + run_directory.differences(recorded, here, fixed)
    if obstacles:
        raise BadInput(f"not comparable: {'; '.join(obstacles)}")

    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        again = Path(folder) / "run"
        environment = os.environ | {"XLA_FLAGS": recorded["xla_flags"]}
        if subprocess.run(command(config, again), env=environment, stdout=subprocess.DEVNULL).returncode:
            raise BadInput("not comparable: the run could not be trained again, for the reason above")
        now, now_lines = (
            run_directory.read_json(again / "manifest.json"),
            run_directory.read_metrics(again / "metrics.jsonl"),
        )
    if now["data_fingerprint"] != recorded["data_fingerprint"]:
        raise BadInput(f"not comparable: {'; '.join(run_directory.differences(recorded, now, ('data_fingerprint',)))}")

    difference = first_difference(lines, now_lines)
    hashes = {recorded["params_sha256"], summary["params_sha256"], now["params_sha256"]}
    if difference is None and len(hashes) == 1:
        print(f"the same bits: params_sha256 {now['params_sha256']} and {len(lines)} metric lines; {directory}")
        return 0
    if here["processor"] != recorded["processor"]:
        raise BadInput(f"not comparable: {'; '.join(run_directory.differences(recorded, here, ('processor',)))}")
    print(
        f"other bits: {difference or 'every metric line agrees'}; params_sha256 {summary['params_sha256']} in "
        f"summary.json, {recorded['params_sha256']} in manifest.json, {now['params_sha256']} now"
    )
    return 1


if __name__ == "__main__":
    define_flags()
    common.guarded(main)
