"""A run directory from somebody else is data: whatever it holds, nothing of it is run, and one line names it."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from experiments import generate, latent_space, swap_faces, vae
from genjax.errors import BadInput
from genjax.runs import code, command, directory, opening, reproduce
from genjax.runs.settings import NOT_IDENTITY


@pytest.fixture
def run(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def refused(start, run, tmp_path, monkeypatch):
    """Opens the run with each command; returns their lines, after checking that nothing else happened."""

    def never(*arguments, **options):
        raise AssertionError("a process was started")

    def refused():
        (tmp_path / "cwd").mkdir()
        monkeypatch.chdir(tmp_path / "cwd")
        monkeypatch.setattr(code, "_git", lambda *arguments: None)
        monkeypatch.setattr(subprocess, "run", never)
        monkeypatch.setattr(subprocess, "Popen", never)
        commands = [
            lambda: generate.main(generate.Flags(run=str(run), out="out")),
            lambda: latent_space.main(latent_space.Flags(run=str(run), out="out")),
            lambda: swap_faces.main(swap_faces.Flags(run=str(run), target="a", source="b")),
            lambda: reproduce.main(reproduce.Flags(run=str(run))),
            lambda: start(run),
            lambda: command.parse(vae.Flags, ["vae", f"--config={run / 'config.json'}"], experiment="vae"),
        ]
        modules, files = {*sys.modules}, listing(run)
        lines = []
        for each in commands:
            with pytest.raises(BadInput) as error:
                each()
            lines.append(str(error.value))
        assert {name for name in {*sys.modules} - modules if name.startswith("experiments")} == set()
        assert listing(run) == files and not list((tmp_path / "cwd").iterdir())
        assert all("\n" not in line and len(line) < 600 for line in lines)
        return lines

    return refused


def listing(folder):
    kept = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 2**20]
    return dict.fromkeys(folder.rglob("*")) | {path: path.read_bytes() for path in kept}


def forge(run, **changes):
    """Changes config.json, with the digests that whoever forges it can compute as well."""
    config = directory.read_config(run) | changes
    directory.write_json(run / "config.json", config)
    manifest = directory.read_manifest(run) | {"config_sha256": directory.config_digest(config, NOT_IDENTITY)}
    directory.write_manifest(run, manifest)


@pytest.mark.parametrize(
    "changes",
    [
        {"profile_file": "profile"},
        {"flagfile": "flags"},
        {"pdb": True},
        {"run_with_profiling": True},
        {"only_check_args": True, "pdb_post_mortem": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_flag_that_the_page_does_not_define(run, refused, changes):
    forge(run, **changes)
    for line in refused():
        assert (
            f"{run / 'config.json'} has flags that this experiment does not have: {', '.join(sorted(changes))}" in line
        )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"latent_dim": "__import__('os')"}, "latent_dim: expected a whole number of at least 1"),
        ({"latent_dim": None}, "latent_dim: expected a whole number"),
        ({"hidden": {"a": 1}}, "hidden: expected whole numbers"),
        ({"hidden": [[8]]}, "hidden: expected whole numbers"),
        ({"seed": 2**32}, "seed: expected a whole number from 0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a number"),
        ({"network": "x" * 10**6}, "network: expected one of"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_value_that_the_command_line_refuses(run, refused, changes, named):
    forge(run, **changes)
    for line in refused():
        assert f"{run / 'config.json'} has a value that is not valid: {named}" in line


@pytest.mark.parametrize(
    "name",
    ["..os", "os", "os.path", "same_bits", "benchmark", "lemmas", "../vae", "vae.EXPERIMENT", "", "vae\n", "x" * 999],
)
def test_an_experiment_that_is_no_page_with_a_record(run, refused, name):
    forge(run, experiment=name)
    for line in refused():
        assert name[:50] in line or f"{run / 'config.json'} has an entry 'experiment' that is not a name" in line
    sys.modules.pop("experiments.same_bits", None)
    with pytest.raises(BadInput, match="has no experiment"):
        opening.find(name)
    assert "experiments.same_bits" not in sys.modules


def fifo(path):
    os.mkfifo(path)


def zeros(path):
    path.symlink_to("/dev/zero")


def endless(path):
    with open(path, "w") as file:
        file.truncate(2**40)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (fifo, "is not a regular file"),
        (zeros, "is not a regular file"),
        (endless, "is larger than"),
        (lambda path: path.mkdir(), "is not a regular file"),
        (lambda path: path.write_text("[" * 10**5), "nested too deeply"),
        (lambda path: path.write_bytes(b'{"experiment": "\xff"}'), "not in UTF-8"),
        (lambda path: path.write_text('{"experiment": ' + "9" * 5000 + "}"), "is not valid JSON"),
        (lambda path: path.write_text("null"), "is not a JSON object"),
    ],
    ids=["fifo", "zeros", "endless", "directory", "nested", "bytes", "digits", "null"],
)
def test_something_else_in_the_place_of_config_json(run, refused, make, named):
    (run / "config.json").unlink()
    make(run / "config.json")
    for line in refused():
        assert f"{run / 'config.json'} {named}" in line or (str(run / "config.json") in line and named in line)


@pytest.mark.parametrize("name", ["manifest.json", "summary.json", "metrics.jsonl"])
@pytest.mark.parametrize(("make", "named"), [(fifo, "is not a regular file"), (endless, "is larger than")])
def test_something_else_in_the_place_of_another_file(run, start, name, make, named):
    (run / name).unlink()
    make(run / name)
    for each in (lambda: opening.open(run), lambda: reproduce.main(reproduce.Flags(run=str(run))), lambda: start(run)):
        with pytest.raises(BadInput, match=rf"{name} {named}"):
            each()


def test_reproduce_joins_no_other_process(run, monkeypatch):
    forge(run, coordinator="192.0.2.1:1", num_processes=2, process_id=1)
    seen = []

    def note(arguments, **options):
        seen.extend(arguments)
        return subprocess.CompletedProcess(arguments, 2)

    monkeypatch.setattr(reproduce.subprocess, "run", note)
    monkeypatch.setattr(code, "_git", lambda *arguments: None)
    with pytest.raises(BadInput, match="could not be trained again"):
        reproduce.main(reproduce.Flags(run=str(run)))
    assert seen[1:3] == ["-m", "experiments.vae"] and "--latent_dim=2" in seen
    assert not [argument for argument in seen if "192.0.2.1" in argument or "process" in argument]


def test_a_recorded_configuration_is_a_start_and_the_command_line_wins(honest, tmp_path):
    def parse(*arguments):
        return command.parse(vae.Flags, ["vae", *arguments], experiment="vae")

    recorded = opening.open(honest).flags
    found = parse(f"--config={honest / 'config.json'}", "--seed=3", "--hidden=4")
    assert found == recorded.replace(seed=3, hidden=(4,), workdir=None)
    # what says where and how the other run ran is not taken, but where its data are
    config = json.loads((honest / "config.json").read_text())
    config |= {"workdir": "/x", "tensorboard": True, "coordinator": "a:1", "data_dir": "/data"}
    (tmp_path / "edited.json").write_text(json.dumps(config))
    assert parse(f"--config={tmp_path / 'edited.json'}") == recorded.replace(workdir=None, data_dir="/data")
    with pytest.raises(BadInput, match=r"edited\.json is of a run of vae, not of iwae"):
        command.parse(vae.Flags, ["iwae", f"--config={tmp_path / 'edited.json'}"], experiment="iwae")
    with pytest.raises(BadInput, match="nowhere does not exist"):
        parse("--config=/nowhere/config.json")
    with pytest.raises(BadInput, match="Unknown command line flag 'config'"):
        command.parse(generate.Flags, ["generate", "--config=x"])
