"""A variational autoencoder on images (Kingma & Welling 2014).

    python -m experiments.vae
    python -m experiments.vae --dataset=mnist --data_dir=DIR --binarize=dynamic --latent_dim=20 --num_steps=4680
    python -m experiments.vae --likelihood=learned_gaussian --num_importance_samples=2000 --num_steps=6000
    python -m experiments.vae --prior=vamp --num_components=100
    python -m experiments.vae --conditional --prior=class
    python -m experiments.vae --posterior=categorical --latent_dim=80
    python -m experiments.vae --regularizer=mmd --regularizer_weight=1000 --rate_weight=0
    python -m experiments.vae --dataset=table:people.csv --column_kinds=visits=count --likelihood=learned_columns
    python -m experiments.vae --dataset=sprites --regularizer=total_correlation --regularizer_weight=5

It writes reconstructions, samples from the prior, the latent map and learning curves to the run directory.

--prior and --posterior choose the densities of the codes: a learned mixture of Gaussians or a VampPrior (Tomczak &
Welling 2018), whose components are drawn in components.png; a posterior of any covariance; a von Mises-Fisher
posterior, whose codes are unit vectors (Davidson et al. 2018); categorical variables, relaxed in training at a falling
temperature and drawn exactly in evaluation (Jang et al. 2017). With --conditional, encoder and decoder take the label
too (Sohn, Lee & Yan 2015): the bound is then one of log p(x|y), samples are drawn for each class, and class_accuracy is
how often a classifier of the same data (`experiments.reference_classifier`) finds the class that was asked for, in 1000
samples.

On a table (`genjax.data.table`) --likelihood=columns gives every column a density of its own: a Gaussian of
standardised numbers, a categorical distribution of categories, and a Poisson distribution of counts; with
learned_columns each number has a learned variance, and each count a learned dispersion (negative binomial). Samples
from the model are in samples.csv, in the table's own units. The run keeps how the columns were standardised, and `apply
--to=scores` or `--to=contributions`, which are -log p(x|z) by column, takes new rows in these units.

With --num_annealing_steps, the likelihood is measured by annealed importance sampling, and that of draws of the model
from both sides: see `experiments.annealed_bounds`.

The runs of published likelihoods are those of `experiments.reproduction`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import optax

from experiments import annealed_bounds, applications, held_out_likelihood, latent_parts, regularizers, table_columns
from experiments.latent_posteriors import in_training
from genjax import data, networks, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.gradients import Objective, Reduction
from genjax.losses import (
    BERNOULLI,
    GAUSSIAN,
    Likelihood,
    binomial_likelihood,
    discretized_logistic_likelihood,
    gaussian_likelihood,
)
from genjax.models import descent, vae
from genjax.runs import flag
from genjax.types import Network

LIKELIHOODS = (
    "bernoulli",
    "binomial",
    "gaussian",
    "learned_gaussian",
    "discretized_logistic",
    "columns",
    "learned_columns",
)


class Flags(annealed_bounds.Flags, regularizers.Flags, latent_parts.Flags, runs.Flags):
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
    activation: str = flag(
        "relu",
        "activation of the hidden layers; glu, gated linear units, halves their widths",
        choices=networks.ACTIVATIONS,
    )
    latent_dim: int = flag(8, "number of latent dimensions", at_least=1)
    likelihood: str = flag(
        "bernoulli",
        "likelihood p(x|z); the scale of the discretized logistic is learned; columns are those of a table",
        choices=LIKELIHOODS,
    )
    num_levels: int = flag(
        17, "number of grey levels of a discrete likelihood: 17 for digits, 256 for bytes", at_least=2, at_most=2**16
    )
    variance: float = flag(
        0.05, "variance of the Gaussian likelihood; initial variance, or dispersion, of a learned one", at_least=1e-6
    )
    rate_weight: float = flag(1.0, "weight of the KL divergence: the beta of a beta-VAE", at_least=0)
    distortion_weight: float = flag(1.0, "weight of the reconstruction term", at_least=0)
    warm_up_steps: int = flag(
        0, "number of updates over which the weight of the KL divergence rises from 0", at_least=0
    )
    free_bits: float = flag(0.0, "KL divergence per latent dimension that is not penalised, in nats", at_least=0)
    num_importance_samples: int = flag(
        0,
        "number of importance samples for the likelihood of the test split, compared with PCA; 0 to skip it",
        at_least=0,
        at_most=10**8,
    )


def build_networks(flags: Flags, shapes: latent_parts.Shapes) -> tuple[Network, Network]:
    """Encoder and decoder, before the heads and the likelihood's own parameters."""
    activation, outputs = networks.ACTIVATIONS[flags.activation], (shapes.outputs,)
    if flags.network == "mlp":
        return (
            networks.mlp(shapes.x, outputs, hidden=flags.hidden, activation=activation),
            networks.mlp((shapes.codes,), shapes.decoded, hidden=flags.hidden[::-1], activation=activation),
        )
    return (
        networks.convolutional_encoder(shapes.x, outputs, features=flags.features, activation=activation),
        networks.convolutional_decoder(shapes.codes, shapes.decoded, features=flags.features, activation=activation),
    )


