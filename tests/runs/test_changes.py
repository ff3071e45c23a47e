"""A run can become longer and be looked at more often where no bit depends on that."""

import json
import shutil

import jax
import pytest

from experiments import autoencoder, gan, identity_encoder, vae
from genjax import data, runs
from genjax.errors import BadInput
from genjax.runs import agreement, changes, directory
from genjax.training.digest import params_sha256


@pytest.fixture
def run(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def long(start, tmp_path_factory):
    """A run that was long from the start."""
    return start(tmp_path_factory.mktemp("long") / "run", num_steps=35)


@pytest.mark.slow
def test_a_longer_run_has_the_bits_of_one_that_was_long_from_the_start(run, start, long):
    found = start(run, num_steps=35)
    assert found.step == 35 and params_sha256(found.state) == params_sha256(long.state)
    assert found.metrics == long.metrics
    manifest = agreement.check(run).manifest
    assert manifest["history"] == [{"num_steps": 20}] and manifest["steps_done"] == 35
    again = start(run, num_steps=35)
    assert agreement.check(run).manifest == manifest and params_sha256(again.state) == params_sha256(found.state)
    with pytest.raises(BadInput, match=r"`num_steps`=35 \(now 20\), and a run cannot become shorter"):
        start(run)


@pytest.mark.slow
def test_cadences_change_no_bit(run, start, honest, long):
    finished = directory.read_manifest(run)
    start(run, log_every=3, eval_every=4)  # a finished run stays as it is
    assert directory.read_manifest(run) == finished
    found = start(run, num_steps=35, log_every=3, eval_every=4, checkpoint_every=7, steps_per_dispatch=2)
    assert params_sha256(found.state) == params_sha256(long.state)
    earlier = {"num_steps": 20, "log_every": 5, "eval_every": 10, "checkpoint_every": 10, "steps_per_dispatch": 100}
    assert agreement.check(run).manifest["history"] == [earlier]
    steps = [line["step"] for line in directory.read_metrics(run / "metrics.jsonl") if line["split"] == "test"]
    assert steps == [10, 20, 24, 28, 32, 35]


def test_a_finished_run_that_is_started_again_keeps_only_where_it_runs_now(run, start, monkeypatch):
    def refuse(path, value):
        raise PermissionError(13, "Permission denied", str(path))

    start(run)  # its own path, which the copy has changed
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    start(run)
    with monkeypatch.context() as patch:
        patch.setattr(directory, "write_json", refuse)  # the directory is read-only
        start(run, memory_limit=77)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    start(run, memory_limit=77)
    assert directory.read_config(run)["memory_limit"] == 77
    del before[run / "config.json"]
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.slow
def test_an_unfinished_run_goes_on_at_another_cadence(run, start, honest):
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "20")
    assert params_sha256(start(run, log_every=4).state) == params_sha256(runs.open(honest).state)


@pytest.mark.slow
def test_a_schedule_over_the_run_is_not_extended(start, tmp_path):
    start(tmp_path / "run", learning_rate_schedule="cosine")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match=r"`num_steps`=20 \(now 40\), and its updates depend on `num_steps`"):
        start(tmp_path / "run", learning_rate_schedule="cosine", num_steps=40)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match=r"`num_steps`=20 \(now 40\), `seed`=0 \(now 1\); give these"):
        start(tmp_path / "run", learning_rate_schedule="cosine", num_steps=40, seed=1)


@pytest.mark.slow
def test_a_kill_between_the_files_of_a_change_loses_nothing(run, start, long, monkeypatch):
    write = directory.write_json

    def killed(path, value):
        if path.name == "config.json":
            raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(directory, "write_json", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            start(run, num_steps=35)
    monkeypatch.undo()
    assert json.loads((run / "config.json").read_text())["num_steps"] == 20
    assert params_sha256(start(run, num_steps=35).state) == params_sha256(long.state)
    assert agreement.check(run).manifest["history"] == [{"num_steps": 20}]


CONSTANT = {"learning_rate_schedule": "constant"}
PAGES = {
    "vae": (vae, {}, True),
    "vae with annealing of its own": (vae, {"warm_up_steps": 30, "learning_rate_warm_up": 5}, True),
    "autoencoder, linear": (autoencoder, {"learning_rate_schedule": "linear"}, False),
    "autoencoder, constant": (autoencoder, CONSTANT, True),
    "gan, cosine": (gan, {"num_critic_steps": 2}, False),
    "gan, constant": (gan, {"num_critic_steps": 2, **CONSTANT}, True),
    "identity_encoder": (identity_encoder, CONSTANT, False),  # its margin rises over the first third of the run
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.startswith("gan") else ()) for name in PAGES]
)
def test_whether_the_updates_depend_on_the_length_is_read_off_the_program(name):
    module, more, free = PAGES[name]
    experiment = module.EXPERIMENT
    dataset = data.load("digits")
    then = experiment.resolve(experiment.flags(num_steps=100, **more), dataset)
    recorded = {"experiment": experiment.name, **then.to_config()}
    why = changes.objection(experiment, then.replace(num_steps=200), dataset, recorded, ["num_steps"])
    assert (why is None) == free
    if not free:
        assert why is not None and "its updates depend on `num_steps`" in why
    assert changes.objection(experiment, then, dataset, recorded, ["log_every", "seed"]) == ""


def test_the_program_tells_flags_apart_that_differ_in_one_constant():
    dataset = data.load("digits")
    texts = {
        changes.program(vae.EXPERIMENT, vae.Flags(learning_rate=rate), dataset) for rate in (1e-3, 1e-3 + 1e-9, 1e-3)
    }
    assert len(texts) == 2
    assert jax.numpy.float32(1e-3) != jax.numpy.float32(1e-3 + 1e-9)
