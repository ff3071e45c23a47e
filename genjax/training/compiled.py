"""A cache of compiled programs on disk, so that the same run starts faster the next time."""

from __future__ import annotations

import hashlib
import os

import jax

from genjax.paths import user_cache

MOST_BYTES = 2**30
"""Size limit in bytes; the oldest programs are evicted above it."""


def keep_compiled() -> None:
    """Caches programs compiled from now on in the user's cache folder (XDG_CACHE_HOME).

    A program runs the same machine code whether it was compiled or found. Each kind of processor has a separate folder,
    because a home directory may be shared by several machines. A JAX_COMPILATION_CACHE_DIR set by the user is kept.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is not None:
        return
    jax.config.update("jax_compilation_cache_dir", str(user_cache() / "compiled" / _processor()))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _processor() -> str:
    """A digest of the processor's model and features."""
    try:
        with open("/proc/cpuinfo") as file:
            told = sorted({line for line in file if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        told = [*os.uname()]
    return hashlib.sha256("".join(told).encode()).hexdigest()[:16]
