"""A causal network over sequences of symbols: the conditional distributions of an autoregressive model."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.networks.linen import from_linen
from genjax.types import Array, Network


def _attention(q: Array, k: Array, v: Array) -> Array:
    """Each place's mean of v [B, L, M, H], weighted by how its q fits k, over its own place and those before it."""
    fit = jnp.einsum("blmh,bnmh->bmln", q, k) / math.sqrt(q.shape[-1])
    before = jnp.tril(jnp.ones((1, 1, q.shape[1], q.shape[1]), bool))
    fit = jnp.where(before, fit, -jnp.inf)
    # a softmax without a division by a sum, which XLA may turn into a product in one program and not in another
    weight = jnp.exp(fit - jax.nn.logsumexp(fit, axis=-1, keepdims=True))
    return jnp.einsum("bmln,bnmh->blmh", weight, v)


class _CausalTransformer(nn.Module):
    width: int
    num_layers: int
    num_heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, length, num_codes = x.shape
        normal = nn.initializers.normal(0.1)
        h = nn.Dense(self.width, use_bias=False, kernel_init=normal, name="embedding")(x[:, :-1])
        h = jnp.pad(h, ((0, 0), (1, 0), (0, 0))) + self.param("place", normal, (length, self.width))[None]
        heads = (batch, length, self.num_heads, self.width // self.num_heads)
        for depth in range(1, self.num_layers + 1):
            a = nn.LayerNorm(name=f"attention_norm_{depth}")(h)
            qkv = jnp.split(nn.Dense(3 * self.width, use_bias=False, name=f"attention_{depth}")(a), 3, axis=-1)
            a = _attention(*(part.reshape(heads) for part in qkv)).reshape(h.shape)
            h = h + nn.Dense(self.width, name=f"attention_output_{depth}")(a)
            a = nn.LayerNorm(name=f"mlp_norm_{depth}")(h)
            a = jax.nn.gelu(nn.Dense(4 * self.width, name=f"mlp_{depth}")(a))
            h = h + nn.Dense(self.width, name=f"mlp_output_{depth}")(a)
        return nn.Dense(num_codes, name="logits")(nn.LayerNorm(name="norm")(h))


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
    if width % num_heads:
        raise ValueError(f"the number of heads must divide the width; got {num_heads} and {width}")
    return from_linen(_CausalTransformer(width, num_layers, num_heads), (length, num_codes))
