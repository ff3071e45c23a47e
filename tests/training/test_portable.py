"""Programs with the same bits on processors of different generations, against arithmetic by hand."""

import ctypes
import ctypes.util
import json
import os
import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from genjax.errors import BadInput
from genjax.training import portable
from tests import portable_hashes

PC = pytest.mark.skipif(platform.machine() != "x86_64", reason="promised for x86-64")


@pytest.fixture
def in_use():
    portable.use(True)
    yield
    portable.use(False)


def worker(*arguments, flags=""):
    """The worker's findings in a process of its own, with XLA's optimizer as users have it."""
    command = [sys.executable, "-m", "tests.training.portable_worker", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_chain_is_fmaf_of_the_c_library():
    fma = ctypes.CDLL(ctypes.util.find_library("m")).fmaf
    fma.restype, fma.argtypes = ctypes.c_float, [ctypes.c_float] * 3
    draw = np.random.RandomState(0)
    a, b = (draw.standard_normal(shape).astype(np.float32) for shape in ((3, 300), (300, 4)))
    a *= 10.0 ** draw.uniform(-6, 6, (1, 300)).astype(np.float32)
    by_hand = np.zeros((3, 4), np.float32)
    for k in range(300):
        by_hand = np.array([[fma(a[i, k], b[k, j], by_hand[i, j]) for j in range(4)] for i in range(3)], np.float32)
    np.testing.assert_array_equal(portable.chain(a, b), by_hand)


def test_chain_rounds_once_where_float64_rounds_twice():
    # the product is 2^-24 - 2^-60, so the sum is just below the middle of two float32; float64 rounds it to the middle,
    # which then goes to the even one above
    a = np.array([[1 + 2.0**-23, 2.0**-12 * (1 + 2.0**-18)]], np.float32)
    b = np.array([[1], [2.0**-12 * (1 - 2.0**-18)]], np.float32)
    assert (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)[0, 0] == np.float32(1 + 2.0**-22)
    assert portable.chain(a, b)[0, 0] == np.float32(1 + 2.0**-23)


@pytest.mark.parametrize(
    ("formula", "shapes"),
    [
        ("ij,jk->ik", ((3, 5), (5, 4))),
        ("ji,kj->ik", ((5, 3), (4, 5))),
        ("bimh,bjmh->bmij", ((2, 3, 2, 5), (2, 4, 2, 5))),
        ("abc,bcd->ad", ((2, 3, 4), (3, 4, 5))),
        ("i,i->", ((7,), (7,))),
        ("ij,jk->ik", ((3, 0), (0, 4))),
    ],
)
def test_every_form_of_product_is_that_of_numpy(in_use, key, formula, shapes):
    a, b = (jax.random.normal(k, s) for k, s in zip(jax.random.split(key), shapes, strict=True))
    product = jax.jit(lambda a, b: jnp.einsum(formula, a, b))
    assert "dot" not in product.lower(a, b).as_text().replace("dot_general_", "")
    np.testing.assert_allclose(product(a, b), np.einsum(formula, a, b), rtol=1e-5, atol=1e-5)


def test_derivatives_of_any_order_and_mode(in_use, float64, key):
    w = jax.random.normal(key, (5, 3), jnp.float64)
    x = jnp.linspace(1.0, 2.0, 10).reshape(2, 5)
    check_grads(lambda x, w: jax.lax.rsqrt(1 + jnp.square(x @ w)), (x, w), order=2)


def test_switching_off_restores_the_programs_of_jax():
    a = jnp.ones((4, 4))
    product = jax.jit(lambda a: a @ a)
    before = product.lower(a).as_text()
    portable.use(True)
    assert "dot_general" not in product.lower(a).as_text()
    portable.use(False)
    assert product.lower(a).as_text() == before


def test_what_a_library_computes_is_refused(in_use):
    with pytest.raises(BadInput, match="uses cholesky, whose bits"):
        portable.check(jax.jit(lambda a: jnp.linalg.cholesky(a)), jnp.eye(3))


def test_products_in_loops_and_branches_are_found():
    def looped(a):
        a = jax.lax.scan(lambda a, _: (jax.lax.cond(a[0, 0] > 0, lambda a: a @ a, lambda a: a, a), None), a, None, 2)[0]
        return jax.vmap(lambda row: row @ a)(a)

    equations = list(portable._equations(jax.make_jaxpr(looped)(jnp.ones((3, 3))).jaxpr))
    assert portable.shapes(equations) == [portable.Shape(1, 3, 3, 3)]


def test_a_machine_that_goes_another_way_says_so(in_use):
    # under XLA's optimizer turned down, as in these tests, nothing is contracted
    with pytest.raises(BadInput, match=r"\[2, 64\] @ \[64, 3\] is not a chain of fused multiply-adds"):
        portable.check(lambda a, b: a @ b, jnp.ones((2, 64)), jnp.ones((64, 3)))


@PC
def test_short_products_and_roots_are_as_specified():
    found = worker(4, "portable")
    assert not found["wrong"]
    assert found["roots"] == {"rsqrt": True, "reciprocal": True}
    assert worker(4, "default")["wrong"]  # the test can fail


@PC
@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 4, 8])
def test_products_of_models_are_as_specified_on_any_number_of_threads(threads):
    found = worker(threads, "portable", "all")
    assert found["products"] > 30
    assert not found["wrong"]


@PC
@pytest.mark.slow
@pytest.mark.parametrize("flags", ["--xla_cpu_max_isa=AVX2", "--xla_cpu_prefer_vector_width=128"])
def test_narrower_vectors_change_nothing(flags):
    assert worker(4, "portable", "all", flags=flags) == worker(4, "portable", "all")


@PC
@pytest.mark.slow
def test_without_fused_multiply_add_no_product_is_a_chain():
    assert worker(4, "portable", flags="--xla_cpu_max_isa=AVX")["wrong"]


@PC
@pytest.mark.slow
@pytest.mark.parametrize("name", portable_hashes.RUNS)
def test_runs_have_one_hash_on_every_processor(name):
    known = portable_hashes.KNOWN.get(jax.__version__, {})
    if name not in known:
        pytest.skip(f"no hash is recorded for jax {jax.__version__}")
    assert portable_hashes.trained(name) == known[name], (
        "if the code of this run has changed, record the new hash; otherwise this processor (or the C library, or the "
        "version of NumPy that makes the data) breaks the promise of --portable_bits: see which operation in "
        "tests/training/portable_worker.py differs"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["autoencoder", "vae"])  # with a schedule of the learning rate, and without
def test_training_in_one_process_gives_the_hash_of_the_run(name):
    command = [sys.executable, "-m", "tests.portable_hashes", f"--only={name}", "--num_steps=3"]
    environment = portable_hashes.user_environment()
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert printed.split()[-1] == portable_hashes.trained(name, num_steps=3)
