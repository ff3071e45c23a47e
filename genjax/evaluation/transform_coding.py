"""Transform coding measured on the disk: codes are quantised, written by the entropy coder, read back and decoded."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genjax.errors import BadInput
from genjax.evaluation import block_dct, entropy_coding, rate_distortion


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


def dct_points(folder: Path, x: np.ndarray, train_x: np.ndarray, *, qualities: Iterable[int]) -> dict[str, Point]:
    """JPEG's transform and steps at every quality, with separate frequencies for each coefficient.

    Args:
      folder: where the files are written.
      x: the images, [N, H, W, C] in [0, 1].
      train_x: those on which the frequencies are counted, [M, H, W, C].
      qualities: of JPEG, from 1 to 100.

    Returns:
      The points by name, qQUALITY.
    """
    values, train_values = block_dct.block_dct(x), block_dct.block_dct(train_x)
    return {
        f"q{quality}": measure(
            folder / f"dct_q{quality}.bin",
            values,
            train_values,
            rate_distortion.with_step(train_values, step=block_dct.quantisation_steps(quality)),
            lambda z: block_dct.inverse_block_dct(z, x.shape),
            x,
        )
        for quality in qualities
    }


def pack(codes: np.ndarray, quantiser: rate_distortion.Quantiser) -> dict[str, np.ndarray]:
    """Codes as the entropy coder's bytes, and all that is needed to read them again.

    Args:
      codes: [N, D].
      quantiser: of the codes.

    Returns:
      `stream`, uint8; `counts`, the frequencies of the symbols, [D, K]; `low` and `step` of the quantiser, [D].
    """
    symbols = rate_distortion.quantise(codes, quantiser)
    counts = rate_distortion.histogram(symbols, num_symbols=quantiser.num_symbols)
    stream = np.frombuffer(entropy_coding.encode(symbols, counts), np.uint8)
    return {"stream": stream, "counts": counts, "low": quantiser.low, "step": quantiser.step}


def read(path: Path) -> np.ndarray:
    """The quantised codes in a .npz file of the arrays that `pack` returns.

    Args:
      path: the file.

    Returns:
      [N, D] float32.

    Raises:
      BadInput: a file that is damaged, or holds other arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as packed:
            stream, counts, low, step = (packed[name] for name in ("stream", "counts", "low", "step"))
        symbols = entropy_coding.decode(stream.tobytes(), counts)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} does not hold compressed codes, or is damaged ({error})") from None
    quantiser = rate_distortion.Quantiser(low, step, counts.shape[1])
    return rate_distortion.dequantise(symbols, quantiser).astype(np.float32)


def curve(points: Iterable[Point]) -> tuple[np.ndarray, np.ndarray]:
    """The rates and PSNRs of the points on their upper envelope, in order of rate: [M] and [M]."""
    rates, psnrs = np.array([(point.rate, point.psnr) for point in points]).T
    kept = rate_distortion.envelope(rates, psnrs)
    return rates[kept], psnrs[kept]
