"""What is settled before the backend starts, and that it is too late afterwards."""

import subprocess
import sys

import pytest


def python(code, **environment):
    import os

    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_it_is_an_error_after_the_backend_has_started():
    result = python("import jax; jax.devices()\nfrom genjax.training import determinism; determinism.set_up()")
    assert result.returncode == 1
    assert "RuntimeError: determinism.set_up came too late" in result.stderr


@pytest.mark.parametrize("before", ["", "--xla_cpu_enable_fast_math=false", "--xla_gpu_deterministic_ops=false"])
def test_the_thread_pool_and_the_kernels_are_pinned(before):
    result = python(
        "import os\nfrom genjax.training import determinism; determinism.set_up(cpu_threads=3)\n"
        "import jax; jax.devices(); print(os.environ['NPROC'], os.environ['XLA_FLAGS'])",
        XLA_FLAGS=before,
        NPROC="17",
    )
    assert result.returncode == 0, result.stderr
    threads, *flags = result.stdout.split()
    assert threads == "3"
    # what the user has set stays, also where it is the opposite
    assert set(before.split()) <= set(flags)
    assert len([flag for flag in flags if "deterministic_ops" in flag]) == 1
