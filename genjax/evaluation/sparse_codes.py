"""Measures of sparse codes and of the dictionaries behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from genjax.types import Array


def l0(z: Array) -> Array:
    """The number of active units of each code: z [N, d] -> [N]."""
    return jnp.sum(z != 0, axis=1)


def density(z: Array) -> Array:
    """The share of codes in which each unit is active: z [N, d] -> [d] in [0, 1]. Units at 0 are dead."""
    return jnp.mean(z != 0, axis=0)


def explained_variance(x: Array, reconstruction: Array) -> Array:
    """The share of the variance that reconstructions explain.

        1 - sum_n ||x_n - x'_n||^2 / sum_n ||x_n - mean(x)||^2

    Args:
      x: [N, ...].
      reconstruction: x' [N, ...].

    Returns:
      [], at most 1; 0 for the mean as the reconstruction of all.
    """
    residual, spread = x - reconstruction, x - jnp.mean(x, axis=0, keepdims=True)
    return 1 - jnp.sum(jnp.square(residual)) / jnp.sum(jnp.square(spread))


def nearest_cosine(atoms: Array) -> Array:
    """The largest cosine of each atom with another one: [d, D] -> [d]. Values near 1 are duplicates.

    Raises:
      ValueError: fewer than two atoms.
    """
    if len(atoms) < 2:
        raise ValueError("an atom has no neighbour; give at least two")
    directions = atoms / jnp.linalg.norm(atoms, axis=1, keepdims=True)
    cosines = directions @ directions.T
    return jnp.max(jnp.where(jnp.eye(len(atoms), dtype=bool), -jnp.inf, cosines), axis=1)


def loss_recovered(loss: Callable[[Array], Array], x: Array, reconstruction: Array) -> Array:
    """The share of a model's loss that survives when reconstructions take the place of its activations.

        (L(mean) - L(x')) / (L(mean) - L(x))

    Args:
      loss: activations [N, ...] -> the loss [] of the model that reads them.
      x: [N, ...].
      reconstruction: x' [N, ...].

    Returns:
      []: 1 if nothing is lost, 0 if the reconstructions are worth as much as the mean activation.

    Source: Bricken et al. 2023, with the mean in place of zeros; Gao et al. 2024, section 4.1.
    """
    ablated = loss(jnp.broadcast_to(jnp.mean(x, axis=0, keepdims=True), x.shape))
    return share_recovered(loss(x), loss(reconstruction), ablated)


def share_recovered(original: Any, reconstructed: Any, ablated: Any) -> Any:
    """The share of a loss that reconstructions recover, of three losses by what takes the place of the activations.

        (L_ablated - L_reconstructed) / (L_ablated - L_original)

    Args:
      original: the loss with the activations themselves.
      reconstructed: the loss with their reconstructions.
      ablated: the loss with a constant in their place, such as their mean or 0.

    Returns:
      1 if nothing is lost, 0 if the reconstructions are worth as much as the constant; numbers or arrays, as given.
    """
    return (ablated - reconstructed) / (ablated - original)
