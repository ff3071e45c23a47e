"""Placement of a run, or of several runs with different seeds, on devices.

The loop's functions are written for one run: f(own, shared) -> results, where `own` belongs to the run (its state and
keys) and `shared` is read by all runs (the data). A Placement turns such a function into one for its devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.errors import BadInput
from genjax.types import DEVICES, Array

Function = Callable[[Any, Any], Any]  # own, shared -> results


class Placement(NamedTuple):
    """The layout of arrays, and wrappers of a run's functions; made by the functions of this module."""

    wrap: Callable[[Function], Function]
    place_own: Callable[[Any], Any]
    place_shared: Callable[[Any], Any]
    place_batch: Callable[[Any], Any] = lambda batch: batch  # inside the compiled loop
    place_fed: Callable[[Any], Any] = (
        jax.device_put
    )  # from this process's part of batches [steps, B, ...] to the complete ones
    num_seeds: int | None = None  # runs, whose arrays are stacked along a first axis; None for one, not stacked

    def __repr__(self) -> str:
        return f"Placement(num_seeds={self.num_seeds})"


ALONE = Placement(lambda f: f, jax.device_put, jax.device_put)
"""One run on the default device."""


def mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """The devices, all of them by default, in a row."""
    return Mesh(np.asarray(devices or jax.devices()), (DEVICES,))


def replicated(mesh: Mesh) -> Placement:
    """One run, replicated on every device, whose gradients are divided by `gradients.ordered` or `device_mean`.

    Everything else is computed on each device by the same program from the same arrays, and so to the same bits.
    """
    everywhere = PartitionSpec()

    def wrap(f: Function) -> Function:
        return jax.shard_map(f, mesh=mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False)

    place = partial(_place, sharding=NamedSharding(mesh, everywhere))
    return Placement(wrap, place, place, place_fed=_gatherer(mesh))


def _place(tree: Any, *, sharding: NamedSharding) -> Any:
    """Arrays that every process holds completely, placed on the devices of all processes."""

    def place(a: Any) -> Array:
        if sharding.is_fully_addressable:
            return jax.device_put(a, sharding)
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(a)))
        host = np.asarray(a)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place, tree)


def _gatherer(mesh: Mesh) -> Callable[[Any], Any]:
    """Puts each process's rows of batches [steps, B / processes, ...] together on every device."""
    rows, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((None, DEVICES), ()))
    spread_out = jax.jit(lambda a: a, out_shardings=everywhere)  # one function, so compiled once for all dispatches
    return lambda parts: spread_out(jax.tree.map(lambda a: jax.make_array_from_process_local_data(rows, a), parts))


def seeds(num_seeds: int, *, vectorized: bool) -> Placement:
    """Several runs in one program, in equal numbers on as many of the devices as divide them.

    Args:
      vectorized: whether the runs of a device are one computation by `jax.vmap`, which is faster on an accelerator but
        has other bits; otherwise they take turns by `jax.lax.map`, and each has the same bits as alone.
    """
    count = max(d for d in range(1, jax.device_count() + 1) if num_seeds % d == 0)
    over = mesh(jax.devices()[:count])

    def wrap(f: Function) -> Function:
        def runs(own: Any, shared: Any) -> Any:
            return jax.vmap(f, (0, None))(own, shared) if vectorized else jax.lax.map(lambda o: f(o, shared), own)

        specs = PartitionSpec(DEVICES), PartitionSpec()
        return jax.shard_map(runs, mesh=over, in_specs=specs, out_specs=specs[0], check_vma=False)

    place_own, place_shared = (
        partial(_place, sharding=NamedSharding(over, PartitionSpec(*axes))) for axes in ((DEVICES,), ())
    )
    return Placement(wrap, place_own, place_shared, num_seeds=num_seeds)


def sharded_parameters(mesh: Mesh) -> Placement:
    """One run whose parameters and optimizer state are divided among the devices, and its batches too.

    An array is divided along its longest axis that the number of devices divides; an array without such an axis is
    replicated. XLA gathers parameters when a layer needs them, and sums each gradient on the device that holds its
    parameters (Rajbhandari et al. 2020, stage 3).

    Raises:
      BadInput: at trace time, the devices do not divide the batch.
    """
    devices = mesh.size

    def sharding(a: Any) -> NamedSharding:
        lengths = [(length, -axis) for axis, length in enumerate(a.shape) if length % devices == 0 and length > 0]
        if not lengths or jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return NamedSharding(mesh, PartitionSpec())
        axis = -max(lengths)[1]
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, DEVICES))

    def wrap(f: Function) -> Function:
        def placed(own: Any, shared: Any) -> Any:
            return jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, sharding(a)), f(own, shared))

        return placed

    def place_batch(batch: Any) -> Any:
        def place(a: Any) -> Any:
            if len(a) % devices:
                raise BadInput(
                    f"{devices} devices cannot share a batch of {len(a)}; give a multiple of {devices}",
                    parameter="batch_size",
                )
            return jax.lax.with_sharding_constraint(a, NamedSharding(mesh, PartitionSpec(DEVICES)))

        return jax.tree.map(place, batch)

    place_own = partial(jax.tree.map, lambda a: _place(a, sharding=sharding(a)))
    place_shared = partial(_place, sharding=NamedSharding(mesh, PartitionSpec()))
    return Placement(wrap, place_own, place_shared, place_batch, _gatherer(mesh))


def to_host(tree: Any) -> Any:
    """Makes arrays readable in this process: those that span several processes become NumPy arrays.

    Every process of a run must call this for arrays that they share; a process may call it alone for local arrays.
    """

    def whole(a: Any) -> Any:
        shared = isinstance(a, jax.Array) and not a.is_fully_addressable
        return multihost_utils.process_allgather(a, tiled=True) if shared else a

    return jax.tree.map(whole, tree)
