"""Annealed importance sampling: bounds on both sides of the log-likelihood of a latent-variable model.

Chains move from the prior to the posterior through densities between the two, and back:

    f_t(z) = p(z) p(x|z)^{b_t},   0 = b_0 < b_1 < ... < b_T = 1
    forward:  z_0 ~ p(z),    z_t ~ T_t(z_{t-1}), t = 1, ..., T
    reverse:  z_T ~ p(z|x),  z_{t-1} ~ T_t(z_t), t = T, ..., 1
    log w = sum_t log f_t(z_{t-1}) - log f_{t-1}(z_{t-1}) = sum_t (b_t - b_{t-1}) log p(x|z_{t-1})

T_t is a step of Hamiltonian Monte Carlo, which leaves f_t invariant and is its own reversal. Then E[w] = p(x) of the
forward chains (Neal 2001, equation 11) and E[1 / w] = 1 / p(x) of the reverse ones, so that by Jensen's inequality

    E[log w] of forward chains  <=  log p(x)  <=  E[log w] of reverse chains

A reverse chain needs a draw from the posterior itself, which is known where x was drawn with its z from the model
(Grosse, Ghahramani & Adams 2015). For such x the two bounds tell how accurate the forward one is (Wu, Burda,
Salakhutdinov & Grosse 2017, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.evaluation.likelihood import Estimate, log_likelihood
from genjax.types import Array, Key

ACCEPTANCE = 0.65
"""The mean acceptance that step sizes are tuned to (Neal 2011, section 5.4.4.3)."""

LOG_RATE, FIRST_SIZE = 0.1, 0.3  # of the tuning: nats per transition, and the step size at the prior


class Path(NamedTuple):
    """The ends of the path at B examples x: a prior, and the likelihood that is added to it.

    `sample_prior(key)` -> z ~ p(z), [B, d], one for each example; `log_prior(z)` -> [B]; `log_likelihood(z)` -> log
    p(x|z), [B], of row i under example i. All of z's space is allowed, and both are differentiable in it.
    """

    sample_prior: Callable[[Key], Array]
    log_prior: Callable[[Array], Array]
    log_likelihood: Callable[[Array], Array]

    def log_density(self, b: Array) -> Callable[[Array], Array]:
        """The density between the two, up to a constant: z -> log p(z) + b log p(x|z), [B]."""
        return lambda z: self.log_prior(z) + b * self.log_likelihood(z)


def temperatures(num_steps: int, *, steepness: float = 4.0) -> Array:
    """Inverse temperatures by a sigmoid, close to each other at both ends.

        b_t = (sigm(k u_t) - sigm(-k)) / (sigm(k) - sigm(-k)),   u_t = 2 t / T - 1

    Args:
      num_steps: T.
      steepness: k.

    Returns:
      b, [T + 1], from 0 to 1.

    Raises:
      ValueError: fewer than one step.

    Source: Grosse, Ghahramani & Adams 2015, section 6.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")
    s = jax.nn.sigmoid(jnp.linspace(-steepness, steepness, num_steps + 1))
    return (s - s[0]) / (s[-1] - s[0])


