"""Equinox modules as networks; Equinox itself is imported where one is made (the extra `equinox`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax.networks.stateful import refresh, statistics_of
from genjax.types import Array, Key, Network, Params, StatefulNetwork

Make = Callable[[Key], Any]  # key -> an equinox.Module


def from_equinox(make: Make) -> Network:
    """An Equinox module as a Network; its params are {path: array}, such as {"layers.0.weight": [n, m]}.

    Args:
      make: makes the module from a key, `lambda key: eqx.nn.MLP(8, 2, 16, 2, key=key)`; it is called with one example
        of each input, and so mapped over batches.

    Raises:
      ValueError: at init, a module with state, or with arrays of integers.
    """
    import equinox as eqx

    def init(key: Key) -> Params:
        module, state = eqx.nn.make_with_state(make)(key)
        if jax.tree.leaves(state):
            raise ValueError(
                f"a network may keep only parameters, {type(module).__name__} keeps state; "
                "stateful_from_equinox takes such a module"
            )
        return _parameters(module)

    def apply(params: Params, *inputs: Array) -> Any:
        return jax.vmap(_filled(eqx.filter_eval_shape(make, jax.random.key(0)), params))(*inputs)

    return Network(init, apply)


def stateful_from_equinox(make: Make) -> StatefulNetwork:
    """An Equinox module with dropout or batch normalisation, as `equinox.nn.inference_mode` switches them.

    Its params are {"params": {path: array}, "batch_stats": the state by path, if there is any}; counters and flags of
    the state are kept as floats, which can be averaged and have a gradient.

    Args:
      make: makes the module from a key; with state it is called as `module(*inputs, state, key=key)`, of one example of
        each input, and returns (output, state), otherwise as `module(*inputs, key=key)`. The axis of a batch is named
        "batch": `eqx.nn.BatchNorm(size, axis_name="batch", mode="batch")`. In evaluation the key is None.

    Raises:
      ValueError: at init, arrays of integers among the module's parameters.
    """
    import equinox as eqx

    make_with_state = eqx.nn.make_with_state(make)

    def init(key: Key) -> Params:
        module, state = make_with_state(key)
        return {"params": _parameters(module)} | _averages(state)

    def call(params: Params, inputs: tuple[Array, ...], keys: Array | None, *, inference: bool) -> tuple[Any, Any]:
        module, state = eqx.filter_eval_shape(make_with_state, jax.random.key(0))
        module = eqx.nn.inference_mode(_filled(module, params["params"]), inference)
        if "batch_stats" not in params:
            return jax.vmap(lambda key, *example: module(*example, key=key))(keys, *inputs), state
        state = _filled(state, params["batch_stats"])
        of_example = jax.vmap(
            lambda key, *example: module(*example, state, key=key), axis_name="batch", out_axes=(0, None)
        )
        return of_example(keys, *inputs)

    def apply(params: Params, *inputs: Array) -> Any:
        return call(params, inputs, None, inference=True)[0]

    def train(params: Params, *inputs: Array, key: Key) -> tuple[Any, Any]:
        output, state = call(params, inputs, jax.random.split(key, len(inputs[0])), inference=False)
        return output, statistics_of(_averages(state))

    return StatefulNetwork(init, apply, train, refresh)


def _named_arrays(tree: Any) -> dict[str, Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): leaf for path, leaf in leaves if isinstance(leaf, jax.Array)}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _parameters(module: Any) -> dict[str, Array]:
    parameters = _named_arrays(module)
    integers = [name for name, leaf in parameters.items() if not jnp.issubdtype(leaf.dtype, jnp.inexact)]
    if integers:
        raise ValueError(f"parameters are arrays of floats; {type(module).__name__} has others at {integers}")
    return parameters


def _averages(state: Any) -> dict[str, dict[str, Array]]:
    averages = jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), _named_arrays(state))
    return {"batch_stats": averages} if averages else {}


def _filled(template: Any, arrays: dict[str, Array]) -> Any:
    """The template with the arrays in the place of their shapes."""

    def fill(path: tuple, leaf: Any) -> Any:
        return arrays[_name(path)].astype(leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf

    return jax.tree_util.tree_map_with_path(fill, template)
