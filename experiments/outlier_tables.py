"""The protocol `outlier_class` of `outliers`: one class of a table against all others, on several splits at once.

In each split s an autoencoder and a VAE, whose likelihood has a density for each column, learn from 70 % of the inliers
(`table_columns`). The networks of all splits have separate parameters and are trained from one stream of inliers; each
row counts only where it is a training example, and numbers are standardised anew by those of the split.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications, outlier_baselines, outlier_charts, table_columns
from genjax import data, networks, runs, stochastic
from genjax.data import batching
from genjax.data.columns import spans
from genjax.errors import BadInput
from genjax.evaluation import detection
from genjax.gradients import Objective, Reduction
from genjax.losses import SQUARED_ERROR, squared_error
from genjax.models import autoencoder, descent, vae
from genjax.runs import flag
from genjax.runs.rows import standard_error
from genjax.training import concluding
from genjax.types import Array, Batch, Key, Params

PROTOCOL = "outlier_class"
HELD_OUT = 0.3  # of the inliers and of the outliers of each split
REASONS = 3  # columns that the table names for each row


class Flags(runs.Record):
    """Outliers of a table."""

    outlier_class: str | None = flag(
        None,
        "name or number of the class of outliers, with --protocol=outlier_class; by default that of fewest examples",
        newer=True,
    )
    num_splits: int = flag(
        10, "number of random splits, with --protocol=outlier_class; measures are their means", at_least=1, newer=True
    )


class Splits(NamedTuple):
    """All rows of a table, and S ways to split them."""

    x: np.ndarray  # features [N, D]
    outlier: np.ndarray  # [N] booleans
    train: np.ndarray  # [S, N] booleans: training examples, which are inliers
    test: np.ndarray  # [S, N] booleans: held-out examples, inliers and outliers
    shift: np.ndarray  # [S, D], the means of numbers; 0 of other columns
    inverse: np.ndarray  # [S, D], 1 / their standard deviations; 1 of other columns

    def standardised(self, split: Any, x: Array) -> Array:
        """Rows [B, D] as the networks of a split take them."""
        shift, inverse = (jnp.asarray(of)[split][None] for of in (self.shift, self.inverse))
        return (x - shift) * inverse


class Parts(NamedTuple):
    """The networks of a split, and the splits."""

    autoencoder: autoencoder.Autoencoder
    vae: vae.VAE
    splits: Splits


def splits_of(flags: Any, dataset: data.Dataset) -> Splits:
    """Splits by NumPy's frozen `RandomState(s)`, the same share of inliers and of outliers in each.

    Raises:
      BadInput: it is no table with classes, there is no such class, or it has too few examples.
    """
    known = table_columns.require(dataset, f"the protocol {PROTOCOL}", parameter="protocol")
    num_classes = dataset.require_classes("outlier detection", at_least=2, parameter="dataset")
    if flags.num_validation:
        raise BadInput(f"the protocol {PROTOCOL} has splits of its own", parameter="num_validation")
    x = np.concatenate([dataset.train.x, dataset.test.x])
    label = np.concatenate([np.asarray(dataset.train.label), np.asarray(dataset.test.label)])
    counts = np.bincount(label, minlength=num_classes)
    names = [str(name) for name in dataset.class_names or range(num_classes)]
    if flags.outlier_class not in (None, *names):
        raise BadInput(f"expected one of {', '.join(names)}, not {flags.outlier_class}", parameter="outlier_class")
    chosen = int(np.argmin(counts)) if flags.outlier_class is None else names.index(flags.outlier_class)
    outlier = label == chosen
    if counts[chosen] < 2 or counts.sum() - counts[chosen] < 4:
        raise BadInput(f"data set {dataset.name!r} has too few examples: {counts[chosen]} of {names[chosen]}")
    test = np.zeros((flags.num_splits, len(x)), bool)
    for split, row in enumerate(test):
        draw = np.random.RandomState(split)  # a stream that NumPy keeps frozen
        for rows in (np.flatnonzero(~outlier), np.flatnonzero(outlier)):
            row[draw.permutation(rows)[: max(1, round(HELD_OUT * len(rows)))]] = True
    train = ~test & ~outlier
    shift = np.zeros((flags.num_splits, x.shape[1]), np.float32)
    inverse = np.ones_like(shift)
    for column, start, _ in spans(known):
        if column.kind == "number":
            shift[:, start] = [x[rows, start].mean(dtype=np.float64) for rows in train]
            spread = np.array([x[rows, start].std(dtype=np.float64) for rows in train])
            inverse[:, start] = 1 / np.where(spread > 1e-6, spread, 1)  # it may be constant among these inliers
    return Splits(x, outlier, train, test, shift, inverse)


def source(flags: Any, dataset: data.Dataset) -> batching.Source:
    """The inliers in batches; as label, [B, S], of which splits each is a training or a held-out example."""
    if flags.protocol != PROTOCOL:
        return runs.read_shuffled(flags, dataset)
    splits = splits_of(flags, dataset)
    inlier = ~splits.outlier
    train, test = (data.Split(splits.x[inlier], of[:, inlier].T) for of in (splits.train, splits.test))
    return batching.source(dataset._replace(train=train, test=test), batch_size=flags.batch_size)


def objective(flags: Any, parts: Parts, members: np.ndarray) -> Objective:
    """The sum over the splits of the mean losses of its autoencoder and its VAE over its own examples.

    Args:
      members: of which splits the inliers are examples, [S, N].
    """
    splits, corruption = parts.splits, stochastic.gaussian_noise(scale=flags.noise_scale)
    weight = (1 / members.mean(axis=1)).astype(np.float32)

    def one(split: Array, params: Params, x: Array, key: Key) -> tuple[Array, Array]:
        x, (noise_key, z_key) = splits.standardised(split, x), jax.random.split(key)
        z = autoencoder.encode(params["autoencoder"], corruption(x, noise_key), parts=parts.autoencoder)
        rebuilt = autoencoder.decode(params["autoencoder"], z, parts=parts.autoencoder)
        return squared_error(rebuilt, x), vae.negative_elbo(params["vae"], x, z_key, parts=parts.vae)

    def of_all(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        keys = jax.random.split(key, len(weight))
        losses = jax.vmap(one, in_axes=(0, 0, None, 0))(jnp.arange(len(weight)), params, batch.x, keys)
        member = jnp.asarray(batch.label, jnp.float32).T * weight[:, None]
        error, bound = (jnp.sum(member * loss, axis=0) for loss in losses)
        return error + bound, {"reconstruction_loss": error / len(weight), "negative_elbo": bound / len(weight)}

    return of_all


def build(flags: Any, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The autoencoders and VAEs of all splits as one model; the parts are those of each of them."""
    splits = splits_of(flags, dataset)
    shape, hidden, d = splits.x.shape[1:], flags.hidden, flags.latent_dim
    if flags.reconstruction != "squared_error":
        dataset.require_bounded("cross-entropy", parameter="reconstruction")
    if not flags.noise_scale:
        autoencoder.check_bottleneck(d, shape, unless="`noise_scale` above 0")

    def encoder(outputs: int) -> Any:
        return networks.mlp(shape, (outputs,), hidden=hidden, activation=jax.nn.relu)

    decoder = networks.mlp((d,), shape, hidden=hidden[::-1], activation=jax.nn.relu)
    assert dataset.columns is not None
    of_columns = table_columns.build_likelihood(dataset.columns, decoder, variance=1.0, learned=True)
    parts = Parts(
        autoencoder.Autoencoder(encoder(d), decoder, SQUARED_ERROR),
        vae.VAE(networks.gaussian_heads(encoder(2 * d)), *of_columns, d),
        splits,
    )

    def init_one(key: Key) -> Params:
        first, second = jax.random.split(key)
        return {
            "autoencoder": autoencoder.init_params(first, parts=parts.autoencoder),
            "vae": vae.init_params(second, parts=parts.vae),
        }

    inlier = ~splits.outlier
    model = descent.model(
        lambda key: jax.vmap(init_one)(jax.random.split(key, flags.num_splits)),
        runs.optimizer(flags, ensemble=True),
        objective(flags, parts, splits.train[:, inlier]),
        evaluation=objective(flags, parts, splits.test[:, inlier]),
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def of_split(params: Params, split: int) -> Params:
    """The parameters of one split."""
    return jax.tree.map(lambda leaf: leaf[split], params)


def summarise(flags: Any, trained: runs.Trained) -> dict[str, float]:
    """Scores the held-out rows of every split, and writes outliers.csv of the first one."""
    parts, splits = trained.parts, trained.parts.splits
    own_scores = jax.jit(partial(scores, parts=parts))
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    rates = []
    for split in concluding.shown(range(flags.num_splits), "splits", num=flags.num_splits):
        params, held_out = of_split(trained.params, split), splits.test[split]
        outlier = splits.outlier[held_out]
        x, known = (np.asarray(splits.standardised(split, splits.x[rows])) for rows in (held_out, splits.train[split]))
        own, usual = (jax.tree.map(np.asarray, own_scores(params, of, trained.key)) for of in (x, known))
        named = {"": own["squared_error"], "vae": own["negative_elbo"]} | outlier_baselines.scores(flags, x, known)
        for method, score in named.items():
            found.setdefault(method, []).append((score[~outlier], score[outlier]))
        threshold = detection.threshold(usual["negative_elbo"], quantile=flags.quantile)
        above = own["negative_elbo"] > threshold
        rates.append((above[~outlier].mean(), above[outlier].mean()))
        if split == 0:
            usual = {name: term.mean() for name, term in usual["contributions"].items()}
            table = ranked(trained.dataset, splits, held_out, own, usual, threshold)
            table_columns.save(trained.workdir / "outliers.csv", table)
    outlier_charts.save_curves(
        trained.workdir, found, title=f"mean over {flags.num_splits} splits, with AUROC", own="autoencoder"
    )
    false_positive_rate, true_positive_rate = np.mean(rates, axis=0)
    return measures(found) | {
        "false_positive_rate": float(false_positive_rate),
        "true_positive_rate": float(true_positive_rate),
    }


def scores(params: Params, x: Array, key: Key, *, parts: Parts) -> dict[str, Any]:
    """The autoencoder's squared error, and the VAE's negative ELBO, rate and contributions of the columns: [B] each."""
    (rebuilt_error,) = applications.autoencoder_scores(params["autoencoder"], x, parts=parts.autoencoder).values()
    of_vae = applications.vae_scores(params["vae"], x, key, parts=parts.vae)
    terms = applications.contributions(params["vae"], x, key, parts=parts.vae)
    bound, rate = of_vae["negative_elbo"], of_vae["rate"]
    return {"squared_error": rebuilt_error, "negative_elbo": bound, "rate": rate, "contributions": terms}


def measures(found: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> dict[str, float]:
    """Means over the splits by method, and the standard errors of these means if there are several splits."""
    metrics = {}
    of_scores = {"auroc": detection.auroc, "aupr": detection.aupr, "precision_at_n": detection.precision_at_n}
    for method, pairs in found.items():
        for name, measure in of_scores.items():
            name, values = f"{method}_{name}" if method else name, np.array([measure(*pair) for pair in pairs])
            metrics[name] = float(values.mean())
            if len(values) > 1:
                metrics[f"{name}_error"] = float(standard_error(values))
    return metrics


def ranked(
    dataset: data.Dataset,
    splits: Splits,
    rows: np.ndarray,
    own: dict[str, Any],
    usual: dict[str, float],
    threshold: float,
) -> dict[str, list[str]]:
    """The columns of outliers.csv: rows of a table by the VAE's negative ELBO, the largest first, and the reasons.

    Args:
      rows: those of `splits`, [N] booleans.
      own: what `scores` returns for them.
      usual: the mean contribution of each column to the training examples' score.
      threshold: above which a row is called an outlier.
    """
    assert dataset.columns is not None
    order = np.argsort(-own["negative_elbo"], kind="stable")
    names = [column.name for column in dataset.columns]
    terms = np.stack([own["contributions"][name] for name in names], axis=1)[order]  # [N, C]
    excess = terms - np.array([usual[name] for name in names])
    most = np.argsort(-excess, axis=1, kind="stable")[:, :REASONS]
    reasons = ["; ".join(f"{names[c]} {row[c]:+.2f}" for c in of) for row, of in zip(excess, most, strict=True)]
    score, rate = own["negative_elbo"][order], own["rate"][order]
    return {
        "rank": [str(rank) for rank in range(1, len(order) + 1)],
        "is_outlier": [str(int(is_outlier)) for is_outlier in splits.outlier[rows][order]],
        "above_threshold": [str(int(value > threshold)) for value in score],
        "negative_elbo": [f"{value:.4f}" for value in score],
        "rate": [f"{value:.4f}" for value in rate],
        "reasons": reasons,
        **table_columns.texts(splits.x[rows][order], dataset.columns),
        **{f"-log p of {name}": [f"{value:.4f}" for value in terms[:, c]] for c, name in enumerate(names)},
    }


def of_first_split(flags: Any, parts: Parts) -> dict[str, runs.Application]:
    """Scores of new rows by the networks of the first split, and the contributions of their columns."""

    def each(params: Params, x: Array, key: Key) -> dict[str, Any]:
        return scores(of_split(params, 0), parts.splits.standardised(0, x), key, parts=parts)

    def of_rows(params: Params, x: Array, key: Key) -> dict[str, Array]:
        found = each(params, x, key)
        return {name: score for name, score in found.items() if name != "contributions"}

    return {
        "scores": runs.Application(of_rows),
        "contributions": runs.Application(
            lambda params, x, key: applications.named_contributions(each(params, x, key)["contributions"])
        ),
    }
