"""The auxiliary models of an identity swap: encoders that it learns from, one that scores it, an attribute regressor.

They are trained once and kept beside the runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import data, networks, runs, stochastic
from genjax.data import batching, faces, identities, pairs
from genjax.evaluation import identity
from genjax.models import identity_encoder, regressor
from genjax.models.identity_encoder import IdentityEncoder
from genjax.runs import auxiliary, flag
from genjax.types import Array, Params

JUDGE_FEATURES = (32, 64, 128)  # channels of the encoder that scores and of the regressor: the same for every swap

encode = jax.jit(identity_encoder.encode, static_argnames="parts")


class JudgeFlags(runs.Record):
    """Pictures and auxiliary models."""

    image_size: int = flag(
        32, "pixels per side of rendered faces, and of a folder's pictures after resizing", at_least=8, at_most=1024
    )
    encoder_steps: int = flag(
        None, "number of updates of each identity encoder; by default that of --schedule", at_least=1
    )
    encoder_features: tuple[int, ...] = flag(
        None, "channels of each identity encoder that the swap learns from; by default those of --schedule", at_least=1
    )
    encoder_noise: tuple[float, ...] = flag(
        None,
        "noise levels; the swap learns from one identity encoder trained at each; by default those of --schedule",
        at_least=0,
    )
    regressor_steps: int = flag(
        None, "number of updates of the attribute regressor, 0 for none; by default that of --schedule", at_least=0
    )


class Judges(NamedTuple):
    """The networks that measure swaps and take no part in training them."""

    encode: Callable[[Array], Array]  # x [N, H, W, C] -> unit vectors [N, m]
    read_attributes: Callable[[Array], Array] | None  # x [N, H, W, 3] -> `faces.attribute_targets` [N, 29]


class Encoder(NamedTuple):
    """What determines an identity encoder, beside its data."""

    identities: str  # a name in `identities.IDENTITIES`: "train" to learn from, "score" for the encoder that scores
    seed: int
    num_steps: int
    features: tuple[int, ...]  # channels of the convolutions
    noise: float  # standard deviation of the noise on the pictures that it learns from
    pictures_each: int  # training pictures of each rendered identity
    image_size: int
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    margin: float = 0.3
    identity_dim: int = 64

    @property
    def purpose(self) -> str:
        """The purpose of the encoder, in words."""
        return "to learn from" if self.identities == "train" else "to score swaps by"


def encoders_to_learn_from(flags: JudgeFlags, pictures_each: int) -> list[Encoder]:
    """The encoders that the swap learns from, which differ in their seeds and in their noise."""
    return [
        Encoder(
            "train",
            seed=seed,
            num_steps=flags.encoder_steps,
            features=flags.encoder_features,
            noise=noise,
            pictures_each=pictures_each,
            image_size=flags.image_size,
        )
        for seed, noise in enumerate(flags.encoder_noise)
    ]


def find_or_train(
    flags: JudgeFlags, pictures_each: int, dataset: data.Dataset, cache: Path
) -> tuple[list[Params], Judges]:
    """The bodies of the encoders that the swap learns from, and what measures it.

    Args:
      pictures_each: training pictures of each rendered identity; the encoder that scores has 24 at most.
      dataset: as the swap is trained on.

    Raises:
      BadInput: as `find_or_train_encoders` does.
    """
    to_learn_from = encoders_to_learn_from(flags, pictures_each)
    scoring = to_learn_from[0]._replace(
        identities="score", seed=1, features=JUDGE_FEATURES, noise=0.0, pictures_each=min(24, pictures_each)
    )
    *bodies, score_body = find_or_train_encoders([*to_learn_from, scoring], dataset, cache)
    parts, read = encoder_parts(scoring, dataset), None
    if flags.regressor_steps and dataset.name == pairs.RENDERED:
        read = find_or_train_regressor(num_steps=flags.regressor_steps, image_size=flags.image_size, cache=cache)
    return bodies, Judges(lambda x: encode(score_body, x, parts=parts), read)


def encoder_parts(own: Encoder, dataset: data.Dataset) -> IdentityEncoder:
    """The networks of an identity encoder."""
    rendered = dataset.name == pairs.RENDERED
    num = len(identities.IDENTITIES[own.identities]) if rendered else dataset.num_classes or 0
    shape = pairs.image_shape(dataset, size=own.image_size)
    return IdentityEncoder(
        networks.identity_network(shape, own.identity_dim, features=own.features), own.identity_dim, num
    )


def find_or_train_encoders(encoders: Sequence[Encoder], dataset: data.Dataset, cache: Path) -> list[Params]:
    """The parameters of the bodies of identity encoders, from the cache or trained now.

    On `faces` they learn from rendered pictures, else from one half of each person's: one half for those to learn from,
    the other one for those that score. One line on standard error warns of an encoder that has learned nothing.

    Raises:
      BadInput: for data without labels, or a folder that holds other parameters than were trained.
    """

    @lru_cache(maxsize=1)  # several encoders learn from the same pictures
    def rendered(name: str, pictures_each: int, image_size: int) -> data.Dataset:
        return identities.rendered_identities(name, pictures_each=pictures_each, size=image_size)

    def pictures(own: Encoder) -> data.Dataset:
        return rendered(own.identities, own.pictures_each, own.image_size)

    return [_find_or_train_encoder(own, dataset, pictures, cache) for own in encoders]


def _find_or_train_encoder(
    own: Encoder, dataset: data.Dataset, pictures: Callable[[Encoder], data.Dataset], cache: Path
) -> Params:
    is_rendered = dataset.name == pairs.RENDERED
    if not is_rendered:
        dataset = identities.halved(dataset, first=own.identities == "train")
        own = own._replace(batch_size=min(own.batch_size, len(dataset.train.x)))
    parts = encoder_parts(own, dataset)
    rate = optax.cosine_decay_schedule(own.learning_rate, own.num_steps)
    model = identity_encoder.model(
        parts,
        optax.adamw(rate, weight_decay=own.weight_decay),
        margin=identity_encoder.rising_margin(own.margin, num_steps=own.num_steps),
        corruption=stochastic.gaussian_noise(scale=own.noise) if own.noise else None,
    )
    found = auxiliary.find_or_train(
        model,
        lambda: batching.source(pictures(own) if is_rendered else dataset, batch_size=own.batch_size),
        name="identity_encoder",
        settings=own._asdict() | {"scale": dataset.scale},  # which tells binarized pictures from others
        seed=own.seed,
        num_steps=own.num_steps,
        fingerprint=dataset.fingerprint,
        cache=cache,
        purpose=own.purpose,
        watch=("cross_entropy", "accuracy"),
    )
    _check_learned(found, own, parts, dataset)
    return found.params["body"]


def _check_learned(
    found: auxiliary.Auxiliary, own: Encoder, parts: IdentityEncoder, dataset: data.Dataset, num: int = 500
) -> None:
    """Warns if an encoder recognises its training identities no better than chance on other pictures."""
    if dataset.name == pairs.RENDERED:
        drawn = pairs.rendered_pictures(
            identities.IDENTITIES[own.identities][:num], each=1, stream=13, size=own.image_size
        )
        x, label = drawn.x / np.float32(255), drawn.label
    else:
        some = dataset.test.sample(num)
        x, label = dataset.scaled(some), np.asarray(some.label)
    classes = np.asarray(found.params["classes"])
    v = encode(found.params["body"], jnp.float32(x), parts=parts)
    named = identity.identify(v, classes / np.linalg.norm(classes, axis=1, keepdims=True))
    accuracy = float(np.mean(named == label))
    if not identity.above_chance(accuracy, num_classes=len(classes), num_examples=len(x)):
        print(
            f"warning: the identity encoder {own.purpose} in {found.folder} recognises {accuracy:.1%} of {len(x)} "
            f"pictures, no better than chance, after {own.num_steps} steps; give more --encoder_steps",
            file=sys.stderr,
        )


def find_or_train_regressor(*, num_steps: int, image_size: int, cache: Path) -> Callable[[Array], Array]:
    """Predicts the attributes of rendered faces: pictures [N, S, S, 3] -> `faces.attribute_targets` [N, 29]."""
    own: dict[str, Any] = {
        "batch_size": 64,
        "learning_rate": 2e-3,
        "image_size": image_size,
        "features": list(JUDGE_FEATURES),
    }
    num_targets = sum(len(places) for places in faces.target_groups().values())
    network = networks.identity_network((image_size, image_size, 3), num_targets, features=own["features"])
    found = auxiliary.find_or_train(
        regressor.model(network, optax.adamw(optax.cosine_decay_schedule(own["learning_rate"], num_steps))),
        lambda: pairs.rendered_attributes(batch_size=own["batch_size"], size=image_size),
        name="attribute_regressor",
        settings=own,
        seed=2,
        num_steps=num_steps,
        fingerprint=pairs.RENDERED,
        cache=cache,
        purpose="to read attributes with",
        watch=("squared_error",),
    )
    return jax.jit(lambda x: network.apply(found.params, x))


def measure(
    judges: Judges, swap: Callable[[Array, Array], Array], *, image_size: int, numbers: range = pairs.TEST
) -> dict[str, dict[str, float]]:
    """All measures of the swaps of rendered identities, and of the baselines, by method."""
    truth = pairs.swap_test(size=image_size, numbers=numbers)
    methods = {
        "swap": swap(truth.target, truth.source),
        "ideal": truth.ideal,
        "target": truth.target,
        "source": truth.source,
        "colour": identity.colour_transfer(truth.target, truth.source, truth.target_skin, truth.source_skin),
    }
    centres = _centres(judges, numbers, image_size=image_size)
    return {
        name: identity.swap_measures(images, truth, judges.encode, centres, judges.read_attributes)
        for name, images in methods.items()
    }


def measure_others(judges: Judges, swap: Callable[[Array, Array], Array], *, image_size: int) -> dict[str, float]:
    """Measures of swaps of training identities, seen_..., and of unseen ones of one colour and outline, alike_...."""
    found = {}
    for prefix, numbers, alike in (("seen", pairs.TRAIN[: len(pairs.TEST)], False), ("alike", pairs.TEST, True)):
        truth = pairs.swap_test(size=image_size, numbers=numbers, alike=alike)
        centres = _centres(judges, numbers, image_size=image_size, alike=alike)
        for method, images in (("", swap(truth.target, truth.source)), ("ideal_", truth.ideal)):
            measured = identity.swap_measures(images, truth, judges.encode, centres)
            names = ("face_error_reduction", "identified", "rank1", "cosine_to_source")
            found |= {f"{method}{prefix}_{name}": measured[name] for name in names}
    return found


def _centres(judges: Judges, numbers: range, *, image_size: int, alike: bool = False) -> np.ndarray:
    """The centre of each identity's vectors over ten pictures of it, [N, m]."""
    gallery = pairs.rendered_pictures(numbers, each=10, stream=12, size=image_size, alike=alike)
    vectors = [judges.encode(jnp.float32(gallery.x[i : i + 500]) / 255) for i in range(0, len(gallery.x), 500)]
    return identity.centroids(np.concatenate(vectors), gallery.label)
