"""How the cost of training grows with the work, by powers of two: one chart for each family of models.

    python -m experiments.benchmark.scaling
    python -m experiments.benchmark.scaling --families=iwae,seeds --out=DIR

Each family grows along its axes one at a time, from sizes that all of its points share: batch, width, depth, side of
the images, training set, samples, seeds. A point is `training.fit` in a process of its own, timed as the benchmark
times it. points.json in --out holds what was measured, and the same command goes on where it was interrupted. A point
that other programs disturbed, by more than a tenth of a core, is measured again by the next call; --busy keeps it.

For each point, standard output and FAMILY.md in --out have

    example   microseconds for an example (of each seed): the median of the rounds, with the fastest and the slowest
    times     its ratio to that of half the size: 1 where it stays, 2 where it is proportional
    of peak   the multiplications that XLA counts in a step, without those that remat repeats, over the rate of one
              large product, measured after it
    memory    peak memory of the process, in MiB
    needed    arguments and temporaries of a step as XLA says, in MiB

FAMILY.png draws an example's time above and memory below, over each size. Dashed lines are the time of its products at
that rate, and what a step needs: where a line leaves its dashed one, something else takes the time or the memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark.way import KEPT, MAP, QUIET, REMAT, VMAP, others
from experiments.compare import markdown
from genjax.drawing.charts import PALETTE
from genjax.drawing.pictures import panels
from genjax.drawing.saving import save
from genjax.errors import BadInput
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import command, directory, stored
from genjax.runs.flags import Record, flag


def powers(low: int, high: int) -> tuple[int, ...]:
    """2^low, 2^(low + 1), ..., 2^high."""
    return tuple(2**n for n in range(low, high + 1))


class Family(NamedTuple):
    """A kind of model, and the sizes by which it grows."""

    title: str
    base: Mapping[str, int]  # the sizes that all points share, but for the one that grows
    axes: Mapping[str, tuple[int, ...]]
    ways: tuple[str, ...] = ()  # of doing the same work, where there are several


OF_IMAGES = {"batch_size": 128, "examples": 8192, "side": 32}
FAMILIES = {
    "linear_autoencoder": Family(
        "linear autoencoder",
        OF_IMAGES | {"width": 32},
        {"batch_size": powers(3, 11), "width": powers(1, 9), "side": powers(3, 7), "examples": powers(10, 17)},
    ),
    "mlp_vae": Family(
        "VAE of dense layers",
        OF_IMAGES | {"width": 512, "depth": 1},
        {
            "batch_size": powers(3, 11),
            "width": powers(6, 12),
            "depth": powers(0, 4),
            "side": powers(3, 7),
            "examples": powers(10, 17),
        },
    ),
    "convolutional_vae": Family(
        "convolutional VAE",
        OF_IMAGES | {"batch_size": 64, "width": 32, "depth": 2},
        {"batch_size": powers(2, 9), "width": powers(2, 7), "depth": powers(0, 2), "side": powers(4, 7)},
    ),
    "iwae": Family(
        "importance-weighted autoencoder",
        OF_IMAGES | {"batch_size": 16, "width": 256, "num_samples": 64},
        {"num_samples": powers(0, 10), "batch_size": powers(2, 7), "width": powers(6, 9)},
        ways=(KEPT, REMAT),
    ),
    "dcgan": Family(
        "DCGAN, both players",
        OF_IMAGES | {"batch_size": 64, "width": 32, "depth": 2},
        {"batch_size": powers(2, 8), "width": powers(2, 7), "side": powers(4, 7)},
    ),
    "seeds": Family(
        "VAE of dense layers, several seeds in one program",
        OF_IMAGES | {"side": 8, "width": 256, "seeds": 8},
        {"seeds": powers(0, 6), "width": powers(5, 9)},
        ways=(MAP, VMAP),
    ),
}
WORDS = {
    "batch_size": "batch",
    "side": "pixels a side",
    "examples": "training set",
    "num_samples": "samples k",
}


class Flags(Record):
    """Scaling."""

    families: tuple[str, ...] = flag(tuple(FAMILIES), "families of models", choices=FAMILIES)
    out: str = flag("scaling", "output folder")
    rounds: int = flag(3, "number of measurements of each point", at_least=1)
    seconds: float = flag(1.0, "length of a measurement, about", at_least=0.01, at_most=3600)
    cpu_threads: int = flag(2, "number of threads", at_least=1, at_most=1024)
    busy: bool = flag(False, "keep points although other programs took more than a tenth of a core")
    point: str | None = flag(None, "single point to measure in this process, as JSON")


class Line(NamedTuple):
    """Points of a family along one axis, in one way."""

    axis: str
    way: str  # or nothing, where there is one
    sizes: dict[int, dict[str, Any]]  # value on the axis -> all sizes


def lines(family: Family) -> Iterator[Line]:
    """The lines of a family."""
    for axis, values in family.axes.items():
        for way in family.ways or ("",):
            chosen = {"way": way} if way else {}
            yield Line(axis, way, {value: {**family.base, **chosen, axis: value} for value in values})


def name_of(family: str, sizes: Mapping[str, Any]) -> str:
    """The name of a point in points.json; lines that cross share it."""
    return " ".join([family, *(f"{name}={sizes[name]}" for name in sorted(sizes))])


def measure_alone(family: str, sizes: Mapping[str, Any], flags: Flags) -> tuple[dict[str, Any], float]:
    """What a process finds at a point, and the cores that other programs took meanwhile."""
    given = flags.replace(families=(family,), point=json.dumps({"family": family, **sizes}))
    before, began = others(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # for what the process itself compiled before
        cache = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "experiments.benchmark.scaling", *command.arguments(given)],
            stdout=subprocess.PIPE,
            env=os.environ | cache | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "true"},
            text=True,
            check=False,
        )
    if done.returncode:
        raise BadInput(f"{name_of(family, sizes)} ended with status {done.returncode}; its output is above")
    return json.loads(done.stdout.splitlines()[-1]), (others() - before) / (time.perf_counter() - began)


def measured_here(flags: Flags) -> int:
    """Prints what is found at the point of the flags, in this process."""
    from genjax.training import determinism

    determinism.set_up(cpu_threads=flags.cpu_threads)
    from experiments.benchmark import scaled

    sizes = json.loads(flags.point or "")
    found = scaled.measure(sizes.pop("family"), sizes, rounds=flags.rounds, seconds=flags.seconds)
    print(json.dumps(found))
    return 0


def opened(path: Path, flags: Flags) -> dict[str, Any]:
    """The contents of points.json, or those of a new one.

    Raises:
      BadInput: points of another machine, version or number of threads.
    """
    of = {"processor": directory.processor(), **directory.versions(("jax",)), "cpu_threads": flags.cpu_threads}
    if not path.exists():
        return {"of": of, "points": {}}
    kept = stored.read_json(path)
    if kept["of"] != of:
        raise BadInput(f"{path} has points of {kept['of']}, and this is {of}; give another folder", parameter="out")
    return kept


class Cost(NamedTuple):
    """What a point costs."""

    rounds: list[float]  # microseconds of an example
    example: float  # their median
    ideal: float  # those of its multiplications at the rate of the large product
    memory: float  # MiB of the process
    needed: float  # MiB of a step's arguments and temporaries

    @classmethod
    def of(cls, seen: Mapping[str, Any]) -> Cost:
        """From the numbers of `scaled.measure`."""
        each = 1e6 / seen["examples"]
        rounds = [each * seconds for seconds in seen["seconds"]]
        ideal = each * seen["multiplications"] * seen["product"]
        return cls(rounds, statistics.median(rounds), ideal, seen["memory"], seen["needed"])


def costs(line: Line, name: str, points: Mapping[str, Any]) -> dict[int, Cost]:
    """The costs along a line, where they were measured."""
    named = {value: name_of(name, sizes) for value, sizes in line.sizes.items()}
    return {value: Cost.of(points[label]) for value, label in named.items() if label in points}


def table(family: Family, name: str, points: Mapping[str, Any]) -> str:
    """A line in Markdown for each point that was measured."""
    heads = ["what grows", "", "example, us (fastest, slowest)", "times", "of peak", "memory", "needed"]
    rows = []
    for line in lines(family):
        known = costs(line, name, points)
        for value, cost in known.items():
            before = known.get(value // 2)
            rows.append(
                [
                    f"{WORDS.get(line.axis, line.axis)}{f', {line.way}' if line.way else ''}",
                    str(value),
                    f"{_digits(cost.example)} ({_digits(min(cost.rounds))}, {_digits(max(cost.rounds))})",
                    f"{cost.example / before.example:.2f}" if before else "",
                    f"{100 * cost.ideal / cost.example:.0f} %",
                    f"{cost.memory:.0f}",
                    f"{cost.needed:.3g}",
                ]
            )
    return markdown(heads, rows)


def _digits(value: float) -> str:
    """Four digits, and no exponent."""
    return np.format_float_positional(value, precision=4, unique=False, fractional=False, trim="-")


def save_chart(path: Path, family: Family, name: str, points: Mapping[str, Any]) -> None:
    """Draws the cost of an example, and memory, over each axis."""
    figure, panes = panels(2, len(family.axes), width=3.4, height=3.0)
    columns = dict(zip(family.axes, panes.T, strict=True))
    for line in lines(family):
        known = costs(line, name, points)
        (above, below), colour = columns[line.axis], PALETTE[family.ways.index(line.way) if line.way else 0]
        measured, dashed = {"marker": ".", "color": colour}, {"ls": "--", "lw": 1, "color": colour}
        label, x = line.way or "measured", list(known)
        above.plot(x, [cost.example for cost in known.values()], label=label, **measured)
        extremes = [extreme(cost.rounds) for extreme in (min, max) for cost in known.values()]
        above.fill_between(x, extremes[: len(x)], extremes[len(x) :], color=colour, alpha=0.2, lw=0)
        above.plot(x, [cost.ideal for cost in known.values()], label="products alone", **dashed)
        below.plot(x, [cost.memory for cost in known.values()], label=f"process, {label}", **measured)
        below.plot(x, [cost.needed for cost in known.values()], label="needed by a step", **dashed)
    for axis, pair in columns.items():
        for ax in pair:
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.xaxis.set_major_formatter("{x:g}")
            ax.set(xlabel=WORDS.get(axis, axis))
            ax.grid(alpha=0.3)
    for row, ylabel in zip(panes, ("microseconds for an example", "MiB"), strict=True):
        lows, highs = zip(*(ax.get_ylim() for ax in row), strict=True)
        for ax in row:
            ax.set_ylim(min(lows), max(highs))
        row[0].set(ylabel=ylabel)
        row[0].legend(frameon=False, fontsize="small")
    shared = ", ".join(f"{WORDS.get(axis, axis)} {value}" for axis, value in family.base.items())
    title = textwrap.wrap(f"{family.title}, of {shared}, of which one grows", 45 * len(columns))
    figure.suptitle("\n".join(title), fontsize="medium")
    save(figure, path)


def main(flags: Flags) -> int:
    """Measures the points that are missing, and tabulates and draws all."""
    if flags.point is not None:
        return measured_here(flags)
    out = expand_user(flags.out, parameter="out").absolute()
    refuse_unwritable(out, parameter="out")
    out.mkdir(parents=True, exist_ok=True)
    kept, missing = opened(out / "points.json", flags), 0
    for name in flags.families:
        family = FAMILIES[name]
        for line in lines(family):
            for sizes in line.sizes.values():
                label = name_of(name, sizes)
                if label in kept["points"]:
                    continue
                found, load = measure_alone(name, sizes, flags)
                print(f"{label}: other programs took {load:.2f} cores", file=sys.stderr, flush=True)
                if load > QUIET and not flags.busy:
                    missing += 1
                    continue
                kept["points"][label] = found | {"load": load}
                directory.write_json(out / "points.json", kept)
        text = table(family, name, kept["points"])
        (out / f"{name}.md").write_text(text, encoding="utf-8")
        print(f"\n{family.title}\n\n{text}", flush=True)
        save_chart(out / f"{name}.png", family, name, kept["points"])
    if missing:
        print(f"{missing} points were disturbed by other programs; the same command measures them again")
    return 1 if missing else 0


if __name__ == "__main__":
    command.run(main, Flags)
