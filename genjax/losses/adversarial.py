"""What the two players of an adversarial game minimise, as pairs, and penalties on the critic's gradient.

A critic's answer, its logit, is [B], or a map of them [B, ...] as a patch discriminator gives, or a tuple of such, one
for each scale; a loss is then the mean of its values over each map, and over the scales.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import stochastic
from genjax.shapes import check_same_shape
from genjax.types import Array, Key, Scalar

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
    """Mean of a logit over each map and over the scales.

        a_i = 1/S sum_s mean(a_i^(s))

    Args:
      logit: [B], [B, ...] or a tuple of such, one for each of S scales.

    Returns:
      [B].
    """
    return _mean(lambda a: a, logit)


def _mean(loss: Callable[..., Array], *logits: Logit) -> Array:
    """A loss of each logit, averaged to [B]; logits that enter one loss must have the same shape."""
    check_same_shape(**{f"logits[{i}]": logit for i, logit in enumerate(logits)})
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


def _relativistic_generator(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_G = softplus(a - a~), in nats."""
    return _mean(lambda real, fake: jax.nn.softplus(real - fake), real_logit, fake_logit)


def _relativistic_discriminator(real_logit: Logit, fake_logit: Logit) -> Array:
    """L_D = softplus(a~ - a), in nats."""
    return _mean(lambda real, fake: jax.nn.softplus(fake - real), real_logit, fake_logit)


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

    L_D = a~ - a,   L_G = -a~,   W_1(p, g) = max over 1-Lipschitz critics of E_p[a] - E_g[a] = -L_D

Unbounded without such a constraint: a penalty, spectral normalisation, or clipped weights
(`optax.projections.projection_linf_ball`) (Arjovsky, Chintala & Bottou 2017, equation 2).
"""

RELATIVISTIC = Adversarial(_relativistic_generator, _relativistic_discriminator)
"""Each fake example is judged against the real one of the same index, in nats; the generator's loss is the mirror.

    L_D = softplus(-(a - a~)),   L_G = softplus(-(a~ - a)),   a = D(x),   a~ = D(G(z))

A constant that is added to D changes neither loss. The best answer is log(p / g) plus any constant, with
L_D = log 2 - JS(r, r'), where r(x, x~) = p(x) g(x~) is the distribution of the pairs and r'(x, x~) = g(x) p(x~) that of
the swapped ones; there the gradient of L_G is that of KL(g || p) - JS(r, r'). With `r1_penalty` at real and at fake
points this is the game of R3GAN (Jolicoeur-Martineau 2019; Huang et al. 2024, equations 2 to 4).
"""


def weighted(adversarial: Adversarial, *, alpha: float) -> Adversarial:
    """Weighs the two players' losses against each other.

        L_D' = (1 - alpha) L_D,   L_G' = alpha L_G;   L = L_D' + L_G'

    Each loss is minimised by its own player alone. If both players minimised L together, it would not be a game: L has
    its minimum at D(x) = 1 and D(G(z)) = alpha. So alpha only shifts the players' learning rates; under Adam, which is
    invariant to the scale of a loss, it has no effect.

    Args:
      adversarial: the game.
      alpha: in [0, 1].

    Returns:
      The game with weighted losses, [B] each, in the units of the given one.

    Raises:
      ValueError: alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha weighs the generator's loss from 0 to 1, not {alpha}")
    return Adversarial(
        lambda real_logit, fake_logit: alpha * adversarial.generator(real_logit, fake_logit),
        lambda real_logit, fake_logit: (1 - alpha) * adversarial.discriminator(real_logit, fake_logit),
    )


# Penalties on the critic's gradient, differentiable in the critic's parameters


def _gradient(critic: Critic, x: Array) -> Array:
    """Gradient of each example's mean logit in that example, as vectors: [B, ...] -> [B, D]."""
    return jax.grad(lambda x: jnp.sum(mean_logit(critic(x))))(x).reshape(len(x), -1)


def _gradient_norm(critic: Critic, x: Array) -> Array:
    """Euclidean norm of that gradient, [B], with a derivative of 0 where it is 0."""
    return optax.safe_norm(_gradient(critic, x), 0.0, axis=-1)


def _between(real: Array, fake: Array, key: Key) -> Array:
    """A random point on the straight line between each fake and real example: u real + (1 - u) fake, u ~ U[0, 1]."""
    check_same_shape(real=real, fake=fake)
    u = jax.random.uniform(key, (len(real),) + (1,) * (real.ndim - 1), real.dtype)
    return u * real + (1 - u) * fake


def gradient_penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
    """Squared distance of the critic's slope from 1 between real and fake examples: WGAN-GP.

        (||grad D(x^)||_2 - 1)^2,   x^ = u x + (1 - u) x~,   u ~ U[0, 1] for each example

    Of maps and scales, D is the mean, as in the losses (`mean_logit`). The slope of the sum over S scales of N patches
    each would be S N times as large; for that penalty, pass a critic that sums.

    Args:
      critic: D.
      real, fake: x and x~, [B, ...].
      key: draws u.

    Returns:
      [B], >= 0; its weight in the paper is 10.

    Raises:
      ValueError: shapes that differ.

    Source: Gulrajani et al. 2017, equation 3.
    """
    return jnp.square(_gradient_norm(critic, _between(real, fake, key)) - 1)


def lipschitz_penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
    """`gradient_penalty` for slopes above 1 only: WGAN-LP.

        max(0, ||grad D(x^)||_2 - 1)^2,   x^ = u x + (1 - u) x~,   u ~ U[0, 1] for each example

    It is 0 for every 1-Lipschitz critic.

    Args:
      critic: D.
      real, fake: x and x~, [B, ...].
      key: draws u.

    Returns:
      [B], >= 0.

    Raises:
      ValueError: shapes that differ.

    Source: Petzka et al. 2018.
    """
    return jnp.square(jax.nn.relu(_gradient_norm(critic, _between(real, fake, key)) - 1))


def r1_penalty(critic: Critic, real: Array) -> Array:
    """Half the critic's squared slope at real examples: R1, or R2 at fake ones.

        1/2 ||grad D(x)||_2^2

    With it, weighted by gamma, the game of two smooth players converges near its equilibrium, which it need not do
    without. R3GAN adds R1 and R2 with the same gamma (Huang et al. 2024, equation 4).

    Args:
      critic: D.
      real: x, [B, ...]; the generated examples for R2.

    Returns:
      [B], >= 0.

    Source: Mescheder, Geiger & Nowozin 2018, equation 9.
    """
    return 0.5 * jnp.sum(jnp.square(_gradient(critic, real)), axis=-1)


def dragan_penalty(critic: Critic, real: Array, key: Key, *, scale: Scalar) -> Array:
    """Squared distance of the critic's slope from 1 around real examples: DRAGAN.

        (||grad D(x + scale n)||_2 - 1)^2,   n ~ N(0, I)

    Args:
      critic: D.
      real: x, [B, ...].
      key: draws n.
      scale: standard deviation of the noise, in units of x.

    Returns:
      [B], >= 0.

    Source: Kodali et al. 2017, section 2.3.
    """
    return jnp.square(_gradient_norm(critic, stochastic.gaussian_noise(scale=scale)(real, key)) - 1)
