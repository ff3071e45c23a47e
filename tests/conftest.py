"""What every test runs under: silent broadcasting is an error, and no network or accelerator is assumed."""

import os
import zlib

# Most of the tests' time is XLA compiling functions that run once; experiments started by tests do not inherit this.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def float64():
    """Double precision, for gradient checks and closed forms."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key(request):
    """A key of the test's own: equal in every run, different from test to test."""
    return jax.random.key(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def no_key_reuse():
    """Makes the use of one key for two draws an error."""
    with jax.debug_key_reuse(True):
        yield
