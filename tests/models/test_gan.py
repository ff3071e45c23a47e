"""The two players' game: known equilibria, updates by hand, and what each player may see and change."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from jax.flatten_util import ravel_pytree

from genjax import gradients, losses, networks
from genjax.losses import HINGE, LEAST_SQUARES, MINIMAX, NON_SATURATING, RELATIVISTIC, WASSERSTEIN
from genjax.models import gan
from genjax.types import Batch, Network


def small(adversarial=NON_SATURATING, num_classes=0, latent_dim=2):
    """Players of vectors of three."""
    players = [
        networks.mlp((latent_dim + num_classes,), (3,), hidden=(5,), activation=jnp.tanh),
        networks.mlp((3 + num_classes,), (), hidden=(5,), activation=jnp.tanh),
    ]
    if num_classes:
        players = [networks.with_label(player, num_classes) for player in players]
    return gan.GAN(*players, adversarial, latent_dim, num_classes)


@pytest.fixture
def batch(key):
    x_key, label_key = jax.random.split(jax.random.fold_in(key, 1))
    return Batch(jax.random.normal(x_key, (12, 3)), jax.random.randint(label_key, (12,), 0, 4))


def r1(weight):
    return lambda critic, real, fake, key: weight * losses.r1_penalty(critic, real)


def wgan_gp(critic, real, fake, key):
    return 10 * losses.gradient_penalty(critic, real, fake, key)


def wgan_lp(critic, real, fake, key):
    return 10 * losses.lipschitz_penalty(critic, real, fake, key)


# Equilibria


def expected_loss(loss, logits, p, g):
    """A player's expected loss, real drawn from p and fake from g, over all pairs of atoms."""
    num = len(p)
    return jnp.outer(p, g).ravel() @ loss(jnp.repeat(logits, num), jnp.tile(logits, num))


@pytest.mark.parametrize(
    ("pair", "value"), [(MINIMAX, -np.log(4)), (NON_SATURATING, -np.log(4)), (RELATIVISTIC, -np.log(2))]
)
def test_a_tabular_game_comes_to_its_equilibrium(pair, value, key):
    p = jnp.array([0.05, 0.1, 0.15, 0.2, 0.2, 0.3])
    optimizer = optax.sgd(1.0)

    def of_discriminator(d, g):
        return expected_loss(pair.discriminator, d, p, jax.nn.softmax(g))[None], {}

    def of_generator(g, d):
        return expected_loss(pair.generator, d, p, jax.nn.softmax(g))[None], {}

    def turn(players, _):
        d, g = players
        d = gradients.updater(of_discriminator, optimizer)(d, optimizer.init(d), g)[0]
        g = gradients.updater(of_generator, optimizer)(g, optimizer.init(g), d)[0]
        return (d, g), None

    start = jnp.zeros(6), jax.random.normal(key, (6,))
    (d, g), _ = jax.jit(lambda players: jax.lax.scan(turn, players, None, length=1500))(start)
    reached = -expected_loss(pair.discriminator, d, p, jax.nn.softmax(g))
    assert abs(float(reached) - value) < 1e-3
    np.testing.assert_allclose(jax.nn.softmax(g), p, atol=0.01)
    np.testing.assert_allclose(jax.nn.sigmoid(d), 0.5, atol=0.01)


