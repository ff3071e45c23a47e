"""The von Mises-Fisher distribution on the unit sphere of R^d, d >= 2, the Gaussian's counterpart there.

    p(z) = C_d(k) e^{k mu^T z},   C_d(k) = k^nu / ((2 pi)^{d/2} I_nu(k)),   nu = d/2 - 1

The mean direction mu is a unit vector, and k >= 0 is the concentration: 0 makes it uniform. I_nu is the modified Bessel
function of the first kind.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import Array, Key

_FURTHER = 20  # orders above the wanted one at which the recurrence of Bessel ratios starts
_PROPOSALS = 100  # at most, of which each is accepted with a probability of 0.66 or more


class _Ratios(NamedTuple):
    """I_{j+1}(k) / I_j(k) in two forms, each exact where the other one cancels."""

    scaled: Array  # divided by k, of the orders j = nu, nu - 1, ..., nu_0, which is 0 or 1/2: [orders, ...]
    gap: Array  # 1 less the ratio, of j = nu: [...]


def _ratios(concentration: Array, latent_dim: int) -> _Ratios:
    """The ratios r_j of consecutive Bessel functions, by their recurrence I_{j-1} = (2 j / k) I_j + I_{j+1}.

    It is stable downwards. At its start r' = 1 - r^2 - (2 j + 1) r / k is solved for r, with the derivative r' of
    the approximation of Amos (1974), r = k / (j + 1/2 + sqrt((j + 1/2) (j + 3/2) + k^2)).
    """
    k, nu = concentration, latent_dim / 2 - 1
    order = nu + _FURTHER
    a, square = order + 0.5, (order + 0.5) * (order + 1.5)
    root = jnp.sqrt(square + jnp.square(k))
    slope = (a * root + square) / (root * jnp.square(a + root))
    rest = 1 - slope
    root = jnp.sqrt(a**2 + jnp.square(k) * rest)
    ratio = rest / (a + root)
    gap = (a + (a**2 + jnp.square(k) * rest * slope) / (root + k * rest)) / (a + root)

    def down(carried: tuple[Array, Array], order: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        ratio, gap = carried
        lower = 1 / (2 * order + jnp.square(k) * ratio), (2 * order - k * gap) / (2 * order + k - k * gap)
        return lower, lower

    orders = jnp.arange(_FURTHER + int(nu), dtype=k.dtype)
    _, (ratios, gaps) = jax.lax.scan(down, (ratio, gap), order - orders)
    return _Ratios(ratios[_FURTHER - 1 :], gaps[_FURTHER - 1])


def mean_resultant_length(concentration: Array, latent_dim: int) -> Array:
    """The length of the mean of a von Mises-Fisher distribution.

        A_d(k) = I_{d/2}(k) / I_{d/2-1}(k),   E[z] = A_d(k) mu

    Args:
      concentration: k >= 0, [...].
      latent_dim: d >= 2.

    Returns:
      [...], from 0 at k = 0 towards 1.

    Source: Mardia & Jupp 2000, equation 9.3.8.
    """
    return concentration * _ratios(concentration, latent_dim).scaled[0]


def mean_resultant_gap(concentration: Array, latent_dim: int) -> Array:
    """1 - A_d(k), as exact for large k, where it is about (d - 1) / (2 k): [...] in (0, 1]."""
    return _ratios(concentration, latent_dim).gap


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def log_scaled_bessel(concentration: Array, latent_dim: int) -> Array:
    """The logarithm of the Bessel function in the density, scaled so that it is finite at 0 and grows slowly.

        log(I_nu(k) k^{-nu} e^{-k}),   nu = d/2 - 1

    It is that of I_0 or I_{1/2} and the sum of the logarithms of the ratios of consecutive orders, so that it is as
    exact for any d. Its derivative is A_d(k) - 1.

    Args:
      concentration: k >= 0, [...].
      latent_dim: d >= 2.

    Returns:
      [...].
    """
    k = concentration
    if latent_dim % 2:  # I_{1/2}(k) = sqrt(2 / (pi k)) sinh k
        positive = jnp.where(k > 0, k, 1.0)
        ratio = jnp.where(k > 0, -jnp.expm1(-2 * positive) / (2 * positive), 1.0)
        first = jnp.log(ratio) + 0.5 * math.log(2 / math.pi)
    else:
        first = jnp.log(jax.scipy.special.i0e(k))
    return first + jnp.sum(jnp.log(_ratios(k, latent_dim).scaled[1:]), axis=0)


@log_scaled_bessel.defjvp
def _log_scaled_bessel_jvp(latent_dim: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (k,), (tangent,) = primals, tangents
    return log_scaled_bessel(k, latent_dim), -mean_resultant_gap(k, latent_dim) * tangent


def sample_von_mises_fisher(mean_direction: Array, concentration: Array, key: Key) -> Array:
    """Reparameterised draw from a von Mises-Fisher distribution.

        z = w mu + sqrt(1 - w^2) v,   w = mu^T z ~ p(w) propto e^{k w} (1 - w^2)^{(d-3)/2}

    with v uniform among the unit vectors that are orthogonal to mu. The one number w comes from Ulrich's rejection
    sampler; its derivative is that of its quantile function, -(dF/dk) / p(w) (Figurnov, Mohamed & Mnih 2018), which is
    the mean of both terms of Davidson et al.'s gradient, the second of which is a score-function estimate.

    Args:
      mean_direction: mu, [B, d], unit vectors, d >= 2.
      concentration: k >= 0, [B].
      key: split in two, for w and for v. Proposal i of w draws for all rows from `fold_in(its key, i)`; the loop ends
        when all are accepted. A row that none of 100 proposals suits (a probability below 1e-40) keeps the first one.

    Returns:
      z: [B, d], unit vectors, differentiable in both.

    Raises:
      ValueError: shapes that do not fit.

    Source: Davidson et al. 2018, algorithms 1 and 2; Wood 1994.
    """
    num, latent_dim = mean_direction.shape
    if concentration.shape != (num,) or latent_dim < 2:
        raise ValueError(
            f"mean_direction [B, d], d >= 2, and concentration [B] do not fit: {mean_direction.shape} and "
            f"{concentration.shape}"
        )
    w_key, v_key = jax.random.split(key)
    fixed = jax.lax.stop_gradient(concentration)
    gap = _moving_with(_rejection_sample(fixed, latent_dim, w_key), concentration, latent_dim)[:, None]
    noise = jax.random.normal(v_key, mean_direction.shape, mean_direction.dtype)
    orthogonal = noise - jnp.sum(noise * mean_direction, axis=1, keepdims=True) * mean_direction
    v = orthogonal * jax.lax.rsqrt(jnp.sum(jnp.square(orthogonal), axis=1, keepdims=True))
    return (1 - gap) * mean_direction + jnp.sqrt(gap * (2 - gap)) * v


def _rejection_sample(concentration: Array, latent_dim: int, key: Key) -> Array:
    """1 - w for each concentration [B], which is exact where w rounds to 1; strictly between 0 and 2."""
    k, m = concentration, latent_dim - 1
    root = jnp.sqrt(4 * jnp.square(k) + m**2)
    b = m / (2 * k + root)
    a = (m + 2 * k + root) / 4
    d = 4 * a * b / (1 + b) - m * math.log(m)

    def propose(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, gap, accepted = state
        normal_key, uniform_key = jax.random.split(jax.random.fold_in(key, number))
        noise = jax.random.normal(normal_key, (k.shape[0], latent_dim), k.dtype)
        # (1 + first coordinate of a uniform unit vector) / 2 is Beta(m/2, m/2)
        beta = (1 + noise[:, 0] * jax.lax.rsqrt(jnp.sum(jnp.square(noise), axis=1))) / 2
        t = 2 * a * b / (1 - (1 - b) * beta)
        log_u = jnp.log1p(-jax.random.uniform(uniform_key, k.shape, k.dtype))
        suits = m * jnp.log(t) - t + d >= log_u
        proposed = 2 * b * beta / (1 - (1 - b) * beta)
        taken = ~accepted & (suits | (number == 0))
        return number + 1, jnp.where(taken, proposed, gap), accepted | suits

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        return (state[0] < _PROPOSALS) & ~jnp.all(state[2])

    start = jnp.zeros([], jnp.int32), jnp.ones_like(k), jnp.zeros(k.shape, bool)
    _, gap, _ = jax.lax.while_loop(unfinished, propose, start)
    smallest = jnp.finfo(k.dtype).eps ** 2  # its square root has a finite derivative
    return jnp.clip(gap, smallest, 2 - jnp.finfo(k.dtype).eps)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _moving_with(gap: Array, concentration: Array, latent_dim: int) -> Array:
    """The draw 1 - w as a function of the concentration, along its quantile function."""
    return gap


@_moving_with.defjvp
def _moving_with_jvp(
    latent_dim: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    gap = _moving_with(*primals, latent_dim)
    return gap, tangents[0] + _gap_slope(gap, primals[1], latent_dim) * tangents[1]


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


def _gap_slope(gap: Array, concentration: Array, latent_dim: int) -> Array:
    """The derivative of 1 - w in k at a fixed value of the distribution function.

        dw/dk = int_w^1 (t - A_d(k)) p(t) dt / p(w) = -int_{-1}^w (t - A_d(k)) p(t) dt / p(w)

    by quadrature over the shorter side of w. With 1 - t = (1 - w) s^2, or 1 + t = (1 + w) s^2, the integrand is smooth.
    """
    k, power = concentration[:, None], (latent_dim - 3) / 2
    s = jnp.asarray((_NODES + 1) / 2, k.dtype)[None]
    weight = jnp.asarray(_WEIGHTS / 2, k.dtype)[None]
    upper = (gap < 1)[:, None]
    side = jnp.where(upper, gap[:, None], 2 - gap[:, None])  # the distance of w to its end of [-1, 1]
    near = side * jnp.square(s)  # the distance of t to that end
    log_ratio = jnp.where(upper, 1.0, -1.0) * k * (side - near)
    log_ratio += power * (jnp.log(2 - near) - jnp.log(2 - side)) + (latent_dim - 2) * jnp.log(s)
    mean_gap = mean_resultant_gap(k, latent_dim)
    moment = jnp.where(upper, mean_gap - near, near - 2 + mean_gap)  # t - A_d(k)
    slope = jnp.sum(weight * 2 * side * moment * jnp.exp(log_ratio), axis=1)
    return jnp.where(upper[:, 0], -slope, slope)
