"""InfoGAN's bound against information that is enumerated or known, and both losses by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from genjax import information, losses, networks
from genjax.losses import NON_SATURATING
from genjax.models import info_gan
from genjax.models.info_gan import Codes, Recognised
from genjax.types import Batch

K, C, DIM = 3, 2, 4
WEIGHTS = info_gan.Weights(0.7, 0.3)


@pytest.fixture
def parts():
    return info_gan.InfoGAN(
        networks.mlp((2 + K + C,), (DIM,), hidden=(5,), activation=jnp.tanh),
        networks.discriminator_heads(networks.mlp((DIM,), (1 + K + C,), hidden=(5,), activation=jnp.tanh)),
        NON_SATURATING,
        noise_dim=2,
        num_categories=K,
        num_continuous=C,
    )


@pytest.fixture
def batch(key):
    return Batch(jax.random.normal(jax.random.fold_in(key, 1), (6, DIM)))


# The bound

# a tabular generator: what each of 3 categories becomes at each of 8 equally likely values of the noise
SAMPLES = np.array([[0, 0, 0, 0, 1, 1, 2, 3], [0, 1, 1, 1, 1, 2, 2, 3], [0, 1, 2, 2, 3, 3, 3, 3]])
JOINT = np.stack([np.bincount(row, minlength=4) for row in SAMPLES]) / SAMPLES.size  # of category and sample


def of_table(logits, parts):
    """The mean of the bound over all settings of the generator, given Q's logits [4, K] of each sample."""
    x, none = SAMPLES.ravel(), jnp.zeros((SAMPLES.size, 0))
    codes = Codes(none, jnp.repeat(jnp.arange(K), SAMPLES.shape[1]), none)
    found = info_gan.information(Recognised(jnp.asarray(logits)[x], none), codes, parts=parts)
    return float(jnp.mean(found.categorical))


def test_the_bound_is_the_information_at_the_posterior_and_below_it_elsewhere(parts, float64):
    exact = float(information.mutual_information(jnp.asarray(JOINT)))
    ratio = JOINT / JOINT.sum(0) / JOINT.sum(1, keepdims=True)
    assert exact == pytest.approx((JOINT * np.log(ratio)).sum(), abs=1e-12) and 0.1 < exact < np.log(K)
    posterior = (JOINT / JOINT.sum(0)).T
    assert of_table(np.log(posterior), parts) == pytest.approx(exact, abs=1e-12)
    for seed in range(5):
        logits = np.random.RandomState(seed).normal(size=(4, K))
        log_q = scipy.special.log_softmax(logits, axis=1)
        gap = JOINT.sum(0) @ (posterior * (np.log(posterior) - log_q)).sum(1)  # E KL(posterior || Q)
        assert of_table(logits, parts) == pytest.approx(exact - gap, abs=1e-12) and gap > 0.01
    assert of_table(np.zeros((4, K)), parts) == pytest.approx(0, abs=1e-12)  # Q knows nothing


def test_the_bound_of_a_continuous_code_of_which_the_sample_is_the_sign(parts, float64):
    # I(u; sign u) = log 2; the best Gaussian on each half has the mean +-1/2 and the variance 1/12
    u = (np.arange(20_000) + 0.5) / 10_000 - 1
    codes = Codes(jnp.zeros((len(u), 0)), jnp.zeros(len(u), int), jnp.asarray(u)[:, None])

    def bound(mean, variance):
        recognised = Recognised(jnp.zeros((len(u), K)), jnp.sign(codes.continuous) * mean)
        own = parts._replace(num_continuous=1, scale=variance**0.5)
        return float(jnp.mean(info_gan.information(recognised, codes, parts=own).continuous))

    best = bound(0.5, 1 / 12)
    assert best == pytest.approx(np.log(2) - 0.5 * np.log(2 * np.pi * np.e / 12), abs=1e-6) and best < np.log(2)
    assert all(bound(*other) < best for other in ((0.4, 1 / 12), (0.6, 1 / 12), (0.5, 1 / 10), (0.5, 1 / 15)))


