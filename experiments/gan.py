"""A generative adversarial network (Goodfellow et al. 2014), on images or on toys whose modes are known.

    python -m experiments.gan
    python -m experiments.gan --dataset=ring
    python -m experiments.gan --dataset=grid --loss=hinge
    python -m experiments.gan --dataset=mnist --data_dir=DIR --network=dcgan --batch_size=64 --num_steps=12000
    python -m experiments.gan --loss=wasserstein --penalty=gradient --num_critic_steps=4
    python -m experiments.gan --conditional --conditioning=projection
    python -m experiments.gan --dataset=ring --loss=relativistic --penalty=r1_r2
    python -m experiments.gan --dataset=folder:PATH --network=dcgan --augmentation=translation,cutout,colour
    python -m experiments.gan --dataset=folder:PATH --image_size=32 --network=residual --batch_size=64
    python -m experiments.gan --network=dcgan --normalization=batch --self_attention
    python -m experiments.gan --network=dcgan --normalization=batch_both --batch_size=64 --learning_rate=2e-4
    python -m experiments.gan --dataset=folder:PATH --image_size=32 --network=style --batch_size=64
    python -m experiments.gan --network=style --noise_inputs
    python -m experiments.gan --dataset=ring --top_k=0.5
    python -m experiments.gan --dataset=ring --unrolled_steps=5
    python -m experiments.gan --dataset=stacked:digits --network=dcgan --batch_size=64
    python -m experiments.gan --dataset=stacked:mnist --data_dir=DIR --network=dcgan --batch_size=64 --num_steps=12000

--loss, --penalty, --clip and --spectral_norm select the game; R3GAN's is a relativistic loss with R1 and R2.
--augmentation transforms real and generated images at random before the discriminator, differentiably and in the given
order, which helps where there are few of them; with --augmentation_target, by a probability that follows the
discriminator (Karras et al. 2020). With --conditional, both players learn of the class, the discriminator
in the way of --conditioning: in its input (Mirza & Osindero 2014), by a projection (Miyato & Koyama 2018) or as an
auxiliary classifier (Odena et al. 2017). With --self_attention, the places of a map of half the image's size attend to
each other in both convolutional networks (Zhang et al. 2019); it takes the square of their number in memory.
--normalization=batch is that of DCGAN's generator (Radford et al. 2016), whose samples are normalised by moving
averages; with batch_both the discriminator has it too, meets real and generated examples apart, and has no penalty.
--network=style has a generator whose code sets the moments of every map (Karras et al. 2019), with --noise_inputs also
noise in every place, and the discriminator of --network=residual.

With --top_k, only the samples of a batch that look most real to the discriminator train the generator, a share that
falls from all to this one (Sinha et al. 2020); with --shards, each shard chooses among its own. With --unrolled_steps,
the generator meets the discriminator as it would be after so many more steps (Metz et al. 2017).

Each evaluation draws samples from the same noise and measures them; their pictures are in the folder `along`, the last
one also in `samples.png`, and all of them in `training.gif`. On `ring` and `grid` it counts the modes that the samples
cover and the share of samples within 3 standard deviations of a mode (0.989 for the mixture's own draws), and draws
them over the true density and over the discriminator's logit. The modes of `grid` are many and close, so it has 15 000
steps by default, a learning rate of 2e-3 and a weak penalty; all other data sets have 5000 steps and 1e-3. If enough
labelled images are held out, samples are compared with them: the distances are measured in the features of a classifier
of the same data (`experiments.reference_classifier`), which is trained first.

The channels of `stacked:mnist` are three digits, drawn independently, and its thousand combinations are modes
(Srivastava et al. 2017). A classifier of single digits counts those that 26 000 samples cover, and takes the divergence
of their shares from equal ones; the same of held-out data, and the classifier's error, are printed beside.

Each evaluation also measures how the game stands: the AUROC of the discriminator, the norm of the generator's gradient,
and the variance of the samples relative to the data's. A line says when a player has won, when the samples hardly
differ or miss half of the modes, and which flags to change; summary.json keeps these lines as `remarks`. A run whose
samples stay all alike ends with an error, which names the last checkpoint from before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import game_stability, games, gan_networks, gan_parts, toy_modes, triple_modes
from experiments.gan_flags import Flags, resolve
from genjax import data, gradients, runs
from genjax.data import triples
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation.sample_quality import sample_quality
from genjax.gradients import Reduction
from genjax.models import gan
from genjax.models.adaptive_augmentation import AUGMENTATION
from genjax.runs import sampling
from genjax.types import Array, Params

MOST_COLUMNS = 100  # classes that a picture shows in columns


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the game and the model."""
    if flags.batch_size % flags.num_critic_steps:
        raise BadInput(
            f"{flags.num_critic_steps} does not divide `batch_size`, {flags.batch_size}",
            parameter="num_critic_steps",
        )
    gan_parts.check_samples(flags, dataset)
    gan_parts.check_attention(flags, dataset.train.x.shape[1:])
    gan_parts.check_penalty(flags, flags.penalty != "none", "penalty")
    if flags.conditional:
        dataset.require_classes("a conditional model", parameter="conditional")
    elif flags.conditioning != "concatenated":
        raise BadInput(
            "it is the way in which a `conditional` discriminator learns of the label", parameter="conditioning"
        )
    num_classes = dataset.num_classes or 0 if flags.conditional else 0
    generator, discriminator, project = gan_networks.build(flags, dataset.train.x.shape[1:], num_classes)
    parts = gan.GAN(
        generator,
        discriminator,
        games.losses_of(flags),
        flags.latent_dim,
        num_classes,
        auxiliary_weight=flags.auxiliary_weight if flags.conditioning == "auxiliary" else None,
        augmentation=games.augmentation_of(flags, dataset),
        adaptation=games.adaptation_of(flags),
        top_k=games.top_k_of(flags),
    )
    num_updates = flags.num_steps * flags.num_critic_steps
    optimizer = runs.optimizer(flags, learning_rate=flags.generator_learning_rate, b1=flags.beta1, b2=flags.beta2)
    of_discriminator = runs.optimizer(flags, num_updates=num_updates, b1=flags.beta1, b2=flags.beta2)
    if parts.adaptation is not None:
        of_discriminator = gradients.frozen(of_discriminator, AUGMENTATION)
    model = gan.model(
        parts,
        gan_parts.unmoved(generator, optimizer),
        gan_parts.unmoved(discriminator, of_discriminator),
        penalty=games.penalty_of(flags),
        num_critic_steps=flags.num_critic_steps,
        averaging=flags.averaging or None,
        project=project,
        ahead=games.unrolling_of(flags),
        reduction=reduction,
    )
    return runs.Built(model, parts)


