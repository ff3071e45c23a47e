"""Bits-back coding: a VAE as a lossless compressor, whose file is as long as its negative ELBO.

A code z that is drawn costs bits, -log p(z), but the choice among the codes of one example is a message of its own,
which the decoder reads back: -log q(z|x) bits. Each example x therefore

    takes from the message z ~ q(z|x),   adds x by p(x|z),   adds z by p(z)

and makes it -log2 p(x, z) + log2 q(z|x) bits longer, on average the negative ELBO. The decoder does the reverse, the
last example first. The message is a stack, as that of `entropy_coding`: several of them, the lanes, are coded side by
side by NumPy, with one tail of words.

Codes are discretised to the 2^K intervals of equal mass of p(z) = N(0, 1) in each dimension, so that adding z costs K
bits. The bits that the first examples take come from a seed; they are the only overhead.

Source: Townsend, Bird & Barber 2019, equations 3 to 5 and algorithm 1; Duda 2013.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, ndtr, ndtri

_WORD = 32  # bits that are moved between a lane and the tail at once


class Message:
    """A stack of symbols in lanes: `push` adds one to each lane, and `pop` takes it away again."""

    def __init__(self, head: ArrayLike, tail: ArrayLike, *, seed: int) -> None:
        """A message of its two parts.

        Args:
          head: the lanes [L] uint64, at least 2^32 each.
          tail: words [M] uint32, the last of which was moved out last.
          seed: of the lanes of a message without symbols, and of the words under its tail, without end.
        """
        self.head = np.array(head, np.uint64)
        self.borrowed = 0
        """How many words were taken from under the tail."""
        self._tail = [np.array(tail, np.uint32)]
        self._below = np.random.RandomState(seed)  # a stream that NumPy keeps frozen
        self._empty = self._words(len(self.head)) + np.uint64(1 << _WORD)

    @classmethod
    def start(cls, lanes: int, *, seed: int) -> Message:
        """A message without symbols."""
        message = cls(np.zeros(lanes), [], seed=seed)
        message.head = message._empty.copy()
        return message

    @property
    def tail(self) -> np.ndarray:
        """The words [M] uint32 that were moved out of the lanes."""
        return np.concatenate(self._tail)

    @property
    def is_empty(self) -> bool:
        """Whether the lanes are those of a message without symbols."""
        return bool((self.head == self._empty).all())

    @property
    def num_bits(self) -> int:
        """The length of the message without what was borrowed, in bits."""
        lanes = np.log2(self.head.astype(np.float64)) - np.log2(self._empty.astype(np.float64))
        return int(np.ceil(lanes.sum())) + _WORD * (sum(map(len, self._tail)) - self.borrowed)

    def push(self, start: ArrayLike, frequency: ArrayLike, precision: int) -> None:
        """Adds the symbols of n lanes, the first ones.

        Args:
          start: first of the 2^t slots of each symbol, [n].
          frequency: number of its slots, [n], from 1 to 2^t - 1.
          precision: t, at most 32.
        """
        start, frequency = np.asarray(start, np.uint64), np.asarray(frequency, np.uint64)
        t, word = np.uint64(precision), np.uint64(_WORD)
        x = self.head[: len(start)]
        full = x >= frequency << (np.uint64(64) - t)
        self._tail.append((x[full] & np.uint64(2**_WORD - 1)).astype(np.uint32))
        x = np.where(full, x >> word, x)
        self.head[: len(start)] = (x // frequency << t) + start + x % frequency

    def pop(self, find: Callable[[np.ndarray], tuple], precision: int, num: int) -> np.ndarray:
        """Takes the last symbols of the first `num` lanes away.

        Args:
          find: slots [num] int64 -> (symbol, start, frequency), [num] each.
          precision: t, at most 32.

        Returns:
          The symbols, [num].
        """
        t, word = np.uint64(precision), np.uint64(_WORD)
        x = self.head[:num]
        slot = x & np.uint64(2**precision - 1)
        symbol, start, frequency = find(slot.astype(np.int64))
        x = np.asarray(frequency, np.uint64) * (x >> t) + slot - np.asarray(start, np.uint64)
        empty = x < np.uint64(2**_WORD)
        x[empty] = x[empty] << word | self._take(int(empty.sum())).astype(np.uint64)
        self.head[:num] = x
        return np.asarray(symbol)

    def _take(self, num: int) -> np.ndarray:
        """The last `num` words, from under the tail if it is shorter."""
        taken: list[np.ndarray] = []
        while num and self._tail:
            words = self._tail.pop()
            rest, last = words[: max(0, len(words) - num)], words[max(0, len(words) - num) :]
            if len(rest):
                self._tail.append(rest)
            taken.insert(0, last)
            num -= len(last)
        if num:
            self.borrowed += num
            taken.insert(0, self._words(num).astype(np.uint32))
        self._tail = self._tail or [np.zeros(0, np.uint32)]
        return np.concatenate(taken) if taken else np.zeros(0, np.uint32)

    def _words(self, num: int) -> np.ndarray:
        """The next words under the tail, [num] uint64."""
        return self._below.randint(0, 2**_WORD, size=num, dtype=np.uint64)


class Coder(NamedTuple):
    """What the sender and the receiver share: a VAE of bits with a diagonal Gaussian posterior and the prior N(0, I).

    Both must compute the same bits, so that both call the functions with the same number of rows, `lanes`.
    """

    encode: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # x [L, D] -> mean, log-variance [L, d]
    decode: Callable[[np.ndarray], np.ndarray]  # z [L, d] -> logits [L, D]
    lanes: int  # L
    latent_bits: int = 12  # K
    precision: int = 28  # t of z, above K


PIXEL_PRECISION = 24
"""The bits t of the probabilities of pixels."""


Progress = Callable[[Sequence[int]], Iterable[int]]
"""Iterates over the first rows of the groups that are coded in turn."""


def compress(x: np.ndarray, coder: Coder, *, seed: int = 0, progress: Progress = iter) -> Message:
    """The message that holds binary examples.

    Args:
      x: [N, D], 0 or 1.
      coder: what the receiver has too.
      seed: of the bits that the first examples take.
      progress: shows how far it is, as `tqdm` does.

    Raises:
      ValueError: other values.
    """
    x = np.asarray(x)
    if x.ndim != 2 or not np.isin(x, (0, 1)).all():
        raise ValueError(f"x must be bits [N, D]; got {x.dtype} {x.shape}")
    message = Message.start(coder.lanes, seed=seed)
    for first in progress(range(0, len(x), coder.lanes)):
        rows = x[first : first + coder.lanes]
        mean, log_variance = (_rows(a, len(rows)) for a in coder.encode(_padded(rows, coder.lanes)))
        index = np.stack(
            [
                message.pop(_finder(mean[:, j], log_variance[:, j], coder), coder.precision, len(rows))
                for j in range(mean.shape[1])
            ],
            axis=1,
        )
        ones = _ones(coder, index)
        for i in range(x.shape[1]):
            message.push(*_slots_of_bit(rows[:, i], ones[:, i]), PIXEL_PRECISION)
        for j in range(mean.shape[1]):
            message.push(index[:, j], np.ones(len(rows)), coder.latent_bits)
    return message


def decompress(
    message: Message, num: int, dim: int, latent_dim: int, coder: Coder, *, progress: Progress = iter
) -> np.ndarray:
    """The examples of a message, which is taken apart.

    Args:
      message: as `compress` made it.
      num: N.
      dim: D.
      latent_dim: d.
      coder: that of the sender.
      progress: as for `compress`.

    Returns:
      [N, D] uint8.
    """
    x = np.zeros((num, dim), np.uint8)
    for first in progress(range(0, num, coder.lanes)[::-1]):
        rows = x[first : first + coder.lanes]
        size = len(rows)
        index = np.zeros((size, latent_dim), np.int64)
        for j in reversed(range(latent_dim)):
            index[:, j] = message.pop(lambda slot: (slot, slot, np.ones(len(slot))), coder.latent_bits, size)
        ones = _ones(coder, index)
        for i in reversed(range(dim)):
            rows[:, i] = message.pop(partial(_bit_at, ones=ones[:, i]), PIXEL_PRECISION, size)
        mean, log_variance = (_rows(a, size) for a in coder.encode(_padded(rows, coder.lanes)))
        for j in reversed(range(latent_dim)):
            starts = _starts(mean[:, j], log_variance[:, j], coder)
            start = starts(index[:, j])
            message.push(start, starts(index[:, j] + 1) - start, coder.precision)
    return x


def _padded(rows: np.ndarray, lanes: int) -> np.ndarray:
    """As many rows as lanes, so that a network's products have one shape and one result."""
    return np.concatenate([rows, np.zeros((lanes - len(rows), *rows.shape[1:]), rows.dtype)])


