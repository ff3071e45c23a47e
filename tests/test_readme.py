"""The README's code runs as it stands, and its links and pictures are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMPOSE, SCRIPT, ESTIMATOR = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_composed_model_trains_and_samples():
    names: dict = {}
    exec(COMPOSE, names)
    assert int(names["state"].step) == 200 and names["images"].shape == (16, 8, 8, 1)
    assert 0 <= float(names["images"].min()) and float(names["images"].max()) <= 1


def test_a_pipeline_reads_digits_from_codes():
    names: dict = {}
    exec(ESTIMATOR, names)
    assert names["classifier"][0].n_components_ == 16
    assert 0.87 < names["accuracy"] < 0.91


@pytest.mark.slow
def test_a_script_in_the_clone_trains_and_opens_a_run(tmp_path):
    check = "\nassert images.shape == (16, 8, 8, 1) and run.step == 200 and run.flags.latent_dim == 2"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + check],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "two" / "samples.png").exists()


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "BUILD_NOTES.md", "docs/coming_from.md", "docs/runs.md"]
)
def test_every_link_and_picture_is_there(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", text) + re.findall(r'src="([^"]+)"', text)
    lost = [link for link in targets if not link.startswith("http") and not ((ROOT / page).parent / link).exists()]
    assert lost == []
