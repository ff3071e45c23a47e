"""The flags that spread a run over devices and processes, or put several runs in one program; and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
from absl import flags

from genjax import gradients
from genjax.errors import BadInput
from genjax.training import spread

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
            address, *(by_hand if address else (None, None)), initialization_timeout=60, heartbeat_timeout_seconds=20
        )
    except (RuntimeError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise BadInput(f"--coordinator={config.coordinator}: the run's processes did not meet ({line})") from error


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def check(config: Config) -> None:
    """Checks the flags against each other and the devices.

    Raises:
      BadInput: for what cannot be.
    """
    devices = jax.device_count()
    chosen = {
        "--num_seeds": config.num_seeds > 1,
        "--shards": config.shards > 0,
        "--shard_parameters": config.shard_parameters,
    }
    if sum(chosen.values()) > 1:
        raise BadInput(f"{' and '.join(name for name, given in chosen.items() if given)}: give one of them")
    if config.shards and (config.shards & (config.shards - 1) or config.shards % devices):
        raise BadInput(f"--shards={config.shards}: give a power of two that {devices} devices divide")
    parts, what = (config.shards, "shards") if config.shards else (1 if config.num_seeds > 1 else devices, "devices")
    if config.batch_size % parts:
        raise BadInput(f"--batch_size={config.batch_size}: {parts} {what} need a multiple of {parts}")


def choose(config: Config) -> spread.Spread:
    """Where the run lies; sets `config.way` to how its gradients are taken there."""
    devices = jax.device_count()
    if config.num_seeds > 1:
        return spread.seeds(config.num_seeds, vectorized=config.seeds_mode == "vmap")
    if config.shard_parameters:
        return spread.sharded_parameters(spread.mesh())
    if config.shards:
        config.way = gradients.ordered(config.shards, over_devices=devices > 1)
    elif devices > 1:
        config.way = gradients.device_mean
    return spread.replicated(spread.mesh()) if devices > 1 else spread.ALONE


def bits_of(config: Config) -> int | str:
    """The number of devices that a run's bits depend on, or "any"."""
    if config.shards or (config.num_seeds > 1 and config.seeds_mode == "map"):
        return "any"
    return jax.device_count()
