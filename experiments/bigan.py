"""A bidirectional GAN, which infers codes beside generating data (Donahue et al. 2017; ALI of Dumoulin et al. 2017).

    python -m experiments.bigan
    python -m experiments.bigan --encoder=gaussian
    python -m experiments.bigan --dataset=mnist --data_dir=DIR --prior=uniform --latent_dim=50 --hidden=1024,1024 \\
        --batch_size=128 --learning_rate=2e-4 --beta2=0.999 --weight_decay=2.5e-5 --penalty_weight=5 \\
        --num_steps=156250 --eval_every=9766 --num_validation=10000 --num_known=50000
    python -m experiments.bigan --normalization=batch_both

The discriminator meets pairs (x, E(x)) and (G(z), z) and cannot tell them apart once G generates the data and E inverts
it; nothing lowers a reconstruction error. The third command is the permutation-invariant MNIST of Donahue et al., 400
epochs of 50 000 examples, with R1 in the place of their batch normalization, which --normalization=batch_both has in
the second hidden layer and those after it of all three networks, without R1. At each evaluation and at the end, the
metrics are:

    nearest_neighbour_accuracy        how often the nearest training example in the encoder's last hidden layer has the
                                      class of a held-out one
    code_nearest_neighbour_accuracy   the same in the codes E(x)
    pixel_nearest_neighbour_accuracy  the same in the data, for comparison; at the end only
    reconstruction_distance           mean of ||x - G(E(x))||_2 over held-out examples
    shuffled_distance                 the same from the reconstruction of another example, for comparison
    prior_moment_*                    first and second moment of the codes in units of the prior's, 0 and 1 where they
                                      agree

Neighbours are searched among --num_known training examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications, code_moments, games, gan_parts
from genjax import data, losses, networks, runs
from genjax.drawing import pictures
from genjax.evaluation import neighbours
from genjax.gradients import Reduction
from genjax.losses import DIAGONAL_GAUSSIAN, SQUARED_ERROR, STANDARD_NORMAL, UNIFORM_ON_CUBE
from genjax.models import autoencoder, bigan
from genjax.runs import flag, sampling, showing
from genjax.types import Array, Key, Network, Params

PRIORS = {"normal": STANDARD_NORMAL, "uniform": UNIFORM_ON_CUBE}
NUM_DRAWS = 10_000  # from the prior, for its moments
AT_MOST = 10_000  # held-out examples whose neighbours are searched


class Flags(runs.Flags):
    """Bidirectional GAN."""

    num_steps: int = 5000
    batch_size: int = 256
    learning_rate: float = flag(1e-3, "highest learning rate of both players", at_least=0)
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    averaging: float = 0.99
    beta1: float = flag(0.5, "Adam's b1 for both players", at_least=0, at_most=0.999999)
    beta2: float = flag(0.9, "Adam's b2 for both players", at_least=0, at_most=0.999999)
    encoder: str = flag(
        "deterministic", "whether E(x) is the code, or q(z|x) is a Gaussian", choices=("deterministic", "gaussian")
    )
    prior: str = flag("normal", "prior of the codes: N(0, I), or uniform on [-1, 1]", choices=PRIORS)
    hidden: tuple[int, ...] = flag((256, 256), "widths of the hidden layers of all three networks", at_least=1)
    latent_dim: int = flag(8, "number of latent dimensions", at_least=1)
    penalty_weight: float = flag(
        None,
        "weight of the penalty R1 on the discriminator's slope in x and z; by default .1, or 0 with "
        "--normalization=batch_both",
        at_least=0,
    )
    normalization: str = flag(
        "none",
        "batch normalization of all hidden layers but the first, in encoder and generator (batch), or in the "
        "discriminator too (batch_both), which then has no penalty; with --shards, each shard is a batch of its own "
        "(ghost batches)",
        choices=("none", "batch", "batch_both"),
        newer=True,
    )
    num_known: int = flag(10_000, "number of training examples among which neighbours are searched", at_least=1)


def leaky_relu(x: Array) -> Array:
    """max(x, x / 5), as in the paper's networks."""
    return jax.nn.leaky_relu(x, 0.2)


