"""Importance-weighted autoencoders and their likelihoods (Burda, Grosse & Salakhutdinov 2016).

    python -m experiments.iwae --num_samples=50
    python -m experiments.iwae --bound=piwae --num_samples=8 --num_bounds=8
    python -m experiments.iwae --dataset=mnist --data_dir=DIR --num_samples=5 --stages=1,3,9,27,81,243,729,2187

The last line is the paper's one-layer protocol: encoder and decoder of 200-200 tanh units around 50 latent
dimensions, pixels binarized anew at every step, Adam, batches of 20, stage i of 3^(i-1) epochs at a learning rate of
1e-3 * 10^(-(i-1)/7), and the likelihood of all held-out images by 5000 samples. The paper reports 86.76, 85.54 and
84.78 nats for 1, 5 and 50 samples.

--bound chooses what is descended (Rainforth et al. 2018): iwae, the bound of --num_samples draws; miwae, the mean of
--num_bounds such bounds; piwae, the bound of all these draws for the decoder, and miwae for the encoder; ciwae, a
mixture of the negative ELBO, with weight --beta, and iwae.

--remat=N decodes N draws at a time, and decodes them again for the gradient, so that memory does not grow with k.

With --num_annealing_steps, the likelihood is measured by annealed importance sampling too, and that of draws of the
model from both sides: see `experiments.annealed_bounds`.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import annealed_bounds, applications, held_out_likelihood, latent_parts
from experiments.latent_posteriors import in_training
from genjax import data, networks, runs
from genjax.data.outline import Outline
from genjax.errors import BadInput
from genjax.evaluation import latent, likelihood
from genjax.gradients import Objective, Reduction
from genjax.losses import BERNOULLI
from genjax.models import descent, importance_weighted, vae
from genjax.runs import flag
from genjax.runs.flags import LARGEST_WHOLE
from genjax.types import Array, Batch, Key, Network, Params

OBJECTIVES = {
    "plain": importance_weighted.objective,
    "doubly_reparameterized": importance_weighted.doubly_reparameterized_objective,
}
BOUNDS = ("iwae", "miwae", "piwae", "ciwae")


class Flags(annealed_bounds.Flags, latent_parts.Flags, runs.Flags):
    """Importance-weighted autoencoder."""

    binarize: str = "dynamic"
    num_steps: int = flag(None, "number of updates; by default those of all stages", at_least=1)
    batch_size: int = 20
    learning_rate: float = 1e-3
    eval_every: int = 1000
    num_samples: int = flag(5, "number k of draws of z in the bound; 1 gives a VAE", at_least=1, at_most=10**5)
    gradient: str = flag("plain", "estimator of the encoder's gradient", choices=OBJECTIVES)
    bound: str = flag(
        "iwae",
        "what is descended: the bound of k draws (iwae), the mean of several bounds (miwae), that of all their draws "
        "for the decoder and miwae for the encoder (piwae), or a mixture of iwae with the negative ELBO (ciwae)",
        choices=BOUNDS,
        newer=True,
    )
    num_bounds: int = flag(
        8, "number M of bounds of miwae and piwae, each of k draws", at_least=1, at_most=10**5, newer=True
    )
    beta: float = flag(0.5, "weight of the negative ELBO in ciwae", at_least=0, at_most=1, newer=True)
    remat: int | None = flag(
        None,
        "number of draws that are decoded at a time, and once more for the gradient, so that many fit into memory; by "
        "default all are decoded at once",
        at_least=1,
        at_most=10**5,
        newer=True,
    )
    stages: tuple[int, ...] = flag(
        (1, 3, 9, 27),
        "epochs of each stage; with a constant --learning_rate_schedule, the learning rate of each stage is 10^(-1/7) "
        "times that of the stage before",
        at_least=1,
    )
    hidden: tuple[int, ...] = flag(
        (200, 200), "widths of the MLP encoder's hidden layers; the decoder mirrors them", at_least=1, may_be_empty=True
    )
    latent_dim: int = flag(50, "number of latent dimensions", at_least=1)
    adam_b1: float = flag(
        0.9,
        "decay rate of Adam's first moment; 0.9 in the paper, 0.99 in its authors' code",
        at_least=0,
        at_most=0.999999,
    )
    num_test_samples: int = flag(
        5000, "number of importance samples for the held-out likelihood", at_least=1, at_most=10**8
    )


def with_output_bias(decoder: Network, layer: str, means: np.ndarray) -> Network:
    """The decoder with the bias of its last layer initialised to the log-odds of pixels, as in the authors' code."""
    bias = np.log(means / (1 - means)).ravel()

    def init(key: Key) -> Params:
        params = decoder.init(key)
        return params | {layer: params[layer] | {"bias": jnp.asarray(bias, jnp.float32)}}

    return Network(init, decoder.apply)


def pixel_means(dataset: data.Dataset) -> np.ndarray:
    """The mean of the training images, clipped away from 0 and 1; where only their shape is known, 1/2."""
    if isinstance(dataset.train.x, Outline):
        return np.full(dataset.train.x.shape[1:], 0.5)  # of a trained run: its own bias is in the checkpoint
    return np.clip(dataset.train.x.mean(axis=0, dtype=np.float64) / dataset.scale, 0.001, 0.999)


