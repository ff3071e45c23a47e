"""What a user can put right is one line on standard error and exit status 2, and loses nothing."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments import vae
from genjax import runs
from genjax.runs import directory

SMALL = ("--num_steps=20", "--hidden=16", "--eval_every=10", "--checkpoint_every=5")


def refused(result):
    """The one line of an experiment that stopped for its input."""
    status, out, err = result
    assert status == 2, err
    assert "Traceback" not in err and not out
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and err.splitlines()[-1] == lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dataset=digit"], "unknown data set 'digit'; did you mean 'digits'"),
        (
            ["--batch_size=5000"],
            "--batch_size: expected a number from 1 to 1297, the number of training examples, not 5000",
        ),
        (["--hidden=500,x"], "--hidden: expected whole numbers of at least 1, separated by commas, not '500,x'"),
        (["--sed=3"], "Unknown command line flag 'sed'"),
        pytest.param(["--dataset=folder:/nowhere/at/all"], "/nowhere/at/all", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_flags(finish, tmp_path, flags, said):
    assert said in refused(finish("vae", *SMALL, f"--workdir={tmp_path / 'run'}", *flags))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--batch_size=0", "--batch_size: expected a whole number of at least 1, not '0'"),
        ("--num_steps=-3", "--num_steps: expected a whole number of at least 1, not '-3'"),
        ("--learning_rate=-1", "--learning_rate: expected a number of at least 0, not '-1'"),
        ("--learning_rate=fast", "--learning_rate: expected a number of at least 0, not 'fast'"),
        ("--network=transformer", "--network: expected one of mlp, convolutional, not 'transformer'"),
        ("--seed=-1", "--seed: expected a whole number from 0 to 4294967295, not '-1'"),
        ("--seed=4294967296", "--seed: expected a whole number from 0 to 4294967295, not '4294967296'"),
        ("digits", "unknown argument 'digits'"),
    ],
)
def test_flags_out_of_range(flag, said, monkeypatch, capsys):
    # in this process, which is quicker: the flags are parsed before anything else is done
    monkeypatch.setattr("sys.argv", ["vae", flag])
    with pytest.raises(SystemExit) as stopped:
        runs.main(vae.EXPERIMENT)
    assert said in refused((stopped.value.code, *capsys.readouterr()))


def test_data_that_is_not_prepared_names_the_command(finish, tmp_path):
    line = refused(finish("vae", "--dataset=mnist", f"--data_dir={tmp_path}", f"--workdir={tmp_path / 'run'}"))
    assert f"python -m experiments.prepare --dataset=mnist --data_dir={tmp_path}" in line


@pytest.mark.slow
def test_pictures_of_mixed_size(finish, tmp_path):
    for index, size in enumerate([(8, 8)] * 12 + [(9, 8)]):
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / f"{index:02}.png")
    line = refused(finish("vae", f"--dataset=folder:{tmp_path}", f"--workdir={tmp_path / 'run'}"))
    assert "12.png" in line


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    train("vae", workdir, *SMALL)
    return workdir


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def unfinished(run):
    """A copy of a run as a kill after its last checkpoint leaves it."""
    (run / "summary.json").unlink()
    return run


@pytest.mark.slow
def test_a_second_start_says_what_the_first_came_to(run, finish):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != "config.json"}
    status, out, _ = finish("vae", *SMALL, f"--workdir={run}")
    assert status == 0
    assert "vae already finished: 20 steps" in out
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
def test_a_run_directory_of_other_flags(run, finish):
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    line = refused(finish("vae", *SMALL, "--latent_dim=3", "--seed=5", f"--workdir={run}"))
    assert "--latent_dim=8 (now 3)" in line and "--seed=0 (now 5)" in line
    assert kept == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_folder_that_is_no_runs(finish, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "is not a run directory" in refused(finish("vae", *SMALL, f"--workdir={tmp_path}"))
    assert (tmp_path / "thesis.tex").read_text() == "years of work" and len(list(tmp_path.iterdir())) == 1


def checkpoint_files(workdir, step):
    files = [path for path in (workdir / "checkpoints" / str(step)).rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: path.stat().st_size)


def bits(workdir):
    return json.loads((workdir / "summary.json").read_text())["params_sha256"]


@pytest.mark.parametrize("damage", ["cut in half", "bits flipped"])
@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(unfinished, finished, finish, damage):
    target = checkpoint_files(unfinished, 20)[-1]
    content = bytearray(target.read_bytes())
    if damage == "cut in half":
        content = content[: len(content) // 2]
    else:
        for place in range(len(content) // 20, len(content), len(content) // 10):  # a few bytes are of no array
            content[place] ^= 4
    target.write_bytes(content)
    status, out, err = finish("vae", *SMALL, f"--workdir={unfinished}")
    assert status == 0, err
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and "20" in warnings[0] and "15" in warnings[0]
    assert "from step 15" in err and "vae finished: 20 steps" in out
    assert bits(unfinished) == bits(finished)
    assert (unfinished / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_no_whole_checkpoint(unfinished, finish):
    for step in (15, 20):
        for path in checkpoint_files(unfinished, step):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert str(unfinished / "checkpoints") in refused(finish("vae", *SMALL, f"--workdir={unfinished}"))


@pytest.mark.slow
def test_checkpoints_of_another_run(unfinished, train, finish, tmp_path):
    other = tmp_path / "other"
    train("vae", other, *SMALL, "--hidden=8")
    shutil.rmtree(unfinished / "checkpoints")
    shutil.copytree(other / "checkpoints", unfinished / "checkpoints")
    line = refused(finish("vae", *SMALL, f"--workdir={unfinished}"))
    assert "checkpoint 20 in" in line and "is not one of this run, but of another" in line


@pytest.mark.slow
def test_other_data_than_the_run_began_with(unfinished, finish):
    manifest = directory.read_manifest(unfinished)
    directory.write_manifest(unfinished, manifest | {"data_fingerprint": "0" * 64})
    assert "was started on data of fingerprint 0000" in refused(finish("vae", *SMALL, f"--workdir={unfinished}"))


@pytest.mark.slow
def test_a_run_that_goes_on_with_other_versions_says_so(unfinished, finish):
    manifest = json.loads((unfinished / "manifest.json").read_text())
    manifest["packages"]["optax"] = "0.0.1"
    directory.write_manifest(unfinished, manifest)
    status, _, err = finish("vae", *SMALL, f"--workdir={unfinished}")
    assert status == 0 and "packages.optax: 0.0.1 then" in err
    status, _, err = finish("reproduce", f"--run={unfinished}")
    assert status == 2 and "packages.optax: 0.0.1 then" in err


@pytest.mark.slow
def test_a_loss_that_is_not_finite_names_step_and_metric_and_keeps_the_last_checkpoint(finish, tmp_path):
    flags = ("--num_steps=50", "--learning_rate=1e20", "--checkpoint_every=1", "--steps_per_dispatch=1")
    line = refused(finish("vae", *flags, f"--workdir={tmp_path / 'run'}"))
    assert "train metric 'loss' is " in line and " at step " in line
    kept = [int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()]
    assert kept and max(kept) < int(line.split(" at step ")[1].split(";")[0])


@pytest.mark.slow
def test_a_full_disk(finish, tmp_path):
    # a limit on the size of files is met like a full disk: the write fails, and what was there stays
    prefix = ("sh", "-c", 'ulimit -f 8 && exec "$@"', "sh")
    status, _, err = finish("vae", *SMALL, f"--workdir={tmp_path / 'run'}", prefix=prefix, cached=False)
    assert status == 2 and "Traceback" not in err, err
    assert err.splitlines()[-1].startswith("error: checkpoint 5 ") and "File too large" in err.splitlines()[-1]


@pytest.mark.slow
def test_tensorboard_files_hold_scalars_and_pictures(train, tmp_path):
    pytest.importorskip("tensorboardX", reason="needs the extra `tensorboard`")
    train("vae", tmp_path / "run", *SMALL, "--tensorboard")
    (events,) = (tmp_path / "run").glob("events.*")
    content = events.read_bytes()
    for tag in (b"train/loss", b"test/negative_elbo", b"reconstructions", b"samples", b"latent_map", b"curves"):
        assert tag in content
