"""How well linear probes read the classes from codes with few labels, beside other features: several pages' measure."""

from __future__ import annotations

import numpy as np

from genjax import data, runs
from genjax.errors import BadInput
from genjax.evaluation import probes
from genjax.runs import flag

AT_MOST = 10_000  # training examples whose labels may be drawn

Features = dict[str, tuple[np.ndarray, np.ndarray]]  # prefix: features of the known examples, of the held-out ones


class Flags(runs.Record):
    """Probes."""

    labels_per_class: int = flag(10, "number of labels per class for training a probe", at_least=5)
    num_draws: int = flag(20, "number of draws of these labels", at_least=2, at_most=10**4)


def known(dataset: data.Dataset) -> np.ndarray:
    """The training examples whose labels may be drawn, as the model reads them."""
    return np.asarray(dataset.scaled(dataset.train.sample(AT_MOST)))


def check(flags: Flags, dataset: data.Dataset) -> None:
    """Checks that every class has enough labels; data without classes are not probed.

    Raises:
      BadInput: a class has too few.
    """
    label = dataset.classes(dataset.train.sample(AT_MOST))
    if label is None:
        return
    fewest = np.unique(label, return_counts=True)[1].min()
    if fewest < flags.labels_per_class:
        raise BadInput(
            f"the smallest class has {fewest} training examples, fewer than {flags.labels_per_class}",
            parameter="labels_per_class",
        )


def accuracies(flags: Flags, trained: runs.Trained, features: Features, *, seed: int) -> dict[str, float]:
    """`compare` of probes on these features of the `known` and the held-out examples; {} without classes.

    Args:
      features: those to be compared with the others first, under the prefix "".
      seed: of the draws of labels.
    """
    dataset, truth = trained.dataset, trained.classes
    labels = dataset.classes(dataset.train.sample(AT_MOST))
    if labels is None or truth is None:
        return {}
    rows = probes.draw_labels(labels, per_class=flags.labels_per_class, draws=flags.num_draws, seed=seed)
    return compare(
        {
            prefix: probes.linear_probe(of_known, labels, of_held_out, truth, rows=rows)
            for prefix, (of_known, of_held_out) in features.items()
        }
    )


def compare(found: dict[str, probes.Probe]) -> dict[str, float]:
    """Accuracies of the probes by their prefix, and the paired gain of the first, "", over each of the others."""
    metrics = {}
    for prefix, probe in found.items():
        metrics[f"{prefix}probe_accuracy"] = probe.mean
        metrics[f"{prefix}probe_accuracy_standard_error"] = probe.standard_error
    for prefix in list(found)[1:]:
        name = prefix.rstrip("_")
        gain = probes.Probe(found[""].accuracies - found[prefix].accuracies)
        metrics[f"gain_over_{name}"] = gain.mean
        metrics[f"gain_over_{name}_standard_error"] = gain.standard_error
        verdict = "a gain" if gain.mean > 2 * gain.standard_error else "no gain"
        print(f"{verdict} over {name}: {gain.mean:+.4f} +- {gain.standard_error:.4f}")
    return metrics
