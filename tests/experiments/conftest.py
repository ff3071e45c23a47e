"""Experiments as a user starts them: as processes, of which nothing is known but their flags, output and files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genjax.training import determinism

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
    """Starts `python -m experiments.NAME FLAGS...`, behind a prefix that limits its means.

    The processes of a test session share a compilation cache, which spares each the seconds that the first one took;
    `xla_flags` are by default those that make the tests' own compiling quick.
    """
    cache = tmp_path_factory.mktemp("compiled")

    def launch(name, *flags, prefix=(), cached=True, cwd=ROOT, xla_flags=None):
        command = [*prefix, sys.executable, "-m", f"experiments.{name}", *map(str, flags)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if xla_flags is not None:
            environment["XLA_FLAGS"] = xla_flags
        if not cached:
            environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        else:
            environment |= {
                "JAX_COMPILATION_CACHE_DIR": str(cache),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            }
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe, cwd=cwd)

    return launch


@pytest.fixture
def in_this_process(tmp_path, monkeypatch):
    """Lets a page train in this process, whose backend has started, in a folder of the test's own."""
    monkeypatch.setattr(determinism, "set_up", lambda **settings: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def finish(launch):
    """Runs an experiment to its end: (exit status, standard output, standard error)."""

    def finish(name, *flags, **options):
        process = launch(name, *flags, **options)
        out, err = process.communicate(timeout=1200)
        return process.returncode, out, err

    return finish


@pytest.fixture(scope="session")
def train(finish):
    """Trains to the end in a run directory and returns its summary."""

    def train(name, workdir, *flags, **options):
        status, out, err = finish(name, *flags, f"--workdir={workdir}", **options)
        assert status == 0, err
        assert f"{name} finished: " in out.splitlines()[-1]
        return json.loads((workdir / "summary.json").read_text())

    return train


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of grey 28 x 28 pictures in two classes: the size at which the thread pool begins to matter."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.RandomState(0)
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    for kind in ("disc", "ring"):
        (folder / kind).mkdir()
        for number in range(80):
            radius = np.hypot(x - draw.uniform(-0.3, 0.3), y - draw.uniform(-0.3, 0.3)) / draw.uniform(0.3, 0.7)
            shape = radius < 1 if kind == "disc" else np.abs(radius - 0.8) < 0.25
            Image.fromarray((255 * shape).astype(np.uint8)).save(folder / kind / f"{number}.png")
    return folder
