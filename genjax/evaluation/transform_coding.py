"""Transform coding measured on the disk: codes are quantised, written by the entropy coder, read back and decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genjax.evaluation import entropy_coding, rate_distortion


class Point(NamedTuple):
    """One setting of one method, measured on a set of images."""

    rate: float  # bits per pixel on disk
    psnr: float  # dB, of the whole set
    num_bytes: int
    entropy: float  # bits per pixel, by the frequencies of the symbols themselves
    images: np.ndarray  # [N, H, W, C], decoded from the bytes

    def measures(self) -> dict[str, float]:
        """All but the images."""
        return {name: value for name, value in self._asdict().items() if name != "images"}


def measure(
    path: Path,
    codes: np.ndarray,
    train_codes: np.ndarray,
    quantiser: rate_distortion.Quantiser,
    reconstruct: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
) -> Point:
    """Encodes the codes of images to a file, reads them back, and measures rate and distortion of the decoded images.

    A pixel has all its channels. The frequencies of the symbols are counted on other codes, plus one for each symbol;
    their size is not in the rate.

    Args:
      path: the file to write.
      codes: those of the images, [N, D].
      train_codes: those on which the frequencies are counted, [M, D].
      quantiser: of the codes.
      reconstruct: codes [N, D] -> images of x's shape, which are clipped to [0, 1].
      x: the images, [N, H, W, C] in [0, 1].

    Returns:
      The rate in bits per pixel, the PSNR in decibels, and what they were measured on.
    """
    symbols = rate_distortion.quantise(codes, quantiser)
    train_symbols = rate_distortion.quantise(train_codes, quantiser)
    counts = 1 + rate_distortion.histogram(train_symbols, num_symbols=quantiser.num_symbols)
    path.write_bytes(entropy_coding.encode(symbols, counts))
    content = path.read_bytes()
    received = entropy_coding.decode(content, counts)
    if not np.array_equal(received, symbols):
        raise AssertionError(f"{path} does not decode to what was written")
    decoded = np.clip(reconstruct(rate_distortion.dequantise(received, quantiser)), 0, 1)
    num_pixels = x.size / x.shape[-1]
    entropy = rate_distortion.empirical_entropy(symbols) * len(symbols) / num_pixels
    psnr = -10 * np.log10(np.mean(np.square(decoded - x, dtype=np.float64)))
    return Point(8 * len(content) / num_pixels, float(psnr), len(content), entropy, decoded)


def curve(points: Iterable[Point]) -> tuple[np.ndarray, np.ndarray]:
    """The rates and PSNRs of the points on their upper envelope, in order of rate: [M] and [M]."""
    rates, psnrs = np.array([(point.rate, point.psnr) for point in points]).T
    kept = rate_distortion.envelope(rates, psnrs)
    return rates[kept], psnrs[kept]
