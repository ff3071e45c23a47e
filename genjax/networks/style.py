"""A generator of images whose code is a style, which sets the moments of every map (Karras, Laine & Aila 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.networks.adversarial import halved_sizes, leaky_relu, pixel_norm
from genjax.networks.attention import SelfAttention
from genjax.networks.convolutional import Convolution
from genjax.networks.identity_swap import adaptive_instance_norm
from genjax.networks.linen import from_linen, stateful_from_linen
from genjax.types import Array, Network, StatefulNetwork

NOISE = "fixed_noise"
"""The name of the fixed maps of noise among the params; `gradients.frozen` keeps the optimizer from them."""

MAPPING_RATE = 0.01
"""The share of the learning rate at which the mapping learns, if the optimizer's steps do not depend on the gradient's
size, as Adam's do not."""


class Noise(nn.Module):
    """Adds one map of noise to all channels, each times a learned strength: x_c + s_c n, n ~ N(0, I) in every place.

    In training each example has its own n, and otherwise all have the same, which was drawn with the parameters.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        shape = (*x.shape[1:3], 1)
        strength = self.param("strength", nn.initializers.zeros, x.shape[-1:])
        fixed = self.variable(NOISE, "map", lambda: jax.random.normal(self.make_rng("params"), shape))
        n = jax.random.normal(self.make_rng("dropout"), (x.shape[0], *shape)) if train else fixed.value[None]
        return x + n * strength.reshape(1, 1, 1, -1)


class _Mapping(nn.Module):
    """A layer of the mapping, act(m (K x + b)), m = MAPPING_RATE, whose first K is 1 / m times as large as usual."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        # as long as x behind the rectifier: with Linen's default each layer would halve its square
        first = nn.initializers.variance_scaling(2 / MAPPING_RATE**2, "fan_in", "truncated_normal")
        return leaky_relu(MAPPING_RATE * nn.Dense(self.features, kernel_init=first, name="dense")(x))


class _Styled(nn.Module):
    """A convolution of 3 x 3, cropped, noise if there is any, a leaky rectifier, and AdaIN with the style's moments."""

    features: int
    size: tuple[int, int]
    kind: Literal["strided", "upsampled"] = "strided"
    noise: bool = False

    @nn.compact
    def __call__(self, x: Array, w: Array, train: bool = False) -> Array:
        height, width = self.size
        x = Convolution(self.features, 3, 1, self.kind, name="convolution")(x)[:, :height, :width]
        x = leaky_relu(Noise(name="noise")(x, train) if self.noise else x)
        scale, shift = (nn.Dense(self.features, name=name)(w) for name in ("scale", "shift"))
        return adaptive_instance_norm(x, 1 + scale, shift)


class _StyleGenerator(nn.Module):
    image_shape: tuple[int, int, int]
    features: tuple[int, ...]
    style_dim: int
    num_mapping_layers: int
    self_attention: bool
    noise: bool = False

    @nn.compact
    def __call__(self, z: Array, train: bool = False) -> Array:
        styled = partial(_Styled, noise=self.noise)
        w = pixel_norm(z)
        for index in range(1, self.num_mapping_layers + 1):
            w = _Mapping(self.style_dim, name=f"mapping_{index}")(w)
        sizes, channels = halved_sizes(self.image_shape, len(self.features)), (self.features[0], *self.features)
        constant = self.param("constant", nn.initializers.normal(1.0), (*sizes[-1], channels[-1]))
        x = jnp.broadcast_to(constant, (z.shape[0], *constant.shape))
        x = styled(channels[-1], sizes[-1], name="style_0")(x, w, train)
        for depth in range(len(self.features), 0, -1):
            if self.self_attention and depth == 1:
                x = SelfAttention(name="attention")(x)
            size, features = sizes[depth - 1], channels[depth - 1]
            x = styled(features, size, "upsampled", name=f"style_{depth}_1")(x, w, train)
            x = styled(features, size, name=f"style_{depth}_2")(x, w, train)
        return jax.nn.sigmoid(Convolution(self.image_shape[2], 1, 1, name="output")(x))


def style_generator(
    input_dim: int,
    image_shape: Sequence[int],
    *,
    features: Sequence[int] = (64, 128),
    style_dim: int = 64,
    num_mapping_layers: int = 4,
    self_attention: bool = False,
) -> Network:
    """A small generator in the manner of StyleGAN, for any H, W, C >= 1.

        w = f(z / rms(z));   x^L = s(c);   x^{l-1} = s(crop(s(up(x^l))));   x = sigm(c_0(x^0))
        s(x) = AdaIN(act(conv(x) + b), 1 + A w + a, A' w + a')

    with a learned constant map c, an MLP f of leaky rectifiers, convolutions of 3 x 3 with a leaky rectifier, act, and
    c_0 of 1 x 1. The code reaches the image through the mean and standard deviation of each channel of each map alone.
    The layers of f are act(m (K x + b)), m = .01, with a first K that is 1 / m times as large as usual, so that f
    learns at .01 of the learning rate of Adam. There are no noise inputs, which `noisy_style_generator` has, and no
    progressive growing.

    Args:
      input_dim: length of z, including the label where there is one.
      image_shape: (H, W, C).
      features: channels of x^1, ..., x^L; x^0 has those of x^1. Each entry halves the size, rounded up.
      style_dim: length of w and width of f.
      num_mapping_layers: of f; 8 of 512 in the paper. With 0, w is the normalised z.
      self_attention: let the places of x^1, of half the size, attend to each other (Zhang et al. 2019).

    Returns:
      A network z [B, input_dim] -> x [B, H, W, C] in (0, 1).

    Source: Karras, Laine & Aila 2019, section 2, equation 1 and appendix C.
    """
    height, width, channels = image_shape
    module = _StyleGenerator((height, width, channels), tuple(features), style_dim, num_mapping_layers, self_attention)
    return from_linen(module, (input_dim,))


def noisy_style_generator(
    input_dim: int,
    image_shape: Sequence[int],
    *,
    features: Sequence[int] = (64, 128),
    style_dim: int = 64,
    num_mapping_layers: int = 4,
    self_attention: bool = False,
) -> StatefulNetwork:
    """`style_generator` with noise inputs, for what varies within an image and is no matter of style.

        s(x) = AdaIN(act(conv(x) + b + t n), 1 + A w + a, A' w + a'),   n ~ N(0, I) [H, W, 1]

    with strengths t [channels] that begin at 0, where it is `style_generator` exactly. In training every example has
    its own n, drawn from the key. Evaluated, all have the same n, drawn with the parameters and kept among them, so
    that an image is a function of z; the authors' code does this with `randomize_noise=False`.

    Args:
      input_dim: length of z, including the label where there is one.
      image_shape: (H, W, C).
      features: channels of x^1, ..., x^L; x^0 has those of x^1. Each entry halves the size, rounded up.
      style_dim: length of w and width of f.
      num_mapping_layers: of f.
      self_attention: let the places of x^1, of half the size, attend to each other (Zhang et al. 2019).

    Returns:
      A network z [B, input_dim] -> x [B, H, W, C] in (0, 1), whose params are {"params", "fixed_noise"}; nothing but
      `gradients.frozen` keeps an optimizer from the latter.

    Source: Karras, Laine & Aila 2019, section 2 and figure 1.
    """
    height, width, channels = image_shape
    module = _StyleGenerator(
        (height, width, channels), tuple(features), style_dim, num_mapping_layers, self_attention, noise=True
    )
    return stateful_from_linen(module, (input_dim,), training={"train": True}, evaluation={"train": False})
