"""The optimizer of the shared flags against updates by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import runs
from genjax.errors import BadInput
from genjax.runs import optimisation

PARAMS = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5])}
GRADIENT = {"kernel": jnp.array([[3.0, 4.0]]), "bias": jnp.array([12.0])}


def flags_of(**given):
    return runs.Flags(**(dict(num_steps=100, batch_size=4, learning_rate=0.1) | given))


def updates(flags, num=1, gradient=GRADIENT, **options) -> list[Any]:
    """The updates of `num` steps with the same gradient."""
    optimizer, params, found = optimisation.optimizer(flags, **options), PARAMS, []
    state = optimizer.init(params)
    for _ in range(num):
        step, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, step)
        found.append(jax.tree.map(np.asarray, step))
    return found


def test_adam_by_default_moves_by_the_learning_rate():
    (step,) = updates(flags_of())
    np.testing.assert_allclose(step["kernel"], [[-0.1, -0.1]], rtol=1e-5)


def test_sgd_with_momentum_by_its_options():
    first, second = updates(flags_of(optimizer="sgd", optimizer_options=("momentum=0.9",)), 2)
    np.testing.assert_allclose(first["kernel"], -0.1 * GRADIENT["kernel"], rtol=1e-6)
    np.testing.assert_allclose(second["kernel"], -0.1 * 1.9 * GRADIENT["kernel"], rtol=1e-6)
    nesterov, _ = updates(flags_of(optimizer="sgd", optimizer_options=("momentum=0.9", "nesterov=true")), 2)
    np.testing.assert_allclose(nesterov["kernel"], -0.1 * 1.9 * GRADIENT["kernel"], rtol=1e-6)


def test_lion_moves_by_signs_and_any_name_of_optax_is_taken():
    (step,) = updates(flags_of(optimizer="lion", learning_rate=0.01))
    np.testing.assert_allclose(step["kernel"], [[-0.01, -0.01]], rtol=1e-6)
    for name in ("adabelief", "adamax", "lamb", "nadam", "rmsprop", "adafactor"):
        assert np.isfinite(updates(flags_of(optimizer=name))[0]["bias"]).all()


def test_a_pages_options_are_defaults_of_its_optimizer_alone():
    # the first step of Adam with a large epsilon: lr g / (|g| + eps)
    (step,) = updates(flags_of(), eps=4.0)
    np.testing.assert_allclose(step["kernel"], [[-0.1 * 3 / 7, -0.1 * 4 / 8]], rtol=1e-5)
    (given,) = updates(flags_of(optimizer_options=("eps=1e-8",)), eps=4.0)
    np.testing.assert_allclose(given["kernel"], [[-0.1, -0.1]], rtol=1e-5)
    (other,) = updates(flags_of(optimizer="sgd"), eps=4.0)
    np.testing.assert_allclose(other["bias"], [-1.2], rtol=1e-6)


def test_decoupled_decay_leaves_biases_out_unless_asked():
    (plain,), (decayed,) = updates(flags_of()), updates(flags_of(optimizer="adamw", weight_decay=0.5))
    np.testing.assert_allclose(decayed["kernel"] - plain["kernel"], -0.1 * 0.5 * PARAMS["kernel"], rtol=1e-5)
    np.testing.assert_array_equal(decayed["bias"], plain["bias"])
    (all_of_them,) = updates(flags_of(optimizer="adamw", weight_decay=0.5, decay_biases=True))
    np.testing.assert_allclose(all_of_them["bias"] - plain["bias"], -0.1 * 0.5 * PARAMS["bias"], rtol=1e-4)
    (none,) = updates(flags_of(optimizer="adamw"))
    np.testing.assert_array_equal(none["kernel"], plain["kernel"])


def test_decay_is_added_to_the_gradient_where_the_optimizer_has_none():
    (step,) = updates(flags_of(optimizer="sgd", weight_decay=0.5))
    np.testing.assert_allclose(step["kernel"], -0.1 * (GRADIENT["kernel"] + 0.5 * PARAMS["kernel"]), rtol=1e-6)
    np.testing.assert_allclose(step["bias"], -0.1 * GRADIENT["bias"], rtol=1e-6)


def test_stacked_biases_are_not_decayed_either():
    stacked: dict[str, Any] = {name: jnp.stack([a, 2 * a]) for name, a in PARAMS.items()}
    for name in ("sgd", "adamw"):
        optimizer = optimisation.optimizer(flags_of(optimizer=name, weight_decay=0.5), ensemble=True)
        zero = {name: jnp.zeros_like(a) for name, a in stacked.items()}
        step: Any = optimizer.update(zero, optimizer.init(stacked), stacked)[0]
        np.testing.assert_allclose(step["kernel"], -0.1 * 0.5 * stacked["kernel"], rtol=1e-6)
        np.testing.assert_array_equal(step["bias"], zero["bias"])


def test_clipping_is_by_the_global_norm_of_all_arrays():
    # |(3, 4, 12)| = 13
    (step,) = updates(flags_of(optimizer="sgd", clip_norm=6.5))
    np.testing.assert_allclose(step["kernel"], -0.1 * GRADIENT["kernel"] / 2, rtol=1e-6)
    (untouched,) = updates(flags_of(optimizer="sgd", clip_norm=14.0))
    np.testing.assert_allclose(untouched["bias"], [-1.2], rtol=1e-6)


def test_accumulation_updates_once_by_the_mean():
    flags = flags_of(optimizer="sgd", accumulate_steps=2)
    optimizer = optimisation.optimizer(flags)
    state = optimizer.init(PARAMS)
    first: Any
    second: Any
    first, state = optimizer.update(GRADIENT, state, PARAMS)
    second, state = optimizer.update(jax.tree.map(lambda g: 3 * g, GRADIENT), state, PARAMS)
    np.testing.assert_array_equal(first["kernel"], 0 * PARAMS["kernel"])
    np.testing.assert_allclose(second["kernel"], -0.1 * 2 * GRADIENT["kernel"], rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "steps", "expected"),
    [
        (dict(learning_rate_schedule="constant"), [0, 50, 100], [1, 1, 1]),
        (dict(learning_rate_schedule="cosine"), [0, 25, 50, 100, 150], [1, (1 + np.cos(np.pi / 4)) / 2, 0.5, 0, 0]),
        (dict(learning_rate_schedule="cosine", final_learning_rate=0.2), [0, 50, 100], [1, 0.6, 0.2]),
        (dict(learning_rate_schedule="linear"), [0, 25, 100], [1, 0.75, 0]),
        (dict(learning_rate_schedule="exponential", final_learning_rate=0.01), [0, 50, 100], [1, 0.1, 0.01]),
        (dict(learning_rate_schedule="constant", learning_rate_warm_up=10), [0, 5, 10, 99], [0, 0.5, 1, 1]),
        (dict(learning_rate_schedule="linear", learning_rate_warm_up=20), [10, 20, 60, 100], [0.5, 1, 0.5, 0]),
        # a schedule counts updates, of which there is one per two batches
        (dict(learning_rate_schedule="linear", accumulate_steps=2), [0, 25, 50], [1, 0.5, 0]),
    ],
)
def test_schedules(given, steps, expected):
    rate = optimisation.schedule(flags_of(**given))
    values = [rate(step) if callable(rate) else rate for step in steps]
    np.testing.assert_allclose(values, 0.1 * np.array(expected), rtol=1e-5, atol=1e-9)


def test_warm_up_before_a_cosine_is_optaxs_own():
    rate = optimisation.schedule(flags_of(learning_rate_schedule="cosine", learning_rate_warm_up=20))
    own = optax.warmup_cosine_decay_schedule(0.0, 0.1, 20, 100)
    assert callable(rate)
    np.testing.assert_array_equal([rate(s) for s in range(110)], [own(s) for s in range(110)])


def test_a_schedule_of_the_page_warms_up_too():
    rate = optimisation.schedule(flags_of(learning_rate_warm_up=10), learning_rate=lambda step: 1.0 - step / 100)
    assert callable(rate)
    np.testing.assert_allclose([rate(0), rate(5), rate(10), rate(50)], [0, 0.5 * 0.95, 0.9, 0.5], rtol=1e-6)


def test_the_optimizer_follows_its_schedule():
    steps = updates(flags_of(optimizer="sgd", learning_rate_schedule="linear", num_steps=4), 4)
    np.testing.assert_allclose([step["bias"][0] for step in steps], -1.2 * np.array([1, 0.75, 0.5, 0.25]), rtol=1e-6)
    longer = updates(
        flags_of(optimizer="sgd", learning_rate_schedule="linear", num_steps=4), 2, num_updates=8, learning_rate=1.0
    )
    np.testing.assert_allclose([step["bias"][0] for step in longer], [-12, -12 * 7 / 8], rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (dict(optimizer="adm"), "optimizer: expected an optimizer of Optax.* not 'adm'"),
        (dict(accumulate_steps=101), "accumulate_steps: 101 is more than the 100 batches of the run"),
        (dict(optimizer="chain"), "optimizer: expected an optimizer of Optax.* not 'chain'"),
        (dict(optimizer_options=("momentum=0.9",)), "optimizer_options: adam takes learning_rate, b1.* not momentum"),
        (dict(optimizer_options=("b1",)), "optimizer_options: expected NAME=VALUE.* not 'b1'"),
        (dict(optimizer_options=("b1=__import__('os')",)), "expected NAME=VALUE"),
        (
            dict(learning_rate_schedule="exponential"),
            "learning_rate_schedule: exponential needs a `final_learning_rate` above 0",
        ),
    ],
)
def test_what_optax_does_not_have_is_refused(given, line):
    with pytest.raises(BadInput, match=line):
        optimisation.optimizer(flags_of(**given))
