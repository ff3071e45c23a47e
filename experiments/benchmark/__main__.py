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

from experiments.benchmark.way import Row, Way, dense
from genjax.errors import BadInput
from genjax.runs import command
from genjax.runs.flags import Record, flag

OURS = "genjax"


def ours(name: str, *args: Any, module: str = "ours", devices: int = 1) -> Any:
    """A way of this project, imported in its own process, on a number of simulated CPU devices."""

    def start(cpu_threads: int) -> Way:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(devices)
        from genjax.training import determinism

        determinism.set_up(cpu_threads=cpu_threads)
        return getattr(importlib.import_module(f"experiments.benchmark.{module}"), name)(*args)

    return start


def torch(name: str, *args: Any, module: str = "peers", **options: Any) -> Any:
    """A way of PyTorch or pythae, imported in its own process."""

    def start(cpu_threads: int) -> Way:
        from experiments.benchmark import peers

        peers.set_threads(cpu_threads)
        return getattr(importlib.import_module(f"experiments.benchmark.{module}"), name)(*args, **options)

    return start


def torch_both(name: str, *args: Any) -> dict[str, Any]:
    """A way of PyTorch, both eager and compiled."""
    return {
        "PyTorch": torch(name, *args, compiled=False),
        "torch.compile": torch(name, *args, compiled=True),
    }


def beside_pythae(model: str, *sizes: Any) -> dict[str, Any]:
    """The ways of a latent-variable model of dense layers, at a batch size of 128."""
    return {
        OURS: ours("training", model, 128, *sizes, module="latent"),
        "pythae": torch("training", model, 128, *sizes, module="pythae_models"),
    }


LARGE, MLP, IWAE = "large product", ((500,), 20, 128), ((200, 200), 50, 20)
MLP_PRODUCTS = dense(128, (784, 500), (500, 40), (20, 500), (500, 784))
ROWS = {
    "mlp_vae": Row(
        "MLP VAE 784-500-20, batch 128, Adam",
        500,
        MLP_PRODUCTS,
        {
            OURS: ours("mlp_vae", *MLP),
            **torch_both("mlp_vae", *MLP),
            "pythae": torch("training", "vae", 128, 500, 20, module="pythae_models"),
            "Flax, step by step": ours("step_by_step_mlp_vae", *MLP),
        },
    ),
    "iwae_mlp": Row(
        "MLP VAE 784-200-200-50, batch 20, Adam",
        1000,
        dense(20, (784, 200), (200, 200), (200, 100), (50, 200), (200, 200), (200, 784)),
        {
            OURS: ours("mlp_vae", *IWAE),
            **torch_both("mlp_vae", *IWAE),
            "Flax, step by step": ours("step_by_step_mlp_vae", *IWAE),
        },
    ),
    "convolutional_vae": Row(
        "convolutional VAE, 28x28, batch 128, Adam",
        60,
        3 * 128 * (2 * 196 * 16 * 32 + 2 * 49 * 16 * 32 * 64 + 49 * 64 * 60) - 128 * 196 * 16 * 32,
        {OURS: ours("convolutional_vae"), **torch_both("convolutional_vae")},
    ),
    "xla_convolutions": Row(
        "convolutional VAE, 28x28, batch 128, Adam",
        4,
        0,
        {OURS: ours("convolutional_vae"), "XLA's convolutions": ours("xla_convolutional_vae")},
    ),
    "vamp_vae": Row(
        "MLP VAE 784-500-20 with a VampPrior of 50 pseudo-inputs, batch 128, Adam",
        500,
        MLP_PRODUCTS + dense(50, (50, 784)) + dense(50, (784, 500), (500, 40), first_seen=False),
        beside_pythae("vamp_vae", 500, 20, 50),
    ),
    "iaf_vae": Row(
        "MLP VAE 784-500-20 with 2 inverse autoregressive layers 20-128-128-128-40, batch 128, Adam",
        500,
        MLP_PRODUCTS + 2 * dense(128, (20, 128), (128, 128), (128, 128), (128, 40), first_seen=False),
        beside_pythae("iaf_vae", 500, 20, 2, (128, 128, 128)),
    ),
    "beta_tc_vae": Row(
        "beta-TCVAE of dense layers 784-500-20, batch 128, Adam",
        500,
        MLP_PRODUCTS,
        beside_pythae("beta_tc_vae", 500, 20, 6.0),
    ),
    "vq_vae": Row(
        "VQ-VAE of dense layers 784-500-128, 16 codes of 8 dimensions out of 512, moving averages, batch 128, Adam",
        500,
        dense(128, (784, 500), (500, 128), (128, 500), (500, 784)) + 128 * 16 * 8 * 512,
        beside_pythae("vq_vae", 500, 16, 8, 512),
    ),
    "dcgan": Row(
        "DCGAN, 28x28, batch 64, both players, Adam",
        60,
        0,
        {OURS: ours("dcgan"), **torch_both("dcgan")},
    ),
    "linear_autoencoder": Row(
        "linear autoencoder on digits, 64-8-64, batch 128, Adam",
        5000,
        dense(128, (64, 8), (8, 64)),
        {OURS: ours("linear_autoencoder"), **torch_both("linear_autoencoder")},
    ),
    "seeds": Row(
        "16 runs of 500 steps, MLP VAE 64-200-8 on digits, batch 128, compiled anew in every round",
        16 * 500,
        0,
        {"in one program": ours("sixteen_seeds", True, devices=2), "one after another": ours("sixteen_seeds", False)},
    ),
    "scoring": Row(
        "reconstruction losses of 10 000 images, autoencoder 784-500-20",
        10,
        10_000 * 2 * (784 * 500 + 500 * 20),
        {OURS: ours("scoring"), "PyTorch": torch("scoring")},
    ),
    "likelihood": Row(
        "likelihoods of 100 images by 500 samples, VAE 784-200-200-50",
        5,
        50_000 * (50 * 200 + 200 * 200 + 200 * 784),
        {OURS: ours("importance_weighted_likelihood"), "PyTorch": torch("importance_weighted_likelihood")},
    ),
    "faces": Row("64 rendered faces of 32x32 per step", 20, 0, {OURS: ours("rendered_faces")}),
    "shards_128": Row(
        "MLP VAE 784-500-20, batch 1024, Adam",
        25,
        0,
        {"eight shards": ours("sharded_mlp_vae", 1024, 8), "one sum": ours("mlp_vae", (500,), 20, 1024)},
    ),
    "shards_16": Row(
        "MLP VAE 784-500-20, batch 128, Adam",
        200,
        0,
        {"eight shards": ours("sharded_mlp_vae", 128, 8), "one sum": ours("mlp_vae", *MLP)},
    ),
}
PRODUCT = Row("a product of 1024 x 1024 matrices", 20, 1024**3, {LARGE: ours("large_product")})


