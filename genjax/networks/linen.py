"""Flax Linen modules as networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.networks.stateful import refresh, statistics_of
from genjax.types import Array, Key, Network, Params, StatefulNetwork

Shape = tuple[int, ...]  # of one input, without the batch dimension


def from_linen(module: nn.Module, *input_shapes: Shape) -> Network:
    """A Linen module as a Network; its params are Linen's plain nested dict.

    Args:
      module: called with as many arrays as there are shapes; it may keep parameters, but no other variables.
      *input_shapes: of each input, without the batch dimension.

    Returns:
      A Network with `apply(params, *inputs)`, each input [B, *input_shape].

    Raises:
      ValueError: at apply, an input of another shape; at init, a module with other variables than parameters.
    """

    def init(key: Key) -> Params:
        variables = module.lazy_init(key, *_examples(input_shapes))
        if set(variables) - {"params"}:
            raise ValueError(
                f"a network may keep only 'params', {type(module).__name__} keeps {sorted(variables)}; "
                "stateful_from_linen takes such a module"
            )
        return variables.get("params", {})

    def apply(params: Params, *inputs: Array) -> Any:
        _check_shapes(module, input_shapes, inputs)
        return module.apply({"params": params}, *inputs)

    return Network(init, apply)


def stateful_from_linen(
    module: nn.Module, *input_shapes: Shape, training: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> StatefulNetwork:
    """A Linen module with dropout or batch normalisation; its params are Linen's variables {"params", "batch_stats"}.

    Args:
      module: called with as many arrays as there are shapes. Dropout and noise draw from the stream "dropout"; every
        collection beside "params" is taken for moving averages, or for what stays as it is.
      *input_shapes: of each input, without the batch dimension.
      training: the keyword arguments with which the module is called in training, such as `{"train": True}`.
      evaluation: those with which it is called otherwise, such as `{"train": False}`.

    Raises:
      ValueError: an input of another shape.
    """

    def init(key: Key) -> Params:
        return dict(module.lazy_init(key, *_examples(input_shapes), **evaluation))

    def apply(params: Params, *inputs: Array) -> Any:
        _check_shapes(module, input_shapes, inputs)
        return module.apply(params, *inputs, **evaluation)

    def train(params: Params, *inputs: Array, key: Key) -> tuple[Any, Any]:
        _check_shapes(module, input_shapes, inputs)
        collections = sorted(set(params) - {"params"})
        output, updated = module.apply(params, *inputs, **training, rngs={"dropout": key}, mutable=collections)
        return output, statistics_of(updated)

    return StatefulNetwork(init, apply, train, refresh)


def _examples(input_shapes: Sequence[Shape]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in input_shapes]


def _check_shapes(module: nn.Module, input_shapes: Sequence[Shape], inputs: Sequence[Array]) -> None:
    """Raises a ValueError unless the inputs are [B, *input_shape] each."""
    same_number = len(inputs) == len(input_shapes)
    if same_number and all(x.ndim and x.shape[1:] == shape for x, shape in zip(inputs, input_shapes, strict=True)):
        return
    wanted = ", ".join(f"({', '.join(['B', *map(str, shape)])})" for shape in input_shapes)
    got = ", ".join(str(x.shape) for x in inputs)
    raise ValueError(f"{type(module).__name__} takes {wanted}; got {got}")
