"""Penalties against NumPy, closed forms, finite differences and Monte Carlo."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from jax.test_util import check_grads

from genjax import losses, networks, stochastic


@pytest.fixture
def params(key):
    """Two layers, with biases that must not count."""
    w_key, v_key = jax.random.split(key)
    return {
        "encoder": {"layer_1": {"kernel": jax.random.normal(w_key, (4, 3)), "bias": jnp.full(3, 7.0)}},
        "decoder": {"layer_1": {"kernel": jax.random.normal(v_key, (3, 4)), "bias": jnp.full(4, 7.0)}},
    }


def kernels(tree):
    return [np.asarray(tree[half]["layer_1"]["kernel"]) for half in ("encoder", "decoder")]


def biases(tree):
    return [np.asarray(tree[half]["layer_1"]["bias"]) for half in ("encoder", "decoder")]


def test_weight_penalties_are_of_the_kernels_alone(params):
    w, v = kernels(params)
    np.testing.assert_allclose(losses.weight_l1(params), np.abs(w).sum() + np.abs(v).sum(), rtol=1e-6)
    np.testing.assert_allclose(losses.weight_l2(params), (np.sum(w**2) + np.sum(v**2)) / 2, rtol=1e-6)
    for penalty, derivative in ((losses.weight_l1, np.sign), (losses.weight_l2, np.asarray)):
        gradient = jax.grad(penalty)(params)
        for got, kernel in zip(kernels(gradient), (w, v), strict=True):
            np.testing.assert_allclose(got, derivative(kernel), rtol=1e-6)
        assert not np.any(np.concatenate(biases(gradient)))


def test_without_weights_there_is_no_penalty():
    for penalty in (losses.weight_l1, losses.weight_l2):
        value, gradient = jax.value_and_grad(penalty)({"bias": jnp.ones(3)})
        assert value == 0 and value.dtype == jnp.float32
        np.testing.assert_array_equal(gradient["bias"], np.zeros(3))
        assert penalty({}) == 0


def test_a_gradient_step_on_the_l2_penalty_shrinks_every_weight(params):
    rate, weight = 0.1, 0.3
    optimizer = optax.sgd(rate)
    gradient = jax.grad(lambda p: weight * losses.weight_l2(p))(params)
    after = optax.apply_updates(params, optimizer.update(gradient, optimizer.init(params))[0])
    for got, kernel in zip(kernels(after), kernels(params), strict=True):
        np.testing.assert_allclose(got, (1 - rate * weight) * kernel, rtol=1e-6)


def test_decoupled_weight_decay_is_another_thing_inside_adam(params):
    # Loshchilov & Hutter 2019: the two agree under plain gradient descent only
    def after(optimizer, weight):
        gradient = jax.grad(lambda p: jnp.sum(p["encoder"]["layer_1"]["kernel"] ** 3) + weight * losses.weight_l2(p))
        return optimizer.update(gradient(params), optimizer.init(params), params)[0]

    coupled, decoupled = after(optax.adam(0.1), 0.3), after(optax.adamw(0.1, weight_decay=0.3), 0.0)
    assert np.abs(kernels(coupled)[0] - kernels(decoupled)[0]).max() > 1e-3


def test_l2_penalty_gives_the_maximum_a_posteriori_estimate(key, float64):
    # y = X W + noise of variance s^2, W ~ N(0, t^2): argmin 1/2 SSE + lambda weight_l2, lambda = s^2 / t^2, is
    # (X^T X + lambda I)^{-1} X^T y, and in one dimension it is the peak of the posterior by Bayes' rule on a grid
    x_key, y_key = jax.random.split(key)
    x, y = jax.random.normal(x_key, (20, 3)), jax.random.normal(y_key, (20, 2))
    noise, prior = 0.6, 1.3
    weight = noise**2 / prior**2
    ridge = np.linalg.solve(x.T @ x + weight * np.eye(3), x.T @ y)

    def posterior(w):
        return jnp.sum(losses.squared_error(x @ w, y)) / 2 + weight * losses.weight_l2({"w": w})

    np.testing.assert_allclose(jax.grad(posterior)(jnp.asarray(ridge)), 0, atol=1e-12)

    grid = np.linspace(-3, 3, 20_001)
    likelihood = scipy.stats.norm.logpdf(np.asarray(y)[:, :1], np.asarray(x)[:, :1] * grid[None], noise).sum(0)
    joint = np.exp(likelihood + scipy.stats.norm.logpdf(grid, 0, prior))
    density = joint / np.trapezoid(joint, grid)
    objective = jax.vmap(
        lambda w: (
            jnp.sum(losses.squared_error(x[:, :1] * w, y[:, :1])) / 2 + weight * losses.weight_l2({"w": w[None, None]})
        )
    )(jnp.asarray(grid))
    assert np.argmax(density) == np.argmin(objective)
    # the objective is the posterior's negative logarithm in units of s^2, but for a constant
    np.testing.assert_allclose(np.diff(np.asarray(objective) / noise**2 + np.log(joint)), 0, atol=1e-9)


def test_tikhonovs_penalty_weighs_directions(key):
    w_key, gamma_key = jax.random.split(key)
    w, gamma = jax.random.normal(w_key, (4, 3)), jax.random.normal(gamma_key, (5, 4))
    by_hand = sum(np.sum((np.asarray(gamma) @ np.asarray(w)[:, k]) ** 2) for k in range(3))
    np.testing.assert_allclose(losses.tikhonov_penalty(w, gamma), by_hand, rtol=1e-5)
    np.testing.assert_allclose(losses.tikhonov_penalty(w, jnp.eye(4)), 2 * losses.weight_l2({"w": w}), rtol=1e-6)
    constant, differences = jnp.full((4, 1), 7.0), jnp.diff(jnp.eye(4), axis=0)
    assert losses.tikhonov_penalty(constant, differences) == 0
    assert losses.tikhonov_penalty(np.int8([[100], [-100]]), np.int8([[1, -1]])) == 40_000
    with pytest.raises(ValueError, match=r"do not fit: \(4, 3\) and \(5, 3\)"):
        losses.tikhonov_penalty(w, gamma[:, :3])


def test_input_noise_is_tikhonov_regularisation(key, float64):
    # Bishop 1995: E_n ||y - W^T (x + n)||^2 = ||y - W^T x||^2 + s^2 ||W||_F^2, n ~ N(0, s^2 I)
    w_key, x_key, noise_key = jax.random.split(key, 3)
    w, scale = jax.random.normal(w_key, (5, 3)), 0.4
    x = jnp.broadcast_to(jax.random.normal(x_key, (1, 5)), (50_000, 5))
    noisy = stochastic.gaussian_noise(scale=scale)(x, noise_key)
    y = jnp.zeros((50_000, 3))
    values = np.asarray(losses.squared_error(noisy @ w, y))
    exact = losses.squared_error(x[:1] @ w, y[:1])[0] + 2 * scale**2 * losses.weight_l2({"w": w})
    assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(len(values))


def test_least_squares_is_maximum_likelihood(key, float64):
    # the negative logarithm of prod N(y; x w, s^2) is SSE / 2 s^2 + (nm/2) log 2 pi s^2; least at s^2 = SSE / nm
    x_key, y_key = jax.random.split(key)
    x, y = np.asarray(jax.random.normal(x_key, (9, 1))), np.asarray(jax.random.normal(y_key, (9, 2)))
    grid = np.linspace(-2, 2, 401)
    sums = np.array([jnp.sum(losses.squared_error(jnp.asarray(x @ [[w, w]]), jnp.asarray(y))) for w in grid])
    for scale in (0.3, 1.7):
        log_p = np.array([scipy.stats.norm.logpdf(y, x @ [[w, w]], scale).sum() for w in grid])
        np.testing.assert_allclose(log_p, -sums / (2 * scale**2) - y.size / 2 * np.log(2 * np.pi * scale**2))
        assert np.argmax(log_p) == np.argmin(sums)
    best = scipy.optimize.minimize_scalar(
        lambda s: -scipy.stats.norm.logpdf(y, 0, s).sum(), bounds=(0.1, 5), method="bounded", options={"xatol": 1e-9}
    )
    sse = float(jnp.sum(losses.squared_error(jnp.zeros(y.shape), jnp.asarray(y))))
    np.testing.assert_allclose(best.x**2, sse / y.size, rtol=1e-6)


def test_code_l1(key):
    z = jax.random.normal(key, (4, 3, 2))
    np.testing.assert_allclose(losses.code_l1(z), np.abs(np.asarray(z)).sum((1, 2)) / 2, rtol=1e-6)
    assert losses.code_l1(z).shape == (4,)


def test_least_penalised_code_is_a_soft_threshold(key, float64):
    # orthonormal rows W: argmin ||x - z W||^2 + lambda code_l1(z) = soft(W x, lambda / 4), by its KKT conditions:
    # where z_j != 0 the gradient is 0; where z_j = 0, |2 (W x)_j| is at most lambda / 2
    w_key, x_key = jax.random.split(key)
    w = jnp.linalg.qr(jax.random.normal(w_key, (6, 4)))[0].T
    x, weight = jax.random.normal(x_key, (30, 6)), 1.5
    z = networks.soft_threshold(x @ w.T, threshold=weight / 4)

    def objective(z):
        return jnp.sum(losses.squared_error(z @ w, x) + weight * losses.code_l1(z))

    active = np.asarray(z != 0)
    assert 20 < active.sum() < 100
    gradient = np.asarray(jax.grad(objective)(z))
    np.testing.assert_allclose(gradient[active], 0, atol=1e-12)
    smooth = np.asarray(jax.grad(lambda z: jnp.sum(losses.squared_error(z @ w, x)))(z))
    assert np.all(np.abs(smooth[~active]) <= weight / 2)
    for _ in range(20):
        w_key, step_key = jax.random.split(w_key)
        assert objective(z + 0.01 * jax.random.normal(step_key, z.shape)) > objective(z)


def test_code_kl_from_its_definition(key, float64):
    logits, rate = 3 * jax.random.normal(key, (7, 5)), 0.2
    mean = scipy.special.expit(np.asarray(logits)).mean(0)
    expected = np.sum(scipy.special.rel_entr(rate, mean) + scipy.special.rel_entr(1 - rate, 1 - mean))
    np.testing.assert_allclose(losses.code_kl(logits, rate=rate), expected, rtol=1e-12)
    check_grads(jax.jit(lambda a: losses.code_kl(a, rate=rate)), (logits,), order=2)


def test_code_kl_is_zero_only_at_its_rate(float64):
    at_rate = jnp.array([[0.1], [0.3]])  # activations of mean 0.2
    logits = jnp.log(at_rate) - jnp.log1p(-at_rate)
    assert abs(losses.code_kl(logits, rate=0.2)) < 1e-12
    assert losses.code_kl(logits + 0.1, rate=0.2) > 1e-4
    assert losses.code_kl(logits - 0.1, rate=0.2) > 1e-4


@pytest.mark.parametrize("logit", [-1e3, 1e3])
def test_code_kl_stays_finite(logit):
    value, gradient = jax.value_and_grad(lambda a: losses.code_kl(a, rate=0.05))(jnp.full((4, 3), logit))
    chex.assert_tree_all_finite((value, gradient))
    assert np.all(np.sign(gradient) == np.sign(logit))  # and pulls back


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_outside_the_unit_interval_is_refused(rate):
    with pytest.raises(ValueError, match=f"got {rate}"):
        losses.code_kl(jnp.zeros((2, 3)), rate=rate)


def sigmoid_layer(key):
    w_key, b_key, x_key = jax.random.split(key, 3)
    kernel, bias = jax.random.normal(w_key, (5, 3)), jax.random.normal(b_key, (3,))
    return lambda x: jax.nn.sigmoid(x @ kernel + bias[None]), kernel, jax.random.normal(x_key, (6, 5))


def test_jacobian_norm_of_a_sigmoid_layer_three_ways(key, float64):
    layer, kernel, x = sigmoid_layer(key)
    exact = losses.jacobian_norm(layer, x)
    forward = jax.vmap(jax.jacfwd(lambda x: layer(x[None])[0]))(x)
    np.testing.assert_allclose(exact, jnp.sum(forward**2, axis=(1, 2)), rtol=1e-12)
    np.testing.assert_allclose(losses.sigmoid_jacobian_norm(layer(x), kernel), exact, rtol=1e-12)
    step = 1e-5 * np.eye(5)
    differences = [(layer(x + step[j][None]) - layer(x - step[j][None])) / 2e-5 for j in range(5)]
    np.testing.assert_allclose(exact, sum(jnp.sum(d**2, axis=1) for d in differences), rtol=1e-8)


def test_jacobian_norm_of_a_linear_map_is_its_frobenius_norm(key):
    w = jax.random.normal(key, (5, 3))
    x = jax.random.normal(jax.random.fold_in(key, 1), (4, 5, 1))
    norm = losses.jacobian_norm(lambda x: x.reshape(len(x), -1) @ w, x)
    np.testing.assert_allclose(norm, np.full(4, jnp.sum(w**2)), rtol=1e-6)


def test_hutchinson_is_unbiased(key, float64):
    layer, _, x = sigmoid_layer(key)
    estimates = jax.vmap(lambda k: losses.hutchinson_jacobian_norm(layer, x, k))(jax.random.split(key, 20_000))
    exact = losses.jacobian_norm(layer, x)
    mean, error = np.asarray(estimates).mean(0), np.asarray(estimates).std(0) / np.sqrt(20_000)
    assert np.all(error > 0)
    assert np.all(np.abs(mean - exact) < 4 * error)
    np.testing.assert_allclose(mean, exact, rtol=0.02)


def test_hutchinson_is_exact_for_one_output(key):
    layer, _, x = sigmoid_layer(key)
    exact = losses.jacobian_norm(lambda x: layer(x)[:, :1], x)
    np.testing.assert_allclose(losses.hutchinson_jacobian_norm(lambda x: layer(x)[:, :1], x, key), exact, rtol=1e-5)


def test_a_jacobian_penalty_has_a_gradient_in_the_parameters(key, float64):
    _, kernel, x = sigmoid_layer(key)
    for norm in (
        lambda w: losses.jacobian_norm(lambda x: jax.nn.sigmoid(x @ w), x),
        lambda w: losses.hutchinson_jacobian_norm(lambda x: jax.nn.sigmoid(x @ w), x, key),
    ):
        check_grads(jax.jit(lambda w, norm=norm: jnp.sum(norm(w))), (kernel,), order=2, rtol=1e-4)


def test_closed_form_refuses_another_layers_kernel():
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(5, 2\)"):
        losses.sigmoid_jacobian_norm(jnp.zeros((4, 3)), jnp.zeros((5, 2)))
