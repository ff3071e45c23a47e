"""Linear imputation of missing values, to compare others with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def fit_pca(
    x: ArrayLike, *, rank: int, num_steps: int = 20, progress: Callable[[Sequence[int]], Iterable[int]] = iter
) -> Any:
    """Probabilistic PCA of examples with missing values, by regularised iterative PCA.

    Missing values start as the means of their features. Each step fits PCA to the filled examples and fills them again
    (`impute_by_pca`).

    Args:
      x: [N, D], NaN where a value is missing.
      rank: of the components, less than D and N.
      num_steps: number of fits.
      progress: shows how far it is, as `tqdm` does.

    Returns:
      scikit-learn's `PCA`, fitted.

    Raises:
      ValueError: a feature without any observed value.

    Source: Josse & Husson 2012, section 2.3.
    """
    from sklearn.decomposition import PCA

    x = np.asarray(x, np.float64)
    missing = np.isnan(x)
    if missing.all(axis=0).any():
        raise ValueError(f"feature {int(np.argmax(missing.all(axis=0)))} has no observed value")
    filled = np.where(missing, np.nanmean(x, axis=0), x)
    solver = "full" if x.shape[1] < 500 else "covariance_eigh"
    pca = PCA(rank, svd_solver=solver).fit(filled)
    for _ in progress(range(num_steps - 1)):
        pca = PCA(rank, svd_solver=solver).fit(impute_by_pca(pca, x))
    return pca


def impute_by_pca(pca: Any, x: ArrayLike) -> np.ndarray:
    """The examples with each missing value replaced by its mean given the observed ones under probabilistic PCA.

        E[x_m|x_o] = mu_m + W_m (W_o^T W_o + sigma^2 I)^{-1} W_o^T (x_o - mu_o)

    Args:
      pca: scikit-learn's `PCA`, fitted: W W^T + sigma^2 I is its `get_covariance()`.
      x: [N, D], NaN where a value is missing.

    Returns:
      [N, D] float64; observed values as they are.

    Source: Tipping & Bishop 1999.
    """
    x = np.asarray(x, np.float64)
    missing = np.isnan(x)
    scale = np.sqrt(np.maximum(pca.explained_variance_ - pca.noise_variance_, 0))
    w = pca.components_.T * scale  # [D, d]
    centred = np.where(missing, 0, x - pca.mean_)
    noise = max(pca.noise_variance_, np.finfo(np.float64).eps)
    precision = np.einsum("nd,di,dj->nij", ~missing, w, w, optimize=True) + noise * np.eye(w.shape[1])
    z = np.linalg.solve(precision, (centred @ w)[..., None])[..., 0]
    return np.where(missing, pca.mean_ + z @ w.T, x)
