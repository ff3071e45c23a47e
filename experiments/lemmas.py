"""The lemmas under autoencoders, VAEs and GANs, each computed here and held against what theory says.

    python -m experiments.lemmas

It prints a line for each (value, oracle, error, tolerance), draws `lemmas.png`, and exits with status 1 if any is out
of tolerance. Draws are held to 4 standard errors, or to the Kolmogorov-Smirnov distance that one honest sample in a
thousand exceeds, so that an unlucky --seed can fail too. It takes half a minute on two CPU cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from jax.scipy.special import expit, ndtr
from jax.scipy.stats import multivariate_normal, norm

from experiments import common
from genjax import data, gradients, information, losses, networks, stochastic, variational
from genjax.losses import BERNOULLI, SQUARED_ERROR
from genjax.models import autoencoder, linear_autoencoder
from genjax.training import determinism, run
from genjax.types import Array, Batch, Key, Params

FLAGS = flags.FLAGS

STANDARD_ERRORS = 4
KOLMOGOROV = 1.95  # over sqrt(n): what the distance of an honest sample of n exceeds once in a thousand


class Line(NamedTuple):
    """One thing that a lemma says: a value computed here, and what it has to be."""

    says: str
    value: float
    oracle: float
    tolerance: float

    @property
    def error(self) -> float:
        return abs(self.value - self.oracle)

    @property
    def holds(self) -> bool:
        return self.error <= self.tolerance  # not so if it is NaN


class Shown(NamedTuple):
    """What a lemma comes to: its lines, and a panel of the picture where there is something to see."""

    lines: list[Line]
    panel: Callable[[Any], None] | None = None  # draws on Matplotlib axes


def numpy64(x: Any) -> np.ndarray:
    """An array on the host, in double precision."""
    return np.asarray(x, np.float64)


def largest(x: Any) -> float:
    """The largest magnitude in an array."""
    return float(np.max(np.abs(numpy64(x))))


def mean_line(says: str, draws: Any, oracle: float) -> Line:
    """The mean of independent draws, within its standard errors."""
    draws = numpy64(draws)
    return Line(says, draws.mean(), oracle, STANDARD_ERRORS * draws.std() / math.sqrt(len(draws)))


def kolmogorov_line(says: str, draws: Any, cdf: Callable[[Any], Any]) -> Line:
    """The largest distance between the draws' empirical distribution function and the one they should have."""
    x = np.sort(numpy64(draws))
    f, ranks = numpy64(cdf(jnp.asarray(x))), np.arange(len(x) + 1) / len(x)
    distance = max(np.max(ranks[1:] - f), np.max(f - ranks[:-1]))
    return Line(says, float(distance), 0.0, KOLMOGOROV / math.sqrt(len(x)))


# Foundations


