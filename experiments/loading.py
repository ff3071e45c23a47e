"""From a run's directory back to its model: what looks at trained models begins here.

    run = loading.open_run(directory)
    model = loading.model(run)
    state = loading.state(run, model)

Its latent space can be explored when its experiment has `parts` that `codec` knows.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import common
from genjax import data
from genjax.data import batching
from genjax.errors import BadInput
from genjax.models import autoencoder, vae
from genjax.runs import directory as run_directory
from genjax.training import checkpoint, determinism
from genjax.types import Array, Batch, Key, Model, Network, Params


class Run(NamedTuple):
    """A run as its directory tells it."""

    directory: Path
    config: common.Config
    dataset: data.Dataset  # as it was trained on
    experiment: common.Experiment


class Codec(NamedTuple):
    """A model's two ways, each with parameters of its own, so that one can be loaded without the other."""

    encoder: Network  # x [B, ...] -> z [B, d]; of a VAE the posterior mean
    decoder: Network  # z [B, d] -> x [B, ...]; of a VAE the mean of p(x|z)
    has_prior: bool  # z ~ N(0, I) is what it was trained for


def open_run(directory: str | Path, *, data_dir: str | None = None) -> Run:
    """Reads a run's flags and loads its data; call it before JAX's backend starts.

    Args:
      data_dir: where the data lies now, if it has moved.

    Raises:
      BadInput: no run there, of an experiment that is not known, or its data are not those it was trained on.
    """
    directory = Path(directory)
    config = common.Config(**run_directory.read_json(directory / "config.json"))
    fingerprint = run_directory.read_json(directory / "manifest.json")["data_fingerprint"]
    experiment = _experiment(config.experiment)
    determinism.set_up(cpu_threads=config.cpu_threads)
    config.runs, config.data_dir = directory.resolve().parent, data_dir or config.data_dir
    dataset = experiment.load(config)
    if dataset.fingerprint != fingerprint:
        raise BadInput(
            f"{directory} was trained on data of fingerprint {fingerprint}, not {dataset.fingerprint}; give --data_dir"
        )
    stored = batching.statically_binarized(dataset) if config.binarize == "static" else dataset
    return Run(directory, config, stored, experiment)


def _experiment(name: str) -> common.Experiment:
    module = f"experiments.{name}"
    try:
        return importlib.import_module(module).EXPERIMENT
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise BadInput(f"there is no experiment {name!r} to open the run with") from None


def model(run: Run) -> Model:
    """The run's model, untrained."""
    return run.experiment.build(run.config, run.dataset)


def state(run: Run, model: Model) -> Any:
    """The run's last whole checkpoint, as the model's state."""
    template = jax.eval_shape(model.init, jax.random.key(0))
    fields = {name: _restore(run, name, getattr(template, name)) for name in template._fields}
    return type(template)(**fields)


def parts(run: Run) -> Any:
    """The run's encoder and decoder, with what belongs to them in its model.

    Raises:
      BadInput: if its model has no such two.
    """
    if run.experiment.parts is None:
        raise BadInput(f"{run.directory}: a run of {run.config.experiment} has no encoder and decoder to explore")
    return run.experiment.parts(run.config, run.dataset)


def codec(run: Run) -> Codec:
    """The run's encoder and decoder as plain networks; raises as `parts` does."""
    networks = parts(run)
    has_prior = isinstance(networks, vae.VAE)
    family: Any = vae if has_prior else autoencoder

    def encode(params: Params, x: Array) -> Array:
        code = family.encode({"encoder": params}, x, parts=networks)
        return code[0] if has_prior else code

    def decode(params: Params, z: Array) -> Array:
        return family.decode({"decoder": params}, z, parts=networks)

    return Codec(Network(networks.encoder.init, encode), Network(networks.decoder.init, decode), has_prior)


def part(run: Run, path: str, init: Callable[[Key], Any]) -> Any:
    """A part of the run's last state, such as `params/encoder`; nothing else of the checkpoint need be known.

    Args:
      init: makes a fresh one of a key.
    """
    return _restore(run, path, jax.eval_shape(init, jax.random.key(0)))


def _restore(run: Run, path: str, template: Any) -> Any:
    return checkpoint.restore_part(run.directory / "checkpoints", path, template)[1]


def read(run: Run, split: data.Split, key: Key, *, at_most: int) -> Batch:
    """The first examples of a split, as the run's model reads them; a dynamic binarisation draws from the key."""
    transform = batching.dynamic_binarization if run.config.binarize == "dynamic" else None
    first: Any = data.Split(split.x[:at_most], None if split.label is None else split.label[:at_most])
    held_out = batching.held_out(first, batch_size=at_most, scale=run.dataset.scale, transform=transform)
    return held_out.read(jax.tree.map(lambda a: jnp.asarray(a[0]), held_out.groups[0]), key)


def apply(network: Network, params: Params, inputs: Array, *, batch_size: int = 500) -> Array:
    """The network over any number of inputs, in batches of one compiled size."""
    return jax.jit(
        lambda params, inputs: jax.lax.map(
            lambda one: network.apply(params, one[None])[0], inputs, batch_size=batch_size
        )
    )(params, inputs)
