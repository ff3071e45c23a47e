"""An InfoGAN, whose codes can be read off its samples (Chen et al. 2016).

    python -m experiments.infogan
    python -m experiments.infogan --dataset=ring --num_categories=8
    python -m experiments.infogan --dataset=mnist --data_dir=DIR --network=dcgan_dense --normalization=batch_both

The generator's input is noise, one of --num_categories categories, and --num_continuous numbers between -1 and 1. A
second head of the discriminator reads them off the samples, and both players maximise what it knows of them: the
metric `categorical_information` is its L_I, in nats, at most `categorical_entropy`, the log of the number of
categories. `clustering_error` is the share of held-out examples whose category is not that of their class, under the
best matching of categories with classes; no label is used in training, and nothing makes the categories classes.
`continuous_correlation` is that of the numbers with those read off new samples, a mean over the codes. `samples.png`
has a category in each column, and `sweep_1.png` changes the first number from left to right, with the same noise
everywhere. The samples of each evaluation are in the folder `along` and in `training.gif`.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import games, gan_parts
from genjax import data, losses, networks, runs
from genjax.drawing import charts, pictures
from genjax.evaluation.clustering import match_clusters
from genjax.gradients import Reduction
from genjax.models import info_gan
from genjax.models.info_gan import InfoGAN
from genjax.runs import flag
from genjax.types import Array, Key, Params

SHOWN_CATEGORIES, SHOWN_SWEEPS = 20, 3  # in a picture, and pictures
PER_CATEGORY, NUM_LEVELS = 10, 11  # samples of a category, and values of a continuous code, in a picture
NUM_READ = 2000  # samples whose codes are read to correlate them


class Flags(runs.Flags):
    """InfoGAN."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = flag(1e-3, "highest learning rate of the discriminator", at_least=0)
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    averaging: float = 0.99
    generator_learning_rate: float = flag(
        None, "highest learning rate of the generator; by default that of the discriminator", at_least=0
    )
    beta1: float = flag(0.5, "Adam's b1 for both players", at_least=0, at_most=0.999999)
    beta2: float = flag(0.9, "Adam's b2 for both players", at_least=0, at_most=0.999999)
    penalty_weight: float = flag(
        None,
        "weight of the R1 penalty on the discriminator's gradient; by default 1, or 0 with --normalization=batch_both",
        at_least=0,
    )
    categorical_weight: float = flag(1.0, "weight of L_I of the category in both players' losses", at_least=0)
    continuous_weight: float = flag(0.1, "weight of L_I of the continuous codes in both players' losses", at_least=0)
    num_categories: int = flag(
        None, "number of categories; by default the number of classes of the data, or 10", at_least=2, at_most=10**4
    )
    num_continuous: int = flag(2, "number of continuous codes", at_least=0)
    noise_dim: int = flag(16, "number of dimensions of the noise", at_least=1)
    network: str = gan_parts.network()
    hidden: tuple[int, ...] = flag(
        (128, 128, 128), "widths of the hidden layers of both MLPs", at_least=1, may_be_empty=True
    )
    features: tuple[int, ...] = flag(
        (32, 64), "channels of the convolutional discriminator; the generator mirrors them", at_least=1
    )
    normalization: str = gan_parts.normalization()


def resolve(flags: Flags, dataset: data.Dataset) -> Flags:
    """Fills in the defaults that depend on the data set and on other flags."""
    of_generator, penalty_weight = flags.generator_learning_rate, flags.penalty_weight
    if penalty_weight is None:
        penalty_weight = 0.0 if flags.normalization == "batch_both" else 1.0
    return flags.replace(
        penalty_weight=penalty_weight,
        num_categories=flags.num_categories or max(2, dataset.num_classes or 10),
        generator_learning_rate=flags.learning_rate if of_generator is None else of_generator,
    )


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks and the model."""
    shape, num_categories, num_continuous = dataset.train.x.shape[1:], flags.num_categories, flags.num_continuous
    if dataset.train.x.ndim == 4:
        dataset.require_bounded("a generator of images", parameter="dataset")
    gan_parts.check_penalty(flags, flags.penalty_weight > 0, "penalty_weight")
    generator = gan_parts.normalized_generator(flags, flags.noise_dim + num_categories + num_continuous, shape)
    discriminator = gan_parts.normalized_discriminator(flags, shape, (1 + num_categories + num_continuous,))
    parts = InfoGAN(
        generator,
        networks.discriminator_heads(discriminator),
        losses.NON_SATURATING,
        flags.noise_dim,
        num_categories,
        num_continuous,
    )
    of_generator = runs.optimizer(flags, learning_rate=flags.generator_learning_rate, b1=flags.beta1, b2=flags.beta2)
    model = info_gan.model(
        parts,
        gan_parts.unmoved(generator, of_generator),
        gan_parts.unmoved(discriminator, runs.optimizer(flags, b1=flags.beta1, b2=flags.beta2)),
        weights=info_gan.Weights(flags.categorical_weight, flags.continuous_weight),
        penalty=games.r1_of(flags),
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


# compiled once for all evaluations
recognise = jax.jit(info_gan.recognise, static_argnames="parts")
generate = jax.jit(info_gan.generate, static_argnames="parts")


def monitor(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws samples of each category, from the same noise; measures the categories of held-out examples as clusters."""
    save_samples(flags, trained)
    if (trained.dataset.num_classes or 0) < 2:
        return {}
    return {"clustering_error": match_clusters(categories(trained), trained.classes).error}


