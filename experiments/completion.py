"""Images of which a part was hidden, completed: the picture and the errors that several pages share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genjax import data, runs
from genjax.drawing import pictures

SHOWN = 10  # images in the picture
METRICS = {f"{prefix}rmse": runs.Metric("", "lower") for prefix in ("", "mean_", "pca_")}
HEADLINE = ("rmse", "pca_rmse", "mean_rmse")


def errors(complete: np.ndarray, hidden: np.ndarray, filled: dict[str, np.ndarray]) -> dict[str, float]:
    """The root mean squared error of hidden values, for each way to fill them in: {PREFIXrmse: value}.

    Args:
      complete: [N, ...].
      hidden: booleans of the same shape, one of them true.
      filled: by prefix, arrays of the same shape.
    """

    def error(found: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(found[hidden] - complete[hidden], dtype=np.float64))))

    return {f"{prefix}rmse": error(found) for prefix, found in filled.items()}


def save_picture(path: Path, dataset: data.Dataset, images: dict[str, np.ndarray], *, title: str) -> None:
    """Draws some of the images, [N, H, W, channels], in a row for each name; missing pixels (NaN) are grey."""
    rows = data.choose(len(next(iter(images.values()))), SHOWN)
    shown = [np.clip(dataset.visible(np.nan_to_num(each[rows], nan=0.5)), 0, 1) for each in images.values()]
    pictures.save_reconstructions(path, *shown, title=title, names=tuple(images))
