"""Products with codes of which few units are active, by the places of these units instead of all of them.

    y_b = sum_k v_bk w_{j(b,k)}

takes B K D multiplications in place of B d D. Its derivatives are sums of the same kind, so that each of the three
functions here is one of the others' transposes. They have reverse-mode derivatives of any order, and no forward mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.networks.mlp import affine
from genjax.networks.sparsity import unit_norm_rows, unit_rows
from genjax.types import Array, Key, Params


@jax.custom_vjp
def sum_of_rows(values: Array, places: Array, rows: Array) -> Array:
    """Weighted sums of some rows of a matrix.

        y_b = sum_k v_bk w_{j(b,k)}

    Args:
      values: v [B, K].
      places: j [B, K], in 0, ..., d - 1.
      rows: w [d, D].

    Returns:
      [B, D].
    """

    def add(total: Array, each: tuple[Array, Array]) -> tuple[Array, None]:
        value, place = each
        return total + value[:, None] * rows[place], None

    start = jnp.zeros((len(values), rows.shape[1]), rows.dtype)
    return jax.lax.scan(add, start, (values.T, places.T))[0]


@jax.custom_vjp
def products_with_rows(x: Array, places: Array, rows: Array) -> Array:
    """Inner products with some rows of a matrix.

        v_bk = x_b . w_{j(b,k)}

    Args:
      x: [B, D].
      places: j [B, K], in 0, ..., d - 1.
      rows: w [d, D].

    Returns:
      [B, K].
    """
    return jax.lax.map(lambda place: jnp.sum(x * rows[place], axis=1), places.T).T


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def sum_into_rows(values: Array, places: Array, x: Array, num: int) -> Array:
    """Sums of examples, each weighted and added to some rows.

        w_j = sum_{b, k: j(b,k) = j} v_bk x_b

    Args:
      values: v [B, K].
      places: j [B, K], in 0, ..., d - 1.
      x: [B, D].
      num: d.

    Returns:
      [d, D].
    """
    added = values[:, :, None] * x[:, None, :]
    return jnp.zeros((num, x.shape[1]), x.dtype).at[places.reshape(-1)].add(added.reshape(-1, x.shape[1]))


def _saved(function: Any) -> Callable[..., tuple[Array, tuple]]:
    return lambda *arguments: (function(*arguments), arguments)


def _of_sum(saved: tuple, y: Array) -> tuple:
    values, places, rows = saved
    return products_with_rows(y, places, rows), None, sum_into_rows(values, places, y, len(rows))


def _of_products(saved: tuple, v: Array) -> tuple:
    x, places, rows = saved
    return sum_of_rows(v, places, rows), None, sum_into_rows(v, places, x, len(rows))


def _of_sum_into(num: int, saved: tuple, w: Array) -> tuple:
    values, places, x, _ = saved
    return products_with_rows(x, places, w), None, sum_of_rows(values, places, w)


sum_of_rows.defvjp(_saved(sum_of_rows), _of_sum)
products_with_rows.defvjp(_saved(products_with_rows), _of_products)
sum_into_rows.defvjp(_saved(sum_into_rows), _of_sum_into)


class Dictionary(NamedTuple):
    """A linear decoder whose atoms have norm 1, which takes whole codes or their active units; a `Network` too."""

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array], Array]  # z [B, d] -> x' [B, ...]
    of_active: Callable[[Params, Array, Array], Array]  # values [B, K], places [B, K] -> x' [B, ...]


def dictionary(num_units: int, output_shape: Sequence[int]) -> Dictionary:
    """A dictionary as the decoder of a sparse code.

        x' = sum_j z_j w_j / ||w_j||_2 + b

    Whole codes z [B, d] are decoded as by `unit_norm_rows(affine((d,), output_shape))`, whose params it has.

    Args:
      num_units: d.
      output_shape: of one output, with D entries.

    Source: Olshausen & Field 1996.
    """
    whole = unit_norm_rows(affine((num_units,), output_shape))

    def of_active(params: Params, values: Array, places: Array) -> Array:
        layer = params["layer_1"]
        output = sum_of_rows(values, places, unit_rows(layer["kernel"])) + layer["bias"][None]
        return output.reshape(len(values), *output_shape)

    return Dictionary(whole.init, whole.apply, of_active)
