"""An adversarial autoencoder, whose codes a discriminator makes follow a prior (Makhzani et al. 2016).

    python -m experiments.adversarial_autoencoder
    python -m experiments.adversarial_autoencoder --prior=ring
    python -m experiments.adversarial_autoencoder --prior=swiss_roll --variant=labelled
    python -m experiments.adversarial_autoencoder --dataset=mnist --data_dir=DIR --prior=ring --variant=labelled
    python -m experiments.adversarial_autoencoder --variant=semi_supervised --num_labels=100

The prior only has to be sampled: N(0, I), Gaussians on a ring, or a spiral. With --variant=labelled, the discriminator
is given the label beside the code, so that each class has its own Gaussian of the ring, or piece of the spiral, to
fill; --num_labels leaves most labels out, whose codes may then lie anywhere under the prior.

With --variant=semi_supervised, a code is a class and a style of --latent_dim numbers, each with a discriminator of its
own: the classes are made to follow a uniform categorical distribution, the styles the prior, and --num_labels training
examples, as many of each class, teach which class is which (section 5 of the paper). A batch has --num_labelled of
them. In `samples.png` each row is of one style, each column of one class. The metrics are:

    prior_moment_*              first and second moment of the codes in units of the prior's, 0 and 1 where they agree
    discriminator_loss          1.386, 2 log 2, where the codes cannot be told from the prior
    psnr                        of the reconstructions of held-out examples
    nearest_neighbour_accuracy  how often the nearest training codes are of the same class
    region_accuracy             of labelled codes: how often the class whose p(z|y) is greatest is the right one
    error                       semi-supervised: how often the class of a held-out example's code is wrong
    nearest_neighbour_error     and how often that of the nearest of the labelled examples is
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications, class_and_style, code_moments, few_labels, games
from genjax import data, losses, networks, runs
from genjax.data import batching
from genjax.drawing import charts, pictures
from genjax.errors import BadInput
from genjax.evaluation import images, neighbours
from genjax.gradients import Reduction
from genjax.losses import RECONSTRUCTIONS, Prior
from genjax.models import adversarial_autoencoder, autoencoder
from genjax.models.adversarial_autoencoder import AdversarialAutoencoder
from genjax.models.semi_supervised import UNKNOWN
from genjax.models.semi_supervised_adversarial import SemiSupervisedAdversarial
from genjax.runs import flag, sampling, showing
from genjax.types import Array, Key, Params

IN_THE_PLANE = {"ring": losses.ring_prior, "swiss_roll": losses.swiss_roll_prior}
NUM_DRAWS = 10_000  # from the prior, for its moments


class Flags(runs.Flags):
    """Adversarial autoencoder."""

    num_steps: int = 5000
    batch_size: int = 128
    learning_rate: float = flag(3e-4, "highest learning rate of the reconstruction", at_least=0)
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    variant: str = flag(
        "unsupervised",
        "whether the discriminator is given a code alone, or its label as well (labelled), or codes have a part for "
        "the class, which a few labels name (semi_supervised)",
        choices=("unsupervised", "labelled", "semi_supervised"),
    )
    prior: str = flag("normal", "what the codes are made to follow", choices=("normal", *IN_THE_PLANE))
    num_components: int = flag(
        None, "number of Gaussians of the ring; by default 10, or one per class if it is labelled", at_least=1
    )
    num_labels: int | None = flag(
        None,
        "number of training examples with labels; by default all in the variant labelled, 100 in semi_supervised",
        at_least=1,
    )
    label_seed: int = flag(
        0, "seed of the choice of these examples in semi_supervised", at_least=0, at_most=2**32 - 1, newer=True
    )
    num_labelled: int = flag(32, "number of labelled examples in a batch of semi_supervised", at_least=1, newer=True)
    adversarial_learning_rate: float = flag(
        1e-3, "highest learning rate of the discriminator, and of the encoder against it", at_least=0
    )
    beta1: float = flag(0.5, "Adam's b1 for these two", at_least=0, at_most=0.999999)
    penalty_weight: float = flag(
        None,
        "weight of the penalty R1 on the discriminator's slope; by default 0.3, or 0.01 on a ring or a spiral, which "
        "have finer details",
        at_least=0,
    )
    hidden: tuple[int, ...] = flag((256, 256), "widths of the hidden layers of all three networks", at_least=1)
    latent_dim: int = flag(None, "number of latent dimensions; by default 8, or 2 on a ring or a spiral", at_least=1)
    reconstruction: str = flag("cross_entropy", "reconstruction loss", choices=RECONSTRUCTIONS)


def resolve(flags: Flags, dataset: data.Dataset) -> Flags:
    """Fills in the defaults that depend on the data set and on other flags."""
    classes = dataset.num_classes if flags.variant == "labelled" else None
    in_the_plane, weight = flags.prior in IN_THE_PLANE, flags.penalty_weight
    return flags.replace(
        latent_dim=flags.latent_dim or (2 if in_the_plane else 8),
        penalty_weight=(0.01 if in_the_plane else 0.3) if weight is None else weight,
        num_components=flags.num_components or classes or 10,
        num_labels=flags.num_labels or (100 if flags.variant == "semi_supervised" else None),
    )


def check(flags: Flags, dataset: data.Dataset) -> int:
    """Checks the flags against each other and the data; returns the number of classes that the discriminator knows."""
    if flags.prior in IN_THE_PLANE and flags.latent_dim != 2:
        raise BadInput(f"a {flags.prior} is in the plane; use 2, not {flags.latent_dim}", parameter="latent_dim")
    if flags.reconstruction == "cross_entropy":
        dataset.require_bounded("cross-entropy", parameter="reconstruction")
    if flags.variant == "semi_supervised":
        few_labels.check(flags, dataset)
        return 0
    if flags.variant == "unsupervised":
        if flags.num_labels is not None:
            raise BadInput("only the variants labelled and semi_supervised read labels", parameter="num_labels")
        return 0
    num_classes = dataset.require_classes("a labelled discriminator", parameter="variant")
    if flags.prior in IN_THE_PLANE and flags.num_components != num_classes:
        raise BadInput(
            f"each of the {num_classes} classes has one, so it cannot be {flags.num_components}",
            parameter="num_components",
        )
    if flags.num_labels is not None and flags.num_labels > len(dataset.train.x):
        raise BadInput(f"there are {len(dataset.train.x)} training examples", parameter="num_labels")
    return num_classes


def source(flags: Flags, dataset: data.Dataset) -> batching.Source:
    """Batches of examples, of which --num_labels training examples, a fixed random choice, keep their labels."""
    if flags.variant == "semi_supervised":
        return few_labels.source(flags, dataset)
    if check(flags, dataset) and flags.num_labels is not None:
        train, label = dataset.train, np.asarray(dataset.train.label)
        known = np.isin(np.arange(len(label)), data.choose(len(label), flags.num_labels))
        dataset = dataset._replace(train=train._replace(label=np.where(known, label, UNKNOWN).astype(np.int32)))
    return runs.read_shuffled(flags, dataset)


def build_prior(flags: Flags, num_classes: int) -> Prior:
    """The prior, which takes labels if the discriminator is given them."""
    if flags.prior == "normal":
        return losses.STANDARD_NORMAL
    return IN_THE_PLANE[flags.prior](flags.num_components, classes=num_classes > 0)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the prior and the model."""
    num_classes, shape, d = check(flags, dataset), dataset.train.x.shape[1:], flags.latent_dim
    if flags.variant == "semi_supervised":
        return class_and_style.build(flags, dataset, build_prior(flags, 0), reduction)
    mlp = partial(networks.mlp, activation=jax.nn.relu)
    parts = AdversarialAutoencoder(
        autoencoder.Autoencoder(
            mlp(shape, (d,), hidden=flags.hidden),
            mlp((d,), shape, hidden=flags.hidden[::-1]),
            RECONSTRUCTIONS[flags.reconstruction],
        ),
        mlp((d + num_classes,), (), hidden=flags.hidden),
        d,
        build_prior(flags, num_classes),
        num_classes=num_classes,
    )
    adversary = partial(runs.optimizer, flags, learning_rate=flags.adversarial_learning_rate, b1=flags.beta1)
    model = adversarial_autoencoder.model(
        parts,
        runs.optimizer(flags),
        adversary(),
        adversary(),
        penalty=games.r1_of(flags),
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def draw_prior(num: int, key: Key, *, parts: AdversarialAutoencoder) -> Array:
    """Draws from the whole prior, whatever the class: [num, d]."""
    label = jnp.full(num, UNKNOWN) if parts.num_classes else None
    return adversarial_autoencoder.sample_prior(num, key, label, parts=parts)


def monitor(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """The moments of held-out codes in units of the prior's; of labelled ones, whether they lie in their regions."""
    parts, x = class_and_style.game_of(trained.parts), trained.examples.x
    codes = jax.jit(partial(autoencoder.encode, parts=parts.autoencoder))(trained.params, x)
    draws = draw_prior(NUM_DRAWS, trained.key, parts=parts)
    styles = (class_and_style.style_of(z, trained.parts) for z in (codes, draws))
    found = code_moments.prior_moments(*styles)
    if not parts.num_classes or flags.prior == "normal":
        return found
    densities = jax.vmap(lambda y: parts.prior.negative_log_density((), codes, jnp.full(len(codes), y)))
    nearest = jnp.argmin(densities(jnp.arange(parts.num_classes)), axis=0)
    return found | {"region_accuracy": float(jnp.mean(nearest == jnp.asarray(trained.classes)))}


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws samples, reconstructions and codes; measures the last two."""
    dataset, workdir = trained.dataset, trained.workdir
    parts, num_classes = class_and_style.game_of(trained.parts), trained.parts.num_classes
    columns, title = num_classes or 10, "decoded draws from the prior"
    if flags.variant == "semi_supervised":
        samples, title = class_and_style.table(trained), "a style in each row, a class in each column"
    else:
        samples = sampling.draw(trained.model, trained.state, 10 * columns, trained.key)
    showing.save_samples(
        trained,
        samples,
        title=title + (", a class in each column" if parts.num_classes else ""),
        columns=columns,
        captions=pictures.class_captions(range(num_classes), dataset.class_names),
    )
    reconstruct = partial(autoencoder.reconstruct, parts=parts.autoencoder)
    showing.save_reconstructions(trained, reconstruct, title=f"reconstructions from {flags.latent_dim} numbers")
    encode, x = jax.jit(partial(autoencoder.encode, parts=parts.autoencoder)), trained.examples.x
    codes = encode(trained.params, x)
    draws = draw_prior(len(codes), trained.key, parts=parts)
    styles = {name: class_and_style.style_of(z, trained.parts) for name, z in (("prior", draws), ("codes", codes))}
    pictures.save_latent_map(workdir / "latent_map.png", styles["codes"], trained.classes, names=dataset.class_names)
    charts.save_points(workdir / "prior.png", styles, title="codes of held-out examples")
    low, high = dataset.limits
    metrics = {"psnr": float(images.set_psnr(jax.jit(reconstruct)(trained.params, x), x, peak=high - low))}
    if flags.variant == "semi_supervised":
        error = few_labels.nearest_neighbour_error(flags, dataset, x, trained.examples.label, num_classes)
        return metrics | {"nearest_neighbour_error": error}
    known = dataset.train.sample(10_000)
    of_known = dataset.classes(known)
    if of_known is not None and trained.classes is not None:
        metrics["nearest_neighbour_accuracy"] = neighbours.knn_accuracy(
            encode(trained.params, dataset.scaled(known)),
            of_known,
            codes,
            trained.classes,
            num_neighbours=min(5, len(known.x)),
        )
    return metrics


def generator(flags: Flags, parts: AdversarialAutoencoder | SemiSupervisedAdversarial) -> runs.Generator:
    """How codes are decoded, made of data, and drawn from the prior."""
    game = class_and_style.game_of(parts)

    def prior(params: Params, num: int, key: Key) -> Array:
        return draw_prior(num, key, parts=game)

    made = applications.autoencoder_generator(flags, game.autoencoder, latent_dim=game.latent_dim)
    return made._replace(prior=prior)


def metrics(flags: Flags) -> dict[str, runs.Metric]:
    """Units and directions that names do not show."""
    found = applications.reconstruction_metrics(flags) | {
        name: runs.Metric("", "lower") for name in ("error", "nearest_neighbour_error")
    }
    return {name: metric for name, metric in found.items() if name != "loss"}


EXPERIMENT = runs.Experiment(
    "adversarial_autoencoder",
    Flags,
    build,
    summarise,
    watch=("reconstruction_loss", "discriminator_loss", "generator_loss"),
    resolve=resolve,
    source=source,
    monitor=monitor,
    codec=lambda parts: autoencoder.codec(class_and_style.game_of(parts).autoencoder),
    generator=generator,
    applications=class_and_style.applications_of,
    metrics=metrics,
    headline=(
        "error",
        "psnr",
        "prior_moment_mean",
        "prior_moment_second",
        "region_accuracy",
        "nearest_neighbour_accuracy",
    ),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
