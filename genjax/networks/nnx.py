"""Flax NNX modules as networks; NNX itself is imported where one is made, because that takes a third of a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp

from genjax.networks.stateful import refresh, statistics_of
from genjax.types import Array, Key, Network, Params, StatefulNetwork

if TYPE_CHECKING:
    from flax import nnx

Make: TypeAlias = "Callable[[nnx.Rngs], nnx.Module]"  # random streams -> a module


def from_nnx(make: Make) -> Network:
    """An NNX module as a Network; its params are a nested dict of the module's `nnx.Param` values.

    Args:
      make: makes the module, `lambda rngs: Model(rngs=rngs)`; it is called with arrays [B, ...].

    Raises:
      ValueError: at init, a module with other variables than parameters.
    """
    from flax import nnx

    def init(key: Key) -> Params:
        module = make(nnx.Rngs(key))
        _, parameters, others = nnx.split(module, nnx.Param, ...)
        if jax.tree.leaves(others):
            raise ValueError(
                f"a network may keep only parameters, {type(module).__name__} keeps "
                f"{nnx.to_pure_dict(others)}; stateful_from_nnx takes such a module"
            )
        return nnx.to_pure_dict(parameters)

    def apply(params: Params, *inputs: Array) -> Any:
        return _module(make, {"params": params}, jax.random.key(0))(*inputs)

    return Network(init, apply)


def stateful_from_nnx(make: Make) -> StatefulNetwork:
    """An NNX module with dropout or batch normalisation, as its `train` and `eval` methods switch them.

    Its params are {"params": a nested dict of the `nnx.Param` values, "batch_stats": of every other variable, if there
    are any}; the state of its random streams is set by the key of each training pass.

    Args:
      make: makes the module, `lambda rngs: Model(rngs=rngs)`; it is called with arrays [B, ...].
    """
    from flax import nnx

    def init(key: Key) -> Params:
        return _variables(make(nnx.Rngs(key)))

    def apply(params: Params, *inputs: Array) -> Any:
        module = _module(make, params, jax.random.key(0))  # nothing draws from it
        module.eval()
        return module(*inputs)

    def train(params: Params, *inputs: Array, key: Key) -> tuple[Any, Any]:
        module = _module(make, params, key)
        module.train()
        output = module(*inputs)
        updated = _variables(module)
        return output, statistics_of({name: updated[name] for name in updated if name != "params"})

    return StatefulNetwork(init, apply, train, refresh)


def _variables(module: nnx.Module) -> Params:
    from flax import nnx

    _, parameters, _, averages = nnx.split(module, nnx.Param, nnx.RngState, ...)
    params = {"params": nnx.to_pure_dict(parameters)}
    return params | {"batch_stats": nnx.to_pure_dict(averages)} if jax.tree.leaves(averages) else params


def _module(make: Make, params: Params, key: Key) -> Any:
    """The module with the values of `params`, its random streams started from the key."""
    from flax import nnx

    template = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    graph, parameters, streams, averages = nnx.split(template, nnx.Param, nnx.RngState, ...)
    nnx.replace_by_pure_dict(parameters, params["params"])
    nnx.replace_by_pure_dict(averages, params.get("batch_stats", {}))
    leaves, structure = jax.tree.flatten(streams)
    started = [
        jax.random.split(jax.random.fold_in(key, number), leaf.shape)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros(leaf.shape, leaf.dtype)  # draws so far
        for number, leaf in enumerate(leaves)
    ]
    return nnx.merge(graph, parameters, jax.tree.unflatten(structure, started), averages)
