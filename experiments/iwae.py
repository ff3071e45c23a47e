"""Importance-weighted autoencoders and their likelihoods (Burda, Grosse & Salakhutdinov 2016).

    python -m experiments.iwae --num_samples=50
    python -m experiments.iwae --dataset=mnist --data_dir=DIR --num_samples=5 --stages=1,3,9,27,81,243,729,2187

The second line is the paper's one-layer protocol: 200-200 tanh units on either side of 50 latent dimensions, pixels
drawn anew at every step, Adam, batches of 20, stage i of 3^(i-1) epochs at 1e-3 * 10^(-(i-1)/7), and the likelihood of
all held-out images by 5000 samples. The paper reports 86.76, 85.54 and 84.78 nats for 1, 5 and 50 samples.
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments import common, training
from genjax import data, networks
from genjax.data import batching
from genjax.drawing import pictures
from genjax.evaluation import latent, likelihood
from genjax.losses import BERNOULLI
from genjax.models import importance_weighted, vae
from genjax.training.evaluator import evaluator
from genjax.types import Batch, Key, Metrics, Model, Network, Params


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(binarize="dynamic", num_steps=None, batch_size=20, learning_rate=1e-3, eval_every=1000)
    flags.DEFINE_integer("num_samples", 5, "k, the draws of z that a bound has; 1 is a VAE", lower_bound=1)
    flags.DEFINE_enum("gradient", "plain", ["plain", "doubly_reparameterized"], "estimator of the encoder's gradient")
    flags.DEFINE_list(
        "stages", ["1", "3", "9", "27"], "epochs of each stage; each has 10^(-1/7) of the last one's rate"
    )
    flags.DEFINE_list("hidden", ["200", "200"], "widths of the encoder's hidden layers; the decoder mirrors them")
    flags.DEFINE_integer("latent_dim", 50, "dimensions of z", lower_bound=1)
    flags.DEFINE_float("adam_b1", 0.9, "Adam's first decay; the paper has 0.9, its authors' code 0.99", lower_bound=0.0)
    flags.DEFINE_integer("num_test_samples", 5000, "importance samples of the held-out likelihood", lower_bound=1)


OBJECTIVES = {
    "plain": importance_weighted.objective,
    "doubly_reparameterized": importance_weighted.doubly_reparameterized_objective,
}


def build_parts(config: common.Config, dataset: data.Dataset) -> vae.VAE:
    """The networks that the flags name."""
    image_shape = dataset.train.x.shape[1:]
    hidden = common.widths(config, "hidden")
    encoder = networks.mlp(image_shape, (2 * config.latent_dim,), hidden=hidden, activation=jnp.tanh)
    decoder = networks.mlp((config.latent_dim,), image_shape, hidden=hidden[::-1], activation=jnp.tanh)
    return vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, config.latent_dim)


def with_pixel_means(config: common.Config, decoder: Network, pixel_means: np.ndarray) -> Network:
    """The decoder with its output bias started at the pixels' log-odds, as in the authors' code."""
    last = f"layer_{len(common.widths(config, 'hidden')) + 1}"
    bias = np.log(pixel_means / (1 - pixel_means)).ravel()

    def init(key: Key) -> Params:
        params = decoder.init(key)
        return params | {last: params[last] | {"bias": jnp.asarray(bias, jnp.float32)}}

    return Network(init, decoder.apply)


def pixel_means(dataset: data.Dataset) -> np.ndarray:
    """The training images' mean, away from 0 and 1."""
    return np.clip(dataset.train.x.mean(axis=0, dtype=np.float64) / dataset.scale, 0.001, 0.999)


