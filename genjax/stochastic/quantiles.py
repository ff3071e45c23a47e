"""Inverse-transform sampling with the quantile functions of common distributions, and normal draws from uniforms."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.shapes import check_rank
from genjax.types import Array, Key, Scalar


def open_uniform(shape: tuple[int, ...], key: Key, *, dtype: jax.typing.DTypeLike = float) -> Array:
    """U on the open interval (0, 1).

    `jax.random.uniform` returns k * eps for integers 0 <= k < 1 / eps, and so sometimes 0, where a quantile may be
    infinite. Half a step more, which is exact in the same precision, makes it symmetric and excludes both ends.
    """
    u = jax.random.uniform(key, shape, dtype)
    return u + jnp.finfo(u.dtype).eps / 2


def inverse_transform(
    quantile: Callable[[Array], Array], shape: tuple[int, ...], key: Key, *, dtype: jax.typing.DTypeLike = float
) -> Array:
    """Inverse-transform sampling: a uniform draw, mapped through a quantile function.

        X = F^-1(U),   U ~ U(0, 1),   has the distribution function F

    For example `inverse_transform(partial(rayleigh_quantile, scale=0.3), (1000,), key)`.

    Args:
      quantile: F^-1, elementwise; where F has jumps, the generalised inverse inf{x: F(x) >= u}.
      shape: shape of the draw.
      key: draws U.
      dtype: floating type of U.

    Returns:
      X: of the given shape.

    Source: Devroye 1986, section II.2.
    """
    return quantile(open_uniform(shape, key, dtype=dtype))


def exponential_quantile(u: Array, *, rate: Scalar = 1.0) -> Array:
    """Quantile function of the exponential distribution.

        F^-1(u) = -log(1 - u) / rate

    Args:
      u: [...], 0 <= u < 1.
      rate: > 0.

    Returns:
      [...], >= 0.
    """
    return -jnp.log1p(-u) / rate


def rayleigh_quantile(u: Array, *, scale: Scalar = 1.0) -> Array:
    """Quantile function of the Rayleigh distribution.

        F^-1(u) = b sqrt(-2 log(1 - u))

    Its density is (r / b^2) exp(-r^2 / 2 b^2), its mean b sqrt(pi / 2) and its variance (2 - pi / 2) b^2.

    Args:
      u: [...], 0 <= u < 1.
      scale: b, > 0.

    Returns:
      [...], >= 0.
    """
    return scale * jnp.sqrt(-2 * jnp.log1p(-u))


def logistic_quantile(u: Array, *, location: Scalar = 0.0, scale: Scalar = 1.0) -> Array:
    """Quantile function of the logistic distribution.

        F^-1(u) = location + scale * log(u / (1 - u))

    Args:
      u: [...], 0 < u < 1.
      location: mean and median.
      scale: > 0.

    Returns:
      [...].
    """
    return location + scale * (jnp.log(u) - jnp.log1p(-u))


def laplace_quantile(u: Array, *, location: Scalar = 0.0, scale: Scalar = 1.0) -> Array:
    """Quantile function of the Laplace distribution.

        F^-1(u) = location - scale * sign(u - 1/2) * log(2 min(u, 1 - u))

    Args:
      u: [...], 0 < u < 1.
      location: mean and median.
      scale: > 0.

    Returns:
      [...].
    """
    return location - scale * jnp.sign(u - 0.5) * jnp.log(2 * jnp.minimum(u, 1 - u))


def cauchy_quantile(u: Array, *, location: Scalar = 0.0, scale: Scalar = 1.0) -> Array:
    """Quantile function of the Cauchy distribution.

        F^-1(u) = location + scale * tan(pi (u - 1/2))

    It is computed with the cotangent of the nearer tail, which keeps the digits that u - 1/2 would lose there.

    Args:
      u: [...], 0 < u < 1.
      location: median.
      scale: > 0.

    Returns:
      [...].
    """
    return location + scale * jnp.sign(u - 0.5) / jnp.tan(jnp.pi * jnp.minimum(u, 1 - u))


def discrete_quantile(u: Array, *, probabilities: Array) -> Array:
    """Generalised inverse of a distribution over 0, ..., m - 1.

        F^-1(u) = inf{x: p_0 + ... + p_x >= u}

    An atom of probability 0 is never returned, wherever it stands and however the sums round. Atoms much smaller than
    the spacing of u (1e-7 in float32) are drawn too seldom or too often.

    Args:
      u: [...], 0 < u <= 1.
      probabilities: [m]; a positive multiple of them means the same.

    Returns:
      [...] int32.

    Raises:
      ValueError: probabilities that are not a vector.

    Source: Devroye 1986, section III.2.
    """
    check_rank(1, probabilities=probabilities)
    # A parallel cumulative sum may round differently from one entry to the next, so that it falls, or rises where
    # p = 0. With the running maximum over the other atoms F is monotone, and constant exactly where p = 0. Scaling u
    # by the last value of F, which may not be 1, keeps u = 1 on the last atom that has a probability.
    cdf = jax.lax.cummax(jnp.where(probabilities > 0, jnp.cumsum(probabilities), 0))
    return jnp.searchsorted(cdf, u * cdf[-1], side="left")


# The normal distribution from uniforms, by the central limit theorem


def irwin_hall(shape: tuple[int, ...], key: Key, *, num_uniforms: int) -> Array:
    """Sum of n independent uniforms, which is roughly normal.

        S = U_1 + ... + U_n,   of mean n / 2 and variance n / 12

    Args:
      shape: shape of the draw.
      key: draws the uniforms.
      num_uniforms: n.

    Returns:
      S: of the given shape, in (0, n).

    Source: Irwin 1927; Hall 1927.
    """
    return jnp.sum(open_uniform((*shape, num_uniforms), key), axis=-1)


def sum_of_uniforms_normal(shape: tuple[int, ...], key: Key, *, num_uniforms: int = 12) -> Array:
    """Roughly normal draw, N(0, 1), by the central limit theorem.

        Z = (S - n / 2) / sqrt(n / 12),   S a sum of n uniforms

    Its excess kurtosis is -6 / (5 n) and |Z| < sqrt(3 n); with n = 12, Z = S - 6 and its distribution function is
    within 0.0024 of the normal one. It shows the theorem at work; to draw normals use `sample_gaussian`.

    Args:
      shape: shape of the draw.
      key: draws the uniforms.
      num_uniforms: n.

    Returns:
      Z: of the given shape.
    """
    n = num_uniforms
    return (irwin_hall(shape, key, num_uniforms=n) - n / 2) / math.sqrt(n / 12)
