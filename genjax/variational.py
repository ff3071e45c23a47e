"""Classical variational inference: the member of a family nearest to the posterior, q* = argmin KL(q(z) || p(z|x)).

    log p(x) = KL(q(z) || p(z|x)) + L(q),   L(q) = E_q[log p(x, z) - log q(z)] <= log p(x)

The evidence does not depend on q, so the nearest q is the one with the largest bound L, which does not contain the
posterior. Everything is in nats. The distribution of a finite z is a table of probabilities, as in
`genjax.information`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from genjax import information, stochastic
from genjax.shapes import check_same_shape
from genjax.types import Array, Key, Params

# A finite latent variable: `joint` is p(x, z) at the observed x, over the states of z


def log_evidence(joint: Array) -> Array:
    """Log-evidence of a model with a finite latent variable.

        log p(x) = log sum_z p(x, z)

    Args:
      joint: p(x, z) at one x, [..., m]; it sums to p(x).

    Returns:
      [...], in nats.
    """
    return jnp.log(jnp.sum(joint, axis=-1))


def posterior(joint: Array) -> Array:
    """Posterior of a finite latent variable by Bayes' rule.

        p(z|x) = p(x, z) / p(x)

    Args:
      joint: p(x, z) at one x, [..., m], with a positive sum.

    Returns:
      [..., m], probabilities.
    """
    return joint / jnp.sum(joint, axis=-1, keepdims=True)


def evidence_lower_bound(q: Array, joint: Array) -> Array:
    """Evidence lower bound of q.

        L(q) = sum_z q(z) log[p(x, z) / q(z)] = log p(x) - KL(q || p(z|x))

    It reaches log p(x) only at the posterior, and is minus infinity where q allows a z that p(x, z) excludes.

    Args:
      q: [..., m].
      joint: p(x, z) at one x, [..., m].

    Returns:
      [...], in nats; larger = better.

    Raises:
      ValueError: shapes that differ.

    Source: Jordan et al. 1999; Blei et al. 2017, equation 13.
    """
    return information.entropy(q) - information.cross_entropy(q, joint)


# Mean field in a pairwise binary model, p(s) = exp(1/2 s^T J s + b^T s) / Z, s in {-1, 1}^n


def ising_lower_bound(mean: Array, coupling: Array, field: Array) -> Array:
    """Mean-field bound on the log-partition function of an Ising model.

        L(m) = 1/2 m^T J m + b^T m + sum_i H((1 + m_i) / 2)  <=  log Z,   q(s) = prod_i (1 + s_i m_i) / 2

    Args:
      mean: m, [n] in [-1, 1].
      coupling: J, [n, n], symmetric, with a diagonal of 0.
      field: b, [n].

    Returns:
      [], in nats; larger = better.

    Raises:
      ValueError: mean and field of different shapes.

    Source: Peterson & Anderson 1987; MacKay 2003, chapter 33.
    """
    check_same_shape(mean=mean, field=field)
    q = jnp.stack([(1 + mean) / 2, (1 - mean) / 2], axis=-1)
    return mean @ coupling @ mean / 2 + field @ mean + jnp.sum(information.entropy(q))


def ising_mean_field(mean: Array, coupling: Array, field: Array, *, num_sweeps: int) -> tuple[Array, Array]:
    """Coordinate ascent on `ising_lower_bound`: each spin in turn gets its best mean, given the means of the others.

        m_i <- tanh(b_i + sum_j J_ij m_j),   i = 1, ..., n

    No update lowers the bound. Where J is strong there are several fixed points, and the start decides which is
    reached.

    Args:
      mean: where to start, [n]; 0 is a fixed point if the field is 0.
      coupling: J, [n, n], symmetric, with a diagonal of 0.
      field: b, [n].
      num_sweeps: updates of each spin.

    Returns:
      (m [n], the bound after each sweep [num_sweeps], in nats).

    Raises:
      ValueError: mean and field of different shapes.

    Source: Peterson & Anderson 1987; Jordan et al. 1999, section 4.
    """

    def update(i: int, m: Array) -> Array:
        return m.at[i].set(jnp.tanh(field[i] + coupling[i] @ m))

    def sweep(m: Array, _: None) -> tuple[Array, Array]:
        m = jax.lax.fori_loop(0, len(m), update, m)
        return m, ising_lower_bound(m, coupling, field)

    return jax.lax.scan(sweep, mean, None, length=num_sweeps)


# A Gaussian family for any differentiable density


def gaussian_objective(
    log_joint: Callable[[Array], Array], *, num_draws: int
) -> Callable[[Params, Key], tuple[Array, dict[str, Array]]]:
    """Objective of variational inference by a diagonal Gaussian, q(z) = N(m, diag e^s), for `gradients.updater`.

        -L(q) = -(1/M) sum_k log p(x, z_k) - 1/2 sum_i (s_i + log 2 pi e),   z_k = m + e^{s/2} * eps_k

    For a Gaussian posterior N(mu, Lambda^{-1}) the optimum is m = mu, e^{s_i} = 1 / Lambda_ii: the mean is right, and
    each variance is at most the marginal one, because q cannot represent correlations.

    Args:
      log_joint: z [d] -> log p(x, z) []; a constant left out of it is missing from the bound too.
      num_draws: M, drawn anew for every evaluation.

    Returns:
      `objective({"mean": m [d], "log_variance": s [d]}, key) -> (loss [1], {})`, in nats.

    Source: Kucukelbir et al. 2017 (https://arxiv.org/abs/1603.00788).
    """

    def negative_bound(params: Params, key: Key) -> tuple[Array, dict[str, Array]]:
        mean, log_variance = params["mean"], params["log_variance"]
        draw = partial(stochastic.sample_gaussian, mean, log_variance)
        energy = jax.vmap(log_joint)(jax.vmap(draw)(jax.random.split(key, num_draws)))
        entropy = 0.5 * jnp.sum(log_variance + math.log(2 * math.pi * math.e))
        return -(jnp.mean(energy) + entropy)[None], {}

    return negative_bound