def resolve(flags: Flags, dataset: data.Dataset) -> Flags:
    """Fills in the default that depends on another flag."""
    if flags.penalty_weight is not None:
        return flags
    return flags.replace(penalty_weight=0.0 if flags.normalization == "batch_both" else 0.1)


def mlp(
    flags: Flags, shape: tuple[int, ...], output_shape: tuple[int, ...], *, judge: bool = False, **options: Any
) -> Any:
    """An MLP of one of the players, stateful if `flags.normalization` gives it batch normalisation."""
    plain = flags.normalization == "none" or (judge and flags.normalization != "batch_both")
    make = networks.mlp if plain else networks.stateful_mlp
    return make(shape, output_shape, hidden=flags.hidden, **options)


def encoder(flags: Flags, shape: tuple[int, ...], *, with_features: bool = False) -> Any:
    """E, of x - 1/2, with the last hidden layer if asked for."""
    gaussian = flags.encoder == "gaussian"
    # a code E(x) is where the prior is
    bounded = jnp.tanh if flags.prior == "uniform" and not gaussian else None
    width = (2 if gaussian else 1) * flags.latent_dim
    options = {"activation": leaky_relu, "output_activation": bounded, "with_features": with_features}
    return networks.around(mlp(flags, shape, (width,), **options), inputs=lambda x: (x - 0.5,))


def build_parts(flags: Flags, shape: tuple[int, ...]) -> bigan.BiGAN:
    """Three MLPs; all read data in [0, 1] from their middle."""
    d, gaussian = flags.latent_dim, flags.encoder == "gaussian"
    last = jax.nn.sigmoid if len(shape) == 3 else None
    decoder = mlp(flags, (d,), shape, activation=jax.nn.relu, output_activation=last)
    joint = mlp(flags, (math.prod(shape) + d,), (), judge=True, activation=leaky_relu)

    def joined(x: Array, z: Array) -> tuple[Array]:
        return (jnp.concatenate([x.reshape(len(x), -1) - 0.5, z], axis=1),)

    return bigan.BiGAN(
        autoencoder.Autoencoder(
            networks.gaussian_heads(encoder(flags, shape)) if gaussian else encoder(flags, shape),
            decoder,
            SQUARED_ERROR,
            DIAGONAL_GAUSSIAN.mean if gaussian else None,
        ),
        networks.around(joint, inputs=joined),
        d,
        PRIORS[flags.prior],
        DIAGONAL_GAUSSIAN if gaussian else None,
    )


def features(flags: Flags, shape: tuple[int, ...]) -> Network:
    """The encoder up to its last hidden layer, with the encoder's params."""
    network = encoder(flags, shape, with_features=True)
    return Network(network.init, lambda params, x: network.apply(params, x)[0])


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the game and the model."""
    if dataset.train.x.ndim == 4:
        dataset.require_bounded("a generator of images", parameter="dataset")
    if flags.normalization != "none":
        gan_parts.check_batches(flags, dataset.train.x.shape[1:])
    gan_parts.check_penalty(flags, flags.penalty_weight > 0, "penalty_weight")
    parts = build_parts(flags, dataset.train.x.shape[1:])

    model = bigan.model(
        parts,
        gan_parts.unmoved(parts.autoencoder.decoder, runs.optimizer(flags, b1=flags.beta1, b2=flags.beta2)),
        gan_parts.unmoved(parts.discriminator, runs.optimizer(flags, b1=flags.beta1, b2=flags.beta2)),
        penalty=games.r1_of(flags),
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def monitor(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """How the encoder's features, its codes and their reconstructions stand."""
    parts, x = trained.parts, jnp.asarray(trained.examples.x)
    draw_key, prior_key = jax.random.split(trained.key)
    rebuilt = jax.jit(partial(autoencoder.reconstruct, parts=parts.autoencoder))(trained.params, x)

    def distance(a: Array, b: Array) -> float:
        return float(jnp.mean(jnp.sqrt(losses.squared_error(a, b))))

    found = {"reconstruction_distance": distance(rebuilt, x), "shuffled_distance": distance(rebuilt, jnp.roll(x, 1, 0))}
    codes = jax.jit(partial(bigan.draw_code, parts=parts))(trained.params, x, draw_key)
    found |= code_moments.prior_moments(codes, bigan.sample_prior(NUM_DRAWS, prior_key, parts=parts))
    own = features(flags, x.shape[1:])
    found |= neighbour_accuracy(flags, trained, jax.jit(lambda x: own.apply(trained.params["encoder"], x)))
    encode = jax.jit(lambda x: autoencoder.encode(trained.params, x, parts=parts.autoencoder))
    return found | neighbour_accuracy(flags, trained, encode, prefix="code_")


