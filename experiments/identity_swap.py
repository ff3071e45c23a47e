"""Identity swap (SimSwap; Chen et al. 2020): the target's picture with the source's identity.

    python -m experiments.identity_swap
    python -m experiments.identity_swap --schedule=full
    python -m experiments.identity_swap --identity_weight=0
    python -m experiments.identity_swap --dataset=folder:PEOPLE

It first trains identity encoders on disjoint identities, or finds those of an earlier run beside its own directory:
some that the swap learns from, and one that only scores it, for a swap soon learns to please those it is shown. On
`faces`, rendered anew at every step, the ideal swap is known: swaps of 100 pairs never seen are held against it, beside
what it takes to leave the target as it is, to hand out the source, and to transfer the colours of the skin. The quick
schedule shows in minutes that all of it works; the full one, of an hour or more, is for swaps worth looking at, and
reads their attributes too.

The pictures that it makes are not real, and say so in their metadata. Train it on pictures of people only with their
consent to exactly that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments import common, kept, training
from experiments import identity_encoder as page
from genjax import data, networks
from genjax.data import batching, faces, pairs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import identity
from genjax.models import identity_encoder, identity_swap
from genjax.models import regressor as regressor_model
from genjax.models.identity_encoder import IdentityEncoder
from genjax.types import Array, Key, Model, Params


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=None, batch_size=None, learning_rate=1e-3, eval_every=200, dataset="faces")
    flags.DEFINE_float("discriminator_learning_rate", 2e-3, "its own Adam's", lower_bound=0.0)
    flags.DEFINE_enum(
        "schedule", "quick", list(SCHEDULES), "steps of swap and encoders, batches, encoders, what they see, and losses"
    )
    flags.DEFINE_enum("losses", None, list(LOSSES), "which terms and weights; by default as the schedule says")
    for name in OF_LOSSES:
        flags.DEFINE_float(name, None, "in place of the chosen losses' own", lower_bound=0.0)
    flags.DEFINE_integer("image_size", 32, "of rendered faces, and what a folder's are resized to", lower_bound=8)
    flags.DEFINE_list("features", ["24", "48", "96"], "channels of the generator, from the full size down")
    flags.DEFINE_list("discriminator_features", ["32", "64", "96"], "channels of the discriminator, at each scale")
    flags.DEFINE_integer("num_blocks", 4, "identity blocks", lower_bound=1)
    flags.DEFINE_bool("skips", True, "show the decoder what the encoder saw at each size")
    flags.DEFINE_bool("blend", False, "draw a mask too, and keep the target where it is 0")
    flags.DEFINE_integer(
        "encoder_steps", None, "of each identity encoder; by default as the schedule says", lower_bound=1
    )
    flags.DEFINE_integer(
        "regressor_steps",
        None,
        "of what reads attributes from pictures, 0 to leave it out; by default as the schedule says",
        lower_bound=0,
    )
    flags.DEFINE_list(
        "encoder_features",
        None,
        "channels of each identity encoder to learn from; by default as the schedule says",
    )
    flags.DEFINE_list(
        "encoder_noise",
        None,
        "one encoder to learn from for each, learned in that noise; by default as the schedule says",
    )
    flags.DEFINE_float("averaging", 0.999, "of the generator's parameters", lower_bound=0.0, upper_bound=0.999999)


class Schedule(NamedTuple):
    """How long everything learns."""

    num_steps: int  # of the swap
    batch_size: int
    encoder_steps: int  # of each encoder
    regressor_steps: int  # of what reads attributes; a few hundred teach it nothing
    encoder_features: list[str]  # of the encoders to learn from, as their noise and their pictures
    encoder_noise: list[str]
    pictures_each: int  # of each identity; the encoder that scores has 24 at most
    losses: str


SCHEDULES = {
    "quick": Schedule(600, 8, 600, 0, ["32", "64", "128"], ["0.05"], 12, "brief"),
    "full": Schedule(8000, 16, 4000, 4000, ["48", "96", "192"], ["0.03", "0.05", "0.1", "0.2"], 96, "freer"),
}
LOSSES = {
    "brief": identity_swap.BRIEF,
    "freer": identity_swap.FREER,
    "simswap": identity_swap.SIMSWAP,
    "plain": identity_swap.PLAIN,
}
OF_LOSSES = ("identity_weight", "reconstruction_weight", "adversarial_weight", "matching_weight", "identity_noise")
READERS = ["32", "64", "128"]  # channels of the encoder that scores, and of what reads attributes: one judge for all
WARM_UP = 100  # steps in which both learning rates rise
SHOWN = 8  # sources and targets of the grid
AT_A_TIME = 64  # swaps in one call of their program
SYNTHETIC = "synthetic: faces made by a network that swaps identities, not photographs of anybody"


def resolve(config: common.Config) -> None:
    """Fills in what follows from the schedule and the losses."""
    schedule = SCHEDULES[config.schedule]
    config.num_steps = config.num_steps or schedule.num_steps
    config.batch_size = config.batch_size or schedule.batch_size
    config.encoder_steps = config.encoder_steps or schedule.encoder_steps
    config.encoder_features = config.encoder_features or schedule.encoder_features
    config.encoder_noise = config.encoder_noise or schedule.encoder_noise
    config.losses = config.losses or schedule.losses
    if config.regressor_steps is None:
        config.regressor_steps = schedule.regressor_steps
    for name in OF_LOSSES:
        if getattr(config, name) is None:
            setattr(config, name, getattr(LOSSES[config.losses], name))


def encoder_config(
    config: common.Config, identities: str, *, features: list[str], seed: int, noise: float, pictures_each: int
) -> common.Config:
    """The flags of one of the run's identity encoders."""
    return common.Config(
        experiment="identity_encoder",
        dataset=config.dataset,
        data_dir=config.data_dir,
        binarize="none",
        seed=seed,
        identities=identities,
        num_steps=config.encoder_steps,
        batch_size=128,
        learning_rate=2e-3,
        weight_decay=1e-3,
        margin=0.3,
        noise=noise,
        pictures_each=pictures_each,
        image_size=config.image_size,
        features=features,
        identity_dim=64,
        cpu_threads=config.cpu_threads,
    )


