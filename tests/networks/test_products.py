"""The product whose gradient in the kernel is taken in the faster order."""

import jax
import numpy as np
import pytest

from genjax.networks.products import product


@pytest.mark.parametrize(("channels", "features"), [(70, 30), (30, 70), (50, 50)])
def test_it_is_the_product_and_its_gradient_has_no_more_rows_than_columns(channels, features, draw):
    x, kernel, dy = draw(110, 2, channels), draw(channels, features), draw(110, 2, features)

    @jax.jit
    def value_and_gradients(x, kernel, dy):
        y, pullback = jax.vjp(product, x, kernel)
        return y, *pullback(dy)

    y, dx, dkernel = value_and_gradients(x, kernel, dy)
    np.testing.assert_allclose(y, np.einsum("abc,co->abo", x, kernel), atol=1e-4)
    np.testing.assert_allclose(dx, np.einsum("abo,co->abc", dy, kernel), atol=1e-4)
    np.testing.assert_allclose(dkernel, np.einsum("abc,abo->co", x, dy), atol=1e-4)
    program = str(value_and_gradients.lower(x, kernel, dy).compile().as_text())
    assert f"[{min(channels, features)},{max(channels, features)}]{{1,0}} dot(" in program
    assert channels == features or f"[{max(channels, features)},{min(channels, features)}]{{1,0}} dot(" not in program
