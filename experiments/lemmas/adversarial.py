"""The game of generator and discriminator on a table."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import expit

from experiments.lemmas.table import (
    Line,
    Shown,
    largest,
    numpy64,
)
from genjax import gradients
from genjax.types import Array, Key


def gan_equilibrium(key: Key) -> Shown:
    """With unrestricted players on five states, alternating updates reach p_g = p, D = 1/2 (Goodfellow et al. 2014)."""
    num_updates, truth = 400, jnp.array([0.1, 0.15, 0.2, 0.25, 0.3])

    def value(generator: Array, discriminator: Array) -> Array:
        # V = E_p log D + E_{p_g} log(1 - D), both players by their logits
        fake = jax.nn.softmax(generator)
        return truth @ jax.nn.log_sigmoid(discriminator) + fake @ jax.nn.log_sigmoid(-discriminator)

    optimizer = optax.sgd(1.0)
    ascend = gradients.updater(lambda d, g: (-value(g, d)[None], {}), optimizer)
    descend = gradients.updater(lambda g, d: (value(g, d)[None], {}), optimizer)

    def update(players: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
        (d, d_state), (g, g_state) = players
        d, d_state = ascend(d, d_state, g)[:2]
        g, g_state = descend(g, g_state, d)[:2]
        return ((d, d_state), (g, g_state)), (value(g, d), jax.nn.softmax(g))

    start = 0.5 * jax.random.normal(key, (5,))
    players = ((jnp.zeros(5), optimizer.init(jnp.zeros(5))), (start, optimizer.init(start)))
    players, (values, fakes) = jax.jit(lambda p: jax.lax.scan(update, p, None, length=num_updates))(players)
    (d, _), (g, _) = players
    lines = [
        Line("tabular GAN: V at the end, -log 4", float(value(g, d)), -math.log(4), 1e-3),
        Line("tabular GAN: largest |p_g - p|", largest(jax.nn.softmax(g) - truth), 0.0, 0.01),
        Line("tabular GAN: largest |D - 1/2|", largest(expit(d) - 0.5), 0.0, 0.01),
    ]

    def panel(ax: Any) -> None:
        ax.plot(np.abs(numpy64(fakes) - numpy64(truth)).max(axis=1), label="largest |p_g - p|")
        ax.plot(np.abs(numpy64(values) + math.log(4)), label="|V + log 4|")
        ax.set(title="tabular GAN, alternating updates", xlabel="update", yscale="log")
        ax.legend(fontsize="small", frameon=False)

    return Shown(lines, panel)
