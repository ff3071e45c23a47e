"""A page of a user's own: run from a script and as a command, opened again, and reproduced, without a clone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import runs
from genjax.errors import BadInput
from genjax.runs import runner, sampling
from genjax.types import Model

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


SCRIPT = """
import json, os, shutil
from pathlib import Path
import jax, numpy as np, sketches
from genjax import runs
from genjax.runs import directory
from genjax.runs.settings import NOT_IDENTITY
from genjax.errors import BadInput
from genjax.training.digest import params_sha256

flags = sketches.Flags(num_steps=20, width=8, eval_every=10, checkpoint_every=10, log_every=5)
run = runs.train(sketches.EXPERIMENT, flags, workdir="script")
again = runs.train(sketches.EXPERIMENT, flags, workdir="script")  # finished already
opened = runs.open("a", experiment=sketches.EXPERIMENT)
key = jax.random.key(0)
assert run.step == opened.step == 20 and run.metrics == opened.metrics and run.flags.width == 8
assert params_sha256(run.state) == params_sha256(again.state) == params_sha256(opened.state)
assert len(opened.dataset.train.x) == 400 and opened.sample(7, key).shape == (7, 8, 8, 1)
np.testing.assert_array_equal(opened.sample(7, key)[:3], run.sample(3, key))

def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except BadInput as error:
        return str(error)

assert "experiments has no experiment 'sketches'; give its module as `page`" in refused(runs.open, "a")
assert "has no encoder and decoder to explore" in refused(opened.codec)
assert "`width`=8 (now 9)" in refused(runs.train, sketches.EXPERIMENT, flags.replace(width=9), workdir="a")
config = json.loads(open("a/config.json").read())
older = dict(config, width="8")  # as a version before the typed flags wrote it, and before --clip_norm and --averaging
del older["clip_norm"], older["averaging"]
shutil.copytree("a", "older")
json.dump(older, open("older/config.json", "w"))
manifest = directory.read_manifest(Path("older"))
manifest["config_sha256"] = directory.config_digest(older, NOT_IDENTITY)
directory.write_manifest(Path("older"), manifest)
assert runs.open("older", experiment=sketches.EXPERIMENT).flags.replace(workdir="a") == opened.flags
runs.train(sketches.EXPERIMENT, flags, workdir="older")
changed = flags.replace(averaging=0.5)
assert "`averaging`=0.0 (now 0.5)" in refused(runs.train, sketches.EXPERIMENT, changed, workdir="older")
bare = sketches.EXPERIMENT._replace(build=lambda *given: sketches.build(given[0].replace(averaging=0.0), *given[1:]))
line = refused(runs.train, bare, flags.replace(averaging=0.5), workdir="bare")
assert line == "averaging: sketches does not keep an average of its parameters", line
assert "train each seed by itself" in refused(runs.train, sketches.EXPERIMENT, flags.replace(num_seeds=2), workdir="n")
assert not os.path.exists("n")
assert "width: expected a whole number of at least 1, not '0'" == refused(sketches.Flags, width=0)
try:
    runs.train(sketches.EXPERIMENT, runs.Flags(num_steps=1, batch_size=1, learning_rate=0.1), workdir="b")
except TypeError as error:
    assert "sketches takes flags of the class" in str(error)
else:
    raise AssertionError
os.chdir("..")  # what was opened stays open
assert run.metrics == opened.metrics
print(params_sha256(run.state.params))
"""


@pytest.mark.slow
def test_a_script_trains_and_opens_the_same_directories_and_bits(trained, folder, command):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    assert command("-c", SCRIPT) == summary(trained)["params_sha256"] == summary(folder / "script")["params_sha256"]
    assert {path.name for path in (folder / "script").iterdir()} == {path.name for path in trained.iterdir()}
    assert (folder / "script" / "metrics.jsonl").read_text() == (trained / "metrics.jsonl").read_text()
    # what was refused, and what was only opened, is as it was
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_page_of_ones_own_is_reproduced(trained, command):
    assert command("-m", "genjax.runs.reproduce", f"--run={trained}", "--page=sketches").startswith("the same bits")
    line = command("-m", "genjax.runs.reproduce", f"--run={trained}", status=2)
    assert "has no experiment 'sketches'; give its module as --page" in line


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


def test_the_line_of_several_seeds_names_each_hash(tmp_path):
    found = {"experiment": "vae", "num_steps": 1, "seconds": 1.0, "steps_per_second": 1.0, "metrics": {"loss": 2.0}}
    found |= {"metrics_deviation": {"loss": 0.5}, "params_sha256": {"3": "a" * 64, "4": "b" * 64}}
    (tmp_path / "summary.json").write_text(json.dumps(found))
    line = runner.summary_line(tmp_path, "finished")
    assert (
        "loss 2.0000 +- 0.5000" in line
        and f"params_sha256 of seed 3 {'a' * 64}, params_sha256 of seed 4 {'b' * 64}" in line
    )


def test_the_first_samples_are_the_same_whatever_their_number():
    def draw(state, num, key):
        return state + jax.random.normal(key, (num, 2))

    model, key = Model(init=jnp.zeros, train_step=jnp.add, evaluate=jnp.add, sample=draw), jax.random.key(0)
    many = sampling.draw(model, jnp.float32(3), 20, key, batch_size=8)
    assert many.shape == (20, 2) and len(np.unique(many)) == 40 and abs(many.mean() - 3) < 1
    np.testing.assert_array_equal(sampling.draw(model, jnp.float32(3), 5, key, batch_size=8), many[:5])
    with pytest.raises(BadInput, match="cannot draw"):
        sampling.draw(model._replace(sample=None), 0.0, 1, key)


def test_samples_given_a_context_are_those_of_its_rows():
    def draw(state, num, key, label):
        assert label.shape == (num,)
        return state * label[:, None] + jnp.zeros((num, 2))

    model, key = Model(init=jnp.zeros, train_step=jnp.add, evaluate=jnp.add, sample=draw), jax.random.key(0)
    label = np.arange(20, dtype=np.float32)
    samples = sampling.draw(model, jnp.float32(3), 20, key, label, batch_size=8)
    np.testing.assert_array_equal(samples, 3 * np.stack([label, label], axis=1))
    with pytest.raises(BadInput, match=r"context: expected 20 rows, one per sample, not \[19\]"):
        sampling.draw(model, jnp.float32(3), 20, key, label[1:])


def test_the_page_fits_on_a_page():
    assert len(PAGE.read_text().splitlines()) <= 60


def test_the_last_line_shows_a_few_metrics_and_counts_the_rest(tmp_path):
    values = {f"m{i}": float(i) for i in range(12)}
    found = {"experiment": "vae", "num_steps": 1, "seconds": 1.0, "steps_per_second": 1.0}
    found |= {"params_sha256": "a" * 64}
    (tmp_path / "summary.json").write_text(json.dumps(found | {"metrics": values}))
    line = runner.summary_line(tmp_path, "finished", ["m11", "missing"])
    shown = line.split("test ")[1].split(";")[0]
    assert shown == ", ".join(f"m{i} {i:.4f}" for i in (11, *range(7))) + " and 4 more in summary.json"
