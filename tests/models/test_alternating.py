"""Players of a quadratic game, whose turns are computed by hand in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients
from genjax.models import alternating, moving_average
from genjax.models.alternating import Player
from genjax.types import Batch

B = np.array([1.0, -2.0, 0.5, 3.0, 2.0, -0.5, 1.5, 4.0, 2.5, -1.0, 0.0, 2.0])
BATCH = Batch(jnp.array(B, jnp.float32))
RATES = {"x": 0.3, "y": 0.1}


def init_params(key):
    return {"x": jnp.array(1.5), "y": jnp.array(-2.0)}


def of_x(x, others, batch, key):
    """1/2 x^2 + x y (b + e), e ~ N(0, 1): its gradient is x + y (b + e)."""
    b = batch.x + jax.random.normal(key, batch.x.shape)
    loss = 0.5 * x**2 + x * others["y"] * b
    return loss, {"x_loss": loss}


def of_y(y, others, batch, key):
    """1/2 y^2 - x y (b + e): its gradient is y - x (b + e)."""
    b = batch.x + jax.random.normal(key, batch.x.shape)
    loss = 0.5 * y**2 - y * others["x"] * b
    return loss, {"y_loss": loss}


def players(x={}, y={}):  # noqa: B006
    return [Player("x", of_x, optax.sgd(RATES["x"]), **x), Player("y", of_y, optax.sgd(RATES["y"]), **y)]


def gradient_of_x(x, y, b):
    return x + y * np.mean(b)


def gradient_of_y(x, y, b):
    return y - x * np.mean(b)


def noisy(b, key):
    return b + np.asarray(jax.random.normal(key, b.shape))


def stepped(model, num=1, key=None, batch=BATCH):
    state, step = model.init(jax.random.key(0)), jax.jit(model.train_step)
    for _ in range(num):
        state, metrics = step(state, batch, key)
    return state, metrics


def test_turns_by_hand(key):
    # the first player against the second's old params, the second against the first's new ones, with keys of their own
    state, metrics = stepped(alternating.model(init_params, players()), num=2, key=key)
    x, y = 1.5, -2.0
    for step in range(2):
        x_key, y_key = jax.random.split(jax.random.fold_in(key, step))
        b_x, b_y = noisy(B, x_key), noisy(B, y_key)
        x_loss = np.mean(0.5 * x**2 + x * y * b_x)
        x -= 0.3 * gradient_of_x(x, y, b_x)
        y_loss = np.mean(0.5 * y**2 - x * y * b_y)
        y -= 0.1 * gradient_of_y(x, y, b_y)
    np.testing.assert_allclose([state.params["x"], state.params["y"]], [x, y], rtol=1e-5)
    np.testing.assert_allclose(metrics["x_loss"], x_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["y_loss"], y_loss, rtol=1e-5)
    assert metrics["loss"] == metrics["y_loss"]  # the last player's
    assert int(state.step) == 2


@pytest.mark.parametrize("y_steps", [None, 1, 2])
def test_a_turn_of_several_updates_cuts_the_batch(key, y_steps):
    # x moves on thirds of the batch; y then on the last third and its own key, or on parts of the whole batch
    made = players({"steps": 3}, {"steps": y_steps})
    state, metrics = stepped(alternating.model(init_params, made), key=key)
    x_key, y_key = jax.random.split(jax.random.fold_in(key, 0))
    x, y, losses = 1.5, -2.0, []
    for part, part_key in zip(np.split(B, 3), jax.random.split(x_key, 3), strict=True):
        b = noisy(part, part_key)
        losses.append(np.mean(0.5 * x**2 + x * y * b))
        x -= 0.3 * gradient_of_x(x, y, b)
    given = [(B[8:], y_key)]
    if y_steps is not None:
        given = zip(np.split(B, y_steps), jax.random.split(y_key, y_steps), strict=True)
    for part, part_key in given:
        y -= 0.1 * gradient_of_y(x, y, noisy(part, part_key))
    np.testing.assert_allclose([state.params["x"], state.params["y"]], [x, y], rtol=1e-5)
    np.testing.assert_allclose(metrics["x_loss"], np.mean(losses), rtol=1e-5)  # the mean over the turn


@pytest.mark.parametrize(("still", "moving"), [("x", "y"), ("y", "x")])
def test_a_turn_leaves_the_other_players_alone(key, still, moving):
    made = [p._replace(optimizer=optax.sgd(0.0)) if p.name == still else p for p in players({"steps": 2})]
    model = alternating.model(init_params, made)
    start, (state, _) = model.init(key), stepped(model, num=2, key=key)
    assert state.params[still] == start.params[still] and state.params[moving] != start.params[moving]


@pytest.mark.parametrize("reduction", [gradients.whole_batch, gradients.ordered(2)], ids=["whole", "ordered"])
def test_refresh_takes_the_sums_of_each_update_after_it(reduction):
    def counted(x, others, batch, key):
        loss = 0.5 * x**2 + 0 * batch.x
        return loss, {"x_loss": loss}, jnp.sum(batch.x)

    first = Player("x", counted, optax.sgd(0.5), steps=2, refresh=lambda x, total: x + total)
    state, _ = stepped(
        alternating.model(init_params, [first, players()[1]], reduction=reduction), key=jax.random.key(0)
    )
    np.testing.assert_allclose(state.params["x"], (1.5 / 2 + B[:6].sum()) / 2 + B[6:].sum(), rtol=1e-6)


def test_frozen_params_are_shown_to_all_and_stay(key):
    def towards(name):
        def objective(own, others, batch, key):
            loss = 0.5 * (own - others["goal"]) ** 2 + 0 * batch.x
            return loss, {f"{name}_loss": loss}

        return Player(name, objective, optax.sgd(1.0))

    goal = jnp.array(7.0)
    model = alternating.model(init_params, [towards("x"), towards("y")], frozen={"goal": goal})
    state, _ = jax.jit(model.train_step, donate_argnums=0)(model.init(key), BATCH, key)
    assert state.params == {"x": 7, "y": 7} and state.frozen == {"goal": 7}
    assert goal == 7  # the caller's array was not donated with the state


def test_an_average_is_kept_by_those_who_ask_for_one_and_used_to_evaluate(key):
    weight = moving_average.discounted(0.5)
    model = alternating.model(init_params, players(y={"averaging": weight}))
    state, step = model.init(key), jax.jit(model.train_step)
    average = -2.0
    for t in range(1, 13):
        state, _ = step(state, BATCH, key)
        w = max(0.5, 9 / (9 + t))
        average = (1 - w) * average + w * float(state.params["y"])
    assert set(state.average) == {"y"}
    np.testing.assert_allclose(state.average["y"], average, rtol=1e-5)
    assert abs(average - float(state.params["y"])) > 1e-3
    assert state.evaluation_params == {"x": state.params["x"], "y": state.average["y"]}
    found = model.evaluate(state, BATCH, key)
    x, y = float(state.params["x"]), average
    b_x, b_y = (noisy(B, k) for k in jax.random.split(key))
    np.testing.assert_allclose(found["x_loss"], np.mean(0.5 * x**2 + x * y * b_x), rtol=1e-4)
    np.testing.assert_allclose(found["y_loss"], np.mean(0.5 * y**2 - x * y * b_y), rtol=1e-4)
    assert found["loss"] == found["y_loss"]


def test_two_players_of_the_same_params_take_turns_with_optimizers_of_their_own(key):
    # x <- x - 0.3 g_x(x, y), y <- y - 0.1 g_y(y, x), v <- v / 2 + (x - b), x <- x - 0.2 v; the last x is averaged
    def towards_batch(x, others, batch, key):
        loss = 0.5 * (x - batch.x) ** 2 + 0 * others["y"]
        return loss, {"again_loss": loss}

    momentum = optax.sgd(0.2, momentum=0.5)
    again = Player("again", towards_batch, momentum, moves="x", averaging=moving_average.cumulative(0.9))
    model = alternating.model(init_params, [*players(), again])
    assert set(model.init(key).optimizer_states) == {"x", "y", "again"}
    state, metrics = stepped(model, num=2, key=key)
    x, y, v, kept = 1.5, -2.0, 0.0, []
    for step in range(2):
        x_key, y_key, _ = jax.random.split(jax.random.fold_in(key, step), 3)
        x -= 0.3 * gradient_of_x(x, y, noisy(B, x_key))
        y -= 0.1 * gradient_of_y(x, y, noisy(B, y_key))
        loss = np.mean(0.5 * (x - B) ** 2)
        v = v / 2 + x - np.mean(B)
        x -= 0.2 * v
        kept.append(x)
    assert set(state.params) == {"x", "y"} and set(state.average) == {"x"}
    np.testing.assert_allclose([state.params["x"], state.params["y"]], [x, y], rtol=1e-5)
    np.testing.assert_allclose(state.average["x"], np.mean(kept), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    found = model.evaluate(state, BATCH, key)["loss"]
    np.testing.assert_allclose(found, np.mean(0.5 * (np.mean(kept) - B) ** 2), rtol=1e-5)


def test_preparation_sees_the_state_and_has_the_first_key(key):
    def prepare(state, batch, key):
        return Batch(batch.x * state.frozen["scale"] + state.step + jax.random.normal(key))

    model = alternating.model(init_params, players(), prepare=prepare, frozen={"scale": jnp.array(2.0)})
    state, _ = stepped(model, num=2, key=key)
    x, y = 1.5, -2.0
    for step in range(2):
        prepare_key, x_key, y_key = jax.random.split(jax.random.fold_in(key, step), 3)
        b = 2 * B + step + float(jax.random.normal(prepare_key))
        x -= 0.3 * gradient_of_x(x, y, noisy(b, x_key))
        y -= 0.1 * gradient_of_y(x, y, noisy(b, y_key))
    np.testing.assert_allclose([state.params["x"], state.params["y"]], [x, y], rtol=1e-5)
    prepare_key, x_key, y_key = jax.random.split(key, 3)
    b = noisy(2 * B + 2 + float(jax.random.normal(prepare_key)), y_key)
    np.testing.assert_allclose(model.evaluate(state, BATCH, key)["loss"], np.mean(0.5 * y**2 - x * y * b), rtol=1e-4)


def test_without_options_the_state_has_no_arrays_for_them(key):
    state = alternating.model(init_params, players()).init(key)
    chex.assert_trees_all_equal(jax.tree.leaves(state), [jnp.zeros([], jnp.int32), *jax.tree.leaves(state.params)])


def test_what_cannot_be_is_refused(key):
    one, other = players()
    with pytest.raises(ValueError, match="distinct names"):
        alternating.model(init_params, [one, one])
    with pytest.raises(ValueError, match="distinct names"):
        alternating.model(init_params, [one, other], frozen={"x": jnp.zeros(())})
    with pytest.raises(ValueError, match="distinct names"):
        alternating.model(init_params, [one, other._replace(moves="goal")], frozen={"goal": jnp.zeros(())})
    averaged = [p._replace(averaging=moving_average.cumulative(0.9), moves="x") for p in (one, other)]
    with pytest.raises(ValueError, match="two players average the same params"):
        alternating.model(init_params, averaged)
    with pytest.raises(ValueError, match="12 examples cannot be divided into 5 equal parts"):
        stepped(alternating.model(init_params, players({"steps": 5})), key=key)
    named = other._replace(objective=lambda *args: (of_y(*args)[0], {"x_loss": of_y(*args)[0]}))
    with pytest.raises(ValueError, match="two players have metrics of the same name: x_loss"):
        stepped(alternating.model(init_params, [one, named]), key=key)
