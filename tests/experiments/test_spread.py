"""One run on many devices and in several processes, and many seeds in one run, as a user starts them."""

import os
import signal
import socket
import time

import pytest

from experiments import same_bits
from genjax.runs import directory as run_directory
from genjax.training import checkpoint

SMALL = ("--num_steps=40", "--eval_every=20", "--checkpoint_every=10", "--steps_per_dispatch=5", "--hidden=64")


def sha256(workdir):
    return run_directory.read_json(workdir / "summary.json")["params_sha256"]


@pytest.fixture
def devices(monkeypatch):
    """Sets the number of simulated devices of the processes that are started."""
    return lambda number: monkeypatch.setenv("JAX_NUM_CPU_DEVICES", str(number))


@pytest.mark.slow
def test_several_seeds_leave_a_whole_run_each(train, finish, tmp_path):
    summary = train("vae", tmp_path / "three", *SMALL, "--seed=4", "--num_seeds=3", "--tensorboard=false")
    alone = train("vae", tmp_path / "alone", *SMALL, "--seed=5")
    folder = tmp_path / "three" / "seed-5"
    assert summary["params_sha256"] == {str(seed): sha256(tmp_path / "three" / f"seed-{seed}") for seed in (4, 5, 6)}
    assert sha256(folder) == alone["params_sha256"]
    assert (folder / "metrics.jsonl").read_text() == (tmp_path / "alone" / "metrics.jsonl").read_text()
    assert {path.name for path in folder.iterdir()} == {path.name for path in (tmp_path / "alone").iterdir()}
    of_seeds = [summary["metrics_of_seeds"][seed]["negative_elbo"] for seed in ("4", "5", "6")]
    assert of_seeds[1] == alone["metrics"]["negative_elbo"]
    mean = sum(of_seeds) / 3
    assert summary["metrics"]["negative_elbo"] == pytest.approx(mean)
    deviation = (sum((value - mean) ** 2 for value in of_seeds) / 2) ** 0.5
    assert summary["metrics_deviation"]["negative_elbo"] == pytest.approx(deviation)
    last = run_directory.read_metrics(tmp_path / "three" / "metrics.jsonl")[-1]
    assert last["negative_elbo"] == of_seeds
    status, out, err = finish("reproduce", f"--run={folder}")  # a seed's run stands on its own
    assert status == 0 and "the same bits" in out, err
    status, out, _ = finish("vae", *SMALL, "--seed=4", "--num_seeds=3", f"--workdir={tmp_path / 'three'}")
    assert status == 0 and "already finished" in out


@pytest.mark.slow
def test_several_seeds_go_on_where_they_were_killed(launch, train, tmp_path):
    whole = train("vae", tmp_path / "whole", *SMALL, "--num_seeds=2")
    process = launch("vae", *SMALL, "--num_seeds=2", f"--workdir={tmp_path / 'killed'}")
    wait_for(tmp_path / "killed" / "checkpoints" / "10", process)
    process.kill()
    process.communicate()
    assert train("vae", tmp_path / "killed", *SMALL, "--num_seeds=2")["params_sha256"] == whole["params_sha256"]
    for name in ("metrics.jsonl", "seed-1/metrics.jsonl"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()


def wait_for(path, process, seconds=120):
    end = time.monotonic() + seconds
    while process.poll() is None and not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def pair(launch, workdir, *more, experiment="vae"):
    """Two processes of one run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"--coordinator=localhost:{free.getsockname()[1]}"
    common = (*SMALL, "--shards=8", address, "--num_processes=2", f"--workdir={workdir}", *more)
    return [launch(experiment, *common, f"--process_id={number}") for number in (0, 1)]


def outcome(process, seconds=200):
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()  # SIGTERM would be caught by JAX's runtime
    return process.returncode, out, err


@pytest.mark.slow
def test_two_processes_of_two_devices_have_the_bits_of_one_device(launch, train, devices, tmp_path):
    reference = train("vae", tmp_path / "alone", *SMALL, "--shards=8")
    devices(2)
    first, second = (outcome(process) for process in pair(launch, tmp_path / "pair"))
    assert first[0] == second[0] == 0, (first[2], second[2])
    assert sha256(tmp_path / "pair") == reference["params_sha256"]
    assert (tmp_path / "pair" / "metrics.jsonl").read_text() == (tmp_path / "alone" / "metrics.jsonl").read_text()
    assert "finished" in first[1] and "finished" not in second[1]  # one of them speaks
    assert run_directory.read_json(tmp_path / "pair" / "manifest.json")["process_count"] == 2


@pytest.mark.slow
def test_two_processes_train_what_the_first_one_measures_by(launch, devices, tmp_path):
    devices(2)
    both = pair(launch, tmp_path / "pair", "--num_samples=40", experiment="gan")  # no classifier lies beside it yet
    first, second = (outcome(process) for process in both)
    assert first[0] == second[0] == 0, (first[2], second[2])
    assert all("training the classifier" in process[2] for process in (first, second))
    assert "frechet" in (tmp_path / "pair" / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_where_one_process_dies_the_other_says_so_and_a_restart_goes_on(launch, train, devices, tmp_path):
    reference = train("vae", tmp_path / "alone", *SMALL, "--shards=8")
    devices(2)
    first, second = pair(launch, tmp_path / "pair", "--steps_per_dispatch=1")
    wait_for(tmp_path / "pair" / "checkpoints" / "10", first)
    os.kill(second.pid, signal.SIGKILL)
    died = time.monotonic()
    status, _, err = outcome(first, seconds=60)
    assert status == 2 and "another process of this run has ended" in err.splitlines()[-1], (status, err)
    assert time.monotonic() - died < 60
    outcome(second)
    with checkpoint.Checkpoints(tmp_path / "pair" / "checkpoints", keep=2):
        pass  # what was half-written is cleared away
    devices(4)  # and on other devices, in one process
    summary = train("vae", tmp_path / "pair", *SMALL, "--shards=8", "--steps_per_dispatch=1")
    assert summary["params_sha256"] == reference["params_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--ways=alone,devices-2,one-of-4-seeds",),
        # one device adds a pair of shards, and two have one each
        ("--ways=alone,devices-2", "--shards=2"),
    ],
)
def test_the_table_of_hashes(finish, flags):
    # compiled as users compile: the tests' own settings would hide a difference
    status, out, err = finish("same_bits", "--models=vae", "--num_steps=20", *flags, xla_flags="")
    assert status == 0 and out.splitlines()[-1] == "one hash per row", (out, err)
    hashes = out.splitlines()[2].split("|")[2:-1]
    assert len(set(hashes)) == 1 and len(hashes[0].strip()) == 12


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in same_bits.MODELS if name not in same_bits.BY_DEFAULT])
def test_a_model_on_devices_after_a_kill_and_as_one_of_several_seeds(finish, model):
    """Alone, killed on four devices and resumed on two, and as the first of four seeds."""
    flags = (f"--models={model}", "--ways=alone,killed,one-of-4-seeds", "--num_steps=20", "--shards=4")
    status, out, err = finish("same_bits", *flags, xla_flags="")
    assert status == 0 and out.splitlines()[-1] == "one hash per row", (out, err)


def test_every_page_has_a_row_of_devices_and_one_of_kills():
    from tests.experiments.test_devices import PAGES
    from tests.experiments.test_promises import CASES

    for commands in (CASES, same_bits.MODELS):
        assert {command.split()[0] for command in commands.values()} == {*PAGES}
