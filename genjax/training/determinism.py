"""Settings that must be fixed before JAX's backend starts, so that a run's bits depend only on its flags."""

from __future__ import annotations

import enum
import os
from typing import Any

import jax
from jax._src import xla_bridge  # no public function returns whether a backend has started

from genjax.errors import BadInput
from genjax.training import portable

DEFAULT_CPU_THREADS = 4
"""A constant, not the number of cores: XLA's CPU libraries split sums by the size of their thread pool."""

_GPU_FLAGS = ("--xla_gpu_deterministic_ops=true",)

JAX_SETTINGS = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_default_matmul_precision": None,
    "jax_numpy_dtype_promotion": "standard",
    "jax_disable_jit": False,
}
"""JAX's settings that change numbers, with their defaults. A run records those in force: `jax_settings`."""


def set_up(*, cpu_threads: int = DEFAULT_CPU_THREADS, portable_bits: bool = False) -> None:
    """Pins the CPU thread pool and the GPU's kernels, before the backend starts, and how products are compiled.

    XLA's CPU backend reads the size of its pool from the environment variable NPROC when it starts, and cuts
    reductions and long contractions by it; with the size pinned, the bits are the same on any number of cores. Once
    the backend runs, a call only checks that the requested settings are in force; `portable_bits` can change at any
    time, for what is compiled afterwards.

    Args:
      cpu_threads: the size of the pool.
      portable_bits: compile programs whose bits do not depend on the processor's generation: see `portable`.

    Raises:
      BadInput: a backend has started with other settings; the message names those that differ.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    missing = [flag for flag in _GPU_FLAGS if flag.split("=")[0] not in " ".join(flags)]
    if xla_bridge.backends_are_initialized():
        differing = []
        threads = os.environ.get("NPROC", "unset")
        if threads != str(cpu_threads):
            differing.append(f"NPROC, XLA's number of CPU threads, is {threads} and not {cpu_threads}")
        if missing and jax.default_backend() != "cpu":  # a CPU has no such kernels
            differing.append(f"XLA_FLAGS lacks {' '.join(missing)}")
        if differing:
            raise BadInput(
                f"JAX's backend is already running with other settings: {'; '.join(differing)}; call "
                "determinism.set_up before the first array is made"
            )
    os.environ["NPROC"] = str(cpu_threads)
    os.environ["XLA_FLAGS"] = " ".join([*flags, *missing])
    # the same draws on any number of devices; today's default, set explicitly so that it stays
    jax.config.update("jax_threefry_partitionable", True)
    portable.use(portable_bits)


def jax_settings() -> dict[str, Any]:
    """The current values of `JAX_SETTINGS`, in types that JSON can hold."""
    settings = {name: getattr(jax.config, name) for name in JAX_SETTINGS}
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in settings.items()}
