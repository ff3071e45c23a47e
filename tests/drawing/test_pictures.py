"""Pictures contain what they were given, in its place: read back from pixels, and tables from the figure's artists."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from genjax.drawing import charts, pictures


@pytest.fixture
def figure(monkeypatch):
    """Returns the figure that was saved last."""
    saved = []
    save = Figure.savefig

    def savefig(self, *args, **kwargs):
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return lambda: saved[-1]


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


def test_originals_stand_over_their_reconstructions(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "save_captioned_grid", lambda path, images, **captions: drawn.append(images))
    first = np.arange(5.0)[:, None, None, None]
    pictures.save_reconstructions(tmp_path / "pairs.png", first, first + 10, title="pairs", columns=3)
    assert np.ravel(drawn[0]).tolist() == [0, 1, 2, 10, 11, 12, 3, 4, 1, 13, 14, 1]


def test_signed_values_are_drawn_about_middle_grey():
    values = np.array([[[-1.0, 0.5]], [[0, 4]], [[0, 0]]])
    np.testing.assert_array_equal(pictures.signed(values), [[[0, 0.75]], [[0.5, 1]], [[0.5, 0.5]]])


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("classes", [None, 3, 30, pytest.param(12, marks=pytest.mark.slow)])
def test_maps_are_written(tmp_path, dim, classes):
    draw = np.random.RandomState(0)
    codes = draw.standard_normal((60, dim))
    pictures.save_latent_map(tmp_path / "map.png", codes, None if classes is None else np.arange(60) % classes)
    picture = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"))
    assert min(picture.shape[:2]) > 200 and picture.std() > 5


@pytest.mark.parametrize("codes", [np.ones((1, 5)), np.ones((4, 3)), np.arange(6.0).reshape(2, 3)])
def test_codes_without_principal_components_are_shown_too(tmp_path, codes):
    pictures.save_latent_map(tmp_path / "map.png", codes, None)
    assert np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).std() > 5


def test_classes_are_called_by_their_names_or_numbers():
    assert pictures.class_captions([0, 2], None) == ["0", "2"]
    assert pictures.class_captions([0, 2], ["a", "b", "c"]) == ["a", "c"]
    assert pictures.class_captions(range(2), ["$a$", "_b"]) == [r"\$a\$", " _b"]  # no formula, and not hidden


@pytest.mark.parametrize("save", [pictures.save_latent_map, lambda p, x, y, **n: charts.save_maps(p, {"": x}, y, **n)])
def test_legends_have_the_names_of_the_classes(tmp_path, monkeypatch, save):
    legends = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig",
        lambda self, path, **options: legends.extend(
            text.get_text() for ax in self.axes for text in ax.get_legend().get_texts()
        ),
    )
    codes = np.random.RandomState(0).normal(size=(12, 2))
    save(tmp_path / "map.png", codes, np.arange(12) % 3, names=["cat", "dog", "_x"])
    save(tmp_path / "map.png", codes, np.arange(12) % 3)
    assert legends == ["cat", "dog", " _x", "0", "1", "2"]


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


def test_every_image_is_in_its_row_and_column(tmp_path):
    # one grey each, from black at the top left to white at the bottom right
    greys = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    images = np.broadcast_to(greys[:, :, None, None, None], (2, 3, 5, 4, 1))
    bare = {"title": ""}
    captioned = {"title": "greys", "rows": ["first", "second"], "columns": ["a", "b", "c"]}
    seen = []
    for name, captions in (("bare", bare), ("captioned", captioned)):
        pictures.save_captioned_grid(tmp_path / f"{name}.png", images, **captions)
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        for grey in greys.ravel()[1:-1]:
            y, x = np.nonzero(np.abs(pixels / 255 - grey) < 0.01)
            seen.append((np.median(y), np.median(x)))
        assert pixels.min() == 0
    centres = np.array(seen).reshape(2, 4, 2)
    for b, c, d, e in centres:  # b and c end the first row, d and e begin the second
        assert b[0] == c[0] < d[0] == e[0]
        assert d[1] < b[1] < c[1] and abs(e[1] - b[1]) <= 1
    assert not np.array_equal(centres[0], centres[1])  # room for the captions


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
    pictures.save_table(tmp_path / "t.png", values, rows=names, columns=names, title="", better=["higher", "lower", ""])
    ax = figure().axes[0]
    assert [text.get_text() for text in ax.texts] == ["0.0123", "0.0456", "0.0789", "1e+03", "3e+03", "5", "5", "5"]
    ground = np.ma.filled(ax.images[0].get_array(), np.nan)
    expected = [[0, 0.5, 1], [1, np.nan, 0], [np.nan] * 3]  # the second is better where it is lower
    np.testing.assert_allclose(ground, expected, rtol=1e-2, atol=1e-2)
    assert [text.get_text() for text in ax.texts if text.get_weight() == "bold"] == ["0.0789", "1e+03"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one \u2191", "two \u2193", "three"]


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


def test_a_cross_table_shows_each_pair_between_its_row_and_its_column():
    rows, columns = (np.full((n, 1, 1, 1), 0.0) + np.arange(n).reshape(-1, 1, 1, 1) for n in (2, 3))
    first = (10 * rows[:, None] + columns[None]) + 100
    table = pictures.cross_table(rows, columns + 5, first, -first)[..., 0, 0, 0]
    np.testing.assert_array_equal(table[:, :4], [[1, 5, 6, 7], [0, 100, 101, 102], [1, 110, 111, 112]])
    np.testing.assert_array_equal(table[:, 4:], [[1, 5, 6, 7], [0, -100, -101, -102], [1, -110, -111, -112]])


def test_swaps_are_labelled_as_synthetic_and_shown_beside_the_ideal(tmp_path):
    target, source = np.zeros((2, 5, 4, 3)), np.zeros((3, 5, 4, 3))
    swapped = np.full((3, 2, 5, 4, 3), 0.5)
    pictures.save_swaps(tmp_path / "one.png", swapped, target=target, source=source)
    pictures.save_swaps(tmp_path / "two.png", swapped, target=target, source=source, ideal=np.full_like(swapped, 0.75))
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert one.info["Comment"] == two.info["Comment"] == pictures.SYNTHETIC_FACES
        grey = [np.asarray(picture.convert("L")) / 255 for picture in (one, two)]
    shares = [[np.mean(np.abs(pixels - value) < 0.01) for value in (0.5, 0.75)] for pixels in grey]
    assert shares[0][0] > 0.1 and shares[0][1] < 0.01
    assert shares[1][0] == pytest.approx(shares[1][1], rel=0.05) and shares[1][0] > 0.1