@pytest.mark.parametrize(
    # on a line the two-sided penalty keeps a critic whose slope has the wrong sign from turning
    ("pair", "penalty"),
    [
        pytest.param(NON_SATURATING, r1(0.1), id="non_saturating"),
        pytest.param(WASSERSTEIN, wgan_lp, id="wasserstein", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_linear_generator_learns_a_gaussian(pair, penalty, key):
    parts = gan.GAN(
        networks.mlp((1,), (1,), hidden=(), activation=jnp.tanh),
        networks.mlp((1,), (), hidden=(16, 16), activation=jax.nn.silu),
        pair,
        latent_dim=1,
    )
    num_steps, num_critic_steps = 1500, 2
    generator, discriminator = (
        optax.adam(optax.cosine_decay_schedule(rate, num_updates), b1=0.5, b2=0.9)
        for rate, num_updates in ((6e-3, num_steps), (2e-2, num_steps * num_critic_steps))
    )
    model = gan.model(
        parts, generator, discriminator, penalty=penalty, num_critic_steps=num_critic_steps, averaging=0.99
    )

    @jax.jit
    def train(state):
        def step(_, state):
            x = 3 + jax.random.normal(jax.random.fold_in(key, state.step), (256, 1))
            return model.train_step(state, Batch(x), jax.random.fold_in(key, 1))[0]

        return jax.lax.fori_loop(0, num_steps, step, state)

    layer = train(model.init(key)).average["generator"]["layer_1"]
    # x = w z + b is N(b, w^2)
    assert abs(float(layer["bias"][0]) - 3) < 0.2
    assert abs(abs(float(layer["kernel"][0, 0])) - 1) < 0.2


def test_a_linear_generator_is_a_gaussian(key, float64):
    parts = small()._replace(generator=networks.mlp((2,), (3,), hidden=(), activation=jnp.tanh))
    params = jax.tree.map(lambda a: jax.random.normal(key, a.shape), parts.generator.init(key))
    w, b = (np.asarray(params["layer_1"][name]) for name in ("kernel", "bias"))
    num = 50_000
    x = np.asarray(gan.generate(params, jax.random.normal(key, (num, 2)), parts=parts))
    covariance = w.T @ w
    error = (x - b).mean(0) / np.sqrt(np.diag(covariance) / num)
    assert np.abs(error).max() < 4
    # the variance of an entry of the sample covariance is (S_ii S_jj + S_ij^2) / num
    spread = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / num)
    assert (np.abs(np.cov(x.T) - covariance) < 4 * spread).all()
    along = (x - b) @ np.linalg.pinv(w)
    assert scipy.stats.kstest(along.ravel(), scipy.stats.norm.cdf).statistic < 1.95 / np.sqrt(along.size)


# The order of play


def test_each_update_leaves_the_other_player_alone(key, batch):
    adam, still = optax.adam(1e-2), optax.sgd(0.0)
    for frozen, moving in (("generator", "discriminator"), ("discriminator", "generator")):
        optimizers = (still, adam) if frozen == "generator" else (adam, still)
        model = gan.model(small(), *optimizers, penalty=wgan_gp)
        state = jax.jit(model.init)(key)
        step = jax.jit(model.train_step)
        new = step(step(state, batch, key)[0], batch, key)[0]
        chex.assert_trees_all_equal(new.params[frozen], state.params[frozen])
        moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), new.params[moving], state.params[moving])
        assert all(jax.tree.leaves(moved)[1:])


def far_from_both(critic, real, fake, key):
    """No paper's penalty: one whose value tells real from fake, and shows its key and its critic."""
    return 0.5 * jnp.square(critic(2 * fake - real + jax.random.normal(key, real.shape)))


