"""What samples are compared in: the features of a classifier of the run's own data, trained once and kept.

It is the same for every run on the same data, whatever the run's seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from experiments import classifier as page
from experiments import common, kept
from genjax import data, gradients
from genjax.errors import BadInput
from genjax.evaluation import coverage, distances
from genjax.models import classifier as family
from genjax.types import Array, Model, Params

AT_LEAST, AT_MOST = 20, 5000
"""How many samples and held-out examples are compared: of more a part, and fewer are not compared."""


class Reference(NamedTuple):
    """The data that samples are held against, seen through features."""

    seen: Features
    train: np.ndarray  # [N, D], all, in the order in which some are chosen
    test: np.ndarray  # [at most AT_MOST, D]
    num_classes: int


class Features(NamedTuple):
    """A trained classifier as what samples are seen through."""

    name: str  # what they are, in words
    features: Callable[[ArrayLike], np.ndarray]  # x [N, ...] in [0, 1] -> [N, D], its penultimate layer
    predict: Callable[[ArrayLike], np.ndarray]  # x [N, ...] -> the most probable class, [N]
    params_sha256: str
    folder: Path  # where it is kept


def classifier_config(config: common.Config, dataset: data.Dataset) -> common.Config:
    """The classifier's flags for the data of a run: convolutions for images of more than 16 pixels a side."""
    shape = dataset.train.x.shape[1:]
    return common.Config(
        experiment="classifier",
        dataset=config.dataset,
        data_dir=config.data_dir,
        binarize=config.binarize,
        seed=0,
        num_steps=1000,
        batch_size=min(128, len(dataset.train.x)),
        learning_rate=1e-3,
        weight_decay=1e-2,
        network="convolutional" if len(shape) == 3 and max(shape[:2]) > 16 else "mlp",
        hidden=[256],
        features=[32, 64],
        feature_dim=64,
        cpu_threads=config.cpu_threads,
    )


def flags_of(own: common.Config) -> page.Flags:
    """The flags of the page that are those of `classifier_config`."""
    return page.Flags(**{name: value for name, value in vars(own).items() if name != "experiment"})


def built(own: common.Config, dataset: data.Dataset) -> tuple[family.Classifier, Model]:
    """The parts and the model of a classifier with the flags of `classifier_config`."""
    made = page.build(flags_of(own), dataset, gradients.whole_batch)
    return made.parts, made.model


def classifier(config: common.Config, dataset: data.Dataset) -> Features:
    """The classifier for a run's data, found in the directory of runs or trained there now.

    Args:
      config: the run's; its data, its threads and where it lies alone are read.
      dataset: as the run is trained on.

    Raises:
      BadInput: data without classes, or a folder that holds other parameters than were trained.
    """
    own = classifier_config(config, dataset)
    parts, model = built(own, dataset)
    found = kept.find_or_train(
        own,
        model,
        lambda: page.EXPERIMENT.source(flags_of(own), dataset),
        fingerprint=dataset.fingerprint,
        runs=config.runs,
        purpose="to compare samples by",
        watch=page.EXPERIMENT.watch,
    )
    params = found.params
    features = _in_batches(partial(family.features, parts=parts), params)
    probabilities = _in_batches(partial(family.probabilities, parts=parts), params)

    def predict(x: ArrayLike) -> np.ndarray:
        return probabilities(x).argmax(axis=1)

    accuracy = np.mean(predict(dataset.test.x / dataset.scale) == dataset.test.label)
    name = f"the {own.feature_dim} features of a classifier of {dataset.name} (accuracy {accuracy:.3f})"
    return Features(name, features, predict, found.params_sha256, found.folder)


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


def reference(dataset: data.Dataset, seen: Features, *, num_samples: int) -> Reference:
    """The data of a run through the features of `classifier`; says what is compared with what.

    Of more than `AT_MOST` examples a fixed choice is taken, except that nearest neighbours are sought in the whole
    training set.

    Raises:
      BadInput: fewer than `AT_LEAST` samples or held-out examples.
    """
    fewest = min(num_samples, len(dataset.test.x))
    if fewest < AT_LEAST:
        raise BadInput(f"{fewest} examples are too few to compare; {AT_LEAST} are needed, of samples and held out")
    train = seen.features(_chosen(dataset.train.x, len(dataset.train.x)) / dataset.scale)
    test = seen.features(_chosen(dataset.test.x, AT_MOST) / dataset.scale)
    print(
        f"samples compared in {seen.name}: {min(num_samples, AT_MOST)} samples, {len(test)} held-out and {len(train)} "
        f"training examples; params_sha256 {seen.params_sha256}",
        file=sys.stderr,
    )
    return Reference(seen, train, test, dataset.num_classes or 0)


@threadpool_limits.wrap(limits=1)  # the last bits of linear algebra depend on the number of threads
def sample_quality(samples: ArrayLike, reference: Reference) -> dict[str, float]:
    """How samples compare with held-out data, and with training data in their place.

    Args:
      samples: [M, ...] in [0, 1], `AT_LEAST` or more; at most `AT_MOST` are compared.
      reference: what they should look like, of `reference`.

    Returns:
      Of the features of the samples and the held-out examples `frechet_distance`, `kernel_distance` with
      `kernel_distance_error`, `precision`, `recall`, `density` and `coverage`; `train_frechet_distance`, of as many
      training examples as there are samples; `nearest_training_distance` and `held_out_nearest_training_distance`, in
      the median; of the predicted classes `classes_found`, `smallest_class_share` and `largest_class_share`.
    """
    samples = np.asarray(samples)[:AT_MOST]
    seen, train, test, num_classes = reference
    x = seen.features(samples)
    kernel, nearest = distances.kernel_distance(x, test), coverage.nearest_training_distance(x, train, test)
    quality = coverage.precision_recall(x, test)._asdict() | coverage.density_coverage(x, test)._asdict()
    shares = np.bincount(seen.predict(samples), minlength=num_classes) / len(samples)
    return {
        "frechet_distance": distances.frechet_distance(x, test),
        "train_frechet_distance": distances.frechet_distance(train[: len(x)], test),
        "kernel_distance": kernel.value,
        "kernel_distance_error": kernel.standard_error,
        **quality,
        "nearest_training_distance": nearest.samples,
        "held_out_nearest_training_distance": nearest.held_out,
        "classes_found": float(np.count_nonzero(shares)),
        "smallest_class_share": float(shares.min()),
        "largest_class_share": float(shares.max()),
    }


def _chosen(x: np.ndarray, at_most: int) -> np.ndarray:
    """The first examples of a fixed permutation: sources may have one class after the other."""
    return x[np.random.RandomState(0).permutation(len(x))[:at_most]]
