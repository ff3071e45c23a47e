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


def encode(symbols: ArrayLike, counts: ArrayLike) -> bytes:
    """Symbols as bytes, with a model of its own for each column.

    Args:
      symbols: [N, D] integers from 0 to K - 1.
      counts: [D, K] integers, how often each symbol is expected in each column; the decoder needs the same. A symbol
        with a count of 0 can still be encoded, in many bits.

    Returns:
      N in 4 bytes, then sum_{n,j} log2(sum_k counts_jk / counts_{j,symbols_nj}) / 8 bytes and about 6 more.

    Raises:
      ValueError: symbols or counts of other shapes, types or ranges.
    """
    counts = _checked_counts(counts)
    symbols = np.asarray(symbols)
    num, high = counts.shape[1], 256**_LENGTH_BYTES
    if symbols.ndim != 2 or symbols.shape[1] != len(counts) or symbols.dtype.kind not in "iu" or len(symbols) >= high:
        raise ValueError(f"symbols must be integers [N < {high}, {len(counts)}]; got {symbols.dtype} {symbols.shape}")
    if symbols.size and not (0 <= symbols.min() and symbols.max() < num):
        raise ValueError(f"symbols must lie between 0 and {num - 1}; got {symbols.min()} to {symbols.max()}")
    t, slots = _slots(counts)
    x, tail = 1 << (t + _SPARE_BITS), bytearray()
    columns = list(reversed(slots))
    for row in symbols[::-1, ::-1].tolist():
        for symbol, starts in zip(row, columns, strict=True):
            start = starts[symbol]
            frequency = starts[symbol + 1] - start
            while x >= frequency << (_SPARE_BITS + 8):
                tail.append(x & 255)
                x >>= 8
            x = (x // frequency << t) + start + x % frequency
    state = x.to_bytes((t + _SPARE_BITS + 15) // 8, "big")
    return len(symbols).to_bytes(_LENGTH_BYTES, "little") + state + bytes(reversed(tail))


def decode(data: bytes, counts: ArrayLike) -> np.ndarray:
    """The symbols that `encode` encoded with the same counts.

    Args:
      data: the bytes.
      counts: [D, K] integers, those given to `encode`.

    Returns:
      [N, D] int64.

    Raises:
      ValueError: bytes that `encode` does not write with these counts. Most damage is noticed, because the last state
        must be the encoder's first one and no byte may be left over.
    """
    counts = _checked_counts(counts)
    t, slots = _slots(counts)
    mask, low = (1 << t) - 1, 1 << (t + _SPARE_BITS)
    first = _LENGTH_BYTES + (t + _SPARE_BITS + 15) // 8
    num = int.from_bytes(data[:_LENGTH_BYTES], "little")
    x, position = int.from_bytes(data[_LENGTH_BYTES:first], "big"), first
    symbols = []
    for _ in range(num):
        for starts in slots:
            slot = x & mask
            symbol = bisect_right(starts, slot) - 1
            x = (starts[symbol + 1] - starts[symbol]) * (x >> t) + slot - starts[symbol]
            while x < low and position < len(data):
                x = x << 8 | data[position]
                position += 1
            symbols.append(symbol)
        if x < low:
            break
    if len(data) < first or x != low or position != len(data):
        raise ValueError(f"these {len(data)} bytes were not written with these counts, or are damaged")
    return np.array(symbols, np.int64).reshape(num, len(slots))
