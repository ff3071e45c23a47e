"""Random damage to all files of a run directory: each is named in one line by every command, or changes nothing.

`python -m pytest -m slow -s tests/runs/test_damage.py` prints the table.
"""

import json
import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from experiments import generate
from genjax.errors import BadInput
from genjax.runs import agreement, directory, reproduce

NUM, SEED = 60, 20261126

pytestmark = pytest.mark.slow


def flip(path, draw, other):
    contents = bytearray(path.read_bytes())
    contents[draw.randrange(len(contents))] ^= 1 << draw.randrange(8)
    path.write_bytes(contents)


def truncate(path, draw, other):
    path.write_bytes(path.read_bytes()[: draw.randrange(1, path.stat().st_size)])


def zero(path, draw, other):
    size = path.stat().st_size
    start = draw.randrange(size)
    end = min(size, start + draw.choice((16, 512, 4096)))
    contents = path.read_bytes()
    path.write_bytes(contents[:start] + bytes(end - start) + contents[end:])


def empty(path, draw, other):
    path.write_bytes(b"")


def delete(path, draw, other):
    path.unlink()


def make_directory(path, draw, other):
    path.unlink()
    path.mkdir()


def other_json(path, draw, other):
    path.write_text(draw.choice(("[]", "null", "3", '"x"', "{}", '{"step": "x"}', "[" * 10**5, "NaN")))


def of_another_run(path, draw, other):
    shutil.copy(other, path)


DAMAGES = (flip, flip, truncate, zero, empty, delete, make_directory, other_json, of_another_run)


@pytest.fixture(scope="module")
def other(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("other") / "run"
    start(workdir, seed=1)
    return workdir


def choose(workdir, draw):
    """A file that the run consists of, by its path; pictures, the report and the empty lock are not read again."""
    shown = (".png", ".html")
    files = [path.relative_to(workdir) for path in workdir.rglob("*") if path.is_file() and path.suffix not in shown]
    files.remove(Path(directory.LOCK))
    groups = {}
    for path in sorted(files):
        groups.setdefault(path.parts[:2], []).append(path)  # a checkpoint counts as one, however many files it has
    return draw.choice(groups[draw.choice(sorted(groups))])


def counterpart(path, workdir, other):
    """The other run's file of the same name, or of the same place in its folder where names are random."""
    twin = other / path
    if twin.is_file():
        return twin
    siblings = sorted((workdir / path).parent.iterdir())
    return sorted(twin.parent.iterdir())[siblings.index(workdir / path) % len(list(twin.parent.iterdir()))]


def outcome(command, honest):
    """What a command makes of the directory: "named", "as before", or the fault."""
    try:
        found = command()
    except BadInput as error:
        return "named" if "\n" not in str(error) else f"more than one line: {error}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"
    return "as before" if found == honest else f"believed: {found}"


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_random_damage(honest, other, start, tmp_path, capsys, monkeypatch, finished):
    draw = random.Random(SEED + finished)
    manifest, again = directory.read_manifest(honest), agreement.read(honest)
    # what training again gives is known: nothing was changed but the directory that is compared with it
    monkeypatch.setattr(reproduce, "_train_again", lambda *arguments, **options: again)

    def restart(workdir):
        start(workdir)
        lines = (workdir / "metrics.jsonl").read_text()
        return directory.read_summary(workdir)["params_sha256"], directory.read_summary(workdir)["metrics"], lines

    def reproduced(workdir):
        capsys.readouterr()
        status = reproduce.main(reproduce.Flags(run=str(workdir)))
        return status, capsys.readouterr().out.partition(";")[0]

    def generated(workdir):
        capsys.readouterr()
        generate.main(generate.Flags(run=str(workdir), num=3, out=str(tmp_path / "out")))
        return capsys.readouterr().out.partition("sha256 ")[2].partition(";")[0]

    commands = {"generate": generated, "reproduce": reproduced, "restart": restart}
    whole = tmp_path / "whole"
    shutil.copytree(honest, whole)
    known = {name: command(whole) for name, command in commands.items()}
    assert known["reproduce"][0] == 0
    table = []
    for number in range(NUM):
        workdir = tmp_path / str(number) / "run"
        shutil.copytree(honest, workdir)
        if not finished:  # as a kill after the checkpoint of step 10 leaves it
            (workdir / "summary.json").unlink()
            shutil.rmtree(workdir / "checkpoints" / "20")
            fresh = manifest | {"steps_done": 0, "params_sha256": None}
            directory.write_manifest(workdir, {k: v for k, v in fresh.items() if k != "summary_sha256"})
        path, damage = choose(workdir, draw), draw.choice(DAMAGES)
        damage(workdir / path, draw, counterpart(path, honest, other))
        tried = commands if finished else {"restart": restart}
        row = {name: outcome(partial(command, workdir), known[name]) for name, command in tried.items()}
        table.append((str(path), damage.__name__, row))
        shutil.rmtree(workdir.parent)
    with capsys.disabled():
        print()
        for path, damage, row in table:
            print(f"{path[-50:]:50} {damage:15} {json.dumps(row)}")
    believed = [line for line in table if {*line[2].values()} - {"named", "as before"}]
    assert believed == []
