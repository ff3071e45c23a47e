"""Pictures hold what they were given, where it belongs."""

import numpy as np
import pytest
from PIL import Image

from genjax.drawing import pictures


def test_a_grid_puts_each_image_in_its_cell():
    images = np.linspace(0, 1, 5)[:, None, None, None] * np.ones((1, 3, 2, 1))
    canvas = pictures.grid(images, columns=3)
    assert canvas.shape == (2 * 3 + 1, 3 * 2 + 2, 3) and canvas.dtype == np.uint8
    for index, image in enumerate(images):
        y, x = index // 3 * 4, index % 3 * 3
        np.testing.assert_array_equal(canvas[y : y + 3, x : x + 2], np.round(image[0, 0, 0] * 255))
    assert np.all(canvas[3] == 255) and np.all(canvas[4:, 6:] == 255)  # gaps, and the cell that is left over


def test_colours_stay_and_values_outside_are_cut():
    image = np.zeros((1, 1, 1, 3))
    image[0, 0, 0] = (-1, 0.5, 2)
    np.testing.assert_array_equal(pictures.grid(image, columns=1)[0, 0], [0, 128, 255])


def test_originals_stand_over_their_reconstructions():
    first = np.arange(5.0)[:, None, None, None]
    rows = pictures.interleave_rows(first, first + 10, columns=3)[:, 0, 0, 0]
    assert rows.tolist() == [0, 1, 2, 10, 11, 12, 3, 4, 1, 13, 14, 1]


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("classes", [None, 3, 12, 30])
def test_maps_and_curves_are_written(tmp_path, dim, classes):
    draw = np.random.RandomState(0)
    codes = draw.standard_normal((60, dim))
    pictures.save_latent_map(tmp_path / "map.png", codes, None if classes is None else np.arange(60) % classes)
    lines = [{"step": s, "split": split, "loss": 1 / s, "rate": s} for s in (1, 2, 3) for split in ("train", "test")]
    pictures.save_curves(tmp_path / "curves.png", [*lines, {"step": 4, "split": "train", "loss": 0.1}])
    for name in ("map.png", "curves.png"):
        picture = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert min(picture.shape[:2]) > 200 and picture.std() > 5


def test_an_animation_shows_its_frames_in_order(tmp_path):
    frames = [tmp_path / f"{index}.png" for index in range(3)]
    for index, frame in enumerate(frames):
        pictures.save_grid(frame, np.full((1, 4, 4, 1), index / 2), columns=1)
    pictures.save_animation(tmp_path / "all.gif", frames, milliseconds=50)
    with Image.open(tmp_path / "all.gif") as animation:
        shown = []
        for index in range(3):
            animation.seek(index)
            shown.append((int(np.asarray(animation.convert("L")).mean()), animation.info["duration"]))
    assert shown == [(0, 50), (128, 50), (255, 250)]


def test_a_saved_grid_is_enlarged_without_smoothing(tmp_path):
    images = np.random.RandomState(0).rand(4, 8, 8, 1)
    written = pictures.save_grid(tmp_path / "grid.png", images, columns=2)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "grid.png")), written)
    factor = written.shape[1] // 17
    np.testing.assert_array_equal(written[::factor, ::factor], pictures.grid(images, columns=2))
