"""The one place where a loss meets an optimizer, and where devices meet.

An objective is any function

    objective(params, *others, batch, key) -> (loss [B], metrics {name: [B]})
                                    or     -> (loss [B], metrics {name: [B]}, statistics)

of which losses and metrics are reduced to means over the batch, and statistics, a pytree of sums over the batch, are
summed. That happens here and nowhere else, by one of three reductions: over the batch at once (`whole_batch`), over the
part on each device (`device_mean`), or over shards in an order that no number of devices changes
(`ordered`). They are what a model's `reduction=` takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genjax.errors import BadInput
from genjax.types import DEVICES, Array, Metrics, Params

Objective = Callable[..., tuple]  # of the two forms above
Gradient = Callable[..., tuple[Params, Metrics, Any]]  # the objective's arguments -> gradient, metrics, statistics
Reduction = Callable[[Objective], Gradient]  # how an objective is differentiated and averaged
Refresh = Callable[[Params, Any], Params]  # params after the update, statistics -> params


def batch_means(loss: Array, metrics: dict[str, Array], statistics: Any = ()) -> Metrics:
    """Means over the batch of an objective's loss and metrics: {"loss": [], name: []}; its statistics are left out."""
    del statistics
    return {"loss": jnp.mean(loss)} | {name: jnp.mean(value) for name, value in metrics.items()}


def whole_batch(objective: Objective) -> Gradient:
    """The gradient of an objective's mean over the batch, taken at once.

        g = d/d theta (1/B) sum_i loss_i(theta)

    Returns:
      A function of the objective's arguments, which returns the gradient in the first of them, the means of the
      metrics before the update, and the statistics, () where the objective has none.
    """

    def mean_loss(params: Params, *args: Any) -> tuple[Array, tuple[Metrics, Any]]:
        loss, metrics, *statistics = objective(params, *args)
        means = batch_means(loss, metrics)
        return means["loss"], (means, statistics[0] if statistics else ())

    def compute(params: Params, *args: Any) -> tuple[Params, Metrics, Any]:
        gradient, (metrics, statistics) = jax.grad(mean_loss, has_aux=True)(params, *args)
        return gradient, metrics, statistics

    return compute


def device_mean(objective: Objective) -> Gradient:
    """`whole_batch` for a batch divided equally among the devices of a mesh: the fastest way to use several.

        g = (1/D) sum_d g_d,   g_d of rows d B/D to (d+1) B/D - 1, drawing from fold_in(key, d)

    It is called where `DEVICES` names the mesh's axis, as within `training.placement.replicated`, with the same
    arguments on each device; the objective's last two are its batch and a key. The sum's order, and so its last bits,
    depend on D.

    Raises:
      BadInput: at trace time, for a batch that D does not divide.
    """
    compute = whole_batch(objective)

    def mean_of_devices(params: Params, *args: Any) -> tuple[Params, Metrics, Any]:
        *others, batch, key = args
        cut = _cutter(batch, jax.lax.axis_size(DEVICES))
        number = jax.lax.axis_index(DEVICES)
        gradient, metrics, statistics = compute(params, *others, cut(number), jax.random.fold_in(key, number))
        gradient, metrics = jax.lax.pmean((gradient, metrics), DEVICES)
        return gradient, metrics, jax.lax.psum(statistics, DEVICES)

    return mean_of_devices


