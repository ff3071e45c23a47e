"""Batches as pure functions of (key, step), read inside the compiled loop from what lies on the device as stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.dataset import Dataset, Split
from genjax.errors import BadInput
from genjax.types import Array, Batch, Key

Transform = Callable[[Array, Key], Array]  # x [B, ...] in [0, 1], key -> x; fresh at every step


class Stream(NamedTuple):
    """An endless sequence of batches.

    `start(arrays, step, key)` gives what is carried from batch to batch (the order of an epoch, say), and
    `next(arrays, carried, step, key)` gives it anew with the batch of that step. Both are pure, so a stream can be
    entered at any step, and nothing of it is saved.
    """

    arrays: Any
    start: Callable[[Any, Array, Key], Any]
    next: Callable[[Any, Any, Array, Key], tuple[Any, Any]]


class HeldOut(NamedTuple):
    """A finite set that is evaluated whole: groups of equal batches, arrays [batches, size, ...], and their reading."""

    groups: tuple[Any, ...]
    read: Callable[[Any, Key], Any]  # stored batch, key -> batch


class Source(NamedTuple):
    """What a run reads: an endless training stream and a held-out set."""

    train: Stream
    test: HeldOut


def dynamic_binarization(x: Array, key: Key) -> Array:
    """Pixels drawn anew each time as Bernoulli of their intensity: x in [0, 1] -> {0, 1}, the same shape."""
    return jax.random.bernoulli(key, x).astype(jnp.float32)


def statically_binarized(dataset: Dataset) -> Dataset:
    """The data set with each pixel drawn once as Bernoulli of its intensity, the same draw in every run."""

    def draw(split: Split, seed: int) -> Split:
        uniform = np.random.RandomState(seed).random_sample(split.x.shape)  # a stream that NumPy keeps frozen
        return split._replace(x=(uniform * dataset.scale < split.x).astype(np.uint8))

    return dataset._replace(train=draw(dataset.train, 0), test=draw(dataset.test, 1), scale=1.0)


def _batch(stored: tuple[Array, Array | None], key: Key, scale: float, transform: Transform | None) -> Batch:
    x, label = stored
    x = x.astype(jnp.float32) / scale
    return Batch(x if transform is None else transform(x, key), label)


def shuffled(split: Split, *, batch_size: int, scale: float, transform: Transform | None = None) -> Stream:
    """Epochs of a split, each in an order of its own; the last incomplete batch of an epoch is left out.

    The order of epoch e is a permutation drawn from `fold_in(key, e)`.

    Raises:
      BadInput: if the batch is larger than the split.
    """
    num = len(split.x)
    if not 1 <= batch_size <= num:
        raise BadInput(
            f"--batch_size={batch_size}: the training split has {num} examples; give a number from 1 to {num}"
        )
    per_epoch = num // batch_size

    def order(key: Key, epoch: Array) -> Array:
        return jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, 0), epoch), num)

    def start(arrays: Any, step: Array, key: Key) -> Array:
        return order(key, step // per_epoch)

    def next(arrays: Any, current: Array, step: Array, key: Key) -> tuple[Array, Batch]:
        index = step % per_epoch
        current = jax.lax.cond(index == 0, lambda: order(key, step // per_epoch), lambda: current)
        rows = jax.lax.dynamic_slice(current, (index * batch_size,), (batch_size,))
        stored = jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), arrays)
        draw_key = jax.random.fold_in(jax.random.fold_in(key, 1), step)
        return current, _batch(stored, draw_key, scale, transform)

    return Stream((split.x, split.label), start, next)


def held_out(split: Split, *, batch_size: int, scale: float, transform: Transform | None = None) -> HeldOut:
    """A split in batches of at most `batch_size`, every example once."""
    size = min(batch_size, len(split.x))
    whole = len(split.x) // size * size
    stored = (split.x, split.label)
    full = jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), stored)
    rest = () if whole == len(split.x) else (jax.tree.map(lambda a: a[None, whole:], stored),)
    return HeldOut((full, *rest), lambda batch, key: _batch(batch, key, scale, transform))


def source(dataset: Dataset, *, batch_size: int, transform: Transform | None = None, test_batch: int = 500) -> Source:
    """A data set as a run reads it: its training split shuffled, its test split whole."""
    return Source(
        shuffled(dataset.train, batch_size=batch_size, scale=dataset.scale, transform=transform),
        held_out(dataset.test, batch_size=test_batch, scale=dataset.scale, transform=transform),
    )
