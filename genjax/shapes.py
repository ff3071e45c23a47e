"""Guards for arguments: one kind of error for shapes that do not fit, and integers made safe to compute with.

They look at shapes and dtypes only, so a function compiled by `jax.jit` runs them once, while it is traced.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def check_same_shape(**arrays: Any) -> None:
    """Checks that arrays have the same shape.

    Args:
      **arrays: the arrays, or pytrees of arrays, by the names of the caller's arguments.

    Raises:
      ValueError: the shapes differ; the message has every name with its shape.
    """
    shapes = {name: jax.tree.map(jnp.shape, array) for name, array in arrays.items()}
    first, *others = shapes.values()
    if any(shape != first for shape in others):
        raise ValueError(f"{', '.join(shapes)} need the same shape; got {_listed(shapes)}")


def check_rank(rank: int, **arrays: Any) -> None:
    """Checks that each array has `rank` axes.

    Args:
      rank: the number of axes.
      **arrays: the arrays by the names of the caller's arguments.

    Raises:
      ValueError: an array has another number of axes; the message has every name with its shape.
    """
    shapes = {name: jnp.shape(array) for name, array in arrays.items()}
    if any(len(shape) != rank for shape in shapes.values()):
        raise ValueError(f"the number of axes must be {rank}; got {_listed(shapes)}")


def as_float(array: Any) -> Any:
    """Makes an array of JAX's of any numbers, and integers and booleans floating-point.

    Differences and squares of uint8 wrap around at 256, and those of pictures stored as bytes would be wrong. NumPy
    would compare in float64 what JAX computes with in float32, where a number below 1.2e-38 is 0.

    Args:
      array: [...], of any dtype.

    Returns:
      [...], float32 (float64 in double precision) where the dtype was not floating-point.
    """
    return jnp.asarray(array) if jnp.issubdtype(jnp.result_type(array), jnp.inexact) else jnp.asarray(array, float)


def _listed(shapes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
