"""The sparse codes of the page `sparse`: their flags, the models that these choose, and measures of codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments import table_columns
from genjax import data, losses, networks, runs
from genjax.drawing import charts, pictures
from genjax.errors import BadInput
from genjax.evaluation import sparse_codes
from genjax.gradients import Reduction
from genjax.losses import SQUARED_ERROR
from genjax.models import sparse_autoencoder
from genjax.models.sparse_autoencoder import Revival, SparseAutoencoder
from genjax.runs import flag
from genjax.types import Model, Network

DENSE = 0.1  # a unit that is active in a larger share of the examples is dense
SHOWN_UNITS, SHOWN_EXAMPLES = 12, 8
TABLED_UNITS = 256
START_NORM = 0.1


class Flags(runs.Record):
    """Sparsity of the code."""

    sparsity: str = flag(
        "l1",
        "method that makes the code sparse: an L1 penalty, the k largest units of each example (k_sparse) or of a "
        "batch, learned thresholds (jump_relu), or gates apart from sizes (gated)",
        choices=("l1", "k_sparse", "batch_top_k", "jump_relu", "gated"),
    )
    active_units: int = flag(16, "number of units that a k_sparse or batch_top_k code keeps per example", at_least=1)
    code_l1: float = flag(0.2, "weight lambda of the L1 penalty", at_least=0)
    sparsity_weight: float = flag(
        0.1,
        "weight of the penalty of --sparsity=jump_relu, the number of active units, or gated, the sizes of the gates",
        at_least=0,
        newer=True,
    )
    bandwidth: float = flag(
        0.1, "width around a threshold in which --sparsity=jump_relu learns it", at_least=1e-6, newer=True
    )
    start_norm: float | None = flag(
        None,
        "norm of the atoms at the start, whose transpose the encoder starts with; with 0, both are drawn apart; by "
        "default 0.1 for k_sparse and batch_top_k, and 0 for the others",
        at_least=0,
        newer=True,
    )
    prefixes: tuple[int, ...] = flag(
        (),
        "numbers of first units from which the data are reconstructed as well (Matryoshka)",
        at_least=1,
        may_be_empty=True,
        newer=True,
    )
    revival_weight: float = flag(
        0.0,
        "weight of the term by which dead units learn the error of the others, 1/32 in the paper",
        at_least=0,
        newer=True,
    )
    revive_after: int = flag(
        20_000, "number of examples without activity after which a unit is dead", at_least=1, at_most=2**24, newer=True
    )  # fmt: skip

    standardise: str = flag(
        "auto",
        "whether examples are standardised, by the mean of each value and one scale for all: auto, of files with "
        "values outside [0, 1]",
        choices=("auto", "always", "never"),
        newer=True,
    )


def build(flags: Any, encoder: Network, decoder: networks.Dictionary) -> SparseAutoencoder:
    """The parts of a sparse autoencoder of these two networks."""
    num_units, k = flags.num_units, min(flags.active_units, flags.num_units)
    units = {
        "l1": lambda: networks.l1_units(encoder, losses.code_l1),
        "k_sparse": lambda: networks.top_k_units(encoder, k=k),
        "batch_top_k": lambda: networks.batch_top_k_units(encoder, k=k),
        "jump_relu": lambda: networks.jump_relu_units(
            encoder, num_units, bandwidth=flags.bandwidth, initial_threshold=flags.bandwidth
        ),
        "gated": lambda: networks.gated_units(encoder, num_units),
    }[flags.sparsity]()
    return SparseAutoencoder(units, decoder, SQUARED_ERROR)


def model(
    flags: Any, parts: SparseAutoencoder, reduction: Reduction, *, shape: Sequence[int]
) -> tuple[Model, SparseAutoencoder]:
    """The model of the flags, and its parts: those given, or the same for examples [*shape] in their own units.

    Raises:
      BadInput: a prefix that is not shorter than the code.
    """
    too_long = [m for m in flags.prefixes if m >= flags.num_units]
    if too_long:
        raise BadInput(f"the code has {flags.num_units} units, so {too_long[0]} is not a prefix", parameter="prefixes")
    revival = None
    if flags.revival_weight:
        at_most = max(1, flags.num_units // 2)
        revival = Revival(flags.num_units, flags.revival_weight, at_most, flags.revive_after)
    weight = flags.code_l1 if flags.sparsity == "l1" else flags.sparsity_weight
    terms = {"weight": weight, "prefixes": flags.prefixes, "revival": revival}
    objective, evaluation = (sparse_autoencoder.objective(parts, evaluation=each, **terms) for each in (False, True))
    if flags.standardise == "always":
        objective, evaluation = sparse_autoencoder.in_units(objective), sparse_autoencoder.in_units(evaluation)
        parts = sparse_autoencoder.standardised(parts, shape)
    made = sparse_autoencoder.model(
        parts,
        runs.optimizer(flags),
        objective,
        evaluation=evaluation if flags.sparsity == "batch_top_k" else None,
        revival=revival,
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    if flags.start_norm:
        made = sparse_autoencoder.starting_transposed(made, norm=flags.start_norm)
    return made, parts


def resolve(flags: Any, dataset: data.Dataset) -> Any:
    """The flags with `start_norm` decided for the code, and `standardise` for data with values outside [0, 1].

    Raises:
      BadInput: the examples of a known dictionary would be standardised.
    """
    if flags.start_norm is None and flags.sparsity in ("k_sparse", "batch_top_k"):
        flags = flags.replace(start_norm=START_NORM)
    if getattr(flags, "dictionary", False):
        if flags.standardise == "always":
            raise BadInput("the examples of the dictionary are not those of a data set", parameter="standardise")
        return flags
    return flags.replace(standardise="always") if flags.standardise == "auto" and not dataset.bounded else flags


def prepare(flags: Any, dataset: data.Dataset, built: runs.Built, cache: Path) -> runs.Built:
    """The model that starts with the mean and the scale of the training data, if it is one of standardised data.

    Raises:
      BadInput: all examples are equal.
    """
    del cache
    if flags.standardise != "always":
        return built
    try:
        standard = networks.fit_standard(dataset.train.x, divisor=dataset.scale)
    except ValueError as error:
        raise BadInput(f"{dataset.name}: {error}", parameter="dataset") from None
    return built._replace(model=sparse_autoencoder.starting_with(built.model, standard))


def measure(z: np.ndarray, x: np.ndarray, reconstruction: np.ndarray, atoms: np.ndarray) -> dict[str, float]:
    """What is counted of codes [N, d], of x [N, ...] and its reconstruction, and of the decoder's atoms [d, D]."""
    density = np.asarray(sparse_codes.density(jnp.asarray(z)))
    explained = sparse_codes.explained_variance(jnp.asarray(x), jnp.asarray(reconstruction))
    found = {
        "l0": float(np.mean(sparse_codes.l0(jnp.asarray(z)))),
        "explained_variance": float(explained),
        "dense_units": float((density > DENSE).sum()),
    }
    if len(atoms) > 1:
        found["nearest_cosine"] = float(np.mean(sparse_codes.nearest_cosine(jnp.asarray(atoms))))
    return found