@pytest.mark.parametrize("num_critic_steps", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_step_by_hand(num_critic_steps, key, batch):
    # k discriminator steps on the parts of the batch, each with its own noise; then the generator, against the new one
    parts, size = small(), 12 // num_critic_steps
    of_generator, of_discriminator = optax.adam(1e-2), optax.sgd(0.3)
    model = gan.model(parts, of_generator, of_discriminator, penalty=far_from_both, num_critic_steps=num_critic_steps)
    state = jax.jit(model.init)(key)
    new, metrics = jax.jit(model.train_step)(state, batch, key)

    critic_key, generator_key = jax.random.split(jax.random.fold_in(key, 0))
    d, g = state.params["discriminator"], state.params["generator"]
    seen = []
    for i, k in enumerate(jax.random.split(critic_key, num_critic_steps)):
        z_key, penalty_key = jax.random.split(k)
        real = batch.x[i * size : (i + 1) * size]
        fake = parts.generator.apply(g, jax.random.normal(z_key, (size, 2)))
        far = 2 * fake - real + jax.random.normal(penalty_key, real.shape)

        def loss(d, real=real, fake=fake, far=far):
            def logit(x):
                return parts.discriminator.apply(d, x)

            value = jnp.mean(jax.nn.softplus(-logit(real)) + jax.nn.softplus(logit(fake)))
            penalty = 0.5 * jnp.mean(logit(far) ** 2)
            return value + penalty, {"discriminator_loss": value, "penalty": penalty}

        gradient, values = jax.jit(jax.grad(loss, has_aux=True))(d)
        seen.append(values)
        d = jax.tree.map(lambda a, b: a - 0.3 * b, d, gradient)
    chex.assert_trees_all_close(new.params["discriminator"], d, rtol=1e-4, atol=1e-5)
    for name in ("discriminator_loss", "penalty"):
        np.testing.assert_allclose(metrics[name], np.mean([values[name] for values in seen]), rtol=1e-5)

    z = jax.random.normal(generator_key, (size, 2))

    def generator_loss(g, d):
        return jnp.mean(jax.nn.softplus(-parts.discriminator.apply(d, parts.generator.apply(g, z))))

    updates, _ = of_generator.update(jax.jit(jax.grad(generator_loss))(g, d), of_generator.init(g))
    chex.assert_trees_all_close(new.params["generator"], optax.apply_updates(g, updates), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["generator_loss"], generator_loss(g, d), rtol=1e-5)
    assert metrics["loss"] == metrics["generator_loss"]
    # against the old discriminator it would have been another loss
    assert abs(float(generator_loss(g, state.params["discriminator"]) - metrics["generator_loss"])) > 1e-3
    assert int(new.step) == 1


def test_a_relativistic_generator_meets_both_logits(key, batch):
    # L_G = softplus(a - a~): how much more real than its own fake example each real one looks
    parts = small(RELATIVISTIC)
    model = gan.model(parts, optax.sgd(0.1), optax.sgd(0.0))
    state = jax.jit(model.init)(key)
    new, metrics = jax.jit(model.train_step)(state, batch, key)
    d, g = state.params["discriminator"], state.params["generator"]
    z = jax.random.normal(jax.random.split(jax.random.fold_in(key, 0))[1], (12, 2))

    def loss(g):
        real, fake = (parts.discriminator.apply(d, x) for x in (batch.x, parts.generator.apply(g, z)))
        return jnp.mean(jnp.log1p(jnp.exp(real - fake)))

    value, gradient = jax.value_and_grad(loss)(g)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    by_hand = jax.tree.map(lambda a, b: a - 0.1 * b, g, gradient)
    chex.assert_trees_all_close(new.params["generator"], by_hand, rtol=1e-5, atol=1e-6)


def test_a_real_logit_that_the_generator_ignores_costs_nothing(key, batch):
    # XLA counts no more floating-point operations than of a generator's objective written without it
    parts = small()
    params = gan.init_params(key, parts=parts)

    def without(generator, others, batch, key):
        fake = gan.generate(generator, jax.random.normal(key, (len(batch.x), 2)), parts=parts)
        loss = jax.nn.softplus(-gan.discriminate(others["discriminator"], fake, parts=parts))
        return loss, {"generator_loss": loss}

    def operations(objective):
        compiled = jax.jit(gradients.whole_batch(objective)).lower(params["generator"], params, batch, key).compile()
        cost = compiled.cost_analysis()
        assert cost is not None
        return cost["flops"]

    assert operations(gan.generator_objective(parts)) == operations(without)


def test_weights_are_clipped_after_each_update(key, batch):
    clip = partial(optax.projections.projection_linf_ball, scale=0.02)
    model = gan.model(small(WASSERSTEIN), optax.sgd(0.1), optax.sgd(0.1), num_critic_steps=2, project=clip)
    new = jax.jit(model.train_step)(model.init(key), batch, key)[0]
    assert all(np.abs(leaf).max() <= 0.02 for leaf in jax.tree.leaves(new.params["discriminator"]))
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(new.params["generator"])) > 0.1


def test_spectral_vectors_follow_the_weights(key, batch):
    network, power_iteration = networks.spectral_norm(small().discriminator)
    parts = small(HINGE)._replace(discriminator=network)
    model = gan.model(parts, optax.adam(1e-2), optax.adam(1e-2), project=power_iteration)
    state, step = jax.jit(model.init)(key), jax.jit(model.train_step)
    for _ in range(60):
        state, metrics = step(state, batch, key)
    discriminator = state.params["discriminator"]
    for name in ("layer_1", "layer_2"):
        # in double precision: OpenBLAS's products of single-precision matrices five wide and vectors read stack that
        # nobody wrote, and warn of an "invalid value" where that happens to hold a NaN
        kernel = np.asarray(discriminator["network"][name]["kernel"], dtype=np.float64)
        vector = np.asarray(discriminator["vectors"][f"{name}.kernel"], dtype=np.float64)
        estimate = np.linalg.norm(kernel @ vector)
        np.testing.assert_allclose(estimate, np.linalg.norm(kernel, 2), rtol=1e-3)
    assert np.isfinite(metrics["loss"])


