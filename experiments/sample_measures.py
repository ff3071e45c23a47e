"""What `generate` and `compare_samples` measure of samples: in features, and by the classes that were asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from experiments import reference_classifier
from genjax import data, runs
from genjax.errors import BadInput
from genjax.evaluation import sample_quality
from genjax.evaluation.probes import Accuracy, class_accuracy_score

NAMED = ("classifier", "components", "pixels")  # features that the command line knows by a word


def reference(
    features: str | None, flags: runs.Flags, dataset: data.Dataset, *, num_samples: int, cache: Path
) -> sample_quality.Reference:
    """What samples are compared with.

    Args:
      features: one of `NAMED`, or MODULE:FUNCTION of a function of a batch of examples. None for a classifier's, or
        principal components of data without classes.
      flags: with those of the data.
      dataset: the real data.
      cache: where the classifier is kept.

    Raises:
      BadInput: the features are unknown or do not fit the data.
    """
    if features == "classifier":
        dataset.require_classes("a classifier", at_least=2, parameter="features")
    if features == "components" or (features is None and (dataset.num_classes or 0) < 2):
        return reference_classifier.without_classes(dataset, num_samples=num_samples)
    if features in (None, "classifier"):
        return reference_classifier.reference(flags, dataset, num_samples=num_samples, cache=cache)
    function = _flat if features == "pixels" else imported(features)
    made = reference_classifier.in_features(function, dataset, num_samples=num_samples)
    print(f"samples are compared in {made.test.shape[1]} features: {features}", file=sys.stderr)
    return made


def imported(name: str, *, batch_size: int = 500) -> Callable[[ArrayLike], np.ndarray]:
    """A function of features by its importable name, as one of any number of examples.

    Args:
      name: MODULE:FUNCTION; the function takes examples x [B, ...], float32 in [0, 1], to features [B, D].

    Raises:
      BadInput: there is no such function; and when it is called, it returns something else.
    """
    module, _, attribute = name.partition(":")
    known = f"one of {', '.join(NAMED)}, or MODULE:FUNCTION"
    if not module or not attribute:
        raise BadInput(f"expected {known}, not {name[:200]!r}", parameter="features")
    try:
        function = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):  # a module that the user's one imports
            raise
        raise BadInput(f"there is no module {module[:200]!r}; give {known}", parameter="features") from None
    if not callable(function):
        raise BadInput(f"the module {module!r} has no function {attribute[:200]!r}", parameter="features")

    def of_batch(x: np.ndarray) -> np.ndarray:
        found = np.asarray(function(x))
        if found.ndim != 2 or len(found) != len(x) or found.dtype.kind not in "biuf" or not np.isfinite(found).all():
            raise BadInput(
                f"{name} must take examples {list(x.shape)} to finite numbers [{len(x)}, D]; it returned "
                f"{found.dtype} {list(found.shape)}",
                parameter="features",
            )
        return found

    def apply(x: ArrayLike) -> np.ndarray:
        x = np.asarray(x, np.float32)
        return np.concatenate([of_batch(x[start : start + batch_size]) for start in range(0, len(x), batch_size)])

    return apply


def measured(
    x: np.ndarray, label: np.ndarray | None, dataset: data.Dataset, reference: sample_quality.Reference
) -> dict[str, float]:
    """Every measure of samples.

    Args:
      x: samples [N, ...] in [0, 1].
      label: the classes that were asked for, [N], if there are any: then the share of the samples that the classifier
        of the reference finds in them is measured (`class_accuracy`), and the accuracy on held-out data of a classifier
        of the pixels of these samples (`class_accuracy_score`).
      dataset: the real data.
      reference: made of them.
    """
    found = sample_quality.every_measure(x, reference)
    if label is None:
        return found
    if reference.num_classes:
        found["class_accuracy"] = float(np.mean(reference.predict(x) == label))
    score = _class_accuracy_score(sample_quality.chosen(x), sample_quality.chosen(label), dataset)
    return found if score is None else found | _entries(score)


def noise_floor(
    dataset: data.Dataset, reference: sample_quality.Reference, *, num_samples: int
) -> tuple[dict[str, float], int]:
    """The same measures of training examples in the place of the samples: as many, but at most half of them.

    Returns:
      The measures, and the number of these examples.
    """
    num = min(num_samples, sample_quality.AT_MOST, len(reference.train) // 2)
    found = sample_quality.noise_floor(reference, num_samples=num)
    known = dataset.train.sample(num)
    classes = dataset.classes(known)
    score = None if classes is None else _class_accuracy_score(dataset.scaled(known), classes, dataset)
    return (found if score is None else found | _entries(score)), num


def _entries(score: Accuracy) -> dict[str, float]:
    return {"class_accuracy_score": score.value, "class_accuracy_score_error": score.standard_error}


@threadpool_limits.wrap(limits=1)  # the last bits of linear algebra depend on the number of threads
def _class_accuracy_score(x: np.ndarray, label: np.ndarray, dataset: data.Dataset) -> Accuracy | None:
    """The score of labelled examples on the held-out ones; None where there is a single class, or none held out."""
    held_out = dataset.test.sample(sample_quality.AT_MOST)
    classes = dataset.classes(held_out)
    if classes is None or len(np.unique(label)) < 2:
        return None
    return class_accuracy_score(x, label, dataset.scaled(held_out), classes)


def _flat(x: ArrayLike) -> np.ndarray:
    x = np.asarray(x)
    return x.reshape(len(x), -1)
