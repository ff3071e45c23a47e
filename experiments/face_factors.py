"""What codes of rendered faces hold of the 46 factors that the faces were rendered from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from genjax.data import faces
from genjax.evaluation import probes


def targets(drawn: faces.Factors) -> dict[str, np.ndarray]:
    """Each factor as the target of a regression, [N, 1], or a point of a circle for a cyclic one, [N, 2]."""
    identity, attributes = np.asarray(drawn.identity), np.asarray(faces.attribute_targets(drawn.attributes))
    of_identity = {name: identity[:, [number]] for number, name in enumerate(faces.IDENTITY)}
    return of_identity | {name: attributes[:, places] for name, places in faces.attribute_places().items()}


def probe(codes: ArrayLike, test_codes: ArrayLike) -> dict[str, float]:
    """R^2 of each factor, by ridge regression on codes of the data set `faces`; of both coordinates of a cyclic one.

    Args:
      codes: of the training pictures in their order, [2000, d].
      test_codes: of the held-out ones, [500, d].
    """
    known, held_out = map(targets, faces.factors())
    found = probes.ridge_probe(
        codes,
        np.concatenate([*known.values()], axis=1),
        test_codes,
        np.concatenate([*held_out.values()], axis=1),
    )
    ends = np.cumsum([column.shape[1] for column in known.values()])
    return {name: float(part.mean()) for name, part in zip(known, np.split(found, ends[:-1]), strict=True)}


def means(r2: dict[str, float]) -> dict[str, float]:
    """The mean R^2 of the 19 factors of the identity, and of the 27 attributes."""
    groups = {"identity": faces.IDENTITY, "attribute": faces.ATTRIBUTES}
    return {f"{group}_factors_r2": float(np.mean([r2[name] for name in names])) for group, names in groups.items()}
