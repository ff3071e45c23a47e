"""An experiment of one's own: run from a script and as a command, opened again, and reproduced, without a clone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from genjax import runs
from genjax.errors import BadInput
from genjax.training.digest import params_sha256
from tests.runs import sketches

PAGE = Path(__file__).with_name("sketches.py")
SMALL = dict(num_steps=20, width=8, eval_every=10, checkpoint_every=10, log_every=5)
ARGUMENTS = [f"--{name}={value}" for name, value in SMALL.items()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the page alone, and beside it the package as its wheel installs it."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(PAGE, folder)
    shutil.copytree(Path(runs.__file__).parents[1], folder / "site" / "genjax", ignore=shutil.ignore_patterns("*.pyc"))
    return folder


@pytest.fixture(scope="module")
def command(folder):
    """Runs Python in that folder, which knows of no clone; returns the last line of its output."""

    def command(*arguments, devices=1, status=0):
        environment = os.environ | {"PYTHONPATH": str(folder / "site"), "JAX_NUM_CPU_DEVICES": str(devices)}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        return (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]

    return command


@pytest.fixture(scope="module")
def trained(folder, command):
    """The run's directory, by the command."""
    assert "sketches finished: 20 steps" in command("sketches.py", *ARGUMENTS, "--workdir=a")
    return folder / "a"


def summary(directory):
    return json.loads((directory / "summary.json").read_text())


def test_a_script_trains_to_the_same_directory_and_bits(trained, tmp_path, capsys):
    run = runs.train(sketches.EXPERIMENT, sketches.Flags(**SMALL), workdir=tmp_path / "run")
    assert (
        params_sha256(run.state.params) == summary(trained)["params_sha256"] == summary(run.directory)["params_sha256"]
    )
    assert {path.name for path in run.directory.iterdir()} == {path.name for path in trained.iterdir()}
    assert (run.directory / "metrics.jsonl").read_text() == (trained / "metrics.jsonl").read_text()
    assert run.step == 20 and run.metrics == summary(trained)["metrics"] and run.flags.width == 8
    again = runs.train(sketches.EXPERIMENT, sketches.Flags(**SMALL), workdir=tmp_path / "run")
    assert "already finished" in capsys.readouterr().out
    assert params_sha256(again.state) == params_sha256(run.state)


def test_an_opened_run_has_its_model_and_its_data(trained):
    run = runs.open(trained, experiment=sketches.EXPERIMENT)
    key = jax.random.key(0)
    assert run.sample(7, key).shape == (7, 8, 8, 1)
    np.testing.assert_array_equal(run.sample(7, key)[:3], run.sample(3, key))
    assert params_sha256(run.params) == summary(trained)["params_sha256"]
    assert len(run.dataset.train.x) == 400
    with pytest.raises(BadInput, match="no experiment 'sketches' in the package `experiments`; pass its Experiment"):
        runs.open(trained)
    with pytest.raises(BadInput, match="has no encoder and decoder to explore"):
        run.codec()


def test_a_directory_of_other_flags_is_refused_before_anything_is_trained(trained):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match=r"`width`=8 \(now 9\)"):
        runs.train(sketches.EXPERIMENT, sketches.Flags(**SMALL | {"width": 9}), workdir=trained)
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}


def test_a_page_of_ones_own_is_reproduced(trained, command):
    assert command("-m", "genjax.runs.reproduce", f"--run={trained}", "--page=sketches").startswith("the same bits")
    line = command("-m", "genjax.runs.reproduce", f"--run={trained}", status=2)
    assert "there is no experiment 'sketches' in the package --experiments" not in line
    assert "there is no experiment 'sketches'" in line


@pytest.mark.slow
def test_a_page_of_ones_own_has_seeds_shards_and_resumption(trained, folder, command):
    command("sketches.py", *ARGUMENTS, "--num_seeds=2", "--workdir=seeds")
    assert summary(folder / "seeds")["params_sha256"]["0"] == summary(trained)["params_sha256"]
    for name, devices in (("one", 1), ("two", 2)):
        command("sketches.py", *ARGUMENTS, "--shards=4", f"--workdir={name}", devices=devices)
    assert summary(folder / "one")["params_sha256"] == summary(folder / "two")["params_sha256"]
    # as a kill after the first checkpoint leaves it
    shutil.copytree(trained, folder / "killed")
    shutil.rmtree(folder / "killed" / "checkpoints" / "20")
    (folder / "killed" / "summary.json").unlink()
    command("sketches.py", *ARGUMENTS, "--workdir=killed")
    assert summary(folder / "killed")["params_sha256"] == summary(trained)["params_sha256"]
    assert (folder / "killed" / "metrics.jsonl").read_text() == (trained / "metrics.jsonl").read_text()


def test_the_page_fits_on_a_page():
    assert len(PAGE.read_text().splitlines()) <= 60
