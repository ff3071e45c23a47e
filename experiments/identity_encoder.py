"""An encoder of identities (ArcFace; Deng et al. 2019): vectors that distinguish people, even new ones.

    python -m experiments.identity_encoder
    python -m experiments.identity_encoder --identities=score
    python -m experiments.identity_encoder --dataset=folder:PEOPLE

On `faces` it learns from rendered pictures of 1000 identities and is measured on 100 others: the AUROC of
distinguishing pairs of pictures of one identity from pairs of two, and the share of pictures whose nearest identity, by
the mean of its vectors, is their own; for comparison also the share by the mean colour of the skin. On a folder with a
subfolder for each person it is measured on the held-out pictures. `experiments.identity_swap` trains such encoders to
learn from, and another one, on other identities, to score the swaps.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data, networks, runs, stochastic
from genjax.data import identities, pairs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import identity
from genjax.gradients import Reduction
from genjax.models import identity_encoder
from genjax.runs import flag


class Flags(runs.Flags):
    """Identity encoder."""

    dataset: str = "faces"
    num_steps: int = 4000
    batch_size: int = 128
    learning_rate: float = 2e-3
    learning_rate_schedule: str = "cosine"
    optimizer: str = "adamw"
    weight_decay: float = 1e-3
    decay_biases: bool = True
    eval_every: int = 1000
    identities: str = flag("train", "set of 1000 rendered identities to learn", choices=identities.IDENTITIES)
    pictures_each: int = flag(24, "number of training pictures of each rendered identity", at_least=2, at_most=10**4)
    image_size: int = flag(
        32, "pixels per side of rendered faces, and of a folder's pictures after resizing", at_least=8, at_most=1024
    )
    features: tuple[int, ...] = flag((32, 64, 128), "channels of the convolutional layers", at_least=1)
    identity_dim: int = flag(64, "length of the identity vector", at_least=2)
    margin: float = flag(0.3, "angular margin in radians, reached after 30 % of the steps", at_least=0, at_most=1.5)
    noise: float = flag(0.0, "standard deviation of the Gaussian noise added to the training pictures", at_least=0)


def load(flags: Flags) -> data.Dataset:
    """Rendered pictures of the identities, or a data set whose pictures, if a folder's, become squares."""
    if flags.dataset == pairs.RENDERED:
        return identities.rendered_identities(
            flags.identities, pictures_each=flags.pictures_each, size=flags.image_size
        )
    return data.load(flags.dataset, data_dir=flags.data_dir, size=flags.image_size, label_column=flags.label_column)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The network and the model."""
    shape = dataset.train.x.shape[1:]
    if len(shape) != 3:
        raise BadInput(f"data set {dataset.name!r} has no images, which an identity encoder needs", parameter="dataset")
    num_classes = dataset.require_classes("an identity encoder", parameter="dataset")
    dataset.require_bounded("an identity encoder", parameter="dataset")
    body = networks.identity_network(shape, flags.identity_dim, features=flags.features)
    parts = identity_encoder.IdentityEncoder(body, flags.identity_dim, num_classes)
    model = identity_encoder.model(
        parts,
        runs.optimizer(flags),
        margin=identity_encoder.rising_margin(flags.margin, num_steps=flags.num_steps),
        corruption=stochastic.gaussian_noise(scale=flags.noise) if flags.noise else None,
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Measures the encoder on new identities, or on held-out pictures; draws its mistakes."""
    encode = jax.jit(partial(identity_encoder.encode, parts=trained.parts))
    body, scale = trained.params["body"], trained.dataset.scale

    def vectors(x: np.ndarray) -> np.ndarray:
        starts = range(0, len(x), 500)
        return np.concatenate([encode(body, jnp.float32(x[start : start + 500]) / scale) for start in starts])

    baseline = {}
    if flags.dataset == pairs.RENDERED:
        drawn = pairs.rendered_pictures(pairs.TEST, each=20, stream=11, size=flags.image_size)
        x, label = drawn.x, drawn.label
        gallery = np.arange(len(label)) % 20 < 10
        baseline["colour_rank1"] = identity.colour_rank1(x, drawn.skin, label, gallery)
    else:
        train, test = trained.dataset.train, trained.dataset.test
        x = np.concatenate([train.x, test.x])
        label = np.concatenate([np.asarray(train.label), np.asarray(test.label)])
        gallery = np.arange(len(x)) < len(train.x)
    v = vectors(x)
    named, truth = identity.identify(v[~gallery], identity.centroids(v[gallery], label[gallery])), label[~gallery]
    save_mistakes(trained, x[~gallery] / scale, truth, named, x[gallery] / scale, label[gallery])
    measured = {"rank1": float(np.mean(named == truth)), **baseline}
    counts = np.unique(truth, return_counts=True)[1]
    if len(counts) > 1 and counts.max() > 1:  # there are pairs of one identity, and of two
        measured["verification_auroc"] = identity.verification_auroc(v[~gallery], truth)
    return measured


def save_mistakes(
    trained: runs.Trained, x: np.ndarray, truth: np.ndarray, named: np.ndarray, others: np.ndarray, label: np.ndarray
) -> None:
    """Draws pictures that were taken for another identity, with one picture of each of the two identities below."""
    wrong = np.flatnonzero(named != truth)
    wrong = wrong[data.choose(len(wrong), 12)]
    if len(wrong):
        shown = [x[wrong], *(others[[np.argmax(label == who[i]) for i in wrong]] for who in (truth, named))]
        pictures.save_captioned_grid(
            trained.workdir / "mistakes.png",
            np.stack(shown),
            title="pictures that were taken for another identity",
            rows=["picture", "its own identity", "what it was taken for"],
        )


def applications(flags: Flags, parts: identity_encoder.IdentityEncoder) -> dict[str, runs.Application]:
    """The identity vectors of pictures."""
    return {"vectors": runs.Application(lambda params, x, key: identity_encoder.encode(params["body"], x, parts=parts))}


EXPERIMENT = runs.Experiment(
    "identity_encoder",
    Flags,
    build,
    summarise,
    watch=("cross_entropy", "accuracy"),
    load=load,
    applications=applications,
    metrics=lambda flags: {"loss": runs.Metric("nats", "lower")},
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