def draw_densities(path: Path, z: np.ndarray) -> None:
    """Writes a histogram of the shares of examples in which units are active."""
    density = np.asarray(sparse_codes.density(jnp.asarray(z)))
    alive = density[density > 0]
    if not len(alive):
        return
    counts, edges = np.histogram(np.log10(alive), bins=min(30, max(3, len(alive) // 4)))
    charts.save_lines(
        path,
        {"units": ((edges[1:] + edges[:-1]) / 2, counts)},
        xlabel="log10 of the share of examples in which a unit is active",
        ylabel="units",
        title=f"{len(alive)} active units; {len(density) - len(alive)} are dead",
        marker=".",
    )


def strongest(z: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Units of every density, and the examples in which each is most active.

    Args:
      z: codes [N, d].

    Returns:
      At most 12 units, evenly spread over the ranks of density of those that are active; examples [units, at most 8].
    """
    density = (z != 0).mean(axis=0)
    alive = [int(j) for j in np.argsort(-density, kind="stable") if density[j] > 0]
    places = np.unique(np.linspace(0, len(alive) - 1, min(SHOWN_UNITS, len(alive))).round().astype(int))
    units = [alive[place] for place in places] if alive else []
    return units, np.argsort(-z[:, units], axis=0, kind="stable")[:SHOWN_EXAMPLES].T


def save_strongest(path: Path, z: np.ndarray, rows: np.ndarray) -> None:
    """Writes a table of the examples in which each of the most active units is most active.

    Args:
      path: of a .csv: unit, share of the examples in which it is active, place, row of the example, activation.
      z: codes [N, d].
      rows: the places of these examples in their split, [N].
    """
    density = (z != 0).mean(axis=0)
    cells: dict[str, list[str]] = {name: [] for name in ("unit", "active_share", "place", "row", "activation")}
    for unit in np.argsort(-density, kind="stable")[:TABLED_UNITS]:
        strongest_first = np.argsort(-z[:, unit], kind="stable")[:SHOWN_EXAMPLES]
        for place, example in enumerate(strongest_first[z[strongest_first, unit] != 0], start=1):
            line = unit, f"{density[unit]:.6g}", place, rows[example], f"{z[example, unit]:.6g}"
            for name, cell in zip(cells, line, strict=True):
                cells[name].append(str(cell))
    table_columns.save(path, cells)


def draw_strongest(path: Path, z: np.ndarray, x: np.ndarray, atoms: np.ndarray) -> None:
    """Writes, for some units, the atom and the images in which the unit is most active."""
    units, examples = strongest(z)
    if not units:
        return
    shown = pictures.signed(atoms[units].reshape(-1, *x.shape[1:]))[:, None]
    captions: Sequence[str] = [f"{(z[:, j] != 0).mean():.1%}" for j in units]
    pictures.save_captioned_grid(
        path,
        np.concatenate([shown, x[examples]], axis=1),
        title="units: the share of images in which each is active, its atom, and the images with its largest values",
        rows=captions,
    )
