"""The one place where a loss meets an optimizer, and where devices meet.

An objective is any function `objective(params, *others, batch, key) -> (loss [B], metrics {name: [B]})`. It is reduced
to means here and nowhere else: over the batch in one sum (`gradient`), over a share of it on each device
(`device_mean`), or over shards in an order that no number of devices changes (`ordered`). Those three are the ways that
a model's `gradient=` can take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genjax.errors import BadInput
from genjax.types import DEVICES, Array, Metrics, Params

Objective = Callable[..., tuple[Array, dict[str, Array]]]
Gradient = Callable[..., tuple[Params, Metrics]]  # the objective's own arguments -> its mean's gradient, metrics
Way = Callable[[Objective], Gradient]


def batch_means(loss: Array, metrics: dict[str, Array]) -> Metrics:
    """Means over the batch of an objective's loss and metrics: {"loss": [], name: []}."""
    return {"loss": jnp.mean(loss)} | {name: jnp.mean(value) for name, value in metrics.items()}


def gradient(objective: Objective) -> Gradient:
    """The gradient of an objective's batch mean in its first argument, with the means of its metrics.

        g = d/d theta (1/B) sum_i loss_i(theta)

    Returns:
      A function of the objective's own arguments, giving (gradient, metrics before the update).
    """

    def mean_loss(params: Params, *args: Any) -> tuple[Array, Metrics]:
        metrics = batch_means(*objective(params, *args))
        return metrics["loss"], metrics

    return jax.grad(mean_loss, has_aux=True)


def device_mean(objective: Objective) -> Gradient:
    """The `gradient` of a batch whose equal parts lie with the devices of a mesh: the fastest way to use several.

        g = (1/D) sum_d g_d,   g_d of rows d B/D to (d+1) B/D - 1, drawing from fold_in(key, d)

    It is called where `DEVICES` names the mesh's axis, as within `training.spread.replicated`, with the same arguments
    on each device; the objective's last two are its batch and a key. The sum's order, so its last bits, depend on D.

    Raises:
      BadInput: at trace time, for a batch that D does not divide.
    """
    compute = gradient(objective)

    def mean_of_devices(params: Params, *args: Any) -> tuple[Params, Metrics]:
        *others, batch, key = args
        cut = _cutter(batch, jax.lax.axis_size(DEVICES))
        number = jax.lax.axis_index(DEVICES)
        return jax.lax.pmean(compute(params, *others, cut(number), jax.random.fold_in(key, number)), DEVICES)

    return mean_of_devices


def ordered(num_shards: int, *, over_devices: bool = False) -> Way:
    """A way to take gradients whose bits are the same on any number of devices that divides `num_shards`.

        g = (1/V) sum_v g_v,   g_v of rows v B/V to (v+1) B/V - 1, drawing from fold_in(key, v)

    The sum is a binary tree over the shards, ((g_0 + g_1) + (g_2 + g_3)) + ...: a device sums the subtree of the shards
    that lie with it, and recursive doubling does the rest: in round r device d exchanges its sum with device d xor 2^r.
    Addition commutes in floating point, so both hold the same bits. Metrics are summed likewise.

    Args:
      num_shards: V, a power of two. An objective sees B/V rows at a time, which is what its batch statistics are of.
      over_devices: called where `DEVICES` names a mesh's axis, as within `training.spread.replicated`, with the same
        arguments on each device, whose number divides V; otherwise all shards lie with the one device.

    Returns:
      What `gradient` is, for objectives whose last two arguments are a batch and a key.

    Raises:
      ValueError: V is no power of two; at trace time, devices that do not divide V.
      BadInput: at trace time, a batch that V does not divide.
    """
    if num_shards < 1 or num_shards & (num_shards - 1):
        raise ValueError(f"the number of shards is a power of two, not {num_shards}")

    def way(objective: Objective) -> Gradient:
        compute = gradient(objective)

        def tree_mean(params: Params, *args: Any) -> tuple[Params, Metrics]:
            *others, batch, key = args
            devices = jax.lax.axis_size(DEVICES) if over_devices else 1
            if num_shards % devices:
                raise ValueError(f"{num_shards} shards cannot lie on {devices} devices in equal numbers")
            cut = _cutter(batch, num_shards)
            here = num_shards // devices
            first = jax.lax.axis_index(DEVICES) * here if over_devices else jnp.zeros([], jnp.int32)

            def of_shard(number: Array) -> tuple[Params, Metrics]:
                return compute(params, *others, cut(number), jax.random.fold_in(key, number))

            def of_pair(number: Array) -> tuple[Params, Metrics]:
                # one after the other, so that XLA joins none of their products
                one, second = jax.lax.optimization_barrier((of_shard(number), number + 1))
                if together == 1:
                    return one
                return jax.tree.map(jnp.add, one, jax.lax.optimization_barrier(of_shard(second)))

            def put(index: Array, kept: tuple[Params, Metrics]) -> tuple[Params, Metrics]:
                summed = of_pair(first + (index - start) * together)
                return jax.tree.map(lambda all, one: all.at[index - start].set(one), kept, summed)

            # a loop even for a single turn, with ends that XLA does not know: it compiles a body without one otherwise
            together = min(here, 2)  # half as much to keep as with one; of four XLA made other bits
            start = jax.lax.optimization_barrier(jnp.zeros([], jnp.int32))
            shapes = jax.eval_shape(of_shard, 0)
            room = jax.tree.map(lambda a: jax.lax.empty((here // together, *a.shape), a.dtype), shapes)
            total = jax.tree.map(_tree_sum, jax.lax.fori_loop(start, start + here // together, put, room))
            for distance in (2**r for r in range(devices.bit_length() - 1)):
                partners = [(d, d ^ distance) for d in range(devices)]
                other = jax.lax.ppermute(total, DEVICES, partners)
                total = jax.tree.map(jnp.add, total, other)
            return jax.lax.optimization_barrier(jax.tree.map(lambda a: a / num_shards, total))

        return tree_mean

    return way


def _cutter(batch: Any, parts: int) -> Callable[[Array], Any]:
    """Row block `number` of `parts` equal ones, of every array in the batch."""
    size, rest = divmod(len(jax.tree.leaves(batch)[0]), parts)
    if rest:
        raise BadInput(f"a batch of {len(jax.tree.leaves(batch)[0])} examples cannot be cut in {parts} equal parts")
    return lambda number: jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, number * size, size), batch)


def _tree_sum(a: Array) -> Array:
    """Sum over the first axis, whose length is a power of two, neighbours first."""
    parts = list(a)  # apart, so that all additions are one pass over memory
    while len(parts) > 1:
        parts = [one + next for one, next in zip(parts[0::2], parts[1::2], strict=True)]
    return parts[0]


def updater(
    objective: Objective, optimizer: optax.GradientTransformation, *, gradient: Way = gradient
) -> Callable[..., tuple[Params, Any, Metrics]]:
    """One Optax update of an objective's first argument.

    Args:
      gradient: the way to take it, one of this module.

    Returns:
      `update(params, optimizer_state, *args) -> (params, optimizer_state, metrics)`, where `args` are the objective's
      arguments after the params; the metrics are of the params before the update.
    """
    compute = gradient(objective)

    def update(params: Params, optimizer_state: Any, *args: Any) -> tuple[Params, Any, Metrics]:
        gradients, metrics = compute(params, *args)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return optax.apply_updates(params, updates), optimizer_state, metrics

    return update
