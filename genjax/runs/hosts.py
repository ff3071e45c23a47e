"""The processes of a run on several hosts."""

from __future__ import annotations

import os
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from genjax.errors import BadInput
from genjax.runs.settings import Flags
from genjax.stderr import print_line


def join(flags: Flags) -> None:
    """Joins the other processes of the run, if it has any; call it before JAX's backend starts.

    Raises:
      BadInput: the flags do not identify the processes, or the processes do not answer.
    """
    number, count = flags.process_id, flags.num_processes
    if flags.coordinator is None:
        if (number, count) != (None, None):
            raise BadInput("`num_processes` and `process_id` need a `coordinator`, the first process's HOST:PORT")
        return
    address = None if flags.coordinator == "auto" else flags.coordinator
    if address is not None and (number is None or count is None or number >= count):
        raise BadInput(
            f"{address} needs `num_processes` and a `process_id` below it, not {count} and {number}",
            parameter="coordinator",
        )
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    try:
        jax.distributed.initialize(
            address,
            *((count, number) if address else (None, None)),
            initialization_timeout=60,
            heartbeat_timeout_seconds=20,
            # others wait while the first process writes results; heartbeats still detect a dead process
            shutdown_timeout_seconds=24 * 3600,
        )
    except (RuntimeError, ValueError) as error:
        raise BadInput(
            f"the processes did not connect at {flags.coordinator} ({_line(error)})", parameter="coordinator"
        ) from error


def leave(error: Exception) -> NoReturn:
    """Ends this process after another process of the run has died.

    Skips JAX's shutdown, which would wait for the dead process.
    """
    print_line(
        f"error: another process of this run has ended or cannot be reached ({_line(error)[:200]}); start all of them "
        "again with the same flags to resume from the last checkpoint"
    )
    os._exit(2)


def agreed(number: int) -> int:
    """The largest of the numbers of all processes, which all of them must ask for at the same step."""
    return number if jax.process_count() == 1 else int(multihost_utils.process_allgather(np.int32(number)).max())


def is_first() -> bool:
    """Whether this process is the first, which writes the files."""
    return jax.process_index() == 0


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
