"""One image file of any kind that Pillow opens as an array: upright, grey or in colour, of a size that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from genjax.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

_IDENTIFIED_ONLY = {"BUFR", "GRIB", "HDF5", "MPEG"}  # Pillow recognises these formats, but cannot decode them
_GREY = {"1", "L", "LA", "La"}
_DEEP = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_ORIENTATION = 0x0112  # of EXIF: how a camera was held


class Picture(NamedTuple):
    """The pixels of an image file, and what was done to them."""

    pixels: np.ndarray  # [H, W, 1] or [H, W, 3]; uint8, or float32 in [0, 1] of a file with more than 8 bits
    conversions: tuple[str, ...]  # in words, such as "turned upright"; none for an ordinary grey or RGB image


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of the image files that Pillow can read, in lower case with their dots."""
    from PIL import Image

    registered = Image.registered_extensions()
    return frozenset(end for end, kind in registered.items() if kind in Image.OPEN and kind not in _IDENTIFIED_ONLY)


def shape_of(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """The height and the width that a size means: one number for squares, or both.

    Raises:
      BadInput: more than two numbers, or one below 1.
    """
    if size is None:
        return None
    numbers = (size,) if isinstance(size, int) else tuple(size)
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise BadInput(f"expected a height and a width, or one number for both, not {list(numbers)}")
    return numbers[0], numbers[-1]


def read(file: Path, size: int | Sequence[int] | None = None) -> Picture:
    """Reads an image file; of an animation, the first frame.

    It is turned as its EXIF orientation says. Transparent pixels are laid over white. CMYK, palettes and other colours
    become RGB. 16 bits become floats, x / 65535.

    Args:
      file: of any kind that Pillow opens.
      size: height and width, or one number for squares: the image is cut to this aspect around its middle, and resized
        with Pillow's BOX filter, the mean of the pixels that each new one covers. None keeps the image's own size.

    Returns:
      The pixels, and in words how they were converted.

    Raises:
      BadInput: a file that cannot be read, or floats outside [0, 1].
    """
    from PIL import Image, ImageOps

    shape = shape_of(size)
    try:
        with Image.open(file) as stored:
            turned = stored.getexif().get(_ORIENTATION, 1) != 1
            image, how = _shown(ImageOps.exif_transpose(stored))
            if shape is not None:
                image = ImageOps.fit(image, (shape[1], shape[0]), Image.Resampling.BOX)
            pixels = np.asarray(image)
    except BadInput as error:
        raise BadInput(f"{file} {error}") from None
    except Exception as error:  # Pillow has a dozen, by format and by what is wrong
        line = " ".join(str(error).split())
        raise BadInput(f"{file} is unreadable ({type(error).__name__}: {line}); repair or remove it") from error
    conversions = (*(["turned upright"] if turned else []), *how)
    return Picture(pixels if pixels.ndim == 3 else pixels[..., None], conversions)


def _shown(image: Image) -> tuple[Image, tuple[str, ...]]:
    """An image of mode L, RGB or, of deeper ones, F with values in [0, 1]; and in words how it was converted."""
    from PIL import Image

    if image.mode in _DEEP or image.mode == "F":
        return Image.fromarray(_unit(np.asarray(image), image.mode)), ("of more than 8 bits, as floats in [0, 1]",)
    wanted = "L" if image.mode in _GREY else "RGB"
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert(wanted), ("with transparency, laid over white",)
    how = () if image.mode in {*_GREY, "RGB", "P"} else (f"from {image.mode} to RGB",)
    return image.convert(wanted), how


def _unit(values: np.ndarray, mode: str) -> np.ndarray:
    """Pixels of more than 8 bits, float32 in [0, 1]."""
    most = 1 if mode == "F" else 65535
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= most):
        raise BadInput(f"has values from {low} to {high}, expected from 0 to {most}; convert it")
    return (values / np.float64(most)).astype(np.float32)
