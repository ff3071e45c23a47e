"""The flags of a run's devices and processes, and of several runs in one program; and what they mean."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NoReturn

import jax
from absl import flags

from genjax import gradients
from genjax.errors import BadInput
from genjax.training import placement

if TYPE_CHECKING:
    from experiments.common import Config

flags.disclaim_key_flags()  # they are the experiment's own


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_integer("num_seeds", 1, "runs in one program, of seeds --seed, --seed + 1, ...", lower_bound=1)
    flags.DEFINE_enum(
        "seeds_mode", "map", ["map", "vmap"], "several runs: each with the bits it has alone, or fast on an accelerator"
    )
    flags.DEFINE_integer(
        "shards",
        0,
        "parts of a batch, a power of two: one result on any devices that divide it",
        lower_bound=0,
    )
    flags.DEFINE_bool("shard_parameters", False, "cut parameters and optimiser state among the devices")
    flags.DEFINE_bool(
        "bfloat16", False, "on a GPU or TPU, multiply matrices in bfloat16 while it trains, and add in float32"
    )
    flags.DEFINE_string(
        "coordinator",
        None,
        "several processes: HOST:PORT of the first; `auto` with Slurm, Open MPI, Kubernetes, TPU",
    )
    flags.DEFINE_integer("num_processes", None, "of the run, with --coordinator=HOST:PORT", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "this one's number, from 0, with --coordinator=HOST:PORT", lower_bound=0)


def join(config: Config) -> None:
    """Joins the run's other processes, where it has any; before the backend starts.

    Raises:
      BadInput: the flags do not say which, or nobody answers.
    """
    by_hand = (config.num_processes, config.process_id)
    if config.coordinator is None:
        if by_hand != (None, None):
            raise BadInput("--num_processes and --process_id need --coordinator=HOST:PORT, the first process's address")
        return
    address = None if config.coordinator == "auto" else config.coordinator
    if address is not None and (None in by_hand or config.process_id >= config.num_processes):
        raise BadInput(
            f"--coordinator={address}: give --num_processes and --process_id, from 0 to one below it; not {by_hand}"
        )
    try:
        jax.distributed.initialize(
            address,
            *(by_hand if address else (None, None)),
            initialization_timeout=60,
            heartbeat_timeout_seconds=20,
            shutdown_timeout_seconds=24 * 3600,  # the first process concludes, the others wait; their pulse is heard
        )
    except (RuntimeError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise BadInput(f"--coordinator={config.coordinator}: the run's processes did not meet ({line})") from error


def leave(error: Exception) -> NoReturn:
    """Ends this process where another one of the run no longer answers.

    It takes no leave of the others: JAX's runtime would wait for the one that is gone.
    """
    line = str(error).strip().splitlines()[0]
    print(
        f"error: another process of this run has ended or cannot be reached ({line[:200]}); start all of them again "
        "with the same flags, to go on from the last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def check(config: Config) -> None:
    """Checks the flags against each other and the devices.

    Raises:
      BadInput: for what cannot be.
    """
    if config.shard_parameters and (config.num_seeds > 1 or config.shards):
        raise BadInput("--shard_parameters is of one run, without --shards: give no --num_seeds or --shards with it")
    if config.shards & (config.shards - 1):
        raise BadInput(f"--shards={config.shards}: give a power of two")
    if config.shards and config.batch_size % config.shards:
        raise BadInput(f"--batch_size={config.batch_size}: --shards={config.shards} does not divide it")
    if config.bfloat16 and jax.default_backend() == "cpu":
        raise BadInput("--bfloat16 is for a GPU or TPU: a CPU multiplies in float32 whatever is asked")
    if jax.process_count() > 1 and _num_sharing(config) not in (0, jax.device_count()):
        name, parts = ("shards", config.shards) if config.shards else ("batch_size", config.batch_size)
        raise BadInput(f"--{name}={parts}: give a multiple of the {jax.device_count()} devices of the run's processes")


def _num_sharing(config: Config) -> int:
    """How many devices share a batch: the most that cut it, or its shards, evenly; 0 where each has its own runs."""
    if config.num_seeds > 1:
        return 0
    parts = config.shards or config.batch_size
    return max(number for number in range(1, jax.device_count() + 1) if parts % number == 0)


def choose(config: Config) -> placement.Placement:
    """Where the run lies; sets `config.reduction` to how its gradients are taken there."""
    sharing = _num_sharing(config)
    if config.shards:
        config.reduction = gradients.ordered(config.shards, over_devices=sharing > 1)
    elif sharing > 1 and not config.shard_parameters:
        config.reduction = gradients.device_mean
    if config.num_seeds > 1:
        return placement.seeds(config.num_seeds, vectorized=config.seeds_mode == "vmap")
    devices = placement.mesh(jax.devices()[:sharing])
    if config.shard_parameters:
        return placement.sharded_parameters(devices)
    return placement.replicated(devices) if sharing > 1 else placement.ALONE


def products(config: Config) -> AbstractContextManager:
    """How matrices are multiplied in what is compiled within: as the device does it by default, or --bfloat16."""
    return jax.default_matmul_precision("BF16_BF16_F32" if config.bfloat16 else None)


def bits_of(config: Config) -> int | str:
    """The number of devices that a run's bits depend on, or "any"."""
    if config.num_seeds > 1:
        return "any" if config.seeds_mode == "map" else f"{config.num_seeds} seeds by vmap"
    return "any" if config.shards else _num_sharing(config)
