"""The random streams of a run, one for each purpose."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.types import Key


class Streams(NamedTuple):
    """The root key's streams, one for each purpose."""

    init: Key
    data: Key
    train: Key
    test: Key
    pictures: Key


def streams(seed: int, *, num_seeds: int | None = None) -> Streams:
    """Stream number i of a run is `fold_in(key(seed), i)`; those of runs `seed`, `seed + 1`, ... are stacked."""
    if num_seeds is not None:
        return jax.tree.map(lambda *keys: jnp.stack(keys), *(streams(seed + number) for number in range(num_seeds)))
    root = jax.random.key(seed)
    return Streams(*(jax.random.fold_in(root, number) for number in range(len(Streams._fields))))
