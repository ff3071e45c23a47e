"""A causal network over sequences of symbols: the conditional distributions of an autoregressive model."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from genjax.networks.attention import check_heads, transformer_layers
from genjax.networks.linen import from_linen
from genjax.types import Array, Network


class _CausalTransformer(nn.Module):
    width: int
    num_layers: int
    num_heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        _, length, num_codes = x.shape
        normal = nn.initializers.normal(0.1)
        h = nn.Dense(self.width, use_bias=False, kernel_init=normal, name="embedding")(x[:, :-1])
        h = jnp.pad(h, ((0, 0), (1, 0), (0, 0))) + self.param("place", normal, (length, self.width))[None]
        h = transformer_layers(h, num_layers=self.num_layers, num_heads=self.num_heads, causal=True)
        return nn.Dense(num_codes, name="logits")(h)


def causal_transformer(length: int, num_codes: int, *, width: int, num_layers: int, num_heads: int) -> Network:
    """A decoder-only transformer: the logits at each place depend on the symbols at earlier places alone.

        h^0_l = E x_{l-1} + P_l,   x_0 = 0;   y_l = W norm(h^D_l) + b
        a^i = h^{i-1} + attention(norm(h^{i-1})),   h^i = a^i + mlp(norm(a^i)),   i = 1, ..., D

    Symbols are one-hot vectors, so that the embedding is a product, whose gradient is summed in one order everywhere.

    Args:
      length: L, of a sequence; every place has a learned vector P_l.
      num_codes: K, of symbols.
      width: of h; the mlp's hidden layer is four times as wide.
      num_layers: D, of attention and mlp.
      num_heads: of the attention; divides the width.

    Returns:
      A network x [B, L, K] -> logits y [B, L, K].

    Raises:
      ValueError: a number of heads that does not divide the width.

    Source: Vaswani et al. 2017; the order of the normalisations is that of Radford et al. 2019.
    """
    check_heads(num_heads, width)
    return from_linen(_CausalTransformer(width, num_layers, num_heads), (length, num_codes))
