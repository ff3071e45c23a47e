"""Pairs of pictures with the same identity, pairs whose ideal swap is known, and rendered pictures to measure by.

Rendered identities are numbered: 0 to 999 are for training, 50 000 to 50 999 for scoring and 100 000 to 100 099 for
testing. A number is the same identity in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import memory
from genjax.data import faces
from genjax.data.batching import HeldOut, Source, Stream
from genjax.data.dataset import Dataset, Split
from genjax.errors import BadInput
from genjax.types import Array, Batch, Key, Pair

_AT_A_TIME = 128  # faces in one call of their program
_WORKING = 464  # bytes of each pixel while faces are rendered, as XLA allocates them
TRAIN, SCORE, TEST = range(1000), range(50_000, 51_000), range(100_000, 100_100)
RENDERED = "faces"  # the data set whose pictures are rendered as they are needed


def _identities(numbers: Array) -> Array:
    return faces.draw_identities(numbers, jax.random.fold_in(jax.random.key(0), 0))


def _render(identity: Array, attributes: Array, size: int) -> Array:
    """[N, 19] and [N, 27] -> [N, S, S, 3], as a part of a program."""
    factors = (identity, attributes)
    return jax.lax.map(lambda one: faces.render(*one, size=size).image, factors, batch_size=_AT_A_TIME)


@partial(jax.jit, static_argnames="size")
def _render_some(identity: Array, attributes: Array, size: int) -> faces.Rendering:
    return jax.vmap(partial(faces.render, size=size))(identity, attributes)


def _rendered(identity: Array, attributes: Array, size: int) -> Iterator[faces.Rendering]:
    """[N, 19] and [N, 27] -> their faces, a few at a time: one program, compiled once, for any number of them."""
    memory.require(_WORKING * _AT_A_TIME * size**2, f"a rendering of faces of {size} x {size} pixels")
    for start in range(0, len(identity), _AT_A_TIME):
        some = [np.asarray(a[start : start + _AT_A_TIME]) for a in (identity, attributes)]
        count = len(some[0])
        padded = [np.pad(a, ((0, _AT_A_TIME - count), (0, 0)), mode="edge") for a in some]
        yield jax.tree.map(lambda a, count=count: np.asarray(a)[:count], _render_some(*padded, size=size))


def _faces(identity: Array, attributes: Array, size: int) -> faces.Rendering:
    """[N, 19] and [N, 27] -> all their faces."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *_rendered(identity, attributes, size))


def source(dataset: Dataset, *, batch_size: int, size: int) -> Source:
    """Pairs of pictures of one identity: rendered ones for the data set `faces`, otherwise those of the data set.

    Args:
      dataset: with labels for the identities.
      batch_size: pairs per batch.
      size: side of rendered pictures in pixels.

    Returns:
      A Source of Pair.

    Raises:
      BadInput: as `rendered_pairs` and `labelled_pairs` do.
    """
    if dataset.name == RENDERED:
        return rendered_pairs(batch_size=batch_size, size=size)
    dataset.require_classes("a pair of pictures of one identity", parameter="dataset")
    return labelled_pairs(dataset.train, dataset.test, batch_size=batch_size, scale=dataset.scale)


def image_shape(dataset: Dataset, *, size: int) -> tuple[int, int, int]:
    """Shape of the pictures from `source`.

    Args:
      dataset: the one given to `source`.
      size: side of rendered pictures in pixels.

    Returns:
      (H, W, C).

    Raises:
      BadInput: data that are not images.
    """
    if dataset.name == RENDERED:
        return size, size, 3
    if dataset.train.x.ndim != 4:
        raise BadInput(f"data set {dataset.name!r} has no images")
    height, width, channels = dataset.train.x.shape[1:]
    return height, width, channels