def _rows(a: ArrayLike, num: int) -> np.ndarray:
    return np.asarray(a, np.float64)[:num]


def _ones(coder: Coder, index: np.ndarray) -> np.ndarray:
    """The number of slots of a bit 1 for codes in the middle of their intervals, [n, d] -> [n, D]."""
    z = ndtri((index + 0.5) / 2**coder.latent_bits)
    p = expit(_rows(coder.decode(_padded(z.astype(np.float32), coder.lanes)), len(index)))
    return np.clip(np.rint(p * 2**PIXEL_PRECISION), 1, 2**PIXEL_PRECISION - 1).astype(np.int64)


def _slots_of_bit(bit: np.ndarray, ones: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and number of the slots: a 1 has the first ones, and a 0 the others."""
    return np.where(bit, 0, ones), np.where(bit, ones, 2**PIXEL_PRECISION - ones)


def _bit_at(slot: np.ndarray, ones: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bit = slot < ones
    return bit, *_slots_of_bit(bit, ones)


def _starts(mean: np.ndarray, log_variance: np.ndarray, coder: Coder) -> Callable[[np.ndarray], np.ndarray]:
    """The first slot of each interval under N(mean, e^s), and behind the last the number of slots."""
    num, slots = 2**coder.latent_bits, 2**coder.precision
    with np.errstate(divide="ignore"):
        edges = ndtri(np.arange(num + 1) / num)
    scale = np.exp(log_variance / 2)

    def starts(index: np.ndarray) -> np.ndarray:
        share = ndtr((edges[index] - mean) / scale)
        return np.rint(share * (slots - num)).astype(np.int64) + index  # each interval has a slot at least

    return starts


def _finder(mean: np.ndarray, log_variance: np.ndarray, coder: Coder) -> Callable[[np.ndarray], tuple]:
    """Finds the interval of a slot by bisection."""
    starts = _starts(mean, log_variance, coder)

    def find(slot: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = np.zeros(len(slot), np.int64)
        for step in (1 << bit for bit in reversed(range(coder.latent_bits))):
            index = np.where(starts(index + step) <= slot, index + step, index)
        start = starts(index)
        return index, start, starts(index + 1) - start

    return find
