"""Distances between two sets of vectors, such as the codes of a batch and as many draws from their prior.

They are 0 in the mean, or in the limit of many vectors, where both sets come from one distribution, and are
differentiable in the vectors. The maximum mean discrepancy compares the sets by a kernel, a function of vectors
a [N, d] and b [M, d] whose values k(a_i, b_j) are [N, M]; the sliced Wasserstein distance compares projections.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.losses.spherical import UNIFORM_ON_SPHERE
from genjax.shapes import as_float
from genjax.types import Array, Key

Kernel = Callable[[Any, Any], Any]  # a [N, d], b [M, d] -> k(a_i, b_j) [N, M]


def _check_same_dimension(x: Array, y: Array) -> None:
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"x [N, d] and y [M, d] need the same dimension; got {x.shape} and {y.shape}")


def _squared_distances(a: Array, b: Array) -> Array:
    return jnp.sum(jnp.square(as_float(a)[:, None] - as_float(b)[None]), axis=-1)


def gaussian_kernel(scale: float | None = None) -> Kernel:
    """The Gaussian kernel, or radial basis function.

        k(a, b) = exp(-||a - b||^2 / (2 s^2))

    Args:
      scale: s; by default the root of the dimension d, so that 2 s^2 is the mean of ||a - b||^2 of two draws from
        N(0, I).

    Source: Zhao, Song & Ermon 2019.
    """

    def kernel(a: Array, b: Array) -> Array:
        s = math.sqrt(a.shape[-1]) if scale is None else scale
        return jnp.exp(_squared_distances(a, b) / (-2 * s**2))

    return kernel


def inverse_multiquadric_kernel(scales: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)) -> Kernel:
    """The sum of inverse multiquadric kernels of several scales, whose tails are heavier than a Gaussian's.

        k(a, b) = sum_s C_s / (C_s + ||a - b||^2),   C_s = 2 d s

    2 d is the mean of ||a - b||^2 of two draws from N(0, I) in d dimensions, the paper's only scale, C_1. Its authors'
    code has the sum of seven.

    Args:
      scales: s, positive.

    Source: Tolstikhin et al. 2018, section 4.
    """

    def kernel(a: Array, b: Array) -> Array:
        distance = _squared_distances(a, b)
        constants = [2 * a.shape[-1] * s for s in scales]
        return jnp.sum(jnp.stack([c / (c + distance) for c in constants]), axis=0)

    return kernel


def squared_mmd(x: Any, y: Any, kernel: Kernel) -> Any:
    """Unbiased estimate of the squared maximum mean discrepancy (MMD) of two distributions, from draws.

        MMD^2 = 1/(N (N - 1)) sum_{i != j} k(x_i, x_j) + 1/(M (M - 1)) sum_{i != j} k(y_i, y_j)
                - 2/(N M) sum_{i, j} k(x_i, y_j)

    A set of one vector has no pairs, and their mean counts as 0; with such a set the estimate is biased.

    Args:
      x: [N, d].
      y: [M, d].
      kernel: k, such as `gaussian_kernel()`.

    Returns:
      [], one number for both sets; it may be negative, and its mean is >= 0, and 0 where the distributions are equal.

    Raises:
      ValueError: vectors of different dimensions.

    Source: Gretton et al. 2012, equation 3; Tolstikhin et al. 2018, algorithm 2.
    """
    _check_same_dimension(x, y)

    def mean_of_pairs(values: Any) -> Any:
        num = len(values)
        return (values.sum() - values.trace()) / max(1, num * (num - 1))

    return mean_of_pairs(kernel(x, x)) + mean_of_pairs(kernel(y, y)) - 2 * kernel(x, y).mean()


def sliced_wasserstein(x: Array, y: Array, key: Key, *, num_projections: int = 50) -> Array:
    """Squared sliced 2-Wasserstein distance of two sets of vectors, estimated by random projections.

        SW_2^2 = E_v[W_2^2(v^T x, v^T y)],   W_2^2(a, b) = integral over 0 < u < 1 of (F_a^-1(u) - F_b^-1(u))^2,
        v uniform on the unit sphere

    with the quantile functions F^-1 of the numbers. For sets of as many vectors, W_2^2 = 1/N sum_i (a_(i) - b_(i))^2,
    with the numbers in ascending order, since sorting is the optimal transport in one dimension.

    Args:
      x: [N, d].
      y: [M, d].
      key: draws the projections v; in one dimension the distance is exact for every draw.
      num_projections: over how many of them the mean is taken.

    Returns:
      [], >= 0, in squared units of the vectors; one number for both sets. Draws from one distribution have a positive
      distance, which falls to 0 as N and M grow.

    Raises:
      ValueError: sets of different dimensions, or no projection.

    Source: Bonneel et al. 2015; Kolouri et al. 2018 (sliced-Wasserstein autoencoder).
    """
    _check_same_dimension(x, y)
    if num_projections < 1:
        raise ValueError(f"num_projections must be at least 1; got {num_projections}")
    x, y = as_float(x), as_float(y)
    directions = UNIFORM_ON_SPHERE.sample((), (num_projections, x.shape[-1]), key).astype(x.dtype)
    return transport_of_sorted(jnp.sort(x @ directions.T, axis=0), jnp.sort(y @ directions.T, axis=0))


def transport_of_sorted(a: Any, b: Any) -> Any:
    """Squared 2-Wasserstein distance of two sets of numbers in ascending order, as a mean over several such pairs.

        W_2^2(a, b) = integral over 0 < u < 1 of (F_a^-1(u) - F_b^-1(u))^2

    Args:
      a: [N, P], arrays of NumPy or JAX; each column is a set.
      b: [M, P].

    Returns:
      [], >= 0.
    """
    library = jnp if isinstance(a, jax.Array) else np
    if len(a) == len(b):
        return library.mean(library.square(a - b))
    # both quantile functions are constant between multiples of 1 / N and of 1 / M, here in units of 1 / (N M)
    ends = np.union1d(np.arange(1, len(a) + 1) * len(b), np.arange(1, len(b) + 1) * len(a))
    widths = library.asarray(np.diff(ends, prepend=0) / (len(a) * len(b)), a.dtype)
    gaps = library.square(a[(ends - 1) // len(b)] - b[(ends - 1) // len(a)])
    return library.sum(widths * library.mean(gaps, axis=1))
