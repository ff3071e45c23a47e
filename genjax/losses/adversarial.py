"""What the two players of an adversarial game minimise, as pairs, and penalties on the critic's gradient.

A critic's answer, its logit, is [B], or a map of them [B, ...] as a patch discriminator gives, or a tuple of such, one
for each scale; a loss is then the mean of its values over each map, and over the scales.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from genjax import stochastic
from genjax.types import Array, Key

Logit = Any  # [B], [B, ...], or a tuple of such
Critic = Callable[[Array], Logit]  # x [B, ...] -> its logit, each example on its own: no batch normalisation


class Adversarial(NamedTuple):
    """A game as each player's own loss; larger is worse for that player.

    Both losses are functions (real_logit, fake_logit) -> [B] that lift the logit of what their player wants taken for
    real; of most games the generator's ignores the real logit, which then costs nothing under `jax.jit`. The two losses
    are of two optimisers: nothing minimises their sum.
    """

    generator: Callable[[Logit, Logit], Array]
    discriminator: Callable[[Logit, Logit], Array]


def mean_logit(logit: Logit) -> Array:
    """One number for each example: the mean over a map, and over the scales. [B], [B, ...] or a tuple -> [B]."""
    return _mean(lambda a: a, logit)


def _mean(loss: Callable[..., Array], *logits: Logit) -> Array:
    """A loss of each logit, averaged to [B]; logits that meet in one loss have one shape."""
    chex.assert_trees_all_equal_shapes(logits[0], *logits)
    scales = [loss(*each) for each in zip(*map(jax.tree.leaves, logits), strict=True)]
    means = [jnp.mean(values, axis=tuple(range(1, values.ndim))) for values in scales]
    return jnp.mean(jnp.stack(means), axis=0)


# Each player's loss in each game, of a = real_logit and a~ = fake_logit; `help(HINGE.generator)` shows its equation


def _binary_cross_entropy(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_D = -log D(x) - log(1 - D(x~)) = softplus(-a) + softplus(a~), in nats; D = sigm(a)."""
    return _mean(lambda real, fake: jax.nn.softplus(-real) + jax.nn.softplus(fake), real_logit, fake_logit)


