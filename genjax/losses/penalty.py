"""Penalties that an objective adds to a loss: on weights, on codes and on the encoder's Jacobian.

They take arrays or a function, not a model. All are >= 0, and 0 where there is nothing to penalise. Those of codes and
Jacobians have one value per example, [B]; `weight_l1`, `weight_l2`, `tikhonov_penalty` and `code_kl` are single
numbers, [].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.losses.reconstruction import sum_features
from genjax.shapes import as_float, check_rank
from genjax.types import Array, Key, Params


def _weights(params: Params) -> list[Array]:
    """The arrays of two axes or more: kernels, but not biases, scales or scalars."""
    return [as_float(leaf) for leaf in jax.tree.leaves(params) if jnp.ndim(leaf) >= 2]


def weight_l1(params: Params) -> Array:
    """Sum of the absolute values of the weights.

        sum_ij |W_ij|, over all kernels

    Biases are not penalised. As a prior it is a Laplace distribution of each weight.

    Args:
      params: a pytree; its arrays of two axes or more are the weights.

    Returns:
      [], >= 0; one number, not one per example.

    Source: Tibshirani 1996.
    """
    return jnp.asarray(sum((jnp.sum(jnp.abs(w)) for w in _weights(params)), start=0.0))


def weight_l2(params: Params) -> Array:
    """Half the sum of the squared weights.

        1/2 sum_ij W_ij^2, over all kernels

    Biases are not penalised. Added with the weight lambda = sigma^2 / tau^2 to 1/2 sum_i ||y_i - f(x_i)||^2, it gives
    the maximum a posteriori estimate under y ~ N(f(x), sigma^2 I) and W ~ N(0, tau^2 I).

    Args:
      params: a pytree; its arrays of two axes or more are the weights.

    Returns:
      [], >= 0; one number, not one per example.

    Source: Krogh & Hertz 1991; Bishop 2006, section 3.3.
    """
    return jnp.asarray(sum((jnp.sum(jnp.square(w)) for w in _weights(params)), start=0.0) / 2)


def tikhonov_penalty(kernel: Array, gamma: Array) -> Array:
    """Tikhonov's penalty on a layer's kernel, with a matrix that weighs its directions.

        ||Gamma W||_F^2

    With rows of differences as Gamma, the kernel becomes smooth; with the identity it is 2 `weight_l2` of the kernel.
    `evaluation.linear.tikhonov` is the optimum of a linear layer.

    Args:
      kernel: W, [D, E].
      gamma: Gamma, [K, D].

    Returns:
      [], >= 0; one number, not one per example.

    Raises:
      ValueError: shapes that do not fit.

    Source: Tikhonov 1963.
    """
    check_rank(2, kernel=kernel, gamma=gamma)
    if gamma.shape[1] != kernel.shape[0]:
        raise ValueError(f"kernel [D, E] and gamma [K, D] do not fit: {kernel.shape} and {gamma.shape}")
    return jnp.sum(jnp.square(as_float(gamma) @ as_float(kernel)))


def code_l1(z: Array) -> Array:
    """Half the sum of the absolute values of a code.

        1/2 sum_j |z_j|

    With the weight lambda beside ||x - z W||^2, where W has orthonormal rows, the best code is soft(W x, lambda / 4).

    Args:
      z: [B, ...].

    Returns:
      [B], >= 0, in units of the code.

    Source: Olshausen & Field 1996; Ng 2011.
    """
    return sum_features(jnp.abs(as_float(z))) / 2


def code_l2(z: Array) -> Array:
    """Half the squared norm of a code, which keeps a regularised autoencoder's codes near 0.

        1/2 ||z||^2

    Args:
      z: [B, ...].

    Returns:
      [B], >= 0, in squared units of the code.

    Source: Ghosh et al. 2020, equation 11.
    """
    return sum_features(jnp.square(as_float(z))) / 2


def code_kl(logits: Array, *, rate: float) -> Array:
    """Divergence of a sparse target activation rate from the mean activation of each unit over the batch.

        sum_j KL(rho || rho_j),   rho_j = (1/B) sum_i sigm(a_ij),
        KL(rho || r) = rho log(rho / r) + (1 - rho) log((1 - rho) / (1 - r))

    Args:
      logits: a, [B, ...], whose sigmoids are the code; any finite values.
      rate: rho, in (0, 1).

    Returns:
      [], >= 0, in nats; one number for the batch, 0 only where every rho_j is rho.

    Raises:
      ValueError: a rate outside (0, 1).

    Source: Ng 2011.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must lie between 0 and 1; got {rate}")
    logits = as_float(logits)

    def log_mean_sigmoid(a: Array) -> Array:
        return jax.nn.logsumexp(jax.nn.log_sigmoid(a), axis=0) - math.log(a.shape[0])

    cross_entropy = -rate * log_mean_sigmoid(logits) - (1 - rate) * log_mean_sigmoid(-logits)
    entropy = -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
    return jnp.sum(cross_entropy - entropy)


def jacobian_norm(f: Callable[[Array], Array], x: Array) -> Array:
    """Squared Frobenius norm of a function's Jacobian, computed exactly with one backward pass per output.

        ||J_f(x_i)||_F^2 = sum_jk (d f_j / d x_k)^2

    It is the contractive penalty where f is an encoder.

    Args:
      f: [B, ...] -> [B, ...], where no example depends on another.
      x: [B, ...].

    Returns:
      [B], >= 0.

    Source: Rifai et al. 2011.
    """
    jacobian = jax.vmap(jax.jacrev(lambda x: f(x[None])[0]))(as_float(x))
    return sum_features(jnp.square(jacobian))


def hutchinson_jacobian_norm(f: Callable[[Array], Array], x: Array, key: Key) -> Array:
    """Unbiased estimate of `jacobian_norm` from one backward pass.

        E[||J_f(x_i)^T v||^2] = ||J_f(x_i)||_F^2,   v uniform on {-1, 1}^d

    Args:
      f: [B, ...] -> [B, ...], where no example depends on another.
      x: [B, ...].
      key: draws v; the estimate is exact for every draw where f has one output.

    Returns:
      [B], >= 0.

    Source: Hutchinson 1990.
    """
    y, pull_back = jax.vjp(f, as_float(x))
    (product,) = pull_back(jax.random.rademacher(key, y.shape, y.dtype))
    return sum_features(jnp.square(product))


def sigmoid_jacobian_norm(h: Array, kernel: Array) -> Array:
    """`jacobian_norm` of a layer h = sigm(x W + b) in closed form.

        ||J(x)||_F^2 = sum_j (h_j (1 - h_j))^2 sum_i W_ij^2

    Args:
      h: the layer's output, [B, d].
      kernel: W, [D, d].

    Returns:
      [B], >= 0.

    Raises:
      ValueError: shapes that do not fit.

    Source: Rifai et al. 2011, equation 9.
    """
    if h.shape[-1:] != kernel.shape[-1:]:
        raise ValueError(f"h [B, d] and kernel [D, d] do not fit: {h.shape} and {kernel.shape}")
    return jnp.square(h * (1 - h)) @ jnp.sum(jnp.square(kernel), axis=0)
