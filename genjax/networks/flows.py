"""Whole normalising flows, chains of the layers of `bijections`, and the heads of an encoder whose posterior has one.

Every layer begins near the identity. A flow reads its context, if it has one, after z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.networks.bijections import (
    affine_coupling,
    chain,
    inverse_autoregressive,
    masked_autoregressive,
    permutation,
    planar,
)
from genjax.networks.masked import mask_degrees, masked_mlp
from genjax.networks.mlp import mlp
from genjax.types import Array, Flow, Key, Network, Params

Activation = Callable[[Array], Array]  # of hidden layers


def planar_flow(dim: int, num_layers: int) -> Flow:
    """A chain of planar layers, without an inverse.

    Source: Rezende & Mohamed 2015, equation 10.
    """
    return chain(*(planar(dim) for _ in range(num_layers)))


def coupling_flow(
    dim: int, num_layers: int, *, hidden: Sequence[int], activation: Activation, context_dim: int = 0
) -> Flow:
    """A chain of affine couplings, which keep every other dimension, in turn.

    Args:
      dim: of z, at least 2.
      num_layers: number of couplings.
      hidden: widths of the hidden layers of each coupling's network.
      activation: of its hidden layers.
      context_dim: size of the context, which the networks read beside z.

    Source: Dinh, Sohl-Dickstein & Bengio 2017 (RealNVP), section 3.
    """
    network = mlp((dim + context_dim,), (2 * dim,), hidden=hidden, activation=activation)

    def apply(params: Params, z: Array, *context: Array) -> Array:
        return network.apply(params, jnp.concatenate([z, *context], axis=-1))

    last = f"layer_{len(hidden) + 1}"
    beside = from_zero(Network(network.init, apply), last)
    return chain(*(affine_coupling(beside, np.arange(dim) % 2 == layer % 2) for layer in range(num_layers)))


def masked_autoregressive_flow(
    dim: int, num_layers: int, *, hidden: Sequence[int], activation: Activation, context_dim: int = 0
) -> Flow:
    """A chain of masked autoregressive layers, with the dimensions reversed between them.

    From data to noise in one pass: the density of the data is fast, and drawing from it is not.

    Args:
      dim: of z.
      num_layers: number of layers.
      hidden: widths of the hidden layers of each layer's masked network.
      activation: of its hidden layers.
      context_dim: size of the context.

    Source: Papamakarios, Pavlakou & Murray 2017 (MAF), section 3.
    """
    network = _autoregressive(dim, hidden, activation, context_dim)
    return _reversing(dim, [masked_autoregressive(network, np.arange(1, dim + 1)) for _ in range(num_layers)])


def inverse_autoregressive_flow(
    dim: int, num_layers: int, *, hidden: Sequence[int], activation: Activation, context_dim: int = 0
) -> Flow:
    """A chain of inverse autoregressive layers, with the dimensions reversed between them.

    From noise to codes in one pass, with the density of what it draws; as a density of data use `inverted` of it, of
    which drawing is fast and the density is not.

    Args:
      dim: of z.
      num_layers: number of layers.
      hidden: widths of the hidden layers of each layer's masked network.
      activation: of its hidden layers.
      context_dim: size of the context.

    Source: Kingma et al. 2016 (IAF), algorithm 1.
    """
    network = _autoregressive(dim, hidden, activation, context_dim)
    return _reversing(dim, [inverse_autoregressive(network, np.arange(1, dim + 1)) for _ in range(num_layers)])


def _autoregressive(dim: int, hidden: Sequence[int], activation: Activation, context_dim: int) -> Network:
    degrees = mask_degrees(np.arange(1, dim + 1), hidden, context=context_dim > 0)
    network = masked_mlp([degrees], 2, activation=activation, context_dim=context_dim)
    return from_zero(network, f"layer_{len(hidden) + 1}")


def _reversing(dim: int, layers: Sequence[Flow]) -> Flow:
    """The layers, with a reversal of the dimensions before each but the first."""
    between = permutation(range(dim)[::-1])
    return chain(*(flow for number, layer in enumerate(layers) for flow in ([between] if number else []) + [layer]))


def from_zero(network: Network, layer: str) -> Network:
    """The network with this layer's parameters initialised to 0: of a flow's last layer, to begin at the identity."""

    def init(key: Key) -> Params:
        params = network.init(key)
        return params | {layer: jax.tree.map(jnp.zeros_like, params[layer])}

    return Network(init, network.apply)


def flow_heads(network: Network, flow: Flow, latent_dim: int) -> Network:
    """The encoder of a VAE whose posterior is a diagonal Gaussian, followed by a flow.

    Args:
      network: gives [B, 2d + c]: the Gaussian's mean and log-variance, and the flow's context; with c = 0 the flow is
        called without a context.
      flow: from the Gaussian's draws to codes, whose params are then the encoder's.
      latent_dim: d.

    Returns:
      A network x -> (mean [B, d], log_variance [B, d], context, the flow's params), with the context a tuple of one
      array [B, c] or of none, as `losses.flow_posterior` takes it; its params are {"network", "flow"}.

    Raises:
      ValueError: at apply, fewer than 2 d outputs.
    """

    def init(key: Key) -> Params:
        network_key, flow_key = jax.random.split(key)
        return {"network": network.init(network_key), "flow": flow.init(flow_key)}

    def apply(params: Params, *inputs: Any) -> tuple[Array, Array, tuple[Array, ...], Params]:
        y = network.apply(params["network"], *inputs)
        if y.ndim != 2 or y.shape[1] < 2 * latent_dim:
            raise ValueError(f"{latent_dim} dimensions need at least {2 * latent_dim} outputs, got {y.shape}")
        mean, log_variance, context = jnp.split(y, [latent_dim, 2 * latent_dim], axis=-1)
        return mean, log_variance, (context,) if context.shape[1] else (), params["flow"]

    return Network(init, apply)
