"""The command of `experiments.benchmark`. Without --way it starts one process for each way; with --way it is one."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

from tqdm import tqdm

from experiments.benchmark.rows import LARGE, PRODUCT, ROWS
from experiments.benchmark.way import COMPILED, CUDA_GRAPH, DATA_LOADER, EAGER, PORTABLE, PYTHAE, QUIET, Row, others
from genjax.errors import BadInput
from genjax.runs import command
from genjax.runs.flags import Record, flag


class Flags(Record):
    """Benchmark."""

    rows: tuple[str, ...] = flag(tuple(ROWS), "rows to measure", choices=ROWS)
    rounds: int = flag(5, "number of measurements of each way", at_least=5)
    cpu_threads: int = flag(2, "number of threads of each library", at_least=1, at_most=1024)
    busy: bool = flag(False, "print ratios although other programs took more than a tenth of a core")
    device: str = flag("cpu", "device of all ways", choices=("cpu", "gpu"))
    way: str | None = flag(None, "single way of the row to run, one round per line of standard input")


class Worker:
    """A way that runs in its own process."""

    def __init__(self, row: str, way: str, folder: str, cpu_threads: int, device: str) -> None:
        line = [sys.executable, "-m", "experiments.benchmark", f"--rows={row}", f"--way={way}", f"--device={device}"]
        # no process finds what an earlier one compiled, and each finds what it compiled itself
        caches = ("JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
        fresh = dict.fromkeys(caches, os.path.join(folder, way)) | {"JAX_ENABLE_COMPILATION_CACHE": "true"}
        fresh |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # several processes share a GPU
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [*line, f"--cpu_threads={cpu_threads}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | fresh,
            text=True,
        )
        self._told()
        self.first = time.perf_counter() - began
        self.rounds: list[float] = []  # seconds

    def _told(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise BadInput(f"a way ended with status {self._process.wait()}; its output is above")
        return json.loads(line)

    def take_turn(self) -> None:
        """One round."""
        print(file=self._process.stdin, flush=True)
        self.rounds.append(self._told())

    def finish(self) -> float:
        """Ends the process; the most memory that it held, in MiB."""
        assert self._process.stdin
        self._process.stdin.close()
        memory = self._told()
        self._process.wait()
        return memory


def work(row: Row, name: str, cpu_threads: int, device: str) -> None:
    """Runs a way: one step, then a round for each line of standard input."""
    way = row.ways[name](cpu_threads, device)
    way(1)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        seconds = way(row.steps)
        print(json.dumps(time.perf_counter() - began if seconds is None else seconds), flush=True)
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), flush=True)


class Measured(NamedTuple):
    """The measurements of one way."""

    rounds: list[float]  # seconds
    first: float  # seconds
    memory: float  # MiB


def measure(name: str, *, rounds: int, cpu_threads: int, device: str) -> dict[str, Measured]:
    """Measures all ways of a row, and the large product, in turns; the first turn of each is a warm-up."""
    row = ROWS[name]
    left_out = absent(device)
    ways = [way for way in row.ways if way not in left_out]
    with tempfile.TemporaryDirectory() as folder, tqdm(total=len(ways) * (rounds + 2), file=sys.stderr) as bar:
        workers = {}
        for way in [LARGE, *ways]:
            bar.set_description(f"{name}: {way} starts")
            workers[way] = Worker(name, way, folder, cpu_threads, device)
            bar.update(way != LARGE)
        for turn in range(rounds + 1):
            for way, worker in workers.items():
                bar.set_description(f"{name}: {way}, {f'round {turn}' if turn else 'warming up'}")
                worker.take_turn()
                bar.update(way != LARGE)
        return {way: Measured(worker.rounds[1:], worker.first, worker.finish()) for way, worker in workers.items()}


def absent(device: str) -> set[str]:
    """The ways whose package is not installed, or that are not for the device."""
    ways = {CUDA_GRAPH} if device == "cpu" else {PORTABLE, PYTHAE}
    if not importlib.util.find_spec("torch"):
        ways |= {EAGER, COMPILED, CUDA_GRAPH, DATA_LOADER, PYTHAE}
    if not importlib.util.find_spec("pythae"):
        ways.add(PYTHAE)
    return ways


def table(name: str, measured: dict[str, Measured], *, ratios: bool = True) -> str:
    """One line for each way; without ratios, the columns that compare ways are empty."""
    row, product = ROWS[name], measured[LARGE]
    peak = PRODUCT.steps * PRODUCT.multiplications / statistics.median(product.rounds)
    columns = ("steps/s", "slowest", "fastest", "ratio", "first", "whole", "memory", "of peak")
    lines = [f"{'':20}" + "".join(f"{column:>10}" for column in columns)]
    first_median = statistics.median(measured[next(iter(row.ways))].rounds)
    for way in row.ways:
        if way not in measured:
            continue
        seen = measured[way]
        median = statistics.median(seen.rounds)
        of_peak = row.multiplications * row.steps / median / peak
        rates = (row.steps / seconds for seconds in (median, max(seen.rounds), min(seen.rounds)))
        values = [f"{rate:10.1f}" for rate in rates]
        values += [f"{median / first_median:10.2f}" if ratios else f"{'':10}"]
        values += [f"{seen.first:10.1f}", f"{seen.first + median:10.1f}"]
        values += [f"{seen.memory:10.0f}", f"{100 * of_peak:8.0f} %" if row.multiplications else f"{'':10}"]
        lines.append(f"{way:20}" + "".join(values))
    return "\n".join(lines)


def main(flags: Flags) -> None:
    """Measures the rows that the flags name and prints their tables."""
    if flags.way:
        row = PRODUCT if flags.way == LARGE else ROWS[flags.rows[0]]
        if flags.way not in row.ways:
            raise BadInput(f"expected one of {', '.join(row.ways)}, not {flags.way!r}", parameter="way")
        return work(row, flags.way, flags.cpu_threads, flags.device)
    missing = [name for name in ("torch", "pythae") if not importlib.util.find_spec(name)]
    if missing:
        print(f"warning: {' and '.join(missing)}, of the extra `bench`, not installed: these ways are skipped")
    for name in flags.rows:
        before, began = others(), time.perf_counter()
        measured = measure(name, rounds=flags.rounds, cpu_threads=flags.cpu_threads, device=flags.device)
        load = (others() - before) / (time.perf_counter() - began)
        print(f"\n{ROWS[name].title}; {ROWS[name].steps} steps per round, {flags.rounds} rounds, ", end="")
        print(f"{flags.cpu_threads} threads, {flags.device}; other programs took {load:.2f} cores")
        quiet = load <= QUIET or flags.busy
        print(table(name, measured, ratios=quiet), flush=True)
        if not quiet:
            print("no ratios: a busy machine does not slow all ways alike; --busy prints them all the same", flush=True)
    return None


if __name__ == "__main__":
    command.run(main, Flags)
