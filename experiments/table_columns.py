"""What the pages share whose data may be a table of mixed columns: a likelihood per column, and rows as text."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from genjax import data, networks, runs
from genjax.data import columns
from genjax.data.columns import Column
from genjax.errors import BadInput
from genjax.losses import (
    CATEGORICAL,
    GAUSSIAN,
    Likelihood,
    gaussian_likelihood,
    joint_likelihood,
    negative_binomial_likelihood,
    of_location,
    poisson_likelihood,
)
from genjax.models import vae
from genjax.types import Network


def require(dataset: data.Dataset, what: str, *, parameter: str) -> tuple[Column, ...]:
    """The columns of a data set that is a table.

    Raises:
      BadInput: it is none.
    """
    if dataset.columns is None:
        raise BadInput(
            f"{what} needs a table, such as wine, breast_cancer or table:PATH, not {dataset.name}", parameter=parameter
        )
    return dataset.columns


def _of_kind(kind: str, scale: Any, *, variance: float, learned: bool) -> Likelihood:
    if kind == "category":
        return of_location(CATEGORICAL) if learned else CATEGORICAL
    if kind == "count":
        return (negative_binomial_likelihood if learned else poisson_likelihood)(scale=scale)
    return GAUSSIAN if learned else gaussian_likelihood(variance=variance)


def build_likelihood(
    known: Sequence[Column], decoder: Network, *, variance: float, learned: bool
) -> tuple[Network, Likelihood]:
    """The product of the columns' likelihoods, and the decoder with the parameters that it learns.

    Args:
      decoder: returns a value for each feature.
      variance: of the standardised numbers; the initial one if it is learned.
      learned: whether each number has a variance that is learned, and each count a dispersion (then it is negative
        binomial, and Poisson otherwise).

    Returns:
      The decoder and the likelihood, whose `terms` are those of the columns.
    """

    def part(of_one: Sequence[Column]) -> tuple[int, Likelihood]:
        scale = of_one[0].scale if len(of_one) == 1 else np.array([column.scale for column in of_one], np.float32)
        kind = _of_kind(of_one[0].kind, scale, variance=variance, learned=learned)
        return sum(column.width for column in of_one), kind

    # neighbours of one kind are computed together
    together = groupby(known, key=lambda column: column.name if column.kind == "category" else (column.kind,))
    parts = {str(number): part(list(of_one)) for number, (_, of_one) in enumerate(together)}
    each = joint_likelihood({column.name: part([column]) for column in known})
    likelihood = joint_likelihood(parts)._replace(terms=each.terms)
    if learned:
        num_features = sum(column.width for column in known)
        decoder = networks.with_log_variance(decoder, initial=math.log(variance), num_features=num_features)
    return decoder, likelihood


def texts(x: Any, known: Sequence[Column]) -> dict[str, list[str]]:
    """The cells of features by column, numbers with six digits."""
    return {
        name: [f"{cell:.6g}" if cells.dtype.kind == "f" else str(cell) for cell in cells]
        for name, cells in columns.decode(x, known).items()
    }


def save(path: Path, cells: Mapping[str, Iterable[str]]) -> None:
    """Writes a .csv with these columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(cells)
        writer.writerows(zip(*cells.values(), strict=True))


def save_samples(trained: runs.Trained, num: int = 100) -> None:
    """Writes samples.csv: rows drawn from a VAE, x ~ p(x|z) and z ~ p(z), in the table's units."""
    classes = vae.num_classes(trained.parts)
    label = (np.arange(num) % classes,) if classes else ()
    assert trained.dataset.columns is not None
    x = vae.generate(trained.params, num, trained.key, *label, parts=trained.parts)
    save(Path(trained.workdir) / "samples.csv", texts(x, trained.dataset.columns))
