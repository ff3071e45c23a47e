"""The game of generator and discriminator, on a table and by networks on a line."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import expit

from experiments.lemmas.table import Line, Shown, descend, largest, numpy64
from genjax import gradients, information, losses, networks
from genjax.models import gan
from genjax.types import Array, Batch, Key


def gan_equilibrium(key: Key) -> Shown:
    """With unrestricted players on five states, alternating updates reach p_g = p, D = 1/2 (Goodfellow et al. 2014)."""
    num_updates, truth = 400, jnp.array([0.1, 0.15, 0.2, 0.25, 0.3])

    def value(generator: Array, discriminator: Array) -> Array:
        # V = E_p log D + E_{p_g} log(1 - D), both players by their logits
        fake = jax.nn.softmax(generator)
        return truth @ jax.nn.log_sigmoid(discriminator) + fake @ jax.nn.log_sigmoid(-discriminator)

    optimizer = optax.sgd(1.0)
    discriminate = gradients.updater(lambda d, g: (-value(g, d)[None], {}), optimizer)
    generate = gradients.updater(lambda g, d: (value(g, d)[None], {}), optimizer)

    def update(players: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
        (d, d_state), (g, g_state) = players
        d, d_state = discriminate(d, d_state, g)[:2]
        g, g_state = generate(g, g_state, d)[:2]
        return ((d, d_state), (g, g_state)), (value(g, d), jax.nn.softmax(g))

    start = 0.5 * jax.random.normal(key, (5,))
    players = ((jnp.zeros(5), optimizer.init(jnp.zeros(5))), (start, optimizer.init(start)))
    players, (values, fakes) = jax.jit(lambda p: jax.lax.scan(update, p, None, length=num_updates))(players)
    (d, _), (g, _) = players

    # against a generator that stays, the discriminator comes to D = p / (p + g), where V = -log 4 + 2 JS(p, g)
    still = jax.nn.softmax(start)
    best = descend(lambda d: (-value(start, d)[None], {}), optax.sgd(5.0), jnp.zeros(5), 2000)[-1]
    middle = (truth + still) / 2
    js = (information.kl_divergence(truth, middle) + information.kl_divergence(still, middle)) / 2
    lines = [
        Line("tabular GAN: best D - p/(p + g), largest", largest(expit(best) - truth / (truth + still)), 0.0, 1e-6),
        Line("tabular GAN: V there, -log 4 + 2 JS(p, g)", float(value(start, best)), float(2 * js) - math.log(4), 1e-9),
        Line("tabular GAN: V at the end, -log 4", float(value(g, d)), -math.log(4), 1e-3),
        Line("tabular GAN: largest |p_g - p|", largest(jax.nn.softmax(g) - truth), 0.0, 0.01),
        Line("tabular GAN: largest |D - 1/2|", largest(expit(d) - 0.5), 0.0, 0.01),
    ]

    def panel(ax: Any) -> None:
        ax.plot(np.abs(numpy64(fakes) - numpy64(truth)).max(axis=1), label="largest |p_g - p|")
        ax.plot(np.abs(numpy64(values) + math.log(4)), label="|V + log 4|")
        ax.set(title="tabular GAN, alternating updates", xlabel="update", yscale="log")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S68-S70 E78-E80", lines, panel)


def gan_on_a_line(key: Key) -> Shown:
    """Networks come to the same equilibrium: of N(3, 1), x = w z + b ends at b = 3, |w| = 1, V = -log 4, D = 1/2."""
    num_steps, batch_size = 1500, 256
    init_key, data_key, train_key = jax.random.split(key, 3)
    parts = gan.GAN(
        networks.affine((1,), (1,)),
        networks.mlp((1,), (), hidden=(16, 16), activation=jax.nn.silu),
        losses.NON_SATURATING,
        latent_dim=1,
    )
    generator, discriminator = (
        optax.adam(optax.cosine_decay_schedule(rate, num), b1=0.5, b2=0.9)
        for rate, num in ((6e-3, num_steps), (2e-2, 2 * num_steps))
    )
    model = gan.model(
        parts,
        generator,
        discriminator,
        penalty=lambda critic, real, fake, key: 0.1 * losses.r1_penalty(critic, real),
        num_critic_steps=2,
        averaging=0.99,
    )

    def step(state: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
        x = 3 + jax.random.normal(jax.random.fold_in(data_key, state.step), (batch_size, 1))
        state, metrics = model.train_step(state, Batch(x), train_key)
        return state, (-metrics["discriminator_loss"], state.average["generator"]["layer_1"]["bias"][0])

    state, (values, biases) = jax.jit(lambda state: jax.lax.scan(step, state, None, length=num_steps))(
        model.init(init_key)
    )
    layer = state.average["generator"]["layer_1"]
    grid = jnp.linspace(1, 5, 81)[:, None]
    belief = expit(gan.discriminate(state.params["discriminator"], grid, parts=parts))
    lines = [
        Line("GAN of N(3, 1): V of the last 200 updates, -log 4", float(values[-200:].mean()), -math.log(4), 0.02),
        Line("GAN of N(3, 1): |D - 1/2| on [1, 5], largest", largest(belief - 0.5), 0.0, 0.1),
        Line("GAN of N(3, 1): mean of the generated", float(layer["bias"][0]), 3.0, 0.2),
        Line("GAN of N(3, 1): their standard deviation", abs(float(layer["kernel"][0, 0])), 1.0, 0.2),
    ]

    def panel(ax: Any) -> None:
        ax.plot(numpy64(values), lw=0.6, label="V reached")
        ax.axhline(-math.log(4), color="k", lw=0.8, label="-log 4")
        ax.plot(numpy64(biases) - 3, lw=1, label="mean of x~ less 3")
        ax.set(title="a GAN of networks on N(3, 1)", xlabel="update", ylim=(-3.2, 0.7))
        ax.legend(fontsize="small", frameon=False)

    return Shown("S66 S67 S71", lines, panel)
