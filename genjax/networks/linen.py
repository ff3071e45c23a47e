"""The one adapter between Flax Linen and the rest of the project."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.types import Array, Key, Network, Params


def from_linen(module: nn.Module, *input_shapes: tuple[int, ...]) -> Network:
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
        examples = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in input_shapes]
        variables = module.lazy_init(key, *examples)
        if set(variables) - {"params"}:
            raise ValueError(f"a network may keep only 'params', {type(module).__name__} keeps {sorted(variables)}")
        return variables.get("params", {})

    def apply(params: Params, *inputs: Array) -> Any:
        shapes = [x.shape for x in inputs]
        if len(shapes) != len(input_shapes) or any(
            len(shape) == 0 or shape[1:] != wanted for shape, wanted in zip(shapes, input_shapes, strict=True)
        ):
            wanted = ", ".join(str(("B", *shape)).replace("'", "") for shape in input_shapes)
            raise ValueError(f"{type(module).__name__} takes {wanted}; got {', '.join(map(str, shapes))}")
        return module.apply({"params": params}, *inputs)

    return Network(init, apply)
