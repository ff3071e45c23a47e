"""A variational autoencoder on images (Kingma & Welling 2014).

    python -m experiments.vae
    python -m experiments.vae --dataset=mnist --data_dir=DIR --binarize=dynamic --latent_dim=20 --num_steps=4680

It leaves reconstructions, prior samples, the latent map and learning curves beside the run's metrics.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import optax
from absl import flags

from experiments import common
from genjax import data, networks
from genjax.losses import BERNOULLI, GAUSSIAN, gaussian
from genjax.models import vae
from genjax.training import pictures
from genjax.types import Model, Network

FLAGS = flags.FLAGS

common.define_flags(num_steps=3000, batch_size=128, learning_rate=1e-3, eval_every=500)
flags.DEFINE_enum("network", "mlp", ["mlp", "convolutional"], "encoder and decoder")
flags.DEFINE_list("hidden", ["500"], "widths of the MLP encoder's hidden layers; the decoder mirrors them")
flags.DEFINE_list("features", ["32", "64"], "channels of the convolutional encoder; the decoder mirrors them")
flags.DEFINE_enum("activation", "relu", ["relu", "tanh", "sigmoid"], "of the hidden layers")
flags.DEFINE_integer("latent_dim", 8, "dimensions of z", lower_bound=1)
flags.DEFINE_enum("likelihood", "bernoulli", ["bernoulli", "gaussian", "learned_gaussian"], "p(x|z)")
flags.DEFINE_float("variance", 0.05, "of the gaussian likelihood; where the learned one starts", lower_bound=1e-6)
flags.DEFINE_float("rate_weight", 1.0, "lambda_1: weight of the KL divergence; the beta of a beta-VAE", lower_bound=0.0)
flags.DEFINE_float("distortion_weight", 1.0, "lambda_2: weight of the reconstruction", lower_bound=0.0)

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh, "sigmoid": jax.nn.sigmoid}


def build_networks(image_shape: tuple[int, ...]) -> tuple[Network, Network]:
    """Encoder and decoder as the flags say, before the likelihood's own parameters."""
    activation = ACTIVATIONS[FLAGS.activation]
    if FLAGS.network == "mlp":
        hidden = common.widths("hidden")
        encoder = networks.mlp(image_shape, (2 * FLAGS.latent_dim,), hidden=hidden, activation=activation)
        decoder = networks.mlp((FLAGS.latent_dim,), image_shape, hidden=hidden[::-1], activation=activation)
    else:
        features = common.widths("features")
        encoder = networks.convolutional_encoder(
            image_shape, (2 * FLAGS.latent_dim,), features=features, activation=activation
        )
        decoder = networks.convolutional_decoder(
            FLAGS.latent_dim, image_shape, features=features, activation=activation
        )
    return networks.gaussian_heads(encoder), decoder


def build_parts(image_shape: tuple[int, ...]) -> vae.VAE:
    """The networks and likelihood that the flags name."""
    encoder, decoder = build_networks(image_shape)
    if FLAGS.likelihood == "learned_gaussian":
        decoder = networks.with_log_variance(decoder, initial=float(np.log(FLAGS.variance)))
    likelihood = {
        "bernoulli": BERNOULLI,
        "gaussian": gaussian(variance=FLAGS.variance),
        "learned_gaussian": GAUSSIAN,
    }[FLAGS.likelihood]
    return vae.VAE(encoder, decoder, likelihood, FLAGS.latent_dim)


def build(dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    parts = build_parts(dataset.train.x.shape[1:])
    objective = vae.objective(parts, rate_weight=FLAGS.rate_weight, distortion_weight=FLAGS.distortion_weight)
    return vae.model(parts, optax.adam(FLAGS.learning_rate), objective)


def conclude(finished: common.Finished) -> dict[str, float]:
    """Writes originals over reconstructions, prior samples, and the map of the held-out codes."""
    params, x, workdir = finished.state.params, finished.examples.x, finished.workdir
    parts, columns = build_parts(x.shape[1:]), 10
    originals = x[: 5 * columns]
    reconstructions = jax.jit(partial(vae.reconstruct, parts=parts))(params, originals)
    pairs = pictures.interleave_rows(originals, reconstructions, columns=columns)
    pictures.save_grid(workdir / "reconstructions.png", pairs, columns=columns)
    z = jax.random.normal(finished.key, (columns * columns, parts.latent_dim))
    samples = jax.jit(partial(vae.decode, parts=parts))(params, z)
    pictures.save_grid(workdir / "samples.png", samples, columns=columns)
    mean, _ = jax.jit(partial(vae.encode, parts=parts))(params, x)
    pictures.save_latent_map(workdir / "latent_map.png", mean, finished.examples.label)
    return {}


if __name__ == "__main__":
    common.main(common.Experiment("vae", build, conclude, watch=("negative_elbo", "distortion", "rate")))
