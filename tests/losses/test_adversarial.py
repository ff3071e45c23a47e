"""Adversarial losses at their known optima on tables, and penalties of critics whose slopes are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from jax.test_util import check_grads

from genjax import losses
from genjax.losses import HINGE, LEAST_SQUARES, MINIMAX, NON_SATURATING, RELATIVISTIC, WASSERSTEIN

PAIRS = {
    "minimax": MINIMAX,
    "non_saturating": NON_SATURATING,
    "least_squares": LEAST_SQUARES,
    "hinge": HINGE,
    "wasserstein": WASSERSTEIN,
    "relativistic": RELATIVISTIC,
}
pairs = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


def generator_loss(pair, fake):
    """The generator's loss of a fake logit, beside a real one of 0 in the relativistic game; the others ignore it."""
    real = 0.0 if pair is RELATIVISTIC else jnp.nan
    return pair.generator(jax.tree.map(lambda a: jnp.full_like(a, real), fake), fake)


def tables():
    """Two distributions on six atoms."""
    draw = np.random.RandomState(3)
    return draw.dirichlet(np.ones(6)), draw.dirichlet(np.ones(6))


def fitted(pair, p, g, start):
    """The best logits by SciPy's minimiser, and the loss there."""
    objective = jax.jit(jax.value_and_grad(lambda a: expected_discriminator_loss(pair, a, p, g)))
    found = scipy.optimize.minimize(
        lambda a: tuple(map(np.asarray, objective(jnp.asarray(a)))),
        start,
        jac=True,
        method="BFGS",
        options={"gtol": 1e-10},
    )
    return found.x, found.fun


def expected_discriminator_loss(pair, logits, p, g):
    real, fake = jnp.repeat(logits, 6), jnp.tile(logits, 6)
    return jnp.outer(p, g).ravel() @ pair.discriminator(real, fake)


def divergence(p, q):
    return np.sum(p * np.log(p / q))


def jensen_shannon(p, g):
    m = (p + g) / 2
    return (divergence(p, m) + divergence(g, m)) / 2


@pytest.mark.parametrize("pair", [MINIMAX, NON_SATURATING])
def test_the_best_discriminator_is_the_posterior_of_being_real(pair, float64):
    p, g = tables()
    logits, loss = fitted(pair, p, g, np.zeros(6))
    np.testing.assert_allclose(scipy.special.expit(logits), p / (p + g), atol=1e-6)
    np.testing.assert_allclose(-loss, -np.log(4) + 2 * jensen_shannon(p, g), atol=1e-12)
    np.testing.assert_allclose(-loss, -np.log(4) + 2 * scipy.spatial.distance.jensenshannon(p, g) ** 2, atol=1e-12)


def test_the_generators_gradient_at_the_best_discriminator(float64):
    # Arjovsky & Bottou 2017: with D fixed, of E_g[loss] in g's logits; the divergences' gradients by their own route
    p, g = tables()
    theta, best = jnp.log(g), jnp.log(p) - jnp.log(g)

    def expected(pair):
        return jax.grad(lambda t: jax.nn.softmax(t) @ generator_loss(pair, best))(theta)

    def js(t):
        g = jax.nn.softmax(t)
        m = (p + g) / 2
        return 0.5 * (p @ (jnp.log(p) - jnp.log(m)) + g @ (jnp.log(g) - jnp.log(m)))

    def kl(t):
        g = jax.nn.softmax(t)
        return g @ (jnp.log(g) - jnp.log(p))

    np.testing.assert_allclose(expected(MINIMAX), jax.grad(lambda t: 2 * js(t))(theta), atol=1e-14)
    np.testing.assert_allclose(expected(NON_SATURATING), jax.grad(lambda t: kl(t) - 2 * js(t))(theta), atol=1e-14)
    assert np.abs(expected(MINIMAX) - expected(NON_SATURATING)).max() > 0.01


