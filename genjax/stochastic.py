"""Everything that draws: reparameterised Gaussians, inverse-transform sampling, two gradient estimators, corruptions.

Each scale has one name: sigma is a standard deviation, sigma^2 a variance and s = log sigma^2 a log-variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.shapes import check_rank, check_same_shape
from genjax.types import Array, Key

Scalar = float | Array  # a hyper-parameter, fixed or scheduled
Corruption = Callable[[Array, Key], Array]  # x, key -> corrupted x, of the same shape and dtype


# Gaussian and Bernoulli variables


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

        grad E_{z ~ N(mean, sigma^2)}[f(z)] = E grad f(mean + sigma * eps),   eps ~ N(0, I)

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

        grad E_{z ~ q}[f(z)] = E f(z) grad log q(z),   q = N(mean, sigma^2)

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


# Inverse-transform sampling


def _open_uniform(key: Key, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = float) -> Array:
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
    return quantile(_open_uniform(key, shape, dtype))


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
    return jnp.sum(_open_uniform(key, (*shape, num_uniforms)), axis=-1)


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


# Corruptions, for denoising: each factory returns a function (x, key) -> corrupted x that corrupts every entry of x on
# its own. Noise may move an image out of [0, 1], which is right for additive noise; `clip` moves it back.


def gaussian_noise(*, scale: Scalar, clip: bool = False) -> Corruption:
    """Additive Gaussian noise.

        x + scale * eps,   eps ~ N(0, I)

    Args:
      scale: standard deviation, in units of x.
      clip: whether the result is clipped to [0, 1].

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.

    Source: Vincent et al. 2010.
    """

    def corruption(x: Array, key: Key) -> Array:
        noisy = x + scale * jax.random.normal(key, x.shape, x.dtype)
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return corruption


def rayleigh_noise(*, scale: Scalar, clip: bool = False) -> Corruption:
    """Additive Rayleigh noise; it is never negative, so it brightens by scale * sqrt(pi / 2) on average.

        x + r,   r ~ Rayleigh(scale)

    Args:
      scale: of the Rayleigh distribution, in units of x.
      clip: whether the result is clipped to [0, 1].

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.
    """

    def corruption(x: Array, key: Key) -> Array:
        noisy = x + scale * _rayleigh(x, key)
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return corruption


def centred_rayleigh_noise(*, scale: Scalar, clip: bool = False) -> Corruption:
    """Additive Rayleigh noise less its mean, so that the mean brightness does not change.

        x + r - scale * sqrt(pi / 2),   r ~ Rayleigh(scale)

    Args:
      scale: of the Rayleigh distribution, in units of x.
      clip: whether the result is clipped to [0, 1].

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.
    """

    def corruption(x: Array, key: Key) -> Array:
        noisy = x + scale * (_rayleigh(x, key) - math.sqrt(math.pi / 2))
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return corruption


def rayleigh_speckle(*, clip: bool = False) -> Corruption:
    """Multiplicative Rayleigh noise of mean one, as in coherent imaging.

        x * r / E[r],   r ~ Rayleigh

    The scale of r cancels: the standard deviation of the factor is always sqrt(4 / pi - 1) = 0.5227.

    Args:
      clip: whether the result is clipped to [0, 1].

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.
    """

    def corruption(x: Array, key: Key) -> Array:
        noisy = x * _rayleigh(x, key) / math.sqrt(math.pi / 2)
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return corruption


def salt_and_pepper_noise(*, probability: Scalar) -> Corruption:
    """Replacement of single entries by black or white.

        0 with probability p / 2,   1 with probability p / 2,   x otherwise

    Args:
      probability: p.

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.

    Source: Vincent et al. 2010.
    """

    def corruption(x: Array, key: Key) -> Array:
        u = _open_uniform(key, x.shape, x.dtype)
        return jnp.where(u < probability / 2, 0, jnp.where(u < probability, 1, x))

    return corruption


def masking_noise(*, probability: Scalar) -> Corruption:
    """Replacement of single entries by 0.

        0 with probability p,   x otherwise

    Args:
      probability: p.

    Returns:
      A function (x [...], key) -> corrupted x, the same shape.

    Source: Vincent et al. 2008.
    """

    def corruption(x: Array, key: Key) -> Array:
        return jnp.where(_open_uniform(key, x.shape, x.dtype) < probability, 0, x)

    return corruption


def _rayleigh(x: Array, key: Key) -> Array:
    """Rayleigh draws of scale 1, in the shape and precision of x."""
    return inverse_transform(rayleigh_quantile, x.shape, key, dtype=x.dtype)