def rendered_pairs(*, batch_size: int, size: int = 32) -> Source:
    """Two new pictures of each of `batch_size` training identities at every step, rendered when they are needed.

    Held out are two pictures of each test identity.

    Args:
      batch_size: identities per batch.
      size: S, the side of the pictures in pixels.

    Returns:
      A Source of Pair, [B, S, S, 3] each.

    Raises:
      BadInput: a batch larger than the number of identities.
    """
    if not 2 <= batch_size <= len(TRAIN):
        raise BadInput(
            f"expected a number from 2 to {len(TRAIN)}, the number of identities, not {batch_size}",
            parameter="batch_size",
        )

    def next(arrays: Any, carried: Any, step: Array, key: Key) -> tuple[Any, Pair]:
        who_key, attributes_key = jax.random.split(jax.random.fold_in(key, step))
        identity = _identities(jax.random.permutation(who_key, len(TRAIN))[:batch_size])
        attributes = faces.draw_attributes(2 * batch_size, attributes_key)
        images = _render(jnp.concatenate([identity, identity]), attributes, size)
        return carried, Pair(images[:batch_size], images[batch_size:])

    identity = _identities(jnp.tile(jnp.asarray(TEST), 2))
    attributes = faces.draw_attributes(len(identity), jax.random.fold_in(jax.random.key(0), 2))
    images = _faces(identity, attributes, size).image[None]
    held_out = jax.tree.map(np.asarray, Pair(images[:, : len(TEST)], images[:, len(TEST) :]))
    return Source(Stream((), lambda arrays, step, key: (), next), HeldOut((held_out,), lambda pair, key: pair))


def labelled_pairs(train: Split, test: Split, *, batch_size: int, scale: float) -> Source:
    """Two different pictures of each of `batch_size` labels at every step.

    Held out is one picture of each label as the target, with a training picture as the source. Labels with fewer than
    two pictures are left out of training.

    Args:
      train, test: splits with labels.
      batch_size: labels per batch.
      scale: the batches are x / scale.

    Returns:
      A Source of Pair.

    Raises:
      BadInput: pictures without labels, or a batch larger than the number of labels with two pictures.
    """
    if train.label is None or test.label is None:
        raise BadInput("pairs of one identity need labels: one subfolder for each person")
    x, first, count = _by_label(train)
    if len(first) < 2:
        raise BadInput(
            f"pairs need two identities or more with two training pictures or more, and the data have {len(first)}; "
            "give more pictures of each",
            parameter="dataset",
        )
    if not 2 <= batch_size <= len(first):
        raise BadInput(
            f"{batch_size} is not possible: {len(first)} identities have two pictures or more; give a number from 2 to "
            f"{len(first)}",
            parameter="batch_size",
        )

    def next(arrays: Any, carried: Any, step: Array, key: Key) -> tuple[Any, Pair]:
        x, first, count = arrays
        who_key, target_key, source_key = jax.random.split(jax.random.fold_in(key, step), 3)
        who = jax.random.permutation(who_key, len(first))[:batch_size]
        target = jax.random.randint(target_key, [batch_size], 0, count[who])
        source = (target + jax.random.randint(source_key, [batch_size], 1, count[who])) % count[who]
        rows = (first[who] + target, first[who] + source)
        return carried, Pair(*(x[row].astype(jnp.float32) / scale for row in rows))

    # a held-out picture of each identity, and the first of its training pictures as the source
    known, train_row = np.unique(train.label, return_index=True)
    seen, test_row = np.unique(test.label, return_index=True)
    _, of_known, of_seen = np.intersect1d(known, seen, return_indices=True)
    if len(of_seen) < 2:
        raise BadInput("fewer than two identities have a held-out picture; give more pictures of each")
    held_out = (test.x[test_row[of_seen]][None], train.x[train_row[of_known]][None])
    return Source(
        Stream((x, first, count), lambda arrays, step, key: (), next),
        HeldOut((held_out,), lambda pair, key: Pair(*(a.astype(jnp.float32) / scale for a in pair))),
    )


