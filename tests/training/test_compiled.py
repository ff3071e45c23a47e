"""What was compiled once is found the next time, by the same kind of processor."""

import os
import stat
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from genjax import networks
from genjax.training.compiled import Programs, jit_once

PROGRAM = """
from genjax.training.compiled import keep_compiled
keep_compiled()
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: jnp.sort(jnp.linalg.qr(x)[1] @ x, axis=0))(jnp.eye(7)).sum())
"""


def start(home, quiet=False, **more):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    environment |= {"XDG_CACHE_HOME": str(home), **more}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120)
    assert not done.returncode and not (quiet and done.stderr), done.stderr
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


@pytest.fixture
def cache(tmp_path):
    cache = Programs(tmp_path / "cache", most_bytes=300)
    (tmp_path / "cache").mkdir()
    cache.put("a", b"first")
    cache.put("b", b"second")
    return cache


def test_programs_are_found_by_their_key(cache):
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (b"first", b"second", None)


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: b"", lambda c: bytes(len(c)), lambda c: c[:40] + b"X"])
def test_a_damaged_program_is_thrown_away_and_kept_anew(cache, damage):
    file = cache._path / "a-cache"
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get("a") is None and not file.exists()
    cache.put("a", b"first")
    assert cache.get("a") == b"first"


def test_programs_under_each_others_key_are_thrown_away(cache):
    first, second = (cache._path / f"{key}-cache" for key in "ab")
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    assert cache.get("a") is cache.get("b") is None


def test_the_programs_that_were_used_longest_ago_are_evicted(cache, monkeypatch):
    later = time.time_ns() + 10**12  # which no file system notes by itself
    monkeypatch.setattr(time, "time_ns", lambda: later)
    for age, key in enumerate("ba"):
        os.utime(cache._path / f"{key}-cache", ns=(age, 1))
    assert cache.get("b") == b"second"
    assert (cache._path / "b-cache").stat().st_atime_ns == later
    cache.put("c", bytes(200))
    assert (cache.get("a"), cache.get("b"), len(cache.get("c"))) == (None, b"second", 200)


def test_a_cache_that_cannot_be_used_finds_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    cache = Programs(tmp_path / "file" / "cache", most_bytes=300)
    cache.put("a", b"first")
    assert cache.get("a") is None


@pytest.mark.slow
def test_damaged_programs_are_compiled_again_without_a_word(tmp_path):
    first = start(tmp_path)
    kept = [path for path in tmp_path.glob("genjax/compiled/*/*-cache") if "jit__lambda" in path.name]
    assert kept and stat.S_IMODE((tmp_path / "genjax").stat().st_mode) == 0o700
    for path in kept:
        path.write_bytes(path.read_bytes()[:-20])
    before = {path: path.stat().st_mtime_ns for path in kept}
    for _ in range(2):
        assert start(tmp_path, quiet=True) == first
    after = {path: path.stat().st_mtime_ns for path in kept}
    assert all(after[path] > before[path] for path in kept)


def test_fewer_passes_give_the_same_bits(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # those of the tests choose a level
    init = networks.affine((64,), (5,)).init
    default = jax.jit(init, compiler_options={"xla_backend_optimization_level": 3})
    jax.tree.map(np.testing.assert_array_equal, jit_once(init)(jax.random.key(0)), default(jax.random.key(0)))
