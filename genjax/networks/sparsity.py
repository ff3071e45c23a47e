"""Sparse codes as functions of z, and the dictionary whose scale they need fixed."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.types import Array, Network, Params


def k_sparse(z: Array, *, k: int) -> Array:
    """Keeps the k largest entries of each code and zeroes the rest; of equal ones, those of lower index.

    Its gradient is that of the entries kept.

    Args:
      z: [B, d].
      k: from 1 to d.

    Returns:
      [B, d], at most k of each row not 0.

    References:
      Makhzani & Frey 2014, k-sparse autoencoders.
    """
    _, indices = jax.lax.top_k(z, k)
    kept = jnp.zeros(z.shape, bool).at[jnp.arange(z.shape[0])[:, None], indices].set(True)
    return jnp.where(kept, z, 0)


def hard_threshold(z: Array, *, threshold: float) -> Array:
    """Zeroes what does not exceed the threshold, z 1[z > tau], entry by entry; the rest keeps value and gradient."""
    return jnp.where(z > threshold, z, 0)


def soft_threshold(z: Array, *, threshold: float) -> Array:
    """Shrinks towards 0, sign(z) max(|z| - tau, 0): the proximal map of tau ||z||_1 (Coates & Ng 2011)."""
    return jnp.sign(z) * jax.nn.relu(jnp.abs(z) - threshold)


def group_threshold(z: Array, *, threshold: float, group_size: int) -> Array:
    """Switches whole groups of units off, z_g 1[||z_g||_2 > tau], groups being consecutive units.

    Args:
      z: [B, d].
      threshold: tau.
      group_size: units a group, a divisor of d.

    Raises:
      ValueError: where the groups do not fill the code.
    """
    if z.shape[-1] % group_size:
        raise ValueError(f"a code of {z.shape[-1]} units has no groups of {group_size}; it needs a multiple of that")
    groups = z.reshape(*z.shape[:-1], -1, group_size)
    on = jnp.sum(jnp.square(groups), axis=-1, keepdims=True) > threshold**2
    return jnp.where(on, groups, 0).reshape(z.shape)


def unit_norm_rows(network: Network, *, layer: str = "layer_1") -> Network:
    """A network that uses the kernel W [d, n] of its first layer with every row scaled to norm 1.

        W_j / ||W_j||_2

    As the decoder of a sparse autoencoder, whose rows are the dictionary's atoms, it keeps a penalty on the code's
    magnitude from being met by a smaller code and larger weights (Olshausen & Field 1996).

    Args:
      network: keeps that kernel at params[layer]["kernel"], as `mlp` does.
      layer: its name.
    """

    def apply(params: Params, *inputs: Array) -> Array:
        kernel = params[layer]["kernel"]
        norm = jnp.linalg.norm(kernel, axis=1, keepdims=True)
        return network.apply(params | {layer: params[layer] | {"kernel": kernel / norm}}, *inputs)

    return Network(network.init, apply)
