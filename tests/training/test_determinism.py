"""What is settled before the backend starts, and what is refused afterwards."""

import json
import os
import subprocess
import sys

import pytest

from genjax.training import determinism


def python(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


START = "import jax; jax.devices()\nfrom genjax.training import determinism; determinism.set_up({})"


@pytest.mark.parametrize(
    ("environment", "arguments", "said"),
    [
        ({"NPROC": "2"}, "", "NPROC, XLA's number of CPU threads, is 2 and not 4; call"),
        ({"NPROC": "4"}, "cpu_threads=2", "NPROC, XLA's number of CPU threads, is 4 and not 2; call"),
    ],
)
def test_after_the_backend_has_started_other_settings_are_an_error(environment, arguments, said):
    result = python(START.format(arguments), **environment)
    assert result.returncode == 1
    assert "BadInput: JAX's backend is already running with other settings: " in result.stderr
    assert said in result.stderr.splitlines()[-1]


def test_after_the_backend_has_started_the_same_settings_are_accepted():
    result = python(START.format("cpu_threads=3"), NPROC="3")
    assert result.returncode == 0, result.stderr
    twice = "from genjax.training import determinism; determinism.set_up(); import jax; jax.devices()\n"
    assert python(twice + "determinism.set_up()").returncode == 0
    assert python(twice + "determinism.set_up(cpu_threads=5)").returncode == 1


def test_the_settings_in_force_are_their_defaults_until_somebody_changes_them():
    show = "import json; from genjax.training import determinism; print(json.dumps(determinism.jax_settings()))"
    assert json.loads(python(show).stdout) == determinism.JAX_SETTINGS
    changed = {"JAX_ENABLE_X64": "1", "JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_NUMPY_DTYPE_PROMOTION": "strict"}
    seen = json.loads(python(show, **changed).stdout)
    assert {name for name, value in seen.items() if value != determinism.JAX_SETTINGS[name]} == {
        name.lower() for name in changed
    }


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
