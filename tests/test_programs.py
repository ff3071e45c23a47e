"""Equal programs are compiled once by the tests, and different ones are kept apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import compiler

from tests import programs

X = jnp.arange(3.0)


@pytest.fixture
def compiled(monkeypatch):
    """The names of the modules that are compiled, under a memory of two programs."""
    names, compile_anew = [], programs.inspect.unwrap(compiler.backend_compile_and_load)

    def noted(backend, module, *others):
        names.append(str(module.operation.attributes["sym_name"]).strip('"'))
        return compile_anew(backend, module, *others)

    monkeypatch.setattr(compiler, "backend_compile_and_load", programs.shared(noted, 2))
    return names


def product(factor, name="product", **options):
    """A function that JAX has not met, so that it lowers and compiles it."""

    def function(x):
        return factor * x

    function.__name__ = name
    return jax.jit(function, **options)


def test_the_tests_share_programs():
    assert compiler.backend_compile_and_load.__module__ == "jax._src.compiler"  # of what it wraps
    assert compiler.backend_compile_and_load.__code__.co_filename == programs.__file__


def test_equal_programs_are_compiled_once_and_others_are_kept_apart(compiled):
    np.testing.assert_array_equal(product(2.0)(X), [0, 2, 4])
    np.testing.assert_array_equal(product(2.0)(X), [0, 2, 4])  # from another line
    assert compiled == ["jit_product"]
    np.testing.assert_array_equal(product(3.0)(X), [0, 3, 6])
    np.testing.assert_array_equal(product(2.0)(jnp.arange(2.0)), [0, 2])
    assert compiled.count("jit_product") == 3


def test_how_a_program_is_compiled_is_part_of_it(compiled):
    product(2.0)(X)
    product(2.0).lower(X).compile(compiler_options={"xla_llvm_disable_expensive_passes": False})
    given = jax.device_put(np.arange(3, dtype=np.float32))  # which compiles nothing
    product(2.0, donate_argnums=0)(given)
    assert len(compiled) == 3 and given.is_deleted()


def test_programs_that_call_python_are_compiled_each_time(compiled):
    def called(x):
        return jax.pure_callback(lambda x: np.asarray(x) + step, x, x)

    for step in (1, 5):
        np.testing.assert_array_equal(jax.jit(lambda x: called(x))(X), np.arange(3) + step)
    assert len(compiled) == 2


def test_what_was_not_used_for_the_longest_time_is_forgotten(compiled):
    for factor in (2.0, 3.0, 2.0, 4.0, 2.0):  # 4 takes the place of 3
        product(factor)(X)
    assert len(compiled) == 3
    product(3.0)(X)
    assert len(compiled) == 4
