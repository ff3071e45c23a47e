"""A variational autoencoder on images (Kingma & Welling 2014).

    python -m experiments.vae
    python -m experiments.vae --dataset=mnist --data_dir=DIR --binarize=dynamic --latent_dim=20 --num_steps=4680
    python -m experiments.vae --likelihood=learned_gaussian --num_importance_samples=2000 --num_steps=6000

It leaves reconstructions, prior samples, the latent map and learning curves beside the run's metrics.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from absl import flags

from experiments import common, training
from genjax import data, gradients, networks
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import likelihood
from genjax.losses import BERNOULLI, GAUSSIAN, binomial_likelihood, discretized_logistic_likelihood, gaussian_likelihood
from genjax.models import descent, vae
from genjax.types import Array, Key, Model, Network, Params


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=3000, batch_size=128, learning_rate=1e-3, eval_every=500)
    flags.DEFINE_enum("network", "mlp", ["mlp", "convolutional"], "encoder and decoder")
    flags.DEFINE_list("hidden", ["500"], "widths of the MLP encoder's hidden layers; the decoder mirrors them")
    flags.DEFINE_list("features", ["32", "64"], "channels of the convolutional encoder; the decoder mirrors them")
    flags.DEFINE_enum("activation", "relu", ["relu", "tanh", "sigmoid"], "of the hidden layers")
    flags.DEFINE_integer("latent_dim", 8, "dimensions of z", lower_bound=1)
    flags.DEFINE_enum(
        "likelihood",
        "bernoulli",
        ["bernoulli", "binomial", "gaussian", "learned_gaussian", "discretized_logistic"],
        "p(x|z); of the discretized logistic the scale is learned",
    )
    flags.DEFINE_integer("num_levels", 17, "grey levels of a discrete likelihood: digits 17, bytes 256", lower_bound=2)
    flags.DEFINE_float("variance", 0.05, "of the gaussian likelihood; where a learned one starts", lower_bound=1e-6)
    flags.DEFINE_float(
        "rate_weight", 1.0, "lambda_1: weight of the KL divergence; the beta of a beta-VAE", lower_bound=0.0
    )
    flags.DEFINE_float("distortion_weight", 1.0, "lambda_2: weight of the reconstruction", lower_bound=0.0)
    flags.DEFINE_integer("warm_up_steps", 0, "updates in which rate_weight grows from 0 to its value", lower_bound=0)
    flags.DEFINE_float("free_bits", 0.0, "nats of rate that each latent dimension has for nothing", lower_bound=0.0)
    flags.DEFINE_integer(
        "num_importance_samples",
        0,
        "measure the held-out likelihood by so many samples, beside that of PCA",
        lower_bound=0,
    )


ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh, "sigmoid": jax.nn.sigmoid}


def build_networks(config: common.Config, image_shape: tuple[int, ...]) -> tuple[Network, Network]:
    """Encoder and decoder as the flags say, before the likelihood's own parameters."""
    activation = ACTIVATIONS[config.activation]
    if config.network == "mlp":
        hidden = common.widths(config, "hidden")
        encoder = networks.mlp(image_shape, (2 * config.latent_dim,), hidden=hidden, activation=activation)
        decoder = networks.mlp((config.latent_dim,), image_shape, hidden=hidden[::-1], activation=activation)
    else:
        features = common.widths(config, "features")
        encoder = networks.convolutional_encoder(
            image_shape, (2 * config.latent_dim,), features=features, activation=activation
        )
        decoder = networks.convolutional_decoder(
            config.latent_dim, image_shape, features=features, activation=activation
        )
    return networks.gaussian_heads(encoder), decoder


