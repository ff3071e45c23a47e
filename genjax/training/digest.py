"""One name for a tree of arrays: equal digests mean equal paths, dtypes, shapes and bits."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves of `tree` by path: keys, field names and indices joined with "/", such as `params/Dense_0/kernel`.

    A typed PRNG key is replaced by its data, under the key's path and the name of its implementation, such as
    `optimizer_state/rng_key/key<fry>`: uint32, with one more axis than the keys.

    Raises:
      TypeError: a leaf is not an array of numbers or keys, nor a `jax.ShapeDtypeStruct` of one.
      ValueError: two leaves have the same path.
    """
    leaves: dict[str, Any] = {}
    for entries, leaf in jax.tree_util.tree_leaves_with_path(tree):
        path = jax.tree_util.keystr(entries, simple=True, separator="/")
        dtype = getattr(leaf, "dtype", None)
        if is_key(leaf):
            path = f"{path}/{dtype}"
            leaf = jax.eval_shape(jax.random.key_data, leaf) if _is_shape(leaf) else jax.random.key_data(leaf)
        elif dtype is None or not (jnp.issubdtype(dtype, np.number) or jnp.issubdtype(dtype, np.bool_)):
            seen = type(leaf).__name__ if dtype is None else f"an array of {dtype}"
            raise TypeError(f"{path!r} is {seen}, not an array of numbers or keys")
        if path in leaves:
            raise ValueError(f"two leaves have the path {path!r}; give them different names")
        leaves[path] = leaf
    return leaves


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed PRNG keys, or the shape of one."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def params_sha256(params: Any) -> str:
    """The SHA-256, in hexadecimal, of a tree of arrays, NumPy's or JAX's alike.

    It is taken over the leaves in the order of their paths (`flatten`; sorted by code points), each leaf giving

    - its header: the JSON text `["params/Dense_0/kernel", "float32", [784, 512]]` (path, NumPy's name of the dtype,
      shape; `json.dumps` with its defaults, so a comma and one space, ASCII only), then one line feed;
    - its elements in C order, each little-endian.

    A tree without leaves has the SHA-256 of nothing. Raises as `flatten` does.
    """
    sha256 = hashlib.sha256()
    leaves = jax.device_get(flatten(params))
    for path in sorted(leaves):
        x = np.asarray(leaves[path])
        x = x.astype(x.dtype.newbyteorder("<"), copy=False)
        sha256.update(json.dumps([path, x.dtype.name, list(x.shape)]).encode() + b"\n")
        sha256.update(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
    return sha256.hexdigest()