def prepare(flags: Flags, dataset: data.Dataset, built: runs.Built, cache: Path) -> runs.Built:
    """Finds or trains the classifier for comparing images, or for counting the modes of triples."""
    if dataset.name.startswith(triples.PREFIX):
        return built._replace(auxiliaries=triple_modes.counter(flags, dataset, cache))
    return gan_parts.prepare(flags, dataset, built, cache)


def monitor(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws samples of the same noise; measures their modes or how they compare with the data, and the game."""
    samples = sampling.draw(trained.model, trained.state, flags.num_samples, trained.key)
    path, game = gan_parts.picture_along(trained), game_stability.measure(trained, samples)
    if flags.dataset in toy_modes.TOYS:
        toy_modes.save(path, samples, flags.dataset, trained)
        return toy_modes.measure(samples, flags.dataset) | game
    if samples.ndim == 4:
        classes, title = trained.parts.num_classes, f"samples at step {trained.step}"
        columns = classes if 0 < classes <= MOST_COLUMNS else 10
        names = pictures.class_captions(range(columns), trained.dataset.class_names) if columns == classes else ()
        pictures.save_samples(path, samples[: 10 * columns], title=title, columns=columns, captions=names)
    if isinstance(trained.auxiliaries, triple_modes.Counter):
        return triple_modes.measure(samples, trained.auxiliaries) | game
    return game if trained.auxiliaries is None else sample_quality(samples, trained.auxiliaries) | game


def remark(flags: Flags, evaluations: Sequence[Mapping[str, Any]]) -> str | None:
    """Who has won the game at the last evaluation."""
    return game_stability.remark(evaluations[-1], flags)


def collapse(flags: Flags, evaluations: Sequence[Mapping[str, Any]]) -> runs.Collapse | None:
    """That all samples have been alike for several evaluations."""
    since = game_stability.collapsed_since(evaluations, flags.num_steps)
    said = game_stability.remark(evaluations[-1], flags)
    return None if since is None else runs.Collapse(since, f"{said}; they have been so since step {since}")


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Copies the last picture to samples.png, joins all in training.gif, and repeats what was measured of the data."""
    gan_parts.join_pictures(trained)
    return trained.auxiliaries.of_data if isinstance(trained.auxiliaries, triple_modes.Counter) else {}


def generator(flags: Flags, parts: gan.GAN) -> runs.Generator:
    """How the generator makes examples of codes and, if it is conditional, of labels."""

    def decode(params: Params, z: Array, *label: Array) -> Array:
        return gan.generate(params["generator"], z, *label, parts=parts)

    return runs.Generator(decode, parts.latent_dim, num_classes=parts.num_classes)


def metrics(flags: Any) -> dict[str, runs.Metric]:
    """Units and directions that names do not show."""
    return {"mode_divergence": runs.Metric("nats", "lower"), "modes_expected": runs.Metric("modes")}


EXPERIMENT = runs.Experiment(
    "gan",
    Flags,
    build,
    summarise,
    watch=("discriminator_loss", "generator_loss", "real_logit", "fake_logit"),
    resolve=resolve,
    prepare=prepare,
    monitor=monitor,
    generator=generator,
    remark=remark,
    collapse=collapse,
    metrics=metrics,
    headline=(
        "frechet_distance",
        "kernel_distance",
        "precision",
        "recall",
        "density",
        "coverage",
        "classes_found",
        "modes_covered",
        "mode_divergence",
        "share_near_modes",
    ),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