def test_the_average_is_a_mean_that_forgets(key, batch):
    model = gan.model(small(), optax.adam(1e-2), optax.adam(1e-2), averaging=0.75)
    state, step = jax.jit(model.init)(key), jax.jit(model.train_step)
    chex.assert_trees_all_equal(state.average, {"generator": state.params["generator"]})
    kernels = []
    for _ in range(6):
        state, _ = step(state, batch, key)
        kernels.append(np.asarray(state.params["generator"]["layer_1"]["kernel"]))
    mean = np.mean(kernels[:4], axis=0)  # the plain mean of 1 / (1 - 0.75) steps
    for kernel in kernels[4:]:
        mean = 0.75 * mean + 0.25 * kernel
    np.testing.assert_allclose(state.average["generator"]["layer_1"]["kernel"], mean, rtol=1e-5)


@pytest.mark.parametrize("averaging", [None, 0.9])
def test_samples_and_evaluation_are_of_the_average_where_there_is_one(averaging, key, batch):
    parts = small()
    model = gan.model(parts, optax.adam(1e-1), optax.adam(1e-1), averaging=averaging)
    state, step = jax.jit(model.init)(key), jax.jit(model.train_step)
    for _ in range(2):
        state, _ = step(state, batch, key)
    last, z = state.params["generator"], jax.random.normal(key, (7, 2))
    if averaging is None:
        assert state.average == {}
        used = last
    else:
        used = state.average["generator"]
        assert not np.allclose(used["layer_1"]["kernel"], last["layer_1"]["kernel"], rtol=1e-3)
    assert model.sample is not None
    np.testing.assert_array_equal(model.sample(state, 7, key), gan.generate(used, z, parts=parts))
    found, others = model.evaluate(state, batch, key), {"discriminator": state.params["discriminator"]}
    expected, _ = gan.generator_objective(parts)(used, others, batch, jax.random.split(key)[1])
    np.testing.assert_allclose(found["generator_loss"], expected.mean(), rtol=1e-6)


@pytest.mark.slow
def test_noise_is_new_at_every_step_and_set_by_the_key(key, batch, no_key_reuse):
    model = gan.model(small(), optax.sgd(0.0), optax.sgd(0.0), penalty=wgan_gp)
    first, step = model.init(key), jax.jit(model.train_step)
    key = jax.random.key(5)
    second, metrics = step(first, batch, jax.random.clone(key))
    _, metrics_2 = step(second, batch, jax.random.clone(key))
    _, again = step(first, batch, jax.random.clone(key))
    assert all(float(metrics[name]) != float(metrics_2[name]) for name in ("discriminator_loss", "generator_loss"))
    chex.assert_trees_all_equal(metrics, again)


@pytest.mark.parametrize(
    "pair", [WASSERSTEIN, *(pytest.param(pair, marks=pytest.mark.slow) for pair in (NON_SATURATING, LEAST_SQUARES))]
)
def test_metrics_are_the_same_names_and_means_everywhere(pair, key, batch):
    parts = small(pair)
    model = gan.model(parts, optax.sgd(0.0), optax.sgd(0.0), penalty=r1(2.0))
    state = jax.jit(model.init)(key)
    _, trained = jax.jit(model.train_step)(state, batch, key)
    held_out = jax.jit(model.evaluate)(state, batch, key)
    names = {"loss", "discriminator_loss", "generator_loss", "real_logit", "fake_logit", "penalty"}
    assert trained.keys() == held_out.keys() == names
    d = state.params["discriminator"]
    np.testing.assert_allclose(held_out["real_logit"], parts.discriminator.apply(d, batch.x).mean(), rtol=1e-5)
    slope = jax.vmap(jax.grad(lambda x: parts.discriminator.apply(d, x[None])[0]))(batch.x)
    np.testing.assert_allclose(held_out["penalty"], np.mean(np.sum(slope**2, axis=1)), rtol=1e-5)
    for metrics in (trained, held_out):
        assert metrics["loss"] == metrics["generator_loss"]
        if pair is WASSERSTEIN:
            difference = metrics["fake_logit"] - metrics["real_logit"]
            np.testing.assert_allclose(metrics["discriminator_loss"], difference, rtol=1e-4)
    bare = gan.model(parts, optax.sgd(0.0), optax.sgd(0.0))
    assert jax.jit(bare.train_step)(state, batch, key)[1]["penalty"] == 0


