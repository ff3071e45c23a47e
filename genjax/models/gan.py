"""The generative adversarial network (Goodfellow et al. 2014), and what keeps its game from running away.

    x~ = G(z),   z ~ N(0, I);   D = sigm(a(x)),   min_G max_D  E log D(x) + E log(1 - D(G(z)))

Two players, each with its own loss and optimiser, take turns: the discriminator, then the generator against the new
discriminator. Which game is played says the record of losses: another one, a penalty on the discriminator's gradient,
or a projection of its parameters makes it a least-squares GAN, a Wasserstein GAN with clipped weights or a gradient
penalty, a spectrally normalised one, and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import Adversarial, mean_logit
from genjax.losses.adversarial import Critic, Logit
from genjax.types import Array, Batch, Key, Metrics, Model, Network, Params

Penalty = Callable[[Critic, Array, Array, Key], Array]  # critic, real, fake, key -> [B], with its weight


class GAN(NamedTuple):
    """The parts of a generative adversarial network; its params are {"generator": ..., "discriminator": ...}.

    With `num_classes`, both players are told the label: the generator's input is z and a one-hot label, [B, d + K], the
    discriminator's is x with a one-hot label in every place, [B, ..., C + K] (Mirza & Osindero 2014).
    """

    generator: Network  # z [B, d] -> x [B, ...]
    discriminator: Network  # x [B, ...] -> logit: [B], a map, or a tuple of maps
    adversarial: Adversarial
    latent_dim: int  # d
    num_classes: int = 0  # K; 0 leaves the label unread


class State(NamedTuple):
    """What is carried from step to step."""

    step: Array  # [] int32, updates of the generator done
    params: Params
    generator_optimizer_state: Any
    discriminator_optimizer_state: Any
    average: Params  # of the generator's params over the steps; what `sample` uses


def init_params(key: Key, *, parts: GAN) -> Params:
    """Fresh parameters of both networks."""
    generator_key, discriminator_key = jax.random.split(key)
    return {
        "generator": parts.generator.init(generator_key),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def _with_label(x: Array, label: Array | None, num_classes: int) -> Array:
    """Appends a one-hot label to the last axis, in every place: [B, ..., C] -> [B, ..., C + K]."""
    if not num_classes:
        return x
    if label is None:
        raise ValueError(f"a GAN of {num_classes} classes needs labels, and the batch has none")
    one_hot = jax.nn.one_hot(label, num_classes, dtype=x.dtype)
    one_hot = one_hot.reshape(len(x), *(1,) * (x.ndim - 2), num_classes)
    return jnp.concatenate([x, jnp.broadcast_to(one_hot, (*x.shape[:-1], num_classes))], axis=-1)


def generate(generator: Params, z: Array, label: Array | None = None, *, parts: GAN) -> Array:
    """What the generator makes: z [B, d], and label [B] where it is conditional, -> x [B, ...]."""
    return parts.generator.apply(generator, _with_label(z, label, parts.num_classes))


def discriminate(discriminator: Params, x: Array, label: Array | None = None, *, parts: GAN) -> Logit:
    """How real the discriminator takes x to be: x [B, ...], and label [B] where it is conditional, -> its logit."""
    return parts.discriminator.apply(discriminator, _with_label(x, label, parts.num_classes))


def discriminator_objective(parts: GAN, *, penalty: Penalty | None = None) -> gradients.Objective:
    """What the discriminator minimises: its loss on real and generated examples of the same labels, and the penalty.

    Returns:
      `objective(discriminator, generator, batch, key) -> (loss [B], {"discriminator_loss", "penalty", "real_logit",
      "fake_logit": [B]})`; the penalty is not in `discriminator_loss`.
    """

    def objective(discriminator: Params, generator: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        z_key, penalty_key = jax.random.split(key)
        z = jax.random.normal(z_key, (len(batch.x), parts.latent_dim))
        fake = generate(generator, z, batch.label, parts=parts)

        def critic(x: Array) -> Logit:
            return discriminate(discriminator, x, batch.label, parts=parts)

        real_logit, fake_logit = critic(batch.x), critic(fake)
        loss = parts.adversarial.discriminator(real_logit, fake_logit)
        value = jnp.zeros_like(loss) if penalty is None else penalty(critic, batch.x, fake, penalty_key)
        return loss + value, {
            "discriminator_loss": loss,
            "penalty": value,
            "real_logit": mean_logit(real_logit),
            "fake_logit": mean_logit(fake_logit),
        }

    return objective


def generator_objective(parts: GAN) -> gradients.Objective:
    """What the generator minimises: its loss on as many new examples as the batch has, of the batch's labels.

    Returns:
      `objective(generator, discriminator, batch, key) -> (loss [B], {"generator_loss": [B]})`.
    """

    def objective(generator: Params, discriminator: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        z = jax.random.normal(key, (len(batch.x), parts.latent_dim))
        fake = generate(generator, z, batch.label, parts=parts)
        loss = parts.adversarial.generator(discriminate(discriminator, fake, batch.label, parts=parts))
        return loss, {"generator_loss": loss}

    return objective


def model(
    parts: GAN,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    penalty: Penalty | None = None,
    num_critic_steps: int = 1,
    averaging: float = 0.0,
    project: Callable[[Params], Params] = lambda discriminator: discriminator,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A GAN trained by alternating updates (Goodfellow et al. 2014, algorithm 1).

    A step cuts its batch into `num_critic_steps` equal parts and updates the discriminator on each, with new z and the
    projection after it; then the generator once, on as many z as a part has, against the discriminator as it now is. No
    update changes the other player.

    Args:
      penalty: added to the discriminator's loss, with its weight in it.
      num_critic_steps: k.
      averaging: `sample` uses the generator's average, avg <- (1 - w) avg + w params, w = max(1 - averaging, 1 / step):
        the plain mean of all steps so far until that is of 1 / (1 - averaging) of them. 0 is the last params.
      project: of the discriminator's params, after each update: `spectral_norm`'s power iteration, or clipped weights.
      reduction: how both players take their gradients over the batch, one of `genjax.gradients`.

    Returns:
      A Model. Its metrics are of each player before its own update, means over the discriminator's k; "loss" is
      discriminator_loss + generator_loss, which nothing minimises.

    Raises:
      ValueError: averaging outside [0, 1); at `train_step`, a batch that k does not divide.
    """
    if not 0 <= averaging < 1:
        raise ValueError(f"averaging is at least 0 and below 1, not {averaging}")
    play_discriminator = discriminator_objective(parts, penalty=penalty)
    play_generator = generator_objective(parts)
    update_discriminator = gradients.updater(play_discriminator, discriminator_optimizer, reduction=reduction)
    update_generator = gradients.updater(play_generator, generator_optimizer, reduction=reduction)

    def joined(of_discriminator: Metrics, of_generator: Metrics) -> Metrics:
        metrics = of_discriminator | of_generator
        return metrics | {"loss": metrics["discriminator_loss"] + metrics["generator_loss"]}

    def init(key: Key) -> State:
        params = init_params(key, parts=parts)
        return State(
            jnp.zeros([], jnp.int32),
            params,
            generator_optimizer.init(params["generator"]),
            discriminator_optimizer.init(params["discriminator"]),
            params["generator"],
        )

    def train_step(state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        size, rest = divmod(len(batch.x), num_critic_steps)
        if rest:
            raise ValueError(f"a batch of {len(batch.x)} examples has no {num_critic_steps} equal parts")
        critic_key, generator_key = jax.random.split(jax.random.fold_in(key, state.step))
        cut = jax.tree.map(lambda a: a.reshape(num_critic_steps, size, *a.shape[1:]), batch)
        generator = state.params["generator"]

        def critic_step(carried: tuple[Params, Any], given: tuple[Batch, Key]) -> tuple[tuple[Params, Any], Metrics]:
            discriminator, optimizer_state, metrics = update_discriminator(*carried, generator, *given)
            return (project(discriminator), optimizer_state), metrics

        (discriminator, discriminator_optimizer_state), metrics = jax.lax.scan(
            critic_step,
            (state.params["discriminator"], state.discriminator_optimizer_state),
            (cut, jax.random.split(critic_key, num_critic_steps)),
        )
        generator, generator_optimizer_state, of_generator = update_generator(
            generator,
            state.generator_optimizer_state,
            discriminator,
            jax.tree.map(lambda a: a[-1], cut),
            generator_key,
        )
        weight = jnp.maximum(1 - averaging, 1 / (state.step + 1))
        new = State(
            state.step + 1,
            {"generator": generator, "discriminator": discriminator},
            generator_optimizer_state,
            discriminator_optimizer_state,
            optax.incremental_update(generator, state.average, weight),
        )
        return new, joined(jax.tree.map(jnp.mean, metrics), of_generator)

    def evaluate(state: State, batch: Batch, key: Key) -> Metrics:
        generator, discriminator = state.params["generator"], state.params["discriminator"]
        critic_key, generator_key = jax.random.split(key)
        return joined(
            gradients.batch_means(*play_discriminator(discriminator, generator, batch, critic_key)),
            gradients.batch_means(*play_generator(generator, discriminator, batch, generator_key)),
        )

    def sample(state: State, num: int, key: Key) -> Array:
        z = jax.random.normal(key, (num, parts.latent_dim))
        label = jnp.arange(num) % parts.num_classes if parts.num_classes else None  # one class after the other
        return generate(state.average, z, label, parts=parts)

    return Model(init, train_step, evaluate, sample)