def test_minimax_is_zero_sum_in_the_fake_term(float64):
    a = jnp.linspace(-5, 5, 11)
    of_fake = MINIMAX.discriminator(jnp.zeros(11), a) - np.log(2)
    np.testing.assert_allclose(generator_loss(MINIMAX, a), -of_fake, rtol=1e-12)
    np.testing.assert_allclose(generator_loss(MINIMAX, a), np.log(1 - scipy.special.expit(np.asarray(a))), rtol=1e-12)
    np.testing.assert_allclose(
        generator_loss(NON_SATURATING, a), -np.log(scipy.special.expit(np.asarray(a))), rtol=1e-12
    )


def test_the_best_of_least_squares(float64):
    p, g = tables()
    logits, loss = fitted(LEAST_SQUARES, p, g, np.zeros(6))
    np.testing.assert_allclose(logits, p / (p + g), atol=1e-8)
    np.testing.assert_allclose(loss, 0.5 * np.sum(p * g / (p + g)), atol=1e-12)
    # the generator's fixed point: no atom pulls more than another where p = g
    pull = jax.grad(lambda a: jnp.sum(generator_loss(LEAST_SQUARES, a)))(jnp.full(6, 0.5))
    np.testing.assert_allclose(pull, -0.5)


def test_the_best_of_the_hinge(float64):
    # piecewise linear: the optimum lies on a corner of [-1, 1]^6, and every one of the 64 is tried
    p, g = tables()
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 6, indexing="ij"), -1).reshape(-1, 6)
    value = jax.jit(jax.vmap(lambda a: expected_discriminator_loss(HINGE, a, p, g)))
    values = np.asarray(value(jnp.asarray(corners)))
    np.testing.assert_array_equal(corners[np.argmin(values)], np.sign(p - g))
    np.testing.assert_allclose(values.min(), 2 * np.minimum(p, g).sum(), rtol=1e-12)
    elsewhere = np.asarray(value(jnp.asarray(np.random.RandomState(0).normal(size=(2000, 6)) * 2)))
    assert elsewhere.min() >= values.min()


def test_wasserstein_is_the_dual_of_the_distance(float64):
    # atoms on a line: the linear program over 1-Lipschitz critics, against SciPy's distance by quantiles
    p, g = tables()
    x = np.sort(np.random.RandomState(1).uniform(0, 3, 6))
    steps, gaps = np.diff(np.eye(6), axis=0), np.diff(x)
    a = scipy.optimize.linprog(
        g - p, A_ub=np.concatenate([steps, -steps]), b_ub=np.concatenate([gaps, gaps]), bounds=[(-3, 3)] * 6
    ).x
    distance = scipy.stats.wasserstein_distance(x, x, p, g)
    np.testing.assert_allclose(-expected_discriminator_loss(WASSERSTEIN, jnp.asarray(a), p, g), distance, rtol=1e-9)
    other = np.cumsum(np.r_[0, gaps * np.random.RandomState(2).uniform(-1, 1, 5)])
    assert -expected_discriminator_loss(WASSERSTEIN, jnp.asarray(other), p, g) < distance
    # moving the fake atoms along the critic's slope is what the generator's loss asks for
    np.testing.assert_allclose(jax.grad(lambda b: generator_loss(WASSERSTEIN, b).sum())(jnp.asarray(a)), -1)


def products(p, g):
    """The distributions of pairs (x, x~), as they are and swapped."""
    return np.outer(p, g).ravel(), np.outer(g, p).ravel()


def test_the_best_of_the_relativistic_game(float64):
    p, g = tables()
    logits, loss = fitted(RELATIVISTIC, p, g, np.zeros(6))
    best = np.log(p / g)
    np.testing.assert_allclose(logits - logits.mean(), best - best.mean(), atol=1e-6)
    np.testing.assert_allclose(loss, np.log(2) - jensen_shannon(*products(p, g)), atol=1e-12)
    # a constant that is added to every logit changes nothing
    np.testing.assert_allclose(expected_discriminator_loss(RELATIVISTIC, logits + 3, p, g), loss, atol=1e-12)


