"""JPEG's transform: the cosine transform of blocks of 8 x 8 pixels, and the steps that quantise its coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

SIZE = 8  # pixels per side of a block

LUMINANCE_STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
"""Quantisation steps of the luminance coefficients at quality 50, in grey levels of 255 (ITU-T T.81, table K.1)."""


def block_dct(images: ArrayLike) -> np.ndarray:
    """Orthonormal type-II cosine transform of 8 x 8 blocks around mid-grey.

        c_uv = a_u a_v sum_ij (x_ij - 1/2) cos(pi (2i + 1) u / 16) cos(pi (2j + 1) v / 16),   a_0 = sqrt(1/8), a_u = 1/2

    Edges are repeated to fill the last blocks.

    Args:
      images: [N, H, W, C] in [0, 1].

    Returns:
      [N * blocks * C, 64], a row per block and channel, u the slow index.

    Source: ITU-T T.81 (1992), A.3.3.
    """
    from scipy.fft import dctn

    x = np.asarray(images, np.float64)
    num, height, width, channels = x.shape
    padded = np.pad(x - 0.5, ((0, 0), (0, -height % SIZE), (0, -width % SIZE), (0, 0)), mode="edge")
    rows, columns = padded.shape[1] // SIZE, padded.shape[2] // SIZE
    blocks = padded.reshape(num, rows, SIZE, columns, SIZE, channels).transpose(0, 1, 3, 5, 2, 4)
    return np.asarray(dctn(blocks, axes=(-2, -1), norm="ortho")).reshape(-1, SIZE * SIZE)


def inverse_block_dct(coefficients: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """The images whose `block_dct` has these coefficients, without the edges that were repeated.

    Args:
      coefficients: as `block_dct` returns them.
      shape: of the images, (N, H, W, C).
    """
    from scipy.fft import idctn

    num, height, width, channels = shape
    rows, columns = -(-height // SIZE), -(-width // SIZE)
    blocks = np.reshape(coefficients, (num, rows, columns, channels, SIZE, SIZE))
    pixels = np.asarray(idctn(blocks, axes=(-2, -1), norm="ortho")).transpose(0, 1, 4, 2, 5, 3)
    return pixels.reshape(num, SIZE * rows, SIZE * columns, channels)[:, :height, :width] + 0.5


def quantisation_steps(quality: float) -> np.ndarray:
    """The luminance steps at a quality, scaled as the Independent JPEG Group's library does.

        step = max(1, round(s K_1)) / 255,   s = 50 / quality below 50,   s = 2 - quality / 50 from there on

    Args:
      quality: above 0 and at most 100.

    Returns:
      [64], in the units and the order of `block_dct`; unlike baseline JPEG's, steps above 255 grey levels are kept.
    """
    factor = 50 / quality if quality < 50 else 2 - quality / 50
    return np.maximum(1, np.round(LUMINANCE_STEPS * factor)).reshape(-1) / 255
