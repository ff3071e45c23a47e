"""A VAE that learns from incomplete examples and fills in what is missing (Mattei & Frellsen 2019).

    python -m experiments.imputation
    python -m experiments.imputation --missing=0.7 --patch=2
    python -m experiments.imputation --dataset=mnist --data_dir=DIR --num_steps=10000
    python -m experiments.imputation --dataset=table:TABLE.csv --missing=0.1
    python -m experiments.imputation --dataset=file:measurements.npy --missing=0.1 --likelihood=learned_gaussian

A share of the values of every example, --missing, is hidden once and for all, in squares of --patch pixels. The model
never sees them: the bound is one of the density of what is left, with --num_samples draws. Values of an array that are
already NaN, and cells of a table that are empty or nan, are missing too, and are not measured. Of a table that has such
cells, completed.csv has all rows in their order, with these cells filled in and all others as they were; of a category,
the one of the largest mean.

The metric `rmse` is the root-mean-square error of the hidden values of held-out examples that the model fills in, from
--num_imputation_samples draws; `mean_rmse` is that of the mean of each feature, and `pca_rmse` that of probabilistic
PCA with as many components as there are latent dimensions. imputations.png has complete and incomplete images, and what
the model and PCA make of them. `apply --to=imputed` fills in new rows, a .npy, .npz or .csv with nan or nothing where a
value is missing, in the units of the training data; rows of a table are filled in only as part of it.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments import completion, held_out_likelihood, table_columns
from genjax import data, networks, runs
from genjax.data import batching, columns, examples, table
from genjax.errors import BadInput
from genjax.evaluation.imputation import fit_pca, impute_by_pca
from genjax.gradients import Reduction
from genjax.losses import BERNOULLI, GAUSSIAN, observed
from genjax.models import importance_weighted, imputation, vae
from genjax.paths import expand_user
from genjax.runs import flag
from genjax.training import concluding
from genjax.types import Array, Batch, Key, Params

TABLE = "table:"
AT_MOST = 10_000  # training examples that PCA is fitted to


class Flags(runs.Flags):
    """Imputation."""

    num_steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3
    missing: float = flag(0.5, "share of the values that are hidden", at_least=0, at_most=0.99)
    patch: int = flag(1, "side of the squares of pixels that are hidden together", at_least=1)
    hidden: tuple[int, ...] = flag(
        (256, 256), "widths of the encoder's hidden layers; the decoder mirrors them", at_least=1
    )
    activation: str = flag(
        "relu",
        "activation of the hidden layers; glu, gated linear units, halves their widths",
        choices=networks.ACTIVATIONS,
    )
    latent_dim: int = flag(10, "number of latent dimensions", at_least=1)
    likelihood: str = flag("learned_gaussian", "likelihood p(x|z)", choices=("bernoulli", "learned_gaussian"))
    num_samples: int = flag(5, "number of draws of z in the bound", at_least=1)
    num_imputation_samples: int = flag(
        1000, "number of draws of z from which a missing value is estimated", at_least=1, at_most=10**6
    )


def hide(flags: Flags, x: np.ndarray, seed: int) -> np.ndarray:
    """Examples with values hidden at random, by NumPy's frozen stream of a seed: NaN."""
    height, width = x.shape[1:3] if x.ndim == 4 else (x.shape[1], 1)
    across = 1 if x.ndim == 2 else flags.patch
    squares = -(-height // flags.patch), -(-width // across)
    hidden = np.random.RandomState(seed).random_sample((len(x), *squares)) < flags.missing
    hidden = hidden[:, np.arange(height) // flags.patch][:, :, np.arange(width) // across]
    return np.where(hidden[..., None] if x.ndim == 4 else hidden[..., 0], np.float32(np.nan), x)


def incomplete(flags: Flags, dataset: data.Dataset) -> data.Dataset:
    """The data set with hidden values, and a scale of 1.

    Raises:
      BadInput: the flags do not agree with the data.
    """
    if flags.binarize == "dynamic":
        raise BadInput("values are hidden once; `static` draws pixels once too", parameter="binarize")
    if dataset.train.x.nbytes > flags.memory_limit * 2**20:
        raise BadInput("values are hidden in memory; raise it", parameter="memory_limit")
    if dataset.train.x.ndim == 2 and flags.patch > 1:
        raise BadInput("vectors have no squares of pixels", parameter="patch")
    splits = [
        split._replace(x=hide(flags, split.x.astype(np.float32) / np.float32(dataset.scale), seed))
        for seed, split in enumerate((dataset.train, dataset.test))
    ]
    found = dataset._replace(train=splits[0], test=splits[1], scale=1.0)
    never = np.isnan(found.train.x).all(axis=0).ravel()
    if never.any():
        raise BadInput(f"feature {int(np.argmax(never))} is missing in all training examples", parameter="missing")
    return found


def source(flags: Flags, dataset: data.Dataset) -> batching.Source:
    """Shuffled batches of the incomplete examples."""
    return batching.source(incomplete(flags, dataset), batch_size=flags.batch_size)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks and the model."""
    shape, d = dataset.train.x.shape[1:], flags.latent_dim
    layers = partial(networks.mlp, activation=networks.ACTIVATIONS[flags.activation])
    encoder = networks.gaussian_heads(layers(shape, (2 * d,), hidden=flags.hidden))
    decoder, likelihood = layers((d,), shape, hidden=flags.hidden[::-1]), BERNOULLI
    if flags.likelihood == "bernoulli":
        dataset.require_bounded("a Bernoulli likelihood", parameter="likelihood")
    else:
        decoder, likelihood = networks.with_log_variance(decoder, initial=math.log(0.05)), GAUSSIAN
    parts = vae.VAE(networks.missing_as_zero(encoder), decoder, observed(likelihood), d)
    objective = importance_weighted.objective(parts, num_samples=flags.num_samples)
    model = vae.model(parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction)
    return runs.Built(model, parts)


def fill_in(flags: Flags, trained: runs.Trained, x: np.ndarray) -> np.ndarray:
    """Examples with their missing values filled in by the model."""
    impute = partial(imputation.impute, parts=trained.parts, num_samples=flags.num_imputation_samples)
    return held_out_likelihood.in_batches(
        lambda params, batch, key: impute(params, batch.x, key), trained.params, Batch(jnp.asarray(x)), trained.key
    )


def complete_table(flags: Flags, trained: runs.Trained) -> None:
    """Writes completed.csv: the table of the user's with its missing cells filled in, if it has some."""
    known = trained.dataset.columns
    if known is None or not flags.dataset.startswith(TABLE):
        return
    cells = table.read(expand_user(flags.dataset.removeprefix(TABLE)))
    x = columns.encode(cells, known, missing=True)
    if not np.isnan(x).any():
        return
    filled = table_columns.texts(fill_in(flags, trained, x), known)
    completed = {
        name: [new if columns.is_missing(old) else old for old, new in zip(own, filled.get(name, own), strict=True)]
        for name, own in cells.items()
    }
    table_columns.save(trained.workdir / "completed.csv", completed)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Fills in the held-out examples, and compares with means and with PCA."""
    dataset = incomplete(flags, trained.dataset)
    complete, x = trained.dataset.test.x / np.float32(trained.dataset.scale), dataset.test.x
    found = fill_in(flags, trained, x)
    complete_table(flags, trained)
    train = dataset.train.x.reshape(len(dataset.train.x), -1)
    rank = min(flags.latent_dim, train.shape[1] - 1, len(train) - 1)
    pca = fit_pca(
        train[data.choose(len(train), AT_MOST)],
        rank=rank,
        progress=lambda steps: concluding.shown(steps, "fits of PCA", num=len(steps)),
    )
    by_pca = impute_by_pca(pca, x.reshape(len(x), -1)).reshape(x.shape)
    by_mean = np.broadcast_to(np.nanmean(train.astype(np.float64), axis=0).reshape(x.shape[1:]), x.shape)
    if x.ndim == 4:
        completion.save_picture(
            trained.workdir / "imputations.png",
            trained.dataset,
            {"complete": complete, "observed": x, "model": found, "PCA": by_pca},
            title="held-out images, what the model saw of them, and what was filled in",
        )
    hidden = np.isnan(x) & ~np.isnan(complete)
    if not hidden.any():
        return {}

    return completion.errors(complete, hidden, {"": found, "mean_": by_mean, "pca_": by_pca})


def applications(flags: Flags, parts: vae.VAE) -> dict[str, runs.Application]:
    """Examples with their missing values filled in."""

    def imputed(params: Params, x: Array, key: Key) -> Array:
        return imputation.impute(params, x, key, parts=parts, num_samples=flags.num_imputation_samples)

    def read(path: Path) -> Array:
        if flags.dataset.startswith(TABLE):
            raise BadInput("rows of a table are filled in only as part of the one that the run reads", parameter="to")
        rows = np.asarray(examples.read_rows(path), np.float32)
        if np.isinf(rows).any():
            raise BadInput(f"{path} has infinite values; a missing value is nan", parameter="input")
        return jnp.asarray(rows)

    return {"imputed": runs.Application(imputed, read=read)}


EXPERIMENT = runs.Experiment(
    "imputation",
    Flags,
    build,
    summarise,
    load=partial(runs.load_named, missing=True),
    source=source,
    watch=("loss", "negative_elbo"),
    applications=applications,
    metrics=lambda flags: {"loss": runs.Metric("nats", "lower")} | completion.METRICS,
    headline=completion.HEADLINE,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
