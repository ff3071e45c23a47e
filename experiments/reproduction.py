"""Published likelihoods on binarized MNIST, and the runs that meet them.

    python -m experiments.reproduction
    python -m experiments.reproduction --rows=made,vae --data_dir=DIR
    python -m experiments.reproduction --rows=all --data_dir=DIR --out=DIR

The first line prints the table as it stands; the others train the rows that they name, from a few minutes to many
hours each. Each row is a run of its experiment, in a directory of its own below --out. The same command goes on where
it was interrupted, and rows that are finished are not trained again.

The table has the published value, the one reached with its standard error over the held-out images, the difference, the
time on this machine and the hash of the parameters. A row that misses its mark is printed as it is. Standard output
and reproduction.md in --out have the same table. Below it are the commands of the rows and the sources of the values.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.compare import markdown
from genjax import runs
from genjax.errors import BadInput
from genjax.paths import expand_user
from genjax.runs import Record, assembling, command, directory, flag, provenance, rows

PYTHAE = "reproducibility table of pythae's README"
PUBLISHED_ON = "mnist"
PAPER = "Burda, Grosse & Salakhutdinov 2016, table 1, one stochastic layer"
IWAE = {"stages": (1, 3, 9, 27, 81, 243, 729, 2187), "eval_every": 30_000, "cpu_threads": 1}  # 3280 epochs


class Row(NamedTuple):
    """A published value, and the run that is to meet it."""

    page: str  # the module in `experiments`
    given: Mapping[str, Any]  # flags other than the data set
    published: float  # nats per image
    mark: float  # a run that is within this many nats of it, or below, meets it
    source: str
    metric: str = "negative_log_likelihood"


VAE = {
    "binarize": "static",
    "batch_size": 100,
    "latent_dim": 40,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "cosine",
    "num_validation": 10_000,
    "select_by": "negative_elbo",
    "eval_every": 5000,
    "num_importance_samples": 200,
    "cpu_threads": 1,
}
ROWS: Mapping[str, Row] = {
    "flax_vae": Row(
        "vae",
        {"binarize": "dynamic", "latent_dim": 20, "num_steps": 4680, "eval_every": 468},
        103.6,
        0.5,
        "trace in the VAE example of Flax, -ELBO after 10 epochs",
        metric="negative_elbo",
    ),
    "made": Row(
        "made", {"num_steps": 60_000}, 94.5, 0.5, "README of karpathy/pytorch-made, one hidden layer of 500, one mask"
    ),
    "vae": Row(
        "vae",
        VAE | {"hidden": (400,), "num_steps": 300_000, "eval_every": 10_000},
        89.8,
        0.5,
        f"VAE in the {PYTHAE}",
    ),
    "vamp": Row(
        "vae",
        VAE | {"hidden": (600, 600), "activation": "glu", "prior": "vamp", "num_components": 500, "num_steps": 60_000}
        | {"num_importance_samples": 5000},
        85.6,
        0.5,
        f"Tomczak & Welling 2018, table 1; 85.79 in the {PYTHAE}",
    ),
    "iwae_1": Row("iwae", IWAE | {"num_samples": 1}, 86.76, 0.3, PAPER),
    "iwae_5": Row("iwae", IWAE | {"num_samples": 5}, 85.54, 0.3, PAPER),
    "iwae_50": Row("iwae", IWAE | {"num_samples": 50}, 84.78, 0.3, PAPER),
}  # fmt: skip


class Flags(Record):
    """Reproduction of published likelihoods."""

    rows: tuple[str, ...] = flag(
        (), f"rows to train: all, or some of {', '.join(ROWS)}; none to print the table", may_be_empty=True
    )
    dataset: str = flag(PUBLISHED_ON, "data set; that of the published values, or another one for a trial")
    data_dir: str | None = flag(None, "directory of TensorFlow Datasets' data, as written by experiments.prepare")
    seed: int = flag(0, "seed of the runs", at_least=0, at_most=2**32 - 1)
    num_steps: int | None = flag(None, "number of updates, for a trial; by default that of each row", at_least=1)
    out: str = flag("reproduction", "output folder")


def chosen(names: tuple[str, ...]) -> list[str]:
    """The rows that are to be trained."""
    unknown = [name for name in names if name not in ROWS and name != "all"]
    if unknown:
        raise BadInput(f"there is no row {unknown[0]}; there is {', '.join(ROWS)}", parameter="rows")
    return list(ROWS) if "all" in names else list(dict.fromkeys(names))


def experiment_of(row: Row) -> runs.Experiment:
    """The experiment of a row."""
    return importlib.import_module(f"experiments.{row.page}").EXPERIMENT


def flags_of(row: Row, flags: Flags) -> Any:
    """The flags of a row's run."""
    given = dict(row.given) | {name: getattr(flags, name) for name in ("dataset", "data_dir", "seed")}
    if flags.dataset != PUBLISHED_ON:
        given |= {"num_validation": 0, "select_by": None}  # a trial; its data may be few
    if flags.num_steps is not None:
        given |= {"num_steps": flags.num_steps, "eval_every": flags.num_steps}
    return experiment_of(row).flags(**given)


