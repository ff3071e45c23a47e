"""Identity swap (SimSwap; Chen et al. 2020): the target's picture with the source's identity.

    python -m experiments.identity_swap
    python -m experiments.identity_swap --schedule=full
    python -m experiments.identity_swap --identity_weight=0
    python -m experiments.identity_swap --dataset=folder:PEOPLE

Identity encoders of disjoint identities are trained first, or found beside the run: those that the swap learns from,
and one that only scores it, because a swap soon learns to deceive the encoders that it is trained on. On `faces`,
rendered anew at every step, the ideal swap is known: the swaps of 100 pairs of unseen identities are compared with it,
beside baselines that leave the target as it is, return the source, or transfer the colours of the skin. The metrics
seen_... are those of training identities, and alike_... those of unseen identities of one colour and outline, which
only the features of the face distinguish. The quick schedule takes minutes and shows that everything works; the full
one takes an hour or more, gives better swaps, and measures their attributes too.

The pictures are synthetic and are labelled as such in their metadata. Train on pictures of people only with their
consent to this use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import swap_judges
from genjax import data, losses, memory, networks, runs
from genjax.data import batching, pairs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import identity
from genjax.gradients import Reduction
from genjax.models import identity_encoder, identity_swap
from genjax.runs import flag
from genjax.runs.metrics import describe
from genjax.types import Array, Key


class Preset(NamedTuple):
    """How long everything is trained, and on what."""

    num_steps: int
    batch_size: int
    encoder_steps: int
    regressor_steps: int  # it learns nothing in a few hundred steps
    encoder_features: tuple[int, ...]
    encoder_noise: tuple[float, ...]
    pictures_each: int  # of each identity, for the encoders to learn from; the one that scores has 24 at most
    losses: str


PRESETS = {
    "quick": Preset(
        num_steps=600,
        batch_size=8,
        encoder_steps=600,
        regressor_steps=0,
        encoder_features=(32, 64, 128),
        encoder_noise=(0.05,),
        pictures_each=12,
        losses="brief",
    ),
    "full": Preset(
        num_steps=8000,
        batch_size=16,
        encoder_steps=4000,
        regressor_steps=4000,
        encoder_features=(48, 96, 192),
        encoder_noise=(0.03, 0.05, 0.1, 0.2),
        pictures_each=96,
        losses="freer",
    ),
}
LOSSES = {
    "brief": identity_swap.BRIEF,
    "freer": identity_swap.FREER,
    "simswap": identity_swap.SIMSWAP,
    "plain": identity_swap.PLAIN,
}
OF_LOSSES = tuple(name for name, value in identity_swap.SIMSWAP._asdict().items() if isinstance(value, int | float))
SHOWN = 8  # sources and targets in the grid
AT_A_TIME = 64  # swaps per compiled call


class Flags(swap_judges.JudgeFlags, runs.Flags):
    """Identity swap."""

    dataset: str = "faces"
    num_steps: int = flag(None, "number of updates; by default that of --schedule", at_least=1)
    batch_size: int = flag(None, "number of pairs per update; by default that of --schedule", at_least=2)
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    learning_rate_warm_up: int = flag(
        None,
        "number of updates over which the learning rates rise from 0; by default 100, or a quarter of a short run",
        at_least=0,
    )
    averaging: float = 0.999
    eval_every: int = 200
    schedule: str = flag("quick", "preset for steps, batch size, encoders and losses", choices=PRESETS)
    discriminator_learning_rate: float = flag(2e-3, "highest learning rate of the discriminator", at_least=0)
    losses: str = flag(
        None,
        "named loss terms with their weights: those of the paper (simswap), for short runs (brief), with more weight "
        "on the identity (freer), or squared distances with cross-entropy (plain); by default those of --schedule",
        choices=LOSSES,
    )
    identity_weight: float = flag(None, "weight of the identity loss; by default that of --losses", at_least=0)
    reconstruction_weight: float = flag(None, "weight of the reconstruction; by default that of --losses", at_least=0)
    adversarial_weight: float = flag(
        None, "weight of the generator's adversarial loss; by default that of --losses", at_least=0
    )
    penalty_weight: float = flag(
        None, "weight of the discriminator's gradient penalty; by default that of --losses", at_least=0
    )
    matching_weight: float = flag(None, "weight of feature matching; by default that of --losses", at_least=0)
    matched_maps: int = flag(
        None,
        "number of the discriminator's last hidden maps to match at each scale; by default that of --losses",
        at_least=0,
    )
    identity_noise: float = flag(
        None,
        "standard deviation of the noise added to a swap before its identity is judged; by default that of --losses",
        at_least=0,
    )
    alpha: float | None = flag(
        None,
        "weight of the generator's adversarial loss, with 1 - alpha for the discriminator's; by default both are 1",
        at_least=0,
        at_most=1,
    )
    features: tuple[int, ...] = flag(
        (24, 48, 96), "channels of the generator, from full resolution downwards", at_least=1
    )
    discriminator_features: tuple[int, ...] = flag(
        (32, 64, 96), "channels of the discriminator at each scale", at_least=1
    )
    num_blocks: int = flag(4, "number of identity blocks", at_least=1, at_most=100)
    skips: bool = flag(True, "connect the generator's encoder to its decoder at each size")
    blend: bool = flag(False, "let the generator output a mask too, and keep the target where the mask is 0")


def resolve(flags: Flags, dataset: data.Dataset) -> Flags:
    """Fills in the defaults that depend on the preset and the losses."""
    preset = PRESETS[flags.schedule]._asdict()
    del preset["pictures_each"]
    flags = flags.replace(**{name: value for name, value in preset.items() if getattr(flags, name) is None})
    chosen = LOSSES[flags.losses]
    flags = flags.replace(**{name: getattr(chosen, name) for name in OF_LOSSES if getattr(flags, name) is None})
    if flags.learning_rate_warm_up is None:
        flags = flags.replace(learning_rate_warm_up=min(100, flags.num_steps // 4))
    return flags


def load(flags: Flags) -> data.Dataset:
    """The data set; the pictures of a folder become squares."""
    return data.load(flags.dataset, data_dir=flags.data_dir, size=flags.image_size, label_column=flags.label_column)


def source(flags: Flags, dataset: data.Dataset) -> batching.Source:
    """Pairs of pictures of one identity."""
    return pairs.source(dataset, batch_size=flags.batch_size, size=flags.image_size)


def terms(flags: Flags) -> identity_swap.Losses:
    """The terms of both players' losses."""
    if flags.matched_maps > len(flags.discriminator_features) + 1:
        raise BadInput(
            f"{flags.matched_maps} is too many: the discriminator has {len(flags.discriminator_features) + 1} "
            "hidden maps at each scale",
            parameter="matched_maps",
        )
    found = LOSSES[flags.losses]._replace(**{name: getattr(flags, name) for name in OF_LOSSES})
    if flags.alpha is None:
        return found
    return found._replace(adversarial=losses.weighted(found.adversarial, alpha=flags.alpha))


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks and the model, whose encoders of identities are fresh: `prepare` puts the trained ones in place."""
    dataset.require_bounded("an identity swap", parameter="dataset")
    if dataset.name == pairs.RENDERED:
        every_swap = 12 * (len(pairs.TEST) * flags.image_size) ** 2  # bytes of all sources with all targets
        memory.require(every_swap, "the test of the trained swap", parameter="image_size")
    shape = pairs.image_shape(dataset, size=flags.image_size)
    half = (-(-shape[0] // 2), -(-shape[1] // 2), shape[2])
    own = swap_judges.encoders_to_learn_from(flags, PRESETS[flags.schedule].pictures_each)
    encoder = swap_judges.encoder_parts(own[0], dataset)
    parts = identity_swap.IdentitySwap(
        networks.identity_swap_generator(
            shape,
            encoder.identity_dim * len(own),
            features=flags.features,
            num_blocks=flags.num_blocks,
            skips=flags.skips,
            blend=flags.blend,
        ),
        networks.multi_scale(
            [networks.matching_discriminator(size, features=flags.discriminator_features) for size in (shape, half)]
        ),
        partial(identity_encoder.encode_by_all, parts=encoder),
        terms(flags),
    )
    make = partial(
        identity_swap.model,
        parts,
        generator_optimizer=runs.optimizer(flags, b1=0.0, b2=0.99),
        discriminator_optimizer=runs.optimizer(flags, learning_rate=flags.discriminator_learning_rate, b1=0.0, b2=0.99),
        averaging=flags.averaging or None,
        reduction=reduction,
    )

    def fresh() -> list[Any]:
        return [encoder.body.init(jax.random.key(each.seed)) for each in own]

    model = make(jax.eval_shape(fresh))  # only shapes: the encoders are made with the state
    return runs.Built(model._replace(init=lambda key, params=None: make(fresh()).init(key, params)), parts)


def prepare(flags: Flags, dataset: data.Dataset, built: runs.Built, cache: Path) -> runs.Built:
    """Finds or trains the encoders to learn from and what measures the swap; new states begin with these encoders."""
    bodies, judges = swap_judges.find_or_train(flags, PRESETS[flags.schedule].pictures_each, dataset, cache)

    def init(key: Key, params: Any = None) -> Any:
        return built.model.init(key, params)._replace(frozen={"identity": jax.tree.map(jnp.copy, bodies)})

    return runs.Built(built.model._replace(init=init), built.parts, judges)


def swapper(trained: runs.Trained) -> Callable[[Array, Array], Array]:
    """Swaps of any number of pictures: targets and sources, [N, ...] both -> [N, ...]."""
    some = jax.jit(partial(identity_swap.swap, parts=trained.parts))
    generator, bodies = trained.params["generator"], trained.state.frozen["identity"]

    def swap(target: Array, source: Array) -> Array:
        swapped = []
        for start in range(0, len(target), AT_A_TIME):  # one program, compiled once, for any number of them
            pair = [images[start : start + AT_A_TIME] for images in (target, source)]
            rest = ((0, AT_A_TIME - len(pair[0])), (0, 0), (0, 0), (0, 0))
            made = some(generator, bodies, *(jnp.pad(images, rest) for images in pair))
            swapped.append(made[: len(pair[0])])
        return jnp.concatenate(swapped)

    return swap


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws the grid of swaps; on rendered faces also the table of measures beside the baselines."""
    swap, judges = swapper(trained), trained.auxiliaries
    if trained.dataset.name == pairs.RENDERED:
        truth = pairs.swap_test(size=flags.image_size)
        save_grid(trained, swap, truth.target[:SHOWN], truth.target[:SHOWN], truth.candidates)
        return measure(trained, swap, flags.image_size)
    target, source = trained.examples
    save_grid(trained, swap, *trained.shown(SHOWN))
    other = jnp.roll(source, 1, axis=0)
    v = judges.encode(swap(target, other))
    return {
        "cosine_to_source": identity.mean_cosine(v, judges.encode(other)),
        "cosine_to_target": identity.mean_cosine(v, judges.encode(target)),
    }