def test_the_relativistic_generators_gradient_at_the_best_discriminator(float64):
    p, g = tables()
    theta, best = jnp.log(g), jnp.log(p) - jnp.log(g)

    def expected(theta, real, fake):
        return jnp.outer(p, jax.nn.softmax(theta)).ravel() @ RELATIVISTIC.generator(real, fake)

    def divergences(theta):
        g = jax.nn.softmax(theta)
        there, swapped = jnp.outer(p, g), jnp.outer(g, p)
        middle = (there + swapped) / 2
        js = 0.5 * jnp.sum(there * jnp.log(there / middle) + swapped * jnp.log(swapped / middle))
        return g @ jnp.log(g / p) - js

    gradient = jax.grad(expected)(theta, jnp.repeat(best, 6), jnp.tile(best, 6))
    np.testing.assert_allclose(gradient, jax.grad(divergences)(theta), atol=1e-14)
    assert np.abs(gradient).max() > 0.01


def test_relativistic_logits_are_paired_by_their_index(float64):
    draw = np.random.RandomState(0)
    real, fake = (draw.normal(size=(3, 4, 5)) for _ in range(2))
    above = real - fake  # patch by patch
    for loss, gap in ((RELATIVISTIC.discriminator, -above), (RELATIVISTIC.generator, above)):
        expected = np.log1p(np.exp(gap)).mean((1, 2))
        np.testing.assert_allclose(loss(jnp.asarray(real), jnp.asarray(fake)), expected, rtol=1e-12)


@pairs
def test_each_player_lifts_what_it_wants_taken_for_real(pair):
    a = jnp.linspace(-0.9, 0.9, 7)
    real, fake = jax.grad(lambda real, fake: pair.discriminator(real, fake).sum(), argnums=(0, 1))(a, a)
    generator = jax.grad(lambda a: generator_loss(pair, a).sum())(a)
    assert (real < 0).all() and (generator < 0).all()
    assert ((fake > 0) | ((pair is LEAST_SQUARES) & (a <= 0))).all()


def test_the_generators_gradient_where_the_discriminator_is_sure():
    def slope(pair):
        return float(jax.grad(lambda a: generator_loss(pair, a).sum())(jnp.array([-20.0]))[0])

    assert abs(slope(MINIMAX)) < 1e-8 and abs(slope(NON_SATURATING) + 1) < 1e-6


@pairs
def test_finite_at_extreme_logits(pair):
    for real in (-1e3, 1e3):
        for fake in (-1e3, 1e3):
            a, b = jnp.array([real]), jnp.array([fake])
            values = [pair.discriminator(a, b), generator_loss(pair, b)]
            values += jax.grad(lambda a, b: pair.discriminator(a, b).sum(), argnums=(0, 1))(a, b)
            values.append(jax.grad(lambda b: generator_loss(pair, b).sum())(b))
            assert all(value.dtype == jnp.float32 and np.isfinite(value).all() for value in values)


@pairs
def test_gradients_are_those_of_finite_differences(pair, float64):
    draw = np.random.RandomState(0)
    real, fake = (jnp.asarray(draw.normal(size=(3, 2, 2))) for _ in range(2))
    check_grads(jax.jit(lambda a, b: pair.discriminator(a, b).sum()), (real, fake), order=2, modes=["rev"])
    check_grads(jax.jit(lambda b: generator_loss(pair, b).sum()), (fake,), order=2, modes=["rev"])


@pairs
def test_maps_and_scales_are_averaged(pair):
    draw = np.random.RandomState(0)
    real, fake = (jnp.asarray(draw.normal(size=(3, 4, 5)), jnp.float32) for _ in range(2))
    real_small, fake_small = real[:, :2, :2], fake[:, :2, :2]

    def by_hand(real, fake):
        each = pair.discriminator(real.reshape(-1), fake.reshape(-1)), generator_loss(pair, fake.reshape(-1))
        return [value.reshape(3, -1).mean(1) for value in each]

    np.testing.assert_allclose(pair.discriminator(real, fake), by_hand(real, fake)[0], rtol=1e-5)
    np.testing.assert_allclose(generator_loss(pair, fake), by_hand(real, fake)[1], rtol=1e-5)
    both = [(a + b) / 2 for a, b in zip(by_hand(real, fake), by_hand(real_small, fake_small), strict=True)]
    np.testing.assert_allclose(pair.discriminator((real, real_small), (fake, fake_small)), both[0], rtol=1e-5)
    np.testing.assert_allclose(generator_loss(pair, (fake, fake_small)), both[1], rtol=1e-5)