def ordered(num_shards: int, *, over_devices: bool = False) -> Reduction:
    """A reduction whose bits are the same on any number of devices that divides `num_shards`.

        g = (1/V) sum_v g_v,   g_v of rows v B/V to (v+1) B/V - 1, drawing from fold_in(key, v)

    The sum is a binary tree over the shards, ((g_0 + g_1) + (g_2 + g_3)) + ...: a device sums the subtree of its
    shards, and recursive doubling does the rest: in round r device d exchanges its sum with device d xor 2^r.
    Addition commutes in floating point, so both hold the same bits. Metrics and statistics are summed likewise.

    Args:
      num_shards: V, a power of two. An objective gets B/V rows at a time, so its batch statistics are those of a shard.
      over_devices: called where `DEVICES` names a mesh's axis, as within `training.placement.replicated`, with the same
        arguments on each device, whose number divides V; otherwise one device computes all shards.

    Returns:
      A reduction like `whole_batch`, of objectives whose last two arguments are a batch and a key.

    Raises:
      ValueError: V is not a power of two; at trace time, devices that do not divide V.
      BadInput: at trace time, a batch that V does not divide.
    """
    if num_shards < 1 or num_shards & (num_shards - 1):
        raise ValueError(f"the number of shards must be a power of two, not {num_shards}")

    def reduction(objective: Objective) -> Gradient:
        compute = whole_batch(objective)

        def tree_mean(params: Params, *args: Any) -> tuple[Params, Metrics, Any]:
            *others, batch, key = args
            devices = jax.lax.axis_size(DEVICES) if over_devices else 1
            if num_shards % devices:
                raise ValueError(f"{num_shards} shards cannot be divided equally among {devices} devices")
            cut = _cutter(batch, num_shards)

            def of_shard(number: Array) -> tuple[Params, Metrics, Any]:
                return compute(params, *others, cut(number), jax.random.fold_in(key, number))

            here = num_shards // devices
            first = jax.lax.axis_index(DEVICES) * here if over_devices else jnp.zeros([], jnp.int32)
            total = _sum_over_devices(_sum_of_shards(of_shard, first, here), devices)
            gradient, metrics, statistics = total
            means = jax.tree.map(lambda a: a / num_shards, (gradient, metrics))
            return jax.lax.optimization_barrier((*means, statistics))

        return tree_mean

    return reduction


def _sum_of_shards(of_shard: Callable[[Array], Any], first: Array, num: int) -> Any:
    """The tree sum of `of_shard` at the numbers `first` to `first + num - 1`; `num` is a power of two."""

    def of_pair(number: Array) -> Any:
        return jax.tree.map(_tree_sum, _one_after_another(of_shard, first + 2 * number, 2))

    if num <= 2:
        return jax.tree.map(_tree_sum, _one_after_another(of_shard, first, num))
    # sums of pairs are kept, half as many as single shards
    return jax.tree.map(_tree_sum, _one_after_another(of_pair, jnp.zeros([], jnp.int32), num // 2))


def _one_after_another(compute: Callable[[Array], Any], first: Array, num: int) -> Any:
    """The results of `compute` at the numbers `first` to `first + num - 1`, stacked.

    They are added only after the loop, which is all that XLA sees of a shard in any program: beside an addition it
    would contract a gradient's last product with it, which rounds once instead of twice.
    """
    # A loop even for a single iteration, with bounds unknown to XLA, which otherwise compiles the body differently.
    start = jax.lax.optimization_barrier(jnp.zeros([], jnp.int32))

    def put(index: Array, kept: Any) -> Any:
        found = compute(first + (index - start))
        return jax.tree.map(lambda rows, one: rows.at[index - start].set(one), kept, found)

    room = jax.tree.map(lambda a: jax.lax.empty((num, *a.shape), a.dtype), jax.eval_shape(compute, first))
    return jax.lax.fori_loop(start, start + num, put, room)


def _sum_over_devices(total: Any, devices: int) -> Any:
    """The sum over a power of two of devices by recursive doubling, with the same bits on all of them."""
    for distance in (2**r for r in range(devices.bit_length() - 1)):
        partners = [(d, d ^ distance) for d in range(devices)]
        other = jax.lax.ppermute(total, DEVICES, partners)
        total = jax.tree.map(jnp.add, total, other)
    return total


def _cutter(batch: Any, parts: int) -> Callable[[Array], Any]:
    """Row block `number` of `parts` equal ones, of every array in the batch."""
    num_rows = len(jax.tree.leaves(batch)[0])
    size, rest = divmod(num_rows, parts)
    if rest:
        raise BadInput(f"a batch of {num_rows} examples cannot be divided into {parts} equal parts")
    return lambda number: jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, number * size, size), batch)


