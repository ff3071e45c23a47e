"""The table of a classifier's mistakes among held-out examples, which its pages share."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from genjax import runs
from genjax.drawing import pictures
from genjax.models import classifier


def save(trained: runs.Trained, parts: classifier.Classifier) -> None:
    """Draws mistakes.png: for each pair of true and predicted class, the most confident mistake, if there is any."""
    dataset, x, truth = trained.dataset, np.asarray(trained.examples.x), np.asarray(trained.examples.label)
    probabilities = np.asarray(jax.jit(partial(classifier.probabilities, parts=parts))(trained.params, x))
    wrong = probabilities.argmax(axis=1) != truth
    if x.ndim == 4 and wrong.any():
        classes, table = by_class(x[wrong], truth[wrong], probabilities[wrong])
        table, names = dataset.visible(table), pictures.class_captions(classes, dataset.class_names)
        title = f"{wrong.sum()} of {len(x)} misclassified: true classes in rows, predicted ones in columns"
        pictures.save_captioned_grid(trained.workdir / "mistakes.png", table, title=title, rows=names, columns=names)


def by_class(
    x: np.ndarray, truth: np.ndarray, probabilities: np.ndarray, *, at_most: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """The mistake for each true and predicted class that the classifier is most certain of.

    Args:
      x: misclassified images, [N, H, W, C].
      truth: [N].
      probabilities: [N, classes].
      at_most: number of classes shown, those with the most mistakes.

    Returns:
      The classes [K], and the images by true and predicted class [K, K, H, W, C], white where there is no mistake.
    """
    predicted, certain = probabilities.argmax(axis=1), probabilities.max(axis=1)
    counts = np.bincount(np.concatenate([truth, predicted]))
    classes = np.sort(np.argsort(-counts, kind="stable")[:at_most])
    classes = classes[counts[classes] > 0]
    table = np.ones((len(classes), len(classes), *x.shape[1:]), np.float32)
    for index in np.argsort(certain, kind="stable"):  # the most certain one is written last
        table[classes == truth[index], classes == predicted[index]] = x[index]
    return classes, table