def encoder_parts(config: common.Config, dataset: data.Dataset, own: common.Config) -> IdentityEncoder:
    """The networks of an identity encoder of these flags."""
    num = len(page.NUMBERS[own.identities]) if config.dataset == "faces" else dataset.num_classes or 0
    return page.build_parts(own, image_shape(config, dataset), num)


def encoder_body(
    config: common.Config, dataset: data.Dataset, own: common.Config, rendered: Callable[[], data.Dataset]
) -> Params:
    """The body of an identity encoder of these flags, found beside the run or trained now.

    Args:
      rendered: the pictures of `page.load(own)`, where they are rendered.
    """
    to_learn_from = own.identities == "train"
    if config.dataset != "faces":  # people are few: one half of the pictures of each for either kind of encoder
        dataset = halved(dataset, first=to_learn_from)
        own.batch_size = min(own.batch_size, len(dataset.train.x))
    found = kept.find_or_train(
        own,
        page.build_model(own, encoder_parts(config, dataset, own)),
        lambda: common.read_shuffled(own, rendered() if config.dataset == "faces" else dataset),
        fingerprint=dataset.fingerprint,
        runs=config.runs,
        purpose="to learn from" if to_learn_from else "to be scored by",
        watch=page.EXPERIMENT.watch,
    )
    return found.params["body"]


def encoders_to_learn_from(config: common.Config) -> list[common.Config]:
    """The flags of the encoders that the swap learns from, which differ in where they begin and in their noise."""
    each, features = SCHEDULES[config.schedule].pictures_each, config.encoder_features
    common.widths(config, "encoder_features")  # else it would be refused by the encoders' own flag's name
    return [
        encoder_config(config, "train", features=features, seed=seed, noise=noise, pictures_each=each)
        for seed, noise in enumerate(noises(config))
    ]


def noises(config: common.Config) -> list[float]:
    """The noise of each encoder to learn from, in units of the pictures' [0, 1]."""
    try:
        found = [float(value) for value in config.encoder_noise]
    except ValueError:
        found = []
    if not found or not all(0 <= noise < np.inf for noise in found):
        raise BadInput(f"--encoder_noise={','.join(config.encoder_noise)}: give standard deviations of 0 or more")
    return found


def regressor(config: common.Config) -> Callable[[Array], Array]:
    """What reads the attributes of rendered faces from pictures [N, S, S, 3] -> [N, 29]; found, or trained now."""
    own = common.Config(
        experiment="attribute_regressor",
        dataset="faces",
        seed=2,
        num_steps=config.regressor_steps,
        batch_size=64,
        learning_rate=2e-3,
        image_size=config.image_size,
        features=READERS,
        cpu_threads=config.cpu_threads,
    )
    size, num = config.image_size, sum(len(places) for places in faces.target_groups().values())
    network = networks.identity_network((size, size, 3), num, features=common.widths(own, "features"))
    found = kept.find_or_train(
        own,
        regressor_model.model(network, optax.adamw(optax.cosine_decay_schedule(own.learning_rate, own.num_steps))),
        lambda: pairs.rendered_attributes(batch_size=own.batch_size, size=size),
        fingerprint="faces",
        runs=config.runs,
        purpose="to read attributes with",
        watch=("squared_error",),
    )
    return jax.jit(lambda x: network.apply(found.params, x))


