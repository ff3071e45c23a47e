"""An autoencoder on images, plain or regularised (Hinton & Salakhutdinov 2006), beside PCA of as many dimensions.

    python -m experiments.autoencoder --latent_dim=2
    python -m experiments.autoencoder --dataset=mnist --data_dir=DIR --network=convolutional --contractive=0.1
    python -m experiments.autoencoder --latent_dim=256 --overcomplete --hidden= --activation=relu --code=k_sparse

It leaves reconstructions, the map of the codes and that of the principal components. Held out, on digits, for 2, 4, 8
and 16 dimensions in half a minute each: 15.1, 17.1, 19.6, 22.7 dB; PCA has 12.8, 14.2, 16.2, 19.4.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments import common, training
from genjax import data, networks
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import images, linear
from genjax.losses import CROSS_ENTROPY, SQUARED_ERROR
from genjax.models import autoencoder
from genjax.types import Array, Model, Params


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=3000, batch_size=128, learning_rate=1e-3, eval_every=500)
    flags.DEFINE_enum("network", "mlp", ["mlp", "convolutional"], "encoder and decoder")
    flags.DEFINE_list("hidden", ["256", "128"], "widths of the MLP encoder's hidden layers; the decoder mirrors them")
    flags.DEFINE_list("features", ["32", "64"], "channels of the convolutional encoder; the decoder mirrors them")
    flags.DEFINE_enum("activation", "silu", ["relu", "silu", "tanh", "sigmoid"], "of the hidden layers")
    flags.DEFINE_integer("latent_dim", 8, "dimensions of z", lower_bound=1)
    flags.DEFINE_bool("overcomplete", False, "allow as many dimensions of z as of x, or more")
    flags.DEFINE_enum("reconstruction", "cross_entropy", ["cross_entropy", "squared_error"], "loss")
    flags.DEFINE_enum(
        "code", "linear", ["linear", "sigmoid", "k_sparse", "hard", "soft", "group"], "what follows the encoder"
    )
    flags.DEFINE_integer("active_units", 16, "of a k_sparse code", lower_bound=1)
    flags.DEFINE_float("threshold", 0.1, "of a hard, soft or group code", lower_bound=0.0)
    flags.DEFINE_integer("group_size", 4, "of a group code", lower_bound=1)
    flags.DEFINE_float("weight_l1", 0.0, "lambda of sum |W_ij|", lower_bound=0.0)
    flags.DEFINE_float("weight_l2", 0.0, "lambda of 1/2 sum W_ij^2", lower_bound=0.0)
    flags.DEFINE_float("code_l1", 0.0, "lambda of 1/2 sum |z_j|; gives the decoder rows of norm 1", lower_bound=0.0)
    flags.DEFINE_float("code_kl", 0.0, "lambda of sum KL(rate || mean z_j), with --code=sigmoid", lower_bound=0.0)
    flags.DEFINE_float("code_rate", 0.05, "rho, the rate that code_kl aims at", lower_bound=1e-6, upper_bound=1 - 1e-6)
    flags.DEFINE_float("contractive", 0.0, "lambda of ||dz/dx||^2", lower_bound=0.0)


ACTIVATIONS = {"relu": jax.nn.relu, "silu": jax.nn.silu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}
RECONSTRUCTIONS = {"cross_entropy": CROSS_ENTROPY, "squared_error": SQUARED_ERROR}
FIRST_LAYER = {"mlp": "layer_1", "convolutional": "dense"}  # of the decoder


def build_parts(config: common.Config, dataset: data.Dataset) -> autoencoder.Autoencoder:
    """The networks, code and reconstruction that the flags name."""
    image_shape = dataset.train.x.shape[1:]
    dim, activation = config.latent_dim, ACTIVATIONS[config.activation]
    if config.network == "mlp":
        hidden = common.widths(config, "hidden")
        encoder = networks.mlp(image_shape, (dim,), hidden=hidden, activation=activation)
        decoder = networks.mlp((dim,), image_shape, hidden=hidden[::-1], activation=activation)
    else:
        features = common.widths(config, "features")
        encoder = networks.convolutional_encoder(image_shape, (dim,), features=features, activation=activation)
        decoder = networks.convolutional_decoder(dim, image_shape, features=features, activation=activation)
    if config.code_l1:
        decoder = networks.unit_norm_rows(decoder, layer=FIRST_LAYER[config.network])
    code = {
        "linear": autoencoder.identity,
        "sigmoid": jax.nn.sigmoid,
        "k_sparse": partial(networks.k_sparse, k=config.active_units),
        "hard": partial(networks.hard_threshold, threshold=config.threshold),
        "soft": partial(networks.soft_threshold, threshold=config.threshold),
        "group": partial(networks.group_threshold, threshold=config.threshold, group_size=config.group_size),
    }[config.code]
    return autoencoder.Autoencoder(encoder, decoder, RECONSTRUCTIONS[config.reconstruction], code)


def check_flags(config: common.Config, pixels: int) -> None:
    """Refuses flags that contradict each other, or the data."""
    if config.latent_dim >= pixels and not config.overcomplete:
        raise BadInput(
            f"--latent_dim={config.latent_dim}: the data have {pixels} dimensions, so this is no bottleneck; give "
            "fewer, or --overcomplete"
        )
    if config.code == "k_sparse" and config.active_units > config.latent_dim:
        raise BadInput(
            f"--active_units={config.active_units}: the code has {config.latent_dim} units; give at most that"
        )
    if config.code == "group" and config.latent_dim % config.group_size:
        raise BadInput(
            f"--group_size={config.group_size}: a code of {config.latent_dim} units has no such groups; give a divisor"
        )
    if config.code_kl and config.code != "sigmoid":
        raise BadInput(f"--code_kl={config.code_kl}: a {config.code} code has no rates in (0, 1); give --code=sigmoid")


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    image_shape = dataset.train.x.shape[1:]
    check_flags(config, math.prod(image_shape))
    parts = build_parts(config, dataset)
    penalties = [
        autoencoder.weight_l1_penalty(config.weight_l1),
        autoencoder.weight_l2_penalty(config.weight_l2),
        autoencoder.code_l1_penalty(config.code_l1),
        autoencoder.code_kl_penalty(config.code_kl, rate=config.code_rate),
        autoencoder.contractive_penalty(config.contractive),
    ]
    objective = autoencoder.objective(parts, penalties=[penalty for penalty in penalties if penalty.weight])
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.num_steps)
    return autoencoder.model(parts, optax.adam(schedule), objective, reduction=config.reduction)


def visualisation(train_z: Array, train: data.Split, z: Array, x: Array, label: Array | None) -> dict[str, float]:
    """How faithful a map of codes is: whose neighbours in z are neighbours in x, and of what class they are."""
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = min(12, (len(x) - 1) // 2)
    measured = {"trustworthiness": trustworthiness(np.reshape(x, (len(x), -1)), np.asarray(z), n_neighbors=neighbours)}
    if label is not None and train.label is not None:
        nearest = KNeighborsClassifier(min(5, len(train_z))).fit(np.asarray(train_z), train.label[: len(train_z)])
        measured["nearest_neighbour_accuracy"] = nearest.score(np.asarray(z), np.asarray(label))
    return {name: round(float(value), 4) for name, value in measured.items()}


def measure(
    finished: common.Finished, params: Params, parts: autoencoder.Autoencoder
) -> tuple[Array, Array, dict[str, float]]:
    """Codes and reconstructions of the held-out examples, and how good they are; the PSNR is of all together."""
    dataset, (x, label) = finished.dataset, finished.examples
    encode = jax.jit(partial(autoencoder.encode, parts=parts))
    z, reconstructions = encode(params, x), jax.jit(partial(autoencoder.reconstruct, parts=parts))(params, x)
    train_z = encode(params, jnp.asarray(dataset.train.x[:10_000], jnp.float32) / dataset.scale)
    psnr = round(float(images.set_psnr(reconstructions, x)), 4)
    return z, reconstructions, {"psnr": psnr} | visualisation(train_z, dataset.train, z, x, label)


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Writes originals over reconstructions and the maps of the held-out codes; measures both beside PCA."""
    (x, label), dataset, workdir, columns = finished.examples, finished.dataset, finished.workdir, 10
    z, reconstructions, measured = measure(finished, finished.state.params, build_parts(config, finished.dataset))
    pairs = pictures.interleave_rows(x[: 5 * columns], reconstructions[: 5 * columns], columns=columns)
    pictures.save_grid(workdir / "reconstructions.png", pairs, columns=columns)
    pictures.save_latent_map(workdir / "latent_map.png", z, label)
    if config.latent_dim >= min(len(dataset.train.x), math.prod(x.shape[1:])):
        return measured  # PCA would be the identity

    linear_parts = autoencoder.Autoencoder(
        networks.mlp(x.shape[1:], (config.latent_dim,), hidden=(), activation=jax.nn.relu),
        networks.mlp((config.latent_dim,), x.shape[1:], hidden=(), activation=jax.nn.relu),
        SQUARED_ERROR,
    )
    train_x = jnp.asarray(dataset.train.x, jnp.float32) / dataset.scale
    components = linear.pca(train_x, latent_dim=config.latent_dim)
    z, _, baseline = measure(finished, components, linear_parts)
    pictures.save_latent_map(workdir / "pca_latent_map.png", z, label)
    return measured | {f"pca_{name}": value for name, value in baseline.items()}


EXPERIMENT = common.Experiment(
    "autoencoder", define_flags, build, conclude, watch=("reconstruction_loss",), parts=build_parts
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
