"""Models of any size, and what one point of `scaling` costs; imported in the process of a point."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmark import ours
from experiments.benchmark.rows import PRODUCT
from experiments.benchmark.way import REMAT, VMAP
from genjax import data, networks
from genjax.data import batching
from genjax.losses import BERNOULLI, SQUARED_ERROR
from genjax.models import autoencoder, importance_weighted, vae
from genjax.training import placement
from genjax.training.streams import streams
from genjax.types import Batch, Model

LATENT_DIM = 32
TRIAL = 10  # steps by which the number of steps of a round is chosen
MOST = 20_000  # steps of a round


class Work(NamedTuple):
    """What is trained at a point."""

    model: Model
    side: int  # of the square images, in pixels
    batch_size: int
    examples: int = 8192  # in the training set
    placement: placement.Placement = placement.ALONE
    unrolled: Model | None = None  # the same without its loop, whose body XLA counts once


def linear_autoencoder(*, width: int, side: int, **data_sizes: Any) -> Work:
    """A linear autoencoder with a code of `width` numbers."""
    shape = (side, side, 1)
    parts = autoencoder.Autoencoder(networks.affine(shape, (width,)), networks.affine((width,), shape), SQUARED_ERROR)
    model = autoencoder.model(parts, optax.adam(1e-3), autoencoder.objective(parts))
    return Work(model, side, **data_sizes)


def perceptrons(side: int, hidden: tuple[int, ...]) -> tuple[Any, Any]:
    """Encoder and decoder of tanh units."""
    shape, mlp = (side, side, 1), partial(networks.mlp, activation=jnp.tanh)
    return mlp(shape, (2 * LATENT_DIM,), hidden=hidden), mlp((LATENT_DIM,), shape, hidden=hidden[::-1])


def mlp_vae(*, width: int, depth: int, side: int, **data_sizes: Any) -> Work:
    """A VAE with `depth` hidden layers of `width` units in both networks."""
    model = ours.vae_model(*perceptrons(side, (width,) * depth), LATENT_DIM)
    return Work(model, side, **data_sizes)


def convolutional_vae(*, width: int, depth: int, side: int, **data_sizes: Any) -> Work:
    """A VAE of `depth` convolutions of stride 2, the first of `width` channels and each next one of twice as many."""
    shape, features = (side, side, 1), tuple(width * 2**layer for layer in range(depth))
    encoder = networks.convolutional_encoder(shape, (2 * LATENT_DIM,), features=features, activation=jax.nn.relu)
    decoder = networks.convolutional_decoder(LATENT_DIM, shape, features=features, activation=jax.nn.relu)
    return Work(ours.vae_model(encoder, decoder, LATENT_DIM), side, **data_sizes)


def iwae(*, num_samples: int, way: str, width: int, side: int, **data_sizes: Any) -> Work:
    """An importance-weighted autoencoder with two hidden layers of `width` units in both networks."""
    encoder, decoder = perceptrons(side, (width, width))
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, LATENT_DIM)

    def model(remat: int | None) -> Model:
        objective = importance_weighted.objective(parts, num_samples=num_samples, remat=remat)
        return vae.model(parts, optax.adam(1e-3), objective)

    if way == REMAT:
        return Work(model(16), side, unrolled=model(None), **data_sizes)
    return Work(model(None), side, **data_sizes)


def dcgan(*, width: int, depth: int, side: int, **data_sizes: Any) -> Work:
    """A DCGAN with the convolutions of the VAE, both players."""
    features = tuple(width * 2**layer for layer in range(depth))
    return Work(ours.dcgan_model((side, side, 1), features), side, **data_sizes)


def seeds(*, seeds: int, way: str, width: int, side: int, **data_sizes: Any) -> Work:
    """Several VAEs with one hidden layer of `width` units, by map or by vmap."""
    model = ours.vae_model(*perceptrons(side, (width,)), LATENT_DIM)
    return Work(model, side, placement=placement.seeds(seeds, vectorized=way == VMAP), **data_sizes)


BUILD: dict[str, Callable[..., Work]] = {
    "linear_autoencoder": linear_autoencoder,
    "mlp_vae": mlp_vae,
    "convolutional_vae": convolutional_vae,
    "iwae": iwae,
    "dcgan": dcgan,
    "seeds": seeds,
}
"""The families; their sizes are in `scaling.FAMILIES`."""


def measure(family: str, sizes: dict[str, Any], *, rounds: int, seconds: float) -> dict[str, Any]:
    """The costs of training at a point.

    Args:
      rounds: number of measurements.
      seconds: of each, about.

    Returns:
      Numbers by name: `seconds` of a step in each round; `examples` of a step, over all seeds; `memory` of the process
      at its peak and `needed` by a step's arguments and temporaries as XLA says, in MiB; `multiplications` of a step,
      half of the operations that XLA counts, without those that `remat` repeats; and `product`, the seconds of one
      multiplication in a large product.
    """
    work = BUILD[family](**sizes)
    x = np.random.RandomState(0).randint(0, 256, (work.examples, work.side, work.side, 1), np.uint8)
    source = batching.source(data.from_arrays("noise", x, x[:100]), batch_size=work.batch_size)

    def seconds_of(steps: int, times: int) -> list[float]:
        num_steps = (1 + times) * steps
        return np.diff(
            ours.ends(work.model, source, every=steps, num_steps=num_steps, placement=work.placement)
        ).tolist()

    steps = int(np.clip(TRIAL * seconds / seconds_of(TRIAL, 1)[0], TRIAL, MOST))
    found = [each / steps for each in seconds_of(steps, rounds)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # before anything else is compiled
    return {
        "steps": steps,
        "seconds": found,
        "examples": work.batch_size * (work.placement.num_seeds or 1),
        "memory": memory,
        **of_one_step(work),
        "product": seconds_of_a_multiplication(),
    }


def of_one_step(work: Work) -> dict[str, float]:
    """What XLA says about a step of all seeds: its multiplications, and the MiB of its arguments and temporaries."""

    def init(key: Any, _: Any) -> Any:
        return work.model.init(key)

    def step(own: Any, batch: Any, model: Model = work.model) -> Any:
        state, key = own
        return model.train_step(state, batch, key)

    def shapes(init: Any, num_seeds: int | None) -> Any:
        root = streams(0, num_seeds=num_seeds)
        return jax.eval_shape(init, root.init, ()), root.train

    num, wrap = work.placement.num_seeds, work.placement.wrap
    batch = jax.eval_shape(lambda: Batch(jnp.zeros((work.batch_size, work.side, work.side, 1))))
    counted = partial(step, model=work.unrolled or work.model)
    alone = jax.jit(counted).lower(shapes(init, None), batch)  # of one seed: XLA counts the body of a loop once
    every = jax.jit(wrap(step), donate_argnums=0).lower(shapes(wrap(init), num), batch)
    memory: Any = every.compile().memory_analysis()
    needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    flops = (alone.cost_analysis() or {}).get("flops", 0.0)
    return {"multiplications": (num or 1) * flops / 2, "needed": needed / 2**20}


def seconds_of_a_multiplication() -> float:
    """The seconds of one multiplication and its addition in the large product of the benchmark."""
    product = ours.large_product()
    product(PRODUCT.steps // 4)
    began = time.perf_counter()
    product(PRODUCT.steps)
    return (time.perf_counter() - began) / (PRODUCT.steps * PRODUCT.multiplications)