@pairs
def test_logits_of_other_shapes_are_refused(pair):
    with pytest.raises(ValueError, match=r"(?s)\(3,\).*\(4,\)"):
        pair.discriminator(jnp.zeros(3), jnp.zeros(4))


@pairs
def test_help_shows_each_players_equation(pair):
    assert pair.generator.__doc__.startswith("L_G = ")
    assert pair.discriminator.__doc__.startswith("L_D = ")


# The weighted cost


def test_alpha_scales_each_players_own_term():
    real, fake, alpha = jnp.array([0.3, -2.0]), jnp.array([1.0, 0.5]), 0.3
    pair = losses.weighted(NON_SATURATING, alpha=alpha)
    np.testing.assert_allclose(pair.discriminator(real, fake), 0.7 * NON_SATURATING.discriminator(real, fake))
    np.testing.assert_allclose(generator_loss(pair, fake), 0.3 * generator_loss(NON_SATURATING, fake), rtol=1e-6)
    of_both = losses.weighted(RELATIVISTIC, alpha=alpha)
    np.testing.assert_allclose(of_both.generator(real, fake), 0.3 * np.log1p(np.exp(real - fake)), rtol=1e-6)
    for alpha in (-0.1, 1.1):
        with pytest.raises(ValueError, match="from 0 to 1"):
            losses.weighted(HINGE, alpha=alpha)


def test_the_joint_minimum_of_the_weighted_cost_is_no_game(float64):
    # minimised by both together, (1 - alpha) L_D + alpha L_G has its minimum at D(x) -> 1, D(G(z)) = alpha
    pair = losses.weighted(NON_SATURATING, alpha=0.3)
    d = np.linspace(0.001, 0.999, 999)
    fake = jnp.asarray(scipy.special.logit(d))
    joint = [pair.discriminator(jnp.full(999, real), fake) + generator_loss(pair, fake) for real in (0.0, 50.0)]
    assert np.min(joint[1]) < np.min(joint[0])
    np.testing.assert_allclose(d[np.argmin(joint[1])], 0.3, atol=1e-3)


# Penalties


def two_layer(draw):
    """A smooth critic of vectors of three, and its parameters."""
    params = {"w": jnp.asarray(draw.normal(size=(3, 5))), "v": jnp.asarray(draw.normal(size=5))}
    return params, lambda params: lambda x: jnp.tanh(x @ params["w"]) @ params["v"]


PENALTIES = {
    "gradient": losses.gradient_penalty,
    "lipschitz": losses.lipschitz_penalty,
    "r1": lambda critic, real, fake, key: losses.r1_penalty(critic, real),
    "dragan": lambda critic, real, fake, key: losses.dragan_penalty(critic, real, key, scale=0.3),
}
penalties = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)


@pytest.mark.parametrize("norm", [0.4, 1.0, 3.0])
def test_penalties_of_a_linear_critic_are_of_its_norm(norm, key, float64):
    draw = np.random.RandomState(0)
    w = draw.normal(size=(2, 3))
    w *= norm / np.linalg.norm(w)
    real, fake = (jnp.asarray(draw.normal(size=(4, 2, 3))) for _ in range(2))
    found = {
        name: penalty(lambda x: jnp.einsum("bij,ij->b", x, w), real, fake, key) for name, penalty in PENALTIES.items()
    }
    expected = {
        "gradient": (norm - 1) ** 2,
        "dragan": (norm - 1) ** 2,
        "lipschitz": max(0, norm - 1) ** 2,
        "r1": norm**2 / 2,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], np.full(4, value), rtol=1e-12, atol=1e-14)


@penalties
def test_penalties_are_differentiated_twice(penalty, key, float64):
    draw = np.random.RandomState(0)
    params, critic = two_layer(draw)
    real, fake = (jnp.asarray(draw.normal(size=(4, 3))) for _ in range(2))
    value = jax.jit(lambda params: penalty(critic(params), real, fake, key).mean())
    gradient = jax.grad(value)(params)
    for name, leaf in params.items():
        for at in np.ndindex(leaf.shape):
            step = jnp.zeros_like(leaf).at[at].set(1e-6)
            up, down = (value(params | {name: leaf + sign * step}) for sign in (1, -1))
            np.testing.assert_allclose((up - down) / 2e-6, gradient[name][at], rtol=1e-5, atol=1e-8)