# Augmentation


def stretched_noise(x, key):
    """No image's augmentation: one that shows its key and has a gradient."""
    return 2 * x + jax.random.normal(key, x.shape)


def test_both_players_meet_augmented_examples(key, batch):
    parts = small(RELATIVISTIC)._replace(augmentation=stretched_noise)
    params = gan.init_params(key, parts=parts)

    @jax.jit
    def found(d, g):
        metrics = gan.discriminator_objective(parts, penalty=far_from_both)(d, {"generator": g}, batch, key)[1]
        of_generator = gan.generator_objective(parts)
        return metrics, jax.grad(lambda g: jnp.mean(of_generator(g, {"discriminator": d}, batch, key)[0]))(g)

    @jax.jit
    def by_hand(d, g):
        other, augmentation_key = jax.random.split(key)
        z_key, penalty_key = jax.random.split(other)
        real_key, fake_key = jax.random.split(augmentation_key)
        real = stretched_noise(batch.x, real_key)

        def critic(x):
            return parts.discriminator.apply(d, x)

        def fake(g, key):
            return stretched_noise(parts.generator.apply(g, jax.random.normal(key, (12, 2))), fake_key)

        gap = critic(real) - critic(fake(g, z_key))
        penalty = far_from_both(critic, real, fake(g, z_key), penalty_key)
        gradient = jax.grad(lambda g: jnp.mean(jnp.log1p(jnp.exp(critic(real) - critic(fake(g, other))))))(g)
        return jnp.log1p(jnp.exp(-gap)), penalty, gradient

    metrics, moved = found(params["discriminator"], params["generator"])
    loss, penalty, gradient = by_hand(params["discriminator"], params["generator"])
    np.testing.assert_allclose(metrics["discriminator_loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["penalty"], penalty, rtol=1e-5)
    chex.assert_trees_all_close(moved, gradient, rtol=1e-4, atol=1e-6)


# The weighted cost


@pytest.mark.slow
def test_alpha_is_a_learning_rate_and_under_adam_nothing(key, batch):
    def params(pair, optimizer):
        model = gan.model(small(pair), optimizer, optimizer)
        state, step = jax.jit(model.init)(key), jax.jit(model.train_step)
        for _ in range(5):
            state, metrics = step(state, batch, key)
        return state.params, metrics

    alpha = 0.3
    pair = losses.weighted(NON_SATURATING, alpha=alpha)
    adam = optax.adam(1e-2, eps=1e-12)
    plain, weighted = params(NON_SATURATING, adam), params(pair, adam)
    chex.assert_trees_all_close(weighted[0], plain[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(weighted[1]["discriminator_loss"], 0.7 * plain[1]["discriminator_loss"], rtol=1e-4)
    np.testing.assert_allclose(weighted[1]["loss"], 0.3 * plain[1]["loss"], rtol=1e-4)

    descent, _ = params(pair, optax.sgd(0.5))
    model = gan.model(small(), optax.sgd(alpha * 0.5), optax.sgd((1 - alpha) * 0.5))
    state = jax.jit(model.init)(key)
    for _ in range(5):
        state, _ = jax.jit(model.train_step)(state, batch, key)
    chex.assert_trees_all_close(descent, state.params, rtol=1e-4, atol=1e-6)


# Labels


def test_both_players_are_told_the_label(key):
    echo = networks.with_label(Network(lambda key: {}, lambda params, x: x), 4)
    parts = gan.GAN(echo, echo, NON_SATURATING, latent_dim=2, num_classes=4)
    label = jnp.array([2, 0, 3])
    one_hot = np.eye(4)[[2, 0, 3]]
    z, image = jax.random.normal(key, (3, 2)), jax.random.normal(key, (3, 5, 6, 1))
    np.testing.assert_array_equal(gan.generate({}, z, label, parts=parts), np.concatenate([z, one_hot], 1))
    np.testing.assert_array_equal(gan.discriminate({}, z, label, parts=parts), np.concatenate([z, one_hot], 1))
    planes = np.broadcast_to(one_hot[:, None, None], (3, 5, 6, 4))
    np.testing.assert_array_equal(gan.discriminate({}, image, label, parts=parts), np.concatenate([image, planes], 3))
    with pytest.raises(ValueError, match="4 classes needs labels"):
        gan.generate({}, z, parts=parts)


def test_fakes_are_of_the_labels_of_the_real(key, batch):
    # a generator that shows its label, and a discriminator that measures how far x is from its own
    generator = Network(lambda key: {"w": jnp.ones(())}, lambda p, z: p["w"] * z[:, 2:])
    discriminator = Network(
        lambda key: {"w": jnp.ones(())}, lambda p, x: -p["w"] * jnp.sum((x[:, :4] - x[:, 4:]) ** 2, axis=1)
    )
    players = [networks.with_label(player, 4) for player in (generator, discriminator)]
    parts = gan.GAN(*players, WASSERSTEIN, latent_dim=2, num_classes=4)
    given = Batch(jax.nn.one_hot(batch.label, 4) + 1, batch.label)
    model = gan.model(parts, optax.sgd(0.0), optax.sgd(0.0), num_critic_steps=3)
    _, metrics = jax.jit(model.train_step)(model.init(key), given, key)
    assert metrics["fake_logit"] == 0 and metrics["generator_loss"] == 0
    np.testing.assert_allclose(metrics["real_logit"], -4, rtol=1e-6)
    assert model.sample is not None
    np.testing.assert_array_equal(model.sample(model.init(key), 6, key), np.eye(4)[[0, 1, 2, 3, 0, 1]])
    np.testing.assert_array_equal(model.sample(model.init(key), 2, key, jnp.array([3, 1])), np.eye(4)[[3, 1]])


# How often each of 3 atoms is of each of 2 classes, in the data and among the generated: as many of each class in both
REAL, FAKE = np.array([[5, 1], [2, 4], [1, 3]]), np.array([[2, 2], [3, 1], [3, 5]])


def rows(counts):
    """One-hot atoms, [16, 3], and their classes, [16], class by class."""
    atom = [x for y in range(2) for x in range(3) for _ in range(counts[x, y])]
    return jnp.eye(3)[np.array(atom)], jnp.repeat(jnp.arange(2), counts.sum(axis=0))


@pytest.fixture
def tables(float64):
    """A conditional game of tables, and the batch over which means are expectations."""
    real, label = rows(REAL)
    generator = Network(lambda key: {}, lambda params, z, label: rows(FAKE)[0])
    heads = networks.affine((3,), (1 + 2,))
    return gan.GAN(generator, heads, NON_SATURATING, latent_dim=1, num_classes=2), Batch(real, label)


def solved(parts, batch, key):
    """The discriminator's params at the least value of its objective."""
    start, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, parts.discriminator.init(key)))
    objective = gan.discriminator_objective(parts)

    def loss(flat):
        return jnp.mean(objective(unravel(flat), {"generator": {}}, batch, key)[0])

    found = scipy.optimize.minimize(jax.jit(jax.value_and_grad(loss)), start, jac=True, method="BFGS", tol=1e-9)
    return unravel(found.x), jax.jit(jax.grad(loss)), unravel


def test_the_best_projection_is_the_marginal_and_the_label_part_of_the_log_ratio(tables, key):
    parts, batch = tables
    parts = parts._replace(discriminator=networks.label_projection(parts.discriminator, 2))
    params, slope, _ = solved(parts, batch, key)
    logit = np.array([gan.discriminate(params, jnp.eye(3), jnp.full(3, y), parts=parts) for y in range(2)]).T
    np.testing.assert_allclose(logit, np.log(REAL / FAKE), atol=1e-5)
    marginal = np.log(REAL.sum(1) / FAKE.sum(1))
    of_label = np.log((REAL / REAL.sum(1, keepdims=True)) / (FAKE / FAKE.sum(1, keepdims=True)))
    by_hand = {"layer_1": {"kernel": jnp.column_stack([marginal, of_label]), "bias": jnp.zeros(3)}}
    np.testing.assert_allclose(slope(ravel_pytree(by_hand)[0]), 0, atol=1e-9)
    with pytest.raises(ValueError, match="2 classes needs labels"):
        gan.discriminate(params, batch.x, parts=parts)


def test_an_auxiliary_classifier_adds_its_cross_entropies_to_both_losses(tables, key):
    parts, batch = tables
    parts = parts._replace(discriminator=networks.discriminator_heads(parts.discriminator), auxiliary_weight=0.7)
    table = np.asarray(jax.random.normal(key, (3, 3)))
    params = {"layer_1": {"kernel": jnp.asarray(table), "bias": jnp.zeros(3)}}
    p, g = REAL / REAL.sum(), FAKE / FAKE.sum()
    log_d, log_not = (-np.logaddexp(0, sign * table[:, :1]) for sign in (-1, 1))
    log_c = table[:, 1:] - scipy.special.logsumexp(table[:, 1:], axis=1, keepdims=True)  # log p(y|x)

    loss, metrics = gan.discriminator_objective(parts)(params, {"generator": {}}, batch, key)
    # Odena et al. 2017, equations 2 and 3: the discriminator maximises L_S + L_C, the generator L_C - L_S
    of_source, of_class = (p * log_d + g * log_not).sum(), ((p + g) * log_c).sum()
    np.testing.assert_allclose(loss.mean(), -of_source - 0.7 * of_class, rtol=1e-9)
    np.testing.assert_allclose(metrics["discriminator_loss"].mean(), -of_source, rtol=1e-9)
    for name, q in (("real", p), ("fake", g)):
        np.testing.assert_allclose(metrics[f"{name}_cross_entropy"].mean(), -(q * log_c).sum(), rtol=1e-9)

    loss, metrics = gan.generator_objective(parts)({}, {"discriminator": params}, batch, key)
    np.testing.assert_allclose(metrics["generator_loss"].mean(), -(g * log_d).sum(), rtol=1e-9)
    np.testing.assert_allclose(metrics["cross_entropy"].mean(), -(g * log_c).sum(), rtol=1e-9)
    np.testing.assert_allclose(loss.mean(), -(g * log_d).sum() - 0.7 * (g * log_c).sum(), rtol=1e-9)


def test_the_best_auxiliary_classifier_is_that_of_real_and_generated_examples_together(tables, key):
    parts, batch = tables
    parts = parts._replace(discriminator=networks.discriminator_heads(parts.discriminator), auxiliary_weight=0.7)
    params, *_ = solved(parts, batch, key)
    both = REAL + FAKE
    found = jax.nn.softmax(gan.classify(params, jnp.eye(3), parts=parts))
    np.testing.assert_allclose(found, both / both.sum(1, keepdims=True), atol=1e-5)
    logit = gan.discriminate(params, jnp.eye(3), parts=parts)
    np.testing.assert_allclose(logit, np.log(REAL.sum(1) / FAKE.sum(1)), atol=1e-5)


@pytest.mark.slow
def test_an_unconditional_gan_reads_no_label(key, batch):
    model = gan.model(small(), optax.adam(1e-2), optax.adam(1e-2))
    step = jax.jit(model.train_step)
    chex.assert_trees_all_equal(step(model.init(key), batch, key)[0], step(model.init(key), Batch(batch.x), key)[0])


# Composing


@pytest.mark.slow
def test_patches_at_two_scales_with_a_gradient_penalty(key):
    scales = [networks.patch_discriminator((size, size, 1), features=(3,)) for size in (8, 4)]
    parts = gan.GAN(
        networks.dcgan_generator(2, (8, 8, 1), features=(4,)), networks.multi_scale(scales), HINGE, latent_dim=2
    )
    model = gan.model(parts, optax.adam(1e-2), optax.adam(1e-2), penalty=wgan_gp)
    state = jax.jit(model.init)(key)
    new, metrics = jax.jit(model.train_step)(state, Batch(jax.random.uniform(key, (4, 8, 8, 1))), key)
    assert all(np.isfinite(value) for value in metrics.values())
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), new.params, state.params)
    # the hinge's last bias is pulled up and down alike
    assert all(moved["discriminator"][scale]["convolution_1"]["kernel"] for scale in ("scale_1", "scale_2"))


def test_what_cannot_be_is_refused(key, batch):
    with pytest.raises(ValueError, match="below 1, not 1"):
        gan.model(small(), optax.sgd(0.1), optax.sgd(0.1), averaging=1.0)
    model = gan.model(small(), optax.sgd(0.1), optax.sgd(0.1), num_critic_steps=5)
    with pytest.raises(ValueError, match="12 examples cannot be divided into 5 equal parts"):
        model.train_step(model.init(key), batch, key)
