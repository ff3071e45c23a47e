"""Measures of a latent space: which units are used, how the codes fill it, and walks through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.losses import GAUSSIAN, RateSplit, aggregate_log_density, gaussian_kl_to_standard
from genjax.shapes import as_float, check_same_shape
from genjax.types import Array, Key

# The posteriors of a data set: mean [N, d] and log_variance [N, d] of q(z|x_n)


def active_units(mean: Array, *, threshold: float = 0.01) -> Array:
    """Latent dimensions that depend on the data.

        Var_x(E_q[z_j]) > threshold

    Args:
      mean: of the posteriors, [N, d].
      threshold: in squared units of the code.

    Returns:
      [d] bool.

    Source: Burda, Grosse & Salakhutdinov 2016, section 5.2.
    """
    return jnp.var(mean, axis=0) > threshold


class Moments(NamedTuple):
    """Moments of the aggregate posterior; those of the prior N(0, I) are 0 and 1."""

    mean: Array  # E[z_j], [d]
    second: Array  # E[z_j^2] = E[sigma_j^2 + mu_j^2], [d]


def aggregate_moments(mean: Array, log_variance: Array) -> Moments:
    """Moments of the aggregate posterior, q(z) = (1/N) sum_n q(z|x_n).

        E[z_j] = mean_n mu_nj,   E[z_j^2] = mean_n (sigma_nj^2 + mu_nj^2)

    Args:
      mean, log_variance: of the posteriors, [N, d].

    Returns:
      Both moments, [d].

    Raises:
      ValueError: shapes that differ.
    """
    check_same_shape(mean=mean, log_variance=log_variance)
    return Moments(jnp.mean(mean, axis=0), jnp.mean(jnp.exp(log_variance) + jnp.square(mean), axis=0))


class RateParts(NamedTuple):
    """The two parts of the mean rate, in nats: rate = information + divergence."""

    information: Array  # I(n; z), of a code about its example; at most log N
    divergence: Array  # KL(q(z) || p(z)), of all codes together from the prior


def rate_parts(mean: Array, log_variance: Array, key: Key) -> RateParts:
    """Splits the mean rate into the codes' information and the aggregate posterior's divergence from the prior.

        (1/N) sum_n KL(q(z|x_n) || p(z)) = I(n; z) + KL(q(z) || p(z)),   I = E[log(q(z|x_n) / q(z))]

    I is estimated from one draw of z for each example, with q(z) summed over all N; the divergence is the rest of the
    rate.

    Args:
      mean, log_variance: of the posteriors, [N, d].
      key: draws z.

    Returns:
      Two scalars, in nats; the first is an estimate, and their sum is exact.

    Raises:
      ValueError: shapes that differ.

    Source: Hoffman & Johnson 2016.
    """
    check_same_shape(mean=mean, log_variance=log_variance)
    num = len(mean)
    noise = jax.random.normal(key, mean.shape, mean.dtype)

    def log_ratio(own: tuple[Array, Array, Array]) -> Array:
        mu, s, eps = own
        z = jnp.broadcast_to((mu + jnp.exp(s / 2) * eps)[None], mean.shape)
        log_q = -GAUSSIAN.negative_log_likelihood((mean, log_variance), z)  # of this z under every example, [N]
        log_own = -GAUSSIAN.negative_log_likelihood((mu[None], s[None]), z[:1])[0]
        return log_own - (jax.nn.logsumexp(log_q) - jnp.log(num))

    information = jnp.mean(jax.lax.map(log_ratio, (mean, log_variance, noise)))
    return RateParts(information, jnp.mean(gaussian_kl_to_standard(mean, log_variance)) - information)


def rate_split(mean: Array, log_variance: Array, key: Key) -> RateSplit:
    """Splits the mean rate into information, total correlation and the divergence of each dimension from the prior.

        (1/N) sum_n KL(q(z|x_n) || p(z)) = I(n; z) + KL(q(z) || prod_k q(z_k)) + sum_k KL(q(z_k) || p(z_k))

    The first two are estimated from one draw of z for each example, with q(z) and q(z_k) summed over all N; the last
    is the rest of the rate.

    Args:
      mean, log_variance: of the posteriors, [N, d].
      key: draws z.

    Returns:
      Three scalars, in nats; the first two are estimates, and the sum of the three is exact.

    Raises:
      ValueError: shapes that differ.

    Source: Chen et al. 2018, equation 2.
    """
    check_same_shape(mean=mean, log_variance=log_variance)
    z = GAUSSIAN.sample((mean, log_variance), key)
    log_weights = jnp.full((1, len(mean)), -jnp.log(len(mean)))

    def log_densities(z: Array) -> tuple[Array, Array]:
        log_q, log_marginals = aggregate_log_density(z[None], mean, log_variance, log_weights)
        return log_q[0], jnp.sum(log_marginals[0])

    log_q, log_product = jax.lax.map(log_densities, z)
    information = jnp.mean(-GAUSSIAN.negative_log_likelihood((mean, log_variance), z) - log_q)
    correlation = jnp.mean(log_q - log_product)
    rate = jnp.mean(gaussian_kl_to_standard(mean, log_variance))
    return RateSplit(information, correlation, rate - information - correlation)


# Walks through the latent space


def linear_walk(start: Array, end: Array, *, num: int) -> Array:
    """Points on the straight line between two codes.

        z(t) = (1 - t) a + t b,   at evenly spaced t from 0 to 1

    Args:
      start, end: a and b, [...].
      num: of points.

    Returns:
      [num, ...].

    Raises:
      ValueError: shapes that differ.
    """
    check_same_shape(start=start, end=end)
    t = jnp.linspace(0, 1, num).reshape(-1, *(1,) * start.ndim)
    return (1 - t) * start[None] + t * end[None]


def spherical_walk(start: Array, end: Array, *, num: int) -> Array:
    """Points on the arc between two codes, for a Gaussian prior, whose mass lies near a sphere.

        z(t) = sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b,   w the angle between a and b

    Where the codes have the same direction, or one of them is 0, it is the straight line.

    Args:
      start, end: a and b, [d].
      num: of points.

    Returns:
      [num, d].

    Raises:
      ValueError: shapes that differ.

    Source: Shoemake 1985; White 2016.
    """
    check_same_shape(start=start, end=end)
    norms = jnp.linalg.norm(start) * jnp.linalg.norm(end)
    cosine = jnp.clip(jnp.vdot(start, end) / jnp.where(norms > 0, norms, 1), -1, 1)
    angle = jnp.where(norms > 0, jnp.arccos(cosine), 0)
    t = jnp.linspace(0, 1, num)[:, None]
    straight = jnp.sin(angle) < 1e-4
    sine = jnp.where(straight, 1, jnp.sin(angle))
    arc = jnp.sin((1 - t) * angle) / sine * start[None] + jnp.sin(t * angle) / sine * end[None]
    return jnp.where(straight, linear_walk(start, end, num=num), arc)


def gaussian_levels(num: int) -> Array:
    """Coordinates that divide the mass of N(0, 1) evenly.

        Phi^-1(u),   u = 1/2n, 3/2n, ..., (2n-1)/2n

    Args:
      num: n.

    Returns:
      [num], increasing.
    """
    return jax.scipy.special.ndtri((jnp.arange(num) + 0.5) / num)


def data_levels(codes: Array, num: int) -> Array:
    """Quantiles of the codes in each dimension, for a latent space without a prior.

        F_j^-1(u),   u = 1/2n, 3/2n, ..., (2n-1)/2n

    Args:
      codes: [N, d].
      num: n.

    Returns:
      [num, d], increasing along the first axis.
    """
    return jnp.quantile(codes, (jnp.arange(num) + 0.5) / num, axis=0)


def grid(origin: Array, first: Array, second: Array, *, axes: tuple[int, int] = (0, 1)) -> Array:
    """Codes on a plane: the first coordinate grows to the right, the second upwards, the others stay at the origin.

    Args:
      origin: [d].
      first, second: coordinates [n], [m] along the two axes.
      axes: the two dimensions that vary.

    Returns:
      [m * n, d], row after row from the top.
    """
    right, up = jnp.meshgrid(first, second[::-1])
    codes = jnp.broadcast_to(origin[None], (right.size, len(origin)))
    return codes.at[:, axes[0]].set(right.ravel()).at[:, axes[1]].set(up.ravel())


def traversals(origin: Array, levels: Array) -> Array:
    """One walk along each dimension, with the others at the origin.

    Args:
      origin: [d].
      levels: coordinates along each dimension, [n, d].

    Returns:
      [d, n, d].
    """
    moves = jnp.eye(len(origin), dtype=bool)[:, None]
    return jnp.where(moves, levels[None], origin[None, None])


def concept_vector(codes: Array, has: Array) -> Array:
    """Direction of a concept: mean code of the examples that have it, less that of the others.

        c = mean{f(x) : concept} - mean{f(x) : no concept},   x' = g(f(x) + alpha c) has more of it

    Args:
      codes: f(x), [N, d].
      has: [N] bool, some true and some false; otherwise the vector is NaN.

    Returns:
      c, [d].

    Source: Larsen et al. 2016, section 4.3; White 2016.
    """
    share = has.astype(codes.dtype) / jnp.sum(has)
    rest = (~has).astype(codes.dtype) / jnp.sum(~has)
    return (share - rest) @ codes


# Regularity: near codes give near images


def step_lengths(images: Array) -> Array:
    """Distance between consecutive frames of a walk.

        ||x_{t+1} - x_t||

    Args:
      images: x, [T, ...].

    Returns:
      [T - 1], >= 0, in units of x.
    """
    return jnp.linalg.norm(jnp.diff(as_float(images), axis=0).reshape(len(images) - 1, -1), axis=1)


def largest_slope(decode: Callable[[Array], Array], codes: Array) -> Array:
    """Largest slope of a decoder along a walk of codes.

        max_t ||x_{t+1} - x_t|| / ||z_{t+1} - z_t||,   x = decode(z)

    Args:
      decode: [T, d] -> [T, ...].
      codes: z, [T, d], where consecutive codes differ.

    Returns:
      [], >= 0.
    """
    return jnp.max(step_lengths(decode(codes)) / step_lengths(codes))
