"""An encoder of identities (ArcFace; Deng et al. 2019): vectors that tell people apart, also those it never saw.

    python -m experiments.identity_encoder
    python -m experiments.identity_encoder --identities=score
    python -m experiments.identity_encoder --dataset=folder:PEOPLE

On `faces` it learns from rendered pictures of 1000 identities, and is measured on 100 others: the AUROC of telling
pairs of pictures of one from pairs of two, and the share of pictures whose nearest of all identities' centres is their
own, beside the same by the skin's mean colour. On a folder of people, a subfolder each, it is measured on the pictures
held out. `experiments.identity_swap` trains one to learn from and another, of other identities, to be scored by.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments import common, training
from genjax import data, networks, stochastic
from genjax.data import pairs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import identity
from genjax.models import identity_encoder
from genjax.types import Model


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=4000, batch_size=128, learning_rate=2e-3, eval_every=1000, dataset="faces")
    flags.DEFINE_enum("identities", "train", list(NUMBERS), "of rendered faces, which 1000 it learns")
    flags.DEFINE_integer("pictures_each", 24, "of rendered faces, pictures of each identity", lower_bound=2)
    flags.DEFINE_integer("image_size", 32, "of rendered faces, and what a folder's are resized to", lower_bound=8)
    flags.DEFINE_list("features", ["32", "64", "128"], "channels of the convolutions")
    flags.DEFINE_integer("identity_dim", 64, "length of the identity vector", lower_bound=2)
    flags.DEFINE_float("margin", 0.3, "in radians, reached after 30 % of the steps", lower_bound=0.0, upper_bound=1.5)
    flags.DEFINE_float("noise", 0.0, "standard deviation of Gaussian noise on what it learns from", lower_bound=0.0)
    flags.DEFINE_float("weight_decay", 1e-3, "AdamW's, of all parameters", lower_bound=0.0)


NUMBERS = {"train": pairs.TRAIN, "score": pairs.SCORE}
HELD_OUT = 2  # pictures of each identity, of those it learns


def load_people(config: common.Config) -> data.Dataset:
    """The data set that --dataset names, the pictures of a folder made squares of --image_size."""
    return data.load(config.dataset, data_dir=config.data_dir, size=config.image_size)


def load(config: common.Config) -> data.Dataset:
    """Rendered pictures of the identities, or the data set that --dataset names."""
    if config.dataset != "faces":
        return load_people(config)
    numbers = NUMBERS[config.identities]
    each = config.pictures_each + HELD_OUT
    drawn = pairs.rendered_pictures(numbers, each=each, stream=10, size=config.image_size)
    held_out = np.arange(len(drawn.label)) % each < HELD_OUT
    return data.from_arrays(
        f"faces-{config.identities}",
        drawn.x[~held_out],
        drawn.x[held_out],
        train_label=drawn.label[~held_out],
        test_label=drawn.label[held_out],
    )


def build_parts(
    config: common.Config, image_shape: tuple[int, ...], num_identities: int
) -> identity_encoder.IdentityEncoder:
    """The networks that the flags name."""
    body = networks.identity_network(image_shape, config.identity_dim, features=common.widths(config, "features"))
    return identity_encoder.IdentityEncoder(body, config.identity_dim, num_identities)


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    shape = dataset.train.x.shape[1:]
    if len(shape) != 3 or not dataset.num_classes:
        raise BadInput(f"data set {dataset.name!r}: an identity encoder needs images with labels")
    return build_model(config, build_parts(config, shape, dataset.num_classes))


def build_model(config: common.Config, parts: identity_encoder.IdentityEncoder) -> Model:
    """These networks' model; the learning rate falls to 0 along a cosine."""
    rate = optax.cosine_decay_schedule(config.learning_rate, config.num_steps)
    optimizer = optax.adamw(rate, weight_decay=config.weight_decay)
    margin = optax.linear_schedule(0.0, config.margin, max(1, int(0.3 * config.num_steps)))
    noise = stochastic.gaussian_noise(scale=config.noise) if config.noise else None
    return identity_encoder.model(parts, optimizer, margin=margin, corruption=noise, reduction=config.reduction)


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Measures it on identities that it never saw, or on held-out pictures; shows who is taken for whom."""
    parts = build_parts(config, finished.dataset.train.x.shape[1:], finished.dataset.num_classes or 0)
    encode = jax.jit(partial(identity_encoder.encode, parts=parts))
    body = finished.state.params["body"]

    def vectors(x: np.ndarray) -> np.ndarray:
        starts = range(0, len(x), 500)
        return np.concatenate([encode(body, jnp.float32(x[i : i + 500]) / finished.dataset.scale) for i in starts])

    if config.dataset == "faces":
        drawn = pairs.rendered_pictures(pairs.TEST, each=20, stream=11, size=config.image_size)
        gallery = np.arange(len(drawn.label)) % 20 < 10
        x, label = drawn.x, drawn.label
        skin = drawn.skin[..., None].astype(np.float64)
        colour = (skin * x).sum((1, 2)) / np.maximum(skin.sum((1, 2)), 1)
        means = np.stack([colour[gallery & (label == c)].mean(axis=0) for c in range(label.max() + 1)])
        nearest = np.argmin(np.square(colour[~gallery, None] - means).sum(axis=2), axis=1)
        baseline = {"colour_rank1": float(np.mean(nearest == label[~gallery]))}
    else:
        train, test = finished.dataset.train, finished.dataset.test
        x = np.concatenate([train.x, test.x])
        label = np.concatenate([np.asarray(train.label), np.asarray(test.label)])
        gallery, baseline = np.arange(len(x)) < len(train.x), {}
    v = vectors(x)
    named = identity.identify(v[~gallery], identity.centroids(v[gallery], label[gallery]))
    truth = label[~gallery]
    save_mistakes(
        finished,
        x[~gallery] / finished.dataset.scale,
        truth,
        named,
        x[gallery] / finished.dataset.scale,
        label[gallery],
    )
    return {
        "verification_auroc": identity.verification_auroc(v[~gallery], truth),
        "rank1": float(np.mean(named == truth)),
        **baseline,
    }


def save_mistakes(
    finished: common.Finished,
    x: np.ndarray,
    truth: np.ndarray,
    named: np.ndarray,
    others: np.ndarray,
    label: np.ndarray,
) -> None:
    """Writes pictures that were taken for another: each over a picture of its own identity and of the one it got."""
    wrong = np.flatnonzero(named != truth)[:12]
    if len(wrong):
        shown = [x[wrong], *(others[[np.argmax(label == who[i]) for i in wrong]] for who in (truth, named))]
        pictures.save_captioned_grid(
            finished.workdir / "mistakes.png",
            np.stack(shown),
            title="taken for another",
            rows=["picture", "its own identity", "what it was taken for"],
        )


EXPERIMENT = common.Experiment(
    "identity_encoder", define_flags, build, conclude, watch=("cross_entropy", "accuracy"), load=load
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