def test_each_penalty_looks_where_it_says(key, float64):
    # of the critic |x|^2 / 2 the slope at x is |x|
    def critic(x):
        return jnp.sum(x**2, axis=-1) / 2

    real, fake = jnp.full((4000, 1), 3.0), jnp.full((4000, 1), 5.0)
    between = 1 + jnp.sqrt(losses.gradient_penalty(critic, real, fake, key))
    assert scipy.stats.kstest(np.asarray(between), scipy.stats.uniform(3, 2).cdf).statistic < 1.95 / np.sqrt(4000)
    np.testing.assert_allclose(losses.lipschitz_penalty(critic, real, fake, key), (between - 1) ** 2)
    np.testing.assert_allclose(losses.r1_penalty(critic, real), 4.5)
    around = 1 + jnp.sqrt(losses.dragan_penalty(critic, real, key, scale=0.2))
    assert scipy.stats.kstest(np.asarray(around), scipy.stats.norm(3, 0.2).cdf).statistic < 1.95 / np.sqrt(4000)


@penalties
def test_a_flat_critic_is_penalised_with_a_finite_gradient(penalty, key):
    real = fake = jnp.ones((2, 3))
    params = {"w": jnp.zeros((3, 5)), "v": jnp.zeros(5)}
    _, critic = two_layer(np.random.RandomState(0))
    gradient = jax.grad(lambda params: penalty(critic(params), real, fake, key).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_the_slope_of_a_map_is_that_of_its_mean(key, float64):
    draw = np.random.RandomState(0)
    real, w = jnp.asarray(draw.normal(size=(4, 3))), jnp.asarray(draw.normal(size=(3, 6)))
    maps = losses.r1_penalty(lambda x: (x @ w).reshape(-1, 2, 3), real)
    np.testing.assert_allclose(maps, 0.5 * np.sum(np.mean(w, axis=1) ** 2) * np.ones(4), rtol=1e-12)
    scales = losses.r1_penalty(lambda x: ((x @ w).reshape(-1, 2, 3), x[:, 0]), real)
    direction = (np.mean(w, axis=1) + np.eye(3)[0]) / 2
    np.testing.assert_allclose(scales, 0.5 * np.sum(direction**2) * np.ones(4), rtol=1e-12)


def test_the_gradient_penalty_of_patches_at_two_scales_is_of_their_mean_not_their_sum(key, float64):
    # every patch counts 1 / (S N_s) as much as in a sum over S scales of N_s patches
    draw = np.random.RandomState(0)
    w, w_2 = draw.normal(size=(3, 16)), draw.normal(size=(3, 4))
    real, fake = (jnp.asarray(draw.normal(size=(5, 3))) for _ in range(2))

    def critic(x):
        return (x @ jnp.asarray(w)).reshape(-1, 4, 4), (x @ jnp.asarray(w_2)).reshape(-1, 2, 2)

    def summed(x):
        return sum(jnp.sum(scale, axis=(1, 2)) for scale in critic(x))

    found = losses.gradient_penalty(critic, real, fake, key)
    np.testing.assert_allclose(found, (np.linalg.norm((w.mean(1) + w_2.mean(1)) / 2) - 1) ** 2, rtol=1e-12)
    of_sum = losses.gradient_penalty(summed, real, fake, key)
    np.testing.assert_allclose(of_sum, (np.linalg.norm(w.sum(1) + w_2.sum(1)) - 1) ** 2, rtol=1e-12)
    assert abs(found[0] - of_sum[0]) > 1


def test_penalties_refuse_pairs_of_other_shapes(key):
    for penalty in (losses.gradient_penalty, losses.lipschitz_penalty):
        with pytest.raises(ValueError, match=r"(?s)\(3, 2\).*\(4, 2\)"):
            penalty(lambda x: x[:, 0], jnp.zeros((3, 2)), jnp.zeros((4, 2)), key)
