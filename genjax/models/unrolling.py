"""Unrolled games: a player meets its adversary as it would be after a few more steps (Metz et al. 2017).

    J_G(theta_G; theta_D^K),   theta_D^{k+1} = theta_D^k - eta grad J_D(theta_D^k; theta_G),   theta_D^0 = theta_D

The gradient in theta_G passes through the K steps: it has the term of how the adversary would answer. At K = 0 it is
that of the plain game, and as K grows that of the best answer. The adversary itself is trained as before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.types import Array, Key, Params


class Unrolling(NamedTuple):
    """The steps that an adversary is taken to make."""

    num_steps: int  # K
    optimizer: optax.GradientTransformation  # of these steps, from a fresh state: `optax.sgd(eta)`


def unrolled(
    objective: gradients.Objective,
    of_adversary: gradients.Objective,
    *,
    own: str,
    adversary: str,
    unrolling: Unrolling,
) -> gradients.Objective:
    """A player's objective against its adversary K steps ahead.

    The steps are of the mean of the adversary's loss over the batch that the player is given, each with new draws; with
    shards, over the rows of a shard. What else follows the adversary's own updates, such as clipping, does not follow
    these.

    Args:
      objective: the player's, as `alternating.Player` takes it.
      of_adversary: the adversary's objective.
      own: the name of the player's params.
      adversary: the name of the adversary's params.
      unrolling: K, and the optimizer of these steps.

    Returns:
      An objective like the given one, and the same at K = 0.

    Source: Metz et al. 2017, equations 7 to 9.
    """

    def against_what_follows(params: Params, others: dict[str, Params], batch: Any, key: Key) -> tuple[Any, ...]:
        def mean_loss(moving: Params, key: Key) -> Array:
            return jnp.mean(of_adversary(moving, others | {own: params}, batch, key)[0])

        def step(moving: tuple[Params, Any], key: Key) -> tuple[tuple[Params, Any], None]:
            updates, state = unrolling.optimizer.update(jax.grad(mean_loss)(moving[0], key), moving[1], moving[0])
            return (optax.apply_updates(moving[0], updates), state), None

        start = others[adversary]
        keys = jax.random.split(jax.random.fold_in(key, 2), unrolling.num_steps)  # 1 is the generator's dropout
        (ahead, _), _ = jax.lax.scan(step, (start, unrolling.optimizer.init(start)), keys)
        return objective(params, others | {adversary: ahead}, batch, key)

    return against_what_follows
