"""What is known of metrics by their names: units, whether larger or smaller values are better, and which come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """A metric's unit, and which of its values are better."""

    unit: str = ""  # empty for shares, counts and other pure numbers
    better: str = ""  # "higher", "lower", or empty if neither is


KNOWN: Mapping[str, Metric] = {
    "negative_elbo": Metric("nats", "lower"),
    "negative_log_likelihood": Metric("nats", "lower"),
    "cross_entropy": Metric("nats", "lower"),
    "distortion": Metric("nats"),
    "rate": Metric("nats"),
    "information": Metric("nats"),
    "aggregate_divergence": Metric("nats"),
    "total_correlation": Metric("nats"),
    "psnr": Metric("dB", "higher"),
    "bd_rate": Metric("", "lower"),
    "accuracy": Metric("", "higher"),
    "trustworthiness": Metric("", "higher"),
    "auroc": Metric("", "higher"),
    "auroc_min": Metric("", "higher"),
    "aupr": Metric("", "higher"),
    "fpr_at_95_tpr": Metric("", "lower"),
    "precision_at_n": Metric("", "higher"),
    "frechet_distance": Metric("", "lower"),
    "kernel_distance": Metric("", "lower"),
    "mind": Metric("", "lower"),
    "vendi_score": Metric("", "higher"),
    "authenticity": Metric("", "higher"),
    "class_accuracy_score": Metric("", "higher"),
    "precision": Metric("", "higher"),
    "recall": Metric("", "higher"),
    "density": Metric("", "higher"),
    "coverage": Metric("", "higher"),
    "modes_covered": Metric("modes", "higher"),
    "share_near_modes": Metric("", "higher"),
    "classes_found": Metric("classes", "higher"),
    "atoms_recovered": Metric("", "higher"),
    "largest_angle": Metric("radians", "lower"),
    "relative_excess": Metric("", "lower"),
    "rank_correlation": Metric("", "higher"),
    "rank1": Metric("", "higher"),
    "background_error": Metric("", "lower"),
    "error_reduction": Metric("", "higher"),
    "identified": Metric("", "higher"),
    "rank1_is_target": Metric("", "lower"),
    "cosine_to_source": Metric("", "higher"),
    "attribute_error": Metric("", "lower"),
}
"""By name. A name with more words in front, as `pca_psnr`, is that metric of something else."""

HEADLINE = 8
"""How many metrics are shown where there is room for a line or a page; all of them are in summary.json."""


def describe(name: str, own: Mapping[str, Metric] | None = None) -> Metric:
    """The unit and direction of a metric; neither for a name that is not known.

    Args:
      own: the metrics that an experiment declares, which take precedence.
    """
    known = {**KNOWN, **(own or {})}
    fitting = [key for key in known if name == key or name.endswith(f"_{key}")]
    return known[max(fitting, key=len)] if fitting else Metric()


def headline(names: Sequence[str], first: Sequence[str] = ()) -> list[str]:
    """The metrics to show where there is room for a few: those of `first`, then the others in their order."""
    chosen = [name for name in first if name in names]
    return (chosen + [name for name in names if name not in chosen])[:HEADLINE]


def best_evaluation(
    lines: Sequence[Mapping[str, Any]], name: str, *, better: str, error: float
) -> Mapping[str, Any] | None:
    """The held-out evaluation with the best value of a metric, if the last one is clearly worse.

    Clearly means by more than 1 % of the best value, and by more than three standard errors of the difference of two
    evaluations, 3 sqrt(2) `error`.

    Args:
      lines: a run's lines of metrics.
      better: "higher" or "lower".
      error: the standard error of one evaluation.
    """
    tests = [line for line in lines if line["split"] != "train" and name in line]
    sign = 1 if better == "lower" else -1
    best = min(tests, key=lambda line: sign * line[name])
    loss = sign * (tests[-1][name] - best[name])
    return best if loss > max(0.01 * abs(best[name]), 3 * 2**0.5 * error) else None
