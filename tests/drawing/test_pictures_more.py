"""Tables and planes: what is drawn is read back from the figure's own artists."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from genjax.drawing import pictures


@pytest.fixture
def figure(monkeypatch):
    """The figure that was saved last."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k))[1])
    return lambda: saved[-1]


def test_table(tmp_path, figure):
    values = np.array([[10.5, np.nan], [16.25, 18.0], [-1.0, 7.125]])
    rows, columns = ("noisy", "linear", "trained"), ("gaussian", "masking")
    pictures.save_table(tmp_path / "table.png", values, rows=rows, columns=columns, title="PSNR")
    ax = figure().axes[0]
    shown = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in ax.texts}
    assert shown == {(0, 0): "10.50", (1, 0): "16.25", (1, 1): "18.00", (2, 0): "-1.00", (2, 1): "7.12"}
    assert tuple(label.get_text() for label in ax.get_yticklabels()) == rows
    assert tuple(label.get_text() for label in ax.get_xticklabels()) == columns
    assert ax.get_title() == "PSNR"
    with Image.open(tmp_path / "table.png") as picture:
        assert min(picture.size) > 100


def test_a_table_of_measures_compares_within_each(tmp_path, figure):
    values = np.array([[0.0123, 0.0456, 0.0789], [1000.0, np.inf, 3000.0], [5.0, 5.0, 5.0]])
    names = ("one", "two", "three")
    pictures.save_table(tmp_path / "t.png", values, rows=names, columns=names, title="", by_row=True)
    ax = figure().axes[0]
    assert [text.get_text() for text in ax.texts] == ["0.0123", "0.0456", "0.0789", "1e+03", "3e+03", "5", "5", "5"]
    ground = np.ma.filled(ax.images[0].get_array(), np.nan)
    np.testing.assert_allclose(ground, [[0, 0.5, 1], [0, np.nan, 1], [np.nan] * 3], atol=1e-12)


def test_plane(tmp_path, figure):
    points, line = np.random.RandomState(0).rand(20, 2), np.array([[0.0, 0.5], [1.0, 0.7], [1.5, 2.0]])
    pictures.save_plane(tmp_path / "plane.png", points, points[:, 0], line, title="a line")
    ax = figure().axes[0]
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), points)
    np.testing.assert_array_equal(ax.collections[0].get_array(), points[:, 0])
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), line)
    assert ax.get_title() == "a line"
    with Image.open(tmp_path / "plane.png") as picture:
        assert min(picture.size) > 100
