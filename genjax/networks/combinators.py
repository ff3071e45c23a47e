"""Networks made of networks: the output heads of encoders and decoders."""

from __future__ import annotations

import jax.numpy as jnp

from genjax.types import Array, Key, Network, Params


def gaussian_heads(network: Network) -> Network:
    """Reads the last output dimension, 2d, as a diagonal Gaussian's (mean [B, d], log_variance [B, d]).

    The encoder of a VAE: q(z|x) = N(mean, diag exp(log_variance)) (Kingma & Welling 2014, appendix C.2).

    Raises:
      ValueError: at apply, an odd last dimension.
    """

    def apply(params: Params, *inputs: Array) -> tuple[Array, Array]:
        y = network.apply(params, *inputs)
        if y.shape[-1] % 2:
            raise ValueError(f"the last dimension must be even, to be split in two halves, got {y.shape}")
        mean, log_variance = jnp.split(y, 2, axis=-1)
        return mean, log_variance

    return Network(network.init, apply)


def with_log_variance(network: Network, *, initial: float = 0.0) -> Network:
    """Adds one learned scalar: apply returns (the network's output, log_variance []).

    The decoder of a VAE with p(x|z) = N(mean, exp(log_variance) I), its variance learned as in sigma-VAE
    (Rybkin, Daniilidis & Levine 2021). Its params are {"mean": the network's, "log_variance": []}.

    Args:
      network: gives the mean.
      initial: log_variance before training.
    """

    def init(key: Key) -> Params:
        return {"mean": network.init(key), "log_variance": jnp.asarray(initial, jnp.float32)}

    def apply(params: Params, *inputs: Array) -> tuple[Array, Array]:
        return network.apply(params["mean"], *inputs), params["log_variance"]

    return Network(init, apply)
