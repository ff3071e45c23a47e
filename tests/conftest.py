"""What every test runs under: silent broadcasting is an error, and no network or accelerator is assumed."""

import contextlib
import functools
import gc
import os
import signal
import zlib

import jax
import pytest

from tests import programs

# Most of the tests' time is XLA compiling functions that run once. Tests of bits run under no flags.
QUICK = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if jax.__version_info__ < (0, 11):  # later releases know it no longer
    QUICK.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join(QUICK)
gc.set_threshold(100_000, 50, 100)  # tracing makes many objects that live: looking through them took a tenth of it
jax.config.update("jax_numpy_rank_promotion", "raise")
# JAX makes an MLIR context with all dialects for every program that it lowers: a third of the time of a small one.
with contextlib.suppress(ImportError, AttributeError):  # a private name, without which the tests only take longer
    from jax._src.interpreters import mlir

    mlir.make_ir_context = functools.cache(mlir.make_ir_context)
programs.share()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as it is in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the processes that tests start then have the default


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
