"""The networks of an identity swap: an encoder of the target, blocks that put the source's identity in, a decoder.

No normalisation uses other examples, and none is used outside the blocks. Convolutions are padded with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.networks.convolutional import Convolution, convolutional_encoder
from genjax.networks.linen import from_linen
from genjax.types import Array, Network

_leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.1)
# of a v of unit length: with 1 the scales and shifts hardly depend on it for hundreds of steps; with 16 some generators
# end in black and white, for Adam's steps are as much larger there
_GAIN = 4.0


def adaptive_instance_norm(x: Array, scale: Array, shift: Array, *, epsilon: float = 1e-5) -> Array:
    """Gives each channel of each image the wanted mean and standard deviation over its pixels: AdaIN.

        y_c = scale_c (x_c - mu_c) / sqrt(var_c + epsilon) + shift_c

    with mu_c and var_c (biased) over H x W. Blind to the image's own means and deviations: of x and of a x + b, a > 0,
    it makes the same, up to epsilon. Scale 1 and shift 0 is instance normalisation.

    Args:
      x: [B, H, W, C].
      scale, shift: [B, C].

    Returns:
      [B, H, W, C].

    Source: Huang & Belongie 2017, equation 8.
    """
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=(1, 2), keepdims=True)
    return scale[:, None, None] * (x - mean) * jax.lax.rsqrt(variance + epsilon) + shift[:, None, None]


class _Modulated(nn.Module):
    """A convolution of 3 x 3, and AdaIN to the moments that the identity asks for: 1 + v W + b, and v W' + b'."""

    @nn.compact
    def __call__(self, x: Array, v: Array) -> Array:
        channels = x.shape[-1]
        x = Convolution(channels, 3, 1, use_bias=False, name="convolution")(x)  # AdaIN would take a bias away again
        scale, shift = nn.Dense(channels, name="scale")(v), nn.Dense(channels, name="shift")(v)
        return adaptive_instance_norm(x, 1 + scale, shift)


class _IdentityBlock(nn.Module):
    @nn.compact
    def __call__(self, x: Array, v: Array) -> Array:
        y = jax.nn.relu(_Modulated(name="first")(x, v))
        return x + _Modulated(name="second")(y, v)


class _SwapGenerator(nn.Module):
    image_shape: tuple[int, int, int]
    features: tuple[int, ...]
    num_blocks: int
    skips: bool
    blend: bool

    @nn.compact
    def __call__(self, image: Array, v: Array) -> Array:
        v = _GAIN * v
        x = _leaky_relu(Convolution(self.features[0], 5, 1, name="input")(2 * image - 1))
        seen = []
        for depth, features in enumerate(self.features[1:], start=1):
            seen.append(x)
            x = _leaky_relu(Convolution(features, 3, 2, name=f"down_{depth}")(x))
        for index in range(1, self.num_blocks + 1):
            x = _IdentityBlock(name=f"identity_{index}")(x, v)
        for depth in range(len(self.features) - 1, 0, -1):
            beside = seen[depth - 1]
            x = Convolution(self.features[depth - 1], 3, 1, kind="upsampled", name=f"up_{depth}")(x)
            x = x[:, : beside.shape[1], : beside.shape[2]]
            if self.skips:
                x += Convolution(self.features[depth - 1], 3, 1, use_bias=False, name=f"skip_{depth}")(beside)
            x = _leaky_relu(x)
        channels = self.image_shape[2]
        y = jax.nn.sigmoid(Convolution(channels + self.blend, 5, 1, name="output")(x))
        return y[..., channels:] * y[..., :channels] + (1 - y[..., channels:]) * image if self.blend else y


def identity_swap_generator(
    image_shape: Sequence[int],
    identity_dim: int,
    *,
    features: Sequence[int] = (32, 64, 128),
    num_blocks: int = 4,
    skips: bool = False,
    blend: bool = False,
) -> Network:
    """The generator of SimSwap: target [B, H, W, C] in [0, 1] and identity v [B, m] -> image [B, H, W, C] in (0, 1).

        h = Enc(2 x - 1);   N times  h <- h + AdaIN(conv(relu(AdaIN(conv(h), v))), v);   y = sigm(Dec(h))

    Enc is a convolution of 5 x 5 and one of 3 x 3 and stride 2 for each further entry of `features`, Dec its mirror of
    pixels doubled and convolutions of 3 x 3, with leaky rectifiers. The identity enters through the scales and shifts
    of AdaIN alone, affine in 4 v, for a v of unit length.

    Args:
      image_shape: (H, W, C), any.
      identity_dim: m.
      features: channels, from the full size to the smallest, where the blocks are.
      num_blocks: N; the paper's is 9.
      skips: the decoder also sees the encoder's maps of each size, which the paper's does not.
      blend: the decoder gives a mask as well, m [B, H, W, 1], and the image is m y + (1 - m) x: what is not of the face
        need not be drawn anew (Pumarola et al. 2018, equation 1).

    Source: Chen et al. 2020, section 3; AdaIN without batch statistics.
    """
    height, width, channels = image_shape
    module = _SwapGenerator((height, width, channels), tuple(features), num_blocks, skips, blend)
    return from_linen(module, (height, width, channels), (identity_dim,))


def identity_network(
    image_shape: Sequence[int], identity_dim: int, *, features: Sequence[int] = (32, 64, 128)
) -> Network:
    """The body of an identity encoder: x [B, H, W, C] in [0, 1] -> [B, m], of any length.

    Convolutions of 3 x 3, stride 2 and rectifiers on 2 x - 1, then a linear layer.
    """
    encoder = convolutional_encoder(
        image_shape, (identity_dim,), features=features, kernel_size=3, activation=jax.nn.relu
    )
    return Network(encoder.init, lambda params, x: encoder.apply(params, 2 * x - 1))
