"""Compiled programs kept on the disk, so that the same run starts at once the next time."""

from __future__ import annotations

import hashlib
import os

import jax

from genjax.paths import user_cache

MOST_BYTES = 2**30
"""The oldest programs make room for new ones beyond this."""


def keep_compiled() -> None:
    """Keeps what is compiled from now on in the user's cache (XDG_CACHE_HOME), and takes it from there.

    A program runs the same machine code whether it was compiled or found. Each kind of processor has a folder of its
    own, for a home directory may be shared by many. A user's own JAX_COMPILATION_CACHE_DIR is left as it is.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is not None:
        return
    jax.config.update("jax_compilation_cache_dir", str(user_cache() / "compiled" / _processor()))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _processor() -> str:
    """A digest of what machine code may use here."""
    try:
        with open("/proc/cpuinfo") as file:
            told = sorted({line for line in file if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        told = [*os.uname()]
    return hashlib.sha256("".join(told).encode()).hexdigest()[:16]
