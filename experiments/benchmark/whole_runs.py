"""Work of the rows that is more than one model's steps: a page's own model and data, many runs, data on the disk."""

from __future__ import annotations

import importlib
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmark.ours import mlps, timed, vae_model
from experiments.benchmark.way import IMAGE_SHAPE, RUN, Way, images_on_disk, learning_rates
from genjax import data, networks
from genjax.data import batching
from genjax.losses import BERNOULLI
from genjax.models import vae
from genjax.runs import assembling
from genjax.training import placement
from genjax.training.fit import fit
from genjax.types import Model


def page(name: str) -> Way:
    """Training of the model of a page by its default flags, without the auxiliary models that a run prepares."""
    experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
    assembled = assembling.assemble(experiment, experiment.flags())
    return timed(assembled.built.model, assembled.source)


def small_vae(optimizer: optax.GradientTransformation) -> tuple[Model, batching.Source]:
    """A VAE 64-200-8 of dense layers, and the digits in batches of 128."""
    mlp, shape = partial(networks.mlp, activation=jnp.tanh, hidden=(200,)), (8, 8, 1)
    parts = vae.VAE(networks.gaussian_heads(mlp(shape, (16,))), mlp((8,), shape), BERNOULLI, 8)
    return vae.model(parts, optimizer, vae.objective(parts)), batching.source(data.load("digits"), batch_size=128)


def seeds(num: int, mode: str) -> Way:
    """Whole runs, compiled anew: in one program, by map or vmap, or alone, one after another."""
    model, source = small_vae(optax.adam(1e-3))

    def run(steps: int) -> None:
        if mode != "alone":
            fit(model, source, seed=0, num_steps=RUN, placement=placement.seeds(num, vectorized=mode == "vmap"))
            return
        for seed in range(max(1, steps // RUN)):
            fit(model, source, seed=seed, num_steps=RUN)

    return run


def swept(model: Model, source: batching.Source, rates: np.ndarray, mode: str, *, num_steps: int = RUN) -> Any:
    """Runs with one learning rate each, from the same parameters; run i has the batches and the draws of seed i.

    Args:
      model: its optimizer is of `optax.inject_hyperparams`, so that the learning rate is a number in its state.
      mode: "map" or "vmap", in one program; or "alone", one after another.

    Returns:
      The last states, stacked along a first axis.
    """
    start = model.init(jax.random.key(0))

    def at(rate: Any) -> Any:
        return start._replace(optimizer_state=optax.tree.set(start.optimizer_state, learning_rate=rate))

    train, each = partial(fit, model, source, num_steps=num_steps), jnp.asarray(rates, jnp.float32)
    if mode != "alone":
        together = placement.seeds(len(rates), vectorized=mode == "vmap")
        return train(seed=0, state=jax.vmap(at)(each), placement=together)
    ends = [train(seed=seed, state=at(rate)) for seed, rate in enumerate(each)]
    return jax.tree.map(lambda *a: jnp.stack(a), *ends)


def sweep(num: int, mode: str) -> Way:
    """Whole runs at learning rates of a sweep, compiled anew."""
    model, source = small_vae(optax.inject_hyperparams(optax.adam)(learning_rate=1e-3))

    def run(steps: int) -> None:
        rates = learning_rates(num)
        swept(model, source, rates if mode != "alone" else rates[: max(1, steps // RUN)], mode)

    return run


def streaming(*, in_memory: bool) -> Way:
    """Training of a VAE 784-500-20 on images that are read from the disk, or that lie in memory."""
    x = images_on_disk().reshape(-1, *IMAGE_SHAPE)
    dataset = data.from_arrays("stored", np.array(x) if in_memory else x, x[:100])
    source = batching.source(dataset, batch_size=128, memory_limit=math.inf if in_memory else 0)
    return timed(vae_model(*mlps((500,), 20), 20), source)
