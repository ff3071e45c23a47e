"""Guards: what they refuse, the names and shapes in their message, and that they also work while tracing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import shapes


def test_shapes_that_differ_are_named():
    x, y = np.zeros((2, 3)), np.zeros((2, 1))
    shapes.check_same_shape(x=x, y=x, z=jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^x, y need the same shape; got x \(2, 3\), y \(2, 1\)$"):
        shapes.check_same_shape(x=x, y=y)
    with pytest.raises(ValueError, match=r"y \(2, 1\)"):
        jax.jit(lambda x, y: shapes.check_same_shape(x=x, y=y))(x, y)
    shapes.check_same_shape(x=(x, y), y=(x, y))
    for other in ((x, x), (x,), x):
        with pytest.raises(ValueError, match="maps, wanted need"):
            shapes.check_same_shape(maps=(x, y), wanted=other)


def test_another_number_of_axes_is_named():
    shapes.check_rank(2, x=np.zeros((2, 3)), y=np.zeros((1, 1)))
    with pytest.raises(ValueError, match=r"^the number of axes must be 1; got x \(4,\), y \(2, 3\)$"):
        shapes.check_rank(1, x=np.zeros(4), y=np.zeros((2, 3)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, bool])
def test_integers_become_floats(dtype):
    found = shapes.as_float(np.array([0, 1, 100], dtype))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.array([0, 1, 100], dtype).astype(np.float64))


def test_floats_are_returned_as_they_are():
    for x in (jnp.zeros(2), jnp.zeros(2, jnp.bfloat16)):
        assert shapes.as_float(x) is x
    assert shapes.as_float(1.5) == 1.5 and shapes.as_float(1.5).weak_type


def test_numpys_floats_become_jaxs():
    found = shapes.as_float(np.array([1.5, 1e-39]))
    assert isinstance(found, jax.Array) and found.dtype == jnp.float32