def universal_approximation(key: Key) -> Shown:
    """A hidden layer of N steep sigmoids, placed by hand, comes as close to sin 2 pi x as N allows (Cybenko 1989)."""
    del key
    x = jnp.linspace(0, 1, 100_001)[:, None]

    def f(x: Any) -> Any:
        return jnp.sin(2 * jnp.pi * x)

    def approximation(num_units: int) -> Array:
        # F(x) = f(0) + sum_i [f(i/N) - f((i-1)/N)] sigm(50 N (x - (i - 1/2)/N))
        i = jnp.arange(1, num_units + 1)
        params = {
            "layer_1": {"kernel": jnp.full((1, num_units), 50.0 * num_units), "bias": -50.0 * (i - 0.5)},
            "layer_2": {"kernel": (f(i / num_units) - f((i - 1) / num_units))[:, None], "bias": jnp.zeros(1)},
        }
        return networks.mlp((1,), (1,), hidden=(num_units,), activation=expit).apply(params, x)

    known = {10: (0.250, 5e-4), 50: (0.0505, 5e-5), 200: (0.0126, 5e-5)}
    functions = {num: numpy64(approximation(num)) for num in known}
    lines = [
        Line(
            f"universal approximation: sup |F_{num} - sin 2 pi x|", largest(functions[num] - numpy64(f(x))), *known[num]
        )
        for num in known
    ]

    def panel(ax: Any) -> None:
        for num in (10, 50):
            ax.plot(x, functions[num], label=f"{num} sigmoids", lw=1)
        ax.plot(x, f(x), "k", lw=0.8, label="sin 2πx")
        ax.set(title="universal approximation", xlabel="x")
        ax.legend(fontsize="small", frameon=False)

    return Shown(lines, panel)


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
    x = stochastic.gaussian_full_covariance(means[y], cholesky, data_key)
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
    drawn = stochastic.gaussian_full_covariance(
        jnp.tile(x[num:].mean(0), (num, 1)), jnp.linalg.cholesky(pooled), sample_key
    )
    spread = jnp.sqrt((covariance**2 + jnp.outer(jnp.diag(covariance), jnp.diag(covariance))) * (1 / num + 0.5 / num))
    cov_deviation = (jnp.cov(drawn.T) - covariance) / spread
    lines = [
        Line("Gaussian classes: Bayes' p(y|x) - sigm(w x + b), largest", largest(by_bayes - logistic), 0.0, 1e-12),
        Line("logistic regression's w, b from Σ⁻¹(μ₁-μ₀), in s.e.", largest(deviation), 0.0, STANDARD_ERRORS),
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

    return Shown(lines, panel)


# Autoencoders


def linear_autoencoder_is_pca(key: Key) -> Shown:
    """A linear autoencoder trained by gradients comes to the principal subspace (Baldi & Hornik 1989)."""
    latent_dim, chunks, steps = 8, 20, 150
    digits = data.load("digits")
    x = digits.train.x / digits.scale
    x = jnp.asarray(x - x.mean(axis=0), jnp.float32)
    identity = autoencoder.identity
    parts = autoencoder.Autoencoder(
        networks.mlp(x.shape[1:], (latent_dim,), hidden=(), activation=identity),
        networks.mlp((latent_dim,), x.shape[1:], hidden=(), activation=identity),
        SQUARED_ERROR,
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, chunks * steps))
    model = autoencoder.model(parts, optimizer, autoencoder.objective(parts))

    def chunk(state: Any, _: None) -> tuple[Any, Array]:
        state = jax.lax.fori_loop(0, steps, lambda _, s: model.train_step(s, Batch(x), key)[0], state)
        return state, state.params["decoder"]["layer_1"]["kernel"]

    state, decoders = jax.jit(lambda state: jax.lax.scan(chunk, state, None, length=chunks))(model.init(key))
    loss = model.evaluate(state, Batch(x), key)["loss"]

    _, s, vt = np.linalg.svd(numpy64(x).reshape(len(x), -1), full_matrices=False)

    angles = [linear_autoencoder.largest_angle(decoder, vt[:latent_dim]) for decoder in numpy64(decoders)]
    left = float(np.sum(s[latent_dim:] ** 2) / len(x))
    lines = [
        Line("linear autoencoder = PCA: decoder angle, rad", angles[-1], 0.0, 1e-3),
        Line("linear autoencoder = PCA: loss, Σ_{i>d} S_i²/n", float(loss), left, 1e-3 * left),
    ]

    def panel(ax: Any) -> None:
        ax.semilogy(steps * np.arange(1, chunks + 1), angles, ".-")
        ax.set(title="linear autoencoder to PCA", xlabel="update", ylabel="largest principal angle, rad")

    return Shown(lines, panel)


# Sampling


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

    return Shown(lines, panel)


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

    return Shown(lines, panel)


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

    def panel(ax: Any) -> None:
        for name, (g, variance) in found.items():
            ax.hist(
                g, bins=150, range=(-12, 20), density=True, histtype="step", label=f"{name}, variance {variance:.4g}"
            )
        ax.axvline(2 * mean, color="k", lw=0.8)
        ax.set(title="one-draw gradients of E z²", yscale="log", ylim=(1e-4, None))
        ax.legend(fontsize="small", frameon=False)

    return Shown(lines, panel)


# Variational autoencoders


def closed_form_kl(key: Key) -> Shown:
    """KL(N(0.7, 0.35^2) || N(0, 1)) in closed form and by quadrature (Kingma & Welling 2014, appendix B)."""
    del key
    mean, sigma = 0.7, 0.35
    z = jnp.linspace(mean - 12 * sigma, mean + 12 * sigma, 4001)
    log_q = norm.logpdf(z, mean, sigma)
    quadrature = jnp.trapezoid(jnp.exp(log_q) * (log_q - norm.logpdf(z)), z)
    value = losses.gaussian_kl_to_standard(jnp.array([[mean]]), jnp.array([[2 * math.log(sigma)]]))[0]
    return Shown([Line("KL(N(μ, σ²) || N(0, 1)): closed form, quadrature", float(value), float(quadrature), 1e-12)])


