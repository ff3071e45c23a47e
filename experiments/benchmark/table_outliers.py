"""What PyOD's autoencoder reaches on the splits of `outliers --protocol=outlier_class`, beside those of this project.

    python -m experiments.benchmark.table_outliers --datasets=breast_cancer,wine

It needs the extra `bench`. On each split of the table, PyOD's `AutoEncoder` is fitted to the same training inliers and
scores the same held-out rows as the networks of `experiments.outliers`: with its own settings (layers of 64 and 32,
batch normalisation, dropout of .2, weight decay, batches of 32, 10 epochs), and with the layers, code, batch, learning
rate and number of steps of this project, without the former three. The table has the mean over the splits of the area
under the ROC curve, and its standard error. The last layer of PyOD's encoder is rectified, also that of the code.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import numpy as np

from experiments import outlier_tables, outliers
from genjax import runs
from genjax.errors import BadInput
from genjax.evaluation import detection
from genjax.runs import command
from genjax.runs.flags import Record, flag
from genjax.runs.rows import standard_error
from genjax.training import determinism

OURS = {"": "autoencoder", "vae_": "VAE", "pca_": "PCA", "mahalanobis_": "Mahalanobis distance"}


class Flags(Record):
    """Outliers of tables by two libraries."""

    datasets: tuple[str, ...] = flag(("breast_cancer", "wine"), "tables with classes")
    num_splits: int = flag(10, "number of random splits", at_least=2)
    hidden: tuple[int, ...] = flag((64,), "widths of the hidden layers", at_least=1)
    latent_dim: int = flag(8, "number of latent dimensions", at_least=1)
    num_steps: int = flag(600, "number of steps", at_least=1)
    batch_size: int = flag(128, "examples in a batch", at_least=1)
    learning_rate: float = flag(1e-3, "learning rate of Adam", at_least=1e-9)
    seed: int = flag(0, "seed of both", at_least=0)
    cpu_threads: int = flag(2, "number of threads of each library", at_least=1, at_most=1024)


def ours(flags: Flags, dataset: str, workdir: Path) -> runs.Run:
    """A run of `experiments.outliers`."""
    given = outliers.Flags(
        protocol=outlier_tables.PROTOCOL,
        dataset=dataset,
        num_splits=flags.num_splits,
        hidden=flags.hidden,
        latent_dim=flags.latent_dim,
        num_steps=flags.num_steps,
        batch_size=flags.batch_size,
        learning_rate=flags.learning_rate,
        eval_every=flags.num_steps,
        seed=flags.seed,
        cpu_threads=flags.cpu_threads,
    )
    return runs.train(outliers.EXPERIMENT, given, workdir=workdir)


def compare(flags: Flags, dataset: str, workdir: Path) -> dict[str, tuple[float, float]]:
    """Mean AUROC and its standard error of each detector of a table."""
    from experiments.benchmark import pyod_models

    run = ours(flags, dataset, workdir)
    found = {
        name: (run.metrics[f"{prefix}auroc"], run.metrics[f"{prefix}auroc_error"]) for prefix, name in OURS.items()
    }
    splits: outlier_tables.Splits = run.parts.splits
    values: dict[str, list[float]] = {}
    for train, test in zip(splits.train, splits.test, strict=True):
        outlier = splits.outlier[test]
        for name, score in pyod_models.scores(flags, splits.x[train], splits.x[test]).items():
            values.setdefault(name, []).append(detection.auroc(score[~outlier], score[outlier]))
    return found | {
        name: (float(np.mean(each)), float(standard_error(np.array(each)))) for name, each in values.items()
    }


def main(flags: Flags) -> None:
    """Trains with both libraries, and prints what they reach."""
    if not importlib.util.find_spec("pyod") or not importlib.util.find_spec("torch"):
        raise BadInput("PyOD and PyTorch are not installed; they come with the extra `bench`")
    determinism.set_up(cpu_threads=flags.cpu_threads)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: compare(flags, name, Path(folder) / str(number)) for number, name in enumerate(flags.datasets)}
    print(f"{'mean AUROC':30}" + "".join(f"{name:>22}" for name in found))
    for detector in next(iter(found.values())):
        cells = (found[name][detector] for name in found)
        print(f"{detector:30}" + "".join(f"{f'{mean:.3f} +- {error:.3f}':>22}" for mean, error in cells))


if __name__ == "__main__":
    command.run(main, Flags)
