"""Entropy, divergence and mutual information of finite distributions."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.lemmas.table import Line, Shown, descend, largest, numpy64
from genjax import information
from genjax.types import Array, Key


def entropy_and_divergence(key: Key) -> Shown:
    """0 <= H <= log m, and H(q, p) = H(q) + KL(q || p) >= H(q) (Shannon 1948; Kullback & Leibler 1951)."""
    import scipy.stats
    from sklearn.metrics import log_loss

    num_states, q_key, p_key, y_key = 7, *jax.random.split(key, 3)
    q, p = (jax.random.dirichlet(k, jnp.ones(num_states), (10_000,)) for k in (q_key, p_key))

    def negative_entropy(logits: Array) -> tuple[Array, dict[str, Array]]:
        return -information.entropy(jax.nn.softmax(logits))[None], {}

    start = jax.random.normal(q_key, (num_states,))
    ascended = jax.nn.softmax(descend(negative_entropy, optax.sgd(1.0), start, 500)[-1])
    bits = jax.random.bernoulli(y_key, 0.4, (500,)).astype(float)
    logits = 2 * bits - 1 + jax.random.normal(p_key, (500,))
    divergence = information.kl_divergence(q, p)
    split = information.cross_entropy(q, p) - information.entropy(q) - divergence
    surprise = information.self_information(q[:, 0] * p[:, 0])
    surprises = information.self_information(q[:, 0]) + information.self_information(p[:, 0])
    lines = [
        Line("self-information: of two independent events, the sum", largest(surprise - surprises), 0.0, 1e-12),
        Line(
            "entropy: that of 10 000 tables - SciPy's, largest",
            largest(information.entropy(q) - scipy.stats.entropy(numpy64(q), axis=1)),
            0.0,
            1e-12,
        ),
        Line("entropy: ascended by its gradient, log 7", float(information.entropy(ascended)), math.log(7), 1e-9),
        Line("entropy: where it is largest, 1/7 each", largest(ascended - 1 / num_states), 0.0, 1e-5),
        Line(
            "divergence: of 10 000 pairs - SciPy's, largest",
            largest(divergence - scipy.stats.entropy(numpy64(q), numpy64(p), axis=1)),
            0.0,
            1e-11,
        ),
        Line("divergence: H(q, p) - H(q), largest difference", largest(split), 0.0, 1e-11),
        Line("divergence: of a table from itself, largest", largest(information.kl_divergence(q, q)), 0.0, 0.0),
        Line(
            "binary cross-entropy: scikit-learn's log_loss",
            float(information.binary_log_loss(logits, bits)),
            float(log_loss(numpy64(bits), 1 / (1 + np.exp(-numpy64(logits))))),
            1e-12,
        ),
        Line(
            "binary cross-entropy: of p = 1/2, log 2",
            float(information.binary_log_loss(jnp.zeros(500), bits)),
            math.log(2),
            1e-12,
        ),
    ]

    def panel(ax: Any) -> None:
        r = np.linspace(0.001, 0.999, 400)
        coin, known = jnp.stack([jnp.asarray(r), 1 - jnp.asarray(r)], axis=1), jnp.array([[0.3, 0.7]])
        truth = jnp.broadcast_to(known, coin.shape)
        ax.plot(r, information.entropy(coin), label="H(p)")
        ax.plot(r, information.cross_entropy(truth, coin), label="H(q, p), q = .3")
        ax.plot(r, information.kl_divergence(truth, coin), label="KL(q || p)")
        ax.axhline(math.log(2), color="k", lw=0.8, ls=":", label="log 2")
        ax.axvline(0.3, color="k", lw=0.8)
        ax.set(title="entropy and divergence of coins", xlabel="p", ylim=(0, 2))
        ax.legend(fontsize="small", frameon=False)

    return Shown("S39 S40 S43-S45 E46-E48", lines, panel)


def mutual_information(key: Key) -> Shown:
    """I(x; y) = H(y) - H(y|x); of Gaussians, -1/2 log(1 - r^2) (Cover & Thomas 2006, example 8.5.1)."""
    from sklearn.metrics import mutual_info_score

    joint = jax.random.dirichlet(key, jnp.ones(20)).reshape(4, 5)
    y = numpy64(joint).sum(0)
    by_column = sum(p * numpy64(information.entropy(joint[:, j] / p)) for j, p in enumerate(y))
    counts = np.round(1e4 * numpy64(joint))
    x = joint.sum(1)
    independent = jnp.outer(x, joint.sum(0))
    shared = information.mutual_information(joint)
    grid = jnp.linspace(-8, 8, 161)

    def gaussian_table(correlation: float) -> Array:
        square = grid[:, None] ** 2 - 2 * correlation * grid[:, None] * grid[None] + grid[None] ** 2
        table = jnp.exp(-square / (2 * (1 - correlation**2)))
        return table / table.sum()

    correlations = (0.0, 0.3, 0.6, 0.9)
    measured = [float(information.mutual_information(gaussian_table(r))) for r in correlations]
    lines = [
        Line("H(x|y): Σ p(y) H(x|y=y)", float(information.conditional_entropy(joint)), float(by_column), 1e-12),
        Line(
            "H(x, y) - H(y): H(x|y)",
            float(information.joint_entropy(joint) - information.entropy(joint.sum(0))),
            float(information.conditional_entropy(joint)),
            1e-12,
        ),
        Line(
            "I(x; y): scikit-learn's mutual_info_score",
            float(information.mutual_information(jnp.asarray(counts / counts.sum()))),
            float(mutual_info_score(None, None, contingency=counts)),
            1e-12,
        ),
        Line("I(x; y): I(y; x)", float(shared), float(information.mutual_information(joint.T)), 1e-12),
        Line("I(x; y) of independent variables", float(information.mutual_information(independent)), 0.0, 1e-12),
        Line("I(x; x): H(x)", float(information.mutual_information(jnp.diag(x))), float(information.entropy(x)), 1e-12),
        *(
            Line(f"I(x; y) of Gaussians, ρ = {r}: -½ log(1 - ρ²)", found, -0.5 * math.log(1 - r**2), 1e-9)
            for r, found in zip(correlations, measured, strict=True)
        ),
    ]

    def panel(ax: Any) -> None:
        r = np.linspace(0, 0.95, 100)
        ax.plot(r, -0.5 * np.log(1 - r**2), label="-½ log(1 - ρ²)")
        ax.plot(correlations, measured, "o", label="table of 161 x 161")
        ax.set(title="mutual information of two Gaussians", xlabel="ρ", ylabel="nats")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S41 S42 E45", lines, panel)