def evidence_decomposition(key: Key) -> Shown:
    """Log p(x) = KL(q || p(z|x)) + bound, for a thousand random joint tables and q (Jordan et al. 1999)."""
    joint_key, q_key, scale_key = jax.random.split(key, 3)
    joint = jax.random.dirichlet(joint_key, jnp.ones(8), (1000,)) * jax.random.uniform(scale_key, (1000, 1))
    q = jax.random.dirichlet(q_key, jnp.ones(8), (1000,))
    bound = variational.evidence_lower_bound(q, joint)
    gap = information.kl_divergence(q, variational.posterior(joint))
    error = gap + bound - variational.log_evidence(joint)
    lines = [Line("log p(x) = KL(q || p(z|x)) + bound: largest difference", largest(error), 0.0, 1e-10)]

    def panel(ax: Any) -> None:
        t = np.linspace(0, 1.5, 200)[:, None]  # from q, by way of the posterior, to beyond it
        path = (1 - t) * numpy64(q[0]) + t * numpy64(variational.posterior(joint[0]))
        t, path = t[(path > 0).all(axis=1), 0], jnp.asarray(path[(path > 0).all(axis=1)])
        bounds = variational.evidence_lower_bound(path, jnp.broadcast_to(joint[0], path.shape))
        ax.fill_between(t, bounds, variational.log_evidence(joint[0]), alpha=0.3, label="KL(q || p(z|x))")
        ax.plot(t, bounds, label="bound")
        ax.axhline(variational.log_evidence(joint[0]), color="k", lw=0.8, label="log p(x)")
        ax.set(title="evidence = divergence + bound", xlabel="from q (0) to the posterior (1) and on")
        ax.legend(fontsize="small", frameon=False)

    return Shown(lines, panel)


def importance_identity(key: Key) -> Shown:
    """p(x) = E_q[p(x, z) / q(z)] >= exp E_q log[p(x, z) / q(z)], for x = W z + sigma e (Kingma & Welling 2014)."""
    num, variance = 100_000, 0.25
    # orthogonal columns, so that the posterior is diagonal
    w = jnp.linalg.qr(jnp.array([[1.2, 0.0], [0.0, -0.8], [0.5, 0.9]]))[0] * jnp.array([[1.3, 0.7]])
    x = jnp.array([0.8, -0.5, 1.1])
    evidence = numpy64(multivariate_normal.logpdf(x, jnp.zeros(3), w @ w.T + variance * jnp.eye(3))).item()
    precision = jnp.sum(w**2, axis=0) / variance + 1
    posterior = (x @ w / variance / precision)[None], -jnp.log(precision)[None]
    other = posterior[0] + 0.2, posterior[1] + 0.5

    def log_weights(q: tuple[Array, Array], key: Key) -> Array:
        mean, s = (jnp.broadcast_to(parameter, (num, 2)) for parameter in q)
        z = stochastic.gaussian(mean, s, key)
        log_joint = norm.logpdf(x[None], z @ w.T, math.sqrt(variance)).sum(1) + norm.logpdf(z).sum(1)
        return log_joint - norm.logpdf(z, mean, jnp.exp(s / 2)).sum(1)

    log_w = log_weights(other, key)
    gap = losses.gaussian_kl(*other, *posterior)[0]
    tight = log_weights(posterior, jax.random.fold_in(key, 1))
    return Shown(
        [
            mean_line("importance identity: E_q[p(x, z) / q(z)] / p(x)", jnp.exp(log_w - evidence), 1.0),
            mean_line("Jensen: bound = log p(x) - KL(q || p(z|x))", log_w, evidence - float(gap)),
            Line("Jensen: bound at the posterior, any draw", largest(tight - evidence), 0.0, 1e-10),
        ]
    )


