"""Random variables that gradients pass through: Gaussian and Bernoulli draws, and two estimators of their gradients.

Each scale has one name: sigma is a standard deviation, sigma^2 a variance and s = log sigma^2 a log-variance.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.shapes import check_same_shape
from genjax.types import Array, Key


def sample_gaussian(mean: Array, log_variance: Array, key: Key) -> Array:
    """Reparameterised draw from a diagonal Gaussian N(mean, diag sigma^2).

        z = mean + e^{s/2} * eps,   eps ~ N(0, I),   s = log sigma^2

    With zeros for both arguments it draws from the prior N(0, I).

    Args:
      mean: [...].
      log_variance: s, the same shape.
      key: draws eps.

    Returns:
      z: [...], differentiable: dz/dmean = 1, dz/dsigma = eps and dz/ds = sigma * eps / 2.

    Raises:
      ValueError: shapes that differ.

    Source: Kingma & Welling 2014 (https://arxiv.org/abs/1312.6114), section 2.4.
    """
    check_same_shape(mean=mean, log_variance=log_variance)
    eps = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.exp(log_variance / 2) * eps


def sample_gaussian_full_covariance(mean: Array, cholesky: Array, key: Key) -> Array:
    """Reparameterised draw from a Gaussian N(mean, L L^T).

        z = mean + L eps,   eps ~ N(0, I)

    Args:
      mean: [..., d].
      cholesky: L, [..., d, d], lower triangular; its leading dimensions are those of `mean`, or none to share one L.
      key: draws eps.

    Returns:
      z: [..., d], differentiable in both.

    Raises:
      ValueError: shapes that do not fit.

    Source: Kingma & Welling 2014 (https://arxiv.org/abs/1312.6114), section 2.4; Rezende et al. 2014.
    """
    eps = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.einsum("...ij,...j->...i", cholesky, eps)


def sample_bernoulli(logits: Array, key: Key) -> Array:
    """Draw of independent bits.

        P(x = 1) = sigm(logits)

    Args:
      logits: [...].
      key: draws x.

    Returns:
      [...] float32, 0 or 1; a draw has no gradient.
    """
    return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(jnp.float32)


# Gradients through a stochastic node: two unbiased estimators from one draw each; average them by vmap over keys


def pathwise_gradient(f: Callable[[Array], Array], mean: Array, log_variance: Array, key: Key) -> tuple[Array, Array]:
    """One-draw pathwise estimate of the gradient of an expectation under a Gaussian.

        grad E_{z ~ N(mean, sigma^2)}[f(z)] = E[grad f(mean + sigma * eps)],   eps ~ N(0, I)

    Args:
      f: [...] -> [], differentiable.
      mean: [...].
      log_variance: s, [...].
      key: draws eps.

    Returns:
      The gradients with respect to (mean, log_variance), each [...].

    Source: Mohamed et al. 2020 (https://arxiv.org/abs/1906.10652), section 5.
    """
    return jax.grad(lambda mean, s: f(sample_gaussian(mean, s, key)), argnums=(0, 1))(mean, log_variance)


def score_gradient(f: Callable[[Array], Array], mean: Array, log_variance: Array, key: Key) -> tuple[Array, Array]:
    """One-draw score-function estimate of the gradient of an expectation under a Gaussian.

        grad E_{z ~ q}[f(z)] = E[f(z) grad log q(z)],   q = N(mean, sigma^2)

    No gradient flows through the draw, so f need not be differentiable; the price is a larger variance.

    Args:
      f: [...] -> [].
      mean: [...].
      log_variance: s, [...].
      key: draws z.

    Returns:
      The gradients with respect to (mean, log_variance), each [...].

    Source: Williams 1992; Mohamed et al. 2020 (https://arxiv.org/abs/1906.10652), section 4.
    """
    value = f(jax.lax.stop_gradient(sample_gaussian(mean, log_variance, key)))
    eps = jax.random.normal(key, mean.shape, mean.dtype)  # of the same draw; z - mean would lose its digits
    return value * eps * jnp.exp(-log_variance / 2), value * (jnp.square(eps) - 1) / 2
