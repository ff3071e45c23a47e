"""One `params_sha256` however a run is spread: a table of models by ways to run them, each a process of its own.

    python -m experiments.same_bits
    python -m experiments.same_bits --models=vae --ways=alone,devices-8 --num_steps=500

A row is a model, trained for a few steps with `--shards=8`; a column is a way: on one core or two, with as many
simulated devices of the CPU, as two processes of four devices, killed and gone on with on another number of devices, or
as the first of four seeds in one program. Exit status 1 if a row has two hashes. Needs Linux.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments import common
from genjax.errors import BadInput
from genjax.runs import directory as run_directory

FLAGS = flags.FLAGS

SHARDS = 8
MODELS = {
    "autoencoder": "autoencoder --batch_size=128",
    "vae": "vae --batch_size=128",
    "gan": "gan --batch_size=128 --num_samples=40",
    "identity_swap": "identity_swap --features=8,16 --discriminator_features=8,16 --num_blocks=2 --encoder_steps=20 "
    "--batch_size=16 --image_size=16",
}


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_list("models", list(MODELS), "the rows")
    flags.DEFINE_list("ways", list(WAYS), "the columns")
    flags.DEFINE_integer("num_steps", 60, "updates of each run", lower_bound=20)


class Trainer:
    """Starts one model's runs, each in a directory of its own."""

    def __init__(self, model: str, folder: Path) -> None:
        self._model, self._folder, self._started = model, folder, 0

    def start(
        self, *more: str, devices: int = 1, prefix: Sequence[str] = (), workdir: Path | None = None
    ) -> tuple[subprocess.Popen[str], Path]:
        """A process on so many simulated devices, and its run directory."""
        self._started += 1
        workdir = workdir or self._folder / f"{self._model}-{self._started}"
        name, *own = MODELS[self._model].split()
        steps, often = FLAGS.num_steps, FLAGS.num_steps // 5
        cadence = (f"--eval_every={steps}", f"--checkpoint_every={often}", f"--steps_per_dispatch={often}")
        command = [*prefix, sys.executable, "-m", f"experiments.{name}", *own, f"--num_steps={steps}", *cadence]
        command += [f"--shards={SHARDS}", f"--workdir={workdir}", *more]
        # nothing that another run has compiled
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
        environment["JAX_NUM_CPU_DEVICES"] = str(devices)
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, stdout=quiet, stderr=subprocess.PIPE, text=True), workdir

    def finish(self, *processes: subprocess.Popen[str]) -> None:
        """Waits for all of them.

        Raises:
          BadInput: where one failed, with its last line.
        """
        for process in processes:
            _, errors = process.communicate()
            if process.returncode:
                lines = errors.strip().splitlines() or ["it said nothing"]
                raise BadInput(f"{self._model}: a run ended with status {process.returncode}: {lines[-1]}")

    def train(self, *more: str, **options: Any) -> str:
        """Trains to the end and returns the hash."""
        process, workdir = self.start(*more, **options)
        self.finish(process)
        return _hash(workdir)


def _hash(workdir: Path) -> str:
    return run_directory.read_json(workdir / "summary.json")["params_sha256"]


def on_devices(count: int) -> Callable[[Trainer], str]:
    """On so many simulated devices."""
    return lambda trainer: trainer.train(devices=count)


def on_one_core(trainer: Trainer) -> str:
    """On the first of this machine's cores."""
    return trainer.train(prefix=("taskset", "-c", str(min(os.sched_getaffinity(0)))))


def in_two_processes(trainer: Trainer) -> str:
    """Two processes of four devices each, of which the first writes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"--coordinator=localhost:{free.getsockname()[1]}"
    first, workdir = trainer.start(address, "--num_processes=2", "--process_id=0", devices=4)
    second, _ = trainer.start(address, "--num_processes=2", "--process_id=1", devices=4, workdir=workdir)
    trainer.finish(first, second)
    return _hash(workdir)


def killed(trainer: Trainer) -> str:
    """Killed on four devices after its first checkpoint, gone on with on two."""
    process, workdir = trainer.start(devices=4)
    saved = workdir / "checkpoints" / str(FLAGS.num_steps // 5)
    while process.poll() is None and not saved.exists():
        time.sleep(0.05)
    process.kill()
    process.communicate()
    return trainer.train(devices=2, workdir=workdir)


def one_of_four_seeds(trainer: Trainer) -> str:
    """The first of four seeds that take turns in one program on two devices."""
    process, workdir = trainer.start("--num_seeds=4", devices=2)
    trainer.finish(process)
    return run_directory.read_json(workdir / "summary.json")["params_sha256"]["0"]


WAYS: dict[str, Callable[[Trainer], str]] = {
    "alone": on_devices(1),
    "one-core": on_one_core,
    "devices-2": on_devices(2),
    "devices-4": on_devices(4),
    "devices-8": on_devices(8),
    "processes": in_two_processes,
    "killed": killed,
    "one-of-4-seeds": one_of_four_seeds,
}


def main() -> int:
    """Prints the table as it fills."""
    models, ways = common.some_of("models", MODELS), common.some_of("ways", WAYS)
    print(f"| model | {' | '.join(ways)} |")
    print(f"| --- |{' --- |' * len(ways)}", flush=True)
    same = True
    with tempfile.TemporaryDirectory(prefix="same-bits-") as folder:
        for model in models:
            trainer, hashes = Trainer(model, Path(folder)), []
            print(f"| {model} |", end="", flush=True)
            for way in ways:
                hashes.append(WAYS[way](trainer))
                print(f" {hashes[-1][:12]} |", end="", flush=True)
            print()
            same = same and len(set(hashes)) == 1
    print("one hash a row" if same else "NOT one hash a row")
    return 0 if same else 1


if __name__ == "__main__":
    define_flags()
    common.guarded(main)