def hamiltonian_step(
    log_density: Callable[[Array], Array], z: Array, step_size: Array, key: Key, *, num_leapfrog: int
) -> tuple[Array, Array]:
    """One transition of Hamiltonian Monte Carlo, which leaves a density invariant and is reversible.

        r ~ N(0, I),   (z', r') = L leapfrog steps of size eps from (z, r),   H(z, r) = -log f(z) + 1/2 ||r||^2
        z <- z' with probability a = min(1, e^{H(z, r) - H(z', r')}), else z

    A leapfrog step is r <- r + (eps/2) grad log f(z), z <- z + eps r, r <- r + (eps/2) grad log f(z). The size of each
    transition is drawn from 0.8 eps to 1.2 eps, so that no trajectory of fixed length returns to its start.

    Args:
      log_density: z -> log f(z) up to a constant, [B].
      z: [B, d], a chain in each row.
      step_size: eps of each chain, [B]; it must not depend on z.
      key: draws r, the sizes, and what is accepted.
      num_leapfrog: L.

    Returns:
      (z after the transition [B, d], a [B] in [0, 1]).

    Source: Neal 2011, figure 2 and section 5.4.2.2.
    """
    momentum_key, size_key, accept_key = jax.random.split(key, 3)
    size = step_size * jax.random.uniform(size_key, step_size.shape, step_size.dtype, 0.8, 1.2)

    def value_and_slope(z: Array) -> tuple[Array, Array]:
        value, pull_back = jax.vjp(log_density, z)
        return value, pull_back(jnp.ones_like(value))[0]

    def leapfrog(index: int, state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        del index
        z, r, _, slope = state
        r = r + size[:, None] / 2 * slope
        z = z + size[:, None] * r
        value, slope = value_and_slope(z)
        return z, r + size[:, None] / 2 * slope, value, slope

    r = jax.random.normal(momentum_key, z.shape, z.dtype)
    value, slope = value_and_slope(z)
    moved, turned, new_value, _ = jax.lax.fori_loop(0, num_leapfrog, leapfrog, (z, r, value, slope))
    log_ratio = new_value - value + jnp.sum(jnp.square(r) - jnp.square(turned), axis=1) / 2
    acceptance = jnp.where(jnp.isnan(log_ratio), 0, jnp.exp(jnp.minimum(log_ratio, 0)))  # a trajectory that diverged
    accepted = jax.random.uniform(accept_key, acceptance.shape, acceptance.dtype) < acceptance
    return jnp.where(accepted[:, None], moved, z), acceptance


def tuned_step_sizes(path: Path, b: Array, key: Key, *, num_leapfrog: int = 10) -> Array:
    """Step sizes by one pilot chain for each example, at which about `ACCEPTANCE` of the transitions are accepted.

        log eps_t = log eps_{t-1} + 0.1 (a_{t-1} - 0.65)

    They depend on x and on the pilot chains alone, so that chains with other keys keep their weights unbiased, which
    step sizes adapted to the chains' own acceptance would not.

    Args:
      path: prior and likelihood.
      b: `temperatures`, [T + 1].
      key: draws the pilot chains.
      num_leapfrog: leapfrog steps in a transition.

    Returns:
      eps, [T, B], > 0.
    """
    start_key, chain_key = jax.random.split(key)

    def move(state: tuple[Array, Array], step: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (z, log_size), (b, key) = state, step
        z, acceptance = hamiltonian_step(path.log_density(b), z, jnp.exp(log_size), key, num_leapfrog=num_leapfrog)
        return (z, log_size + LOG_RATE * (acceptance - ACCEPTANCE)), jnp.exp(log_size)

    z = path.sample_prior(start_key)
    first = jnp.full(z.shape[:1], jnp.log(FIRST_SIZE), z.dtype)
    return jax.lax.scan(move, (z, first), (b[1:], jax.random.split(chain_key, len(b) - 1)))[1]


def forward_sampler(path: Path, b: Array, step_sizes: Array, *, num_leapfrog: int = 10) -> Callable[[Key], Array]:
    """Draws of the log-weight of a chain from the prior to the posterior: E[w] = p(x).

        log w = sum_t (b_t - b_{t-1}) log p(x|z_{t-1}),   z_0 ~ p(z),   z_t ~ T_t(z_{t-1})

    At T = 1 it is the log-likelihood log p(x|z) at a draw from the prior.

    Args:
      path: prior and likelihood.
      b: `temperatures`, [T + 1].
      step_sizes: of T_1, ..., T_T, [T, B], independent of the chains.
      num_leapfrog: leapfrog steps in a transition.

    Returns:
      `log_weight(key) -> [B]`, in nats, for `likelihood.log_likelihood`, whose estimate is below log p(x) in
      expectation.

    Source: Neal 2001, equation 11; Wu et al. 2017, algorithm 1.
    """

    def log_weight(key: Key) -> Array:
        start_key, chain_key = jax.random.split(key)

        def move(state: tuple[Array, Array], step: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
            (z, log_w), (before, b, size, key) = state, step
            log_w += (b - before) * path.log_likelihood(z)
            return (hamiltonian_step(path.log_density(b), z, size, key, num_leapfrog=num_leapfrog)[0], log_w), None

        z = path.sample_prior(start_key)
        steps = b[:-1], b[1:], step_sizes, jax.random.split(chain_key, len(step_sizes))
        return jax.lax.scan(move, (z, jnp.zeros(len(z), z.dtype)), steps)[0][1]

    return log_weight


def reverse_sampler(
    path: Path, z: Array, b: Array, step_sizes: Array, *, num_leapfrog: int = 10
) -> Callable[[Key], Array]:
    """Draws of the log-weight of a chain from the posterior to the prior: E[1 / w] = 1 / p(x).

        log w = sum_t (b_t - b_{t-1}) log p(x|z_{t-1}),   z_T ~ p(z|x),   z_{t-1} ~ T_t(z_t)

    Args:
      path: prior and likelihood.
      z: draws from the posteriors, [B, d]: the codes that x was drawn from.
      b: `temperatures`, [T + 1].
      step_sizes: of T_1, ..., T_T, [T, B], independent of the chains.
      num_leapfrog: leapfrog steps in a transition.

    Returns:
      `log_weight(key) -> [B]`, in nats, for `upper_bound`. All its chains start at the same z.

    Source: Grosse, Ghahramani & Adams 2015, section 3.1.
    """

    def log_weight(key: Key) -> Array:
        def move(state: tuple[Array, Array], step: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
            (z, log_w), (before, b, size, key) = state, step
            z, _ = hamiltonian_step(path.log_density(b), z, size, key, num_leapfrog=num_leapfrog)
            return (z, log_w + (b - before) * path.log_likelihood(z)), None

        steps = b[:-1], b[1:], step_sizes, jax.random.split(key, len(step_sizes))
        return jax.lax.scan(move, (z, jnp.zeros(len(z), z.dtype)), steps, reverse=True)[0][1]

    return log_weight


def upper_bound(log_weight: Callable[[Key], Array], key: Key, *, num_samples: int, chunk_size: int = 50) -> Estimate:
    """Log-likelihood of each example from above, by weights of reverse chains.

        log p(x) ~= -log (1/k) sum_i 1 / w_i

    It is above log p(x) in expectation over z ~ p(z|x) and the chains.

    Args:
      log_weight: of `reverse_sampler`.
      key: draws the chains.
      num_samples: k.
      chunk_size: chains held at a time.

    Returns:
      The estimates [B], in nats, with the standard error that is due to the chains, given the z at which they start.

    Raises:
      ValueError: as `likelihood.log_likelihood`.

    Source: Wu et al. 2017, section 3.
    """
    found = log_likelihood(lambda key: -log_weight(key), key, num_samples=num_samples, chunk_size=chunk_size)
    return Estimate(-found.value, found.standard_error)
