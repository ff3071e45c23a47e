"""Sums over active units by their places, against products with whole codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import networks

B, K, UNITS, DIM = 4, 3, 7, 5
DRAW = np.random.RandomState(0)
PLACES = np.argsort(DRAW.uniform(size=(B, UNITS)), axis=1)[:, :K]
VALUES, ROWS, X = (DRAW.normal(size=shape) for shape in ((B, K), (UNITS, DIM), (B, DIM)))


def whole(values):
    return jnp.zeros((B, UNITS), values.dtype).at[jnp.arange(B)[:, None], PLACES].set(values)


SUMS = {
    "sum_of_rows": (
        lambda values, rows: networks.sum_of_rows(values, PLACES, rows),
        lambda values, rows: whole(values) @ rows,
        (VALUES, ROWS),
    ),
    "products_with_rows": (
        lambda x, rows: networks.products_with_rows(x, PLACES, rows),
        lambda x, rows: jnp.take_along_axis(x @ rows.T, PLACES, axis=1),
        (X, ROWS),
    ),
    "sum_into_rows": (
        lambda values, x: networks.sum_into_rows(values, PLACES, x, UNITS),
        lambda values, x: whole(values).T @ x,
        (VALUES, X),
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_values_and_derivatives_are_those_of_whole_products(name, float64):
    by_place, by_product, arguments = SUMS[name]

    def of_slopes(function):
        """A function of the first derivatives, whose derivatives are of the second order."""
        return lambda *a: sum(jnp.sum(jnp.sin(s)) for s in jax.grad(lambda *b: jnp.sum(function(*b) ** 3), (0, 1))(*a))

    @jax.jit
    def both():
        a = [jnp.asarray(argument) for argument in arguments]
        return [(f(*a), *jax.grad(of_slopes(f), (0, 1))(*a)) for f in (by_place, by_product)]

    for ours, expected in zip(*both(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_a_dictionary_of_active_units_is_that_of_whole_codes(key):
    decoder = networks.dictionary(UNITS, (DIM, 1))
    params = decoder.init(key)
    params["layer_1"]["bias"] += 0.5
    values = VALUES.astype(np.float32)
    output = decoder.of_active(params, values, PLACES)
    np.testing.assert_allclose(output, decoder.apply(params, whole(values)), rtol=1e-5, atol=1e-6)
    kernel = np.asarray(params["layer_1"]["kernel"])
    atoms = kernel / np.linalg.norm(kernel, axis=1, keepdims=True)
    np.testing.assert_allclose(output[:, :, 0], whole(values) @ atoms + 0.5, rtol=1e-5, atol=1e-6)
