"""FactorVAE: its discriminator's best logit and the total correlation of a Gaussian in closed form, and its players."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from genjax import networks
from genjax.errors import BadInput
from genjax.losses import BERNOULLI
from genjax.models import factor_vae, vae
from genjax.types import Batch, Network

RHO = 0.8
NO_NOISE = -30.0  # log variance of a code that is its mean


def quadratic():
    """A discriminator that is a quadratic form of two codes, a = b + c (z_1^2 + z_2^2) / 2 + e z_1 z_2."""

    def features(z):
        return jnp.stack([jnp.ones(len(z)), jnp.sum(z**2, axis=1) / 2, z[:, 0] * z[:, 1]], axis=1)

    return Network(lambda key: jnp.zeros(3), lambda params, z: features(z) @ params)


def best():
    """log q(z) / q(z_1) q(z_2) of N(0, [[1, rho], [rho, 1]])."""
    return np.array([-0.5 * np.log(1 - RHO**2), -(RHO**2) / (1 - RHO**2), RHO / (1 - RHO**2)])


def identity():
    """A VAE whose codes are its data, and the quadratic discriminator."""
    encoder = Network(lambda key: (), lambda params, x: (x, jnp.full_like(x, NO_NOISE)))
    parts = vae.VAE(encoder, Network(lambda key: (), lambda params, z: z), BERNOULLI, 2)
    return factor_vae.FactorVAE(parts, quadratic())


def gaussian(key, num):
    covariance = jnp.array([[1.0, RHO], [RHO, 1.0]])
    return Batch(jax.random.multivariate_normal(key, jnp.zeros(2), covariance, num))


CODEC = {"encoder": (), "decoder": ()}


def test_the_best_discriminator_of_a_gaussian_is_the_known_quadratic(key):
    parts, batch = identity(), gaussian(key, 40_000)
    objective = factor_vae.discriminator_objective(parts)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return objective(params, {"vae": CODEC}, batch, key)[0].mean()

    found = scipy.optimize.minimize(lambda p: tuple(map(np.float64, loss(jnp.float32(p)))), np.zeros(3), jac=True).x
    np.testing.assert_allclose(found, best(), atol=0.1)
    # at the optimum the cross-entropy is 2 log 2 - 2 JS, below that of a logit of 0
    assert loss(jnp.float32(found))[0] < 2 * np.log(2) - 0.1


def test_the_vae_pays_for_the_total_correlation_of_a_gaussian(key):
    parts, batch = identity(), gaussian(key, 20_000)
    others = {"discriminator": jnp.float32(best())}
    loss, metrics = jax.jit(factor_vae.vae_objective(parts, weight=7.0, rate_weight=0.5))(CODEC, others, batch, key)
    plain, _ = jax.jit(vae.objective(parts.vae, rate_weight=0.5))(CODEC, batch, key)
    np.testing.assert_allclose(loss - plain, 7 * metrics["total_correlation"], rtol=1e-3, atol=1e-3)
    # with its sign: the logit is of the codes themselves
    odd = parts._replace(discriminator=Network(lambda key: (), lambda params, z: z[:, 0]))
    value = factor_vae.vae_objective(odd, weight=1.0)(CODEC, {"discriminator": ()}, batch, key)[1]
    np.testing.assert_allclose(value["total_correlation"], batch.x[:, 0], atol=1e-4)
    exact = -0.5 * np.log(1 - RHO**2)
    error = np.std(metrics["total_correlation"]) / np.sqrt(20_000)
    assert abs(metrics["total_correlation"].mean() - exact) < 4 * error < 0.1 * exact


def test_each_half_of_the_batch_has_its_own_part(key):
    # codes of the first half are shown as they are, those of the second with each column permuted
    parts, batch = identity(), Batch(jnp.arange(16.0).reshape(8, 2) / 7)
    seen = []

    def apply(params, z):
        seen.append(np.asarray(z))
        return jnp.sum(z, axis=1)

    parts = parts._replace(discriminator=Network(lambda key: (), apply))
    loss, metrics = factor_vae.discriminator_objective(parts)((), {"vae": CODEC}, batch, key)
    codes, permuted = seen
    np.testing.assert_allclose(codes, batch.x[:4], atol=1e-5)
    assert not np.allclose(permuted, batch.x[4:], atol=1e-3)
    np.testing.assert_allclose(np.sort(permuted, axis=0), batch.x[4:], atol=1e-5)
    logits = codes.sum(1), permuted.sum(1)
    np.testing.assert_allclose(metrics["code_logit"], logits[0])
    np.testing.assert_allclose(loss, np.log1p(np.exp(-logits[0])) + np.log1p(np.exp(logits[1])), rtol=1e-5)


def small():
    def mlp(num_in, num_out):
        return networks.mlp((num_in,), num_out, hidden=(4,), activation=jnp.tanh)

    parts = vae.VAE(networks.gaussian_heads(mlp(3, (4,))), mlp(2, (3,)), BERNOULLI, 2)
    return factor_vae.FactorVAE(parts, mlp(2, ()))


def test_a_step_is_one_update_of_each_player_against_the_other(key):
    parts, batch = small(), Batch(jax.random.uniform(key, (6, 3)))
    model = factor_vae.model(parts, optax.sgd(0.1), optax.sgd(0.2), weight=5.0)
    state = jax.jit(model.init)(key)
    new, metrics = jax.jit(model.train_step)(state, batch, key)
    keys = jax.random.split(jax.random.fold_in(key, 0), 2)

    def moved(objective, own, others, player_key, rate):
        gradient = jax.jit(jax.grad(lambda own: objective(own, others, batch, player_key)[0].mean()))(own)
        return jax.tree.map(lambda a, g: a - rate * g, own, gradient)

    before = state.params
    judge = factor_vae.discriminator_objective(parts)
    critic = moved(judge, before["discriminator"], {"vae": before["vae"]}, keys[0], 0.2)
    paying = factor_vae.vae_objective(parts, weight=5.0)
    codec = moved(paying, before["vae"], {"discriminator": critic}, keys[1], 0.1)
    for found, expected in ((new.params["vae"], codec), (new.params["discriminator"], critic)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
    loss, of_vae = paying(before["vae"], {"discriminator": critic}, batch, keys[1])
    np.testing.assert_allclose(metrics["loss"], loss.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["total_correlation"], of_vae["total_correlation"].mean(), rtol=1e-4, atol=1e-5)
    assert "discriminator_loss" in metrics


def test_the_vae_alone_is_evaluated_and_sampled(key):
    parts = small()
    model = factor_vae.model(parts, optax.sgd(0.1), optax.sgd(0.1), weight=5.0, averaging=0.9)
    state, batch = jax.jit(model.init)(key), Batch(jax.random.uniform(key, (6, 3)))
    assert state.evaluation_params.keys() == {"encoder", "decoder"}
    new, _ = jax.jit(model.train_step)(state, batch, key)
    average = new.average["vae"]
    assert new.evaluation_params is average
    assert model.sample is not None
    samples = model.sample(new, 5, key)
    expected = vae.decode(average, vae.sample_prior(average, 5, key, parts=parts.vae), parts=parts.vae)
    np.testing.assert_allclose(samples, expected, rtol=1e-5)
    vae_alone = vae.objective(parts.vae)(average, batch, jax.random.split(key, 2)[1])[1]
    found = jax.jit(model.evaluate)(new, batch, key)
    np.testing.assert_allclose(found["negative_elbo"], vae_alone["negative_elbo"].mean(), rtol=1e-5)


def test_an_odd_batch_is_refused(key):
    model = factor_vae.model(small(), optax.sgd(0.1), optax.sgd(0.1), weight=1.0)
    with pytest.raises(BadInput, match=r"^batch_size: a batch of 5 examples cannot be divided into halves"):
        jax.eval_shape(model.train_step, jax.eval_shape(model.init, key), Batch(jnp.zeros((5, 3))), key)
