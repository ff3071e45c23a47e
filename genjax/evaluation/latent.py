"""What a latent space is like: which units carry information, how the codes fill it, and what lies between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from genjax.losses import GAUSSIAN, gaussian_kl_to_standard
from genjax.types import Array, Key

# The posteriors of a data set: mean [N, d] and log_variance [N, d] of q(z|x_n)


def active_units(mean: Array, *, threshold: float = 0.01) -> Array:
    """Which latent dimensions the data move: Var_x(E_q[z_j]) > threshold, [N, d] -> bool [d].

    Source: Burda, Grosse & Salakhutdinov 2016, section 5.2.
    """
    return jnp.var(mean, axis=0) > threshold


class Moments(NamedTuple):
    """The aggregate posterior's moments; those of the prior N(0, I) are 0 and 1."""

    mean: Array  # E[z_j], [d]
    second: Array  # E[z_j^2] = E[sigma_j^2 + mu_j^2], [d]


def aggregate_moments(mean: Array, log_variance: Array) -> Moments:
    """Moments of the aggregate posterior q(z) = (1/N) sum_n q(z|x_n), from the posteriors' [N, d]."""
    chex.assert_equal_shape([mean, log_variance])
    return Moments(jnp.mean(mean, axis=0), jnp.mean(jnp.exp(log_variance) + jnp.square(mean), axis=0))


class RateParts(NamedTuple):
    """What the mean rate is spent on, in nats: rate = information + divergence."""

    information: Array  # I(n; z), what a code says of its example; at most log N
    divergence: Array  # KL(q(z) || p(z)), how far the codes together are from the prior


def rate_parts(mean: Array, log_variance: Array, key: Key) -> RateParts:
    """Splits the mean rate into the codes' information and the aggregate posterior's divergence from the prior.

        (1/N) sum_n KL(q(z|x_n) || p(z)) = I(n; z) + KL(q(z) || p(z)),   I = E[log q(z|x_n) / q(z)]

    I by one draw of z for each example, q(z) by the sum over all N; the divergence is what is left of the rate.

    Args:
      mean, log_variance: [N, d].
      key: draws z.

    Returns:
      Two scalars; the first is an estimate, and the second then exact in their sum.

    Source: Hoffman & Johnson 2016 (ELBO surgery).
    """
    chex.assert_equal_shape([mean, log_variance])
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


# Ways through the latent space


def linear_walk(start: Array, end: Array, *, num: int) -> Array:
    """Points on the straight line, z(t) = (1 - t) a + t b at num even t from 0 to 1: [...] -> [num, ...]."""
    chex.assert_equal_shape([start, end])
    t = jnp.linspace(0, 1, num).reshape(-1, *(1,) * start.ndim)
    return (1 - t) * start[None] + t * end[None]


def spherical_walk(start: Array, end: Array, *, num: int) -> Array:
    """Points on the arc between two codes, for a Gaussian prior, whose mass lies near a sphere: [d] -> [num, d].

        z(t) = sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b,   w the angle between a and b

    Where the codes point the same way, or a code is 0, it is the straight line.

    Source: Shoemake 1985; White 2016 (Sampling generative networks).
    """
    chex.assert_equal_shape([start, end])
    norms = jnp.linalg.norm(start) * jnp.linalg.norm(end)
    cosine = jnp.clip(jnp.vdot(start, end) / jnp.where(norms > 0, norms, 1), -1, 1)
    angle = jnp.where(norms > 0, jnp.arccos(cosine), 0)
    t = jnp.linspace(0, 1, num)[:, None]
    straight = jnp.sin(angle) < 1e-4
    sine = jnp.where(straight, 1, jnp.sin(angle))
    arc = jnp.sin((1 - t) * angle) / sine * start[None] + jnp.sin(t * angle) / sine * end[None]
    return jnp.where(straight, linear_walk(start, end, num=num), arc)


def gaussian_levels(num: int) -> Array:
    """Phi^-1(u) at u = 1/2n, 3/2n, ..., (2n-1)/2n: coordinates that share the mass of N(0, 1) evenly, [num]."""
    return jax.scipy.special.ndtri((jnp.arange(num) + 0.5) / num)


def data_levels(codes: Array, num: int) -> Array:
    """The codes' own quantiles at the same u, for a latent space without a prior: [N, d] -> [num, d]."""
    return jnp.quantile(codes, (jnp.arange(num) + 0.5) / num, axis=0)


def grid(origin: Array, first: Array, second: Array, *, axes: tuple[int, int] = (0, 1)) -> Array:
    """A plane of codes: the first axis grows to the right, the second upwards, the others stay at the origin.

    Args:
      origin: [d].
      first, second: coordinates [n], [m] along the two axes.

    Returns:
      [m * n, d], row after row from the top.
    """
    right, up = jnp.meshgrid(first, second[::-1])
    codes = jnp.broadcast_to(origin[None], (right.size, len(origin)))
    return codes.at[:, axes[0]].set(right.ravel()).at[:, axes[1]].set(up.ravel())


def traversals(origin: Array, levels: Array) -> Array:
    """One walk for each dimension, the others at the origin: origin [d], levels [n, d] -> [d, n, d]."""
    moves = jnp.eye(len(origin), dtype=bool)[:, None]
    return jnp.where(moves, levels[None], origin[None, None])


def concept_vector(codes: Array, has: Array) -> Array:
    """The direction of a concept: mean code of those that have it less that of those that do not.

        c = mean{f(x) : concept} - mean{f(x) : no concept},   x' = g(f(x) + alpha c) has more of it

    Args:
      codes: f(x), [N, d].
      has: bool [N], some true and some false.

    Source: Larsen et al. 2016, section 4.3; White 2016.
    """
    share = has.astype(codes.dtype) / jnp.sum(has)
    rest = (~has).astype(codes.dtype) / jnp.sum(~has)
    return (share - rest) @ codes


# How regular it is: near codes give near images, and any code of the prior a valid one


def step_lengths(images: Array) -> Array:
    """How far each frame of a walk is from the one before: [T, ...] -> ||x_{t+1} - x_t||, [T - 1]."""
    return jnp.linalg.norm(jnp.diff(images, axis=0).reshape(len(images) - 1, -1), axis=1)


def largest_slope(decode: Callable[[Array], Array], codes: Array) -> Array:
    """The largest ||x_{t+1} - x_t|| / ||z_{t+1} - z_t|| along a walk of codes [T, d], x = decode(z); scalar."""
    return jnp.max(step_lengths(decode(codes)) / step_lengths(codes))
