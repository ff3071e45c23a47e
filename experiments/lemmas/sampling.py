"""Draws by inverse transform and by sums of uniforms, gradients through draws, and networks that draw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import expit, ndtr
from jax.scipy.stats import norm

from experiments.lemmas.table import (
    STANDARD_ERRORS,
    Line,
    Shown,
    kolmogorov_line,
    largest,
    mean_line,
    numpy64,
)
from genjax import losses, networks, stochastic
from genjax.models import sfnn
from genjax.types import Array, Key


def inverse_transform(key: Key) -> Shown:
    """X = F^-1(U) has the distribution function F; where F jumps, with the generalised inverse (Devroye 1986)."""
    num = 20_000
    distributions = {
        "exponential": (stochastic.exponential_quantile, lambda x: -jnp.expm1(-x)),
        "Rayleigh": (stochastic.rayleigh_quantile, lambda x: -jnp.expm1(-(x**2) / 2)),
        "logistic": (stochastic.logistic_quantile, expit),
        "Laplace": (
            stochastic.laplace_quantile,
            lambda x: 0.5 - 0.5 * jnp.sign(x) * jnp.expm1(-jnp.abs(x)),
        ),
        "Cauchy": (stochastic.cauchy_quantile, lambda x: 0.5 + jnp.arctan(x) / jnp.pi),
    }
    keys = jax.random.split(key, len(distributions) + 1)
    draws = {
        name: stochastic.inverse_transform(quantile, (num,), k)
        for k, (name, (quantile, _)) in zip(keys, distributions.items(), strict=False)
    }
    lines = [
        kolmogorov_line(f"inverse transform, {name}: KS distance", draws[name], cdf)
        for name, (_, cdf) in distributions.items()
    ]
    p = jnp.array([0.1, 0.0, 0.45, 0.25, 0.2])
    states = stochastic.inverse_transform(partial(stochastic.discrete_quantile, probabilities=p), (num,), keys[-1])
    deviation = (jnp.bincount(states, length=5) - num * p) / jnp.sqrt(num * jnp.where(p > 0, p * (1 - p), 1))
    lines.append(Line("inverse transform, discrete: counts, in s.e.", largest(deviation), 0.0, STANDARD_ERRORS))

    def panel(ax: Any) -> None:
        x, dots = np.linspace(0, 5, 500), np.linspace(0, 5, 21)
        for name in ("Rayleigh", "logistic", "Laplace"):
            (curve,) = ax.plot(x, np.searchsorted(np.sort(numpy64(draws[name])), x) / num, label=name)
            ax.plot(dots, distributions[name][1](dots), ".", color=curve.get_color())
        ax.set(title="inverse transform: draws, F as dots", xlabel="x")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S34 S35 E39", lines, panel)


def sum_of_uniforms(key: Key) -> Shown:
    """Twelve uniforms less six are nearly normal, and exactly Irwin-Hall (Irwin 1927; Hall 1927)."""
    n, num = 12, 400_000

    def irwin_hall_cdf(x: Any) -> np.ndarray:
        x = numpy64(x)
        terms = [(-1) ** k * math.comb(n, k) * np.maximum(x - k, 0) ** n for k in range(n + 1)]
        # where the alternating sum would cancel, the other tail by symmetry
        low = np.sum(terms, axis=0) / math.factorial(n)
        return low if np.all(x <= n / 2) else np.where(x <= n / 2, low, 1 - irwin_hall_cdf(np.minimum(n - x, n / 2)))

    z = stochastic.sum_of_uniforms_normal((num,), key, num_uniforms=n)
    grid = np.linspace(-6, 6, 24_001)
    kurtosis_draws = numpy64(z) ** 4 - 3
    lines = [
        kolmogorov_line("12 uniforms: KS distance from Irwin-Hall", z + n / 2, irwin_hall_cdf),
        mean_line("12 uniforms: excess kurtosis, -6/(5n)", kurtosis_draws, -6 / (5 * n)),
        Line("12 uniforms: sup |F - Φ|", largest(irwin_hall_cdf(grid + n / 2) - numpy64(ndtr(grid))), 0.00234, 5e-6),
    ]

    def panel(ax: Any) -> None:
        for k, num_uniforms in enumerate((1, 2, 12)):
            shown = stochastic.sum_of_uniforms_normal(
                (num // 4,), jax.random.fold_in(key, k), num_uniforms=num_uniforms
            )
            ax.hist(shown, bins=120, range=(-4, 4), density=True, histtype="step", label=f"n = {num_uniforms}")
        x = np.linspace(-4, 4, 200)
        ax.plot(x, norm.pdf(x), "k", lw=0.8, label="N(0, 1)")
        ax.set(title="normals from n uniforms")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S36 E40", lines, panel)


def gradient_estimators(key: Key) -> Shown:
    """The gradient of E z^2, z ~ N(mu, sigma^2), in mu, through the draw and by the score (Mohamed et al. 2020)."""
    mean, sigma, num = 1.0, 0.5, 200_000

    def draws(estimator: Callable[..., tuple[Array, Array]], key: Key) -> np.ndarray:
        one = partial(estimator, lambda z: z**2, jnp.asarray(mean), jnp.asarray(2 * math.log(sigma)))
        return numpy64(jax.jit(jax.vmap(lambda key: one(key)[0]))(jax.random.split(key, num)))

    pathwise_key, score_key = jax.random.split(key)
    # Var[f(z) (z - mu) / sigma^2] = E[(mu + sigma eps)^4 eps^2] / sigma^2 - (2 mu)^2
    score_variance = (mean**4 + 18 * mean**2 * sigma**2 + 15 * sigma**4) / sigma**2 - 4 * mean**2
    found = {
        "pathwise": (draws(stochastic.pathwise_gradient, pathwise_key), 4 * sigma**2),
        "score": (draws(stochastic.score_gradient, score_key), score_variance),
    }
    lines = []
    for name, (g, variance) in found.items():
        lines.append(mean_line(f"{name} gradient of E z²: mean, 2 μ", g, 2 * mean))
        lines.append(mean_line(f"{name} gradient of E z²: variance", (g - 2 * mean) ** 2, variance))
    # without noise z = mu + sigma is differentiable too, but it is one point of the distribution, not a draw
    fixed = jax.grad(lambda mu: (mu + sigma) ** 2)(mean)
    lines.append(Line("gradient of z² at z = μ + σ: biased by 2 σ", float(fixed) - 2 * mean, 2 * sigma, 1e-12))

    def panel(ax: Any) -> None:
        for name, (g, variance) in found.items():
            ax.hist(
                g, bins=150, range=(-12, 20), density=True, histtype="step", label=f"{name}, variance {variance:.4g}"
            )
        ax.axvline(2 * mean, color="k", lw=0.8)
        ax.set(title="one-draw gradients of E z²", yscale="log", ylim=(1e-4, None))
        ax.legend(fontsize="small", frameon=False)

    return Shown("S53 S54 (8) (14) E100", lines, panel)


def stochastic_network(key: Key) -> Shown:
    """The mean of p(y|h) over M draws h ~ p(h|x) rises in M to p(y|x), in logarithms (Tang & Salakhutdinov 2013)."""
    num_bits, nums = 6, (1, 10, 100, 1000)
    parts = sfnn.SFNN(
        networks.affine((1,), (num_bits + 2,)),
        networks.gaussian_heads(networks.affine((num_bits + 2,), (2,))),
        losses.GAUSSIAN,
        num_bits,
        jnp.tanh,
    )
    init_key, x_key, *keys = jax.random.split(key, 2 + len(nums))
    start = jax.jit(partial(sfnn.init_params, parts=parts))(init_key)
    params = jax.tree.map(lambda leaf: 2.5 * leaf.astype(float), start)
    x = jax.random.normal(x_key, (4, 1))
    y = jnp.sin(3 * x)

    # by hand: all 2^H settings of the bits
    a = numpy64(parts.hidden.apply(params["hidden"], x))
    layer = {name: numpy64(leaf) for name, leaf in params["output"]["layer_1"].items()}
    total = np.zeros(4)
    for bits in itertools.product([0.0, 1.0], repeat=num_bits):
        h = np.concatenate([np.broadcast_to(bits, (4, num_bits)), np.tanh(a[:, num_bits:])], axis=1)
        mean, s = (h @ layer["kernel"] + layer["bias"]).T
        odds = np.where(np.array(bits) > 0, 1, -1) * a[:, :num_bits]
        density = np.exp(-((numpy64(y)[:, 0] - mean) ** 2) / np.exp(s) / 2) / np.sqrt(2 * np.pi * np.exp(s))
        total += density * np.prod(1 / (1 + np.exp(-odds)), axis=1)
    exact = -float(jax.jit(partial(sfnn.negative_log_likelihood, parts=parts))(params, x, y).mean())

    def estimates(num_draws: int, key: Key) -> np.ndarray:
        one = partial(sfnn.importance_negative_log_likelihood, params, x, y, parts=parts, num_draws=num_draws)
        return numpy64(jax.jit(jax.vmap(lambda key: -one(key).mean()))(jax.random.split(key, 200)))

    found = [estimates(num, k) for num, k in zip(nums, keys, strict=True)]
    means = np.array([values.mean() for values in found])
    errors = np.array([values.std() for values in found]) / math.sqrt(len(found[0]))
    fall = np.max(-np.diff(means) / np.hypot(errors[1:], errors[:-1]), initial=0)
    excess = np.max((means - exact) / errors, initial=0)
    lines = [
        Line("stochastic network: log p(y|x), by hand", exact, float(np.log(total).mean()), 1e-10),
        Line("stochastic network: log-mean of 1000 draws", means[-1], exact, 0.05),
        Line("stochastic network: largest fall in M, in s.e.", fall, 0.0, STANDARD_ERRORS),
        Line("stochastic network: above all settings, in s.e.", excess, 0.0, STANDARD_ERRORS),
    ]

    def panel(ax: Any) -> None:
        ax.errorbar(nums, means, [values.std() for values in found], fmt="o-", capsize=3, label="of M draws")
        ax.axhline(exact, color="k", lw=0.8, label="all 2⁶ settings")
        ax.set(title="log p(y|x) of a stochastic network", xlabel="M", xscale="log")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S38", lines, panel)
