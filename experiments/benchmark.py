"""How fast the parts of this project are beside what one would write without them.

    python -m experiments.benchmark
    python -m experiments.benchmark --row=convolution --rounds=9 --cpu_threads=2

A row compares several ways of doing one thing, measured alternately in one process, so that a busy machine slows all
of them alike. It prints the median rate of each, how far the rounds spread, and the ratio of the medians to the last
way. The row `convolution` takes half a minute on two CPU cores; there this project's convolutions train at least 8
times as many steps a second as XLA's own.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import flags
from jax import lax
from tqdm import tqdm

from experiments import common
from genjax import gradients, networks
from genjax.losses import BERNOULLI
from genjax.models import descent, vae
from genjax.training import determinism
from genjax.types import Array, Batch, Network, Params

FLAGS = flags.FLAGS


class Way(NamedTuple):
    """One way of doing a row's work."""

    run: Callable[[], object]  # does the work once and waits for it; the first call compiles
    steps: int  # done by one call


class Row(NamedTuple):
    """A comparison; the last way is the one that the others are compared to."""

    title: str
    ways: Callable[[], dict[str, Way]]


IMAGE_SHAPE, LATENT_DIM, BATCH_SIZE = (28, 28, 1), 20, 128


def xla_convolutional_vae_networks() -> tuple[Network, Network]:
    """The encoder and decoder of `convolution_ways` with XLA's convolutions, on the same parameters."""
    ours = convolutional_vae_networks()

    def encode(params: Params, x: Array) -> Array:
        for name in ("convolution_1", "convolution_2"):
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            x = lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(x + bias)
        return x.reshape(len(x), -1) @ params["dense"]["kernel"] + params["dense"]["bias"]

    def decode(params: Params, z: Array) -> Array:
        x = (z @ params["dense"]["kernel"] + params["dense"]["bias"]).reshape(len(z), 7, 7, 64)
        for name in ("convolution_2", "convolution_1"):
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            x = lax.conv_transpose(jax.nn.relu(x), kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = x + bias
        return x

    return ours[0]._replace(apply=encode), ours[1]._replace(apply=decode)


def convolutional_vae_networks() -> tuple[Network, Network]:
    """4x4 convolutions of stride 2 with 32 and 64 channels and a dense layer, and their mirror image."""
    encoder = networks.convolutional_encoder(IMAGE_SHAPE, (2 * LATENT_DIM,), activation=jax.nn.relu)
    return encoder, networks.convolutional_decoder(LATENT_DIM, IMAGE_SHAPE, activation=jax.nn.relu)


def convolution_ways() -> dict[str, Way]:
    """Training of a convolutional VAE in a compiled loop: Adam, 28x28 images, 128 a batch."""
    return {
        "genjax": vae_way(*convolutional_vae_networks(), steps=40),
        "XLA convolutions": vae_way(*xla_convolutional_vae_networks(), steps=4),
    }


def vae_way(
    encoder: Network,
    decoder: Network,
    *,
    steps: int,
    batch_size: int = BATCH_SIZE,
    gradient: gradients.Way = gradients.gradient,
) -> Way:
    """Training of a VAE in a compiled loop: Adam, images of uniform noise."""
    images = jax.random.uniform(jax.random.key(0), (8, batch_size, *IMAGE_SHAPE))
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, LATENT_DIM)
    model = vae.model(parts, optax.adam(1e-3), vae.objective(parts), gradient=gradient)

    @jax.jit
    def train(state: descent.State) -> Array:
        def step(state: descent.State, i: Array) -> tuple[descent.State, Array]:
            state, metrics = model.train_step(state, Batch(images[i % len(images)]), jax.random.key(2))
            return state, metrics["negative_elbo"]

        return lax.scan(step, state, jnp.arange(steps))[1]

    state = jax.jit(model.init)(jax.random.key(1))
    return Way(lambda: jax.block_until_ready(train(state)), steps)


def shard_ways(examples: int) -> dict[str, Way]:
    """Training of an MLP VAE, 784-500-20, on eight shards of so many examples, whose gradients are added in order."""
    encoder = networks.mlp(IMAGE_SHAPE, (2 * LATENT_DIM,), hidden=(500,), activation=jnp.tanh)
    decoder = networks.mlp((LATENT_DIM,), IMAGE_SHAPE, hidden=(500,), activation=jnp.tanh)
    way = partial(vae_way, encoder, decoder, steps=2560 // examples, batch_size=8 * examples)
    return {"one sum": way(), "eight shards": way(gradient=gradients.ordered(8))}


ROWS = {
    "convolution": Row("convolutional VAE, 28x28, batch 128, Adam, one compiled loop, steps/s", convolution_ways),
    "shards-128": Row("MLP VAE 784-500-20, Adam, batch 1024, steps/s", partial(shard_ways, 128)),
    "shards-16": Row("MLP VAE 784-500-20, Adam, batch 128, steps/s", partial(shard_ways, 16)),
}


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_enum("row", "convolution", list(ROWS), "what to measure")
    flags.DEFINE_integer("rounds", 5, "times each way is measured", lower_bound=5)
    flags.DEFINE_integer("cpu_threads", 2, "XLA's CPU threads", lower_bound=1)


def measure(ways: dict[str, Way], *, rounds: int) -> dict[str, list[float]]:
    """The rate of each way in steps/s, once a round; the ways take turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with tqdm(total=(rounds + 1) * len(ways), unit="run", file=sys.stderr) as progress:
        for turn in range(rounds + 1):
            for name, way in ways.items():
                progress.set_description(f"{name}, {f'round {turn}' if turn else 'compiling'}")
                began = time.perf_counter()
                way.run()
                if turn:
                    rates[name].append(way.steps / (time.perf_counter() - began))
                progress.update()
    return rates


def table(rates: dict[str, list[float]]) -> str:
    """One line a way: median, slowest and fastest round, and the ratio of the medians to the last way."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    *_, last = medians.values()
    lines = [f"{'':24}{'median':>10}{'slowest':>10}{'fastest':>10}{'ratio':>10}"]
    for name, values in rates.items():
        columns = (medians[name], min(values), max(values), medians[name] / last)
        lines.append(f"{name:24}" + "".join(f"{value:10.2f}" for value in columns))
    return "\n".join(lines)


def main(rows: dict[str, Row]) -> None:
    """Measures the row that the flags name and prints its table."""
    determinism.set_up(cpu_threads=FLAGS.cpu_threads)
    row = rows[FLAGS.row]
    rates = measure(row.ways(), rounds=FLAGS.rounds)
    threads = f"{FLAGS.cpu_threads} CPU threads, " if jax.default_backend() == "cpu" else ""
    print(f"{row.title} ({threads}{jax.devices()[0].device_kind}, jax {jax.__version__}, {FLAGS.rounds} rounds)")
    print(table(rates))


if __name__ == "__main__":
    define_flags()
    common.guarded(partial(main, ROWS))
