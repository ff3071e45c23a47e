"""Less time for compilation: fewer passes for what runs once, and a cache of programs on the disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache  # no public function sets another kind of cache
from jax._src.compilation_cache_interface import CacheInterface

from genjax.paths import make_folder, replacing, user_cache

MOST_BYTES = 2**30
"""Size limit in bytes; the programs that have not been used for the longest time are evicted above it."""

_LEVEL = "xla_backend_optimization_level"


def jit_once(function: Callable[..., Any]) -> Any:
    """`jax.jit` for a function that is called once or twice, and so takes longer to compile than to run.

    On a CPU, LLVM's optimization level 1 takes half the time of its default, 3, or less, and gives the same bits. A
    level in XLA_FLAGS is kept.
    """
    default = jax.default_backend() == "cpu" and _LEVEL not in os.environ.get("XLA_FLAGS", "")
    return jax.jit(function, compiler_options={_LEVEL: 1} if default else None)


def keep_compiled() -> None:
    """Caches programs compiled from now on in the user's cache folder (XDG_CACHE_HOME).

    A program runs the same machine code whether it was compiled or found. Each kind of processor has a separate folder,
    because a home directory may be shared by several machines. A JAX_COMPILATION_CACHE_DIR set by the user is kept.
    Without a folder that can be written to, only what is in it is found.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is not None:
        return
    folder = user_cache() / "compiled" / _processor()
    with contextlib.suppress(OSError):
        make_folder(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache._cache, compilation_cache._cache_initialized = Programs(folder, most_bytes=MOST_BYTES), True


class Programs(CacheInterface):
    """Programs by their key, each in a file of its own that begins with a digest of key and program.

    JAX's own cache keeps a damaged program for ever, runs one that lies under the key of another, stops working when
    a file of its bookkeeping is missing, and waits for a lock. Here a file that is not what its digest says is removed,
    so that the program is compiled again; the bookkeeping is the files' time of access; and files are replaced whole,
    so that no lock is needed. A cache that cannot be read or written is one that finds nothing.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._path = folder
        self._most_bytes = most_bytes

    def get(self, key: str) -> bytes | None:
        """The program of this key; None if there is none, or only a damaged one, which is removed."""
        file = self._file(key)
        with contextlib.suppress(OSError):
            content = file.read_bytes()
            digest, program = content[:32], content[32:]
            if digest == _digest(key, program):
                with contextlib.suppress(OSError):  # a folder that is only read
                    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
                return program
            file.unlink()
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keeps a program, and evicts others if they become too large."""
        file = self._file(key)
        with contextlib.suppress(OSError):
            with replacing(file) as out:
                out.write(_digest(key, value) + value)
            self._evict()

    def _file(self, key: str) -> Path:
        return self._path / f"{key}-cache"

    def _evict(self) -> None:
        found = sorted(self._path.iterdir(), key=lambda file: file.stat().st_atime_ns, reverse=True)
        total = 0
        for file in found:
            total += file.stat().st_size
            if total > self._most_bytes:
                file.unlink(missing_ok=True)


def _digest(key: str, program: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + program).digest()


def _processor() -> str:
    """A digest of the processor's model and features."""
    try:
        with open("/proc/cpuinfo") as file:
            told = sorted({line for line in file if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        told = [*os.uname()]
    return hashlib.sha256("".join(told).encode()).hexdigest()[:16]
