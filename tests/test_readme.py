"""The README's code runs as it stands, and does what the page says of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SCRIPT, PAGE, *BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def namespace():
    """The page's blocks, run one after the other as a reader would."""
    names: dict = {}
    names["states"] = []
    for block in BLOCKS:
        exec(block, names)
        names["states"].append(names["state"])
    return names


def test_hand_written_networks_train_and_sample(namespace):
    assert int(namespace["states"][0].step) == 200
    assert namespace["images"].shape == (16, 8, 8, 1)
    assert 0 <= float(namespace["images"].min()) and float(namespace["images"].max()) <= 1


def test_an_objective_of_three_terms_trains_other_params(namespace):
    first, second = (namespace["states"][i].params["decoder"] for i in (0, 1))
    assert np.isfinite(second).all() and not np.array_equal(first, second)


def test_a_whole_new_model_learns_and_is_under_forty_lines(namespace):
    code = [line for line in BLOCKS[2].splitlines() if line.strip()]
    model = code[
        code.index("class State(NamedTuple):") : code.index(
            "halves = networks.mlp((4, 8, 1), (4, 8, 1), hidden=(100,), activation=jax.nn.relu)"
        )
    ]
    assert len(model) < 40
    tests = [value for _, split, value in namespace["lines"] if split == "test"]
    assert len(tests) == 2 and tests[1] < tests[0] < 32 * np.log(2)


def test_a_pipeline_reads_digits_from_codes(namespace):
    assert namespace["classifier"][0].n_components_ == 16
    assert 0.87 < namespace["accuracy"] < 0.91


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


def test_the_page_is_the_one_that_the_tests_of_runs_train_and_reproduce():
    assert PAGE == (ROOT / "tests" / "runs" / "sketches.py").read_text()
    assert "--page=sketches" in README
