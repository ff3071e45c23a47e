"""The files of a run directory."""

import errno
import json

import jax
import numpy as np
import pytest

from experiments import apply, compare_samples, generate, latent_space
from genjax import runs
from genjax.errors import BadInput
from genjax.runs import directory as run_directory
from genjax.runs import log, stored


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "a.json"
    run_directory.write_json(path, {"value": 1})
    with pytest.raises(TypeError):
        run_directory.write_json(path, {"value": object()})
    assert run_directory.read_json(path) == {"value": 1}


def test_metrics_survive_a_cut_line_and_a_lost_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (10, 20, 30):
        log.append_metrics(path, step, "train", {"loss": step / 3})
    with open(path, "a") as file:
        file.write('{"step": 40, "spl')
    assert [line["step"] for line in run_directory.read_metrics(path)] == [10, 20, 30]
    log.cut_metrics(path, upto=20)
    log.append_metrics(path, 25, "test", {"loss": 1.0})
    assert [line["step"] for line in run_directory.read_metrics(path)] == [10, 20, 25]
    assert run_directory.read_metrics(path)[0]["loss"] == 10 / 3  # floats come back to the bit


def test_a_damaged_metrics_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "split": "test"}\nnonsense\n{"step": 3, "split": "test"}\n')
    with pytest.raises(BadInput, match=r"metrics\.jsonl has a line 2 that is not valid JSON"):
        run_directory.read_metrics(path)


def test_a_directory_belongs_to_one_configuration(tmp_path):
    workdir = tmp_path / "runs" / "first"
    config = {"experiment": "vae", "seed": 0, "data_dir": None}
    run_directory.claim(workdir, config, free=("data_dir",))
    run_directory.claim(workdir, config | {"data_dir": "elsewhere"}, free=("data_dir",))
    assert json.loads((workdir / "config.json").read_text()) == config  # nothing is written before the manifest
    with pytest.raises(BadInput, match=r"`seed`=0 \(now 1\)"):
        run_directory.claim(workdir, config | {"seed": 1}, free=("data_dir",))
    with pytest.raises(BadInput, match="is not a run directory"):
        run_directory.claim(tmp_path / "runs", config, free=())


@pytest.mark.parametrize("text", ["[1]", "null", '"x"', "{}", '{"experiment": ["vae"]}'])
def test_a_config_that_names_no_experiment_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    line = r"config\.json (is not a JSON object|has no entry 'experiment'|has an entry 'experiment' that is not a name)"
    with pytest.raises(BadInput, match=line):
        run_directory.claim(tmp_path, {"experiment": "vae"}, free=())
    with pytest.raises(BadInput, match=line):
        runs.open(tmp_path)
    with pytest.raises(BadInput, match="is not a finished run: it has no config"):
        runs.open(tmp_path / "config.json")


@pytest.mark.parametrize("name", ["[ab]", "a\\b"])
def test_a_path_that_checkpoints_cannot_have_is_refused_at_once(tmp_path, name):
    with pytest.raises(BadInput, match=r"^workdir: .* contains (\[|\\), and checkpoints in such a path"):
        run_directory.claim(tmp_path / name / "run", {}, free=())
    locked = run_directory.locked(tmp_path / name / "run")
    with pytest.raises(BadInput, match=r"^workdir: .* contains (\[|\\), and checkpoints in such a path"), locked:
        raise AssertionError
    assert not list(tmp_path.iterdir())