def test_codes_are_draws_from_their_priors(parts, key):
    codes = jax.device_get(info_gan.sample_codes(30_000, key, parts=parts))
    assert scipy.stats.chisquare(np.bincount(codes.category, minlength=K)).pvalue > 1e-3
    assert codes.noise.shape == (30_000, 2) and codes.continuous.shape == (30_000, C)
    assert all(scipy.stats.kstest(z, "norm").pvalue > 1e-3 for z in codes.noise.T)
    assert all(scipy.stats.kstest(u, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3 for u in codes.continuous.T)
    together = np.column_stack([codes.noise, codes.category, codes.continuous])
    assert np.abs(np.corrcoef(together.T) - np.eye(5)).max() < 4 / np.sqrt(30_000)


# The game


def by_hand(parts, params, codes):
    """Logit and weighted bound of generated examples, in NumPy from the networks' outputs."""
    given = np.column_stack([codes.noise, np.eye(K)[np.asarray(codes.category)], codes.continuous])
    fake = parts.generator.apply(params["generator"], jnp.float32(given))
    logit, outputs = map(np.asarray, parts.discriminator.apply(params["discriminator"], fake))
    log_q = scipy.special.log_softmax(outputs[:, :K], axis=1)[np.arange(len(logit)), codes.category]
    density = scipy.stats.norm.logpdf(codes.continuous, outputs[:, K:], 0.5).sum(axis=1)
    return fake, logit, log_q + np.log(K), density + C * np.log(2)


def test_both_losses_by_hand(parts, batch, key):
    params = info_gan.init_params(key, parts=parts)

    def penalty(critic, real, fake, key):
        return 0.5 * losses.r1_penalty(critic, real) + 0.1 * critic(fake) ** 2 + jax.random.uniform(key)

    objective = info_gan.discriminator_objective(parts, weights=WEIGHTS, penalty=penalty)
    loss, metrics = objective(params["discriminator"], params, batch, key)
    codes_key, penalty_key = jax.random.split(key)
    fake, logit, of_category, of_others = by_hand(parts, params, info_gan.sample_codes(6, codes_key, parts=parts))
    real_logit = np.asarray(info_gan.discriminate(params["discriminator"], batch.x, parts=parts))
    plain = np.logaddexp(0, -real_logit) + np.logaddexp(0, logit)

    def critic(x):
        return parts.discriminator.apply(params["discriminator"], x)[0]

    charged = penalty(critic, batch.x, fake, penalty_key)
    found = 0.7 * of_category + 0.3 * of_others
    np.testing.assert_allclose(loss, plain + charged - found, rtol=1e-4, atol=1e-5)
    expected = {"discriminator_loss": plain, "penalty": charged, "real_logit": real_logit, "fake_logit": logit}
    chex.assert_trees_all_close(metrics, expected, rtol=1e-4, atol=1e-5)

    loss, metrics = info_gan.generator_objective(parts, weights=WEIGHTS)(params["generator"], params, batch, key)
    _, logit, of_category, of_others = by_hand(parts, params, info_gan.sample_codes(6, key, parts=parts))
    plain, found = np.logaddexp(0, -logit), 0.7 * of_category + 0.3 * of_others
    np.testing.assert_allclose(loss, plain - found, rtol=1e-4, atol=1e-5)
    expected = {"generator_loss": plain, "categorical_information": of_category, "continuous_information": of_others}
    chex.assert_trees_all_close(metrics, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_step_moves_q_by_the_discriminators_turn(parts, batch, key):
    # without the game's own loss: SGD on -lambda L_I alone, first of the discriminator's params, then the generator's
    silent = losses.Adversarial(lambda a, b: 0 * b, lambda a, b: 0 * a)
    parts = parts._replace(adversarial=silent)
    model = info_gan.model(parts, optax.sgd(0.2), optax.sgd(0.1), weights=WEIGHTS)
    state = jax.jit(model.init)(key)
    new, _ = jax.jit(model.train_step)(state, batch, key)
    discriminator_key, generator_key = jax.random.split(jax.random.fold_in(key, 0))

    def cost(params, draw):
        codes = info_gan.sample_codes(6, draw, parts=parts)
        x = info_gan.generate(params["generator"], codes, parts=parts)
        recognised = info_gan.recognise(params["discriminator"], x, parts=parts)
        found = info_gan.information(recognised, codes, parts=parts)
        return -jnp.mean(0.7 * found.categorical + 0.3 * found.continuous)

    params = dict(state.params)
    turns = (("discriminator", 0.1, jax.random.split(discriminator_key)[0]), ("generator", 0.2, generator_key))
    for name, rate, draw in turns:
        gradient = jax.grad(cost)(params, draw)[name]
        params[name] = jax.tree.map(lambda a, g, rate=rate: a - rate * g, params[name], gradient)
    chex.assert_trees_all_close(new.params, params, rtol=1e-4, atol=1e-5)


def test_samples_are_of_codes_from_the_priors_and_of_the_average(parts, batch, key):
    model = info_gan.model(parts, optax.adam(0.1), optax.adam(0.1), weights=WEIGHTS, averaging=0.9)
    state = model.init(key)
    for _ in range(2):
        state, _ = jax.jit(model.train_step)(state, batch, key)
    assert model.sample is not None
    codes = info_gan.sample_codes(5, key, parts=parts)
    expected = info_gan.generate(state.average["generator"], codes, parts=parts)
    np.testing.assert_array_equal(model.sample(state, 5, key), expected)
    assert not np.allclose(info_gan.generate(state.params["generator"], codes, parts=parts), expected, rtol=1e-3)
