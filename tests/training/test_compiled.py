"""What was compiled once is found the next time, by the same kind of processor."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
from genjax.training.compiled import keep_compiled
keep_compiled()
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: jnp.sort(jnp.linalg.qr(x)[1] @ x, axis=0))(jnp.eye(7)).sum())
"""


def start(home, **more):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    environment |= {"XDG_CACHE_HOME": str(home), **more}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    return done.stdout


def programs(home):
    return {path.name: path.stat().st_mtime_ns for path in home.glob("genjax/compiled/*/*-cache")}


@pytest.mark.slow
def test_a_second_start_compiles_nothing(tmp_path):
    first = start(tmp_path)
    kept = programs(tmp_path)
    assert any("jit__lambda" in name for name in kept)
    assert start(tmp_path) == first and programs(tmp_path) == kept


@pytest.mark.slow
def test_a_folder_of_the_users_own_is_left_to_them(tmp_path):
    start(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert not programs(tmp_path) and list((tmp_path / "own").iterdir())
