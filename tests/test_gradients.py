"""The meeting of losses and optimizers, on quadratics whose path is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients


def quadratic(params, matrix, scale):
    """loss_i = scale_i / 2 theta^T A theta."""
    return scale * (0.5 * params @ matrix @ params), {"scale": scale}


@pytest.fixture
def matrix():
    return jnp.array([[3.0, 1.0], [1.0, 2.0]])


def test_gradient_is_of_the_batch_mean_and_metrics_are_means(matrix):
    params, scale = jnp.array([1.0, -2.0]), jnp.array([1.0, 3.0, 5.0])
    gradient, metrics, _ = gradients.whole_batch(quadratic)(params, matrix, scale)
    np.testing.assert_allclose(gradient, 3 * matrix @ params, rtol=1e-6)
    assert set(metrics) == {"loss", "scale"}
    np.testing.assert_allclose(metrics["loss"], 3 * 0.5 * params @ matrix @ params, rtol=1e-6)
    assert float(metrics["scale"]) == 3


@pytest.mark.parametrize(("fraction", "converges"), [(0.5, True), (1.9, True), (2.1, False)])
def test_gradient_descent_follows_its_closed_form(matrix, fraction, converges, float64):
    # theta^t = (I - eta A)^t theta^0, which converges exactly for eta < 2 / lambda_max
    matrix = jnp.asarray(matrix, jnp.float64)
    rate = fraction / float(np.linalg.eigvalsh(matrix).max())
    update = jax.jit(gradients.updater(quadratic, optax.sgd(rate)))
    start = jnp.array([1.0, -2.0])
    params, state = start, optax.sgd(rate).init(start)
    for _ in range(60):
        params, state, metrics = update(params, state, matrix, jnp.ones(4))
    closed = np.linalg.matrix_power(np.eye(2) - rate * np.asarray(matrix), 60) @ np.asarray(start)
    np.testing.assert_allclose(params, closed, rtol=1e-9, atol=1e-12)
    assert (np.linalg.norm(params) < np.linalg.norm(start)) == converges
    assert np.isfinite(metrics["loss"])


def test_metrics_are_of_the_params_before_the_update(matrix):
    params = jnp.array([1.0, -2.0])
    update = gradients.updater(quadratic, optax.sgd(0.1))
    new, _, metrics = update(params, optax.sgd(0.1).init(params), matrix, jnp.ones(2))
    np.testing.assert_allclose(metrics["loss"], 0.5 * params @ matrix @ params, rtol=1e-6)
    assert not np.array_equal(new, params)


@pytest.mark.parametrize(
    "line_search", [optax.scale_by_zoom_linesearch(20), optax.scale_by_backtracking_linesearch(20)]
)
@pytest.mark.parametrize("reduction", [gradients.whole_batch, gradients.ordered(2)])
def test_line_searches_see_the_loss_of_the_batch(matrix, line_search, reduction, float64):
    # on a quadratic, L-BFGS with a line search ends at the minimum, here of 1/2 theta^T A theta - b theta
    def objective(params, batch, key):
        return 0.5 * params @ matrix @ params - batch @ params, {}

    matrix, batch = jnp.asarray(matrix, jnp.float64), jnp.array([[1.0, 0.0], [3.0, 2.0], [2.0, -2.0], [0.0, 4.0]])
    optimizer = optax.lbfgs(linesearch=line_search)
    update = jax.jit(gradients.updater(objective, optimizer, reduction=reduction))
    params = jnp.array([5.0, -4.0])
    state = optimizer.init(params)
    for _ in range(12):
        params, state, metrics = update(params, state, batch, jax.random.key(0))
    minimum = np.linalg.solve(np.asarray(matrix), np.asarray(batch).mean(0))
    np.testing.assert_allclose(params, minimum, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], -0.5 * np.asarray(batch).mean(0) @ minimum, rtol=1e-6)


@pytest.mark.parametrize("reduction", [gradients.whole_batch, gradients.ordered(2)])
def test_an_optimizer_is_given_the_loss_elsewhere_and_its_derivative(matrix, reduction):
    def look(updates, state, params, *, value, grad, value_fn):
        return updates, (value, grad, *jax.value_and_grad(value_fn)(2 * params))

    def objective(params, batch, key):
        return quadratic(params, matrix, batch)

    params, scale = jnp.array([1.0, -2.0]), jnp.array([1.0, 3.0, 5.0, 7.0])
    optimizer = optax.GradientTransformationExtraArgs(lambda params: (), look)
    none = jnp.zeros([]), jnp.zeros(2), jnp.zeros([]), jnp.zeros(2)
    _, seen, _ = gradients.updater(objective, optimizer, reduction=reduction)(params, none, scale, jax.random.key(0))
    slope = np.asarray(matrix @ params)
    at_params, at_double = 4 * 0.5 * slope @ np.asarray(params), 4 * 2 * slope @ np.asarray(params)
    for got, expected in zip(seen, (at_params, 4 * slope, at_double, 8 * slope), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_polyak_step_is_the_loss_over_the_squared_gradient(matrix):
    # eta = (f - f_min) / |g|^2, Polyak 1964
    params, optimizer = jnp.array([1.0, -2.0]), optax.polyak_sgd(max_learning_rate=10.0)
    new, _, metrics = gradients.updater(quadratic, optimizer)(params, optimizer.init(params), matrix, jnp.ones(2))
    slope = np.asarray(matrix @ params)
    np.testing.assert_allclose(new, params - metrics["loss"] / (slope @ slope) * slope, rtol=1e-6)


def test_a_plateau_lowers_the_rate(matrix):
    optimizer = optax.chain(optax.sgd(0.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=2))
    update, params = gradients.updater(quadratic, optimizer), jnp.array([1.0, -2.0])
    state = optimizer.init(params)
    for _ in range(5):
        params, state, _ = update(params, state, matrix, jnp.ones(2))
    assert float(optax.tree.get(state, "scale")) == 0.5**2


def test_a_plain_optimizer_is_traced_as_before(matrix):
    def plain(params, state, scale):
        grad, metrics, _ = gradients.whole_batch(quadratic)(params, matrix, scale)
        updates, state = optax.adam(0.1).update(grad, state, params)
        return optax.apply_updates(params, updates), state, metrics

    def ours(params, state, scale):
        return gradients.updater(quadratic, optax.adam(0.1))(params, state, matrix, scale)

    arguments = (jnp.ones(2), optax.adam(0.1).init(jnp.ones(2)), jnp.ones(3))
    assert str(jax.make_jaxpr(ours)(*arguments)) == str(jax.make_jaxpr(plain)(*arguments))


def test_the_optimizer_sees_the_params(matrix):
    # with a zero gradient, decoupled weight decay alone shrinks them
    optimizer = optax.adamw(0.1, weight_decay=0.5)
    params = jnp.array([1.0, -2.0])
    update = gradients.updater(quadratic, optimizer)
    new, _, _ = update(params, optimizer.init(params), 0 * matrix, jnp.ones(2))
    np.testing.assert_allclose(new, 0.95 * params, rtol=1e-6)


def noisy(params, offset, batch, key):
    """loss_i = (x_i . theta + offset + e_i)^2 / 2, whose rows draw their own noise."""
    residual = batch["x"] @ params["theta"] + offset + jax.random.normal(key, (len(batch["x"]),))
    return 0.5 * residual**2, {"residual": residual}


def problem():
    x_key, theta_key = jax.random.split(jax.random.key(0))
    params = {"theta": jax.random.normal(theta_key, (5,))}
    return params, 0.5, {"x": jax.random.normal(x_key, (24, 5))}, jax.random.key(7)


def test_the_ordered_gradient_is_the_tree_sum_of_its_shards():
    params, offset, batch, key = problem()
    found, metrics, _ = jax.jit(gradients.ordered(8)(noisy))(params, offset, batch, key)
    plain = jax.jit(gradients.whole_batch(noisy))
    shards = [plain(params, offset, {"x": batch["x"][3 * v : 3 * v + 3]}, jax.random.fold_in(key, v)) for v in range(8)]
    for name, pick in (("gradient", lambda s: s[0]["theta"]), ("residual", lambda s: s[1]["residual"])):
        g = [np.asarray(pick(shard)) for shard in shards]
        expected = (((g[0] + g[1]) + (g[2] + g[3])) + ((g[4] + g[5]) + (g[6] + g[7]))) / np.float32(8)
        value = found["theta"] if name == "gradient" else metrics["residual"]
        # the sums are exact in this order; a shard alone may be rounded otherwise than in the loop
        np.testing.assert_allclose(value, expected, rtol=2e-6, err_msg=name)


def test_without_draws_the_shards_make_no_difference_but_rounding(matrix):
    def objective(params, batch, key):
        return batch[:, 0] * (0.5 * params @ matrix @ params), {}

    params, batch = jnp.array([1.0, -2.0]), jnp.arange(1.0, 17.0)[:, None]
    whole, *_ = gradients.whole_batch(objective)(params, batch, jax.random.key(0))
    for num_shards in (1, 2, 16):
        shared, *_ = gradients.ordered(num_shards)(objective)(params, batch, jax.random.key(0))
        np.testing.assert_allclose(shared, whole, rtol=1e-6)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="a power of two, not 6"):
        gradients.ordered(6)
    params, offset, batch, key = problem()
    with pytest.raises(ValueError, match="a batch of 24 examples cannot be divided into 16 equal parts"):
        gradients.ordered(16)(noisy)(params, offset, batch, key)


def counting(params, batch, key):
    """A loss with statistics: how many rows lie nearest to each codeword, and their sum."""
    nearest = jnp.argmin(jnp.square(batch["x"][:, None] - params["codebook"][None]).sum(-1), axis=1)
    one_hot = jax.nn.one_hot(nearest, len(params["codebook"]))
    loss = jnp.square(batch["x"] @ params["theta"])
    return loss, {"square": loss}, {"counts": one_hot.sum(0), "sums": one_hot.T @ batch["x"]}


def test_statistics_are_sums_over_the_batch_by_every_reduction():
    params, _, batch, key = problem()
    params["codebook"] = batch["x"][:3]
    distances = np.square(np.asarray(batch["x"])[:, None] - np.asarray(batch["x"][:3])).sum(-1)
    counts = np.bincount(distances.argmin(1), minlength=3)
    for reduction in (gradients.whole_batch, gradients.ordered(1), gradients.ordered(8)):
        _, metrics, statistics = jax.jit(reduction(counting))(params, batch, key)
        assert set(metrics) == {"loss", "square"}
        np.testing.assert_array_equal(statistics["counts"], counts)
        np.testing.assert_allclose(statistics["sums"].sum(0), np.asarray(batch["x"]).sum(0), rtol=1e-5, atol=1e-5)


def test_refresh_folds_statistics_into_leaves_that_the_optimizer_leaves_alone():
    params, _, batch, key = problem()
    params["codebook"] = batch["x"][:3]
    optimizer = gradients.frozen(optax.adamw(0.1, weight_decay=0.5), "codebook")

    def refresh(params, statistics):
        return params | {"codebook": params["codebook"] + statistics["counts"][:, None]}

    update = gradients.updater(counting, optimizer, refresh=refresh)
    new, _, _ = jax.jit(update)(params, optimizer.init(params), batch, key)
    _, _, statistics = gradients.whole_batch(counting)(params, batch, key)
    np.testing.assert_array_equal(new["codebook"], params["codebook"] + statistics["counts"][:, None])
    # the first step of Adam moves each entry by the learning rate, against its gradient and its decay
    gradient = 2 * np.asarray(batch["x"]).T @ np.asarray(batch["x"] @ params["theta"]) / 24
    expected = np.asarray(params["theta"]) * (1 - 0.1 * 0.5) - 0.1 * np.sign(gradient)
    np.testing.assert_allclose(new["theta"], expected, rtol=1e-5)