def halved(dataset: data.Dataset, *, first: bool) -> data.Dataset:
    """Every other training picture of each label."""
    label: Any = dataset.train.label
    if label is None:
        raise BadInput(f"data set {dataset.name!r} has no labels: give a folder with a subfolder for each person")
    place = np.zeros(len(label), int)
    for c in np.unique(label):
        place[label == c] = np.arange(np.sum(label == c))
    chosen = (place % 2 == 0) == first
    train = data.Split(dataset.train.x[chosen], label[chosen])
    return data.from_arrays(
        dataset.name,
        train.x,
        dataset.test.x,
        train_label=train.label,
        test_label=dataset.test.label,
        scale=dataset.scale,
        num_classes=dataset.num_classes,
    )


def source(config: common.Config, dataset: data.Dataset) -> batching.Source:
    """Pairs of pictures: rendered as they are needed, or of the data set's labels."""
    if config.dataset == "faces":
        return pairs.rendered_pairs(batch_size=config.batch_size, size=config.image_size)
    return pairs.labelled_pairs(dataset.train, dataset.test, batch_size=config.batch_size, scale=dataset.scale)


def image_shape(config: common.Config, dataset: data.Dataset) -> tuple[int, int, int]:
    """(H, W, C) of the pictures that are swapped."""
    if config.dataset == "faces":
        return config.image_size, config.image_size, 3
    shape = dataset.train.x.shape[1:]
    if len(shape) != 3:
        raise BadInput(f"data set {dataset.name!r} has no images")
    return shape