def build_parts(config: common.Config, dataset: data.Dataset) -> vae.VAE:
    """The networks and likelihood that the flags name."""
    image_shape = dataset.train.x.shape[1:]
    encoder, decoder = build_networks(config, image_shape)
    if config.likelihood == "learned_gaussian":
        decoder = networks.with_log_variance(decoder, initial=math.log(config.variance))
    elif config.likelihood == "discretized_logistic":
        # a logistic of scale s has the variance (pi s)^2 / 3
        decoder = networks.with_log_variance(decoder, initial=0.5 * math.log(3 * config.variance) - math.log(math.pi))
    density = {
        "bernoulli": lambda: BERNOULLI,
        "binomial": lambda: binomial_likelihood(num_trials=config.num_levels - 1),
        "gaussian": lambda: gaussian_likelihood(variance=config.variance),
        "learned_gaussian": lambda: GAUSSIAN,
        "discretized_logistic": lambda: discretized_logistic_likelihood(num_levels=config.num_levels),
    }[config.likelihood]()
    return vae.VAE(encoder, decoder, density, config.latent_dim)


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    if config.likelihood in ("binomial", "discretized_logistic") and dataset.scale != config.num_levels - 1:
        raise BadInput(
            f"--num_levels={config.num_levels}: {dataset.name} has {dataset.scale + 1:g} grey levels; "
            f"give --num_levels={dataset.scale + 1:g}"
        )
    parts = build_parts(config, dataset)

    def objective(rate_weight: Any) -> gradients.Objective:
        return vae.objective(
            parts, rate_weight=rate_weight, distortion_weight=config.distortion_weight, free_bits=config.free_bits
        )

    optimizer = optax.adam(config.learning_rate)
    if not config.warm_up_steps:
        return vae.model(parts, optimizer, objective(config.rate_weight), reduction=config.reduction)
    warm_up = optax.linear_schedule(0.0, config.rate_weight, config.warm_up_steps)
    return vae.model(
        parts, optimizer, descent.Scheduled(lambda step: objective(warm_up(step))), reduction=config.reduction
    )


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Writes originals over reconstructions, prior samples, and the map of the held-out codes."""
    params, x, workdir = finished.state.params, finished.examples.x, finished.workdir
    parts, columns = build_parts(config, finished.dataset), 10
    originals = x[: 5 * columns]
    reconstructions = jax.jit(partial(vae.reconstruct, parts=parts))(params, originals)
    pairs = pictures.interleave_rows(originals, reconstructions, columns=columns)
    pictures.save_grid(workdir / "reconstructions.png", pairs, columns=columns)
    z = jax.random.normal(finished.key, (columns * columns, parts.latent_dim))
    samples = jax.jit(partial(vae.decode, parts=parts))(params, z)
    pictures.save_grid(workdir / "samples.png", samples, columns=columns)
    mean, _ = jax.jit(partial(vae.encode, parts=parts))(params, x)
    pictures.save_latent_map(workdir / "latent_map.png", mean, finished.examples.label)
    return measure_likelihood(config, finished, parts) if config.num_importance_samples else {}


def measure_likelihood(config: common.Config, finished: common.Finished, parts: vae.VAE) -> dict[str, float]:
    """The held-out examples' negative log-likelihood, beside the exact one of probabilistic PCA as a density."""
    x, dataset = finished.examples.x, finished.dataset

    @jax.jit
    def estimate(params: Params, x: Array, key: Key) -> likelihood.Estimate:
        log_weight = vae.importance_sampler(params, x, parts=parts)
        return likelihood.log_likelihood(log_weight, key, num_samples=config.num_importance_samples)

    found = [
        estimate(finished.state.params, x[start : start + 100], jax.random.fold_in(finished.key, start))
        for start in range(0, len(x), 100)
    ]
    value, error = (np.concatenate(each) for each in zip(*found, strict=True))
    measured = {
        "negative_log_likelihood": -float(value.mean()),
        "negative_log_likelihood_error": float(np.sqrt(np.sum(error**2)) / len(x)),
    }
    if config.likelihood in ("gaussian", "learned_gaussian") and config.latent_dim < math.prod(x.shape[1:]):
        from sklearn.decomposition import PCA

        train = dataset.train.x.reshape(len(dataset.train.x), -1) / dataset.scale
        # Tipping & Bishop 1999: scikit-learn's score is the exact likelihood of probabilistic PCA
        pca = PCA(config.latent_dim, svd_solver="full").fit(train)
        measured["ppca_negative_log_likelihood"] = -float(pca.score(np.reshape(x, (len(x), -1))))
    return measured


EXPERIMENT = common.Experiment(
    "vae", define_flags, build, conclude, watch=("negative_elbo", "distortion", "rate"), parts=build_parts
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
