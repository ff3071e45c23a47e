"""Programs whose bits are the same on x86-64 processors of different generations.

XLA's libraries for matrix products choose the order of a sum by the processor's vector width and caches and by the
shape, and its reciprocal square root begins with an estimate that processors make differently. With `use(True)` the
programs that are compiled from then on for a CPU have instead

    y_mn = fma(a_mK, b_Kn, ... fma(a_m2, b_2n, fma(a_m1, b_1n, 0)) ...),   rsqrt(x) = 1 / sqrt(x)

where fma(a, b, c) = a b + c is rounded once, k ascends from 1 to K, and quotient and root are each rounded correctly.
The first is a loop over k of elementwise operations, whose products and sums XLA contracts to fused multiply-adds on
each processor that has them. Neither vector width nor cache nor the number of threads is in the formula, and
`chain` computes it by hand. This replaces how JAX's primitives are compiled, so it holds for every network, for
gradients of any order and mode, and under every transformation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax._src.lib.mlir.dialects import hlo  # no public module has them
from jax.extend.core import primitives
from jax.interpreters import mlir

from genjax.errors import BadInput
from genjax.types import Array

_FLAG = "portable_bits"

MOST_TERMS = 16
"""Terms of the sum that one iteration adds; with 8 or 24, products take longer."""

NOT_PORTABLE = frozenset(
    {
        "cholesky",
        "conv_general_dilated",
        "eig",
        "eigh",
        "fft",
        "geqrf",
        "hessenberg",
        "householder_product",
        "lgamma",
        "lu",
        "qr",
        "ragged_dot_general",
        "schur",
        "svd",
        "triangular_solve",
        "tridiagonal",
        "tridiagonal_solve",
    }
)
"""Primitives that XLA gives to a library, whose order nobody promises, or computes in another way in each vector lane
than in the rest of an array: `lgamma`."""


class Shape(NamedTuple):
    """The shape of a product [batch, m, k] @ [batch, k, n]."""

    batch: int
    m: int
    k: int
    n: int

    def __str__(self) -> str:
        product = f"[{self.m}, {self.k}] @ [{self.k}, {self.n}]"
        return product if self.batch == 1 else f"{self.batch} products {product}"


def use(portable: bool) -> None:
    """Makes programs that are compiled from now on portable, or compiles them as JAX does.

    Whenever it changes something, JAX's caches of compiled programs are cleared.
    """
    if portable == in_use():
        return
    jax.clear_caches()
    rules = mlir._platform_specific_lowerings["cpu"]
    if portable:
        for primitive, rule in _RULES.items():
            _replaced[primitive] = rules.get(primitive)
            mlir.register_lowering(primitive, rule, platform="cpu")
        return
    while _replaced:
        primitive, rule = _replaced.popitem()
        del rules[primitive]
        if rule is not None:
            rules[primitive] = rule


def in_use() -> bool:
    """Whether programs are compiled portably."""
    return bool(_replaced)


def matrix_product(a: Array, b: Array) -> Array:
    """a @ b as a chain of fused multiply-adds.

        y_mn = fma(a_mK, b_Kn, ... fma(a_m2, b_2n, fma(a_m1, b_1n, 0)) ...)

    Args:
      a: [..., M, K].
      b: [..., K, N], of the same dtype.

    Returns:
      [..., M, N].
    """
    *outer, length = a.shape
    zeros = jnp.zeros((*outer, b.shape[-1]), a.dtype)
    if length == 0:
        return zeros
    # At least two iterations: XLA unrolls a loop of one, and 0 + a b + c d may then be contracted as fma(a, b, c d).
    terms = min(MOST_TERMS, 2 ** max((length - 1).bit_length() - 1, 0))
    num = max(-(-length // terms), 2)
    rest, no = (0, num * terms - length), (0, 0)  # zeros after the end of the chain change nothing
    a = jnp.pad(a, (*[no] * (a.ndim - 1), rest))
    b = jnp.pad(b, (*[no] * (b.ndim - 2), rest, no))

    def add(index: Array, sums: Array) -> Array:
        columns = lax.dynamic_slice_in_dim(a, index * terms, terms, a.ndim - 1)
        rows = lax.dynamic_slice_in_dim(b, index * terms, terms, b.ndim - 2)
        for k in range(terms):
            sums += columns[..., k : k + 1] * rows[..., k : k + 1, :]
        return sums

    return lax.fori_loop(0, num, add, zeros)


def chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What `matrix_product` is specified to return, by NumPy: to the bit, except for subnormal numbers.

        y_mn = fma(a_mK, b_Kn, ... fma(a_m2, b_2n, fma(a_m1, b_1n, 0)) ...)

    A product of two float32 is exact in float64. Its sum with the chain so far is rounded to odd there (away from an
    even last bit if it is not exact), after which the rounding to float32 is as if it were the only one.

    Args:
      a: [M, K], float32.
      b: [K, N], float32.

    Returns:
      [M, N], float32.

    Source: Boldo & Melquiond 2008, Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
    odd.
    """
    sums = np.zeros((len(a), b.shape[1]), np.float32)
    for column, row in zip(a.T.astype(np.float64), b.astype(np.float64), strict=True):
        product, so_far = np.multiply.outer(column, row), sums.astype(np.float64)
        total = product + so_far
        part = total - product
        error = (product - (total - part)) + (so_far - part)  # exact: Knuth's TwoSum
        bits = total.view(np.int64)
        towards = np.where((error > 0) == (total > 0), 1, -1)
        bits = np.where((error != 0) & (bits % 2 == 0), bits + towards, bits)
        sums = bits.view(np.float64).astype(np.float32)
    return sums


