"""The moving averages of a stateful network, between its training pass and the update of the parameters.

A batch may be spread over equal parts, each of which updates the same averages by its own rows. Their mean is the
update by the mean of the parts' moments, so what is summed over the parts is the updated averages and their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from genjax.types import Params


def statistics_of(updated: Mapping[str, Any]) -> dict[str, Any]:
    """The averages as one part of a batch updated them, {name: tree of floats}, as a sum over parts."""
    return {"parts": jnp.ones([], jnp.int32), "averages": dict(updated)}


def refresh(params: Params, statistics: Any) -> Params:
    """The params with each collection of averages replaced by its mean over the parts."""
    return params | jax.tree.map(lambda total: total / statistics["parts"], statistics["averages"])