def directory_of(row: Row, flags: Flags, out: Path) -> Path:
    """The run directory of a row."""
    return out / assembling.default_workdir(experiment_of(row), flags_of(row, flags)).name


def command_of(row: Row) -> str:
    """The command of a row's run."""
    given = [f"--{name}={_text(value)}" for name, value in row.given.items()]
    return " ".join([f"python -m experiments.{row.page} --dataset={PUBLISHED_ON} --data_dir=DIR", *given])


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def compare(row: Row, value: float, flags: Flags) -> tuple[str, str]:
    """The difference of a value from the published one, and whether it meets it; neither for a trial."""
    if flags.dataset != PUBLISHED_ON or flags.num_steps is not None:
        return "", "a trial"
    difference = value - row.published
    return f"{difference:+.2f}", f"{'met' if difference <= row.mark else 'missed'} (mark {row.mark:g})"


def line(name: str, row: Row, path: Path, flags: Flags) -> list[str]:
    """A row of the table: what its directory holds, if anything."""
    start = [name, f"{row.published:g}"]
    if not (path / "config.json").is_file():
        return [*start, "", "", "not run", "", ""]
    logged = rows.read(path)
    if not logged.is_finished:
        return [*start, "", "", f"step {logged.step}, not finished", "", ""]
    summary = directory.read_summary(path)
    value, error = summary["metrics"][row.metric], standard_error(summary, row.metric)
    reached = f"{value:.2f}" if error is None else f"{value:.2f} (s.e. {error:.2f})"
    time = f"{summary['seconds'] / 60:.0f} min"
    return [*start, reached, *compare(row, value, flags), time, summary["params_sha256"][:8]]


def standard_error(summary: Mapping[str, Any], metric: str) -> float | None:
    """That over the held-out images where the run measured it, else that over draws."""
    own = summary["metrics"].get(f"{metric}_spread")
    return summary["metrics_standard_error"].get(metric) if own is None else own


def table(flags: Flags, out: Path) -> str:
    """The table of all rows, their commands and sources, in Markdown."""
    heads = ["row", "published", "reached (nats)", "difference", "state", "time", "hash"]
    lines = [line(name, row, directory_of(row, flags, out), flags) for name, row in ROWS.items()]
    notes = [f"- {name}: {row.source}.\n  `{command_of(row)}`" for name, row in ROWS.items()]
    return markdown(heads, lines) + "\n" + "\n".join(notes) + "\n"


def main(flags: Flags) -> None:
    """Trains the rows that were chosen, and prints the table of all."""
    out = expand_user(flags.out, parameter="out").absolute()
    names = chosen(flags.rows)
    if names:
        provenance.refuse_output(out, parameter="out")
        out.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, start=1):
        path = directory_of(ROWS[name], flags, out)
        done = directory.is_finished(path)
        print(f"row {number} of {len(names)}: {name}: {'already finished' if done else path}", flush=True)
        if not done:
            runs.train(experiment_of(ROWS[name]), flags_of(ROWS[name], flags), workdir=path)
        (out / "reproduction.md").write_text(table(flags, out), encoding="utf-8")
    print(table(flags, out))


if __name__ == "__main__":
    command.run(main, Flags)
