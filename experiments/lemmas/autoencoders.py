"""The linear autoencoder and principal components."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.lemmas.table import (
    Line,
    Shown,
    numpy64,
)
from genjax import data, networks
from genjax.evaluation import linear
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder
from genjax.types import Array, Batch, Key


def linear_autoencoder_is_pca(key: Key) -> Shown:
    """A linear autoencoder trained by gradients converges to the principal subspace (Baldi & Hornik 1989)."""
    latent_dim, chunks, steps = 8, 20, 150
    digits = data.load("digits")
    x = digits.train.x / digits.scale
    x = jnp.asarray(x - x.mean(axis=0), jnp.float32)
    parts = autoencoder.Autoencoder(
        networks.affine(x.shape[1:], (latent_dim,)), networks.affine((latent_dim,), x.shape[1:]), SQUARED_ERROR
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, chunks * steps))
    model = autoencoder.model(parts, optimizer, autoencoder.objective(parts))

    def chunk(state: Any, _: None) -> tuple[Any, Array]:
        state = jax.lax.fori_loop(0, steps, lambda _, s: model.train_step(s, Batch(x), key)[0], state)
        return state, state.params["decoder"]["layer_1"]["kernel"]

    state, decoders = jax.jit(lambda state: jax.lax.scan(chunk, state, None, length=chunks))(model.init(key))
    loss = model.evaluate(state, Batch(x), key)["loss"]

    _, s, vt = np.linalg.svd(numpy64(x).reshape(len(x), -1), full_matrices=False)

    angles = [linear.largest_angle(decoder, vt[:latent_dim]) for decoder in numpy64(decoders)]
    left = float(np.sum(s[latent_dim:] ** 2) / len(x))
    lines = [
        Line("linear autoencoder = PCA: decoder angle, rad", angles[-1], 0.0, 1e-3),
        Line("linear autoencoder = PCA: loss, Σ_{i>d} S_i²/n", float(loss), left, 1e-3 * left),
    ]

    def panel(ax: Any) -> None:
        ax.semilogy(steps * np.arange(1, chunks + 1), angles, ".-")
        ax.set(title="linear autoencoder to PCA", xlabel="update", ylabel="largest principal angle, rad")

    return Shown(lines, panel)
