"""Normalising flows as densities of vectors: RealNVP, MAF and IAF (Dinh et al. 2017; Papamakarios et al. 2017).

    python -m experiments.flow
    python -m experiments.flow --dataset=grid --flow=maf --num_layers=8
    python -m experiments.flow --dataset=file:TABLE.csv --flow=coupling

A flow maps data to noise, and the exact negative log-likelihood of held-out examples is reported in nats, in the units
of the data (of a table, whose columns are standardised, in standard deviations), beside that of a Gaussian with the
training data's mean and covariance unless this is singular. On `ring` and `grid`, whose density is known, it is also
reported for the true density, whose mean is the entropy: no model has less, except by chance. With two dimensions, the
density is drawn beside the data, and beside the true density where it is known.

A coupling has its density and its draws in one pass. A draw from `maf` takes a pass per dimension, and so does a
density of `iaf`.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data, networks, runs
from genjax.data import toys
from genjax.data.outline import Outline
from genjax.drawing import saving
from genjax.drawing.pictures import panels
from genjax.errors import BadInput
from genjax.gradients import Reduction
from genjax.models import flow
from genjax.runs import flag, showing
from genjax.types import Array, Flow, Key, Params

FLOWS = {
    "coupling": networks.coupling_flow,
    "maf": networks.masked_autoregressive_flow,
    "iaf": networks.masked_autoregressive_flow,  # run backwards
}
TOYS = {"ring": toys.RING, "grid": toys.GRID}
RANGE = 12.0  # nats below the highest density that the picture resolves
SIDE = 250  # points of the map of the density along each axis


class Flags(runs.Flags):
    """Normalising flow as a density."""

    dataset: str = "ring"
    num_steps: int = 5000
    batch_size: int = 256
    learning_rate: float = 3e-3
    learning_rate_schedule: str = "cosine"
    clip_norm: float | None = 1.0
    flow: str = flag("coupling", "kind of the layers: RealNVP, masked or inverse autoregressive", choices=FLOWS)
    num_layers: int = flag(8, "number of layers", at_least=1, at_most=1000)
    hidden: tuple[int, ...] = flag(
        (64, 64), "widths of the hidden layers of each layer's network", at_least=1, at_most=10**6, may_be_empty=True
    )
    activation: str = flag("relu", "activation of the hidden layers", choices=networks.ELEMENTWISE_ACTIVATIONS)


def standardisation(dataset: data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the training data; where only their shape is known, 0 and 1."""
    x = dataset.train.x
    if isinstance(x, Outline):  # of a trained run, whose own are in the checkpoint
        return np.zeros(x.shape[1]), np.ones(x.shape[1])
    deviation = x.std(axis=0, dtype=np.float64) / dataset.scale
    return x.mean(axis=0, dtype=np.float64) / dataset.scale, np.where(deviation > 0, deviation, 1)


def build_flow(flags: Flags, dim: int) -> Flow:
    """The layers of the chosen kind, from data to noise."""
    if flags.flow == "coupling" and dim == 1:
        raise BadInput(f"a coupling needs two dimensions, and {flags.dataset} has one; use maf", parameter="flow")
    activation = networks.ELEMENTWISE_ACTIVATIONS[flags.activation]
    made = FLOWS[flags.flow](dim, flags.num_layers, hidden=flags.hidden, activation=activation)
    return networks.inverted(made) if flags.flow == "iaf" else made


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The flow, behind a standardisation that it goes on learning, and its model."""
    shape = dataset.train.x.shape[1:]
    if len(shape) != 1:
        raise BadInput(
            f"{flags.dataset} has images, whose grey levels have no density; use a toy or a table", parameter="dataset"
        )
    if discrete := [column.name for column in dataset.columns or () if column.kind != "number"]:
        raise BadInput(
            f"{dataset.name} has columns that are not numbers and have no density, such as {discrete[0]}; leave them "
            "out by `column_kinds`",
            parameter="dataset",
        )
    standardised = networks.activation_normalization(*standardisation(dataset))
    parts = flow.FlowDensity(networks.chain(standardised, build_flow(flags, shape[0])), shape)
    objective = flow.objective(parts)
    model = flow.model(parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction)
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws samples and the density, and measures the baselines on the held-out examples."""
    dataset, parts = trained.dataset, trained.parts
    samples = jax.jit(partial(flow.sample, num=len(trained.examples.x), parts=parts))(trained.params, key=trained.key)
    showing.save_samples(trained, samples, title="draws from the flow")
    if parts.shape == (2,):
        save_density(trained.workdir / "density.png", flags, trained)
    return baselines(flags, dataset)


