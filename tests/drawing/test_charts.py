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