def build_parts(config: common.Config, dataset: data.Dataset) -> identity_swap.IdentitySwap:
    """The networks and terms that the flags name."""
    shape = image_shape(config, dataset)
    own = encoders_to_learn_from(config)
    encoder = encoder_parts(config, dataset, own[0])
    features = common.widths(config, "discriminator_features")
    half = (-(-shape[0] // 2), -(-shape[1] // 2), shape[2])
    return identity_swap.IdentitySwap(
        networks.identity_swap_generator(
            shape,
            encoder.identity_dim * len(own),
            features=common.widths(config, "features"),
            num_blocks=config.num_blocks,
            skips=config.skips,
            blend=config.blend,
        ),
        networks.multi_scale([networks.matching_discriminator(size, features=features) for size in (shape, half)]),
        partial(identity_encoder.encode_by_all, parts=encoder),
        LOSSES[config.losses]._replace(**{name: getattr(config, name) for name in OF_LOSSES}),
    )


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name, and its encoders; both learning rates rise for some steps, then fall to 0."""
    parts, own = build_parts(config, dataset), encoders_to_learn_from(config)
    rendered = cache(lambda: page.load(own[0]))  # the same for all of them
    bodies = [encoder_body(config, dataset, each, rendered) for each in own]
    warm_up = min(WARM_UP, config.num_steps // 4)
    players = (
        optax.adam(optax.warmup_cosine_decay_schedule(0.0, rate, warm_up, config.num_steps), b1=0.0, b2=0.99)
        for rate in (config.learning_rate, config.discriminator_learning_rate)
    )
    return identity_swap.model(parts, bodies, *players, averaging=config.averaging, reduction=config.reduction)


def init_bodies(config: common.Config, dataset: data.Dataset, key: Key) -> list[Params]:
    """Fresh bodies of the encoders that the swap learns from."""
    own = encoders_to_learn_from(config)
    return [encoder_parts(config, dataset, own[0]).body.init(key)] * len(own)


def swapper(
    config: common.Config, dataset: data.Dataset, generator: Params, bodies: list[Params]
) -> Callable[[Array, Array], Array]:
    """Swaps of any number of pictures, by a trained generator and its encoders: two [N, ...] -> [N, ...].

    The first are the targets, which keep all but their identity, the second the sources.
    """
    parts = build_parts(config, dataset)
    some = jax.jit(partial(identity_swap.swap, parts=parts))

    def swap(target: Array, source: Array) -> Array:
        swapped = []
        for start in range(0, len(target), AT_A_TIME):  # one program, compiled once, for any number of them
            pair = [images[start : start + AT_A_TIME] for images in (target, source)]
            rest = ((0, AT_A_TIME - len(pair[0])), (0, 0), (0, 0), (0, 0))
            made = some(generator, bodies, *(jnp.pad(images, rest) for images in pair))
            swapped.append(made[: len(pair[0])])
        return jnp.concatenate(swapped)

    return swap


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Draws the grid of swaps; on rendered faces writes the table of measures beside the baselines."""
    swap = swapper(
        config, finished.dataset, finished.state.evaluation_params["generator"], finished.state.frozen["identity"]
    )
    each = min(24, SCHEDULES[config.schedule].pictures_each)
    scoring = encoder_config(config, "score", features=READERS, seed=1, noise=0.0, pictures_each=each)
    score_body = encoder_body(config, finished.dataset, scoring, lambda: page.load(scoring))
    score_parts = encoder_parts(config, finished.dataset, scoring)
    encode = jax.jit(lambda x: identity_encoder.encode(score_body, x, parts=score_parts))
    if config.dataset != "faces":
        examples: Any = finished.examples
        target, source = examples
        num = min(SHOWN, len(target))
        save_grid(finished, swap, target[:num], source[:num], None)
        other = jnp.roll(source, 1, axis=0)
        v = encode(swap(target, other))
        return {
            "cosine_to_source": float(jnp.mean(jnp.sum(v * encode(other), axis=1))),
            "cosine_to_target": float(jnp.mean(jnp.sum(v * encode(target), axis=1))),
        }
    truth = pairs.swap_test(size=config.image_size)
    save_grid(finished, swap, truth.target[:SHOWN], truth.target[:SHOWN], truth)
    gallery = pairs.rendered_pictures(pairs.TEST, each=10, stream=12, size=config.image_size)
    vectors = [encode(jnp.float32(gallery.x[i : i + 500]) / 255) for i in range(0, len(gallery.x), 500)]
    centres = identity.centroids(np.concatenate(vectors), gallery.label)
    methods = {
        "swap": swap(truth.target, truth.source),
        "ideal": truth.ideal,
        "target": truth.target,
        "source": truth.source,
        "colour": identity.colour_transfer(truth.target, truth.source, truth.target_skin, truth.source_skin),
    }
    rows = {name: measures(images, truth, encode, centres) for name, images in methods.items()}
    if config.regressor_steps:
        read = regressor(config)
        wanted, of_ideal = faces.attribute_targets(truth.attributes), read(truth.ideal)
        for name, images in methods.items():
            errors = identity.attribute_errors(read(images), of_ideal, wanted, faces.target_groups())
            rows[name] |= {f"{group}_attribute_error": error for group, error in errors.items()}
    names = list(rows["swap"])
    pictures.save_table(
        finished.workdir / "table.png",
        [[row[name] for row in rows.values()] for name in names],
        rows=[name.replace("_", " ") for name in names],
        columns=["swap", "ideal", "target as it is", "source as it is", "colour transfer"],
        title=f"{len(truth.target)} pairs of identities never seen",
        by_row=True,
    )
    found = rows["swap"] | {
        f"{method}_{name}": row[name] for method, row in rows.items() if method != "swap" for name in names
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}


def measures(
    images: Array, truth: pairs.SwapTest, encode: Callable[[Array], Array], centres: np.ndarray
) -> dict[str, float]:
    """What swaps are judged by: pixels against the ideal, and identities by the encoder that only scores."""
    quality = identity.swap_quality(
        images,
        target=truth.target,
        ideal=truth.ideal,
        face=truth.face,
        background=truth.background,
        candidates=truth.candidates,
        wanted=truth.wanted,
    )
    v = encode(images)
    named, wanted = identity.identify(v, centres), np.asarray(truth.wanted)
    return {name: float(value) for name, value in quality._asdict().items()} | {
        "rank1": float(np.mean(named == wanted)),
        "rank1_is_target": float(np.mean(named == np.arange(len(wanted)))),
        "cosine_to_source": float(jnp.mean(jnp.sum(v * encode(truth.source), axis=1))),
    }


def save_grid(
    finished: common.Finished, swap: Callable, target: Array, source: Array, truth: pairs.SwapTest | None
) -> None:
    """Writes every source, a row each, put into every target, a column each; beside it the ideal where it is known."""
    num = len(target)
    every = (jnp.tile(target, (num, 1, 1, 1)), jnp.repeat(source, num, axis=0))
    swapped = np.asarray(swap(*every)).reshape(num, num, *target.shape[1:])
    shown = [swapped] if truth is None else [swapped, np.asarray(truth.candidates[:num, :num]).swapaxes(0, 1)]
    blank = np.ones_like(np.asarray(target[:1]))
    heads = np.concatenate([np.concatenate([blank, np.asarray(target)]) for _ in shown])
    rows = [
        np.concatenate([np.concatenate([np.asarray(source[i])[None], block[i]]) for block in shown]) for i in range(num)
    ]
    pictures.save_captioned_grid(
        finished.workdir / "swaps.png",
        np.stack([heads, *rows]),
        title="sources down, targets across" + (": swapped, and the ideal" if truth is not None else ""),
        comment=SYNTHETIC,
    )


EXPERIMENT = common.Experiment(
    "identity_swap",
    define_flags,
    build,
    conclude,
    watch=("identity_loss", "reconstruction_loss", "discriminator_loss", "matching_loss"),
    resolve=resolve,
    load=page.load_people,
    source=source,
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