def categories(trained: runs.Trained) -> np.ndarray:
    """The most probable categories of the held-out examples, [N]."""
    found = recognise(trained.params["discriminator"], trained.examples.x, parts=trained.parts)
    return np.asarray(jnp.argmax(found.logits, axis=-1))


def save_samples(flags: Flags, trained: runs.Trained) -> None:
    """Writes the picture of this evaluation: samples with a category in each column, or points of each category."""
    parts, path = trained.parts, gan_parts.picture_along(trained)
    is_image, shown = trained.examples.x.ndim == 4, min(parts.num_categories, SHOWN_CATEGORIES)
    codes = info_gan.sample_codes(shown * (PER_CATEGORY if is_image else 100), trained.key, parts=parts)
    codes = codes._replace(category=jnp.arange(len(codes.category)) % shown)
    samples = trained.dataset.visible(generate(trained.params["generator"], codes, parts=parts))
    title = f"samples of each category at step {trained.step}"
    if is_image:
        pictures.save_samples(path, samples, title=title, columns=shown, captions=captions(trained, shown))
    else:
        names = captions(trained, shown)
        charts.save_points(path, {f"category {names[k]}": samples[k::shown] for k in range(shown)}, title=title)


def captions(trained: runs.Trained, num: int) -> list[str]:
    """The first categories by number, and the classes that they are matched with if the data have classes."""
    if (trained.dataset.num_classes or 0) < 2:
        return [str(k) for k in range(num)]
    matched = match_clusters(categories(trained), trained.classes).classes
    names = pictures.class_captions(range(trained.dataset.num_classes or 0), trained.dataset.class_names)
    return [f"{k}: {names[matched[k]]}" if k in matched else str(k) for k in range(num)]


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws the sweeps of continuous codes, and joins the pictures; measures how well these codes can be read."""
    gan_parts.join_pictures(trained)
    parts, entropy = trained.parts, {"categorical_entropy": math.log(flags.num_categories)}
    if not parts.num_continuous:
        return entropy
    if trained.examples.x.ndim == 4:
        for number in range(min(parts.num_continuous, SHOWN_SWEEPS)):
            save_sweep(trained, number)
    codes = info_gan.sample_codes(NUM_READ, trained.key, parts=parts)
    x = generate(trained.params["generator"], codes, parts=parts)
    mean = recognise(trained.params["discriminator"], x, parts=parts).mean
    correlations = [
        np.corrcoef(drawn, read)[0, 1] for drawn, read in zip(np.asarray(codes.continuous).T, mean.T, strict=True)
    ]
    return entropy | {"continuous_correlation": float(np.mean(correlations))}


def save_sweep(trained: runs.Trained, number: int) -> None:
    """Writes sweep_N.png: a category in each row, the N-th continuous code from -1 to 1, and the others 0."""
    parts = trained.parts
    shown, levels = min(parts.num_categories, SHOWN_CATEGORIES), np.linspace(-1, 1, NUM_LEVELS, dtype=np.float32)
    num = shown * NUM_LEVELS
    continuous = np.zeros((num, parts.num_continuous), np.float32)
    continuous[:, number] = np.tile(levels, shown)
    noise = jax.random.normal(trained.key, (1, parts.noise_dim))
    category = jnp.repeat(jnp.arange(shown), NUM_LEVELS)
    codes = info_gan.Codes(jnp.repeat(noise, num, axis=0), category, jnp.asarray(continuous))
    made = trained.dataset.visible(generate(trained.params["generator"], codes, parts=parts))
    pictures.save_captioned_grid(
        trained.workdir / f"sweep_{number + 1}.png",
        made.reshape(shown, NUM_LEVELS, *made.shape[1:]),
        title=f"categories in rows, continuous code {number + 1} in columns, the same noise everywhere",
        rows=captions(trained, shown),
        columns=[f"{level:g}" for level in levels.round(1)],
    )


def applications(flags: Flags, parts: InfoGAN) -> dict[str, runs.Application]:
    """What Q reads off examples."""

    def read(params: Params, x: Array, key: Key) -> dict[str, Array]:
        found = info_gan.recognise(params["discriminator"], x, parts=parts)
        probabilities = jax.nn.softmax(found.logits)
        return {
            "category": jnp.argmax(probabilities, axis=-1),
            "probability": jnp.max(probabilities, axis=-1),
            "continuous": found.mean,
        }

    return {"categories": runs.Application(read)}


def generator(flags: Flags, parts: InfoGAN) -> runs.Generator:
    """How the generator makes examples of its whole input: the noise, the one-hot category, the continuous codes."""
    return runs.Generator(
        lambda params, z: parts.generator.apply(params["generator"], z),
        parts.noise_dim + parts.num_categories + parts.num_continuous,
    )


def metrics(flags: Any) -> dict[str, runs.Metric]:
    """Units and directions that names do not show."""
    nats = {"categorical_information": "higher", "continuous_information": "higher", "categorical_entropy": ""}
    found = {name: runs.Metric("nats", better) for name, better in nats.items()}
    return found | {"clustering_error": runs.Metric("", "lower"), "continuous_correlation": runs.Metric("", "higher")}


EXPERIMENT = runs.Experiment(
    "infogan",
    Flags,
    build,
    summarise,
    watch=("categorical_information", "discriminator_loss", "generator_loss"),
    resolve=resolve,
    monitor=monitor,
    applications=applications,
    generator=generator,
    metrics=metrics,
    headline=("categorical_information", "categorical_entropy", "clustering_error", "continuous_correlation"),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
