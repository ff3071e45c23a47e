"""Batches as pure functions of (key, step): read inside the compiled loop from arrays on the device or, if the data do
not fit in memory, from the disk by threads that read ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
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

    `start(arrays, step, key)` returns what is carried from batch to batch (such as the order of an epoch), and
    `next(arrays, carried, step, key)` returns it updated, with the batch of that step. Both are pure, so a stream can
    start at any step, and none of it needs to be saved.

    A stream from the disk has a `feed`: `feed(key, step)` iterates over the stored batches of `step`, `step + 1`, ...,
    and `arrays` then hold as many of them as the loop takes at a time: `Fed(first, stored)`.
    """

    arrays: Any
    start: Callable[[Any, Array, Key], Any]
    next: Callable[[Any, Any, Array, Key], tuple[Any, Any]]
    feed: Callable[[Key, int], Iterator[Any]] | None = None


class Fed(NamedTuple):
    """Batches of consecutive steps, as stored."""

    first: Any  # [] int32, the first one's step
    stored: Any  # arrays [steps, B, ...]


class HeldOut(NamedTuple):
    """A finite evaluation set: groups of equal batches, arrays [batches, size, ...], and a function to read one."""

    groups: tuple[Any, ...]
    read: Callable[[Any, Key], Any]  # stored batch, key -> batch


class Source(NamedTuple):
    """The data of a run: an endless training stream and a held-out set."""

    train: Stream
    test: HeldOut


def dynamic_binarization(x: Array, key: Key) -> Array:
    """Binarises pixels with a new draw each time.

        x' ~ Bernoulli(x)

    Args:
      x: in [0, 1], [...].
      key: draws x'.

    Returns:
      The same shape, 0 or 1, float32.

    Source: Salakhutdinov & Murray 2008.
    """
    return jax.random.bernoulli(key, x).astype(jnp.float32)


def statically_binarized(dataset: Dataset) -> Dataset:
    """The data set with each pixel drawn once as Bernoulli of its intensity, the same draw in every run.

    Args:
      dataset: with x / scale in [0, 1].

    Returns:
      The data set with x in {0, 1}, uint8, and a scale of 1.

    Raises:
      BadInput: values outside [0, 1].

    Source: Larochelle & Murray 2011.
    """

    dataset.require_bounded("drawing pixels as 0 or 1", parameter="binarize")

    def draw(split: Split, seed: int) -> Split:
        uniform = np.random.RandomState(seed).random_sample(split.x.shape)  # a stream that NumPy keeps frozen
        return split._replace(x=(uniform * dataset.scale < split.x).astype(np.uint8))

    return dataset._replace(train=draw(dataset.train, 0), test=draw(dataset.test, 1), scale=1.0)


def _batch(stored: tuple[Array, Array | None], key: Key, scale: float, transform: Transform | None) -> Batch:
    x, label = stored
    x = x.astype(jnp.float32) / scale
    return Batch(x if transform is None else transform(x, key), label)


def _draw_key(key: Key, step: Array) -> Key:
    return jax.random.fold_in(jax.random.fold_in(key, 1), step)