def _dot_general(
    a: Array,
    b: Array,
    *,
    dimension_numbers: Any,
    precision: Any,
    preferred_element_type: Any,
    out_sharding: Any,
) -> Array:
    """`jax.lax.dot_general` by `matrix_product`."""
    del precision, out_sharding
    (a_sum, b_sum), (a_batch, b_batch) = dimension_numbers
    a_own = [axis for axis in range(a.ndim) if axis not in (*a_sum, *a_batch)]
    b_own = [axis for axis in range(b.ndim) if axis not in (*b_sum, *b_batch)]
    batch, rows, columns = (
        [array.shape[axis] for axis in axes] for array, axes in ((a, a_batch), (a, a_own), (b, b_own))
    )
    length = math.prod(a.shape[axis] for axis in a_sum)
    dtype = jnp.result_type(a, b) if preferred_element_type is None else preferred_element_type
    a = a.astype(dtype).transpose(*a_batch, *a_own, *a_sum).reshape(*batch, math.prod(rows), length)
    b = b.astype(dtype).transpose(*b_batch, *b_sum, *b_own).reshape(*batch, length, math.prod(columns))
    return matrix_product(a, b).reshape(*batch, *rows, *columns)


def _square_root(context: Any, x: Any, **kwargs: Any) -> Sequence[Any]:
    """The root behind a barrier, or XLA makes a reciprocal root of it and of what divides by it."""
    del context, kwargs
    return hlo.OptimizationBarrierOp([hlo.SqrtOp(x).result]).results


def _reciprocal_root(x: Array, **kwargs: Any) -> Array:
    del kwargs
    return 1 / lax.sqrt(x)


_replaced: dict[Any, Any] = {}  # JAX's own rules by primitive while they are replaced
_RULES = {
    primitives.dot_general_p: mlir.lower_fun(_dot_general, multiple_results=False),
    primitives.sqrt_p: _square_root,
    primitives.rsqrt_p: mlir.lower_fun(_reciprocal_root, multiple_results=False),
}


def check(function: Callable[..., Any], *arguments: Any) -> None:
    """Checks that a function's program has the specified bits on this machine.

    Each shape of its matrix products is computed once with random numbers, and rows of it are compared with `chain`.

    Args:
      function: of arrays.
      *arguments: arrays or their shapes.

    Raises:
      BadInput: the function uses one of `NOT_PORTABLE`, or a product here is not a chain of fused multiply-adds.
    """
    equations = list(_equations(jax.make_jaxpr(function)(*arguments).jaxpr))
    found = sorted({equation.primitive.name for equation in equations} & NOT_PORTABLE)
    if found:
        raise BadInput(f"the run's program uses {', '.join(found)}, whose bits no one promises", parameter=_FLAG)
    where, wrong = "with this processor and XLA_FLAGS", not_chains(shapes(equations))
    if wrong:
        raise BadInput(f"{where}, {wrong[0]} is not a chain of fused multiply-adds", parameter=_FLAG)
    x = np.random.RandomState(0).uniform(1, 4, 4096).astype(np.float32)
    if not np.array_equal(jax.jit(lax.rsqrt)(x), np.float32(1) / np.sqrt(x)):
        raise BadInput(f"{where}, a reciprocal square root is not rounded correctly", parameter=_FLAG)


def _equations(program: Any) -> Iterator[Any]:
    """All equations of a jaxpr, and of those in it."""
    for equation in program.eqns:
        yield equation
        for parameter in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            if hasattr(parameter, "eqns"):
                yield from _equations(getattr(parameter, "jaxpr", parameter))


def shapes(equations: Iterable[Any]) -> list[Shape]:
    """The shapes of the float32 matrix products among a jaxpr's equations, each once, in order."""
    found = set()
    for equation in equations:
        if equation.primitive is not primitives.dot_general_p or equation.outvars[0].aval.dtype != np.float32:
            continue
        a, b = (variable.aval.shape for variable in equation.invars)
        (a_sum, b_sum), (a_batch, b_batch) = equation.params["dimension_numbers"]
        length, batch = (math.prod(a[axis] for axis in axes) for axes in (a_sum, a_batch))
        m = math.prod(size for axis, size in enumerate(a) if axis not in (*a_sum, *a_batch))
        n = math.prod(size for axis, size in enumerate(b) if axis not in (*b_sum, *b_batch))
        found.add(Shape(batch, m, length, n))
    return sorted(found)


def not_chains(products: Sequence[Shape], num_rows: int = 8) -> list[Shape]:
    """The shapes in which a product, as programs are compiled now, is not `chain` of its operands.

    Args:
      num_rows: how many rows of each product are compared, the first and the last among them.
    """
    draw = np.random.RandomState(0)
    operands = [
        tuple(draw.standard_normal(size).astype(np.float32) for size in ((p.batch, p.m, p.k), (p.batch, p.k, p.n)))
        for p in products
        if 0 not in p
    ]
    computed = jax.jit(lambda pairs: [jnp.matmul(a, b) for a, b in pairs])(operands)
    wrong = []
    for (a, b), y in zip(operands, computed, strict=True):
        rows = np.unique(np.linspace(0, a.shape[1] - 1, num_rows).round().astype(int))
        if not np.array_equal(np.asarray(y)[-1, rows], chain(a[-1, rows], b[-1])):
            wrong.append(Shape(len(a), a.shape[1], a.shape[2], b.shape[2]))
    return wrong
