"""A product of matrices whose gradient in the second one is a fast product too."""

from __future__ import annotations

from jax import lax

from genjax.types import Array


def product(x: Array, kernel: Array) -> Array:
    """x @ kernel, whose gradient in the kernel is taken in the order that is up to twice as fast on a CPU.

    It is the order whose result has no more rows than columns: x^T dy with more features than channels, else dy^T x.

    Args:
      x: [..., C].
      kernel: [C, O].

    Returns:
      [..., O].
    """
    channels, features = kernel.shape
    if channels < features:
        return x @ kernel
    transposed = lax.optimization_barrier(kernel.T)  # or XLA undoes it
    return lax.dot_general(x, transposed, (((x.ndim - 1,), (1,)), ((), ())))
