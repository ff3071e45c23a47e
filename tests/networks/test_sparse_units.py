"""Encoders of sparse codes: against loops, and pseudo-derivatives against the derivatives of exact means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import losses, networks

B, D, UNITS = 5, 3, 6
NETWORK = networks.affine((D,), (UNITS,))


@pytest.fixture
def x(key):
    return jax.random.normal(key, (B, D))


def preactivation(params, x):
    return np.asarray(x) @ np.asarray(params["layer_1"]["kernel"]) + np.asarray(params["layer_1"]["bias"])


def test_units_without_parameters(x, key):
    params = NETWORK.init(key)
    a = np.maximum(preactivation(params, x), 0)
    l1 = networks.l1_units(NETWORK, losses.code_l1)
    code = l1.train(params, x)
    np.testing.assert_allclose(code.z, a, atol=1e-6)
    np.testing.assert_allclose(l1.apply(params, x), a, atol=1e-6)
    np.testing.assert_allclose(code.penalty["code_l1"], a.sum(axis=1) / 2, rtol=1e-6)
    top = networks.top_k_units(NETWORK, k=2)
    expected = np.where(a >= np.sort(a, axis=1)[:, -2:-1], a, 0)
    np.testing.assert_allclose(top.train(params, x).z, expected, atol=1e-6)
    np.testing.assert_allclose(top.apply(params, x), expected, atol=1e-6)
    assert top.train(params, x).penalty == {}


@pytest.mark.parametrize(
    "units",
    [networks.jump_relu_units, networks.gated_units, lambda network, num: networks.batch_top_k_units(network, k=2)],
)
def test_parameters_have_a_type_of_their_own(units, key):
    # of a weak one the first update makes another, and the step is compiled again
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(units(NETWORK, UNITS).init(key)))


def test_the_largest_of_a_batch(key):
    z = jax.random.uniform(key, (4, 5))
    kept = np.asarray(networks.batch_top_k(z, k=2))
    assert (kept != 0).sum() == 8
    assert kept[kept != 0].min() >= np.asarray(z)[kept == 0].max()
    np.testing.assert_array_equal(kept[kept != 0], np.asarray(z)[kept != 0])
    one = z[:1]
    np.testing.assert_array_equal(networks.batch_top_k(one, k=3), networks.k_sparse(one, k=3))
    for k in (0, 6):
        with pytest.raises(ValueError, match=f"between 1 and the code's 5 units; got {k}"):
            networks.batch_top_k(z, k=k)


def test_the_threshold_of_batch_top_k_is_the_mean_of_the_smallest_active_units(key):
    units = networks.batch_top_k_units(NETWORK, k=2, decay=0.75)
    params, expected = units.init(key), 0.0
    for number, batch_key in enumerate(jax.random.split(key, 6), start=1):
        x = jax.random.normal(batch_key, (B, D))
        code = units.train(params, x)
        z = np.asarray(code.z)
        weight = max(0.25, 1 / number)
        expected += weight * (z[z > 0].min() - expected)
        # as the sums of two shards would be: half of each
        both = jax.tree.map(lambda a: a + a, code.statistics)
        params = units.refresh(params, both if number % 2 else code.statistics)
    np.testing.assert_allclose(params["threshold"], expected, rtol=1e-5)
    a = preactivation(params["network"], x)
    np.testing.assert_allclose(units.apply(params, x), np.where(a > expected, a, 0), atol=1e-6)
    assert set(units.frozen) == {"threshold", "num_batches"}
    nothing = units.train(params, jnp.zeros((B, D)))  # relu(0) is not active
    assert float(nothing.statistics["smallest"]) == 0 and not np.any(nothing.z)


def test_jump_relu_passes_what_exceeds_its_threshold(float64):
    a, threshold = jnp.array([[-1.0, 0.4, 0.5, 0.6, 2.0]]), jnp.full((1, 5), 0.5)
    np.testing.assert_array_equal(networks.jump_relu(a, threshold, 0.1), [[0, 0, 0, 0.6, 2.0]])
    np.testing.assert_array_equal(networks.step_above(a, threshold, 0.1), [[0, 0, 0, 1, 1]])
    slopes = jax.grad(lambda a: networks.jump_relu(a, threshold, 0.1).sum())(a)
    np.testing.assert_array_equal(slopes, [[0, 0, 0, 1, 1]])
    assert not np.any(jax.grad(lambda a: networks.step_above(a, threshold, 0.1).sum())(a))


@pytest.mark.parametrize("threshold", [0.3, 1.0])
def test_pseudo_derivatives_are_those_of_means(threshold, float64):
    """For a ~ N(.2, 1), E[(c - z)^2] has the slope (c^2 - (c - theta)^2) p(theta), and E[1[a > theta]] -p(theta)."""
    p, c, bandwidth = stats.norm(0.2, 1).pdf, 0.7, 0.02

    # where the pseudo-derivatives are not 0, by the midpoint rule
    a = threshold + bandwidth * ((jnp.arange(1000) + 0.5) / 1000 - 0.5)

    def mean_slope(value):
        slopes = jax.grad(lambda t: value(a, t).sum())(jnp.full(1000, threshold))
        return float(np.mean(slopes * p(np.asarray(a))) * bandwidth)

    found = mean_slope(lambda a, t: (c - networks.jump_relu(a, t, bandwidth)) ** 2)
    assert found == pytest.approx((c**2 - (c - threshold) ** 2) * p(threshold), rel=0.01)
    found = mean_slope(lambda a, t: networks.step_above(a, t, bandwidth))
    assert found == pytest.approx(-p(threshold), rel=1e-3)


def test_jump_relu_units_count_the_active(x, key):
    units = networks.jump_relu_units(NETWORK, UNITS, bandwidth=0.5, initial_threshold=0.2)
    params = units.init(key)
    np.testing.assert_allclose(np.exp(params["log_threshold"]), 0.2, rtol=1e-6)
    params = params | {"log_threshold": jnp.log(jnp.linspace(0.1, 0.6, UNITS))}
    a, threshold = preactivation(params["network"], x), np.linspace(0.1, 0.6, UNITS)
    code = units.train(params, x)
    expected = np.where(a > threshold, a, 0)
    np.testing.assert_allclose(code.z, expected, atol=1e-6)
    np.testing.assert_allclose(units.apply(params, x), expected, atol=1e-6)
    np.testing.assert_array_equal(code.penalty["l0"], (a > threshold).sum(axis=1))
    slope = jax.grad(lambda p: units.train(p, x).penalty["l0"].sum())(params)
    near = (np.abs(a - threshold) < 0.25).sum(axis=0)
    np.testing.assert_allclose(slope["log_threshold"], -near / 0.5 * threshold, rtol=1e-5)  # of e^t


def test_gated_units_have_gates_and_sizes(x, key):
    units = networks.gated_units(NETWORK, UNITS)
    params = units.init(key)
    for name, value in (("gate_bias", 0.1), ("log_scale", 0.5), ("size_bias", -0.2)):
        params[name] = jnp.linspace(-value, value, UNITS)
    a = preactivation(params["network"], x)
    gate = a + np.asarray(params["gate_bias"])
    size = np.maximum(np.exp(params["log_scale"]) * a + np.asarray(params["size_bias"]), 0)
    code = units.train(params, x)
    np.testing.assert_allclose(code.z, np.where(gate > 0, size, 0), atol=1e-6)
    np.testing.assert_allclose(units.apply(params, x), code.z, atol=1e-6)
    np.testing.assert_allclose(code.gate, np.maximum(gate, 0), atol=1e-6)
    np.testing.assert_allclose(code.penalty["gate_l1"], np.maximum(gate, 0).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(code.preactivation, gate, atol=1e-6)
    slopes = jax.grad(lambda p: units.train(p, x).z.sum())(params)
    assert not np.any(slopes["gate_bias"])  # through its penalty and its reconstruction alone
