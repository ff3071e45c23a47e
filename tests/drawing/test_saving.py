"""Figures in vector formats, beside their PNG."""

import numpy as np
from PIL import Image

from genjax.drawing import charts, pictures, saving

LINES = {"a": (np.arange(3.0), np.arange(3.0))}


def draw(path):
    charts.save_lines(path, LINES, xlabel="bits per pixel", ylabel="PSNR, dB", title="A title")


def test_figures_are_written_in_the_formats_that_are_wanted_and_only_then(tmp_path):
    draw(tmp_path / "one.png")
    with saving.formats(("svg", "pdf")):
        draw(tmp_path / "two.png")
    draw(tmp_path / "three.png")
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "two.png", "two.svg", "two.pdf", "three.png"}
    svg = (tmp_path / "two.svg").read_text()
    assert "<svg" in svg and ">PSNR, dB</text>" in svg  # text, which can be searched and edited
    assert (tmp_path / "two.pdf").read_bytes().startswith(b"%PDF")
    np.testing.assert_array_equal(Image.open(tmp_path / "one.png"), Image.open(tmp_path / "two.png"))


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    with saving.formats(saving.FORMATS):
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            draw(tmp_path / folder / "curve.png")
    for form in ("png", *saving.FORMATS):
        assert len({(tmp_path / folder / f"curve.{form}").read_bytes() for folder in ("a", "b")}) == 1


def test_a_comment_is_in_every_format(tmp_path):
    with saving.formats(saving.FORMATS):
        pictures.save_captioned_grid(
            tmp_path / "faces.png", np.zeros((1, 2, 4, 4, 3)), title="faces", comment="made by a network"
        )
    assert Image.open(tmp_path / "faces.png").text["Comment"] == "made by a network"  # type: ignore[attr-defined]
    assert "made by a network" in (tmp_path / "faces.svg").read_text()
    assert b"made by a network" in (tmp_path / "faces.pdf").read_bytes()
