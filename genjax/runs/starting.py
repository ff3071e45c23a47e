"""Runs that start from given weights, in place of random ones."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import BadInput
from genjax.paths import expand_user
from genjax.runs.settings import Flags
from genjax.training import saved, weights
from genjax.training.digest import is_key, params_sha256
from genjax.types import Key, Model, Params

FLAG = "initial_weights"  # whose file gives the parameters
DIGEST = "initial_params_sha256"
"""The entry of a manifest that holds the digest of the weights, which may move while their content stays."""


class Initial(NamedTuple):
    """Weights to start from."""

    params: Params
    sha256: str  # their `params_sha256`


def read(path: str, model: Model) -> Initial:
    """The weights in a safetensors file, as the params of a model.

    Raises:
      BadInput: the file cannot be read, the weights are not finite or not those of such a model, or the model cannot
        start from weights.
    """
    file = expand_user(path, parameter=FLAG)
    try:
        inspect.signature(model.init).bind(None, None)
    except TypeError:
        raise BadInput("the `init` of this experiment's model takes no params", parameter=FLAG) from None
    leaves = weights.read(file, parameter=FLAG).leaves
    template = jax.eval_shape(model.init, jax.random.key(0)).params
    params = saved.as_tree(template, leaves, str(file), parameter=FLAG)
    for name, leaf in leaves.items():
        if not np.isfinite(leaf).all():
            raise BadInput(f"{file} has values in {name} that are not finite", parameter=FLAG)
    return Initial(params, params_sha256(leaves))


def check(path: str | None, manifest: Mapping[str, Any]) -> None:
    """Checks that a file has the weights that a manifest names; both may be missing.

    Raises:
      BadInput: it has not, or cannot be read.
    """
    found = None
    if path is not None:
        found = params_sha256(weights.read(expand_user(path, parameter=FLAG), parameter=FLAG).leaves)
    if found != manifest.get(DIGEST):
        raise BadInput(f"its params_sha256 is {found}, not {manifest.get(DIGEST)}", parameter=FLAG)


def moved(found: Flags, given: Flags, recorded: Mapping[str, Any], now: Mapping[str, Any], workdir: Path) -> Flags:
    """A run's recorded flags, with the given place of its initial weights if these are the same.

    Args:
      recorded, now: the manifests of the run and of its new start.

    Raises:
      BadInput: the file of the recorded flags has other weights now.
    """
    same = recorded.get(DIGEST) == now.get(DIGEST)
    if not same and found.initial_weights == given.initial_weights:
        raise BadInput(
            f"{workdir} was started from weights of params_sha256 {recorded.get(DIGEST)}, not {now.get(DIGEST)}; give "
            "these, or another `workdir`",
            parameter=FLAG,
        )
    return found.replace(initial_weights=given.initial_weights) if same else found


def starting_from(model: Model, params: Params) -> Model:
    """The model whose new states have these params, whatever the key."""
    # constants of the host, which lie on no device yet
    host = jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), params)

    def init(key: Key) -> Any:
        return model.init(key, jax.tree.map(jnp.asarray, host))

    return model._replace(init=init)
