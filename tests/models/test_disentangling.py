"""Penalties of a VAE's codes: what is added to the negative ELBO, and DIP-VAE's covariances of a linear encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax import losses
from genjax.losses import BERNOULLI
from genjax.models import disentangling, vae
from genjax.types import Batch, Network

W = np.array([[0.9, -0.4, 0.2], [0.3, 1.1, -0.6]])  # [2, 3]
LOG_VARIANCE = np.array([-1.0, 0.5])


def linear():
    """mu = x W^T, s constant; the decoder returns two codes' sum on every pixel."""
    encoder = Network(
        lambda key: (),
        lambda params, x: (x @ jnp.asarray(W.T, x.dtype), jnp.broadcast_to(LOG_VARIANCE, (len(x), 2)).astype(x.dtype)),
    )
    decoder = Network(lambda key: (), lambda params, z: jnp.broadcast_to(jnp.sum(z, 1, keepdims=True), (len(z), 3)))
    return vae.VAE(encoder, decoder, BERNOULLI, 2)


def computed(penalties, x, key):
    objective = jax.jit(vae.objective(linear(), rate_weight=1.5, penalties=penalties))
    return objective({"encoder": (), "decoder": ()}, Batch(x), key)


@pytest.fixture
def x(key):
    return jax.random.uniform(key, (30, 3))


@pytest.mark.parametrize("estimator", ["stratified", "weighted"])
def test_the_beta_tcvae_charges_the_total_correlation_besides_the_rate(estimator, x, key):
    log_weights = {"stratified": losses.stratified_log_weights, "weighted": losses.weighted_log_weights}[estimator]
    penalty = disentangling.total_correlation_penalty(4.0, num_examples=1000, log_weights=log_weights)
    loss, metrics = computed([penalty], x, key)
    plain, before = computed([], x, key)
    assert metrics.keys() - before.keys() == {"total_correlation"}
    mean, std = np.float64(x) @ W.T, np.exp(LOG_VARIANCE / 2)
    z = np.asarray(vae.forward({"encoder": (), "decoder": ()}, x, key, parts=linear()).z, np.float64)
    each = scipy.stats.norm.pdf(z[:, None], mean[None], std)  # [30, 30, 2]
    w = np.full((30, 30), 1 / 30_000)
    if estimator == "stratified":
        w = np.where(np.eye(30), 1 / 1000, 999 / 29_000)
    expected = np.log((w * each.prod(2)).sum(1)) - np.log(np.einsum("ij,ijk->ik", w, each)).sum(1)
    np.testing.assert_allclose(metrics["total_correlation"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(loss - plain, 4 * expected, rtol=1e-3, atol=1e-3)


def test_dip_penalties_are_of_the_covariance_of_a_linear_encoder(x, key):
    plain, _ = computed([], x, key)
    means = np.einsum("ij,jk,lk->il", W, np.cov(np.float64(x).T, bias=True), W)
    for penalty, covariance, diagonal_weight in (
        (disentangling.dip_i_penalty(3.0), means, 10),
        (disentangling.dip_ii_penalty(3.0), means + np.diag(np.exp(LOG_VARIANCE)), 1),
    ):
        loss, metrics = computed([penalty], x, key)
        diagonal = np.sum((np.diag(covariance) - 1) ** 2)
        expected = 2 * np.asarray(covariance)[0, 1] ** 2 + diagonal_weight * diagonal
        np.testing.assert_allclose(metrics["dip_penalty"], np.full(30, expected), rtol=1e-4)
        np.testing.assert_allclose(loss - plain, np.full(30, 3 * expected), rtol=1e-4)
