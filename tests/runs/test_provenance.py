"""What a command made of a run is recorded, and made again it is compared byte for byte, without a run or a process."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import apply, generate, latent_space
from genjax.errors import BadInput
from genjax.runs import code, command, directory, provenance, remaking, reproduce, stored
from genjax.training.digest import params_sha256


@pytest.fixture(autouse=True)
def no_repository(monkeypatch):
    monkeypatch.setattr(code, "_git", lambda *arguments: None)


def run_of(seed):
    return SimpleNamespace(state=SimpleNamespace(params={"w": np.full(3, seed, np.float32)}))


@pytest.fixture
def made(tmp_path):
    """A folder of two files in a run directory, beside an older one, with its record."""
    run = tmp_path / "runs" / "a"
    (run / "out" / "deep").mkdir(parents=True)
    (run / "out" / "older.txt").write_text("of another command")
    (run / "out" / "x.txt").write_text("of an earlier call")
    write(run / "out", generate.Flags(run=str(run), num=3, out="elsewhere"))
    return run / "out"


def write(out, flags, seed=0, text="x"):
    with provenance.writing(out, "generate", flags, run_of(seed)) as folder:
        (folder / "deep").mkdir()
        (folder / "x.txt").write_text(text)
        (folder / "deep" / "y.txt").write_text(f"{flags.num}")


@pytest.fixture
def again(monkeypatch):
    """Lets `reproduce --made` make files in this process; `again.text` and `again.seed` are what changed since."""
    now = SimpleNamespace(text="x", seed=0, flags=None, status=0, processor=directory.processor())

    def make(arguments, **options):
        assert arguments[1:3] == ["-m", "experiments.generate"]
        now.flags = command.parse(generate.Flags, arguments[2:])
        monkeypatch.setattr(directory, "processor", lambda: now.processor)
        if not now.status:
            write(Path(now.flags.out), now.flags, now.seed, now.text)
        return subprocess.CompletedProcess(arguments, now.status)

    monkeypatch.setattr(remaking.subprocess, "run", make)
    return now


def reproduced(made, **flags):
    return reproduce.main(reproduce.Flags(made=str(made), **flags))


def test_the_record_lists_what_this_call_made_and_from_what(made):
    assert {path.name for path in made.iterdir()} == {"deep", "older.txt", "x.txt", "made.json"}  # and no draft
    record = stored.read_made(made / "made.json")
    assert list(record["files"]) == ["deep/y.txt", "x.txt"]
    # the SHA-256 of "3", from another program (`printf 3 | sha256sum`)
    assert record["files"]["deep/y.txt"] == "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce"
    assert record["params_sha256"] == {"run": params_sha256(run_of(0).state.params)}
    assert (record["command"], record["flags"]["num"], record["flags"]["out"]) == ("generate", 3, None)
    assert record["flags"]["run"] == ".." and {"jax", "matplotlib"} < record["packages"].keys()


def test_what_fails_leaves_everything_as_it_was(made):
    before = {path: path.read_bytes() for path in provenance.files_in(made)}

    def fails():
        with provenance.writing(made, "generate", generate.Flags(), run_of(0)) as folder:
            (folder / "x.txt").write_text("y")
            raise BadInput("too few")

    with pytest.raises(BadInput, match="too few"):
        fails()
    assert before == {path: path.read_bytes() for path in provenance.files_in(made)}
    assert {path.name for path in made.iterdir()} == {"deep", "older.txt", "x.txt", "made.json"}


def test_the_record_of_a_file_lies_beside_it_and_names_the_other_run_and_the_input(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    flags = latent_space.Flags(run=str(tmp_path / "a"), beside=str(tmp_path / "b"))
    with provenance.writing(
        tmp_path / "to" / "b.csv", "latent_space", flags, run_of(0), run_of(1), is_file=True
    ) as path:
        path.write_text("1")
    record = stored.read_made(tmp_path / "to" / "b.csv.made.json")
    assert list(record["files"]) == ["b.csv"]
    assert [record["flags"][name] for name in ("run", "beside")] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert record["params_sha256"] == {
        name: params_sha256(run_of(seed).state.params) for name, seed in (("run", 0), ("beside", 1))
    }
    digests = set()
    given_file = tmp_path / "in" / "a.txt"
    for change in (lambda: None, lambda: given_file.write_text("b"), lambda: given_file.rename(tmp_path / "in" / "b")):
        change()
        given = apply.Flags(run=str(tmp_path / "a"), input=str(tmp_path / "in"))
        provenance.keep(tmp_path / "x.made.json", "apply", given, [run_of(0)], [])
        digests.add(stored.read_made(tmp_path / "x.made.json")["input_sha256"])
    assert len(digests) == 3


def test_the_same_bytes_from_the_same_flags_wherever_the_run_is_now(made, again, tmp_path, capsys):
    assert reproduced(made) == 0
    assert capsys.readouterr().out == f"the same bytes: 2 files of generate; {made}\n"
    assert (again.flags.num, again.flags.run) == (3, str(made.parent))
    moved = tmp_path / "moved"
    made.parent.rename(moved)
    assert reproduced(moved / "out") == 0 and again.flags.run == str(moved)
    (moved / "out").rename(tmp_path / "alone")
    assert reproduced(tmp_path / "alone", run=str(moved), data_dir="/data") == 0
    assert (again.flags.run, again.flags.data_dir) == (str(moved), "/data")


def test_other_bytes_name_the_first_file_and_the_code(made, again, capsys):
    again.text = "z"
    assert reproduced(made) == 1
    out = capsys.readouterr().out.splitlines()
    # the SHA-256 of "x" and "z", from another program
    x = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    z = "594e519ae499312b29433b7dd8a97ff068defcba9755b6d5d00e84c524d67b06"
    assert out[0] == f"other bytes: x.txt has SHA-256 {x} recorded, {z} now, of 2 files of generate; {made}"
    assert out[1:] == ["code then: not in a repository", "code now:  not in a repository"]
    said = remaking.first_difference({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "3"})
    assert said == "b has SHA-256 2 recorded, 4 now, and 2 more files differ"
    assert remaking.first_difference({"a": "1"}, {}) == "a has SHA-256 1 recorded, none now"


def test_other_circumstances_explain_other_bytes_and_the_same_bytes_need_none(made, again):
    again.processor = "another"
    assert reproduced(made) == 0
    again.text = "z"
    with pytest.raises(
        BadInput, match=r"not comparable: x\.txt has SHA-256 .* now, and processor: .* then, another now"
    ):
        reproduced(made)
    again.seed = 1
    with pytest.raises(BadInput, match=r", and params_sha256\.run: .* then, .* now; processor: "):
        reproduced(made)


def edited(made, **changes):
    record = stored.read_made(made / "made.json") | changes
    directory.write_json(made / "made.json", stored.sealed(record))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda made: (made / "made.json").unlink(), r"^made: .*/out has no record of how it was made"),
        (lambda made: (made / "x.txt").unlink(), r"/x\.txt is missing, which .*/made\.json names"),
        (lambda made: (made / "x.txt").write_text("y"), r"/x\.txt has been changed since .*/made\.json was written"),
        (
            lambda made: (made / "made.json").write_text((made / "made.json").read_text().replace("3", "4", 1)),
            r"made\.json is damaged: it does not have the digest",
        ),
        (lambda made: (made / "made.json").write_text("{"), r"made\.json is not valid JSON"),
        (lambda made: edited(made, command="vae"), r"is of the command 'vae'; expected one of apply, export, "),
        (lambda made: edited(made, command="../os"), r"is of the command '\.\./os'; expected one of"),
        (lambda made: edited(made, flags={"pdb": True}), r"has flags that this experiment does not have: pdb"),
        (
            lambda made: edited(made, flags={"page": "os"}),
            r"^page: the files were made with the page os; give the same",
        ),
        (lambda made: edited(made, flags={"num": "x"}), r"has a value that is not valid: num: expected a whole number"),
    ],
)
def test_a_record_that_cannot_be_followed_is_named_before_anything_is_made(made, again, damage, named):
    damage(made)
    with pytest.raises(BadInput, match=named) as error:
        reproduced(made)
    assert again.flags is None and "\n" not in str(error.value)


def test_what_cannot_be_made_again_or_asks_for_two_things_is_refused(made, again):
    again.status = 2
    with pytest.raises(BadInput, match=r"not comparable: .*/out could not be made again, for the reason above"):
        reproduced(made)
    for name, value in (("against", "x"), ("explain", True), ("initial_weights", "w")):
        with pytest.raises(BadInput, match=rf"^{name}: it is for training a run again"):
            reproduced(made, **{name: value})


def test_auxiliary_models_come_first_and_those_of_one_side_are_not_compared():
    same, lines = reproduce.auxiliaries_compared({"b": "1", "a": "2", "c": "3"}, {"a": "2", "b": "4", "d": "5"})
    assert not same and lines == [
        "auxiliary model a: the same bits: params_sha256 2",
        "auxiliary model b: other bits: params_sha256 1 recorded, 4 now",
        "auxiliary model c: not compared: params_sha256 3 recorded, none now",
        "auxiliary model d: not compared: params_sha256 none recorded, 5 now",
    ]
    assert reproduce.auxiliaries_compared({}, {"a": "1"})[0] and reproduce.auxiliaries_compared({}, {}) == (True, [])


def test_a_made_json_holds_no_more_than_it_should(made):
    assert json.loads((made / "made.json").read_text()).keys() == {*stored.MADE, "sha256"} - {"input_sha256"}