def baselines(flags: Flags, dataset: data.Dataset) -> dict[str, float]:
    """Held-out negative log-likelihoods of a Gaussian, where one can be fitted, and of the true density if known."""
    from sklearn.covariance import EmpiricalCovariance

    train, test = (dataset.scaled(split).astype(np.float64) for split in (dataset.train, dataset.test))
    found = {}
    if np.linalg.matrix_rank(train - train.mean(axis=0)) == train.shape[1]:
        found["gaussian_negative_log_likelihood"] = -float(EmpiricalCovariance().fit(train).score(test))
    if flags.dataset in TOYS:
        truth = toys.modes_negative_log_likelihood(test, modes=TOYS[flags.dataset])
        found["true_negative_log_likelihood"] = float(truth.mean())
    return found


def save_density(path: Path, flags: Flags, trained: runs.Trained) -> None:
    """Draws held-out points of the plane beside the flow's log-density and, if it is known, the true one."""
    points = np.asarray(trained.examples.x)
    low, high = points.min(axis=0), points.max(axis=0)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    plane = np.stack(np.meshgrid(*np.linspace(low, high, SIDE).T), axis=-1).reshape(-1, 2)
    density = jax.jit(partial(flow.negative_log_likelihood, parts=trained.parts))
    fields = {"the flow's log-density, in nats": -np.asarray(density(trained.params, jnp.float32(plane)))}
    if flags.dataset in TOYS:
        truth = toys.modes_negative_log_likelihood(plane, modes=TOYS[flags.dataset])
        fields["the true log-density, in nats"] = -truth
    figure, ((first, *others),) = panels(1, 1 + len(fields), width=5.2, height=4.6)
    first.scatter(*points.T, s=2)
    first.set(title=f"{len(points)} held-out points")
    highest = max(field.max() for field in fields.values())
    for ax, (title, field) in zip(others, fields.items(), strict=True):
        extent = (low[0], high[0], low[1], high[1])
        drawn = ax.imshow(
            field.reshape(SIDE, SIDE), origin="lower", extent=extent, vmin=highest - RANGE, vmax=highest, aspect="auto"
        )
        ax.set(title=title)
        figure.colorbar(drawn, ax=ax)
    for ax in (first, *others):
        ax.set(xlabel="x1", ylabel="x2", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    saving.save(figure, path)


def applications(flags: Flags, parts: flow.FlowDensity) -> dict[str, runs.Application]:
    """The exact negative log-likelihood of each example in nats, and its noise."""

    def scores(params: Params, x: Array, key: Key) -> dict[str, Array]:
        return {"negative_log_likelihood": flow.negative_log_likelihood(params, x, parts=parts)}

    return {
        "codes": runs.Application(lambda params, x, key: flow.encode(params, x, parts=parts)),
        "scores": runs.Application(scores),
    }


def generator(flags: Flags, parts: flow.FlowDensity) -> runs.Generator:
    """The data of noise."""
    return runs.Generator(partial(flow.decode, parts=parts), math.prod(parts.shape))


EXPERIMENT = runs.Experiment(
    "flow",
    Flags,
    build,
    summarise,
    watch=("negative_log_likelihood",),
    applications=applications,
    generator=generator,
    metrics=lambda flags: {"loss": runs.Metric("nats", "lower")},
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