def shuffled(split: Split, *, batch_size: int, scale: float, transform: Transform | None = None) -> Stream:
    """Epochs of a split, each in its own order; the last incomplete batch of an epoch is left out.

    The order of epoch e is a permutation drawn from `fold_in(key, e)`.

    Args:
      split: N examples.
      batch_size: from 1 to N.
      scale: the batches are x / scale.
      transform: applied to each batch, with a new key at every step.

    Returns:
      The stream of batches.

    Raises:
      BadInput: a batch larger than the split.
    """
    num = len(split.x)
    if not 1 <= batch_size <= num:
        raise BadInput(
            f"expected a number from 1 to {num}, the number of training examples, not {batch_size}",
            parameter="batch_size",
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
        return current, _batch(stored, _draw_key(key, step), scale, transform)

    return Stream((split.x, split.label), start, next)


def streamed(split: Split, *, batch_size: int, scale: float, transform: Transform | None = None) -> Stream:
    """`shuffled` for data that do not fit in memory: the same batches, read from the disk by threads.

    In a run of several processes each reads its own equal part of every batch.

    Args:
      split: N examples.
      batch_size: from 1 to N.
      scale: the batches are x / scale.
      transform: applied to each batch, with a new key at every step.

    Returns:
      The stream of batches.

    Raises:
      BadInput: a batch larger than the split, or the extra `stream` is not installed.
    """
    try:
        import grain
    except ImportError:
        raise BadInput(
            "larger data are read from disk, which needs Grain: pip install 'genjax-autoencoders[stream]'",
            parameter="memory_limit",
        ) from None
    in_memory = shuffled(split, batch_size=batch_size, scale=scale, transform=transform)
    per_epoch = len(split.x) // batch_size
    process, processes = jax.process_index(), jax.process_count()
    part = slice(process * batch_size // processes, (process + 1) * batch_size // processes)

    def feed(key: Key, step: int) -> Iterator[Any]:
        order = jax.jit(in_memory.start)

        @lru_cache(maxsize=2)
        def rows_of(epoch: int) -> np.ndarray:
            return np.asarray(order((), epoch * per_epoch, key))

        def read(step: int) -> Any:
            epoch, index = divmod(step, per_epoch)
            rows = rows_of(epoch)[index * batch_size : (index + 1) * batch_size][part]
            return jax.tree.map(lambda a: np.asarray(a[rows]), tuple(split))

        steps = grain.MapDataset.range(step, np.iinfo(np.int32).max).map(read)
        return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=32)))

    def next(arrays: Fed, carried: Any, step: Array, key: Key) -> tuple[Any, Batch]:
        stored = jax.tree.map(lambda a: a[step - arrays.first], arrays.stored)
        return carried, _batch(stored, _draw_key(key, step), scale, transform)

    return Stream(None, lambda arrays, step, key: (), next, feed)


def joined(first: Stream, second: Stream) -> Stream:
    """Batches of two streams of `Batch` from memory, the rows of the first before those of the second.

    Raises:
      ValueError: a stream that is read from the disk.
    """
    if first.feed is not None or second.feed is not None:
        raise ValueError("joined: a stream that is read from the disk cannot be joined with another")

    def start(arrays: Any, step: Array, key: Key) -> Any:
        keys = jax.random.split(key)
        return first.start(arrays[0], step, keys[0]), second.start(arrays[1], step, keys[1])

    def next(arrays: Any, carried: Any, step: Array, key: Key) -> tuple[Any, Batch]:
        keys = jax.random.split(key)
        one, batch = first.next(arrays[0], carried[0], step, keys[0])
        two, more = second.next(arrays[1], carried[1], step, keys[1])
        return (one, two), jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch, more)

    return Stream((first.arrays, second.arrays), start, next)


def held_out(split: Split, *, batch_size: int, scale: float, transform: Transform | None = None) -> HeldOut:
    """A split in batches of at most `batch_size`, with every example once.

    Args:
      split: N examples.
      batch_size: of all but the last batch.
      scale: the batches are x / scale.
      transform: applied to each batch, with a key.

    Returns:
      The held-out set.
    """
    size = min(batch_size, len(split.x))
    whole = len(split.x) // size * size
    stored = (split.x, split.label)
    full = jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), stored)
    rest = () if whole == len(split.x) else (jax.tree.map(lambda a: a[None, whole:], stored),)
    return HeldOut((full, *rest), lambda batch, key: _batch(batch, key, scale, transform))


def source(
    dataset: Dataset,
    *,
    batch_size: int,
    transform: Transform | None = None,
    test_batch: int = 500,
    memory_limit: float = math.inf,
) -> Source:
    """A data set as a source: its training split shuffled, its test split complete.

    Args:
      dataset: the two splits.
      batch_size: of training.
      transform: applied to each batch, with a new key at every step.
      test_batch: batch size of the test split.
      memory_limit: in bytes; a larger training split is `streamed`, with bit-identical batches.

    Returns:
      The training stream and the held-out set.

    Raises:
      BadInput: a batch larger than the split, or something else than a data set.
    """
    if not hasattr(dataset, "train"):
        raise BadInput(
            f"a value of type {type(dataset).__name__} is not a Dataset; "
            "genjax.data.from_arrays(name, train_x, test_x) makes one of arrays",
            parameter="dataset",
        )
    read = streamed if dataset.train.x.nbytes > memory_limit else shuffled
    return Source(
        read(dataset.train, batch_size=batch_size, scale=dataset.scale, transform=transform),
        held_out(dataset.test, batch_size=test_batch, scale=dataset.scale, transform=transform),
    )
