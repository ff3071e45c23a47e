"""Every import contract of pyproject.toml fails on a copy with one import that it forbids."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "Imports run one way": [("genjax/losses/divergence.py", "genjax.models.vae")],
    "Networks, data, evaluation and drawing know no model": [("genjax/networks/mlp.py", "genjax.models.vae")],
    "Training knows only the Model record": [("genjax/training/fit.py", "genjax.evaluation.images")],
    "Runs know no model": [("genjax/runs/runner.py", "genjax.models.vae")],
    "Models know no run and no data set": [("genjax/models/vae.py", "genjax.runs.flags")],
    "Only networks imports flax": [("genjax/models/vae.py", "flax.linen")],
    "The library imports no experiment": [("genjax/runs/opening.py", "experiments.vae")],
    "Nothing in the library imports the estimators": [("genjax/models/vae.py", "genjax.sklearn.vae")],
    "The estimators need no run": [("genjax/sklearn/vae.py", "genjax.runs.flags")],
    "A page imports no page": [("experiments/vae.py", "experiments.gan")],
    "No cycle anywhere": [
        ("genjax/evaluation/images.py", "genjax.evaluation.probes"),
        ("genjax/evaluation/probes.py", "genjax.evaluation.images"),
    ],
}


def lint(folder):
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("needs import-linter, of the extra `dev`")
    return subprocess.run([command, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("contract", FORBIDDEN)
def test_a_forbidden_import_is_noticed(tmp_path, contract):
    for package in ("genjax", "experiments"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, module in FORBIDDEN[contract]:
        with open(tmp_path / path, "a") as file:
            file.write(f"\n\ndef forbidden():\n    import {module}\n\n    return {module}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    broken = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    assert any(line.startswith(contract) for line in broken), done.stdout


def test_every_page_is_among_those_that_import_no_page():
    listed = set(
        (ROOT / "pyproject.toml").read_text().split('name = "A page imports no page"')[1].split("]")[0].split('"')
    )
    pages = {path.stem for path in (ROOT / "experiments").glob("*.py") if "EXPERIMENT = " in path.read_text()}
    assert {f"experiments.{page}" for page in pages} <= listed
