"""Detectors of outliers that are not autoencoders, beside which `outliers` measures its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from genjax import data
from genjax.evaluation import neighbours

AT_MOST = 2000  # training inliers among which neighbours are searched, and to which isolation forests are fitted


def scores(flags: Any, x: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of x by other detectors, fitted to the training inliers: method -> [N], larger for outliers."""
    from sklearn.covariance import EmpiricalCovariance
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest

    flat, known = (values.reshape(len(values), -1).astype(np.float64) for values in (x, known))
    pca = PCA(min(flags.latent_dim, *known.shape), svd_solver="full" if known.shape[1] < 500 else "covariance_eigh")
    pca.fit(known)
    some = known[data.choose(len(known), AT_MOST)]
    forest = IsolationForest(random_state=flags.seed).fit(some)
    return {
        "pca": np.square(flat - pca.inverse_transform(pca.transform(flat))).sum(1),
        "isolation_forest": -forest.score_samples(flat),
        "mahalanobis": EmpiricalCovariance().fit(known).mahalanobis(flat),
        "knn": neighbours.knn_distance(flat, some, num_neighbours=flags.num_neighbours),
    }
