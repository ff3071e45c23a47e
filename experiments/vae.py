"""A variational autoencoder on images (Kingma & Welling 2014).

    python -m experiments.vae
    python -m experiments.vae --dataset=mnist --data_dir=DIR --binarize=dynamic --latent_dim=20 --num_steps=4680
    python -m experiments.vae --likelihood=learned_gaussian --num_importance_samples=2000 --num_steps=6000

It writes reconstructions, samples from the prior, the latent map and learning curves to the run directory.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

from experiments import applications
from genjax import data, networks, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import likelihood
from genjax.gradients import Objective, Reduction
from genjax.losses import (
    BERNOULLI,
    GAUSSIAN,
    Likelihood,
    binomial_likelihood,
    discretized_logistic_likelihood,
    gaussian_likelihood,
)
from genjax.models import descent, importance_weighted, vae
from genjax.runs import flag, showing
from genjax.types import Array, Key, Network, Params

LIKELIHOODS = ("bernoulli", "binomial", "gaussian", "learned_gaussian", "discretized_logistic")


class Flags(runs.Flags):
    """Variational autoencoder."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    network: str = flag("mlp", "architecture of the encoder and the decoder", choices=("mlp", "convolutional"))
    hidden: tuple[int, ...] = flag(
        (500,), "widths of the MLP encoder's hidden layers; the decoder mirrors them", at_least=1, may_be_empty=True
    )
    features: tuple[int, ...] = flag(
        (32, 64), "channels of the convolutional encoder; the decoder mirrors them", at_least=1
    )
    activation: str = flag("relu", "activation of the hidden layers", choices=networks.ACTIVATIONS)
    latent_dim: int = flag(8, "number of latent dimensions", at_least=1)
    likelihood: str = flag(
        "bernoulli", "likelihood p(x|z); the scale of the discretized logistic is learned", choices=LIKELIHOODS
    )
    num_levels: int = flag(
        17, "number of grey levels of a discrete likelihood: 17 for digits, 256 for bytes", at_least=2, at_most=2**16
    )
    variance: float = flag(
        0.05, "variance of the Gaussian likelihood; initial variance of a learned one", at_least=1e-6
    )
    rate_weight: float = flag(1.0, "weight of the KL divergence: the beta of a beta-VAE", at_least=0)
    distortion_weight: float = flag(1.0, "weight of the reconstruction term", at_least=0)
    warm_up_steps: int = flag(
        0, "number of updates over which the weight of the KL divergence rises from 0", at_least=0
    )
    free_bits: float = flag(0.0, "KL divergence per latent dimension that is not penalised, in nats", at_least=0)
    num_importance_samples: int = flag(
        0,
        "number of importance samples for the held-out likelihood, compared with PCA; 0 to skip it",
        at_least=0,
        at_most=10**8,
    )


def build_networks(flags: Flags, shape: tuple[int, ...]) -> tuple[Network, Network]:
    """Encoder and decoder, before the likelihood's own parameters."""
    activation = networks.ACTIVATIONS[flags.activation]
    if flags.network == "mlp":
        encoder = networks.mlp(shape, (2 * flags.latent_dim,), hidden=flags.hidden, activation=activation)
        decoder = networks.mlp((flags.latent_dim,), shape, hidden=flags.hidden[::-1], activation=activation)
    else:
        encoder = networks.convolutional_encoder(
            shape, (2 * flags.latent_dim,), features=flags.features, activation=activation
        )
        decoder = networks.convolutional_decoder(
            flags.latent_dim, shape, features=flags.features, activation=activation
        )
    return networks.gaussian_heads(encoder), decoder