def _tree_sum(a: Array) -> Array:
    """Sum over the first axis, whose length is a power of two, neighbours first."""
    parts = list(a)  # apart, so that all additions are one pass over memory
    while len(parts) > 1:
        parts = [one + other for one, other in zip(parts[0::2], parts[1::2], strict=True)]
    return parts[0]


def updater(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    reduction: Reduction = whole_batch,
    refresh: Refresh | None = None,
) -> Callable[..., tuple[Params, Any, Metrics]]:
    """One Optax update of an objective's first argument.

    Args:
      optimizer: those that need them are given the batch's loss and gradient (`value`, `grad`), and the loss at other
        params on the same batch (`value_fn`): `reduce_on_plateau`, `polyak_sgd`, `lbfgs`.
      reduction: how the gradient is taken over the batch, one of this module.
      refresh: `refresh(params, statistics) -> params` is applied after the update, to fold the batch's statistics into
        leaves that no gradient moves (the moving averages of a codebook or of batch normalisation, say), or to project
        parameters. Keep such leaves from the optimizer with `frozen`.

    Returns:
      `update(params, optimizer_state, *args) -> (params, optimizer_state, metrics)`, where `args` are the objective's
      arguments after the params; the metrics are of the params before the update.
    """
    compute = reduction(objective)
    optimizer = optax.with_extra_args_support(optimizer)

    def update(params: Params, optimizer_state: Any, *args: Any) -> tuple[Params, Any, Metrics]:
        gradients, metrics, statistics = compute(params, *args)

        def step(gradients: Params, optimizer_state: Any, params: Params) -> tuple[Params, Any, Params]:
            more = {"value": metrics["loss"], "grad": gradients, "value_fn": _value_fn(compute, args)}
            updates, optimizer_state = optimizer.update(gradients, optimizer_state, params, **more)
            return updates, optimizer_state, optax.apply_updates(params, updates)

        once = step if reduction is whole_batch else _apart(step)
        _, optimizer_state, params = once(gradients, optimizer_state, params)
        return params if refresh is None else refresh(params, statistics), optimizer_state, metrics

    return update


def _apart(step: Callable[..., tuple]) -> Callable[..., tuple]:
    """A function of arrays like those it returns, compiled alike in every program: as a loop of a single iteration.

    Beside the sum of the shards, which depends on the number of devices, XLA would contract other products and sums of
    an optimizer, as of its momentum, which round once instead of twice.
    """

    def looped(*arrays: Any) -> tuple:
        start = jax.lax.optimization_barrier(jnp.zeros([], jnp.int32))  # unknown to XLA, which thus keeps the loop
        return jax.lax.fori_loop(start, start + 1, lambda _, carried: step(*carried), arrays)

    return looped


def _value_fn(compute: Gradient, args: tuple) -> Callable[[Params], Array]:
    """The loss as a function of the params, with the reduction's own gradient as its derivative."""

    @jax.custom_jvp
    def value(params: Params) -> Array:
        return compute(params, *args)[1]["loss"]

    @value.defjvp
    def value_and_slope(params: tuple[Params], direction: tuple[Params]) -> tuple[Array, Any]:
        gradient, metrics, _ = compute(*params, *args)
        return metrics["loss"], optax.tree.vdot(gradient, *direction)

    return value


def frozen(optimizer: optax.GradientTransformation, *names: str) -> optax.GradientTransformation:
    """The optimizer, without effect on the leaves that have one of `names` in their path.

    Args:
      names: keys of the params' dictionaries, at any depth: `frozen(adamw, "codebook")`.
    """

    def is_frozen(path: Any, leaf: Any) -> bool:
        del leaf
        return any(getattr(entry, "key", getattr(entry, "name", None)) in names for entry in path)

    def labels(params: Params) -> Any:
        return jax.tree.map_with_path(lambda *at: "frozen" if is_frozen(*at) else "trained", params)

    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)