class Flags(Record):
    """Benchmark."""

    rows: tuple[str, ...] = flag(tuple(ROWS), "rows to measure", choices=ROWS)
    rounds: int = flag(5, "number of measurements of each way", at_least=5)
    cpu_threads: int = flag(2, "number of threads of each library", at_least=1, at_most=1024)
    way: str | None = flag(None, "single way of the row to run, one round per line of standard input")


class Worker:
    """A way that runs in its own process."""

    def __init__(self, row: str, way: str, folder: str, cpu_threads: int) -> None:
        line = [sys.executable, "-m", "experiments.benchmark", f"--rows={row}", f"--way={way}"]
        # no process finds what an earlier one compiled
        fresh = {"JAX_ENABLE_COMPILATION_CACHE": "false", "TORCHINDUCTOR_CACHE_DIR": os.path.join(folder, way)}
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


def work(row: Row, name: str, cpu_threads: int) -> None:
    """Runs a way: one step, then a round for each line of standard input."""
    way = row.ways[name](cpu_threads)
    way(1)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        way(row.steps)
        print(json.dumps(time.perf_counter() - began), flush=True)
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), flush=True)


class Measured(NamedTuple):
    """The measurements of one way."""

    rounds: list[float]  # seconds
    first: float  # seconds
    memory: float  # MiB


def measure(name: str, *, rounds: int, cpu_threads: int) -> dict[str, Measured]:
    """Measures all ways of a row, and the large product, in turns; the first turn of each is a warm-up."""
    row = ROWS[name]
    ways = [way for way in row.ways if torch_is_here() or way not in ("PyTorch", "torch.compile", "pythae")]
    with tempfile.TemporaryDirectory() as folder, tqdm(total=len(ways) * (rounds + 2), file=sys.stderr) as bar:
        workers = {}
        for way in [LARGE, *ways]:
            bar.set_description(f"{name}: {way} starts")
            workers[way] = Worker(name, way, folder, cpu_threads)
            bar.update(way != LARGE)
        for turn in range(rounds + 1):
            for way, worker in workers.items():
                bar.set_description(f"{name}: {way}, {f'round {turn}' if turn else 'warming up'}")
                worker.take_turn()
                bar.update(way != LARGE)
        return {way: Measured(worker.rounds[1:], worker.first, worker.finish()) for way, worker in workers.items()}


def torch_is_here() -> bool:
    """Whether the extra `bench` is installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "pythae"))


def table(name: str, measured: dict[str, Measured]) -> str:
    """One line for each way."""
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
        values += [f"{median / first_median:10.2f}", f"{seen.first:10.1f}", f"{seen.first + median:10.1f}"]
        values += [f"{seen.memory:10.0f}", f"{100 * of_peak:8.0f} %" if row.multiplications else f"{'':10}"]
        lines.append(f"{way:20}" + "".join(values))
    return "\n".join(lines)


def main(flags: Flags) -> None:
    """Measures the rows that the flags name and prints their tables."""
    if flags.way:
        row = PRODUCT if flags.way == LARGE else ROWS[flags.rows[0]]
        if flags.way not in row.ways:
            raise BadInput(f"expected one of {', '.join(row.ways)}, not {flags.way!r}", parameter="way")
        return work(row, flags.way, flags.cpu_threads)
    if not torch_is_here():
        print("warning: PyTorch and pythae, of the extra `bench`, are not installed: these ways are skipped")
    for name in flags.rows:
        measured = measure(name, rounds=flags.rounds, cpu_threads=flags.cpu_threads)
        print(f"\n{ROWS[name].title}; {ROWS[name].steps} steps per round, {flags.rounds} rounds, ", end="")
        print(f"{flags.cpu_threads} threads\n{table(name, measured)}", flush=True)
    return None


if __name__ == "__main__":
    command.run(main, Flags)