def test_the_manifest_says_what_the_run_is_made_of(tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC", "3")
    warnings = []

    def opened(fingerprint):
        now = run_directory.manifest(seed=5, data_fingerprint=fingerprint)
        return run_directory.open_manifest(tmp_path, now, {"experiment": "vae"}, warn=warnings.append)

    first = opened("abc")
    assert stored.sealed(first) == json.loads((tmp_path / "manifest.json").read_text())
    assert {*run_directory.IDENTITY, "seed", "git_commit", "steps_done", "params_sha256", "processor"} <= set(first)
    assert first["packages"]["numpy"] == np.__version__ and first["cpu_threads"] == 3
    assert not warnings
    monkeypatch.setenv("NPROC", "4")
    second = opened("abc")
    assert second["mixed"] == ["cpu_threads: 3 then, 4 now"] and "cpu_threads: 3 then, 4 now" in warnings[0]
    assert opened("abc")["mixed"] == second["mixed"] and len(warnings) == 1  # what was mixed stays so
    # coming back does not mend it
    monkeypatch.setenv("NPROC", "3")
    assert opened("abc")["mixed"] == ["cpu_threads: 3 then, 4 now", "cpu_threads: 4 then, 3 now"]
    with pytest.raises(BadInput, match="fingerprint abc, not abd"):
        opened("abd")


def test_differences_are_named_down_to_the_package():
    then = {"backend": "cpu", "packages": {"jax": "1", "optax": "2"}}
    now = {"backend": "gpu", "packages": {"jax": "1", "optax": "3"}}
    assert run_directory.differences(then, now) == ["packages.optax: 2 then, 3 now", "backend: cpu then, gpu now"]
    assert run_directory.differences(then, then) == []


def test_settings_of_jax_belong_to_the_identity(tmp_path):
    plain = run_directory.manifest(seed=0, data_fingerprint="abc")
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        other = run_directory.manifest(seed=0, data_fingerprint="abc")
    assert run_directory.differences(plain, other) == [
        "jax_settings.jax_default_matmul_precision: None then, highest now",
        "jax_settings.jax_enable_x64: False then, True now",
    ]
    run_directory.write_json(tmp_path / "manifest.json", plain)
    assert run_directory.read_json(tmp_path / "manifest.json") == plain
    older = {name: value for name, value in plain.items() if name != "jax_settings"}
    assert run_directory.differences(older, plain) == []
    assert len(run_directory.differences(older, other)) == 2


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_directory_is_locked_while_it_is_trained_in(tmp_path):
    workdir = tmp_path / "runs" / "one"
    with run_directory.locked(workdir):
        run_directory.claim(workdir, {"experiment": "vae"}, free=())
        before = files(workdir)
        with (
            pytest.raises(BadInput, match=r"^another process is training in .*one; let it finish, or give another `w"),
            run_directory.locked(workdir),
        ):
            raise AssertionError
        assert files(workdir) == before
    with run_directory.locked(workdir):
        pass


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with run_directory.locked(tmp_path), run_directory.locked(tmp_path):
        pass


def test_a_claim_writes_nothing_to_a_finished_run(tmp_path):
    config = {"experiment": "vae", "data_dir": "before"}
    run_directory.write_json(tmp_path / "config.json", config)
    (tmp_path / "summary.json").write_text("{}")
    before = files(tmp_path)
    with run_directory.locked(tmp_path):
        run_directory.claim(tmp_path, config | {"data_dir": "now"}, free=("data_dir",))
    assert files(tmp_path) == before


def test_what_killed_processes_have_left_is_no_obstacle_and_is_removed(tmp_path):
    left = [tmp_path / f".{name}.{number}" for name in run_directory.FILES for number in (17, 4711)]
    for path in left:
        path.write_text("{")
    run_directory.claim(tmp_path, {"experiment": "vae"}, free=())
    with run_directory.locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {"config.json", run_directory.LOCK}


@pytest.mark.parametrize("name", [".config.json", ".config.json.bak", ".other.json.17", "config.json.17"])
def test_files_of_others_are_left_alone(tmp_path, name):
    (tmp_path / name).write_text("{")
    with pytest.raises(BadInput, match="exists and is not a run directory"), run_directory.locked(tmp_path):
        raise AssertionError
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("where", ["file", "file/below", "x" * 300])
def test_a_workdir_that_cannot_be_made_is_named(tmp_path, where):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(BadInput, match=r"^workdir: .*; give another path$")
    with refused as error, run_directory.locked(tmp_path / where):
        raise AssertionError
    assert "\n" not in str(error.value) and [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("command", [apply, generate, latent_space, compare_samples])
def test_commands_do_not_write_among_the_files_of_a_run(command, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    given = {"real": "digits", "fake": "digits"} if command is compare_samples else {"run": str(tmp_path)}
    given |= {"input": "x.npy", "to": "codes"} if command is apply else {}
    with pytest.raises(BadInput, match=r"^out: .* is the directory of a run; give another path$"):
        command.main(command.Flags(**given, out=str(tmp_path)))
