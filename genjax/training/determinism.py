"""What must be settled before JAX's backend starts, so that a run's bits depend on nothing but its flags."""

from __future__ import annotations

import os

import jax
from jax._src import xla_bridge  # no public call says whether a backend has started

DEFAULT_CPU_THREADS = 4
"""A constant, not the number of cores: XLA's CPU libraries split sums by the size of their thread pool."""

_GPU_FLAGS = ("--xla_gpu_deterministic_ops=true",)


def set_up(*, cpu_threads: int = DEFAULT_CPU_THREADS) -> None:
    """Pins the CPU thread pool and the GPU's kernels, before the backend starts.

    XLA's CPU backend reads the size of its pool from the environment variable NPROC when it starts, and cuts
    reductions and long contractions by it; with the size pinned, the bits are those of any number of cores.

    Raises:
      RuntimeError: if a backend has started already, when none of this would have an effect.
    """
    if xla_bridge.backends_are_initialized():
        raise RuntimeError(
            "determinism.set_up came too late: JAX's backend is already running; call it before the first array"
        )
    os.environ["NPROC"] = str(cpu_threads)
    present = os.environ.get("XLA_FLAGS", "")
    missing = [flag for flag in _GPU_FLAGS if flag.split("=")[0] not in present]
    os.environ["XLA_FLAGS"] = " ".join([*present.split(), *missing])
    # the same draws on every number of devices; the default of today, stated so that it stays
    jax.config.update("jax_threefry_partitionable", True)
