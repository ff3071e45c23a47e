"""What a run directory records twice agrees, or the file that does not is named."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments import generate, vae
from genjax import runs
from genjax.errors import BadInput
from genjax.runs import agreement, auxiliary, code, command, directory, log, opening, remaking, reproduce
from genjax.runs.settings import NOT_IDENTITY
from genjax.training import checkpoint, saved


@pytest.fixture
def run(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def other(start, tmp_path_factory):
    """A run of other flags."""
    workdir = tmp_path_factory.mktemp("other") / "run"
    start(workdir, seed=1)
    return workdir


def edit(path, old, new):
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def params(run):
    return json.loads((run / "summary.json").read_text())["params_sha256"]


def flip_hash(run):
    found = params(run)
    edit(run / "summary.json", found, ("0" if found[0] != "0" else "1") + found[1:])


def halve_values(run):
    files = [path for path in (run / "checkpoints" / "20" / "state").rglob("*") if path.is_file()]
    path = max(files, key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def last_line(run):
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:-1]))


DAMAGES = {
    "a flipped hash in summary.json": (flip_hash, r"summary\.json is damaged: its params_sha256 is"),
    "another number of steps": (
        lambda run: edit(run / "summary.json", '"num_steps": 20', '"num_steps": 21'),
        r"summary\.json is damaged: its num_steps is 21, and 20 in config\.json",
    ),
    "another speed": (
        lambda run: edit(run / "summary.json", '"seconds": ', '"seconds": 1'),
        r"summary\.json is damaged: it does not have the digest in manifest\.json",
    ),
    "another value in config.json": (
        lambda run: edit(run / "config.json", '"seed": 0', '"seed": 1'),
        r"config\.json is not the one that manifest\.json was written with|`seed`=1 \(now 0\)",
    ),
    "another value in manifest.json": (
        lambda run: edit(run / "manifest.json", '"processor": "', '"processor": "x'),
        r"manifest\.json is damaged",
    ),
    "a misspelt key of manifest.json": (
        lambda run: edit(run / "manifest.json", '"sha256"', '"sha255"'),
        r"manifest\.json is damaged",
    ),
    "an empty log": (lambda run: (run / "metrics.jsonl").write_text(""), r"metrics\.jsonl has 0 lines, of the 6"),
    "no log": (lambda run: (run / "metrics.jsonl").unlink(), r"it has no metrics\.jsonl"),
    "a shorter log": (last_line, r"metrics\.jsonl has 5 lines, of the 6 that it had at step 20"),
    "another digit in the log": (
        lambda run: edit(run / "metrics.jsonl", '"loss": ', '"loss": 1'),
        r"metrics\.jsonl has other lines than it had at step 20",
    ),
    "a longer log": (
        lambda run: log.append_metrics(run / "metrics.jsonl", 20, "test", {"loss": 1.0}),
        r"metrics\.jsonl has lines after step 20",
    ),
    "no newest checkpoint": (
        lambda run: shutil.rmtree(run / "checkpoints" / "20"),
        r"does not have checkpoint 20, the last one of the run; `step` can choose another one: 10",
    ),
    "no checkpoints": (lambda run: shutil.rmtree(run / "checkpoints"), r"no checkpoint in .*checkpoints"),
    "a damaged checkpoint": (
        halve_values,
        r"checkpoint 20 in .* is damaged .*; `step` can choose another one: 10",
    ),
    "a file in the place of a checkpoint": (
        lambda run: (shutil.rmtree(run / "checkpoints"), (run / "checkpoints").write_text("")),
        r"no checkpoint in .*checkpoints",
    ),
}

QUICK = (  # the others in the slow run
    "a flipped hash in summary.json",
    "another value in config.json",
    "another value in manifest.json",
    "another digit in the log",
    "no newest checkpoint",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in DAMAGES]
)
def test_damage_is_named_by_every_command(run, start, name):
    damage, line = DAMAGES[name]
    damage(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for each in (lambda: runs.open(run), lambda: start(run), lambda: agreement.check(run)):
        with pytest.raises(BadInput, match=line):
            each()
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("config.json", r"config\.json is not the one|`seed`=1 \(now 0\)"),
        ("manifest.json", r"config\.json is not the one"),
        ("summary.json", r"summary\.json is damaged"),
        ("metrics.jsonl", r"metrics\.jsonl has other lines"),
        ("checkpoints", r"checkpoint 20 .* is not one of this run, but of another"),
    ],
)
def test_a_file_of_another_run_is_named(run, other, start, name, line):
    if (run / name).is_dir():
        shutil.rmtree(run / name)
        shutil.copytree(other / name, run / name)
    else:
        shutil.copy(other / name, run / name)
    for each in (lambda: runs.open(run), lambda: start(run), lambda: agreement.check(run)):
        with pytest.raises(BadInput, match=line):
            each()


@pytest.mark.parametrize("lines", [0, 2])
def test_a_run_does_not_go_on_from_a_shortened_log(run, start, lines):
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "20")
    kept = (run / "metrics.jsonl").read_text().splitlines(keepends=True)[:lines]
    (run / "metrics.jsonl").write_text("".join(kept))
    with pytest.raises(BadInput, match=rf"metrics\.jsonl has {lines} lines, of the 3 that it had at step 10"):
        start(run)
    (run / "metrics.jsonl").unlink()
    with pytest.raises(BadInput, match=r"metrics\.jsonl has 0 lines, of the 3"):
        start(run)


def test_a_run_does_not_go_on_without_its_manifest(run, start):
    (run / "summary.json").unlink()
    (run / "manifest.json").unlink()
    with pytest.raises(BadInput, match=r"has no manifest\.json"):
        start(run)


def test_what_is_drawn_names_its_step(run, capsys):
    assert opening.open(run).step == 20
    generate.main(generate.Flags(run=str(run), num=3, step=10))
    assert "3 samples of" in (out := capsys.readouterr().out) and ", step 10, seed 0" in out
    with pytest.raises(BadInput, match=r"has no checkpoint 15; it has 20, 10"):
        runs.open(run, step=15)


def test_a_directory_that_does_not_exist(tmp_path):
    with pytest.raises(BadInput, match=r"^/.*/x does not exist$"):
        runs.open(tmp_path / "x")


def test_a_run_from_before_the_digests_is_opened(run, start):
    manifest = json.loads((run / "manifest.json").read_text())
    for name in ("run", "config_sha256", "summary_sha256", "sha256"):
        del manifest[name]
    (run / "manifest.json").write_text(json.dumps(manifest))
    for meta in (run / "checkpoints").rglob("*"):
        if meta.is_file() and b"meta_sha256" in (text := meta.read_bytes()):
            meta.write_text(
                json.dumps({k: v for k, v in json.loads(text).items() if k in ("step", "sha256", "leaves")})
            )
    assert runs.open(run).step == 20
    assert start(run).step == 20
    (run / "summary.json").unlink()
    assert start(run).metrics  # and it ends again
    flip_hash(run)  # what is recorded twice is compared without digests too
    with pytest.raises(BadInput, match=r"its params_sha256 is"):
        runs.open(run)


@pytest.mark.slow
def test_a_fresh_directory_after_a_kill_between_its_files(run, honest, start):
    (run / "manifest.json").unlink()
    for path in run.iterdir():
        if path.name != "config.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    start(run)
    assert params(run) == params(honest) and Path(run / "manifest.json").exists()


def without(run, name, *, content="config.json"):
    """The run as a version of the code would have left it that had no such flag, or no such entry of the manifest."""
    found = json.loads((run / content).read_text())
    del found[name]
    if content == "manifest.json":
        for seal in ("run", "config_sha256", "summary_sha256", "sha256"):  # that version did not have them either
            found.pop(seal, None)
        (run / content).write_text(json.dumps(found))
        return
    directory.write_json(run / content, found)
    manifest = directory.read_manifest(run) | {"config_sha256": directory.config_digest(found, NOT_IDENTITY)}
    directory.write_manifest(run, manifest)


def test_a_run_from_before_a_flag_gets_its_default_and_says_so(run, capsys, monkeypatch):
    without(run, "num_flow_layers")
    monkeypatch.setattr(reproduce.subprocess, "run", lambda given, **_: subprocess.CompletedProcess(given, 2))
    with pytest.raises(BadInput, match="could not be trained again"):
        reproduce.main(reproduce.Flags(run=str(run)))
    said = f"warning: {run} has no value for num_flow_layers; the defaults are used"
    assert capsys.readouterr().err.splitlines() == [said]
    assert runs.open(run).flags.num_flow_layers == vae.Flags().num_flow_layers
    assert capsys.readouterr().err.splitlines() == [said]


@pytest.mark.parametrize("name", ["jax_settings", "data"])
def test_a_manifest_from_before_an_entry_is_opened(run, name):
    for meta in (run / "checkpoints").rglob("*"):  # which name the run that the manifest then did not name
        if meta.is_file() and b"meta_sha256" in (text := meta.read_bytes()):
            kept = ("step", "sha256", "leaves")
            meta.write_text(json.dumps({k: v for k, v in json.loads(text).items() if k in kept}))
    without(run, name, content="manifest.json")
    assert opening.open(run, with_data=False).step == 20


@pytest.mark.parametrize("name", ["params_sha256", "bits_of_devices"])
def test_a_manifest_without_an_entry_that_is_needed_is_named(run, start, name):
    without(run, name, content="manifest.json")
    for each in (
        lambda: runs.open(run),
        lambda: start(run),
        lambda: reproduce.main(reproduce.Flags(run=str(run))),
        lambda: generate.main(generate.Flags(run=str(run))),
    ):
        with pytest.raises(BadInput, match=rf"^{run / 'manifest.json'} has no entry '{name}'; "):
            each()


def test_a_checkpoint_of_an_older_model_is_named_with_what_it_lacks(run):
    kept = saved.read(run / "checkpoints")
    shutil.rmtree(run / "checkpoints")
    older = {path: leaf for path, leaf in kept.leaves.items() if path != "step"}
    with checkpoint.Checkpoints(run / "checkpoints", keep=1, run=kept.run) as checkpoints:
        checkpoints.save(20, older, note=kept.note)
    where = run / "checkpoints"
    with pytest.raises(
        BadInput, match=rf"^checkpoint 20 in {where} is of another model: step is absent in it, and int32"
    ):
        runs.open(run)


def test_what_was_drawn_is_drawn_again_to_the_same_bytes(run, monkeypatch, capsys):
    def generated(arguments, **options):
        generate.main(command.parse(generate.Flags, arguments[2:]))
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(code, "_git", lambda *arguments: None)
    monkeypatch.setattr(remaking.subprocess, "run", generated)
    generate.main(generate.Flags(run=str(run), num=12, step=10, seed=4))
    capsys.readouterr()
    assert reproduce.main(reproduce.Flags(made=str(run / "generated"))) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"the same bytes: 2 files of generate; {run / 'generated'}"


def test_a_run_that_goes_on_with_other_auxiliary_models_is_mixed(run, capsys):
    found = {"judge-1": "1" * 64, "judge-2": "2" * 64}
    auxiliary.note(run, {}, warn=print)
    assert "auxiliaries" not in directory.read_manifest(run)
    for _ in range(2):
        auxiliary.note(run, found, warn=print)
        assert directory.read_manifest(run)["auxiliaries"] == found
    found = {"judge-1": "1" * 64, "judge-of-more-steps": "3" * 64}
    auxiliary.note(run, found, warn=print)
    assert "mixed" not in directory.read_manifest(run) and not capsys.readouterr().out
    auxiliary.note(run, found | {"judge-1": "4" * 64}, warn=print)
    change = f"judge-1: {'1' * 64} then, {'4' * 64} now"
    assert f"resumes with other auxiliary models ({change}): " in capsys.readouterr().out
    assert directory.read_manifest(run)["mixed"] == [change]
    agreement.check(run)
