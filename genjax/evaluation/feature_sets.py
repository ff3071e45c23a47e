"""Checks of the arguments that measures have in common: features as finite vectors in double precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def vectors(features: ArrayLike, *, name: str = "features") -> np.ndarray:
    """Features as vectors in double precision, checked to be finite.

    Args:
      features: [N, ...]; flattened.
      name: of the caller's argument, for the message.

    Returns:
      [N, D] float64.

    Raises:
      ValueError: a scalar, or features that are NaN or infinite.
    """
    x = np.asarray(features, np.float64)
    if x.ndim == 0:
        raise ValueError(f"{name} must be an array [N, ...]; got a scalar")
    bad = x.size - int(np.isfinite(x).sum())
    if bad:
        raise ValueError(f"{name} must be finite; {bad} of {x.size} values are NaN or infinite")
    return x.reshape(len(x), -1) if x.size else x.reshape(len(x), 0)


def two_sets(x: ArrayLike, y: ArrayLike, *, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features of the same dimension, in double precision.

    Args:
      x: [N, D].
      y: [M, D].
      at_least: the smallest N and M that the caller can use.

    Returns:
      x [N, D] and y [M, D], float64.

    Raises:
      ValueError: other shapes, smaller sets, or features that are NaN or infinite.
    """
    shapes = np.shape(x), np.shape(y)
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1] or min(map(len, (x, y))) < at_least:
        raise ValueError(
            f"two sets of features [N, D] and [M, D] are needed, of at least {at_least} samples each; "
            f"got {shapes[0]} and {shapes[1]}"
        )
    return vectors(x), vectors(y)
