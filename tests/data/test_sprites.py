"""Rendered sprites against closed forms of areas and centroids, and against the symmetries of their shapes."""

import itertools

import numpy as np
import pytest

from genjax import data
from genjax.data import sprites

GRID = sprites.SPRITES
LARGE = sprites.SPRITES_64._replace(num_positions=2, stride=30)  # the windows of the large form, at four places


@pytest.fixture(scope="module", params=[GRID, LARGE], ids=["16", "64"])
def rendered(request):
    grid = request.param
    return grid, sprites.render(grid)[..., 0] / 255, sprites.combinations(grid)


def moments(images):
    """Area [N] and centroid (x, y) [N, 2], in pixels from the centre."""
    area = images.sum((1, 2))
    from_centre = np.arange(images.shape[1]) - (images.shape[1] - 1) / 2
    x, y = (np.tensordot(images.sum(axis), from_centre, 1) / area for axis in (1, 2))
    return area, np.stack([x, y], axis=1)


def test_areas_and_centroids_are_those_of_the_factors(rendered):
    grid, images, numbers = rendered
    area, centroid = moments(images)
    values = grid.values
    scale = values["scale"][numbers[:, 1]]
    # an outline of length about 4 s crosses as many pixels, each with an error of at most a few samples
    np.testing.assert_allclose(area, scale**2, atol=0.05 * scale.max())
    place = np.stack([values[name][numbers[:, column]] for name, column in (("x", 3), ("y", 4))], axis=1)
    np.testing.assert_allclose(centroid, place, atol=0.02)


def test_second_moments_are_those_of_square_and_ellipse():
    # of area 1: I = 1/12 of the square in every direction, a^2 / 4 = 1 / (2 pi) and b^2 / 4 of the ellipse
    grid = LARGE._replace(num_positions=1, scales=(20.0,), num_orientations=5, size=34)
    images = (sprites.render(grid)[..., 0] / 255).reshape(*grid.counts, grid.size, grid.size)[..., 0, 0, :, :]
    along = np.arange(grid.size) - (grid.size - 1) / 2
    for shape, long, short in ((0, 1 / 12, 1 / 12), (1, 1 / (2 * np.pi), 1 / (8 * np.pi))):
        for j, degrees in enumerate(grid.values["orientation"]):
            image, scale = images[shape, -1, j], grid.scales[-1]
            a = np.radians(degrees)
            axis = np.cos(a) * along[None, :] - np.sin(a) * along[:, None]  # rows go downwards
            other = np.sin(a) * along[None, :] + np.cos(a) * along[:, None]
            # Sheppard's correction: counting at the centres of pixels adds 1/12
            found = [(image * coordinate**2).sum() / scale**4 - 1 / 12 / scale**2 for coordinate in (axis, other)]
            np.testing.assert_allclose(found, [long, short], rtol=0.005)


def test_the_heart_points_where_it_is_turned():
    # at 0 degrees its tip is below, at 90 degrees (anticlockwise) to the right
    grid = LARGE._replace(num_positions=1, scales=(20.0,), num_orientations=4, size=34)
    upright, left, down, right = sprites.render(grid)[..., 0].reshape(*grid.counts, 34, 34)[2, -1, :, 0, 0]
    extent = np.flatnonzero(upright.any(1))
    assert np.count_nonzero(upright[extent[0] + 2]) > 3 * np.count_nonzero(upright[extent[-1] - 2])
    np.testing.assert_array_equal(np.rot90(upright), left)
    np.testing.assert_array_equal(np.rot90(upright, 2), down)
    np.testing.assert_array_equal(np.rot90(upright, 3), right)


def test_every_combination_is_there_once(rendered):
    grid, images, numbers = rendered
    assert [tuple(row) for row in numbers] == [*itertools.product(*map(range, grid.counts))]
    assert len(images) == len(numbers) == np.prod(grid.counts)


def test_only_symmetric_shapes_repeat_a_picture():
    images = sprites.render(GRID).reshape(*GRID.counts, -1)
    for shape, period in enumerate((2, 4, 8)):  # eighths of a turn
        of_shape = images[shape]
        for turned in range(1, 8):
            same = (of_shape == np.roll(of_shape, turned, axis=1)).all(-1)
            assert same.all() if turned % period == 0 else not same.any()
    distinct = np.unique(images.reshape(-1, images.shape[-1]), axis=0)
    assert len(distinct) == 3 * 64 * (2 + 4 + 8)


@pytest.mark.parametrize("grid", sprites.GRIDS.values(), ids=sprites.GRIDS)
def test_no_sample_is_near_an_outline(grid):
    # rounding to double precision moves a level by about 1e-16
    nearest = min(
        np.abs(sprites.levels(grid, shape, scale, orientation)).min()
        for shape in sprites.SHAPES
        for scale in grid.scales
        for orientation in grid.values["orientation"]
    )
    assert nearest > 1e-9
    window = sprites.levels(grid, "square", grid.scales[0], 0.0).shape[0] / sprites.SUPERSAMPLING
    for shape, orientation in itertools.product(sprites.SHAPES, grid.values["orientation"]):
        inside = sprites.levels(grid, shape, grid.scales[-1], orientation) > 0
        assert window == grid.window and not inside[[0, -1]].any() and not inside[:, [0, -1]].any()


def test_the_data_set_keeps_its_factors():
    dataset = data.load("sprites")
    assert dataset.train.x.shape == (4148, 16, 16, 1) and len(dataset.test.x) == 460
    assert dataset.class_names == ("square", "ellipse", "heart")
    train, test = sprites.factors(GRID)
    together = np.concatenate([train, test])
    assert len(np.unique(together, axis=0)) == len(together) == 4608
    for split, numbers in ((dataset.train, train), (dataset.test, test)):
        np.testing.assert_array_equal(split.label, numbers[:, 0])
        area, centroid = moments(split.x[..., 0] / 255)
        np.testing.assert_allclose(area, GRID.values["scale"][numbers[:, 1]] ** 2, atol=0.3)
        np.testing.assert_allclose(centroid[:, 0], GRID.values["x"][numbers[:, 3]], atol=0.02)
    # each value is about as frequent among what is held out
    for column, count in enumerate(GRID.counts):
        held_out = np.bincount(test[:, column], minlength=count)
        assert np.abs(held_out - 460 / count).max() < 4 * np.sqrt(460 / count)


def test_the_content_is_the_same_everywhere():
    # of the file as first rendered: a change of a single bit of any picture shows here
    assert data.load("sprites").fingerprint.startswith("162dd3cb718d2c3f")


def test_an_unknown_shape_is_named():
    with pytest.raises(ValueError, match="there is no shape 'star'; there are square, ellipse, heart"):
        sprites.level("star", np.zeros(1), np.zeros(1))
