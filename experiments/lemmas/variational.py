"""The evidence, its bound and the gradient of the bound."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import multivariate_normal, norm

from experiments.lemmas.table import (
    Line,
    Shown,
    largest,
    mean_line,
    numpy64,
)
from genjax import information, losses, networks, stochastic, variational
from genjax.losses import BERNOULLI
from genjax.types import Array, Key, Params


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
        z = stochastic.sample_gaussian(mean, s, key)
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
        return reconstruction(params, stochastic.sample_gaussian(mean, s, eps_key)) + weight * rate

    (mean, s), pull_back = jax.vjp(lambda p: encoder.apply(p, x), params["encoder"])
    eps = stochastic.sample_gaussian(jnp.zeros_like(mean), jnp.zeros_like(s), eps_key)
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
