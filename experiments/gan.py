"""A generative adversarial network (Goodfellow et al. 2014), on images or on toys whose modes are known.

    python -m experiments.gan
    python -m experiments.gan --dataset=ring
    python -m experiments.gan --dataset=grid --loss=hinge
    python -m experiments.gan --dataset=mnist --data_dir=DIR --network=dcgan --batch_size=64 --num_steps=12000
    python -m experiments.gan --loss=wasserstein --penalty=gradient --num_critic_steps=5

--loss, --penalty, --clip and --spectral_norm select the game. At each evaluation it draws samples of the same
noise (the folder `along`, `training.gif`, and the last as `samples.png`) and measures them. On `ring` and `grid` it
counts the modes that they cover and the share that lies within 3 standard deviations of one (of the mixture's own draws
0.989), and draws them over the true density and the discriminator's logit; `grid`, whose modes are many and close, has
15 000 steps by default, a learning rate of 2e-3 and a weak penalty, all else 5000 and 1e-3. Images with labels, where
enough are held out, it compares with the data by `experiments.features.sample_quality`: what is called a distance there
is one in the features of the project's own classifier, which is trained first.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from numpy.typing import ArrayLike

from experiments import common, features, training
from genjax import data, losses, networks
from genjax.data import toys
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation.modes import mode_coverage
from genjax.losses import mean_logit
from genjax.models import alternating, gan
from genjax.types import Model, Network, Params


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=None, batch_size=256, learning_rate=None, eval_every=1000)
    flags.DEFINE_enum("loss", "non_saturating", list(LOSSES), "the game")
    flags.DEFINE_float("alpha", None, "weighs L as (1 - alpha) L_D + alpha L_G", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_enum("penalty", "r1", ["none", "gradient", "r1", "dragan", "lipschitz"], "on the critic's slope")
    flags.DEFINE_float(
        "penalty_weight",
        None,
        "of the penalty; by default 10, of r1 0.1, on `grid`, where modes lie close, 0.003",
        lower_bound=0.0,
    )
    flags.DEFINE_float("clip", None, "keeps the discriminator's parameters within [-clip, clip]", lower_bound=1e-6)
    flags.DEFINE_bool("spectral_norm", False, "divide the discriminator's kernels by their largest singular values")
    flags.DEFINE_integer("num_critic_steps", 1, "discriminator updates a step, each on a part of it", lower_bound=1)
    flags.DEFINE_float("generator_learning_rate", None, "Adam's; by default as the discriminator's", lower_bound=0.0)
    flags.DEFINE_float("beta1", 0.5, "Adam's, of both players", lower_bound=0.0, upper_bound=0.999999)
    flags.DEFINE_float("beta2", 0.9, "Adam's, of both players", lower_bound=0.0, upper_bound=0.999999)
    flags.DEFINE_float(
        "averaging", 0.99, "of the generator's parameters over the steps", lower_bound=0.0, upper_bound=0.999999
    )
    flags.DEFINE_bool("conditional", False, "tell both players the label")
    flags.DEFINE_enum("network", "mlp", ["mlp", "dcgan", "residual"], "generator and discriminator")
    flags.DEFINE_list("hidden", ["128", "128", "128"], "widths of the MLPs' hidden layers")
    flags.DEFINE_list("features", ["32", "64"], "channels of the convolutional discriminator; the generator mirrors it")
    flags.DEFINE_integer("latent_dim", None, "dimensions of z; by default 2 for toys and 16 for images", lower_bound=1)
    flags.DEFINE_integer(
        "num_samples", 2000, "samples that are drawn, counted and compared at each evaluation", lower_bound=20
    )


def resolve(config: common.Config) -> None:
    """Fills in what follows from other flags."""
    many_modes = config.dataset == "grid"
    config.num_steps = config.num_steps or (15_000 if many_modes else 5000)
    if config.learning_rate is None:
        config.learning_rate = 2e-3 if many_modes else 1e-3
    if config.latent_dim is None:
        config.latent_dim = 2 if config.dataset in TOYS else 16
    if config.generator_learning_rate is None:
        config.generator_learning_rate = config.learning_rate
    if config.penalty_weight is None:
        of_r1 = 0.003 if many_modes else 0.1
        config.penalty_weight = of_r1 if config.penalty == "r1" else 10.0


LOSSES = {
    "minimax": losses.MINIMAX,
    "non_saturating": losses.NON_SATURATING,
    "least_squares": losses.LEAST_SQUARES,
    "hinge": losses.HINGE,
    "wasserstein": losses.WASSERSTEIN,
}
TOYS = {"ring": toys.RING, "grid": toys.GRID}
CONVOLUTIONAL = {
    "dcgan": (networks.dcgan_generator, networks.dcgan_discriminator),
    "residual": (networks.residual_generator, networks.residual_discriminator),
}


def penalty_of(config: common.Config) -> gan.CriticPenalty | None:
    """The penalty that the flags name, with its weight."""
    weight = config.penalty_weight
    return {
        "none": None,
        "gradient": lambda critic, real, fake, key: weight * losses.gradient_penalty(critic, real, fake, key),
        "lipschitz": lambda critic, real, fake, key: weight * losses.lipschitz_penalty(critic, real, fake, key),
        "r1": lambda critic, real, fake, key: weight * losses.r1_penalty(critic, real),
        # noise of half the data's standard deviation, as in the paper's code
        "dragan": lambda critic, real, fake, key: (
            weight * losses.dragan_penalty(critic, real, key, scale=0.5 * jnp.std(real))
        ),
    }[config.penalty]


def build_parts(config: common.Config, dataset: data.Dataset) -> tuple[gan.GAN, Callable[[Params], Params]]:
    """The networks and the game that the flags name, and what follows each update of the discriminator."""
    shape = dataset.train.x.shape[1:]
    if config.conditional and dataset.num_classes is None:
        raise BadInput(f"--conditional: {config.dataset} has no labels")
    num_classes = dataset.num_classes or 0 if config.conditional else 0
    z_dim, seen = config.latent_dim + num_classes, (*shape[:-1], shape[-1] + num_classes)
    if config.network == "mlp":
        hidden = common.widths(config, "hidden")
        # images end in a sigmoid; a toy's samples are free, and begin in the middle of the data
        last = jax.nn.sigmoid if len(shape) == 3 else lambda x: x + 0.5
        generator = networks.mlp((z_dim,), shape, hidden=hidden, activation=jax.nn.relu, output_activation=last)
        discriminator = networks.mlp(seen, (), hidden=hidden, activation=jax.nn.relu)
    elif len(shape) == 3:
        features = common.widths(config, "features")
        make_generator, make_discriminator = CONVOLUTIONAL[config.network]
        generator = make_generator(z_dim, shape, features=features)
        discriminator = make_discriminator(seen, features=features)
    else:
        raise BadInput(f"--network={config.network}: {config.dataset} has no images; give --network=mlp")
    discriminator, project = constrained(config, centred(discriminator))
    adversarial = LOSSES[config.loss]
    if config.alpha is not None:
        adversarial = losses.weighted(adversarial, alpha=config.alpha)
    return gan.GAN(generator, discriminator, adversarial, config.latent_dim, num_classes), project


def centred(network: Network) -> Network:
    """The network of x - 1/2: around 0 its rectifiers fold the data, which lies in [0, 1], from the first step on."""
    return Network(network.init, lambda params, x: network.apply(params, x - 0.5))


def constrained(config: common.Config, discriminator: Network) -> tuple[Network, Callable[[Params], Params]]:
    """The discriminator under spectral normalisation or clipped weights, and the projection that keeps it there."""
    if config.clip is not None and config.spectral_norm:
        raise BadInput("--clip and --spectral_norm are two ways to bound the discriminator's slope; give one of them")
    if config.spectral_norm:
        return networks.spectral_norm(discriminator)
    if config.clip is not None:
        return discriminator, partial(optax.projections.projection_linf_ball, scale=config.clip)
    return discriminator, lambda params: params


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name; both learning rates fall to 0 along a cosine."""
    if config.batch_size % config.num_critic_steps:
        raise BadInput(f"--num_critic_steps={config.num_critic_steps} does not divide --batch_size={config.batch_size}")
    parts, project = build_parts(config, dataset)

    def adam(learning_rate: float, num_updates: int) -> optax.GradientTransformation:
        schedule = optax.cosine_decay_schedule(learning_rate, num_updates)
        return optax.adam(schedule, b1=config.beta1, b2=config.beta2)

    return gan.model(
        parts,
        adam(config.generator_learning_rate, config.num_steps),
        adam(config.learning_rate, config.num_steps * config.num_critic_steps),
        penalty=penalty_of(config),
        num_critic_steps=config.num_critic_steps,
        averaging=config.averaging,
        project=project,
        reduction=config.reduction,
    )


