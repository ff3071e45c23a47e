"""Attention: layers of attention and mlp, which all transformers share, and attention over the places of a map."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.types import Array


def attention(q: Array, k: Array, v: Array, *, causal: bool, scaled: bool = True) -> Array:
    """Each place's mean of v over all places, weighted by how its q fits k.

        y_l = sum_n w_ln v_n,   w_l = softmax_n(q_l^T k_n / sqrt(H))

    Args:
      q, k, v: [B, L, M, H] for M heads of H numbers.
      causal: only over the place itself and those before it.
      scaled: divide by sqrt(H), or not.

    Returns:
      [B, L, M, H].

    Source: Vaswani et al. 2017, equation 1.
    """
    fit = jnp.einsum("blmh,bnmh->bmln", q, k)
    if scaled:
        fit = fit / math.sqrt(q.shape[-1])
    if causal:
        before = jnp.tril(jnp.ones((1, 1, q.shape[1], q.shape[1]), bool))
        fit = jnp.where(before, fit, -jnp.inf)
    # a softmax without a division by a sum, which XLA may turn into a product in one program and not in another
    weight = jnp.exp(fit - jax.nn.logsumexp(fit, axis=-1, keepdims=True))
    return jnp.einsum("bmln,bnmh->blmh", weight, v)


class SelfAttention(nn.Module):
    """Attention of every place of a map to all places, added to the map with a learned gain that starts at 0.

        y_l = x_l + gain W_o sum_n w_ln W_v x_n,   w_l = softmax_n((W_q x_l)^T W_k x_n)

    of x and y [B, H, W, C], whose places l and n are the pixels. The four matrices are convolutions of 1 x 1 without
    biases; queries, keys and values have C / 8 numbers, and one at least. At a gain of 0 it is the identity. The
    weights w are (H W)^2 numbers an example.

    Source: Zhang et al. 2019, equations 1 to 3.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = max(1, x.shape[-1] // 8)
        places = x.reshape(x.shape[0], -1, x.shape[-1])
        q, k, v = (nn.Dense(width, use_bias=False, name=name)(places)[:, :, None] for name in ("query", "key", "value"))
        found = attention(q, k, v, causal=False, scaled=False)[:, :, 0]
        found = nn.Dense(x.shape[-1], use_bias=False, name="output")(found)
        return x + self.param("gain", nn.initializers.zeros, ()) * found.reshape(x.shape)


def transformer_layers(h: Array, *, num_layers: int, num_heads: int, causal: bool) -> Array:
    """Pre-normalised layers of attention and mlp, within a Linen module, which keeps their parameters.

        a^i = h^{i-1} + attention(norm(h^{i-1})),   h^i = a^i + mlp(norm(a^i)),   i = 1, ..., D

    Args:
      h: h^0, [B, L, width].
      num_layers: D.
      num_heads: divides the width; the mlp's hidden layer is four times as wide.
      causal: see `attention`.

    Returns:
      norm(h^D), [B, L, width].

    Source: Vaswani et al. 2017; the order of the normalisations is that of Radford et al. 2019.
    """
    width = h.shape[-1]
    heads = (*h.shape[:2], num_heads, width // num_heads)
    for depth in range(1, num_layers + 1):
        a = nn.LayerNorm(name=f"attention_norm_{depth}")(h)
        qkv = jnp.split(nn.Dense(3 * width, use_bias=False, name=f"attention_{depth}")(a), 3, axis=-1)
        a = attention(*(part.reshape(heads) for part in qkv), causal=causal).reshape(h.shape)
        h = h + nn.Dense(width, name=f"attention_output_{depth}")(a)
        a = nn.LayerNorm(name=f"mlp_norm_{depth}")(h)
        a = jax.nn.gelu(nn.Dense(4 * width, name=f"mlp_{depth}")(a))
        h = h + nn.Dense(width, name=f"mlp_output_{depth}")(a)
    return nn.LayerNorm(name="norm")(h)


def check_heads(num_heads: int, width: int) -> None:
    """Checks that `num_heads` divides `width`.

    Raises:
      ValueError: they do not.
    """
    if width % num_heads:
        raise ValueError(f"the number of heads must divide the width; got {num_heads} and {width}")
