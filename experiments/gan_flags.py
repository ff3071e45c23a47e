"""The flags of the page `gan`, and those of their defaults that depend on the data set and on other flags."""

from __future__ import annotations

from experiments import games, gan_networks, gan_parts, toy_modes, triple_modes
from genjax import data, runs
from genjax.data import triples
from genjax.evaluation.sample_quality import AT_LEAST
from genjax.runs import flag


class Flags(runs.Flags):
    """Generative adversarial network."""

    num_steps: int = flag(None, "number of updates of the generator; by default 5000, or 15000 on grid", at_least=1)
    batch_size: int = 256
    learning_rate: float = flag(
        None, "highest learning rate of the discriminator; by default 1e-3, or 2e-3 on grid", at_least=0
    )
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    keep_checkpoints: int = 5  # with the last one from before a collapse, which is noticed some evaluations later
    averaging: float = 0.99
    loss: str = flag("non_saturating", "losses of the two players", choices=games.LOSSES)
    alpha: float | None = flag(
        None,
        "weight of the generator's adversarial loss, with 1 - alpha for the discriminator's; by default both are 1",
        at_least=0,
        at_most=1,
    )
    penalty: str = flag(
        None,
        "penalty on the discriminator's gradient; by default r1, or none with --normalization=batch_both",
        choices=("none", *games.PENALTIES),
    )
    penalty_weight: float = flag(
        None,
        "weight of the penalty; by default 10, or for r1 0.1, and 0.003 on grid, and for r1_r2 half of that",
        at_least=0,
    )
    clip: float | None = flag(
        None, "largest magnitude of the discriminator's parameters, which are clipped to it", at_least=1e-6
    )
    spectral_norm: bool = flag(False, "divide the discriminator's kernels by their largest singular values")
    augmentation: tuple[str, ...] = flag(
        (),
        "differentiable transformations of real and generated images before the discriminator; by default there are "
        "none",
        choices=games.AUGMENTATIONS,
        may_be_empty=True,
        newer=True,
    )
    augmentation_target: float | None = flag(
        None,
        "apply each augmentation with a probability that makes the mean sign of real images' logits tend to this, 0.6 "
        "in the paper; by default each is always applied",
        at_least=-1,
        at_most=1,
        newer=True,
    )
    augmentation_ramp: int = flag(
        500_000, "number of images in which that probability can grow from 0 to 1", at_least=1, newer=True
    )
    top_k: float | None = flag(
        None,
        "share of the generated examples that train the generator in the end, those with the largest logits; at first "
        "all do, as always by default",
        at_least=0.001,
        at_most=1,
        newer=True,
    )
    top_k_steps: int | None = flag(
        None, "number of steps in which this share falls geometrically; by default half of all", at_least=1, newer=True
    )
    unrolled_steps: int = flag(
        0,
        "number of further steps of the discriminator after which the generator meets it; its gradient passes through "
        "them",
        at_least=0,
        at_most=100,
        newer=True,
    )
    unrolled_learning_rate: float = flag(
        0.1, "learning rate of these steps, of plain gradient descent", at_least=0, newer=True
    )
    num_critic_steps: int = flag(
        1, "number of updates of the discriminator per step, each on an equal part of the batch", at_least=1
    )
    generator_learning_rate: float = flag(
        None, "highest learning rate of the generator; by default that of the discriminator", at_least=0
    )
    beta1: float = flag(0.5, "Adam's b1 for both players", at_least=0, at_most=0.999999)
    beta2: float = flag(0.9, "Adam's b2 for both players", at_least=0, at_most=0.999999)
    conditional: bool = flag(False, "condition both players on the label")
    conditioning: str = flag(
        "concatenated",
        "how the discriminator of --conditional learns of the label: in its input, by a projection of its features, or "
        "as an auxiliary classifier, which both players train",
        choices=gan_networks.CONDITIONING,
        newer=True,
    )
    auxiliary_weight: float = flag(
        1.0, "weight of the auxiliary classifier's cross-entropy in the losses of both players", at_least=0, newer=True
    )
    network: str = gan_parts.network()
    hidden: tuple[int, ...] = flag(
        (128, 128, 128), "widths of the hidden layers of both MLPs", at_least=1, may_be_empty=True
    )
    features: tuple[int, ...] = flag(
        (32, 64), "channels of the convolutional discriminator; the generator mirrors them", at_least=1
    )
    normalization: str = gan_parts.normalization()
    self_attention: bool = flag(
        False,
        "let the places of the map of half the image's size attend to each other, in both convolutional networks",
        newer=True,
    )
    noise_inputs: bool = flag(
        False,
        "add noise of learned strength after each convolution of the generator of --network=style; samples share one "
        "draw of it",
        newer=True,
    )
    latent_dim: int = flag(
        None, "number of latent dimensions; by default 2 for toys, 16 for images and 48 for stacked ones", at_least=1
    )
    num_samples: int = flag(
        None,
        "number of samples drawn and measured at each evaluation; by default 2000, or 26000 of stacked images",
        at_least=AT_LEAST,
        at_most=10**6,
    )


def resolve(flags: Flags, dataset: data.Dataset) -> Flags:
    """Fills in the defaults that depend on the data set and on other flags."""
    many_modes, stacked = flags.dataset == "grid", flags.dataset.startswith(triples.PREFIX)
    learning_rate = flags.learning_rate
    if learning_rate is None:
        learning_rate = 2e-3 if many_modes else 1e-3
    penalty, penalty_weight = flags.penalty, flags.penalty_weight
    if penalty is None:
        penalty = "none" if flags.normalization == "batch_both" else "r1"
    if penalty_weight is None:
        of_r1 = 0.003 if many_modes else 0.1
        # where generated examples are like the data, R2 is equal to R1
        penalty_weight = {"r1": of_r1, "r1_r2": of_r1 / 2}.get(penalty, 10.0)
    of_generator = flags.generator_learning_rate
    num_steps = flags.num_steps or (15_000 if many_modes else 5000)
    return flags.replace(
        num_steps=num_steps,
        top_k_steps=flags.top_k_steps or (None if flags.top_k is None else -(-num_steps // 2)),
        learning_rate=learning_rate,
        generator_learning_rate=learning_rate if of_generator is None else of_generator,
        penalty=penalty,
        penalty_weight=penalty_weight,
        latent_dim=flags.latent_dim or (2 if flags.dataset in toy_modes.TOYS else 48 if stacked else 16),
        num_samples=flags.num_samples or (triple_modes.NUM_SAMPLES if stacked else 2000),
    )
