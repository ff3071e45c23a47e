"""Autoencoders whose optimum is known: the linear one, and one each with noise, a contractive and a sparse penalty."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.lemmas.table import Line, Shown, descend, largest, mean_line, numpy64
from genjax import data, losses, networks, stochastic
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

    return Shown("S19 S21 (2)-(5) E31", lines, panel)


def spectral_decomposition(key: Key) -> Shown:
    """X = E L E^T for symmetric X alone; the covariance of data has L_i = S_i^2 / (n - 1) (Golub & Van Loan 2013)."""
    draws = numpy64(jax.random.normal(key, (300, 6))) * np.array([3, 2, 1.5, 1, 0.7, 0.5])
    centred = draws - draws.mean(axis=0)
    covariance = np.cov(draws.T)
    values, vectors = linear.spectral_decomposition(covariance)
    singular = np.linalg.svd(centred, compute_uv=False)

    def refused(x: Any) -> bool:
        try:
            linear.spectral_decomposition(x)
        except ValueError:
            return True
        return False

    rejected = [refused(x) for x in (np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.0, -1.0], [1.0, 0.0]]), centred)]
    parallel = np.linalg.eig(np.array([[1.0, 1.0], [0.0, 1.0]]))[1]
    lines = [
        Line("spectra: X - E L Eᵀ, largest", largest(covariance - (vectors * values) @ vectors.T), 0.0, 1e-12),
        Line("spectra: EᵀE - I, largest", largest(vectors.T @ vectors - np.eye(6)), 0.0, 1e-12),
        Line("spectra: of a covariance - S²/(n-1)", largest(values - singular**2 / 299), 0.0, 1e-12),
        Line("spectra: of [[1,1],[0,1]], a turn, 300 x 6: refused", float(sum(rejected)), 3.0, 0.0),
        Line(
            "spectra: [[1,1],[0,1]]: |cos| of its two eigenvectors",
            abs(float(parallel.T[0] @ parallel.T[1])),
            1.0,
            1e-9,
        ),
    ]

    def panel(ax: Any) -> None:
        ax.scatter(*centred[:, :2].T, s=4, color="tab:gray")
        plane, axes = linear.spectral_decomposition(np.cov(centred[:, :2].T))
        for value, axis in zip(plane, axes.T, strict=True):
            ax.annotate("", 2 * np.sqrt(value) * axis, (0, 0), arrowprops={"arrowstyle": "->", "lw": 2})
        ax.set(title="eigenvectors of a covariance, 2√Lᵢ long", aspect="equal")

    return Shown("S20 S22 (1) (6) E28 E29 E32", lines, panel)


def denoising_is_a_wiener_filter(key: Key) -> Shown:
    """The best linear denoising autoencoder is a Wiener filter, sum_{i<=k} l_i / (l_i + s^2) u_i u_i^T."""
    variance, rank, num_steps = 0.5, 2, 1500
    spread = jnp.array([3.0, 2.0, 1.0, 0.5])
    basis = jnp.linalg.qr(jax.random.normal(key, (4, 4)))[0]
    covariance = (basis * spread[None]) @ basis.T
    parts = autoencoder.Autoencoder(networks.affine((4,), (rank,)), networks.affine((rank,), (4,)), SQUARED_ERROR)
    objective = autoencoder.objective(parts, corruption=stochastic.gaussian_noise(scale=variance**0.5))
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-2, num_steps))
    model = autoencoder.model(parts, optimizer, objective)

    def drawn(key: Key) -> Array:
        return jax.random.normal(key, (1000, 4)) * jnp.sqrt(spread)[None] @ basis.T

    def step(state: Any, _: None) -> tuple[Any, Array]:
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, state.step))
        state, metrics = model.train_step(state, Batch(drawn(batch_key)), step_key)
        return state, metrics["loss"]

    state, path = jax.jit(lambda state: jax.lax.scan(step, state, None, length=num_steps))(model.init(key))
    kernels = [numpy64(state.params[half]["layer_1"]["kernel"]) for half in ("encoder", "decoder")]
    best = numpy64(linear.wiener(covariance, variance=variance, rank=rank))
    least = float(spread.sum() - (spread[:rank] ** 2 / (spread[:rank] + variance)).sum())
    product = kernels[0] @ kernels[1]
    # E ||x - A (x + n)||^2 = tr (I - A)^T C (I - A) + s^2 ||A||^2, for rows x
    left = np.trace((np.eye(4) - product).T @ numpy64(covariance) @ (np.eye(4) - product))
    lines = [
        Line("denoising: learned map - Wiener filter, largest", largest(product - best), 0.0, 0.02),
        Line("denoising: its error, tr C - Σ l²/(l + σ²)", float(left + variance * (product**2).sum()), least, 0.005),
    ]

    def panel(ax: Any) -> None:
        ax.plot(numpy64(path), lw=0.7, label="loss of a batch")
        ax.axhline(least, color="k", lw=0.8, label="tr C - Σ l²/(l + σ²)")
        ax.set(title="linear denoising autoencoder", xlabel="update", ylim=(0.8 * least, 2.5 * least))
        ax.legend(fontsize="small", frameon=False)

    return Shown("S24 S33", lines, panel)


def contractive_penalty(key: Key) -> Shown:
    """Of h = sigm(x W + b), ||dh/dx||^2 = sum_j (h_j (1 - h_j))^2 sum_i W_ij^2 (Rifai et al. 2011, equation 9)."""
    w_key, x_key, v_key = jax.random.split(key, 3)
    kernel, x = jax.random.normal(w_key, (5, 4)), jax.random.normal(x_key, (6, 5))

    def layer(x: Array) -> Array:
        return jax.nn.sigmoid(x @ kernel)

    closed = losses.sigmoid_jacobian_norm(layer(x), kernel)
    step = 1e-5
    slopes = [(layer(x + step * e[None]) - layer(x - step * e[None])) / (2 * step) for e in jnp.eye(5)]
    estimates = jax.vmap(partial(losses.hutchinson_jacobian_norm, layer, x))(jax.random.split(v_key, 20_000))[:, 0]
    return Shown(
        "S26 E36",
        [
            Line("contractive: closed form - jax.jacrev", largest(closed - losses.jacobian_norm(layer, x)), 0.0, 1e-12),
            Line("contractive: finite differences", largest(closed - (jnp.stack(slopes) ** 2).sum((0, 2))), 0.0, 1e-8),
            mean_line("contractive: Hutchinson's estimate, mean", estimates, float(closed[0])),
        ],
    )


def sparse_code(key: Key) -> Shown:
    """For W with orthonormal rows, ||x - z W||^2 + lambda/2 ||z||_1 is least at z = soft(W x, lambda/4)."""
    weight, num = 1.2, 8
    atoms = jnp.linalg.qr(jax.random.normal(key, (num, num)))[0]
    x = jax.random.normal(jax.random.fold_in(key, 1), (1, num))

    def objective(z: Array) -> tuple[Array, dict[str, Array]]:
        return losses.squared_error(z @ atoms, x) + weight * losses.code_l1(z), {}

    found = descend(objective, optax.sgd(optax.cosine_decay_schedule(0.1, 4000)), jnp.zeros((1, num)), 4000)[-1]
    soft = networks.soft_threshold(x @ atoms.T, threshold=weight / 4)
    lines = [
        Line("sparse code: descent - soft(Wx, λ/4), largest", largest(found - soft), 0.0, 1e-4),
        Line("sparse code: units off", float((numpy64(abs(found)) < 1e-3).sum()), float((soft == 0).sum()), 0.0),
    ]

    def panel(ax: Any) -> None:
        projected, grid = numpy64(x @ atoms.T)[0], np.linspace(-2.5, 2.5, 201)
        ax.plot(grid, networks.soft_threshold(jnp.asarray(grid), threshold=weight / 4), label="soft(a, λ/4)")
        ax.plot(projected, numpy64(found)[0], "o", label="found by descent")
        ax.set(title="sparse code of an orthonormal decoder", xlabel="a = Wx", ylabel="z")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S28 E98", lines, panel)