def measure(trained: runs.Trained, swap: Callable[[Array, Array], Array], image_size: int) -> dict[str, float]:
    """Measures swaps of the test pairs and the baselines, and draws the table; then swaps of other identities."""
    rows = swap_judges.measure(trained.auxiliaries, swap, image_size=image_size)
    names = list(rows["swap"])
    about = {name: describe(name) for name in names}
    pictures.save_table(
        trained.workdir / "table.png",
        [[row[name] for row in rows.values()] for name in names],
        rows=[name.replace("_", " ") + (f", {about[name].unit}" if about[name].unit else "") for name in names],
        columns=["swap", "ideal", "target as it is", "source as it is", "colour transfer"],
        title=f"{len(pairs.TEST)} pairs of unseen identities",
        better=[about[name].better for name in names],
    )
    found = {
        name if method == "swap" else f"{method}_{name}": value
        for method, row in rows.items()
        for name, value in row.items()
    }
    found |= swap_judges.measure_others(trained.auxiliaries, swap, image_size=image_size)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def save_grid(
    trained: runs.Trained, swap: Callable, target: Array, source: Array, candidates: Array | None = None
) -> None:
    """Draws every source put into every target, and where they are known the ideal swaps [target, source]."""
    num = len(target)
    swapped = swap(jnp.tile(target, (num, 1, 1, 1)), jnp.repeat(source, num, axis=0))
    swapped = np.asarray(swapped).reshape(num, num, *target.shape[1:])
    ideal = None if candidates is None else np.asarray(candidates[:num, :num]).swapaxes(0, 1)
    pictures.save_swaps(trained.workdir / "swaps.png", swapped, target=target, source=source, ideal=ideal)


EXPERIMENT = runs.Experiment(
    "identity_swap",
    Flags,
    build,
    summarise,
    watch=("identity_loss", "reconstruction_loss", "discriminator_loss", "matching_loss"),
    resolve=resolve,
    load=load,
    source=source,
    prepare=prepare,
    headline=("psnr", "face_psnr", "background_error", "identified", "rank1", "cosine_to_source", "cosine_to_target"),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