def stage_steps(flags: Flags, dataset: data.Dataset) -> list[int]:
    """The number of batches of each stage."""
    per_epoch = max(1, len(dataset.train.x) // flags.batch_size)
    return [epochs * per_epoch for epochs in flags.stages]


def resolve(flags: Flags, dataset: data.Dataset) -> Flags:
    """Sets the number of updates to that of all stages where it is not given."""
    if flags.num_steps is not None:
        return flags
    num_steps = sum(stage_steps(flags, dataset))
    if num_steps > LARGEST_WHOLE:
        raise BadInput(f"{num_steps} updates are too many: at most {LARGEST_WHOLE} are possible", parameter="stages")
    return flags.replace(num_steps=num_steps)


def stage_rate(flags: Flags, dataset: data.Dataset) -> optax.Schedule:
    """The learning rate by stages."""
    ends = np.cumsum(stage_steps(flags, dataset))[:-1] // flags.accumulate_steps
    return optax.piecewise_constant_schedule(flags.learning_rate, {int(end): 10 ** (-1 / 7) for end in ends})


def build_networks(flags: Flags, dataset: data.Dataset, shapes: latent_parts.Shapes) -> tuple[Network, Network]:
    """Encoder and decoder, before the heads."""
    hidden = flags.hidden
    encoder = networks.mlp(shapes.x, (shapes.outputs,), hidden=hidden, activation=jnp.tanh)
    decoder = networks.mlp((shapes.codes,), shapes.decoded, hidden=hidden[::-1], activation=jnp.tanh)
    return encoder, with_output_bias(decoder, f"layer_{len(hidden) + 1}", pixel_means(dataset))


def build_objective(flags: Flags, parts: vae.VAE) -> Objective:
    """The bound of the flags."""
    sizes: Any = {"num_samples": flags.num_samples, "remat": flags.remat}
    if flags.bound == "iwae":
        return OBJECTIVES[flags.gradient](parts, **sizes)
    if flags.gradient != "plain":
        raise BadInput(f"{flags.gradient} is a gradient of the bound iwae, not of {flags.bound}", parameter="gradient")
    if flags.bound == "ciwae":
        return importance_weighted.combined_objective(parts, beta=flags.beta, **sizes)
    make = {
        "miwae": importance_weighted.multiply_weighted_objective,
        "piwae": importance_weighted.partially_weighted_objective,
    }[flags.bound]
    return make(parts, num_bounds=flags.num_bounds, **sizes)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks and the model."""
    dataset.require_bounded("a Bernoulli likelihood", parameter="dataset")
    annealed_bounds.check(flags)
    make = partial(build_networks, flags, dataset)
    parts = latent_parts.build(flags, dataset, make, lambda decoder: (decoder, BERNOULLI), flat=True)
    rate = stage_rate(flags, dataset) if flags.learning_rate_schedule == "constant" else None
    optimizer = runs.optimizer(flags, learning_rate=rate, b1=flags.adam_b1, b2=0.999, eps=1e-4)
    if flags.posterior == "categorical" and not flags.straight_through:
        raise BadInput("importance weights need draws that are one-hot, not relaxed", parameter="straight_through")
    model = vae.model(
        parts,
        optimizer,
        descent.Scheduled(lambda step: build_objective(flags, in_training(flags, parts, step))),
        evaluation=build_objective(flags, parts),
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Measures the likelihood of all held-out images and the information in the latent units; draws pictures."""
    test_key, sample_key, rate_key = jax.random.split(trained.key, 3)
    mean = latent_parts.save_pictures(flags, trained, sample_key)
    measured = measure_likelihood(flags, trained, test_key) | annealed_bounds.measure(flags, trained)
    measured["active_units"] = float(jnp.sum(latent.active_units(mean)))
    if latent_parts.has_gaussian_rate_parts(flags):
        encode = jax.jit(partial(vae.encode, parts=trained.parts))
        examples = trained.examples
        posterior = encode(trained.params, examples.x, *trained.parts.context(examples))
        information, divergence = jax.jit(latent.rate_parts)(*posterior, rate_key)
        measured |= {"information": float(information), "aggregate_divergence": float(divergence)}
    return measured | latent_parts.class_accuracy(trained)


def measure_likelihood(flags: Flags, trained: runs.Trained, key: Key) -> dict[str, float]:
    """Negative log-likelihood of the held-out images in nats, its two standard errors, and that of lone pixels."""
    num = len(trained.dataset.test.x)
    print(f"{flags.num_test_samples} samples for each of {num} held-out images", file=sys.stderr)
    means = jnp.asarray(pixel_means(trained.dataset), jnp.float32)
    logits = jnp.log(means) - jnp.log1p(-means)

    def estimate(params: Params, batch: Batch, key: Key) -> tuple[likelihood.Estimate, Array]:
        log_weight = latent_parts.importance_sampler(params, batch, parts=trained.parts)
        pixels = BERNOULLI.negative_log_likelihood(jnp.broadcast_to(logits, batch.x.shape), batch.x)
        return likelihood.log_likelihood(log_weight, key, num_samples=flags.num_test_samples), pixels

    estimated, pixels = held_out_likelihood.over_test_split(estimate, trained, key, binarize=flags.binarize)
    baseline = {"pixels_negative_log_likelihood": float(np.mean(pixels, dtype=np.float64))}  # independent pixels
    return held_out_likelihood.over_examples(estimated) | baseline


EXPERIMENT = runs.Experiment(
    "iwae",
    Flags,
    build,
    summarise,
    watch=("loss", "negative_elbo"),
    resolve=resolve,
    prepare=latent_parts.prepare,
    codec=vae.codec,
    applications=applications.of_vae,
    generator=applications.vae_generator,
    metrics=lambda flags: {"loss": runs.Metric("nats", "lower")} | annealed_bounds.METRICS,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
