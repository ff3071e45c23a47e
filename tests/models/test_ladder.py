"""Ladders of linear-Gaussian layers against exact evidences and posteriors, and one layer against the VAE."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from genjax import losses, networks
from genjax.evaluation.likelihood import log_likelihood
from genjax.losses import BERNOULLI, GAUSSIAN
from genjax.models import descent, ladder, vae
from genjax.types import Batch, Network

# z_2 ~ N(0, I), z_1 = A z_2 + a + N(0, diag e^t), x = W z_1 + m + N(0, v I), where W and A have orthogonal columns
W = np.linalg.qr(np.random.RandomState(0).randn(5, 2))[0] * [1.5, 0.7]
A, SHIFT, T = np.diag([1.2, -0.6]), np.array([0.4, -0.3]), np.array([-0.5, 0.3])
M, V = np.array([0.1, -0.4, 0.3, 0.0, 0.7]), 0.3
COVARIANCE = W @ (A @ A.T + np.diag(np.exp(T))) @ W.T + V * np.eye(5)


def evidence(x):
    return scipy.stats.multivariate_normal(M + W @ SHIFT, COVARIANCE).logpdf(x)


def fixed(apply):
    return Network(lambda key: (), lambda params, *inputs: apply(*inputs))


def exact_ladder(*, widen=0.0):
    """The model above with the exact posterior, whose proposals are widened: q(z_2|x), and p(x|z_1) as one of z_1."""
    noise = V / np.sum(W**2, axis=0)  # of z_1 as read off x by least squares
    pseudo_inverse = W / np.sum(W**2, axis=0)
    of_z2 = noise + np.exp(T)  # variance of that reading given z_2
    variance = 1 / (1 + np.diag(A) ** 2 / of_z2)
    w, m, pinv = jnp.asarray(W), jnp.asarray(M)[None], jnp.asarray(pseudo_inverse)

    def first(d):
        return d, jnp.broadcast_to(jnp.log(jnp.asarray(noise))[None] + widen, d.shape)

    def second(d):
        mean = jnp.asarray(variance * np.diag(A) / of_z2)[None] * (d - jnp.asarray(SHIFT)[None])
        return mean, jnp.broadcast_to(jnp.log(jnp.asarray(variance))[None] + widen, d.shape)

    def prior(z):
        return z @ jnp.asarray(A.T) + jnp.asarray(SHIFT)[None], jnp.broadcast_to(jnp.asarray(T)[None], z.shape)

    layers = (
        ladder.Layer(fixed(lambda x: (x - m) @ pinv), fixed(first), fixed(prior), 2),
        ladder.Layer(fixed(lambda d: d), fixed(second), None, 2),
    )
    return ladder.Ladder(layers, fixed(lambda z: (z @ w.T + m, jnp.log(V))), GAUSSIAN)


PARAMS = {
    "encoder": {name: {"upward": (), "proposal": ()} for name in ("layer_1", "layer_2")},
    "decoder": {"layer_1": (), "x": ()},
}


def examples(num=4):
    return jnp.asarray(np.random.RandomState(1).randn(num, 5) * 1.3)


def test_merging_is_the_product_of_two_gaussians(float64):
    mean, s = jnp.array([[0.3, -1.0, 2.0]]), jnp.array([[-0.4, 0.9, 0.0]])
    prior_mean, t = jnp.array([[1.1, -0.2, 5.0]]), jnp.array([[0.3, -1.5, 30.0]])
    found_mean, found_s = ladder.merge((mean, s), (prior_mean, t))
    grid = np.linspace(-12, 12, 20_001)
    for j in range(3):
        product = scipy.stats.norm.pdf(grid, mean[0, j], np.exp(s[0, j] / 2))
        product *= scipy.stats.norm.pdf(grid, prior_mean[0, j], np.exp(t[0, j] / 2))
        product /= product.sum()
        moment = (product * grid).sum()
        np.testing.assert_allclose(found_mean[0, j], moment, rtol=1e-6)
        np.testing.assert_allclose(np.exp(found_s[0, j]), (product * (grid - moment) ** 2).sum(), rtol=1e-6)


def test_merging_extremes_stays_finite():
    mean, found = jnp.array([[3.0, -2.0]]), jnp.array([[-200.0, 200.0]])
    merged, s = ladder.merge((mean, found), (jnp.zeros((1, 2)), jnp.zeros((1, 2))))
    np.testing.assert_allclose(merged, [[3.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(s, [[-200.0, 0.0]], atol=1e-6)


def test_exact_proposals_weigh_every_draw_by_the_evidence(float64, key):
    # p(x|z_1), merged with p(z_1|z_2), is the exact posterior of z_1, so log w = log p(x) whatever is drawn
    x = examples()
    log_weight = ladder.importance_sampler(PARAMS, x, parts=exact_ladder())
    for number in range(3):
        np.testing.assert_allclose(log_weight(jax.random.fold_in(key, number)), evidence(x), rtol=1e-10)


def test_the_bound_is_the_evidence_less_what_the_proposals_miss(float64, key):
    x, keys = examples(), jax.random.split(key, 20_000)
    for widen, exact in ((0.0, True), (0.8, False)):
        bound = partial(ladder.negative_elbo, PARAMS, x, parts=exact_ladder(widen=widen))
        drawn = np.asarray(jax.jit(jax.vmap(bound))(keys))
        error = drawn.std(0) / np.sqrt(len(keys))
        if exact:
            assert np.all(np.abs(drawn.mean(0) + evidence(x)) < 4 * error)
        else:
            assert np.all(drawn.mean(0) + evidence(x) > 10 * error)
        # the same expectation as that of the log-weights, where no divergence is in closed form
        log_weight = ladder.importance_sampler(PARAMS, x, parts=exact_ladder(widen=widen))
        other = -np.asarray(jax.jit(jax.vmap(log_weight))(keys))
        assert np.all(
            np.abs(drawn.mean(0) - other.mean(0)) < 4 * np.hypot(drawn.std(0), other.std(0)) / np.sqrt(20_000) + 1e-9
        )


@pytest.mark.slow
def test_importance_sampling_reaches_the_evidence_from_poor_proposals(float64, key):
    x = examples()
    log_weight = ladder.importance_sampler(PARAMS, x, parts=exact_ladder(widen=0.5))
    found = log_likelihood(log_weight, key, num_samples=20_000, chunk_size=2000)
    assert np.all(np.abs(found.value - evidence(x)) < 4 * found.standard_error)
    assert np.all(found.standard_error < 0.02) and np.all(found.standard_error > 1e-3)


def test_ancestral_samples_have_the_moments_of_the_model(float64, key):
    parts = exact_ladder()
    z = np.asarray(ladder.descend(PARAMS, jax.random.normal(key, (40_000, 2)), jax.random.fold_in(key, 1), parts=parts))
    covariance = A @ A.T + np.diag(np.exp(T))
    assert np.all(np.abs(z.mean(0) - SHIFT) < 4 * np.sqrt(np.diag(covariance) / len(z)))
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=0.05)
    top = jnp.array([[0.7, -1.0]])
    under = ladder.descend(PARAMS, jnp.repeat(top, 40_000, axis=0), key, parts=parts)
    np.testing.assert_allclose(np.mean(under, axis=0), A @ [0.7, -1.0] + SHIFT, atol=0.03)
    np.testing.assert_allclose(np.cov(np.asarray(under).T), np.diag(np.exp(T)), atol=0.05)
    found = ladder.decode(PARAMS, top, key, parts=parts)
    below = np.asarray(ladder.descend(PARAMS, top, key, parts=parts))
    np.testing.assert_allclose(found, below @ W.T + M, rtol=1e-10)


def test_reconstructions_are_at_the_means(float64):
    x, parts = examples(), exact_ladder()
    codes = np.asarray(ladder.encode(PARAMS, x, parts=parts))
    # E[z_2|x] and E[z_1|x] of the joint Gaussian
    cross = {2: A.T @ W.T, 1: (A @ A.T + np.diag(np.exp(T))) @ W.T}
    centred = np.asarray(x) - (M + W @ SHIFT)
    np.testing.assert_allclose(codes[:, 2:], centred @ np.linalg.solve(COVARIANCE, cross[2].T), rtol=1e-9)
    np.testing.assert_allclose(codes[:, :2], SHIFT + centred @ np.linalg.solve(COVARIANCE, cross[1].T), rtol=1e-9)
    np.testing.assert_allclose(ladder.reconstruct(PARAMS, x, parts=parts), codes[:, :2] @ W.T + M, rtol=1e-9)


def small(dims=(3, 2), num=4):
    mlp = partial(networks.mlp, hidden=(4,), activation=jnp.tanh)
    layers, width = [], 6
    for number, dim in enumerate(dims):
        above = dims[number + 1 : number + 2]
        prior = networks.gaussian_heads(mlp(above, (2 * dim,))) if above else None
        layers.append(ladder.Layer(mlp((width,), (5,)), networks.gaussian_heads(mlp((5,), (2 * dim,))), prior, dim))
        width = 5
    return ladder.Ladder(tuple(layers), mlp(dims[:1], (6,)), BERNOULLI)


def bits(key, num=4):
    return jax.random.bernoulli(key, 0.5, (num, 6)).astype(jnp.float32)


def test_one_layer_is_the_vae_bit_for_bit(key):
    parts, x = small(dims=(3,)), bits(key)
    params = ladder.init_params(key, parts=parts)
    own = params["encoder"]["layer_1"]
    layer = parts.layers[0]

    def encode(params, x):
        return layer.proposal.apply(params["proposal"], layer.upward.apply(params["upward"], x))

    plain = vae.VAE(Network(None, encode), parts.decoder, BERNOULLI, 3)
    of_vae = {"encoder": own, "decoder": params["decoder"]["x"]}
    first = jax.random.split(key, 1)[0]
    for weight in (1.0, 0.3):
        loss, metrics = ladder.objective(parts, rate_weight=weight)(params, Batch(x), key)
        expected, terms = vae.objective(plain, rate_weight=weight)(of_vae, Batch(x), first)
        chex.assert_trees_all_equal(loss, expected)
        chex.assert_trees_all_equal({name: metrics[name] for name in terms}, terms)
        chex.assert_trees_all_equal(metrics["rate_1"], terms["rate"])
    chex.assert_trees_all_equal(ladder.reconstruct(params, x, parts=parts), vae.reconstruct(of_vae, x, parts=plain))


def test_the_rate_is_the_sum_of_the_layers_rates(key):
    parts, x = small(dims=(3, 2, 2)), bits(key)
    params = jax.tree.map(lambda p: 2 * p, ladder.init_params(key, parts=parts))
    drawn = ladder.forward(params, x, key, parts=parts)
    by_hand = []
    for number, (q, z) in enumerate(zip(drawn.posteriors, drawn.z, strict=True)):
        top = number == 2
        p = (
            (jnp.zeros((4, 2)), jnp.zeros((4, 2)))
            if top
            else ladder.layer_prior(params, number, drawn.z[number + 1], parts=parts)
        )
        chex.assert_trees_all_close(p, drawn.priors[number])
        by_hand.append(losses.gaussian_kl(*q, *p))
        assert z.shape == q[0].shape
    loss, metrics = ladder.objective(parts, rate_weight=0.4)(params, Batch(x), key)
    np.testing.assert_allclose(np.stack([metrics[f"rate_{i}"] for i in (1, 2, 3)]), np.stack(by_hand), rtol=1e-5)
    np.testing.assert_allclose(metrics["rate"], sum(by_hand), rtol=1e-5)
    distortion = BERNOULLI.negative_log_likelihood(drawn.output, x)
    np.testing.assert_allclose(loss, distortion + 0.4 * sum(by_hand), rtol=1e-5)
    np.testing.assert_allclose(metrics["negative_elbo"], distortion + sum(by_hand), rtol=1e-5)
    np.testing.assert_allclose(ladder.negative_elbo(params, x, key, parts=parts), metrics["negative_elbo"], rtol=1e-6)


def test_a_layer_without_an_opinion_stays_at_its_prior(key):
    parts = small()
    vague = Network(lambda key: (), lambda params, d: (jnp.ones((len(d), 3)), jnp.full((len(d), 3), 40.0)))
    parts = parts._replace(layers=(parts.layers[0]._replace(proposal=vague), parts.layers[1]))
    params = ladder.init_params(key, parts=parts)
    drawn = ladder.forward(params, bits(key), key, parts=parts)
    chex.assert_trees_all_close(drawn.posteriors[0], drawn.priors[0], atol=1e-6)
    np.testing.assert_allclose(ladder.rates(drawn)[:, 0], 0, atol=1e-6)
    assert np.all(ladder.rates(drawn)[:, 1] > 0)


def test_layers_draw_from_keys_of_their_own(key):
    drawn = ladder.forward(PARAMS, examples(1), key, parts=exact_ladder())
    noise = [(z - q[0]) / jnp.exp(q[1] / 2) for z, q in zip(drawn.z, drawn.posteriors, strict=True)]
    assert np.all(np.abs(noise[0] - noise[1]) > 1e-3)


def test_warm_up_is_the_objective_of_the_step(key):
    parts, x = small(), bits(key)
    warm_up = optax.linear_schedule(0.0, 1.0, 4)
    scheduled = descent.Scheduled(lambda step: ladder.objective(parts, rate_weight=warm_up(step)))
    model = ladder.model(parts, optax.sgd(0.1), scheduled)
    state = model.init(key)._replace(step=jnp.asarray(1, jnp.int32))
    expected = ladder.objective(parts, rate_weight=0.25)(state.params, Batch(x), key)[0]
    np.testing.assert_allclose(model.evaluate(state, Batch(x), key)["loss"], jnp.mean(expected), rtol=1e-6)


def test_ladders_that_are_none_are_refused(key):
    parts = small()
    with pytest.raises(ValueError, match="layers: a ladder VAE has one or more"):
        ladder.init_params(key, parts=parts._replace(layers=()))
    for layers in ((parts.layers[0],), (parts.layers[1], parts.layers[1])):
        with pytest.raises(ValueError, match="prior: each layer but the top one has a network for it"):
            ladder.init_params(key, parts=parts._replace(layers=layers))
