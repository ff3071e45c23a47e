"""What networks can represent, and what generative and discriminative models share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import expit
from jax.scipy.stats import multivariate_normal

from experiments.lemmas.table import (
    STANDARD_ERRORS,
    Line,
    Shown,
    largest,
    numpy64,
)
from genjax import networks, stochastic
from genjax.types import Array, Key


def universal_approximation(key: Key) -> Shown:
    """A hidden layer of N steep sigmoids, placed by hand, is nowhere off by more than omega_f(1 / N) (Cybenko 1989).

    omega_f(d) = sup |f(x) - f(y)| over |x - y| <= d is the modulus of continuity. On [0, 1] it is 2 sin(pi d) for
    sin 2 pi x, and sqrt(d) for the square root.
    """
    del key
    x = jnp.linspace(0, 1, 20_001)[:, None]
    functions = {
        "sin 2πx": (lambda x: jnp.sin(2 * jnp.pi * x), lambda d: 2 * math.sin(math.pi * d)),
        "√x": (jnp.sqrt, math.sqrt),
    }

    def approximation(f: Callable[[Any], Any], num_units: int) -> Array:
        # F(x) = f(0) + sum_i [f(i/N) - f((i-1)/N)] sigm(50 N (x - (i - 1/2)/N))
        i = jnp.arange(1, num_units + 1)
        params = {
            "layer_1": {"kernel": jnp.full((1, num_units), 50.0 * num_units), "bias": -50.0 * (i - 0.5)},
            "layer_2": {"kernel": (f(i / num_units) - f((i - 1) / num_units))[:, None], "bias": f(jnp.zeros(1))},
        }
        return networks.mlp((1,), (1,), hidden=(num_units,), activation=expit).apply(params, x)

    lines = [
        Line(
            f"universal approximation: sup |F_{num} - {name}| <= ω(1/{num})",
            largest(approximation(f, num) - f(x)),
            0.0,
            modulus(1 / num),
        )
        for name, (f, modulus) in functions.items()
        for num in (10, 50, 200)
    ]

    def panel(ax: Any) -> None:
        f, modulus = functions["sin 2πx"]
        for num in (10, 50):
            ax.plot(x, approximation(f, num), label=f"{num} sigmoids", lw=1)
        exact = numpy64(f(x))[:, 0]
        ax.fill_between(x[:, 0], exact - modulus(0.02), exact + modulus(0.02), alpha=0.2, label="± ω(1/50)")
        ax.plot(x, exact, "k", lw=0.8, label="sin 2πx")
        ax.set(title="universal approximation", xlabel="x")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S09 E41", lines, panel)


def generative_and_discriminative(key: Key) -> Shown:
    """Two Gaussian classes of one covariance: p(y|x) by Bayes' rule is the logistic regression (Ng & Jordan 2001)."""
    from sklearn.linear_model import LogisticRegression

    num = 10_000  # of each class
    means, covariance = jnp.array([[0.0, 0.0], [1.0, -0.5]]), jnp.array([[1.0, 0.4], [0.4, 0.7]])
    weights = jnp.linalg.solve(covariance, means[1] - means[0])
    bias = -(means[0] + means[1]) @ weights / 2

    data_key, sample_key = jax.random.split(key)
    cholesky = jnp.linalg.cholesky(covariance)
    y = jnp.repeat(jnp.arange(2), num)
    x = stochastic.sample_gaussian_full_covariance(means[y], cholesky, data_key)
    density = jax.vmap(lambda mean: jax.vmap(lambda x: multivariate_normal.pdf(x, mean, covariance))(x))(means)
    by_bayes = density[1] / (density[0] + density[1])
    logistic = expit(x @ weights + bias)

    fitted = LogisticRegression(C=1e10, tol=1e-8).fit(x, y)
    difference = np.concatenate([fitted.intercept_ - float(bias), fitted.coef_[0] - numpy64(weights)])
    design = np.concatenate([np.ones((2 * num, 1)), x], axis=1)
    fisher = (design * numpy64(logistic * (1 - logistic))[:, None]).T @ design
    deviation = difference / np.sqrt(np.diag(np.linalg.inv(fisher)))

    # fitted by moments, it can do what the logistic regression cannot: give new x
    centred = x - jnp.stack([x[:num].mean(0), x[num:].mean(0)])[y]
    pooled = centred.T @ centred / (2 * num)
    drawn = stochastic.sample_gaussian_full_covariance(
        jnp.tile(x[num:].mean(0), (num, 1)), jnp.linalg.cholesky(pooled), sample_key
    )
    spread = jnp.sqrt((covariance**2 + jnp.outer(jnp.diag(covariance), jnp.diag(covariance))) * (1 / num + 0.5 / num))
    cov_deviation = (jnp.cov(drawn.T) - covariance) / spread
    mean_deviation = (drawn.mean(0) - means[1]) / jnp.sqrt(
        jnp.diag(covariance) * 2 / num
    )  # of the fit and of the draws
    lines = [
        Line("Gaussian classes: Bayes' p(y|x) - sigm(w x + b), largest", largest(by_bayes - logistic), 0.0, 1e-12),
        Line("logistic regression's w, b from Σ⁻¹(μ₁-μ₀), in s.e.", largest(deviation), 0.0, STANDARD_ERRORS),
        Line("generative model's samples: mean, in s.e.", largest(mean_deviation), 0.0, STANDARD_ERRORS),
        Line("generative model's samples: covariance, in s.e.", largest(cov_deviation), 0.0, STANDARD_ERRORS),
    ]

    def panel(ax: Any) -> None:
        for label, colour in ((0, "tab:blue"), (1, "tab:orange")):
            ax.scatter(*numpy64(x[y == label][:300]).T, s=3, color=colour)
        edge = np.linspace(-3, 4, 2)
        w, b = numpy64(weights), float(bias)
        ax.plot(edge, -(b + w[0] * edge) / w[1], "k", label="generative")
        v, c = fitted.coef_[0], fitted.intercept_[0]
        ax.plot(edge, -(c + v[0] * edge) / v[1], "r--", label="logistic regression")
        ax.set(title="two routes to p(y|x)", xlim=(-3, 4), ylim=(-3.5, 3))
        ax.legend(fontsize="small", frameon=False)

    return Shown("S10", lines, panel)