def _minimax_generator(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_G = log(1 - D(x~)) = -softplus(a~), in nats; negative."""
    del real_logit
    return _mean(lambda a: -jax.nn.softplus(a), fake_logit)


def _non_saturating_generator(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_G = -log D(x~) = softplus(-a~), in nats."""
    del real_logit
    return _mean(lambda a: jax.nn.softplus(-a), fake_logit)


def _least_squares_generator(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_G = 1/2 (a~ - 1)^2."""
    del real_logit
    return _mean(lambda a: 0.5 * jnp.square(a - 1), fake_logit)


def _least_squares_discriminator(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_D = 1/2 (a - 1)^2 + 1/2 a~^2."""
    return _mean(lambda real, fake: 0.5 * (jnp.square(real - 1) + jnp.square(fake)), real_logit, fake_logit)


def _linear_generator(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_G = -a~, in units of the logit."""
    del real_logit
    return -mean_logit(fake_logit)


def _hinge_discriminator(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_D = max(0, 1 - a) + max(0, 1 + a~), in units of the logit."""
    return _mean(lambda real, fake: jax.nn.relu(1 - real) + jax.nn.relu(1 + fake), real_logit, fake_logit)


def _wasserstein_discriminator(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_D = a~ - a, in units of the logit; minus the Wasserstein-1 distance at the best 1-Lipschitz critic."""
    return _mean(lambda real, fake: fake - real, real_logit, fake_logit)


MINIMAX = Adversarial(_minimax_generator, _binary_cross_entropy)
"""The zero-sum game, min_G max_D V, V = E log D(x) + E log(1 - D(G(z))), in nats; D = sigm(logit).

    L_D = softplus(-a) + softplus(a~),   L_G = log(1 - D(G(z))) = -softplus(a~)

L_G is negative and saturates: where the discriminator is sure, its gradient -sigm(a~) is gone. At the best answer,
D = p / (p + g), the game's value V = -L_D is -log 4 + 2 JS(p, g) (Goodfellow et al. 2014, equation 1 and theorem 1).
"""

NON_SATURATING = Adversarial(_non_saturating_generator, _binary_cross_entropy)
"""As MINIMAX, but L_G = -log D(G(z)) = softplus(-a~), in nats: the same fixed point, and a gradient that stays.

At the best D its gradient is that of KL(g || p) - 2 JS(p, g) (Goodfellow et al. 2014, section 3; Arjovsky & Bottou
2017, theorem 2.5).
"""

LEAST_SQUARES = Adversarial(_least_squares_generator, _least_squares_discriminator)
"""The logit itself, without a sigmoid, is regressed on 1 for real and 0 for fake; squared units of the logit.

    L_D = 1/2 (a - 1)^2 + 1/2 a~^2,   L_G = 1/2 (a~ - 1)^2

The best answer is p / (p + g), with L_D = 1/2 sum p g / (p + g) (Mao et al. 2017, equation 9).
"""

HINGE = Adversarial(_linear_generator, _hinge_discriminator)
"""Margins of 1 on both sides, in units of the logit: L_D = max(0, 1 - a) + max(0, 1 + a~), L_G = -a~.

The best answer is sign(p - g), with L_D = 2 sum min(p, g) (Lim & Ye 2017; Miyato et al. 2018, equations 16 and 17).
"""

WASSERSTEIN = Adversarial(_linear_generator, _wasserstein_discriminator)
"""The dual of the Wasserstein-1 distance, in units of the data where the critic is 1-Lipschitz.

    L_D = a~ - a,   L_G = -a~,   W_1(p, g) = max over 1-Lipschitz critics of E_p a - E_g a = -L_D

Unbounded without such a constraint: a penalty, spectral normalisation, or clipped weights
(`optax.projections.projection_linf_ball`) (Arjovsky, Chintala & Bottou 2017, equation 2).
"""


def weighted(adversarial: Adversarial, *, alpha: float) -> Adversarial:
    """Each player's own term of L = (1 - alpha) L_D + alpha L_G.

    Each term is its own player's alone. Minimised by both together, L would be no game: it has its minimum at D(x) = 1
    and D(G(z)) = alpha. So alpha shifts the players' learning rates, and under Adam, which knows no scale, nothing.

    Args:
      alpha: in [0, 1].

    Raises:
      ValueError: alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha weighs the generator's loss from 0 to 1, not {alpha}")
    return Adversarial(
        lambda real_logit, fake_logit: alpha * adversarial.generator(real_logit, fake_logit),
        lambda real_logit, fake_logit: (1 - alpha) * adversarial.discriminator(real_logit, fake_logit),
    )


# Penalties on the critic's gradient; each is differentiable in the critic's parameters


def _gradient(critic: Critic, x: Array) -> Array:
    """The gradient of each example's mean logit in that example, as vectors: [B, ...] -> [B, D]."""
    return jax.grad(lambda x: jnp.sum(mean_logit(critic(x))))(x).reshape(len(x), -1)


def _gradient_norm(critic: Critic, x: Array) -> Array:
    """Its Euclidean norm, [B], of derivative 0 where it is 0."""
    return optax.safe_norm(_gradient(critic, x), 0.0, axis=-1)


def _between(real: Array, fake: Array, key: Key) -> Array:
    """A point of the straight line from each fake to its real example: u real + (1 - u) fake, u ~ U[0, 1]."""
    chex.assert_equal_shape([real, fake])
    u = jax.random.uniform(key, (len(real),) + (1,) * (real.ndim - 1), real.dtype)
    return u * real + (1 - u) * fake


def gradient_penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
    """How far the critic's slope is from 1 between real and fake examples: WGAN-GP.

        (||grad D(x^)||_2 - 1)^2,   x^ = u x + (1 - u) x~,   u ~ U[0, 1] for each example

    Args:
      critic: D.
      real, fake: x and x~, [B, ...].
      key: draws u.

    Returns:
      [B]; the paper's weight is 10.

    Raises:
      AssertionError: naming the shapes where they differ.

    Source: Gulrajani et al. 2017, equation 3.
    """
    return jnp.square(_gradient_norm(critic, _between(real, fake, key)) - 1)


def lipschitz_penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
    """As `gradient_penalty`, but only for slopes above 1: max(0, ||grad D(x^)||_2 - 1)^2 (WGAN-LP; Petzka et al. 2018).

    It asks for no more than a 1-Lipschitz critic, and is 0 for each of them.
    """
    return jnp.square(jax.nn.relu(_gradient_norm(critic, _between(real, fake, key)) - 1))


def r1_penalty(critic: Critic, real: Array) -> Array:
    """Half the critic's squared slope at real examples, 1/2 ||grad D(x)||_2^2.

    With it, and the weight gamma, the game of two smooth players converges near its equilibrium, which it need not do
    without (Mescheder, Geiger & Nowozin 2018, equation 9).

    Args:
      critic: D.
      real: x, [B, ...].

    Returns:
      [B].
    """
    return 0.5 * jnp.sum(jnp.square(_gradient(critic, real)), axis=-1)


def dragan_penalty(critic: Critic, real: Array, key: Key, *, scale: stochastic.Scalar) -> Array:
    """How far the critic's slope is from 1 around real examples: DRAGAN.

        (||grad D(x + scale n)||_2 - 1)^2,   n ~ N(0, I)

    Args:
      critic: D.
      real: x, [B, ...].
      key: draws n.
      scale: standard deviation of the noise, in units of x.

    Returns:
      [B].

    Source: Kodali et al. 2017, section 2.3.
    """
    return jnp.square(_gradient_norm(critic, stochastic.gaussian_noise(scale=scale)(real, key)) - 1)