def two_path_gradient(key: Key) -> Shown:
    """The encoder of a VAE learns through mu and through sigma, its decoder from the reconstruction alone."""
    latent_dim, num, weight = 3, 6, 0.7
    encoder = networks.gaussian_heads(networks.mlp((5,), (2 * latent_dim,), hidden=(4,), activation=jnp.tanh))
    decoder = networks.mlp((latent_dim,), (5,), hidden=(4,), activation=jnp.tanh)
    encoder_key, decoder_key, x_key, eps_key = jax.random.split(key, 4)
    params = {"encoder": encoder.init(encoder_key), "decoder": decoder.init(decoder_key)}
    params = jax.tree.map(lambda p: p.astype(float), params)
    x = jax.random.uniform(x_key, (num, 5))

    def reconstruction(params: Params, z: Array) -> Array:
        return jnp.sum(BERNOULLI.negative_log_likelihood(decoder.apply(params["decoder"], z), x))

    def objective(params: Params, weight: float) -> Array:
        mean, s = encoder.apply(params["encoder"], x)
        rate = jnp.sum(losses.gaussian_kl_to_standard(mean, s))
        return reconstruction(params, stochastic.gaussian(mean, s, eps_key)) + weight * rate

    (mean, s), pull_back = jax.vjp(lambda p: encoder.apply(p, x), params["encoder"])
    eps = stochastic.gaussian(jnp.zeros_like(mean), jnp.zeros_like(s), eps_key)
    sigma = jnp.exp(s / 2)
    slope = jax.grad(reconstruction, argnums=1)(params, mean + sigma * eps)  # dL/dz
    by_hand = pull_back((slope + weight * mean, slope * eps * sigma / 2 + weight * (jnp.exp(s) - 1) / 2))[0]
    gradient = jax.jit(jax.grad(objective))
    automatic = gradient(params, weight)

    def difference(first: Params, second: Params) -> float:
        return max(largest(a - b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))

    decoder_0, decoder_10 = (jax.grad(objective)(params, other)["decoder"] for other in (0.0, 10.0))
    return Shown(
        [
            Line(
                "two paths: encoder's gradient by hand - jax.grad",
                difference(by_hand, automatic["encoder"]),
                0.0,
                1e-12,
            ),
            Line("two paths: decoder's gradient at λ = 0 and λ = 10", difference(decoder_0, decoder_10), 0.0, 0.0),
        ]
    )


# Adversarial networks


def gan_equilibrium(key: Key) -> Shown:
    """Both players free on five states: alternating updates come to p_g = p, D = 1/2 (Goodfellow et al. 2014)."""
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


LEMMAS: tuple[Callable[[Key], Shown], ...] = (
    universal_approximation,
    generative_and_discriminative,
    linear_autoencoder_is_pca,
    inverse_transform,
    sum_of_uniforms,
    gradient_estimators,
    closed_form_kl,
    evidence_decomposition,
    importance_identity,
    two_path_gradient,
    gan_equilibrium,
)


def draw(path: Path, panels: Sequence[Callable[[Any], None]]) -> None:
    """Writes the panels as one picture, four in a row."""
    from matplotlib.figure import Figure

    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.4 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax, panel in zip(axes, panels, strict=False):
        panel(ax)
    for ax in axes[len(panels) :]:
        ax.remove()
    figure.savefig(path, dpi=110)


def check(workdir: Path, *, seed: int) -> int:
    """Computes every lemma, prints the table and draws the picture: 0 if all hold, else 1."""
    with jax.enable_x64(True):
        key = jax.random.key(seed)
        shown = [lemma(jax.random.fold_in(key, number)) for number, lemma in enumerate(LEMMAS)]
        panels = [one.panel for one in shown if one.panel]
        if panels:
            draw(workdir / "lemmas.png", panels)
    lines = [line for one in shown for line in one.lines]
    wide = max(len(line.says) for line in lines)
    print(f"{'lemma':{wide}}  {'value':>13}  {'oracle':>13}  {'error':>9}  {'tolerance':>9}")
    for line in lines:
        print(
            f"{line.says:{wide}}  {line.value:13.8g}  {line.oracle:13.8g}  {line.error:9.2e}  {line.tolerance:9.2e}  "
            f"{'pass' if line.holds else 'FAIL'}"
        )
    failed = [line.says for line in lines if not line.holds]
    print(
        f"lemmas: {len(lines) - len(failed)} of {len(lines)} hold" + (f"; not: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


def define_flags() -> None:
    """Defines the flags of the command; the table itself needs none."""
    flags.DEFINE_integer("seed", 0, "root of all random numbers", lower_bound=0)
    flags.DEFINE_string("workdir", None, "where lemmas.png goes; by default runs/lemmas-seed(seed)")


def main() -> int:
    """The command."""
    determinism.set_up()
    workdir = Path(FLAGS.workdir or f"runs/lemmas-seed{FLAGS.seed}")
    run.claim(workdir, vars(common.configuration("lemmas")), free=common.NOT_IDENTITY)
    return check(workdir, seed=FLAGS.seed)


if __name__ == "__main__":
    define_flags()
    common.guarded(main)
