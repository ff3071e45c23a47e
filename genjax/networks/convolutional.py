"""A convolutional encoder and a decoder that mirrors it, for images of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn

from genjax.networks.attention import SelfAttention
from genjax.networks.convolution import convolution, transposed_convolution, upsampled_convolution
from genjax.networks.linen import from_linen
from genjax.networks.normalised import batch_normalised
from genjax.types import Array, Network


class Convolution(nn.Module):
    """A convolution of one kind and a bias: params {"kernel": [k, k, C, O], "bias": [O]}."""

    features: int  # O
    kernel_size: int  # k
    stride: int  # 1 where the kind is "upsampled"
    kind: Literal["strided", "transposed", "upsampled"] = "strided"
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        if self.kind == "upsampled":
            y: Any = upsampled_convolution(x, kernel)
        else:
            convolve = transposed_convolution if self.kind == "transposed" else convolution
            y = convolve(x, kernel, stride=self.stride)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return y + bias.reshape(1, 1, 1, -1)


class Encoder(nn.Module):
    """Strided convolutions and a linear last layer, x [B, H, W, C] -> [B, *output_shape] or a map."""

    output_shape: tuple[int, ...]
    features: tuple[int, ...]
    kernel_size: int
    stride: int
    activation: Callable[[Array], Array]
    hidden: tuple[int, ...] = ()
    map_dim: int = 0
    with_features: bool = False
    self_attention: bool = False
    batch_norm: bool = False  # after all layers but the first and the last

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Any:
        layer = partial(Convolution, kernel_size=self.kernel_size, stride=self.stride)
        for depth, features in enumerate(self.features, start=1):
            normalised = self.batch_norm and depth > 1
            x = layer(features, use_bias=not normalised, name=f"convolution_{depth}")(x)
            x = self.activation(batch_normalised(x, f"norm_{depth}", train=train) if normalised else x)
            if self.self_attention and depth == 1:
                x = SelfAttention(name="attention")(x)
        if self.map_dim:
            return nn.Dense(self.map_dim, name="dense")(x)
        for depth, units in enumerate(self.hidden, start=1):
            h = nn.Dense(units, use_bias=not self.batch_norm, name=f"hidden_{depth}")(x.reshape(x.shape[0], -1))
            x = self.activation(batch_normalised(h, f"hidden_norm_{depth}", train=train) if self.batch_norm else h)
        y = nn.Dense(math.prod(self.output_shape), name="dense")(x.reshape(x.shape[0], -1))
        y = y.reshape(x.shape[0], *self.output_shape)
        return (x, y) if self.with_features else y


class _Decoder(nn.Module):
    image_shape: tuple[int, int, int]
    features: tuple[int, ...]
    kernel_size: int
    stride: int
    activation: Callable[[Array], Array]

    from_map: bool = False

    @nn.compact
    def __call__(self, z: Array) -> Array:
        sizes, channels = (
            _sizes(self.image_shape, len(self.features), self.stride),
            (self.image_shape[2], *self.features),
        )
        smallest = (*sizes[-1], channels[-1])
        if self.from_map:
            x = Convolution(channels[-1], 3, 1, name="convolution")(z)
        else:
            x = nn.Dense(math.prod(smallest), name="dense")(z).reshape(z.shape[0], *smallest)
        for depth in range(len(self.features), 0, -1):
            name = f"convolution_{depth}"
            layer = Convolution(channels[depth - 1], self.kernel_size, self.stride, kind="transposed", name=name)
            height, width = sizes[depth - 1]
            x = layer(self.activation(x))[:, :height, :width]
        return x


def _sizes(image_shape: Sequence[int], num: int, stride: int) -> list[tuple[int, int]]:
    """Heights and widths of an image and of the outputs of the encoder's convolutions."""
    sizes = [(image_shape[0], image_shape[1])]
    for _ in range(num):
        sizes.append((-(-sizes[-1][0] // stride), -(-sizes[-1][1] // stride)))
    return sizes


def convolutional_encoder(
    image_shape: Sequence[int],
    output_shape: Sequence[int],
    *,
    features: Sequence[int] = (32, 64),
    kernel_size: int = 4,
    stride: int = 2,
    activation: Callable[[Array], Array],
    hidden: Sequence[int] = (),
    with_features: bool = False,
    self_attention: bool = False,
) -> Network:
    """An encoder of strided convolutions and a linear last layer, for any H, W, C >= 1.

        x^l = act(convolution(x^{l-1}) + b^l), each size going n -> ceil(n / stride)
        h^0 = flat(x^L);   h^k = act(h^{k-1} V^k + a^k);   y = h^K W + b

    Args:
      image_shape: (H, W, C).
      output_shape: of one output.
      features: channels of x^1, ..., x^L.
      kernel_size: of every convolution, on both axes.
      stride: of every convolution, on both axes.
      activation: act.
      hidden: widths of h^1, ..., h^K, the dense layers between the last convolution and the output.
      with_features: return (x^L [B, H', W', features[-1]], y) instead of y, or (h^K [B, hidden[-1]], y).
      self_attention: let the places of x^1 attend to each other (Zhang et al. 2019).

    Returns:
      A network x [B, H, W, C] -> y [B, *output_shape].

    Source: LeCun et al. 1998.
    """
    module = Encoder(
        tuple(output_shape),
        tuple(features),
        kernel_size,
        stride,
        activation,
        tuple(hidden),
        with_features=with_features,
        self_attention=self_attention,
    )
    return from_linen(module, tuple(image_shape))


def convolutional_decoder(
    input_dim: int,
    image_shape: Sequence[int],
    *,
    features: Sequence[int] = (32, 64),
    kernel_size: int = 4,
    stride: int = 2,
    activation: Callable[[Array], Array],
) -> Network:
    """The mirror of `convolutional_encoder`, for any H, W, C >= 1.

        x^L = z W + b;   x^{l-1} = crop(transposed_convolution(act(x^l)) + b^l)

    where x^l has the size and the channels that it has in the encoder, so the last layer is linear with C channels.

    Args:
      input_dim: length of z.
      image_shape: (H, W, C).
      features: channels of x^1, ..., x^L, in the encoder's order.
      kernel_size: of every transposed convolution, on both axes.
      stride: of every transposed convolution, on both axes.
      activation: act.

    Returns:
      A network z [B, input_dim] -> logits [B, H, W, C].

    Source: Dumoulin & Visin 2016, chapter 4.
    """
    height, width, channels = image_shape
    module = _Decoder((height, width, channels), tuple(features), kernel_size, stride, activation)
    return from_linen(module, (input_dim,))


def map_encoder(
    image_shape: Sequence[int],
    map_dim: int,
    *,
    features: Sequence[int] = (32, 64),
    kernel_size: int = 4,
    stride: int = 2,
    activation: Callable[[Array], Array],
) -> Network:
    """A `convolutional_encoder` that keeps the places: its last layer is linear in the channels of each pixel.

        x^l = act(convolution(x^{l-1}) + b^l), each size going n -> ceil(n / stride);   y_{ij} = x^L_{ij} W + b

    Args:
      image_shape: (H, W, C).
      map_dim: d.
      features: channels of x^1, ..., x^L.
      kernel_size: of every convolution, on both axes.
      stride: of every convolution, on both axes.
      activation: act.

    Returns:
      A network x [B, H, W, C] -> y [B, H', W', d] with the sizes of `map_shape`.

    Source: van den Oord et al. 2017, section 4.1, without its residual blocks.
    """
    return from_linen(
        Encoder((), tuple(features), kernel_size, stride, activation, map_dim=map_dim), tuple(image_shape)
    )


def map_decoder(
    map_dim: int,
    image_shape: Sequence[int],
    *,
    features: Sequence[int] = (32, 64),
    kernel_size: int = 4,
    stride: int = 2,
    activation: Callable[[Array], Array],
) -> Network:
    """The mirror of `map_encoder`: a `convolutional_decoder` whose first layer is a convolution of 3 x 3.

        x^L = convolution(z) + b;   x^{l-1} = crop(transposed_convolution(act(x^l)) + b^l)

    Args:
      map_dim: d.
      image_shape: (H, W, C).
      features: channels of x^1, ..., x^L, in the encoder's order.
      kernel_size: of every transposed convolution, on both axes.
      stride: of every transposed convolution, on both axes.
      activation: act.

    Returns:
      A network z [B, H', W', d] -> logits [B, H, W, C].

    Source: van den Oord et al. 2017, section 4.1, without its residual blocks.
    """
    height, width, channels = image_shape
    module = _Decoder((height, width, channels), tuple(features), kernel_size, stride, activation, from_map=True)
    return from_linen(module, (*map_shape(image_shape, len(features), stride=stride), map_dim))


def map_shape(image_shape: Sequence[int], num: int, *, stride: int = 2) -> tuple[int, int]:
    """(H', W') of the map that a `map_encoder` of `num` convolutions makes."""
    return _sizes(image_shape, num, stride)[-1]
