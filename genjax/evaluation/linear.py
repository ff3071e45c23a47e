"""Linear autoencoders, denoisers and regressions in closed form: what a trained one must converge to.

Samples are in rows. With S_i the singular values of the centred data X [n, D] and V its right singular vectors,

    l_i = S_i^2 / n   and   (1/n) X^T X = V diag(l) V^T

and the best rank-d reconstruction leaves (1/n) min ||X - X'||_F^2 = sum_{i > d} l_i. Principal component analysis
reaches it, and so does every linear autoencoder at its optimum.

Source: Eckart & Young 1936; Baldi & Hornik 1989.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from genjax.errors import BadInput
from genjax.shapes import check_rank
from genjax.types import Array, Params


class Affine(NamedTuple):
    """An affine map, y = x W + b."""

    kernel: Array  # W [D, E]
    bias: Array  # b [E]

    def __call__(self, x: Array) -> Array:
        """Maps each row: x [B, D] -> [B, E]."""
        return x @ self.kernel + self.bias[None]


def _params(encoder: Affine, decoder: Affine) -> Params:
    return {"encoder": {"layer_1": encoder._asdict()}, "decoder": {"layer_1": decoder._asdict()}}


def spectral_decomposition(x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Spectral decomposition of a symmetric matrix.

        X = E diag(L) E^T,   E^T E = I

    No other real matrix has one. It is not enough to be invertible with real eigenvalues: [[1, 1], [0, 1]] is, and all
    its eigenvectors are parallel. Any matrix has a singular value decomposition.

    Args:
      x: X, [m, m], symmetric up to rounding.

    Returns:
      (L [m], in descending order; E [m, m], with the eigenvectors as columns), in double precision.

    Raises:
      ValueError: a matrix that is not square, or not symmetric.

    Source: Golub & Van Loan 2013, theorem 8.1.1.
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise ValueError(f"x must be a square matrix; its shape is {x.shape}")
    rounding = len(x) * np.finfo(np.result_type(x, np.float32)).eps * np.max(np.abs(x), initial=0.0)
    asymmetry = np.max(np.abs(x - x.T), initial=0.0)
    if not asymmetry <= rounding:
        raise ValueError(f"x must be symmetric to have orthonormal eigenvectors; x - x^T has an entry of {asymmetry:g}")
    values, vectors = np.linalg.eigh(x.astype(np.float64))
    return values[::-1], vectors[:, ::-1]


def tikhonov(x: Array, y: Array, *, weight: float, gamma: Array | None = None) -> Array:
    """Linear least squares with Tikhonov regularisation; ridge regression where Gamma is the identity.

        min (1/N) ||Y - X W||_F^2 + lambda ||Gamma W||_F^2,   W = (X^T X + N lambda Gamma^T Gamma)^{-1} X^T Y

    It is computed as the least-squares solution of [X; sqrt(N lambda) Gamma] W = [Y; 0], which is the same matrix, with
    twice as many correct digits. If several W are optimal, as without a penalty and with fewer examples than
    dimensions, it is the one of smallest norm. For gradient descent, the penalty is `losses.tikhonov_penalty`.

    Args:
      x: X, [N, D].
      y: Y, [N, E].
      weight: lambda, >= 0.
      gamma: Gamma, [K, D]; None for the identity.

    Returns:
      W, [D, E].

    Raises:
      ValueError: a negative weight, or shapes that do not fit.

    Source: Tikhonov 1963; Bishop 2006, equation 3.28.
    """
    gamma = jnp.eye(x.shape[-1], dtype=x.dtype) if gamma is None else gamma
    check_rank(2, x=x, y=y, gamma=gamma)
    if len(x) != len(y) or x.shape[1] != gamma.shape[1]:
        raise ValueError(f"x [N, D], y [N, E] and gamma [K, D] do not fit: {x.shape}, {y.shape} and {gamma.shape}")
    if weight < 0:
        raise ValueError(f"weight must be at least 0; got {weight}")
    rows = jnp.concatenate([x, math.sqrt(len(x) * weight) * gamma])
    return jnp.linalg.lstsq(rows, jnp.concatenate([y, jnp.zeros((len(gamma), y.shape[1]), y.dtype)]))[0]


def pca(x: Array, *, latent_dim: int, weight: float = 0.0) -> Params:
    """Global optimum of a linear autoencoder, with or without the penalty `weight_l2`.

        min (1/n) sum_i ||x_i - x'_i||^2 + (lambda / 2) (||W_e||_F^2 + ||W_d||_F^2)
        W_e = V_d diag(max(0, 1 - lambda / (2 l_i)))^{1/2},   W_d = W_e^T,   biases so that the mean maps to itself

    Without the penalty it is the PCA of x: codes are the principal components, by decreasing variance. The optima are
    equal up to an invertible map of the code; this is the one with orthonormal axes.

    Args:
      x: [n, ...], flattened to [n, D].
      latent_dim: d, at most min(n, D).
      weight: lambda.

    Returns:
      Params of an autoencoder of two single-layer `networks.mlp`: {"encoder": {"layer_1": ...}, "decoder": ...}.

    Raises:
      BadInput: more latent dimensions than the data have examples or dimensions.

    Source: Baldi & Hornik 1989; Kunin et al. 2019 (https://arxiv.org/abs/1901.08168), theorem 2.
    """
    x = x.reshape(x.shape[0], -1)
    if latent_dim > min(x.shape):
        raise BadInput(
            f"{len(x)} examples of {x.shape[1]} dimensions have at most {min(x.shape)} principal components, not "
            f"{latent_dim}",
            parameter="latent_dim",
        )
    mean = jnp.mean(x, axis=0)
    # the triangle of a QR factorisation has the same singular values and right vectors, and may be much smaller
    _, s, vt = jnp.linalg.svd(jnp.linalg.qr(x - mean[None], mode="r"), full_matrices=False)
    axes, variances = vt[:latent_dim], jnp.square(s[:latent_dim]) / x.shape[0]
    shrunk = jnp.where(weight < 2 * variances, 1 - weight / jnp.where(variances > 0, 2 * variances, 1), 0)
    kernel = axes.T * jnp.sqrt(shrunk)[None]
    return _params(Affine(kernel, -mean @ kernel), Affine(kernel.T, mean))


def sample_probabilistic_pca(
    x: ArrayLike, num: int, *, latent_dim: int, noise: bool = True, seed: int = 0
) -> np.ndarray:
    """Samples of probabilistic PCA at its maximum likelihood: a linear VAE's exact optimum.

        x = W z + m + sigma e,   z ~ N(0, I_d), e ~ N(0, I_D)
        W = V_d diag(l_1 - sigma^2, ..., l_d - sigma^2)^{1/2},   sigma^2 = sum_{i > d} l_i / (D - d)

    with the largest eigenvalues l_i of the covariance and their eigenvectors V_d, so that W W^T + sigma^2 I has the
    same d first eigenvalues and the same trace as the covariance.

    Args:
      x: training data, [n, ...], flattened to [n, D].
      num: of samples.
      latent_dim: d, less than min(n, D).
      noise: whether sigma e is added; otherwise the samples are the means of p(x|z).
      seed: draws z and e.

    Returns:
      [num, ...], float64.

    Raises:
      ValueError: a latent_dim that is not less than min(n, D).

    Source: Tipping & Bishop 1999, equations 7 and 8.
    """
    from sklearn.decomposition import PCA

    x = np.asarray(x, np.float64)
    flat, draw = x.reshape(len(x), -1), np.random.RandomState(seed)
    if not 1 <= latent_dim < min(flat.shape):
        raise ValueError(f"latent_dim must be from 1 to {min(flat.shape) - 1}; got {latent_dim}")
    fitted = PCA(latent_dim, random_state=0).fit(flat)
    scales = np.sqrt(np.maximum(fitted.explained_variance_ - fitted.noise_variance_, 0))
    samples = fitted.mean_ + (draw.normal(size=(num, latent_dim)) * scales) @ fitted.components_
    if noise:
        samples += np.sqrt(fitted.noise_variance_) * draw.normal(size=samples.shape)
    return samples.reshape(num, *x.shape[1:])


def canonicalise(params: Params, x: Array) -> Params:
    """The same linear autoencoder with its code rotated to the principal axes of its reconstructions of x.

        x' - m = U S Q^T,   code (x' - m) Q   with m the mean reconstruction

    The reconstructions do not change; the decoder's rows become orthonormal, and the codes of x centred, uncorrelated
    and by decreasing variance. At the optimum they are the principal components of x where the l_i are distinct; the
    sign makes the largest entry of each axis positive.

    Args:
      params: of an autoencoder of two single-layer `networks.mlp`, the decoder of full rank.
      x: [n, ...], flattened to [n, D].

    Returns:
      Params of the same structure and shapes.

    Source: Kunin et al. 2019 (https://arxiv.org/abs/1901.08168).
    """
    x = x.reshape(x.shape[0], -1)
    encoder, decoder = (Affine(**params[name]["layer_1"]) for name in ("encoder", "decoder"))
    mean = decoder(encoder(x)).mean(axis=0)
    # the decoder's image has the orthonormal basis Q; within it, the SVD of the reconstructions
    q, r = jnp.linalg.qr(decoder.kernel.T)
    coordinates = (encoder(x) - encoder(x).mean(axis=0)[None]) @ r.T
    _, _, rotation = jnp.linalg.svd(coordinates, full_matrices=False)
    axes = rotation @ q.T
    largest = jnp.take_along_axis(axes, jnp.argmax(jnp.abs(axes), axis=1, keepdims=True), axis=1)
    axes *= jnp.sign(largest)
    to_axes = decoder.kernel @ axes.T
    bias = encoder.bias @ to_axes + (decoder.bias - mean) @ axes.T
    return _params(Affine(encoder.kernel @ to_axes, bias), Affine(axes, mean))


def largest_angle(a: ArrayLike, b: ArrayLike) -> float:
    """Largest principal angle between two subspaces, computed so that small angles are as accurate as large ones.

        asin ||(I - B B^T) A||_2

    Args:
      a: [d, D], rows that span the first; orthonormalised to A.
      b: [d, D], rows that span the second; orthonormalised to B.

    Returns:
      In radians, from 0 to pi / 2.

    Source: Bjorck & Golub 1973.
    """
    basis_a, basis_b = (np.linalg.qr(np.asarray(rows, np.float64).T)[0] for rows in (a, b))
    residual = basis_a - basis_b @ (basis_b.T @ basis_a)
    return float(np.arcsin(min(1.0, np.linalg.norm(residual, ord=2))))


def wiener(covariance: Array, *, variance: float, rank: int | None = None) -> Array:
    """Best linear denoiser of centred x under white noise: the optimum of a linear denoising autoencoder.

        A = C (C + sigma^2 I)^{-1},   with rank k:  A = sum_{i <= k} l_i / (l_i + sigma^2) u_i u_i^T

    for C = U diag(l) U^T; it leaves E ||x - A (x + n)||^2 = tr C - sum_{i <= k} l_i^2 / (l_i + sigma^2).

    Args:
      covariance: C, [D, D].
      variance: sigma^2.
      rank: k; None for D.

    Returns:
      A, [D, D], symmetric.

    Source: Wiener 1949; Pretorius et al. 2018.
    """
    values, u = jnp.linalg.eigh(covariance)
    gains = values / (values + variance)
    kept = u if rank is None else u[:, len(values) - rank :]
    gains = gains if rank is None else gains[len(values) - rank :]
    return (kept * gains[None]) @ kept.T


def linear_mmse(x: Array, corrupted: Array) -> Affine:
    """Affine denoiser with the smallest mean squared error, from examples of any corruption.

        x' = m_x + (y - m_y) C_yy^{-1} C_yx

    For additive white noise and many examples it tends to `wiener` of the covariance of x.

    Args:
      x: [n, D], clean.
      corrupted: y, [n, D].

    Returns:
      The map y -> x', with kernel [D, D] and bias [D].

    Source: Kay 1993, section 12.3.
    """
    mean_x, mean_y = x.mean(axis=0), corrupted.mean(axis=0)
    centred = corrupted - mean_y[None]
    kernel = jnp.linalg.pinv(centred.T @ centred, hermitian=True) @ (centred.T @ (x - mean_x[None]))
    return Affine(kernel, mean_x - mean_y @ kernel)
