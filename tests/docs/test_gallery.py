"""The pages of the experiments and their pictures."""

import re
import subprocess
import sys

import pytest
from PIL import Image, PngImagePlugin
from sphinx.errors import ExtensionError

from docs import gallery
from docs._ext import experiments, inventory


def test_every_experiment_and_command_has_a_page():
    section = (inventory.ROOT / "README.md").read_text().partition("## Experiments\n")[2].partition("\n## ")[0]
    commands = re.findall(r"^\| `(\w+)[` ]", section, re.MULTILINE)
    assert {page.name for page in experiments.pages()} >= set(commands) - {"experiment", "command"}
    assert len(commands) > 20


def test_every_experiment_has_a_picture():
    shown = {shown.experiment for shown in gallery.SHOWN}
    assert {page.name for page in experiments.pages() if page.trains} <= shown


def test_a_page_has_the_text_of_its_experiment():
    page = next(page for page in experiments.pages() if page.name == "contractive")
    text = experiments.source(page)
    assert ".. math::" in text
    assert "--latent_dim=" in text
    assert "Of ``python -m experiments.contractive``" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae", "apply", "lemmas", "reproduce"])
def test_the_flags_are_those_of_helpshort(name):
    command = [sys.executable, "-m", f"experiments.{name}", "--helpshort"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=inventory.ROOT).stdout
    page = next(page for page in experiments.pages() if page.name == name)
    assert printed.rstrip().endswith(page.flags.rstrip())


def test_a_missing_picture_stops_the_build(monkeypatch, tmp_path):
    monkeypatch.setattr(gallery, "PICTURES", tmp_path)
    with pytest.raises(ExtensionError, match=r"docs/pictures/vae/samples.png is missing"):
        experiments.pictures("vae")


def test_pictures_are_small_and_few():
    files = list(gallery.PICTURES.glob("*/*.png"))
    assert {f"{file.parent.name}/{file.name}" for file in files} == {
        f"{shown.name}/{file}" for shown in gallery.SHOWN for file in shown.pictures
    }
    assert sum(file.stat().st_size for file in files) < 3 * 2**20


def test_a_kept_picture_is_narrow_and_says_that_it_is_synthetic(tmp_path):
    metadata = PngImagePlugin.PngInfo()
    metadata.add_text("Comment", "synthetic")
    Image.new("RGB", (2 * gallery.WIDTH, 10), (200, 30, 30)).save(tmp_path / "wide.png", pnginfo=metadata)
    gallery.keep(tmp_path / "wide.png", tmp_path / "kept" / "wide.png")
    with Image.open(tmp_path / "kept" / "wide.png") as image:
        assert image.size == (gallery.WIDTH, 5)
        assert image.text["Comment"] == "synthetic"
        assert image.convert("RGB").getpixel((3, 3)) == (200, 30, 30)


def test_an_unknown_name_is_refused(capsys):
    assert gallery.main(["vea"]) == 2
    assert "unknown: vea" in capsys.readouterr().out
