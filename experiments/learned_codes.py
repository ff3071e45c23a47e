"""Codes of a learned codec as bytes, and back, by the entropy coder and the codec's own probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import BadInput
from genjax.evaluation import entropy_coding
from genjax.losses import rounding
from genjax.models import learned_compression
from genjax.models.learned_compression import LearnedCompression
from genjax.types import Array, Params

CHUNK = 500  # examples that go through the networks at once, the same for sender and receiver
LEVELS = np.linspace(*rounding.LOG_SCALES, 64)  # to which the logarithms of the scales are rounded
MOST_SYMBOLS = 2**14  # of one stream
PRECISION = 2**24  # to which probabilities are rounded


class Compressed(NamedTuple):
    """Examples as bytes, and what the receiver must know of them."""

    streams: tuple[bytes, ...]  # of the code; with a hyperprior, of the side code and the code
    ranges: tuple[tuple[int, int], ...]  # the lowest and highest integer of each stream
    digest: str  # of the probabilities, which the receiver must compute to the bit
    rate: float  # in bits, for all examples, by the codec's own probabilities

    @property
    def num_bytes(self) -> int:
        """Of all streams."""
        return sum(map(len, self.streams))


def in_chunks(function: Callable[[Array], Any], rows: np.ndarray) -> Any:
    """A function of rows, applied to as many at once as any other call applies it to."""
    chunks = [np.resize(rows[i : i + CHUNK], (CHUNK, *rows.shape[1:])) for i in range(0, len(rows), CHUNK)]
    found = [function(jnp.asarray(chunk)) for chunk in chunks]
    return jax.tree.map(lambda *each: np.concatenate(each)[: len(rows)], *found)


def encode(params: Params, x: np.ndarray, *, parts: LearnedCompression) -> Compressed:
    """Examples [N, ...] as bytes.

    Raises:
      BadInput: the codes are so far apart that no table of probabilities reaches over them.
    """
    coded = in_chunks(jax.jit(lambda x: learned_compression.encode(params, x, parts=parts)), x)
    sent = [coded.code] if coded.side is None else [coded.side, coded.code]
    integers = [np.asarray(values).astype(np.int64) for values in sent]
    ranges = tuple((int(values.min()), int(values.max())) for values in integers)
    if max(high - low for low, high in ranges) >= MOST_SYMBOLS:
        low, high = max(ranges, key=lambda span: span[1] - span[0])
        raise BadInput(f"the codes reach from {low} to {high}; the images are unlike those that the codec learned from")
    streams, digest = [], hashlib.sha256()
    for values, (low, high) in zip(integers, ranges, strict=True):
        counts, models = probabilities(params, (low, high), integers[0] if streams else None, parts, digest)
        streams.append(entropy_coding.encode(values - low, counts, models))
    return Compressed(tuple(streams), ranges, digest.hexdigest(), float(np.sum(coded.rate)))


def decode(params: Params, compressed: Compressed, *, parts: LearnedCompression) -> np.ndarray:
    """The examples that these bytes stand for, [N, ...].

    Raises:
      BadInput: the bytes are damaged, or this machine computes other probabilities than the sender's.
    """
    values, digest = np.zeros((0, 0), np.int64), hashlib.sha256()
    for number, (stream, (low, high)) in enumerate(zip(compressed.streams, compressed.ranges, strict=True)):
        counts, models = probabilities(params, (low, high), values if number else None, parts, digest)
        try:
            values = entropy_coding.decode(stream, counts, models) + low
        except ValueError as error:
            raise BadInput(f"the codes do not come back: {error}", parameter="decompress") from None
    if digest.hexdigest() != compressed.digest:
        raise BadInput(
            "the codes do not come back: this machine does not compute the probabilities of the one that sent them",
            parameter="decompress",
        )
    return in_chunks(jax.jit(lambda q: learned_compression.decode(params, q, parts=parts)), values.astype(np.float32))


def probabilities(
    params: Params, span: tuple[int, int], side: np.ndarray | None, parts: LearnedCompression, digest: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """Expected counts of the integers of a stream under each model, and each integer's model if it is not its column's.

    The first stream has the learned density of each entry, the second, after the side code, a Gaussian of one of a
    few scales. `digest` takes them in.
    """
    integers = jnp.arange(span[0], span[1] + 1, dtype=jnp.float32)
    if side is None:
        dim = len(params["density"]["logits"])
        log_p = rounding.rounded_mixture_log_probability(params["density"], jnp.repeat(integers[:, None], dim, 1)).T
        models = None
    else:
        log_p = rounding.rounded_gaussian_log_probability(integers[None], jnp.asarray(LEVELS, jnp.float32)[:, None])
        scales = jax.jit(lambda r: learned_compression.log_scales(params, r, parts=parts))
        step = LEVELS[1] - LEVELS[0]
        models = np.round((in_chunks(scales, side.astype(np.float32)) - LEVELS[0]) / step).clip(0, len(LEVELS) - 1)
        models = models.astype(np.int64)
        digest.update(models.tobytes())
    counts = np.floor(PRECISION * np.exp(np.asarray(log_p, np.float64))).astype(np.int64)
    digest.update(counts.tobytes())
    return counts, models
