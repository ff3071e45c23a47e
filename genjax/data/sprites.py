"""Sprites whose factors are enumerated: every combination of shape, scale, orientation and position exactly once.

A picture is a function of five factors, in the manner of dSprites (Matthey et al. 2017). Since the data set is the
whole population, expectations over the factors are finite sums, and the mutual information between a code and a factor
has no sampling error. Of one scale, all shapes have the same area, and a shape is placed by its centroid:

    area = s^2,   square: max(|u|, |v|) < s/2,   ellipse: u^2 / 4 + v^2 < s^2 / (2 pi),
    heart: a square of side a that stands on a corner, and discs of diameter a on its upper sides, a^2 (1 + pi/4) = s^2

The square repeats its pictures every 90 degrees and the ellipse every 180, so that two or four of their orientations
look alike; those of the heart are all different.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from genjax.data.dataset import Dataset, from_arrays

SHAPES = ("square", "ellipse", "heart")
"""The shapes, in the order of their numbers."""
FACTORS = ("shape", "scale", "orientation", "x", "y")
"""The factors, in the order of their columns."""
SUPERSAMPLING = 16
"""Samples per pixel along each side."""

_HEART_SIDE = 1 / math.sqrt(1 + math.pi / 4)  # of its square, for an area of 1
_HEART_CENTROID = (2 + 3 * math.pi / 2) / (12 * math.sqrt(2) * (1 + math.pi / 4)) * _HEART_SIDE


class Grid(NamedTuple):
    """The values of the factors, and the size of the pictures."""

    size: int  # S, pixels along each side
    scales: tuple[float, ...]  # s, the square root of the area, in pixels
    num_orientations: int  # evenly spaced over the full circle, anticlockwise
    num_positions: int  # along each axis
    stride: int  # pixels from one position to the next

    @property
    def window(self) -> int:
        """Pixels along each side of the part of a picture that one sprite may cover."""
        return self.size - (self.num_positions - 1) * self.stride

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The values of each factor: the number of the shape, pixels, degrees, and the centroid in pixels.

        x grows to the right and y downwards, both from the centre of the picture.
        """
        positions = (np.arange(self.num_positions) - (self.num_positions - 1) / 2) * self.stride
        orientations = np.arange(self.num_orientations) * 360 / self.num_orientations
        values = (np.arange(len(SHAPES)), np.array(self.scales), orientations, positions, positions)
        return dict(zip(FACTORS, values, strict=True))

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of values of each factor."""
        return tuple(len(values) for values in self.values.values())


SPRITES = Grid(size=16, scales=(3.0, 4.0, 5.0), num_orientations=8, num_positions=8, stride=1)
"""4608 pictures of 16 x 16 pixels, the data set `sprites`."""
SPRITES_64 = Grid(size=64, scales=(10.0, 12.0, 14.0, 16.0, 18.0, 20.0), num_orientations=20, num_positions=16, stride=2)
"""92 160 pictures of 64 x 64 pixels, the data set `sprites_64`."""


def combinations(grid: Grid) -> np.ndarray:
    """Every combination of the factors once, the last factor running fastest.

    Returns:
      The number of each factor's value, [N, 5] int32.
    """
    return np.indices(grid.counts, np.int32).reshape(len(FACTORS), -1).T


def level(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A function that is positive inside a shape of area 1, whose centroid is the origin, and negative outside.

    Args:
      shape: one of `SHAPES`.
      u, v: coordinates to the right and upwards, [...].

    Returns:
      [...], 0 on the outline.

    Raises:
      ValueError: an unknown shape.
    """
    if shape == "square":
        return 0.5 - np.maximum(np.abs(u), np.abs(v))
    if shape == "ellipse":
        return 1 / (2 * math.pi) - (u * u / 4 + v * v)
    if shape != "heart":
        raise ValueError(f"there is no shape {shape!r}; there are {', '.join(SHAPES)}")
    u, w, side = np.abs(u), v + _HEART_CENTROID, _HEART_SIDE
    centre = side / math.sqrt(8)  # of the disc on the right, along both axes
    disc = side * side / 4 - ((u - centre) ** 2 + (w - centre) ** 2)
    return np.maximum(side / math.sqrt(2) - (u + np.abs(w)), disc)


def levels(grid: Grid, shape: str, scale: float, orientation: float) -> np.ndarray:
    """`level` at the samples of a window, for a shape in its middle.

    Args:
      grid: whose windows are sampled.
      shape: one of `SHAPES`.
      scale: s, in pixels.
      orientation: in degrees, anticlockwise.

    Returns:
      [16 W, 16 W] for windows of W x W pixels, in rows from the top.
    """
    along = (np.arange(grid.window * SUPERSAMPLING) + 0.5) / SUPERSAMPLING - grid.window / 2
    right, up = along[None, :] / scale, -along[:, None] / scale
    cos, sin = math.cos(math.radians(orientation)), math.sin(math.radians(orientation))
    return level(shape, cos * right + sin * up, cos * up - sin * right)


def render(grid: Grid) -> np.ndarray:
    """The pictures of all `combinations`: each pixel is the share of its samples that lie inside the shape.

    Positions are whole pixels, so a sprite has the same pixels wherever it is. No sample has a
    level within 1e-9 of 0, so that the rounding of a sine changes no bit.

    Returns:
      [N, S, S, 1] uint8.
    """
    window = grid.window
    images = np.zeros((*grid.counts, grid.size, grid.size, 1), np.uint8)
    values = grid.values
    sprites = itertools.product(enumerate(SHAPES), enumerate(values["scale"]), enumerate(values["orientation"]))
    for (k, shape), (i, scale), (j, orientation) in sprites:
        inside = levels(grid, shape, scale, orientation) > 0
        share = inside.reshape(window, SUPERSAMPLING, window, SUPERSAMPLING).mean(axis=(1, 3))
        sprite = np.round(255 * share).astype(np.uint8)
        for column, row in itertools.product(range(grid.num_positions), repeat=2):
            x, y = column * grid.stride, row * grid.stride
            images[k, i, j, column, row, y : y + window, x : x + window, 0] = sprite
    return images.reshape(-1, *images.shape[-3:])


def split(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `combinations` for training, and every tenth, at random, held out.

    Returns:
      Indices in increasing order; the permutation is that of NumPy's frozen `RandomState(0)`.
    """
    order = np.random.RandomState(0).permutation(math.prod(grid.counts))
    num_test = len(order) // 10
    return np.sort(order[num_test:]), np.sort(order[:num_test])


def factors(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The factors of the data set's pictures, in its order: those for training, and those held out.

    Returns:
      The number of each factor's value, [N, 5] int32, of both splits; together they are every combination once.
    """
    train, test = split(grid)
    return combinations(grid)[train], combinations(grid)[test]


def load(name: str) -> Dataset:
    """The data set `sprites` or `sprites_64`; its labels are the shapes.

    Returns:
      Images [N, S, S, 1] uint8, of the `factors`.
    """
    grid = GRIDS[name]
    images, shape = render(grid), combinations(grid)[:, 0]
    train, test = split(grid)
    return from_arrays(
        name, images[train], images[test], train_label=shape[train], test_label=shape[test], class_names=SHAPES
    )


GRIDS = {"sprites": SPRITES, "sprites_64": SPRITES_64}
"""The grids of the data sets, by name."""
