"""Sparse codes as functions of z, and the dictionary with a fixed scale that they need."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.types import Array, Network, Params


def k_sparse(z: Array, *, k: int) -> Array:
    """Keeps the k largest entries of each code and sets the others to zero; ties go to the lower index.

        y_j = z_j if z_j is among the k largest of z, else 0

    The gradient is 1 for the entries kept and 0 for the others.

    Args:
      z: [..., d]; each row along the last axis is a code.
      k: from 1 to d.

    Returns:
      [..., d], at most k entries of each row not 0.

    Raises:
      ValueError: k outside 1, ..., d.

    Source: Makhzani & Frey 2014.
    """
    if not 1 <= k <= z.shape[-1]:
        raise ValueError(f"k must lie between 1 and the code's {z.shape[-1]} units; got {k}")
    rows = z.reshape(-1, z.shape[-1])
    _, indices = jax.lax.top_k(rows, k)
    kept = jnp.zeros(rows.shape, bool).at[jnp.arange(rows.shape[0])[:, None], indices].set(True)
    return jnp.where(kept, rows, 0).reshape(z.shape)


def hard_threshold(z: Array, *, threshold: float) -> Array:
    """Sets entries that do not exceed the threshold to zero; the others keep their value and gradient.

        z 1[z > tau]

    Args:
      z: [...].
      threshold: tau.

    Returns:
      [...].

    Source: Blumensath & Davies 2008, for z >= 0.
    """
    return jnp.where(z > threshold, z, 0)


def soft_threshold(z: Array, *, threshold: float) -> Array:
    """Shrinks entries towards 0: the proximal map of tau ||z||_1.

        sign(z) max(|z| - tau, 0)

    Args:
      z: [...].
      threshold: tau, >= 0.

    Returns:
      [...].

    Source: Coates & Ng 2011.
    """
    return jnp.sign(z) * jax.nn.relu(jnp.abs(z) - threshold)


def group_threshold(z: Array, *, threshold: float, group_size: int) -> Array:
    """Sets whole groups of units to zero whose norm does not exceed the threshold; groups are consecutive units.

        z_g 1[||z_g||_2 > tau]

    Args:
      z: [..., d].
      threshold: tau, >= 0.
      group_size: units per group, a divisor of d.

    Returns:
      [..., d].

    Raises:
      ValueError: a group size that does not divide d.
    """
    if z.shape[-1] % group_size:
        raise ValueError(f"group_size must divide the code's {z.shape[-1]} units; got {group_size}")
    groups = z.reshape(*z.shape[:-1], -1, group_size)
    on = jnp.sum(jnp.square(groups), axis=-1, keepdims=True) > threshold**2
    return jnp.where(on, groups, 0).reshape(z.shape)


def unit_rows(kernel: Array) -> Array:
    """The rows of a matrix [d, n], scaled to norm 1; a row of zeros stays 0, with a finite gradient."""
    square = jnp.sum(jnp.square(kernel), axis=1, keepdims=True)
    # not a division by the norm, which XLA compiles to other bits on several devices
    return kernel * jax.lax.rsqrt(jnp.where(square == 0, 1, square))


def unit_norm_rows(network: Network, *, layer: str = "layer_1") -> Network:
    """A network that scales every row of one kernel to norm 1 before use.

        W_j / ||W_j||_2

    As the decoder of a sparse autoencoder, whose rows are the atoms of a dictionary, it prevents a smaller penalty on
    the code's magnitude by a smaller code and larger weights. A row of zeros stays 0, with a finite gradient.

    Args:
      network: keeps that kernel W [d, n] at params[layer]["kernel"], as `mlp` does.
      layer: its name.

    Returns:
      A network with the same params, inputs and outputs.

    Source: Olshausen & Field 1996.
    """

    def apply(params: Params, *inputs: Array) -> Array:
        kernel = unit_rows(params[layer]["kernel"])
        return network.apply(params | {layer: params[layer] | {"kernel": kernel}}, *inputs)

    return Network(network.init, apply)
