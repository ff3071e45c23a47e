"""Pictures of `outliers`: ROC curves, and the examples of the largest and the smallest errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genjax.drawing import charts, pictures
from genjax.evaluation import detection

NAMES = {
    "manifold": "off and along the manifold",
    "vae": "VAE",
    "pca": "PCA",
    "isolation_forest": "isolation forest",
    "mahalanobis": "Mahalanobis distance",
    "knn": "nearest neighbours",
}


def extremes(error: np.ndarray, inlier: np.ndarray, outlier: np.ndarray, num: int = 5) -> np.ndarray:
    """The examples of the largest and of the smallest error among the outliers, and of the largest among inliers."""
    order = np.argsort(error, kind="stable")
    outliers, inliers = order[outlier[order]], order[inlier[order]]
    return np.concatenate([np.resize(part, num) for part in (outliers[::-1], outliers, inliers[::-1])])


def save_pictures(
    protocol: str,
    workdir: Path,
    scores: dict[str, list[tuple[np.ndarray, np.ndarray]]],
    shown: np.ndarray,
    names: Sequence[str],
) -> None:
    """Draws the mean ROC curves of all methods, and the extremes of each problem over their reconstructions.

    Args:
      scores: by method, for each problem: those of inliers and those of outliers.
      shown: for each problem, the extremes and their reconstructions, [C, 2, 15, H, W, channels].
      names: of the problems, C.
    """
    title = f"{protocol.replace('_', ' ')}, mean over {len(names)} kinds of outliers, with AUROC"
    save_curves(workdir, scores, title=title)
    if shown.ndim != 6:
        return  # vectors
    gap = np.ones((*shown.shape[:2], 1, *shown.shape[3:]))
    first, second, third = np.split(shown, 3, axis=2)
    table = np.concatenate([first, gap, second, gap, third], axis=2)
    pictures.save_captioned_grid(
        workdir / "extremes.png",
        table.reshape(-1, *table.shape[2:]),
        title="outliers of the largest error, outliers of the smallest error, and inliers of the largest error",
        rows=[caption for name in names for caption in (name, "rebuilt")],
    )


def save_curves(
    workdir: Path,
    scores: dict[str, list[tuple[np.ndarray, np.ndarray]]],
    *,
    title: str,
    own: str = "reconstruction error",
) -> None:
    """Draws the mean ROC curves of all methods.

    Args:
      scores: as in `save_pictures`.
      own: what the method without a name is called.
    """
    at = np.linspace(0, 1, 201)
    curves = {}
    for method, of_problem in scores.items():
        name = ({"": own} | NAMES).get(method, method.replace("_", " "))
        area = np.mean([detection.auroc(*pair) for pair in of_problem])
        curves[f"{name}: {area:.3f}"] = at, np.mean([roc(*pair, at) for pair in of_problem], axis=0)
    charts.save_lines(
        workdir / "roc.png", curves, xlabel="false positive rate", ylabel="true positive rate", title=title
    )


def roc(inliers: np.ndarray, outliers: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The true positive rate at the false positive rates `at`."""
    return (outliers[:, None] > np.quantile(inliers, 1 - at)[None]).mean(axis=0)