def stage_steps(config: common.Config, dataset: data.Dataset) -> list[int]:
    """Updates of each stage."""
    per_epoch = max(1, len(dataset.train.x) // config.batch_size)
    return [epochs * per_epoch for epochs in common.widths(config, "stages")]


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    parts = build_parts(config, dataset)
    parts = parts._replace(decoder=with_pixel_means(config, parts.decoder, pixel_means(dataset)))
    ends = np.cumsum(stage_steps(config, dataset))[:-1]
    rate = optax.piecewise_constant_schedule(config.learning_rate, {int(end): 10 ** (-1 / 7) for end in ends})
    optimizer = optax.adam(rate, b1=config.adam_b1, b2=0.999, eps=1e-4)
    objective = OBJECTIVES[config.gradient](parts, num_samples=config.num_samples)
    return vae.model(parts, optimizer, objective, reduction=config.reduction)


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Measures the likelihood of every held-out image and what the latent units carry; writes pictures."""
    dataset, x, columns = finished.dataset, finished.examples.x, 10
    parts = build_parts(config, finished.dataset)
    params = finished.state.params
    originals = x[: 5 * columns]
    pairs = pictures.interleave_rows(originals, vae.reconstruct(params, originals, parts=parts), columns=columns)
    pictures.save_grid(finished.workdir / "reconstructions.png", pairs, columns=columns)
    test_key, sample_key, rate_key = jax.random.split(finished.key, 3)
    z = jax.random.normal(sample_key, (columns * columns, parts.latent_dim))
    pictures.save_grid(finished.workdir / "samples.png", vae.decode(params, z, parts=parts), columns=columns)

    mean, log_variance = jax.jit(lambda params, x: vae.encode(params, x, parts=parts))(params, x)
    information, divergence = jax.jit(latent.rate_parts)(mean, log_variance, rate_key)
    measured = held_out_likelihood(config, params, dataset, parts, test_key)
    return measured | {
        "active_units": float(jnp.sum(latent.active_units(mean))),
        "information": float(information),
        "aggregate_divergence": float(divergence),
    }


def held_out_likelihood(
    config: common.Config, params: Params, dataset: data.Dataset, parts: vae.VAE, key: Key
) -> dict[str, float]:
    """Negative log-likelihood of all held-out images in nats, its two standard errors, and that of lone pixels."""
    print(f"{config.num_test_samples} samples for each of {len(dataset.test.x)} held-out images", file=sys.stderr)
    logits = jnp.asarray(np.log(1 / pixel_means(dataset) - 1) * -1, jnp.float32)

    def evaluate(params: Params, batch: Batch, key: Key) -> Metrics:
        log_weight = importance_weighted.importance_sampler(params, batch.x, parts=parts)
        estimate = likelihood.log_likelihood(log_weight, key, num_samples=config.num_test_samples, chunk_size=50)
        lone = BERNOULLI.negative_log_likelihood(jnp.broadcast_to(logits[None], batch.x.shape), batch.x)
        return {
            "value": -jnp.mean(estimate.value),
            "square": jnp.mean(jnp.square(estimate.value)),
            "variance": jnp.mean(jnp.square(estimate.standard_error)),
            "lone": jnp.mean(lone),
        }

    transform = batching.dynamic_binarization if config.binarize == "dynamic" else None
    test = batching.held_out(dataset.test, batch_size=20, scale=dataset.scale, transform=transform)
    model = vae.model(parts, optax.identity(), vae.objective(parts))._replace(evaluate=evaluate)
    means = {name: float(value) for name, value in evaluator(model, test)(params, key).items()}
    num = len(dataset.test.x)
    return {
        "negative_log_likelihood": means["value"],
        "negative_log_likelihood_error": (means["variance"] / num) ** 0.5,  # of the draws of z
        "negative_log_likelihood_spread": (max(means["square"] - means["value"] ** 2, 0.0) / num) ** 0.5,  # of images
        "pixels_negative_log_likelihood": means["lone"],  # baseline: every pixel on its own
    }


def resolve(config: common.Config) -> None:
    """Trains for all of the stages, unless --num_steps says otherwise."""
    if config.num_steps is None:
        config.num_steps = sum(stage_steps(config, data.load(config.dataset, data_dir=config.data_dir)))


EXPERIMENT = common.Experiment(
    "iwae",
    define_flags,
    build,
    conclude,
    watch=("loss", "negative_elbo"),
    resolve=resolve,
    parts=build_parts,
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
