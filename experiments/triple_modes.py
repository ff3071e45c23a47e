"""The modes of triples of digits (`genjax.data.triples`), counted by a classifier of the grey images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from experiments import game_stability, reference_classifier
from genjax import data, runs
from genjax.data import batching, triples
from genjax.evaluation.modes import class_coverage
from genjax.stderr import print_line

NUM_SAMPLES = 26_000  # as the papers draw


class Counter(NamedTuple):
    """A classifier of triples, and what it finds in those that are held out."""

    predict: Callable[[ArrayLike], np.ndarray]  # x [N, H, W, 3] in [0, 1] -> classes [N] in 0..K - 1
    num_modes: int  # K
    of_data: dict[str, float]


def of_channels(predict: Callable[[ArrayLike], np.ndarray], num_classes: int) -> Callable[[ArrayLike], np.ndarray]:
    """A classifier of grey images [N, H, W, 1] as one of triples [N, H, W, 3], a channel at a time."""

    def apply(x: ArrayLike) -> np.ndarray:
        channels = np.moveaxis(np.asarray(x, np.float32), -1, 0)[..., None]
        return triples.number_of(np.stack([predict(channel) for channel in channels], axis=1), num_classes)

    return apply


def counter(flags: runs.Flags, dataset: data.Dataset, cache: Path) -> Counter:
    """Finds or trains the classifier of the grey images; one line on standard error says how well it counts.

    Args:
      flags: of the run.
      dataset: triples, as the run is trained on.
      cache: the directory of auxiliary models.
    """
    grey = data.load(dataset.name.removeprefix(triples.PREFIX), data_dir=flags.data_dir)
    grey = batching.statically_binarized(grey) if flags.binarize == "static" else grey
    single = reference_classifier.predictor(flags, grey, cache)
    predict = of_channels(single.predict, grey.require_classes("a classifier"))
    num_modes = dataset.require_classes("counting modes")
    label, classes = dataset.test.label, predict(dataset.scaled(dataset.test))
    assert label is not None
    truth, found = (class_coverage(each, num_modes) for each in (label, classes))
    error = float(np.mean(classes != label))
    print_line(
        f"modes are counted by a classifier of {grey.name} (error {1 - single.accuracy:.3f} of an image, {error:.3f} "
        f"of a triple): of {len(label)} held-out triples it finds {found.covered} of {num_modes} modes and a "
        f"divergence of {found.divergence:.3f} nats; by their labels {truth.covered} and {truth.divergence:.3f}"
    )
    of_data = {
        "classifier_error": error,
        "held_out_modes_covered": float(found.covered),
        "held_out_mode_divergence": found.divergence,
    }
    return Counter(predict, num_modes, of_data)


def measure(samples: ArrayLike, counter: Counter) -> dict[str, float]:
    """The modes that samples cover, and KL(samples' modes || equal ones) in nats: see `class_coverage`."""
    found = class_coverage(counter.predict(samples), counter.num_modes)
    expected = game_stability.expected_modes(counter.num_modes, len(np.asarray(samples)))
    return {
        "modes_covered": float(found.covered),
        "modes_expected": expected,
        "mode_divergence": found.divergence,
    }