def build_likelihood(flags: Flags, dataset: data.Dataset, decoder: Network) -> tuple[Network, Likelihood]:
    """The likelihood, and the decoder with the parameters that it learns."""
    if flags.likelihood in ("columns", "learned_columns"):
        known = table_columns.require(dataset, f"the likelihood {flags.likelihood}", parameter="likelihood")
        learned = flags.likelihood == "learned_columns"
        return table_columns.build_likelihood(known, decoder, variance=flags.variance, learned=learned)
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
    if flags.network == "convolutional":
        dataset.require_images("a convolutional network", parameter="network")
    annealed_bounds.check(flags)
    make, likelihood = partial(build_networks, flags), partial(build_likelihood, flags, dataset)
    parts = latent_parts.build(flags, dataset, make, likelihood, flat=flags.network == "mlp")

    penalties = regularizers.penalties(flags, dataset, parts)
    if flags.regularizer == "factor":
        return runs.Built(regularizers.build_factor_vae(flags, parts, reduction), parts)

    def objective(parts: vae.VAE, rate_weight: Any) -> Objective:
        return vae.objective(
            parts,
            rate_weight=rate_weight,
            distortion_weight=flags.distortion_weight,
            free_bits=flags.free_bits,
            penalties=penalties,
        )

    rate_weight = optax.constant_schedule(flags.rate_weight)
    if flags.warm_up_steps:
        rate_weight = optax.linear_schedule(0.0, flags.rate_weight, flags.warm_up_steps)
    model = vae.model(
        parts,
        runs.optimizer(flags),
        descent.Scheduled(lambda step: objective(in_training(flags, parts, step), rate_weight(step))),
        evaluation=descent.Scheduled(lambda step: objective(parts, rate_weight(step))),
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws reconstructions, samples from the prior and the map of the held-out codes; measures samples of classes."""
    z = latent_parts.save_pictures(flags, trained, trained.key)
    if trained.parts.likelihood.terms is not None:
        table_columns.save_samples(trained)
    labels, names = trained.classes, trained.dataset.class_names
    pictures.save_latent_map(trained.workdir / "latent_map.png", z, labels, names=names)
    measured = measure_likelihood(flags, trained) if flags.num_importance_samples else {}
    return measured | annealed_bounds.measure(flags, trained) | latent_parts.class_accuracy(trained)


def measure_likelihood(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """The negative log-likelihood of all held-out examples, beside that of probabilistic PCA for a Gaussian density."""
    dataset = trained.dataset
    measured = held_out_likelihood.by_importance(
        partial(latent_parts.importance_sampler, parts=trained.parts),
        trained,
        trained.key,
        num_samples=flags.num_importance_samples,
        binarize=flags.binarize,
    )
    is_gaussian = flags.likelihood in ("gaussian", "learned_gaussian")
    if is_gaussian and flags.binarize == "none" and not flags.conditional:  # p(x) of the same values
        measured |= pca_likelihood(dataset, flags.latent_dim)
    return measured


def pca_likelihood(dataset: data.Dataset, dim: int) -> dict[str, float]:
    """The held-out negative log-likelihood of probabilistic PCA; nothing if no variance is left for its noise."""
    from sklearn.decomposition import PCA

    train, test = (s.x.reshape(len(s.x), -1) / dataset.scale for s in (dataset.train, dataset.test))
    if dim >= min(train.shape) or not np.ptp(train, axis=0).any():
        return {}
    pca = PCA(dim, svd_solver="full").fit(train)
    if pca.noise_variance_ <= np.finfo(np.float32).eps * pca.explained_variance_.sum():
        return {}
    # Tipping & Bishop 1999: scikit-learn's score is the exact likelihood of probabilistic PCA
    return {"ppca_negative_log_likelihood": -float(pca.score(test))}


EXPERIMENT = runs.Experiment(
    "vae",
    Flags,
    build,
    summarise,
    watch=("negative_elbo", "distortion", "rate"),
    prepare=latent_parts.prepare,
    codec=vae.codec,
    applications=applications.of_vae,
    generator=applications.vae_generator,
    metrics=lambda flags: {"loss": runs.Metric("nats", "lower")} | annealed_bounds.METRICS,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