def examiner(config: common.Config, examined: common.Examined) -> Callable[[int, Any], dict[str, float]]:
    """At each evaluation: a picture of samples of the same noise; modes covered, or distances to the data."""
    _, dataset, key, workdir = examined
    parts, _ = build_parts(config, dataset)
    sample = common.sampler(examined.model)
    folder = workdir / "along"
    folder.mkdir(exist_ok=True)
    is_image = dataset.train.x.ndim == 4
    reference = None
    if is_image and dataset.num_classes and len(dataset.test.x) >= features.AT_LEAST:
        seen = features.classifier(config, dataset)
        reference = features.reference(dataset, seen, num_samples=config.num_samples)

    def examine(step: int, state: alternating.State) -> dict[str, float]:
        samples = sample(state, config.num_samples, key)
        path = folder / f"{step:08d}.png"
        if config.dataset in TOYS:
            save_toy(path, config, state, parts, samples)
            means, standard_deviation = TOYS[config.dataset]
            found = mode_coverage(samples, means, standard_deviation=standard_deviation)
            return {"modes_covered": float(found.covered), "share_near_modes": found.share}
        if is_image:
            columns = parts.num_classes or 10
            pictures.save_grid(path, samples[: 10 * columns], columns=columns)
        return {} if reference is None else features.sample_quality(samples, reference)

    return examine


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Shows the last picture as samples.png, and all of them one after the other as training.gif."""
    drawn = sorted((finished.workdir / "along").glob("*.png"))
    if drawn:
        shutil.copyfile(drawn[-1], finished.workdir / "samples.png")
        pictures.save_animation(finished.workdir / "training.gif", drawn)
    return {}


def save_toy(path: Path, config: common.Config, state: alternating.State, parts: gan.GAN, samples: ArrayLike) -> None:
    """Writes the samples over the discriminator's field, and over the density that is the truth."""
    from matplotlib.figure import Figure

    axis = np.linspace(0, 1, 200)
    plane = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    negative_log_density = toys.modes_negative_log_likelihood(plane, modes=TOYS[config.dataset])
    fields = {"samples over the log-density": -np.minimum(negative_log_density, 20.0)}
    if not parts.num_classes:  # otherwise there is a field for each label
        judge = jax.jit(partial(gan.discriminate, parts=parts))
        logit = mean_logit(judge(state.params["discriminator"], jnp.float32(plane)))
        fields["samples over the discriminator's logit"] = np.asarray(logit)
    figure = Figure(figsize=(6 * len(fields), 5.2), layout="constrained")
    for ax, (title, field) in zip(figure.subplots(1, len(fields), squeeze=False)[0], fields.items(), strict=True):
        drawn = ax.imshow(field.reshape(200, 200), origin="lower", extent=(0, 1, 0, 1), cmap="viridis")
        ax.scatter(*np.asarray(samples).T, s=2, color="white", alpha=0.5)
        ax.set(title=title, xlabel="x1", ylabel="x2", xlim=(0, 1), ylim=(0, 1))
        figure.colorbar(drawn, ax=ax)
    figure.savefig(path, dpi=120)


EXPERIMENT = common.Experiment(
    "gan",
    define_flags,
    build,
    conclude,
    watch=("discriminator_loss", "generator_loss", "real_logit", "fake_logit"),
    resolve=resolve,
    examiner=examiner,
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
