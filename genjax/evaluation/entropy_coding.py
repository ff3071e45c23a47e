"""An entropy coder: integers to bytes and back, without loss, at the rate of their model.

It is the range variant of asymmetric numeral systems: the message is one large integer, the state, whose low bytes are
moved out when it grows. With f_k of each 2^t slots given to symbol k, from slot c_k on,

    encode:  x -> (x // f_k) 2^t + c_k + x mod f_k
    decode:  x -> f_k (x // 2^t) + slot - c_k,   where slot = x mod 2^t is one of k's

so that a symbol of probability f_k / 2^t makes the state log2(2^t / f_k) bits longer. All arithmetic is on integers, so
every machine decodes what was encoded. The last symbol encoded is the first one decoded.

Source: Duda 2013.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right

import numpy as np
from numpy.typing import ArrayLike

_SPARE_BITS = (
    16  # the state's bits beyond t, and t's beyond the alphabet's: a symbol loses about 2^-16 bits to rounding
)
_LENGTH_BYTES = 4


def _slots(counts: np.ndarray) -> tuple[int, list[list[int]]]:
    """t, and the slots c_0 = 0 < ... < c_K = 2^t of each column; every symbol has at least one."""
    num = counts.shape[1]
    t = _SPARE_BITS + num.bit_length()
    slots = []
    for column in counts.tolist():
        total, before, starts = sum(column) or 1, 0, [0]
        for k, count in enumerate(column, start=1):
            before += count
            starts.append(before * ((1 << t) - num) // total + k)
        starts[-1] = 1 << t
        slots.append(starts)
    return t, slots


def _checked_counts(counts: ArrayLike) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] < 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(f"counts must be integers [D, K], not negative; got {counts.dtype} {counts.shape}")
    return counts


def _checked_models(models: ArrayLike, counts: np.ndarray) -> np.ndarray:
    models = np.asarray(models)
    if models.ndim != 2 or models.dtype.kind not in "iu":
        raise ValueError(f"models must be integers [N, D]; got {models.dtype} {models.shape}")
    if models.size and not (0 <= models.min() and models.max() < len(counts)):
        raise ValueError(f"models must lie between 0 and {len(counts) - 1}; got {models.min()} to {models.max()}")
    return models


def encode(symbols: ArrayLike, counts: ArrayLike, models: ArrayLike | None = None) -> bytes:
    """Symbols as bytes, with a model of its own for each column, or for each symbol.

    Args:
      symbols: [N, D] integers from 0 to K - 1.
      counts: [M, K] integers, how often each symbol is expected under each of M models; the decoder needs the same. A
        symbol with a count of 0 can still be encoded, in many bits.
      models: [N, D] integers from 0 to M - 1, the model m_nj of each symbol; the decoder needs the same. Without them,
        M = D and m_nj = j.

    Returns:
      N in 4 bytes, then sum_{n,j} log2(sum_k counts_mk / counts_{m,symbols_nj}) / 8 bytes, m = m_nj, and about 6 more.

    Raises:
      ValueError: symbols, counts or models of other shapes, types or ranges.
    """
    counts = _checked_counts(counts)
    symbols = np.asarray(symbols)
    num, high = counts.shape[1], 256**_LENGTH_BYTES
    shape = (f"N < {high}", len(counts)) if models is None else _checked_models(models, counts).shape
    fits = symbols.ndim == 2 and (symbols.shape[1] == len(counts) if models is None else symbols.shape == shape)
    if not fits or symbols.dtype.kind not in "iu" or len(symbols) >= high:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"symbols must be integers [{wanted}]; got {symbols.dtype} {symbols.shape}")
    if symbols.size and not (0 <= symbols.min() and symbols.max() < num):
        raise ValueError(f"symbols must lie between 0 and {num - 1}; got {symbols.min()} to {symbols.max()}")
    t, slots = _slots(counts)
    x, tail = 1 << (t + _SPARE_BITS), bytearray()
    each = itertools.repeat(range(len(slots))) if models is None else reversed(np.asarray(models).tolist())
    for row, of in zip(reversed(symbols.tolist()), each, strict=False):
        for symbol, model in zip(reversed(row), reversed(of), strict=True):
            starts = slots[model]
            start = starts[symbol]
            frequency = starts[symbol + 1] - start
            while x >= frequency << (_SPARE_BITS + 8):
                tail.append(x & 255)
                x >>= 8
            x = (x // frequency << t) + start + x % frequency
    state = x.to_bytes((t + _SPARE_BITS + 15) // 8, "big")
    return len(symbols).to_bytes(_LENGTH_BYTES, "little") + state + bytes(reversed(tail))


def decode(data: bytes, counts: ArrayLike, models: ArrayLike | None = None) -> np.ndarray:
    """The symbols that `encode` encoded with the same counts and models.

    Args:
      data: the bytes.
      counts: [M, K] integers, those given to `encode`.
      models: [N, D] integers, those given to `encode`.

    Returns:
      [N, D] int64.

    Raises:
      ValueError: bytes that `encode` does not write with these counts and models. Most damage is noticed, because the
        last state must be the encoder's first one and no byte may be left over.
    """
    counts = _checked_counts(counts)
    t, slots = _slots(counts)
    mask, low = (1 << t) - 1, 1 << (t + _SPARE_BITS)
    first = _LENGTH_BYTES + (t + _SPARE_BITS + 15) // 8
    num = int.from_bytes(data[:_LENGTH_BYTES], "little")
    x, position = int.from_bytes(data[_LENGTH_BYTES:first], "big"), first
    if models is None:
        each, rows, width = itertools.repeat(range(len(slots)), num), num, len(slots)
    else:
        each, (rows, width) = _checked_models(models, counts).tolist(), np.shape(models)
    symbols = []
    for row in each:
        for model in row:
            starts, slot = slots[model], x & mask
            symbol = bisect_right(starts, slot) - 1
            x = (starts[symbol + 1] - starts[symbol]) * (x >> t) + slot - starts[symbol]
            while x < low and position < len(data):
                x = x << 8 | data[position]
                position += 1
            symbols.append(symbol)
        if x < low:
            break
    if len(data) < first or x != low or position != len(data) or num != rows:
        raise ValueError(f"these {len(data)} bytes were not written with these counts, or are damaged")
    return np.array(symbols, np.int64).reshape(num, width)
