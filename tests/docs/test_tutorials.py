"""The code of the tutorials runs as it stands; the site executes it too, when it is built."""

import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorials"


def cells(name: str) -> list[str]:
    return re.findall(r"```\{code-cell\} python\n(.*?)```", (FOLDER / f"{name}.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def composed():
    """The names that the tutorial on composing defines."""
    matplotlib.use("Agg")
    names: dict = {}
    for cell in cells("compose"):
        exec(cell, names)
    return names


@pytest.mark.slow  # the site executes this page too
def test_an_objective_of_three_terms_reports_all_of_them(composed):
    step, split, metrics = composed["reports"][-1]
    assert (step, split) == (200, "test") and set(metrics) == {"distortion", "rate", "sharpness", "loss"}
    total = metrics["distortion"] + 0.5 * metrics["rate"] + 2.0 * metrics["sharpness"]
    assert metrics["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_a_whole_new_model_learns_and_is_under_forty_lines(composed):
    (cell,) = (cell for cell in cells("compose") if "class State" in cell)
    assert len([line for line in cell.splitlines() if line.strip()]) < 40
    predicted, lower = np.asarray(composed["predicted"]), composed["lower"]
    assert np.mean((predicted - lower) ** 2) < 0.85 * np.mean((lower - lower.mean(axis=0)) ** 2)


def test_the_page_of_ones_own_is_the_one_that_the_tests_train_and_reproduce():
    text = (FOLDER / "own_experiment.md").read_text()
    assert "{literalinclude} ../../tests/runs/sketches.py" in text and "--page=sketches" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "index"))
def test_a_tutorial_runs_from_top_to_bottom(name, tmp_path):
    code = "import matplotlib; matplotlib.use('Agg')\n" + "\n".join(cells(name))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