def _by_label(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pictures of one label after those of another; where those of each begin and how many, of two or more."""
    label: Any = split.label
    order = np.argsort(label, kind="stable")
    _, first, count = np.unique(label[order], return_index=True, return_counts=True)
    enough = count >= 2
    return split.x[order], first[enough].astype(np.int32), count[enough].astype(np.int32)


def rendered_attributes(*, batch_size: int, size: int = 32) -> Source:
    """New pictures of training identities at every step, with their attributes as the label.

    Held out are two pictures of each test identity.

    Args:
      batch_size: pictures per batch.
      size: S, the side of the pictures in pixels.

    Returns:
      A Source of Batch(x [B, S, S, 3], `faces.attribute_targets` [B, 29]).
    """

    def next(arrays: Any, carried: Any, step: Array, key: Key) -> tuple[Any, Batch]:
        who_key, attributes_key = jax.random.split(jax.random.fold_in(key, step))
        identity = _identities(jax.random.randint(who_key, [batch_size], 0, len(TRAIN)))
        attributes = faces.draw_attributes(batch_size, attributes_key)
        return carried, Batch(_render(identity, attributes, size), faces.attribute_targets(attributes))

    identity = _identities(jnp.repeat(jnp.asarray(TEST), 2))
    attributes = faces.draw_attributes(len(identity), jax.random.fold_in(jax.random.key(0), 4))
    label = faces.attribute_targets(attributes)
    held_out = jax.tree.map(np.asarray, Batch(_faces(identity, attributes, size).image[None], label[None]))
    return Source(Stream((), lambda arrays, step, key: (), next), HeldOut((held_out,), lambda batch, key: batch))


def _known(numbers: range, alike: bool) -> Array:
    """The identities of these numbers, [N, 19]."""
    identity = _identities(jnp.asarray(numbers))
    return faces.alike(identity) if alike else identity


class Pictures(NamedTuple):
    """Rendered pictures as stored."""

    x: np.ndarray  # [N, S, S, 3] uint8
    skin: np.ndarray  # [N, S, S] uint8, how much of a pixel is skin
    label: np.ndarray  # [N], the index of the identity among those requested


def rendered_pictures(numbers: range, *, each: int, stream: int, size: int = 32, alike: bool = False) -> Pictures:
    """`each` pictures of every identity, one identity after the other.

    Args:
      numbers: of the identities.
      each: pictures per identity.
      stream: which pictures; the same stream gives the same ones.
      size: S, the side of the pictures in pixels.
      alike: whether the identities are made `faces.alike`.

    Returns:
      The pictures, their skin and their labels.

    Raises:
      BadInput: they do not fit in memory.
    """
    num = each * len(numbers)
    memory.require(4 * num * size**2, f"a set of {num} rendered pictures of {size} x {size} pixels")
    identity = jnp.repeat(_known(numbers, alike), each, axis=0)
    attributes = faces.draw_attributes(len(identity), jax.random.fold_in(jax.random.key(0), stream))
    drawn = [
        (np.round(255 * some.image).astype(np.uint8), np.round(255 * some.skin).astype(np.uint8))
        for some in _rendered(identity, attributes, size)
    ]
    x, skin = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    return Pictures(x, skin, np.repeat(np.arange(len(numbers)), each))


class SwapTest(NamedTuple):
    """Pairs of pictures of N identities with the ideal swap of each, to compare a swap with."""

    target: Array  # [N, S, S, 3] in [0, 1], of identity i
    source: Array  # [N, S, S, 3], of identity (i + 37) mod N
    ideal: Array  # [N, S, S, 3], the source's identity with the target's attributes
    face: Array  # [N, S, S], the skin of the target or of the ideal, whichever is more
    background: Array  # [N, S, S], 1 where neither has any foreground
    target_skin: Array  # [N, S, S]
    source_skin: Array  # [N, S, S]
    candidates: Array  # [N, N, S, S, 3], each identity with the attributes of target i
    wanted: Array  # [N], the row in `candidates` that is the source's
    attributes: Array  # [N, 27], the target's


def swap_test(*, size: int = 32, numbers: range = TEST, shift: int = 37, alike: bool = False) -> SwapTest:
    """Pairs of the test identities with their ideal swaps, the same in every run.

    Args:
      size: S, the side of the pictures in pixels.
      numbers: of the identities.
      shift: the source of target i is identity (i + shift) mod N.
      alike: whether the identities are made `faces.alike`, which differ in neither colour nor outline.

    Returns:
      The pairs and their truth.
    """

    num = len(numbers)
    identity = _known(numbers, alike)
    wanted = (jnp.arange(num) + shift) % num
    target_key, source_key = jax.random.split(jax.random.fold_in(jax.random.key(0), 3))
    of_target, of_source = faces.draw_attributes(num, target_key), faces.draw_attributes(num, source_key)
    target, source = _faces(identity, of_target, size), _faces(identity[wanted], of_source, size)
    ideal = _faces(identity[wanted], of_target, size)
    every = (jnp.tile(identity, (num, 1)), jnp.repeat(of_target, num, axis=0))
    candidates = [some.image for some in _rendered(*every, size)]
    return SwapTest(
        target.image,
        source.image,
        ideal.image,
        jnp.maximum(target.skin, ideal.skin),
        ((target.foreground == 0) & (ideal.foreground == 0)).astype(jnp.float32),
        target.skin,
        source.skin,
        jnp.concatenate(candidates).reshape(num, num, size, size, 3),
        wanted,
        of_target,
    )
