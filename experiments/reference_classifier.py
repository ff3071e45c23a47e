"""The classifier whose features are used to compare samples with a run's data.

It is trained once for each data set, cached beside the runs, and independent of their seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from genjax import data, networks, runs
from genjax.errors import BadInput
from genjax.evaluation import sample_quality
from genjax.models import classifier
from genjax.runs import auxiliary
from genjax.types import Array, Params

NUM_STEPS, SEED = 1000, 0
NUM_COMPONENTS = 32  # in which data without classes are compared


def settings(flags: runs.Flags, dataset: data.Dataset) -> dict[str, Any]:
    """What determines the classifier beside its data: convolutions for images of more than 16 pixels a side."""
    shape = dataset.train.x.shape[1:]
    return {
        "binarize": flags.binarize,
        "batch_size": min(128, len(dataset.train.x)),
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
        "network": "convolutional" if len(shape) == 3 and max(shape[:2]) > 16 else "mlp",
        "hidden": [256],
        "features": [32, 64],
        "feature_dim": 64,
    }


def build_parts(own: dict[str, Any], dataset: data.Dataset) -> classifier.Classifier:
    """The networks of these settings.

    Raises:
      BadInput: for data without two classes or more.
    """
    if not dataset.num_classes or dataset.num_classes < 2:
        raise BadInput(
            f"data set {dataset.name!r} has {dataset.num_classes or 'no'} classes; a classifier needs two or more"
        )
    shape, wide = dataset.train.x.shape[1:], (own["feature_dim"],)
    if own["network"] == "mlp":
        body = networks.mlp(shape, wide, hidden=own["hidden"], activation=jax.nn.relu)
    else:
        body = networks.convolutional_encoder(shape, wide, features=own["features"], activation=jax.nn.relu)
    head = networks.mlp(wide, (dataset.num_classes,), hidden=(), activation=jax.nn.relu)
    return classifier.Classifier(body, head)


def find_or_train(
    flags: runs.Flags, dataset: data.Dataset, cache: Path
) -> tuple[classifier.Classifier, auxiliary.Auxiliary]:
    """The classifier of a run's data, from the cache or trained now.

    Args:
      flags: the run's, of which only those of the data are used.
      dataset: as the run is trained on.

    Raises:
      BadInput: for data without two classes or more, or a folder that holds other parameters than were trained.
    """
    own = settings(flags, dataset)
    parts = build_parts(own, dataset)
    rate = optax.cosine_decay_schedule(own["learning_rate"], NUM_STEPS)
    optimizer = optax.adamw(rate, weight_decay=own["weight_decay"])
    found = auxiliary.find_or_train(
        classifier.model(parts, optimizer, classifier.objective(parts)),
        lambda: runs.read_shuffled(flags.replace(batch_size=own["batch_size"]), dataset),
        name="classifier",
        settings=own,
        seed=SEED,
        num_steps=NUM_STEPS,
        fingerprint=dataset.fingerprint,
        cache=cache,
        purpose="to compare samples by",
        watch=("cross_entropy", "accuracy"),
    )
    return parts, found


def reference(flags: runs.Flags, dataset: data.Dataset, *, num_samples: int, cache: Path) -> sample_quality.Reference:
    """What samples of a run's data are compared with; one line on standard error describes the comparison.

    Raises:
      BadInput: for fewer than `sample_quality.AT_LEAST` samples or held-out examples, or as `find_or_train` does.
    """
    _check_numbers(dataset, num_samples)
    parts, found = find_or_train(flags, dataset, cache)
    features = _in_batches(partial(classifier.features, parts=parts), found.params)
    probabilities = _in_batches(partial(classifier.probabilities, parts=parts), found.params)

    def predict(x: ArrayLike) -> np.ndarray:
        return probabilities(x).argmax(axis=1)

    made = sample_quality.reference(
        dataset.train.x,
        dataset.test.x,
        scale=dataset.scale,
        features=features,
        predict=predict,
        num_classes=dataset.num_classes or 0,
    )
    accuracy = np.mean(predict(dataset.test.x / dataset.scale) == dataset.test.label)
    print(
        f"samples are compared in the {made.test.shape[1]} features of a classifier of {dataset.name} (accuracy "
        f"{accuracy:.3f}): {min(num_samples, sample_quality.AT_MOST)} samples, {len(made.test)} held-out and "
        f"{len(made.train)} training examples; params_sha256 {found.params_sha256}",
        file=sys.stderr,
    )
    return made


def without_classes(dataset: data.Dataset, *, num_samples: int) -> sample_quality.Reference:
    """What samples are compared with without a classifier: principal components of the training data.

    Raises:
      BadInput: for fewer than `sample_quality.AT_LEAST` samples or held-out examples.
    """
    from sklearn.decomposition import PCA

    _check_numbers(dataset, num_samples)
    known = dataset.scaled(dataset.train.sample(10_000))
    flat = known.reshape(len(known), -1).astype(np.float64)
    with threadpool_limits(limits=1):  # the last bits of linear algebra depend on the number of threads
        pca = PCA(min(NUM_COMPONENTS, *flat.shape), svd_solver="covariance_eigh").fit(flat)

    def features(x: ArrayLike) -> np.ndarray:
        return pca.transform(np.reshape(np.asarray(x, np.float64), (len(np.asarray(x)), -1)))

    without = (dataset.num_classes or 0) < 2
    why = f": {dataset.name} has no classes to train a classifier on, and none can be counted" if without else ""
    print(f"samples are compared in {pca.n_components_} principal components of the data{why}", file=sys.stderr)
    return in_features(features, dataset, num_samples=num_samples)


def in_features(
    features: Callable[[ArrayLike], np.ndarray], dataset: data.Dataset, *, num_samples: int
) -> sample_quality.Reference:
    """What samples are compared with in any features, without counting classes.

    Raises:
      BadInput: for fewer than `sample_quality.AT_LEAST` samples or held-out examples.
    """
    _check_numbers(dataset, num_samples)
    return sample_quality.reference(
        dataset.train.x,
        dataset.test.x,
        scale=dataset.scale,
        features=features,
        predict=lambda x: np.zeros(len(np.asarray(x)), int),
        num_classes=0,
    )


class Predictor(NamedTuple):
    """A classifier as one function."""

    predict: Callable[[ArrayLike], np.ndarray]  # x [N, ...] in [0, 1] -> classes [N]
    accuracy: float  # on the held-out examples


def predictor(flags: runs.Flags, dataset: data.Dataset, cache: Path) -> Predictor:
    """The classifier of a run's data, as `find_or_train` returns it, for reading samples of known classes."""
    parts, found = find_or_train(flags, dataset, cache)
    probabilities = _in_batches(partial(classifier.probabilities, parts=parts), found.params)

    def predict(x: ArrayLike) -> np.ndarray:
        return probabilities(x).argmax(axis=1)

    return Predictor(predict, float(np.mean(predict(dataset.test.x / dataset.scale) == dataset.test.label)))


def _check_numbers(dataset: data.Dataset, num_samples: int) -> None:
    fewest, at_least = min(num_samples, len(dataset.test.x)), sample_quality.AT_LEAST
    if fewest < at_least:
        raise BadInput(f"{fewest} examples are too few to compare; {at_least} are needed, of samples and held out")


def _in_batches(
    function: Callable[[Params, Array], Array], params: Params, batch_size: int = 500
) -> Callable[[ArrayLike], np.ndarray]:
    """A function of parameters and examples as one of any number of examples."""
    compiled = jax.jit(function)

    def apply(x: ArrayLike) -> np.ndarray:
        x = np.asarray(x, np.float32)
        starts = range(0, len(x), batch_size)
        return np.concatenate([compiled(params, jnp.asarray(x[start : start + batch_size])) for start in starts])

    return apply
