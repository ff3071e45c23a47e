"""Generators and discriminators of images.

Generators normalise the channels of each pixel on its own, and discriminators normalise nothing: batch normalisation,
which `batch_norm` has for both, makes the logit of an example depend on the others in its batch, so that a gradient
penalty would no longer be about the slope at one example (Gulrajani et al. 2017, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.networks.attention import SelfAttention
from genjax.networks.convolutional import Convolution, convolutional_encoder
from genjax.networks.linen import from_linen
from genjax.networks.normalised import batch_normalised
from genjax.shapes import check_rank
from genjax.types import Array, Network

leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.2)  # max(z, z / 5)


def pixel_norm(x: Array) -> Array:
    """Divides each pixel's channels by their root mean square.

        x / sqrt(mean_c x_c^2 + 1e-8)

    Args:
      x: [..., C].

    Returns:
      [..., C].

    Source: Karras et al. 2018, section 4.2.
    """
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-8)


def average_pool(x: Array) -> Array:
    """Halves an image by averaging 2 x 2 pixels; an odd edge is averaged with itself.

    Args:
      x: [B, H, W, C].

    Returns:
      [B, ceil(H/2), ceil(W/2), C].

    Raises:
      ValueError: x is not [B, H, W, C].
    """
    check_rank(4, x=x)
    batch, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return jnp.mean(x.reshape(batch, (height + 1) // 2, 2, (width + 1) // 2, 2, channels), axis=(2, 4))


def upsample(x: Array) -> Array:
    """Doubles an image by repeating each pixel 2 x 2 times.

    Args:
      x: [B, H, W, C].

    Returns:
      [B, 2H, 2W, C].
    """
    return x.repeat(2, axis=1).repeat(2, axis=2)


def halved_sizes(image_shape: tuple[int, int, int], num: int) -> list[tuple[int, int]]:
    """(H, W), and the sizes after each of `num` halvings, rounded up."""
    sizes = [image_shape[:2]]
    for _ in range(num):
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def _normalised(x: Array, name: str, *, batch_norm: bool, train: bool) -> Array:
    """Pixel or batch normalisation, within a Linen module, which keeps the parameters and the moments of the latter."""
    return batch_normalised(x, name, train=train) if batch_norm else pixel_norm(x)


class Generator(nn.Module):
    """The generator of DCGAN, z [B, d] -> x [B, H, W, C]."""

    image_shape: tuple[int, int, int]
    features: tuple[int, ...]
    hidden: tuple[int, ...] = ()
    self_attention: bool = False
    batch_norm: bool = False

    @nn.compact
    def __call__(self, z: Array, train: bool = False) -> Array:
        norm = partial(_normalised, batch_norm=self.batch_norm, train=train)
        for depth, units in enumerate(self.hidden, start=1):
            h = nn.Dense(units, use_bias=not self.batch_norm, name=f"hidden_{depth}")(z)
            z = jax.nn.relu(norm(h, f"hidden_norm_{depth}"))
        *sizes, (height, width) = halved_sizes(self.image_shape, len(self.features))
        channels = (self.image_shape[2], *self.features)
        x = nn.Dense(height * width * channels[-1], name="dense")(z).reshape(z.shape[0], height, width, channels[-1])
        for depth in range(len(self.features), 0, -1):
            if self.self_attention and depth == 1:
                x = SelfAttention(name="attention")(x)
            height, width = sizes[depth - 1]
            use_bias = depth == 1 or not self.batch_norm  # a normalisation that follows would remove it
            layer = Convolution(channels[depth - 1], 4, 2, "transposed", use_bias, name=f"convolution_{depth}")
            x = layer(jax.nn.relu(norm(x, f"norm_{depth}")))[:, :height, :width]
        return jax.nn.sigmoid(x)


class ResidualGenerator(nn.Module):
    """A generator of residual blocks, z [B, d] -> x [B, H, W, C]."""

    image_shape: tuple[int, int, int]
    features: tuple[int, ...]
    self_attention: bool = False
    batch_norm: bool = False

    @nn.compact
    def __call__(self, z: Array, train: bool = False) -> Array:
        norm = partial(_normalised, batch_norm=self.batch_norm, train=train)
        *sizes, (height, width) = halved_sizes(self.image_shape, len(self.features))
        channels = (self.features[0], *self.features)
        x = nn.Dense(height * width * channels[-1], name="dense")(z).reshape(z.shape[0], height, width, channels[-1])
        for depth in range(len(self.features), 0, -1):
            if self.self_attention and depth == 1:
                x = SelfAttention(name="attention")(x)
            height, width = sizes[depth - 1]
            convolution = partial(Convolution, channels[depth - 1], stride=1)
            y, use_bias = jax.nn.relu(norm(x, f"norm_{depth}_1")), not self.batch_norm  # which removes it
            y = convolution(kernel_size=3, kind="upsampled", use_bias=use_bias, name=f"convolution_{depth}_1")(y)
            y = convolution(kernel_size=3, name=f"convolution_{depth}_2")(jax.nn.relu(norm(y, f"norm_{depth}_2")))
            # a convolution of 1 x 1 is the same before and after the upsampling
            x = (y + upsample(convolution(kernel_size=1, name=f"shortcut_{depth}")(x)))[:, :height, :width]
        return jax.nn.sigmoid(Convolution(self.image_shape[2], 3, 1, name="output")(jax.nn.relu(norm(x, "norm"))))


class ResidualDiscriminator(nn.Module):
    """A discriminator of residual blocks, x [B, H, W, C] -> [B, *output_shape]."""

    output_shape: tuple[int, ...]
    features: tuple[int, ...]
    with_features: bool = False
    self_attention: bool = False
    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Any:
        def act(x: Array, name: str) -> Array:
            return leaky_relu(batch_normalised(x, name, train=train) if self.batch_norm else x)

        for depth, features in enumerate(self.features, start=1):
            convolution = partial(Convolution, features, stride=1)
            y, use_bias = x if depth == 1 else act(x, f"norm_{depth}_1"), not self.batch_norm  # which removes it
            y = convolution(kernel_size=3, use_bias=use_bias, name=f"convolution_{depth}_1")(y)
            y = average_pool(convolution(kernel_size=3, name=f"convolution_{depth}_2")(act(y, f"norm_{depth}_2")))
            x = y + convolution(kernel_size=1, name=f"shortcut_{depth}")(average_pool(x))
            if self.self_attention and depth == 1:
                x = SelfAttention(name="attention")(x)
        x = act(x, "norm")
        y = nn.Dense(math.prod(self.output_shape), name="dense")(x.reshape(x.shape[0], -1))
        y = y.reshape(x.shape[0], *self.output_shape)
        return (x, y) if self.with_features else y


def dcgan_generator(
    input_dim: int,
    image_shape: Sequence[int],
    *,
    features: Sequence[int] = (64, 128),
    hidden: Sequence[int] = (),
    self_attention: bool = False,
) -> Network:
    """The generator of DCGAN, the mirror of `dcgan_discriminator`, for any H, W, C >= 1.

        h^0 = z;   h^k = relu(pixel_norm(h^{k-1} V^k + a^k));   x^L = h^K W + b
        x^{l-1} = crop(transposed_convolution(relu(pixel_norm(x^l))) + b^l);   x = sigm(x^0)

    with kernels of 4 x 4 and strides of 2, and pixel normalisation instead of batch normalisation.

    Args:
      input_dim: length of z, including the label where there is one.
      image_shape: (H, W, C).
      features: channels of x^1, ..., x^L; each entry halves the size, rounded up.
      hidden: widths of h^1, ..., h^K; none in DCGAN, one of 1024 in InfoGAN.
      self_attention: let the places of x^1, of half the size, attend to each other (Zhang et al. 2019).

    Returns:
      A network z [B, input_dim] -> x [B, H, W, C] in (0, 1).

    Source: Radford, Metz & Chintala 2016; Chen et al. 2016, appendix C.1.
    """
    height, width, channels = image_shape
    module = Generator((height, width, channels), tuple(features), tuple(hidden), self_attention)
    return from_linen(module, (input_dim,))


def dcgan_discriminator(
    image_shape: Sequence[int],
    output_shape: Sequence[int] = (),
    *,
    features: Sequence[int] = (64, 128),
    hidden: Sequence[int] = (),
    with_features: bool = False,
    self_attention: bool = False,
) -> Network:
    """The discriminator of DCGAN: strided convolutions, leaky rectifiers and a linear layer.

    It is `convolutional_encoder` with kernels of 4 x 4, strides of 2 and slopes of 0.2.

    Args:
      image_shape: (H, W, C).
      output_shape: (), or (1 + K,) for further outputs beside the logit, as `discriminator_heads` reads them.
      features: channels of the convolutions.
      hidden: widths of the dense layers between the last map and the output; none in DCGAN, one of 1024 in InfoGAN.
      with_features: return the last hidden layer, after its rectifier, before the output: (layer, output).
      self_attention: let the places of the first convolution's map attend to each other (Zhang et al. 2019).

    Returns:
      A network x [B, H, W, C] -> [B, *output_shape], by default the logit.

    Source: Radford, Metz & Chintala 2016; Chen et al. 2016, appendix C.1.
    """
    return convolutional_encoder(
        image_shape,
        output_shape,
        features=features,
        hidden=hidden,
        activation=leaky_relu,
        with_features=with_features,
        self_attention=self_attention,
    )


def residual_generator(
    input_dim: int, image_shape: Sequence[int], *, features: Sequence[int] = (64, 128), self_attention: bool = False
) -> Network:
    """A generator of residual blocks, for any H, W, C >= 1.

        x^L = z W + b;   x^{l-1} = crop(c_2(act(c_1(up(act(x^l))))) + up(c_0(x^l)));   x = sigm(c(act(x^0)))

    where act = relu(pixel_norm(.)), up doubles the size, c, c_1, c_2 are convolutions of 3 x 3, and c_0 is one of 1 x
    1.

    Args:
      input_dim: length of z, including the label where there is one.
      image_shape: (H, W, C).
      features: channels of x^1, ..., x^L; x^0 has those of x^1.
      self_attention: let the places of x^1, of half the size, attend to each other (Zhang et al. 2019).

    Returns:
      A network z [B, input_dim] -> x [B, H, W, C] in (0, 1).

    Source: Gulrajani et al. 2017, appendix F; Miyato et al. 2018, appendix B.4.
    """
    height, width, channels = image_shape
    return from_linen(ResidualGenerator((height, width, channels), tuple(features), self_attention), (input_dim,))


def residual_discriminator(
    image_shape: Sequence[int],
    output_shape: Sequence[int] = (),
    *,
    features: Sequence[int] = (64, 128),
    with_features: bool = False,
    self_attention: bool = False,
) -> Network:
    """A discriminator of residual blocks, for any H, W, C >= 1.

        x^l = pool(c_2(act(c_1(act(x^{l-1}))))) + c_0(pool(x^{l-1}));   logit = flat(act(x^L)) W + b

    where act is a leaky rectifier (the first block begins without it), pool averages 2 x 2 pixels, c_1, c_2 are
    convolutions of 3 x 3, and c_0 is one of 1 x 1.

    Args:
      image_shape: (H, W, C).
      output_shape: (), or (1 + K,) for further outputs beside the logit, as `discriminator_heads` reads them.
      features: channels of x^1, ..., x^L.
      with_features: return act(x^L) before the output: (act(x^L), output).
      self_attention: let the places of x^1, of half the size, attend to each other (Zhang et al. 2019).

    Returns:
      A network x [B, H, W, C] -> [B, *output_shape], by default the logit.

    Source: Gulrajani et al. 2017, appendix F; Miyato et al. 2018, appendix B.4.
    """
    return from_linen(
        ResidualDiscriminator(tuple(output_shape), tuple(features), with_features, self_attention), tuple(image_shape)
    )
