"""The evidence, its bound, the families of posteriors and the gradient of the bound."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import multivariate_normal, norm

from experiments.lemmas.table import (
    Line,
    Shown,
    largest,
    mean_line,
    numpy64,
)
from genjax import information, losses, networks, stochastic, variational
from genjax.evaluation import linear
from genjax.losses import BERNOULLI
from genjax.models import vae
from genjax.types import Array, Batch, Key, Network, Params


def closed_form_kl(key: Key) -> Shown:
    """KL(N(0.7, 0.35^2) || N(0, 1)) in closed form and by quadrature (Kingma & Welling 2014, appendix B)."""
    del key
    mean, sigma = 0.7, 0.35
    z = jnp.linspace(mean - 12 * sigma, mean + 12 * sigma, 4001)
    log_q = norm.logpdf(z, mean, sigma)
    quadrature = jnp.trapezoid(jnp.exp(log_q) * (log_q - norm.logpdf(z)), z)
    value = losses.gaussian_kl_to_standard(jnp.array([[mean]]), jnp.array([[2 * math.log(sigma)]]))[0]
    return Shown(
        "S56", [Line("KL(N(μ, σ²) || N(0, 1)): closed form, quadrature", float(value), float(quadrature), 1e-12)]
    )


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

    return Shown("S46 S48 (9)-(12)", lines, panel)


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
        "S49 E22",
        [
            mean_line("importance identity: E_q[p(x, z) / q(z)] / p(x)", jnp.exp(log_w - evidence), 1.0),
            mean_line("Jensen: bound = log p(x) - KL(q || p(z|x))", log_w, evidence - float(gap)),
            Line("Jensen: bound at the posterior, any draw", largest(tight - evidence), 0.0, 1e-10),
        ],
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
        "S59 (13) E62-E65",
        [
            Line(
                "two paths: encoder's gradient by hand - jax.grad",
                difference(by_hand, automatic["encoder"]),
                0.0,
                1e-12,
            ),
            Line("two paths: decoder's gradient at λ = 0 and λ = 10", difference(decoder_0, decoder_10), 0.0, 0.0),
        ],
    )


def mean_field(key: Key) -> Shown:
    """Coordinate ascent over products of spins: a bound on log Z that never falls (Peterson & Anderson 1987)."""
    num, sweeps, strengths = 8, 12, (0.05, 0.4, 1.0)
    coupling_key, field_key = jax.random.split(key)
    upper = jnp.triu(jax.random.normal(coupling_key, (num, num)), 1)
    field = 0.5 * jax.random.normal(field_key, (num,))
    spins = np.array(list(itertools.product([-1.0, 1.0], repeat=num)))
    lines, rises = [], {}
    for strength in strengths:
        coupling = strength * (upper + upper.T)
        mean, bounds = variational.ising_mean_field(jnp.zeros(num), coupling, field, num_sweeps=sweeps)
        # by enumeration of all 2^8 settings
        weight = np.exp(0.5 * np.einsum("ki,ij,kj->k", spins, numpy64(coupling), spins) + spins @ numpy64(field))
        log_z, q = np.log(weight.sum()), np.prod((1 + spins * numpy64(mean)) / 2, axis=1)
        divergence = float((q * (np.log(np.maximum(q, 1e-300)) - np.log(weight / weight.sum()))).sum())
        lines.append(
            Line(f"mean field, J ~ {strength}: log Z - bound, KL(q || p)", float(log_z - bounds[-1]), divergence, 1e-9)
        )
        fall = float(jnp.minimum(jnp.diff(bounds).min(), 0))
        lines.append(Line(f"mean field, J ~ {strength}: largest fall in a sweep", -fall, 0.0, 1e-10))
        if strength == strengths[0]:
            exact = (weight / weight.sum()) @ spins
            lines.append(Line("mean field, J ~ 0.05: E s - exact, largest", largest(mean - exact), 0.0, 0.02))
        rises[strength] = log_z - numpy64(bounds)

    def panel(ax: Any) -> None:
        for strength, gap in rises.items():
            ax.semilogy(np.arange(1, sweeps + 1), gap, ".-", label=f"J ~ {strength}")
        ax.set(title="mean field of eight spins", xlabel="sweep", ylabel="log Z - bound")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S47", lines, panel)


def full_covariance(key: Key) -> Shown:
    """A posterior with correlations: N(m, L L^T) attains log p(x), a diagonal one misses 1/2 (sum log P_ii - log |P|).

    P is the posterior's precision, W^T W / s^2 + I of x = W z + s e. The best diagonal Gaussian has the variances
    1 / P_ii (Blei, Kucukelbir & McAuliffe 2017, section 2.3).
    """
    import scipy.stats

    variance, num = 0.25, 20_000
    w = jnp.array([[1.0, 0.9], [0.4, 0.8], [-0.3, 0.2]])
    x = jnp.broadcast_to(jnp.array([[0.8, -0.5, 1.1]]), (num, 3))
    precision = w.T @ w / variance + jnp.eye(2)
    mean = jnp.linalg.solve(precision, w.T @ x[0] / variance)
    cholesky = jnp.linalg.cholesky(jnp.linalg.inv(precision))
    decoder = Network(lambda key: (), lambda params, z: (z @ w.T, jnp.array(math.log(variance))))

    def bound(posterior: Any, q: tuple[Array, Array], num: int, key: Key) -> Array:
        every = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (num, *leaf.shape)), q)
        encoder = Network(lambda key: (), lambda params, x: every)
        prior = losses.STANDARD_NORMAL._replace(kl=None)
        parts = vae.VAE(encoder, decoder, losses.GAUSSIAN, 2, prior, posterior)
        return -vae.negative_elbo({"encoder": (), "decoder": ()}, x[:num], key, parts=parts)

    evidence = numpy64(multivariate_normal.logpdf(x[0], jnp.zeros(3), w @ w.T + variance * jnp.eye(3))).item()
    full_key, diagonal_key, draw_key = jax.random.split(key, 3)
    full = bound(losses.FULL_COVARIANCE_GAUSSIAN, (mean, cholesky), 100, full_key)
    diagonal = bound(losses.DIAGONAL_GAUSSIAN, (mean, -jnp.log(jnp.diag(precision))), num, diagonal_key)
    gap = (jnp.log(jnp.diag(precision)).sum() - jnp.linalg.slogdet(precision)[1]) / 2
    divergence = losses.gaussian_kl_to_standard_full_covariance(mean[None], cholesky[None])[0]
    z = numpy64(stochastic.sample_gaussian_full_covariance(jnp.tile(mean, (num, 1)), cholesky, draw_key))
    away = z - numpy64(mean)
    squares = np.einsum("ni,ij,nj->n", away, numpy64(precision), away)
    log_q = (np.linalg.slogdet(numpy64(precision))[1] - squares) / 2 - math.log(2 * math.pi)
    log_ratio = log_q - scipy.stats.norm.logpdf(z).sum(1)
    lines = [
        Line("full covariance: bound - log p(x), any draw", largest(full - evidence), 0.0, 1e-10),
        mean_line("diagonal covariance: bound, log p(x) - gap", diagonal, evidence - float(gap)),
        mean_line("KL(N(m, LLᵀ) || N(0, I)): closed form of drawn log q/p", log_ratio, float(divergence)),
    ]

    def panel(ax: Any) -> None:
        turn = jnp.linspace(0, 2 * jnp.pi, 200)
        circle = jnp.stack([jnp.cos(turn), jnp.sin(turn)])
        for label, root in (("posterior", cholesky), ("diagonal", jnp.diag(1 / jnp.sqrt(jnp.diag(precision))))):
            for scale in (1, 2):
                ellipse = mean[:, None] + scale * root @ circle
                ax.plot(
                    *ellipse,
                    color={"posterior": "k", "diagonal": "tab:blue"}[label],
                    label=label if scale == 1 else None,
                )
        ax.set(title=f"the best diagonal q misses {float(gap):.3f} nats", xlabel="z₁", ylabel="z₂", aspect="equal")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S53 E74", lines, panel)


def linear_vae(key: Key) -> Shown:
    """The least -L that a linear VAE trains to is -log p(x) of probabilistic PCA (Lucas et al. 2019)."""
    from sklearn.decomposition import PCA

    latent_dim, num, num_steps = 2, 200, 2000
    data_key, init_key, train_key, test_key = jax.random.split(key, 4)
    mixing = jnp.linalg.qr(jax.random.normal(init_key, (5, 5)))[0] * jnp.array([2.0, 1.4, 0.6, 0.5, 0.4])[None]
    x = jax.random.normal(data_key, (num, 5)) @ mixing.T
    parts = vae.VAE(
        networks.gaussian_heads(networks.affine((5,), (2 * latent_dim,))),
        networks.with_log_variance(networks.affine((latent_dim,), (5,))),
        losses.GAUSSIAN,
        latent_dim,
    )
    model = vae.model(parts, optax.adam(optax.cosine_decay_schedule(2e-2, num_steps)), vae.objective(parts))

    def step(state: Any, _: None) -> tuple[Any, Array]:
        state, metrics = model.train_step(state, Batch(x), train_key)
        return state, metrics["negative_elbo"]

    state, path = jax.jit(lambda state: jax.lax.scan(step, state, None, length=num_steps))(model.init(init_key))
    evaluate = jax.jit(jax.vmap(lambda key: model.evaluate(state, Batch(x), key)["negative_elbo"]))
    reached = float(evaluate(jax.random.split(test_key, 200)).mean())
    pca = PCA(latent_dim, svd_solver="full").fit(numpy64(x))
    least = -float(pca.score(numpy64(x)))  # the exact likelihood of probabilistic PCA (Tipping & Bishop 1999)
    subspace = linear.largest_angle(state.params["decoder"]["mean"]["layer_1"]["kernel"], np.asarray(pca.components_))
    noise = float(jnp.exp(state.params["decoder"]["log_variance"]))
    discarded = float(np.sum(np.linalg.eigvalsh(np.cov(numpy64(x).T, ddof=0))[: 5 - latent_dim])) / (5 - latent_dim)
    lines = [
        Line("linear VAE: least -L, -log p(x) of probabilistic PCA", reached, least, 0.01),
        Line("linear VAE: σ², the mean discarded eigenvalue", noise, discarded, 0.02 * discarded),
        Line("linear VAE: decoder's angle to the principal axes, rad", subspace, 0.0, 0.03),
    ]

    def panel(ax: Any) -> None:
        ax.plot(numpy64(path), lw=0.6, label="-L, one draw of z")
        ax.axhline(least, color="k", lw=0.8, label="-log p(x), probabilistic PCA")
        ax.set(title="a linear VAE", xlabel="update", ylim=(least - 0.3, least + 2))
        ax.legend(fontsize="small", frameon=False)

    return Shown("S50 S57 E58", lines, panel)
