"""Images as sequences of patches, and transformers that read some of the patches and write all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.networks.attention import check_heads, transformer_layers
from genjax.types import Array, Key, Network, Params

_NORMAL = nn.initializers.normal(0.02)


def num_patches(shape: Sequence[int], size: int) -> int:
    """The number P of square patches in an image of shape (H, W, C).

    Raises:
      ValueError: the size does not divide both sides.
    """
    height, width, _ = shape
    if height % size or width % size:
        raise ValueError(f"patches of {size} x {size} pixels do not divide an image of {height} x {width}")
    return (height // size) * (width // size)


def to_patches(x: Array, size: int) -> Array:
    """The patches of images, row by row: [B, H, W, C] -> [B, P, size * size * C].

    Raises:
      ValueError: the size does not divide both sides.
    """
    batch, height, width, channels = x.shape
    num = num_patches(x.shape[1:], size)
    cut = x.reshape(batch, height // size, size, width // size, size, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(batch, num, size * size * channels)


def from_patches(patches: Array, shape: Sequence[int], size: int) -> Array:
    """The images of shape (H, W, C) that `to_patches` cuts into these: [B, P, size * size * C] -> [B, H, W, C]."""
    height, width, channels = shape
    cut = patches.reshape(-1, height // size, width // size, size, size, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)


class _Encoder(nn.Module):
    width: int
    num_layers: int
    num_heads: int

    @nn.compact
    def __call__(self, patches: Array, places: Array) -> Array:
        table = self.param("place", _NORMAL, (places.shape[-1], self.width))
        h = nn.Dense(self.width, name="embedding")(patches) + places @ table
        return transformer_layers(h, num_layers=self.num_layers, num_heads=self.num_heads, causal=False)


class _Decoder(nn.Module):
    patch_dim: int
    width: int
    num_layers: int
    num_heads: int

    @nn.compact
    def __call__(self, codes: Array, places: Array) -> Array:
        known = jnp.swapaxes(places, 1, 2)  # [B, P, V]
        token = self.param("mask_token", _NORMAL, (1, 1, self.width))
        h = known @ nn.Dense(self.width, name="embedding")(codes) + (1 - known.sum(axis=2, keepdims=True)) * token
        h = h + self.param("place", _NORMAL, (places.shape[-1], self.width))[None]
        h = transformer_layers(h, num_layers=self.num_layers, num_heads=self.num_heads, causal=False)
        return nn.Dense(self.patch_dim, name="patches")(h)


def patch_encoder(num: int, patch_dim: int, *, width: int, num_layers: int, num_heads: int) -> Network:
    """A transformer of any V of an image's patches; what it does not get it cannot know.

        h^0_v = E x_v + P_{place(v)},   c = norm(h^D)

    Its layers are those of `causal_transformer`, but over all V patches. Places are one-hot vectors, so that the
    gradients of the vectors P are sums in one order everywhere.

    Args:
      num: P, patches of an image.
      patch_dim: D, numbers of a patch.
      width, num_layers, num_heads: as in `causal_transformer`.

    Returns:
      A network (patches [B, V, D], places [B, V, P]) -> codes c [B, V, width].

    Raises:
      ValueError: a number of heads that does not divide the width.

    Source: Dosovitskiy et al. 2021, without their class token.
    """
    check_heads(num_heads, width)
    return _of(_Encoder(width, num_layers, num_heads), (num, patch_dim), (num, num))


def patch_decoder(num: int, patch_dim: int, code_dim: int, *, width: int, num_layers: int, num_heads: int) -> Network:
    """A transformer from the codes of V patches to all P patches, with one learned vector t in place of the others.

        h^0_p = E c_v + P_p where place(v) = p,   t + P_p where there is none;   x' = W norm(h^D) + b

    Args:
      num: P, patches of an image.
      patch_dim: D, numbers of a patch.
      code_dim: width of the codes.
      width, num_layers, num_heads: as in `causal_transformer`.

    Returns:
      A network (codes [B, V, code_dim], places [B, V, P]) -> patches [B, P, D].

    Raises:
      ValueError: a number of heads that does not divide the width.

    Source: He et al. 2022, section 3.
    """
    check_heads(num_heads, width)
    return _of(_Decoder(patch_dim, width, num_layers, num_heads), (num, code_dim), (num, num))


def _of(module: nn.Module, *shapes: tuple[int, int]) -> Network:
    """The module as a network, of any number of patches."""

    def init(key: Key) -> Params:
        examples = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in shapes]
        return module.lazy_init(key, *examples)["params"]

    def apply(params: Params, rows: Array, places: Array) -> Array:
        output = module.apply({"params": params}, rows, places)
        return cast(Array, output)  # nothing is mutable

    return Network(init, apply)
