"""Penalties: what an objective adds to a loss, on weights, on codes and on the encoder's Jacobian.

They know no model: they take arrays, or a function; all are positive and 0 where there is nothing to penalise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from genjax.losses.reconstruction import sum_features
from genjax.types import Array, Key, Params


def _weights(params: Params) -> list[Array]:
    """The arrays of two axes or more: kernels, but not biases, scales or scalars."""
    return [leaf for leaf in jax.tree.leaves(params) if jnp.ndim(leaf) >= 2]


def weight_l1(params: Params) -> Array:
    """Sum of the weights' magnitudes, sum_ij |W_ij| over every kernel; biases are left out.

    As a prior, a Laplace one on each weight (Tibshirani 1996).

    Args:
      params: a pytree; its arrays of two axes or more are the weights.

    Returns:
      [].
    """
    return jnp.asarray(sum(jnp.sum(jnp.abs(w)) for w in _weights(params)))


def weight_l2(params: Params) -> Array:
    """Half the sum of the squared weights, 1/2 sum_ij W_ij^2 over every kernel; biases are left out.

    Added with the weight lambda = sigma^2 / tau^2 to 1/2 sum_i ||y_i - f(x_i)||^2 it gives the maximum a posteriori
    estimate under y ~ N(f(x), sigma^2 I) and W ~ N(0, tau^2 I) (Krogh & Hertz 1991; Bishop 2006, section 3.3).

    Args:
      params: a pytree; its arrays of two axes or more are the weights.

    Returns:
      [].
    """
    return jnp.asarray(sum(jnp.sum(jnp.square(w)) for w in _weights(params)) / 2)


def code_l1(z: Array) -> Array:
    """Half the sum of a code's magnitudes, 1/2 sum_j |z_j| (Olshausen & Field 1996; Ng 2011).

    With the weight lambda beside ||x - z W||^2, W of orthonormal rows, the best code is soft(W x, lambda / 4).

    Args:
      z: [B, ...].

    Returns:
      [B].
    """
    return sum_features(jnp.abs(z)) / 2


def code_kl(logits: Array, *, rate: float) -> Array:
    """Divergence of a sparse target rate of firing from each unit's mean activation over the batch (Ng 2011).

        sum_j KL(rho || rho_j),   rho_j = (1/B) sum_i sigm(a_ij),
        KL(rho || r) = rho log(rho / r) + (1 - rho) log((1 - rho) / (1 - r))

    Args:
      logits: a [B, ...], whose sigmoids are the code; any finite values.
      rate: rho, in (0, 1).

    Returns:
      [], in nats; 0 exactly where every rho_j is rho.
    """

    def log_mean_sigmoid(a: Array) -> Array:
        return jax.nn.logsumexp(jax.nn.log_sigmoid(a), axis=0) - math.log(a.shape[0])

    cross_entropy = -rate * log_mean_sigmoid(logits) - (1 - rate) * log_mean_sigmoid(-logits)
    entropy = -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
    return jnp.sum(cross_entropy - entropy)


def jacobian_norm(f: Callable[[Array], Array], x: Array) -> Array:
    """Squared Frobenius norm of a function's Jacobian, exactly: ||J_f(x_i)||_F^2 = sum_jk (d f_j / d x_k)^2.

    The contractive penalty, where f is an encoder (Rifai et al. 2011). It costs a backward pass for each output.

    Args:
      f: [B, ...] -> [B, ...], each example on its own.
      x: [B, ...].

    Returns:
      [B].
    """
    jacobian = jax.vmap(jax.jacrev(lambda x: f(x[None])[0]))(x)
    return sum_features(jnp.square(jacobian))


def hutchinson_jacobian_norm(f: Callable[[Array], Array], x: Array, key: Key) -> Array:
    """Unbiased estimate of `jacobian_norm` from one backward pass (Hutchinson 1990).

        E ||J_f(x_i)^T v||^2 = ||J_f(x_i)||_F^2,   v uniform on {-1, 1}^d

    Args:
      f: [B, ...] -> [B, ...], each example on its own.
      x: [B, ...].
      key: draws v; exact, whatever is drawn, where f has one output.

    Returns:
      [B].
    """
    y, pull_back = jax.vjp(f, x)
    (product,) = pull_back(jax.random.rademacher(key, y.shape, y.dtype))
    return sum_features(jnp.square(product))


def sigmoid_jacobian_norm(h: Array, kernel: Array) -> Array:
    """`jacobian_norm` of a layer h = sigm(x W + b) in closed form (Rifai et al. 2011, equation 9).

        ||J(x)||_F^2 = sum_j (h_j (1 - h_j))^2 sum_i W_ij^2

    Args:
      h: [B, d], the layer's output.
      kernel: W [D, d].

    Returns:
      [B].
    """
    chex.assert_equal_shape_suffix([h, kernel], 1)
    return jnp.square(h * (1 - h)) @ jnp.sum(jnp.square(kernel), axis=0)