def neighbour_accuracy(
    flags: Flags, trained: runs.Trained, space: Callable[[Array], Array], *, prefix: str = ""
) -> dict[str, float]:
    """How often the class of a held-out example is that of its nearest training example in a space; {} without classes.

    Args:
      space: x [N, ...] -> [N, D] or data.
    """
    dataset = trained.dataset
    known, seen = dataset.train.sample(flags.num_known), dataset.test.sample(AT_MOST)
    of_known, of_seen = (dataset.classes(split) for split in (known, seen))
    if of_known is None or of_seen is None:
        return {}
    z, test_z = (
        np.asarray(space(jnp.asarray(dataset.scaled(split)))).reshape(len(split.x), -1) for split in (known, seen)
    )
    found = neighbours.knn_accuracy(z, of_known, test_z, of_seen, num_neighbours=1)
    return {f"{prefix}nearest_neighbour_accuracy": found}


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws samples, reconstructions and the map of the codes; measures neighbours in the data."""
    parts = trained.parts
    samples = sampling.draw(trained.model, trained.state, 100, trained.key)
    showing.save_samples(trained, samples, title="G(z) at z drawn from the prior")
    reconstruct = partial(autoencoder.reconstruct, parts=parts.autoencoder)
    showing.save_reconstructions(trained, reconstruct, title="reconstructions G(E(x)), which nothing was trained for")
    codes = jax.jit(partial(autoencoder.encode, parts=parts.autoencoder))(trained.params, trained.examples.x)
    pictures.save_latent_map(
        trained.workdir / "latent_map.png", codes, trained.classes, names=trained.dataset.class_names
    )
    return neighbour_accuracy(flags, trained, lambda x: x, prefix="pixel_")


def generator(flags: Flags, parts: bigan.BiGAN) -> runs.Generator:
    """How G makes new data, and E codes them."""

    def prior(params: Params, num: int, key: Key) -> Array:
        return bigan.sample_prior(num, key, parts=parts)

    return runs.Generator(
        partial(autoencoder.decode, parts=parts.autoencoder),
        parts.latent_dim,
        prior,
        encode=partial(bigan.draw_code, parts=parts),
    )


def applications_of(flags: Flags, parts: bigan.BiGAN) -> dict[str, runs.Application]:
    """Those of an autoencoder, and the features of the encoder's last hidden layer."""

    def hidden(params: Params, x: Array, key: Key) -> Array:
        return features(flags, x.shape[1:]).apply(params["encoder"], x)

    return {**applications.of_autoencoder(flags, parts.autoencoder), "features": runs.Application(hidden)}


EXPERIMENT = runs.Experiment(
    "bigan",
    Flags,
    build,
    summarise,
    watch=("discriminator_loss", "generator_loss"),
    resolve=resolve,
    monitor=monitor,
    codec=lambda parts: autoencoder.codec(parts.autoencoder),
    generator=generator,
    applications=applications_of,
    metrics=lambda flags: {"reconstruction_distance": runs.Metric("", "lower")},
    headline=(
        "nearest_neighbour_accuracy",
        "code_nearest_neighbour_accuracy",
        "pixel_nearest_neighbour_accuracy",
        "reconstruction_distance",
        "shuffled_distance",
        "prior_moment_mean",
        "prior_moment_second",
    ),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
