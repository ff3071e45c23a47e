"""A model that serves others: trained once, and kept beside the runs under a hash of all that makes its bits."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments import common, devices
from genjax.data.batching import Source
from genjax.errors import BadInput
from genjax.runs import directory as run_directory
from genjax.training import checkpoint, digest
from genjax.training.fit import fit
from genjax.types import Model, Params


class Kept(NamedTuple):
    """What was found or trained."""

    params: Params
    params_sha256: str
    folder: Path


def find_or_train(
    config: common.Config,
    model: Model,
    source: Callable[[], Source],
    *,
    fingerprint: str,
    runs: Path,
    purpose: str,
    watch: Sequence[str],
) -> Kept:
    """The trained parameters of a model whose flags, data and versions are these, found in `runs` or trained there now.

    Args:
      config: its flags; with `experiment`, `dataset`, `seed` and `num_steps` among them.
      source: gives what it trains on, where it has to be trained.
      fingerprint: of its data.
      runs: the directory in which runs lie.
      purpose: said when it is trained.
      watch: metrics for the progress bar.

    Raises:
      BadInput: a folder that holds other parameters than were trained.
    """
    now = run_directory.manifest(seed=config.seed, data_fingerprint=fingerprint)
    flags = {name: value for name, value in vars(config).items() if name not in common.NOT_IDENTITY}
    identity = flags | {name: now[name] for name in run_directory.IDENTITY}
    short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    dataset = config.dataset.rpartition("/")[2].rpartition(":")[2]
    folder = runs / f"{config.experiment}-{dataset}-{short}"
    if not folder.exists():
        print(f"training a {config.experiment} of {dataset} {purpose}, in {folder}", file=sys.stderr)
        state = fit(model, source(), seed=config.seed, num_steps=config.num_steps, eval_every=0, watch=watch)
        if not devices.is_first():  # every process of a run trains, and the first one writes
            params = jax.device_put(jax.device_get(state.params))  # as if read: of no device in particular
            return Kept(params, digest.params_sha256(params), folder)
        _write(folder, config, state, now)
    template = jax.eval_shape(model.init, jax.random.key(0)).params
    _, params = checkpoint.restore_part(folder / "checkpoints", "params", template)
    params_sha256 = run_directory.read_json(folder / "manifest.json")["params_sha256"]
    if digest.params_sha256(params) != params_sha256:
        raise BadInput(f"{folder} holds other parameters than its manifest tells of; delete it, to train them again")
    return Kept(params, params_sha256, folder)


def _write(folder: Path, config: common.Config, state: Any, manifest: dict) -> None:
    """Leaves a folder that appears whole or not at all."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    with checkpoint.Checkpoints(unfinished / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(config.num_steps, state)
    run_directory.write_json(unfinished / "config.json", vars(config))
    trained = {"steps_done": config.num_steps, "params_sha256": digest.params_sha256(state.params)}
    run_directory.write_json(unfinished / "manifest.json", manifest | trained)
    try:
        unfinished.rename(folder)
    except OSError:  # another run was quicker, with the same bits
        if not folder.exists():
            raise
        shutil.rmtree(unfinished)
