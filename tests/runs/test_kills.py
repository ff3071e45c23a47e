"""Runs that are stopped at random moments, and pairs of starts in one directory: nothing is lost, nothing is mixed.

Each test prints a table of what happened (`python -m pytest -s -m slow tests/runs/test_kills.py`).
"""

import collections
import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).with_name("sketches.py")
FLAGS = ["--num_steps=6000", "--log_every=70", "--eval_every=400", "--checkpoint_every=50"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
MOMENTS = 60
SEED = 20261126

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a small MLP VAE in a process of its own."""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}

    def start(workdir):
        return subprocess.Popen(
            [sys.executable, str(PAGE), *FLAGS, f"--workdir={workdir}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's & ignores it
        )

    return start


def outcome(workdir):
    """What a run is compared by."""
    return json.loads((workdir / "summary.json").read_text())["params_sha256"], (workdir / "metrics.jsonl").read_text()


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    process = start(workdir)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return outcome(workdir)


def newest(workdir):
    return max((int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def test_a_run_that_is_stopped_at_random_moments_loses_nothing(start, whole, tmp_path):
    draw, table, done = random.Random(SEED), collections.Counter(), []
    workdir, saved, stopped = tmp_path / "0", 0, 0
    while stopped < MOMENTS:
        number = SIGNALS[stopped % 3]
        process = start(workdir)
        first = process.stderr.readline()
        found = re.search(r"from (?:step (\d+)|the start), in", first)
        assert found and int(found[1] or 0) == saved, (first, saved)
        try:
            process.wait(draw.uniform(0, 2.5))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        out, err = process.communicate(timeout=600)
        assert "Traceback" not in err, err
        if out:  # it was finished before, though perhaps its process was not
            assert outcome(workdir) == whole
            done.append(stopped)
            workdir, saved = tmp_path / str(len(done)), 0
            continue
        stopped += 1
        before, saved = saved, newest(workdir)
        assert saved >= before
        if number == signal.SIGKILL:
            assert process.returncode == -number
        else:
            assert process.returncode == 128 + number, err
            last = err.splitlines()[-1]
            reached = f"after step {saved} of 6000, which is saved" if saved else "before its first step"
            generic = "interrupted; what was saved is kept, and the same command goes on from it"
            at_the_end = last == generic and saved == 6000
            assert at_the_end or last.startswith(f"sketches stopped {reached}; start it again with"), (err, saved)
        table[
            signal.Signals(number).name, "at step 0" if not saved else "at the end" if saved == 6000 else "between"
        ] += 1
    process = start(workdir)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0 and outcome(workdir) == whole, err
    print(
        f"\nseed {SEED}: {stopped} stops of {len(done) + 1} runs, all with the hash and the lines of one uninterrupted"
    )
    for (name, where), count in sorted(table.items()):
        print(f"{name:8} {where:10} {count:3}")


def test_of_two_starts_in_one_directory_one_goes_on(start, whole, tmp_path):
    table = collections.Counter()
    for number in range(20):
        workdir = tmp_path / str(number)
        processes = [start(workdir) for _ in range(2)]
        results = [(*process.communicate(timeout=600), process.returncode) for process in processes]
        results.sort(key=lambda result: result[2])
        (_, first_err, first), (_, err, second) = results
        assert (first, second) == (0, 2), results
        assert err == f"error: another process is training in {workdir}; let it finish, or give another --workdir\n"
        assert "Traceback" not in first_err and outcome(workdir) == whole
        table["one went on, one was refused"] += 1
    print(f"\n{dict(table)}")
