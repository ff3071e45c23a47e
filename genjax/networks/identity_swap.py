"""The networks of an identity swap: a generator with blocks that insert an identity, and the identity encoder's body.

No normalisation depends on other examples, and only the blocks normalise. Convolutions are padded with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.networks.convolutional import Convolution, convolutional_encoder
from genjax.networks.linen import from_linen
from genjax.shapes import check_rank, check_same_shape
from genjax.types import Array, Network

_leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.1)
# factor on a v of unit length: with 1 the scales and shifts hardly depend on v for hundreds of steps; with 16 some
# generators end in black and white, because Adam's steps are larger by the same factor
_GAIN = 4.0


def adaptive_instance_norm(x: Array, scale: Array, shift: Array, *, epsilon: float = 1e-5) -> Array:
    """Adaptive instance normalisation (AdaIN): gives each channel of each image a mean and standard deviation.

        y_c = scale_c (x_c - mu_c) / sqrt(var_c + epsilon) + shift_c

    with mu_c and var_c (biased) over H x W. The image's own means and deviations are lost: x and a x + b, a > 0, give
    the same result, up to epsilon. Scale 1 and shift 0 is instance normalisation.

    Args:
      x: [B, H, W, C].
      scale, shift: [B, C].
      epsilon: keeps the division finite.

    Returns:
      [B, H, W, C].

    Raises:
      ValueError: shapes that do not fit.

    Source: Huang & Belongie 2017, equation 8.
    """
    check_rank(4, x=x)
    check_same_shape(scale=scale, shift=shift)
    if scale.shape != (x.shape[0], x.shape[3]):
        raise ValueError(f"x [B, H, W, C] and scale [B, C] do not fit: {x.shape} and {scale.shape}")
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=(1, 2), keepdims=True)
    return scale[:, None, None] * (x - mean) * jax.lax.rsqrt(variance + epsilon) + shift[:, None, None]


class _Modulated(nn.Module):
    """A convolution of 3 x 3, then AdaIN with moments from the identity: scale 1 + v W + b, shift v W' + b'."""

    @nn.compact
    def __call__(self, x: Array, v: Array) -> Array:
        channels = x.shape[-1]
        x = Convolution(channels, 3, 1, use_bias=False, name="convolution")(x)  # AdaIN would remove a bias
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
    """The generator of SimSwap: draws the target image with another identity.

        h = Enc(2 x - 1);   N times  h <- h + AdaIN(conv(relu(AdaIN(conv(h), v))), v);   y = sigm(Dec(h))

    Enc is a convolution of 5 x 5 and one of 3 x 3 and stride 2 for each further entry of `features`; Dec is its mirror
    of doubled pixels and convolutions of 3 x 3; both have leaky rectifiers. The identity enters only through the scales
    and shifts of AdaIN, which are affine in 4 v, for a v of unit length.

    Args:
      image_shape: (H, W, C), any.
      identity_dim: m.
      features: channels, from the full size to the smallest, where the blocks are.
      num_blocks: N; 9 in the paper.
      skips: whether the decoder also gets the encoder's maps of each size; not in the paper.
      blend: whether the decoder also returns a mask m [B, H, W, 1], and the image is m y + (1 - m) x, so that what does
        not belong to the face is copied from the target (Pumarola et al. 2018, equation 1).

    Returns:
      A network (target [B, H, W, C] in [0, 1], identity v [B, m]) -> image [B, H, W, C] in (0, 1).

    Source: Chen et al. 2020, section 3; AdaIN without batch statistics.
    """
    height, width, channels = image_shape
    module = _SwapGenerator((height, width, channels), tuple(features), num_blocks, skips, blend)
    return from_linen(module, (height, width, channels), (identity_dim,))


def identity_network(
    image_shape: Sequence[int], identity_dim: int, *, features: Sequence[int] = (32, 64, 128)
) -> Network:
    """The body of an identity encoder: convolutions of 3 x 3, stride 2 and rectifiers on 2 x - 1, then a linear layer.

    Args:
      image_shape: (H, W, C).
      identity_dim: m.
      features: channels of the convolutions.

    Returns:
      A network x [B, H, W, C] in [0, 1] -> [B, m], of any length.
    """
    encoder = convolutional_encoder(
        image_shape, (identity_dim,), features=features, kernel_size=3, activation=jax.nn.relu
    )
    return Network(encoder.init, lambda params, x: encoder.apply(params, 2 * x - 1))
