"""Gradient descent, and what it minimises: likelihoods, posteriors and Tikhonov's penalised squares."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import multivariate_normal

from experiments.lemmas.table import Line, Shown, descend, largest, mean_line, numpy64
from genjax import losses
from genjax.evaluation import linear
from genjax.losses import GAUSSIAN
from genjax.types import Array, Key


def gradient_descent(key: Key) -> Shown:
    """On J = 1/2 t^T A t, t <- t - eta grad J gives t_n = (I - eta A)^n t_0, and converges for eta < 2 / l_max.

    `--optimizer=sgd` makes the same steps on the objective of any page.
    """
    num, curvatures = 40, np.array([0.2, 1.0, 3.0])
    basis = jnp.linalg.qr(jax.random.normal(key, (3, 3)))[0]
    a = (basis * curvatures[None]) @ basis.T
    start = basis @ jnp.array([1.0, -2.0, 0.5])

    def objective(theta: Array) -> tuple[Array, dict[str, Array]]:
        return (theta @ a @ theta / 2)[None], {}

    lines, paths = [], {}
    for rate in (0.5, 1.9, 2.1):  # in units of 1 / l_max
        eta = rate / curvatures.max()
        path = descend(objective, optax.sgd(eta), start, num)
        power = np.linalg.matrix_power(np.eye(3) - eta * numpy64(a), num) @ numpy64(start)
        steepest = numpy64(path @ basis[:, -1])
        lines.append(Line(f"gradient descent, η = {rate}/λ: θ⁴⁰, (I - ηA)⁴⁰θ⁰", largest(path[-1] - power), 0.0, 1e-11))
        factor = abs(steepest[9] / steepest[8])
        lines.append(Line(f"gradient descent, η = {rate}/λ: |1 - ηλ|", factor, abs(1 - rate), 1e-6))
        paths[rate] = [objective(theta)[0][0] for theta in path]

    def panel(ax: Any) -> None:
        for rate, values in paths.items():
            ax.semilogy(np.arange(1, num + 1), numpy64(values), ".-", ms=4, label=f"η = {rate} / λ")
        ax.set(title="gradient descent on a quadratic", xlabel="update", ylabel="J")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S04 E07", lines, panel)


def maximum_likelihood(key: Key) -> Shown:
    """Under y ~ N(x W, s^2 I) the likelihood is largest at the least squares, with s^2 = SSE / (n m) (Bishop 2006)."""
    import scipy.optimize
    import scipy.stats

    (num, width), x_key, e_key = (60, 2), *jax.random.split(key)
    x = jax.random.normal(x_key, (num, 3))
    y = x @ jnp.array([[1.0, -0.5], [0.3, 0.8], [-1.2, 0.1]]) + 0.7 * jax.random.normal(e_key, (num, width))

    def negative_log_likelihood(flat: Array) -> Array:
        return jnp.sum(GAUSSIAN.negative_log_likelihood((x @ flat[:-1].reshape(3, width), flat[-1]), y))

    value_and_grad = jax.jit(jax.value_and_grad(negative_log_likelihood))
    found = scipy.optimize.minimize(value_and_grad, np.zeros(3 * width + 1), jac=True, method="BFGS", tol=1e-9)
    least, sse = np.linalg.lstsq(numpy64(x), numpy64(y))[:2]
    by_scipy = -scipy.stats.norm.logpdf(numpy64(y), numpy64(x) @ least, np.sqrt(sse.sum() / y.size)).sum()
    at_least = np.append(least.ravel(), np.log(sse.sum() / y.size))
    lines = [
        Line("maximum likelihood: W - least squares, largest", largest(found.x[:-1] - least.ravel()), 0.0, 1e-6),
        Line("maximum likelihood: σ², SSE/(nm)", float(np.exp(found.x[-1])), sse.sum() / y.size, 1e-6),
        Line("-log p(y|x) there, SciPy's", float(negative_log_likelihood(jnp.asarray(at_least))), by_scipy, 1e-9),
    ]

    def panel(ax: Any) -> None:
        slopes = np.linspace(least[0, 0] - 1, least[0, 0] + 1, 101)
        curve = [-negative_log_likelihood(jnp.asarray(at_least).at[0].set(slope)) for slope in slopes]
        moved = np.repeat(least[None], 101, axis=0)
        moved[:, 0, 0] = slopes
        squares = ((numpy64(x) @ moved - numpy64(y)) ** 2).sum((1, 2))
        ax.plot(slopes, numpy64(curve), label="log p(y|x)")
        ax.plot(slopes[::5], -by_scipy - (squares[::5] - sse.sum()) / (2 * sse.sum() / y.size), ".", label="-SSE/(2σ²)")
        ax.axvline(least[0, 0], color="k", lw=0.8, label="least squares")
        ax.set(title="maximum likelihood = least squares", xlabel="W₁₁")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S06 E94", lines, panel)


def maximum_a_posteriori(key: Key) -> Shown:
    """With W ~ N(0, t^2 I) the posterior peaks at ridge regression, lambda = s^2 / t^2 (Bishop 2006, section 3.3)."""
    import scipy.stats

    noise, prior, num = 0.6, 0.5, 12
    weight, (x_key, e_key) = noise**2 / prior**2, jax.random.split(key)
    x = jax.random.normal(x_key, (num, 3))
    y = x @ jnp.array([[0.9], [-0.4], [0.2]]) + noise * jax.random.normal(e_key, (num, 1))

    def objective(w: Array) -> tuple[Array, dict[str, Array]]:
        return (jnp.sum(losses.squared_error(x @ w, y)) / 2 + weight * losses.weight_l2(w))[None], {}

    ridge = np.linalg.solve(numpy64(x.T @ x) + weight * np.eye(3), numpy64(x.T @ y))
    trained = descend(objective, optax.sgd(0.03), jnp.zeros((3, 1)), 2000)[-1]

    # one slope by Bayes' rule on a grid: p(w|y) = p(y|w) p(w) / p(y)
    first, targets, grid = numpy64(x)[:, 0], numpy64(y)[:, 0], np.linspace(-4, 4, 8001)
    log_likelihood = scipy.stats.norm.logpdf(targets[:, None], first[:, None] * grid, noise).sum(0)
    joint = np.exp(log_likelihood + scipy.stats.norm.logpdf(grid, 0, prior))
    evidence = float(np.trapezoid(joint, grid))
    posterior = joint / evidence
    mean = float(np.trapezoid(grid * posterior, grid))
    closed = float(linear.tikhonov(x[:, :1], y, weight=weight / num)[0, 0])
    covariance = noise**2 * np.eye(num) + prior**2 * np.outer(first, first)
    known = float(multivariate_normal.pdf(y[:, 0], jnp.zeros(num), jnp.asarray(covariance)))
    deviation = noise / np.sqrt(first @ first + weight)
    lines = [
        Line("maximum a posteriori: descent - ridge, largest", largest(trained - ridge), 0.0, 1e-9),
        Line("Bayes on a grid: θ at the peak, ridge's", float(grid[posterior.argmax()]), closed, 5.1e-4),
        Line("Bayes on a grid: posterior mean, ridge's", mean, closed, 1e-9),
        Line(
            "Bayes on a grid: its deviation, σ/√(xᵀx + λ)",
            float(np.sqrt(np.trapezoid((grid - mean) ** 2 * posterior, grid))),
            float(deviation),
            1e-9,
        ),
        Line("Bayes on a grid: p(y|x), N(y; 0, σ²I + τ²xxᵀ)", evidence / known, 1.0, 1e-9),
    ]

    def panel(ax: Any) -> None:
        likelihood = np.exp(log_likelihood - log_likelihood.max())
        ax.plot(grid, scipy.stats.norm.pdf(grid, 0, prior), label="prior")
        ax.plot(grid, likelihood / np.trapezoid(likelihood, grid), label="likelihood, scaled")
        ax.plot(grid, posterior, label="posterior")
        ax.axvline(closed, color="k", lw=0.8, label="ridge")
        ax.axvline(first @ targets / (first @ first), color="k", lw=0.8, ls=":", label="least squares")
        ax.set(title="Bayes' rule for a slope", xlabel="θ", xlim=(-1.5, 2))
        ax.legend(fontsize="small", frameon=False)

    return Shown("S07 E95 E96", lines, panel)


def tikhonov(key: Key) -> Shown:
    """Descent on (1/N) ||Y - X W||^2 + lambda ||G W||^2 reaches (X^T X + N lambda G^T G)^{-1} X^T Y (Tikhonov 1963)."""
    num, dim, weight = 40, 24, 0.3
    x_key, e_key, n_key = jax.random.split(key, 3)
    gamma = jnp.diff(jnp.eye(dim), axis=0)  # rows of differences: W should be smooth
    truth = jnp.sin(jnp.linspace(0, 2 * jnp.pi, dim))[:, None]
    x = jax.random.normal(x_key, (num, dim))
    y = x @ truth + 2 * jax.random.normal(e_key, (num, 1))

    def objective(w: Array) -> tuple[Array, dict[str, Array]]:
        return losses.squared_error(x @ w, y) + weight * losses.tikhonov_penalty(w, gamma), {}

    normal = numpy64(x.T @ x + num * weight * gamma.T @ gamma)
    by_hand = np.linalg.solve(normal, numpy64(x.T @ y))
    rate = 1 / (2 * np.linalg.eigvalsh(normal / num).max())
    trained = descend(objective, optax.sgd(rate), jnp.zeros((dim, 1)), 20_000)[-1]
    # the squared error of a noisy input is, on average, Tikhonov's with the identity
    noisy = jnp.broadcast_to(x[:1], (100_000, dim))
    noisy += 0.4 * jax.random.normal(n_key, noisy.shape)
    errors = losses.squared_error(noisy @ truth, jnp.broadcast_to(y[:1], (len(noisy), 1)))
    expected = losses.squared_error(x[:1] @ truth, y[:1])[0] + 0.4**2 * losses.tikhonov_penalty(truth, jnp.eye(dim))
    closed = {each: linear.tikhonov(x, y, weight=each, gamma=gamma) for each in (0.0, 0.03, weight, 30.0)}
    lines = [
        Line("Tikhonov: closed form - (XᵀX + NλΓᵀΓ)⁻¹XᵀY", largest(closed[weight] - by_hand), 0.0, 1e-10),
        Line("Tikhonov: descent - closed form, largest", largest(trained - closed[weight]), 0.0, 1e-7),
        Line(
            "Tikhonov: at λ = 0 - least squares, largest",
            largest(closed[0.0] - np.linalg.lstsq(numpy64(x), numpy64(y))[0]),
            0.0,
            1e-9,
        ),
        mean_line("Tikhonov: squared error of noisy inputs, λ = σ²", errors, float(expected)),
    ]

    def panel(ax: Any) -> None:
        for each, w in closed.items():
            ax.plot(numpy64(w), label=f"λ = {each:g}", lw=1)
        ax.plot(numpy64(trained), "k.", ms=4, label=f"descent, λ = {weight:g}")
        ax.plot(numpy64(truth), "k--", lw=0.8, label="truth")
        ax.set(title="Tikhonov with differences as Γ", xlabel="i", ylabel="Wᵢ")
        ax.legend(fontsize="small", frameon=False, ncols=2)

    return Shown("S08 (7) E35", lines, panel)
