"""The generative adversarial network (Goodfellow et al. 2014), and the ways to stabilise it.

    x~ = G(z),   z ~ N(0, I);   D = sigm(a(x)),   min_G max_D E[log D(x)] + E[log(1 - D(G(z)))]

Two players, each with its own loss and optimiser, take turns: the discriminator, then the generator against the new
discriminator. The record of losses determines which game is played: another one, a penalty on the discriminator's
gradient, or a projection of its parameters makes it a least-squares GAN, a Wasserstein GAN with clipped weights or a
gradient penalty, a spectrally normalised one, and so on.

With differentiable augmentation, T, the discriminator meets nothing but D(T(x)) and D(T(G(z))) in both players'
objectives, and the generator's gradient passes through T (Zhao et al. 2020, equations 4 and 5). Every example has its
own draw of T, real and fake ones independent draws.

A player with batch normalisation, a `StatefulNetwork`, normalises by its batch in both players' objectives, and by its
moving averages in evaluation and sampling; the averages follow the batches of its own updates (`stateful`). Such a
discriminator meets real and generated examples as two batches, and no penalty (Radford et al. 2016, section 3).

The generator can also be trained by its most convincing examples alone (`top_k`), or against the discriminator as it
would be after some more steps (`unrolling`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import Adversarial, mean_logit, softmax_cross_entropy
from genjax.losses.adversarial import Critic, Logit
from genjax.models import adaptive_augmentation, alternating, moving_average, stateful, top_k, unrolling
from genjax.models.adaptive_augmentation import Adaptation
from genjax.types import Array, Batch, Key, Model, Network, Params, StatefulNetwork, check_networks

CriticPenalty = Callable[[Critic, Array, Array, Key], Array]  # critic, real, fake, key -> [B], with its weight


class GAN(NamedTuple):
    """The parts of a generative adversarial network; its params are {"generator": ..., "discriminator": ...}.

    With `num_classes`, both players are conditioned on the label, which their networks take after z and x:
    `networks.with_label` appends it to either (Mirza & Osindero 2014), and `networks.label_projection` is another way
    for the discriminator. With `auxiliary_weight`, the discriminator is not given the label and finds it instead: it
    returns its logit and those of the classes, as `networks.discriminator_heads`, and both players minimise the
    cross-entropy of the label (Odena et al. 2017).
    """

    generator: Network | StatefulNetwork  # z [B, d] -> x [B, ...]
    discriminator: Network | StatefulNetwork  # x [B, ...] -> logit: [B], a map, or a tuple of maps
    adversarial: Adversarial
    latent_dim: int  # d
    num_classes: int = 0  # K; 0 ignores the label
    auxiliary_weight: float | None = None  # w of the cross-entropy in both players' losses; None for no classifier
    augmentation: Callable[..., Array] | None = None  # T: x, key -> x, of what the discriminator is trained on
    adaptation: Adaptation | None = None  # then T: x, key, p -> x, and D is one `with_probability`
    top_k: top_k.TopK | None = None  # then only the k most convincing examples train the generator


def init_params(key: Key, *, parts: GAN) -> Params:
    """Fresh parameters of both networks."""
    check_networks(generator=parts.generator, discriminator=parts.discriminator)
    generator_key, discriminator_key = jax.random.split(key)
    return {
        "generator": parts.generator.init(generator_key),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def generate(generator: Params, z: Array, label: Array | None = None, *, parts: GAN) -> Array:
    """Generates examples: z [B, d], and label [B] if the GAN is conditional, -> x [B, ...].

    Raises:
      ValueError: the GAN is conditional, and there is no label.
    """
    return parts.generator.apply(generator, z, *_given(label, parts))


def discriminate(discriminator: Params, x: Array, label: Array | None = None, *, parts: GAN) -> Logit:
    """The discriminator's logit, larger for real: x [B, ...], and label [B] if it is given the label.

    Raises:
      ValueError: it is given the label, and there is none.
    """
    return _answers(parts.discriminator.apply(discriminator, x, *_shown(label, parts)), parts)[0]


def classify(discriminator: Params, x: Array, *, parts: GAN) -> Array:
    """The unnormalised log-probabilities of an auxiliary classifier: x [B, ...] -> [B, K]."""
    return _answers(parts.discriminator.apply(discriminator, x), parts)[1]


def _given(label: Array | None, parts: GAN) -> tuple[Array | None, ...]:
    """What a conditional network takes beside its input."""
    return (label,) if parts.num_classes else ()


def _shown(label: Array | None, parts: GAN) -> tuple[Array | None, ...]:
    """What the discriminator takes beside x: the label, unless it has to find it."""
    return () if parts.auxiliary_weight is not None else _given(label, parts)


def _answers(output: Any, parts: GAN) -> tuple[Logit, Any]:
    """The logit, and the class logits [B, K] of an auxiliary classifier, otherwise None."""
    return output if parts.auxiliary_weight is not None else (output, None)


def _fakes(
    generator: Params, z: Array, label: Array | None, key: Key, parts: GAN, evaluation: bool
) -> tuple[Array, stateful.Statistics]:
    """Generated examples, and the statistics of a stateful generator in training."""
    given = z, *_given(label, parts)
    return stateful.through(parts.generator, generator, given, key, number=1, evaluation=evaluation)


def _judge(
    discriminator: Params, x: tuple[Array, Array], label: Array | None, key: Key, parts: GAN, evaluation: bool
) -> tuple[tuple[Logit, Any], tuple[Logit, Any], stateful.Statistics]:
    """The answers to real and to generated examples, and the statistics of a stateful discriminator in training."""
    of_real, of_fake = ((each, *_shown(label, parts)) for each in x)
    judge = parts.discriminator
    real, fake, moments = stateful.apart(judge, discriminator, of_real, of_fake, key, evaluation=evaluation)
    return _answers(real, parts), _answers(fake, parts), moments


def _cross_entropy(classes: Array, label: Array | None) -> Array:
    """Of the class logits [B, K], in nats, [B]."""
    assert label is not None  # the conditional generator has refused a batch without labels
    return softmax_cross_entropy(classes, label)


def _keys(key: Key, parts: GAN) -> tuple[Key, Key | None]:
    """The key of the draws that every GAN makes, and that of the augmentation, if there is one."""
    return (key, None) if parts.augmentation is None else tuple(jax.random.split(key))


def discriminator_objective(
    parts: GAN, *, penalty: CriticPenalty | None = None, evaluation: bool = False
) -> gradients.Objective:
    """The discriminator's objective: its loss on real and generated examples of the same labels, and the penalty.

        J_D = L_D + penalty - w (log p(y|x) + log p(y|x~))

    The last term, of weight w, is that of an auxiliary classifier, if there is one. With augmentation, the penalty too
    is of D at augmented examples.

    Args:
      penalty: of D, with its weight in it.
      evaluation: stateful players normalise by their moving averages, and not by the batch.

    Returns:
      `objective(discriminator, {"generator": params}, batch, key) -> (loss [B], {"discriminator_loss", "penalty",
      "real_logit", "fake_logit": [B]})`; the penalty is not in `discriminator_loss`, nor are the cross-entropies of an
      auxiliary classifier, "real_cross_entropy" and "fake_cross_entropy", in nats. An adaptive augmentation adds its
      statistics as a third value, and "real_sign" and "augmentation_probability"; a stateful discriminator has its own.

    Raises:
      ValueError: a penalty of a stateful discriminator.

    Source: Goodfellow et al. 2014, algorithm 1; Odena et al. 2017, equations 2 and 3.
    """
    stateful.check_penalty(parts.discriminator, penalty)
    augment = partial(adaptive_augmentation.both, parts.augmentation, parts.adaptation)

    def objective(discriminator: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Any, ...]:
        key, augmentation_key = _keys(key, parts)
        z_key, penalty_key = jax.random.split(key)
        z = jax.random.normal(z_key, (len(batch.x), parts.latent_dim))
        fake, _ = _fakes(others["generator"], z, batch.label, z_key, parts, evaluation)
        real, fake = augment(discriminator, batch.x, fake, augmentation_key)

        def critic(x: Array) -> Logit:
            return discriminate(discriminator, x, batch.label, parts=parts)

        (real_logit, real_classes), (fake_logit, fake_classes), moments = _judge(
            discriminator, (real, fake), batch.label, z_key, parts, evaluation
        )
        loss = parts.adversarial.discriminator(real_logit, fake_logit)
        value = jnp.zeros_like(loss) if penalty is None else penalty(critic, real, fake, penalty_key)
        metrics = {
            "discriminator_loss": loss,
            "penalty": value,
            "real_logit": mean_logit(real_logit),
            "fake_logit": mean_logit(fake_logit),
        }
        of_augmentation, statistics = adaptive_augmentation.found(parts.adaptation, discriminator, real_logit)
        metrics, statistics = metrics | of_augmentation, statistics + moments  # of which there is one at most
        if parts.auxiliary_weight is None:
            return loss + value, metrics, *statistics
        metrics["real_cross_entropy"] = of_real = _cross_entropy(real_classes, batch.label)
        metrics["fake_cross_entropy"] = of_fake = _cross_entropy(fake_classes, batch.label)
        return loss + value + parts.auxiliary_weight * (of_real + of_fake), metrics, *statistics

    return objective


def generator_objective(parts: GAN, *, evaluation: bool = False) -> gradients.Objective:
    """The generator's objective: its loss on as many new examples as the batch has, with the batch's labels.

        J_G = L_G - w log p(y|x~)

    The last term, of weight w, is that of an auxiliary classifier, if there is one. Of a `top_k.Turn`, as `model` makes
    it with `parts.top_k`, the mean of J_G in training is that over the k examples with the largest logits.

    Args:
      evaluation: stateful players normalise by their moving averages, and not by the batch, and all examples count.

    Returns:
      `objective(generator, {"discriminator": params}, batch, key) -> (loss [B], {"generator_loss": [B]})`, in training
      of a stateful generator with its statistics as a third value; the cross-entropy of an auxiliary classifier is not
      in `generator_loss`, but in "cross_entropy", in nats. Of a `top_k.Turn`, `generator_loss` is of all examples, and
      "kept_share" is the share that train the generator.

    Source: Goodfellow et al. 2014, algorithm 1; Odena et al. 2017, equations 2 and 3.
    """
    augment = partial(adaptive_augmentation.both, parts.augmentation, parts.adaptation)

    def objective(generator: Params, others: dict[str, Params], batch: Batch | top_k.Turn, key: Key) -> tuple[Any, ...]:
        key, augmentation_key = _keys(key, parts)
        z = jax.random.normal(key, (len(batch.x), parts.latent_dim))
        fake, statistics = _fakes(generator, z, batch.label, key, parts, evaluation)
        real, fake = augment(others["discriminator"], batch.x, fake, augmentation_key)
        (real_logit, _), (fake_logit, classes), _ = _judge(
            others["discriminator"], (real, fake), batch.label, key, parts, evaluation
        )
        loss = parts.adversarial.generator(real_logit, fake_logit)
        metrics = {"generator_loss": loss}
        if parts.auxiliary_weight is not None:
            metrics["cross_entropy"] = of_class = _cross_entropy(classes, batch.label)
            loss = loss + parts.auxiliary_weight * of_class
        if isinstance(batch, top_k.Turn):
            metrics["kept_share"] = batch.share
            loss = loss if evaluation else loss * top_k.weights(fake_logit, batch.share[0])
        return loss, metrics, *statistics

    return objective


def model(
    parts: GAN,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    penalty: CriticPenalty | None = None,
    num_critic_steps: int = 1,
    averaging: float | None = None,
    project: Callable[[Params], Params] | None = None,
    ahead: unrolling.Unrolling | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A GAN trained by alternating updates (Goodfellow et al. 2014, algorithm 1).

    A step cuts its batch into `num_critic_steps` equal parts and updates the discriminator on each, with new z and the
    projection after it; then the generator once, on the last part and as many z, against the discriminator as it now
    is. No update changes the other player.

    Args:
      penalty: added to the discriminator's loss, with its weight in it.
      num_critic_steps: k.
      generator_optimizer, discriminator_optimizer: of stateful players without effect on their moving averages, by
        `gradients.frozen`.
      averaging: the decay, in [0, 1), of an average of the generator's params (`moving_average.cumulative`), which
        `evaluate` and `sample` use; None keeps no average.
      project: of the discriminator's params, without the probability of an adaptive augmentation, after each update:
        `spectral_norm`'s power iteration, or clipped weights.
      ahead: the steps of the discriminator, with its penalty, that the generator looks ahead; None for none.
      reduction: how the gradients of both players are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model whose state is an `alternating.State`. Its metrics are of each player before its own update, means over
      the discriminator's k; "loss" is the generator's. `sample` of a conditional GAN takes labels, [num]; without them
      it draws one class after the other.

    Raises:
      ValueError: averaging is outside [0, 1); a penalty of a stateful discriminator; at `train_step`, k does not divide
        the batch.
    """
    adaptation, judge = parts.adaptation, parts.discriminator
    discriminator = alternating.Player(
        "discriminator",
        discriminator_objective(parts, penalty=penalty),
        discriminator_optimizer,
        steps=num_critic_steps,
        refresh=adaptive_augmentation.refresh(adaptation, project) if adaptation else stateful.refresh(judge, project),
        evaluation=discriminator_objective(parts, penalty=penalty, evaluation=True),
    )
    of_generator = generator_objective(parts)
    if ahead is not None:
        players = dict(own="generator", adversary="discriminator")
        of_generator = unrolling.unrolled(of_generator, discriminator.objective, **players, unrolling=ahead)
    generator = alternating.Player(
        "generator",
        of_generator,
        generator_optimizer,
        refresh=stateful.refresh(parts.generator),
        averaging=None if averaging is None else moving_average.cumulative(averaging),
        evaluation=generator_objective(parts, evaluation=True),
    )

    def sample(state: alternating.State, num: int, key: Key, label: Array | None = None) -> Array:
        z = jax.random.normal(key, (num, parts.latent_dim))
        if label is None and parts.num_classes:
            label = jnp.arange(num) % parts.num_classes
        return generate(state.evaluation_params["generator"], z, label, parts=parts)

    def turn(state: alternating.State, batch: Batch, key: Key) -> top_k.Turn:
        assert parts.top_k is not None
        return top_k.turn(batch, state.step, parts.top_k)

    trained = alternating.model(
        partial(init_params, parts=parts),
        [discriminator, generator],
        prepare=None if parts.top_k is None else turn,
        reduction=reduction,
    )
    return trained._replace(sample=sample)
