"""Log-likelihood of held-out examples, estimated batch by batch, and what pages report of it."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import jax
import numpy as np

from genjax import runs
from genjax.data import batching
from genjax.evaluation.likelihood import Estimate, log_likelihood
from genjax.training import concluding
from genjax.types import Array, Batch, Key, Params

TOGETHER = 100  # examples in a batch


def in_batches(
    compute: Callable[[Params, Batch, Key], Any], params: Params, examples: Batch, key: Key, *, size: int = TOGETHER
) -> Any:
    """What a function gives for each example, compiled once and called with `fold_in(key, start)` for each batch."""
    compiled, found = jax.jit(compute), []
    starts = range(0, len(examples.x), size)
    for start in concluding.shown(starts, "batches of held-out examples", num=len(starts)):
        batch = jax.tree.map(lambda a, start=start: a[start : start + size], examples)
        found.append(compiled(params, batch, jax.random.fold_in(key, start)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def over_test_split(
    compute: Callable[[Params, Batch, Key], Any], trained: runs.Trained, key: Key, *, binarize: str, size: int = 20
) -> Any:
    """What a function gives for each example of the whole test split, read as in training.

    Args:
      compute: (params, batch, key) -> arrays [B], compiled once for each size of batch.
      binarize: as the flag; with `dynamic`, the pixels are drawn as 0 or 1 here.
      size: examples in a batch.

    Returns:
      Arrays [N] in the order of the split.
    """
    dataset = trained.dataset
    transform = batching.dynamic_binarization if binarize == "dynamic" else None
    test = batching.held_out(dataset.test, batch_size=size, scale=dataset.scale, transform=transform)

    @jax.jit
    def read_and_compute(params: Params, stored: Any, key: Key) -> Any:
        read_key, own_key = jax.random.split(key)
        return compute(params, test.read(stored, read_key), own_key)

    batches = [
        jax.tree.map(itemgetter(b), group) for group in test.groups for b in range(len(jax.tree.leaves(group)[0]))
    ]
    found = [
        read_and_compute(trained.params, stored, jax.random.fold_in(key, number))
        for number, stored in enumerate(concluding.shown(batches, "batches of held-out examples", num=len(batches)))
    ]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def by_importance(
    sampler: Callable[[Params, Batch], Callable[[Key], Array]],
    trained: runs.Trained,
    key: Key,
    *,
    num_samples: int,
    binarize: str,
) -> dict[str, float]:
    """Importance-sampled negative log-likelihood of the whole test split, as `over_examples` reports it.

    Args:
      sampler: (params, batch) -> (key -> log w), the importance sampler of a model.
    """

    def estimate(params: Params, batch: Batch, key: Key) -> Estimate:
        return log_likelihood(sampler(params, batch), key, num_samples=num_samples)

    return over_examples(over_test_split(estimate, trained, key, binarize=binarize))


def over_examples(estimate: Estimate) -> dict[str, float]:
    """`negative_mean`, and as negative_log_likelihood_spread its standard error over the examples."""
    value = np.asarray(estimate.value)
    return negative_mean(estimate) | {"negative_log_likelihood_spread": float(value.std() / len(value) ** 0.5)}


def negative_mean(estimate: Estimate, name: str = "negative_log_likelihood") -> dict[str, float]:
    """The mean of -log p(x) over the examples, and its standard error from the draws alone."""
    error = np.sqrt(np.sum(np.square(estimate.standard_error))) / len(estimate.value)
    return {name: -float(np.mean(estimate.value)), f"{name}_error": float(error)}
