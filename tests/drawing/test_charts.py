"""Charts are files that say what they were given."""

import numpy as np
import pytest
from matplotlib.figure import Figure
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


@pytest.mark.parametrize(
    "classes", [None, 10, 30, *(pytest.param(number, marks=pytest.mark.slow) for number in (3, 15))]
)
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


@pytest.fixture
def figure(monkeypatch):
    """Returns the figure that was saved last."""
    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kwargs: saved.append(self))
    return lambda: saved[-1]


def lines_of(**metrics):
    steps = range(1, 1 + len(next(iter(metrics.values()))))
    return [
        {"step": step, "split": split} | {name: values[step - 1] for name, values in metrics.items()}
        for step in steps
        for split in ("train", "test")
    ]


def test_curves_repeat_no_panel_and_leave_out_what_never_changes(figure, tmp_path):
    lines = lines_of(loss=[3.0, 2.0, 1.0], bound=[3.0, 2.0, 1.0], zero=[0.0] * 3, rate=[1.0, 2.0, 3.0])
    charts.save_curves(tmp_path / "c.png", lines, unit={"rate": "nats"}.get, first=("rate", "missing"))
    drawn = figure().axes
    assert [ax.get_title() for ax in drawn] == ["rate", "bound = loss"]
    assert drawn[0].get_ylabel() == "nats" and figure().get_supxlabel() == "zero is always 0"
    np.testing.assert_array_equal(drawn[0].lines[0].get_xydata(), [[1, 1], [2, 2], [3, 3]])
    many = {f"m{i:02}": [i, i + 1.0, 0.5] for i in range(15)}
    charts.save_curves(tmp_path / "c.png", lines_of(**many))
    assert len(figure().axes) == 12 and figure().get_supxlabel() == "not drawn: m12, m13, m14"


def test_a_single_report_has_a_marker_and_seeds_a_band_that_is_named(figure, tmp_path):
    charts.save_curves(tmp_path / "c.png", lines_of(loss=[1.0]))
    assert [line.get_marker() for line in figure().axes[0].lines] == [".", "."]
    charts.save_curves(tmp_path / "c.png", lines_of(loss=[[1.0, 3.0], [2.0, 6.0]]))
    ax = figure().axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2, 4])
    low, high = (
        ax.collections[0].get_paths()[0].vertices[:, 1].min(),
        ax.collections[0].get_paths()[0].vertices[:, 1].max(),
    )
    np.testing.assert_allclose([low, high], [2 - np.sqrt(2), 4 + np.sqrt(8)])
    assert figure().get_suptitle() == "mean of 2 seeds, with a band of one standard deviation"
    assert ax.lines[0].get_marker() == "None"


def test_curves_of_runs_lie_over_each_other_in_one_colour_each(figure, tmp_path):
    a, b = ([1, 2], [[1.0, 3.0], [2.0, 4.0]]), ([1], [[5.0]])
    charts.save_comparison(tmp_path / "c.png", {"one": {"a": a, "b": b}, "two": {"b": b}})
    first, second = figure().axes
    np.testing.assert_array_equal(first.lines[0].get_ydata(), [2, 3])
    assert first.lines[1].get_color() == second.lines[0].get_color() != first.lines[0].get_color()
    assert [text.get_text() for text in figure().legends[0].get_texts()] == ["a", "b"]
