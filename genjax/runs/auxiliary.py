"""Cache of auxiliary models: trained once, and kept under a hash of their flags, data and versions.

The manifest of a run has the digests of those that it was prepared with: `reproduce` compares them first.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from genjax.data.batching import Source
from genjax.errors import BadInput
from genjax.runs import changes, directory, hosts
from genjax.stderr import print_line
from genjax.training import checkpoint, digest, portable, saved
from genjax.training.fit import fit
from genjax.types import Model, Params


class Auxiliary(NamedTuple):
    """A trained auxiliary model."""

    params: Params
    params_sha256: str
    folder: Path  # where it is kept


_used: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("used", default=None)


@contextlib.contextmanager
def used() -> Iterator[dict[str, str]]:
    """The `params_sha256` of each auxiliary model that is found or trained in the block, by the name of its folder."""
    found: dict[str, str] = {}
    token = _used.set(found)
    try:
        yield found
    finally:
        _used.reset(token)


def note(workdir: Path, found: Mapping[str, str], *, warn: Callable[[str], None]) -> None:
    """Records the auxiliary models of a run, as `used` gives them, in its manifest.

    A run that goes on with other bits of one of them has bits of both: `warn` reports it, and "mixed" keeps it.
    """
    if not found:
        return
    recorded = directory.read_manifest(workdir)
    before = {name: sha256 for name, sha256 in recorded.get(directory.AUXILIARIES, {}).items() if name in found}
    changes = directory.differences(before, dict(found), tuple(before))
    if changes:
        warn(f"{workdir} resumes with other auxiliary models ({'; '.join(changes)}): its bits are not reproducible")
        recorded |= {"mixed": [*recorded.get("mixed", []), *changes]}
    directory.write_manifest(workdir, recorded | {directory.AUXILIARIES: dict(found)})


def find_or_train(
    model: Model,
    source: Callable[[], Source],
    *,
    name: str,
    settings: dict[str, Any],
    seed: int,
    num_steps: int,
    fingerprint: str,
    cache: Path,
    purpose: str,
    watch: Sequence[str] = ("loss",),
) -> Auxiliary:
    """Finds the trained parameters of an auxiliary model in the cache, or trains it now.

    Args:
      source: makes the data; called only if the model has to be trained.
      name: what the model is, as the first part of its folder's name.
      settings: everything that determines the model and its optimizer, in values that JSON can hold.
      fingerprint: of the data.
      cache: the directory that holds the folders.
      purpose: the purpose of the model, in words such as "to compare samples by".
      watch: metrics that the progress bar shows.

    Raises:
      BadInput: if a cached folder holds other parameters than were trained, or if the model cannot be trained with
        portable bits where these are in use.
    """
    now = directory.manifest(seed=seed, data_fingerprint=fingerprint)
    config = {"name": name, **settings, "seed": seed, "num_steps": num_steps}
    if portable.in_use():
        config |= {"portable_bits": True}  # one that was trained otherwise has the bits of its processor
    identity = config | {entry: now[entry] for entry in directory.IDENTITY}
    short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    folder = cache / f"{name}-{short}"
    if not folder.exists():
        print_line(f"training the {name.replace('_', ' ')} {purpose}, in {folder}")
        examples = source()
        if portable.in_use():
            function, shapes = changes.of_one_step(model, examples, seed)
            portable.check(function, *shapes)
        state = fit(model, examples, seed=seed, num_steps=num_steps, eval_every=0, watch=watch)
        if not hosts.is_first():  # every process of a run trains, and the first one writes
            params = jax.device_put(jax.device_get(state.params))  # as if read: committed to no device
            return _noted(Auxiliary(params, digest.params_sha256(params), folder))
        _write(folder, config, state, num_steps, now)
    template = jax.eval_shape(model.init, jax.random.key(0)).params
    params = saved.read(folder / "checkpoints").part("params", template)
    params_sha256 = directory.read_manifest(folder)["params_sha256"]
    if digest.params_sha256(params) != params_sha256:
        raise BadInput(f"{folder} holds other parameters than its manifest names; delete it to train them again")
    return _noted(Auxiliary(params, params_sha256, folder))


def _noted(found: Auxiliary) -> Auxiliary:
    noted = _used.get()
    if noted is not None:
        noted[found.folder.name] = found.params_sha256
    return found


def _write(folder: Path, config: dict[str, Any], state: Any, num_steps: int, manifest: dict[str, Any]) -> None:
    """Writes a folder that appears completely or not at all."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        with checkpoint.Checkpoints(unfinished / "checkpoints", keep=1) as checkpoints:
            checkpoints.save(num_steps, state)
        directory.write_json(unfinished / "config.json", config)
        trained = {"steps_done": num_steps, "params_sha256": digest.params_sha256(state.params)}
        directory.write_json(unfinished / "manifest.json", manifest | trained)
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another run was faster, and has the same bits
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
