"""Charts are files that say what they were given."""

import numpy as np
import pytest
from PIL import Image

from genjax.drawing import charts


def ink(path):
    """The share of pixels that are not white."""
    return (np.asarray(Image.open(path).convert("L")) < 250).mean()


def test_lines(tmp_path):
    x = np.linspace(0, 1, 20)
    lines = {"a": (x, x), "b": (x, x**2)}
    labels = dict(xlabel="x", ylabel="y", title="t")
    charts.save_lines(tmp_path / "two.png", lines, **labels)
    charts.save_lines(tmp_path / "one.png", {"a": (x, x)}, **labels)
    assert ink(tmp_path / "two.png") > ink(tmp_path / "one.png") > 0


@pytest.mark.parametrize("classes", [None, 3, 10, 15, 30])
def test_maps_show_every_class(tmp_path, classes):
    draw = np.random.RandomState(0)
    points = draw.normal(size=(300, 2))
    labels = None if classes is None else np.arange(300) % classes
    charts.save_maps(tmp_path / "maps.png", {"first": points, "second": -points}, labels)
    charts.save_maps(tmp_path / "few.png", {"first": points[:20], "second": -points[:20]}, None)
    assert ink(tmp_path / "maps.png") > ink(tmp_path / "few.png")
    pixels = np.asarray(Image.open(tmp_path / "maps.png").convert("RGB")).reshape(-1, 3).astype(int)
    colours = {tuple(pixel) for pixel in pixels[np.ptp(pixels, axis=1) > 60]}
    assert len(colours) >= (1 if classes is None else classes)


def test_points_lie_over_fields(tmp_path):
    field = np.tile(np.linspace(0, 1, 50)[:, None], 50)  # rises with x2
    points = np.random.RandomState(0).uniform(0.3, 0.4, (400, 2))
    charts.save_points_over_fields(tmp_path / "none.png", points[:1], {"field": field})
    charts.save_points_over_fields(tmp_path / "one.png", points, {"field": field})
    charts.save_points_over_fields(tmp_path / "two.png", points, {"field": field, "other": 1 - field})
    none, one, two = (
        np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"), int) for name in ("none", "one", "two")
    )
    changed = np.argwhere(np.abs(one - none).sum(2) > 60)
    height, width = one.shape[:2]
    # x2 grows upwards: the points lie in the lower left quarter of the picture
    assert len(changed) > 100 and changed[:, 0].min() > height / 2 and changed[:, 1].max() < width / 2
    assert none[height // 5, width // 3].sum() > none[4 * height // 5, width // 3].sum() + 100
    assert two.shape[1] == 2 * width
