"""The devices of a run and the reduction of its gradients over them, chosen by its flags."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import jax

from genjax import data, gradients, memory
from genjax.data import batching
from genjax.errors import BadInput
from genjax.runs.settings import Flags
from genjax.training import placement


def check(flags: Flags) -> None:
    """Checks the device flags against each other and the machine.

    Raises:
      BadInput: the flags contradict each other; the message names them.
    """
    if flags.shard_parameters and (flags.num_seeds > 1 or flags.shards):
        raise BadInput("cannot be combined with `num_seeds` or `shards`", parameter="shard_parameters")
    if flags.shards & (flags.shards - 1):
        raise BadInput(f"expected a power of two, not {flags.shards}", parameter="shards")
    if flags.shards and flags.batch_size % flags.shards:
        raise BadInput(f"{flags.batch_size} is not a multiple of `shards`, {flags.shards}", parameter="batch_size")
    if flags.bfloat16 and jax.default_backend() == "cpu":
        raise BadInput("needs a GPU or TPU: a CPU multiplies in float32", parameter="bfloat16")
    if flags.portable_bits:
        _check_portable(flags)
    if jax.process_count() > 1 and _num_sharing(flags) not in (0, jax.device_count()):
        name, parts = ("shards", flags.shards) if flags.shards else ("batch_size", flags.batch_size)
        raise BadInput(
            f"{parts} is not a multiple of {jax.device_count()}, the number of devices of all processes", parameter=name
        )


def _check_portable(flags: Flags) -> None:
    if jax.default_backend() != "cpu":
        raise BadInput(f"needs a CPU, not the backend {jax.default_backend()}", parameter="portable_bits")
    if flags.shard_parameters:
        raise BadInput("cannot be combined with `portable_bits`", parameter="shard_parameters")
    if flags.num_seeds > 1 and flags.seeds_mode == "vmap":
        raise BadInput("cannot be combined with `portable_bits`; use map", parameter="seeds_mode")
    if not flags.shards and _num_sharing(flags) > 1:
        raise BadInput(f"on {_num_sharing(flags)} devices `portable_bits` needs shards", parameter="shards")


def check_memory(flags: Flags, dataset: data.Dataset, source: batching.Source, state: Any) -> None:
    """Checks that the state of all seeds, with its gradients, fits in the memory of a machine that trains on its CPU.

    Batches that are read from disk must fit on any machine, as many as one compiled call takes.

    Args:
      state: of one seed, as arrays or their shapes.

    Raises:
      BadInput: it needs more than the machine has; the message names the largest array.
    """
    if source.train.feed is not None:
        example = math.prod(dataset.train.x.shape[1:]) * dataset.train.x.dtype.itemsize
        several = f"{flags.steps_per_dispatch} batches, which are read for one compiled call,"
        memory.require(example * flags.batch_size * flags.steps_per_dispatch, several, parameter="steps_per_dispatch")
    if jax.default_backend() != "cpu":
        return
    at_once = flags.num_seeds if flags.seeds_mode == "vmap" else 1  # seeds whose gradients are held at the same time
    leaves = jax.tree_util.tree_leaves_with_path(state)
    path, largest = max(leaves, key=lambda named: _num_bytes(named[1]))
    name, shape = jax.tree_util.keystr(path, simple=True, separator="/"), list(largest.shape)
    what = f"the model, whose largest array is {name} {shape}, with gradients and the optimizer's state"
    if flags.num_seeds > 1:
        what += f", {flags.num_seeds} times for `num_seeds`,"
    memory.require(flags.num_seeds * _num_bytes(state) + at_once * _num_bytes(state.params), what)


def _num_bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _num_sharing(flags: Flags) -> int:
    """The number of devices that share a batch, or 0 if every device trains whole runs.

    It is the largest number of available devices that divides the batch, or its shards, evenly.
    """
    if flags.num_seeds > 1:
        return 0
    parts = flags.shards or flags.batch_size
    return max(number for number in range(1, jax.device_count() + 1) if parts % number == 0)


def reduction(flags: Flags) -> gradients.Reduction:
    """How the gradients of the run are taken over a batch."""
    sharing = _num_sharing(flags)
    if flags.shards:
        return gradients.ordered(flags.shards, over_devices=sharing > 1)
    if sharing > 1 and not flags.shard_parameters:
        return gradients.device_mean
    return gradients.whole_batch


def place(flags: Flags) -> placement.Placement:
    """The placement of the run's arrays on devices."""
    if flags.num_seeds > 1:
        return placement.seeds(flags.num_seeds, vectorized=flags.seeds_mode == "vmap")
    sharing = _num_sharing(flags)
    mesh = placement.mesh(jax.devices()[:sharing])
    if flags.shard_parameters:
        return placement.sharded_parameters(mesh)
    return placement.replicated(mesh) if sharing > 1 else placement.ALONE


def bits_of(flags: Flags) -> int | str:
    """The number of devices on which the run's bits depend, or "any"."""
    if flags.num_seeds > 1:
        return "any" if flags.seeds_mode == "map" else f"{flags.num_seeds} seeds by vmap"
    return "any" if flags.shards else _num_sharing(flags)


def matrix_products(flags: Flags) -> AbstractContextManager:
    """A context for compiling with the device's default precision of matrix products, or with bfloat16."""
    return jax.default_matmul_precision("BF16_BF16_F32" if flags.bfloat16 else None)