def build_likelihood(flags: Flags, decoder: Network) -> tuple[Network, Likelihood]:
    """The likelihood, and the decoder with the parameters that it learns."""
    if flags.likelihood == "bernoulli":
        return decoder, BERNOULLI
    if flags.likelihood == "binomial":
        return decoder, binomial_likelihood(num_trials=flags.num_levels - 1)
    if flags.likelihood == "gaussian":
        return decoder, gaussian_likelihood(variance=flags.variance)
    if flags.likelihood == "learned_gaussian":
        return networks.with_log_variance(decoder, initial=math.log(flags.variance)), GAUSSIAN
    # a logistic density of scale s has variance (pi s)^2 / 3
    log_scale = 0.5 * math.log(3 * flags.variance) - math.log(math.pi)
    decoder = networks.with_log_variance(decoder, initial=log_scale)
    return decoder, discretized_logistic_likelihood(num_levels=flags.num_levels)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the objective and the model."""
    if flags.likelihood in ("binomial", "discretized_logistic") and dataset.scale != flags.num_levels - 1:
        raise BadInput(
            f"{dataset.name} has {dataset.scale + 1:g} grey levels, not {flags.num_levels}", parameter="num_levels"
        )
    if flags.likelihood in ("bernoulli", "binomial", "discretized_logistic"):
        dataset.require_bounded(f"the likelihood {flags.likelihood}", parameter="likelihood")
    encoder, decoder = build_networks(flags, dataset.train.x.shape[1:])
    parts = vae.VAE(encoder, *build_likelihood(flags, decoder), flags.latent_dim)

    def objective(rate_weight: Any) -> Objective:
        return vae.objective(
            parts, rate_weight=rate_weight, distortion_weight=flags.distortion_weight, free_bits=flags.free_bits
        )

    scheduled: Objective | descent.Scheduled = objective(flags.rate_weight)
    if flags.warm_up_steps:
        warm_up = optax.linear_schedule(0.0, flags.rate_weight, flags.warm_up_steps)
        scheduled = descent.Scheduled(lambda step: objective(warm_up(step)))
    optimizer = runs.optimizer(flags)
    model = vae.model(parts, optimizer, scheduled, averaging=flags.averaging or None, reduction=reduction)
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws reconstructions, samples from the prior and the map of the held-out codes."""
    params, parts, dataset = trained.params, trained.parts, trained.dataset
    title = "reconstructions, E[x|z] at the mean of q(z|x)"
    showing.save_reconstructions(trained, partial(vae.reconstruct, parts=parts), title=title)
    z = jax.random.normal(trained.key, (100, parts.latent_dim))
    samples = jax.jit(partial(vae.decode, parts=parts))(params, z)
    showing.save_samples(trained, samples, title="E[x|z] at z drawn from N(0, I)")
    mean, _ = jax.jit(partial(vae.encode, parts=parts))(params, trained.examples.x)
    labels, names = trained.classes, dataset.class_names
    pictures.save_latent_map(trained.workdir / "latent_map.png", mean, labels, names=names)
    return measure_likelihood(flags, trained) if flags.num_importance_samples else {}


def measure_likelihood(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """The negative log-likelihood of held-out examples, beside that of probabilistic PCA for a Gaussian density."""
    x, dataset, parts = trained.examples.x, trained.dataset, trained.parts

    @jax.jit
    def estimate(params: Params, x: Array, key: Key) -> likelihood.Estimate:
        log_weight = importance_weighted.importance_sampler(params, x, parts=parts)
        return likelihood.log_likelihood(log_weight, key, num_samples=flags.num_importance_samples)

    found = [
        estimate(trained.params, x[start : start + 100], jax.random.fold_in(trained.key, start))
        for start in range(0, len(x), 100)
    ]
    value, error = (np.concatenate(each) for each in zip(*found, strict=True))
    measured = {
        "negative_log_likelihood": -float(value.mean()),
        "negative_log_likelihood_error": float(np.sqrt(np.sum(error**2)) / len(x)),
    }
    if flags.likelihood in ("gaussian", "learned_gaussian") and flags.latent_dim < math.prod(x.shape[1:]):
        from sklearn.decomposition import PCA

        train = dataset.train.x.reshape(len(dataset.train.x), -1) / dataset.scale
        # Tipping & Bishop 1999: scikit-learn's score is the exact likelihood of probabilistic PCA
        pca = PCA(flags.latent_dim, svd_solver="full").fit(train)
        measured["ppca_negative_log_likelihood"] = -float(pca.score(np.reshape(x, (len(x), -1))))
    return measured


EXPERIMENT = runs.Experiment(
    "vae",
    Flags,
    build,
    summarise,
    watch=("negative_elbo", "distortion", "rate"),
    codec=vae.codec,
    applications=applications.of_vae,
    generator=applications.vae_generator,
    metrics=lambda flags: {"loss": runs.Metric("nats", "lower")},
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
