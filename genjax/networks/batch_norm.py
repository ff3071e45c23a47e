"""Batch normalisation in the networks of adversarial games, which the papers give to both players.

In training, each channel is normalised by its mean and variance over the batch and the places of the map,

    y = s (x - m) / sqrt(v + 1e-5) + t

with s and t learned, and otherwise by moving averages of these, m <- .9 m + .1 m_batch and v <- .9 v + .1 v_batch. The
logit of an example depends on its batch then, so that it has no slope of its own that a gradient penalty could be of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn

from genjax.networks.adversarial import Generator, ResidualDiscriminator, ResidualGenerator, leaky_relu
from genjax.networks.convolutional import Encoder
from genjax.networks.linen import stateful_from_linen
from genjax.networks.mlp import MLP
from genjax.types import Array, StatefulNetwork


def _stateful(module: nn.Module, shape: Sequence[int]) -> StatefulNetwork:
    """A module whose argument `train` says by what it normalises."""
    return stateful_from_linen(module, tuple(shape), training={"train": True}, evaluation={"train": False})


def stateful_mlp(
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    *,
    hidden: Sequence[int],
    activation: Callable[[Array], Array],
    output_activation: Callable[[Array], Array] | None = None,
    with_features: bool = False,
) -> StatefulNetwork:
    """An `mlp` with batch normalisation before the activations of its hidden layers, but for the first.

        h^0 = x,   h^1 = act(h^0 W^1 + b^1),   h^l = act(BN(h^{l-1} W^l)),   y = act_out(h^{L-1} W^L + b^L)

    With two hidden layers this is every network of the BiGAN of Donahue et al., where BN has no scale and shift.

    Args:
      input_shape: of one example; flattened in row-major order.
      output_shape: of one output.
      hidden: widths n_1, ..., n_{L-1}, two or more.
      activation: act, of the hidden layers.
      output_activation: act_out; None for the identity, as for logits.
      with_features: return (h^{L-1} [B, n_{L-1}], y) instead of y.

    Returns:
      A network x [B, *input_shape] -> y [B, *output_shape], whose params are {"params", "batch_stats"}.

    Raises:
      ValueError: fewer than two hidden layers, so that nothing would be normalised.

    Source: Donahue, Krahenbuhl & Darrell 2017, appendix C.1; Ioffe & Szegedy 2015, algorithms 1 and 2.
    """
    if len(hidden) < 2:
        raise ValueError("batch normalisation begins at the second hidden layer, and there is none")
    module = MLP(tuple(output_shape), tuple(hidden), activation, output_activation, with_features, batch_norm=True)
    return _stateful(module, input_shape)


def stateful_dcgan_generator(
    input_dim: int,
    image_shape: Sequence[int],
    *,
    features: Sequence[int] = (64, 128),
    hidden: Sequence[int] = (),
    self_attention: bool = False,
) -> StatefulNetwork:
    """`dcgan_generator` with batch normalisation in the place of pixel normalisation, as in the paper.

        x^{l-1} = crop(transposed_convolution(relu(s (x^l - m) / sqrt(v + 1e-5) + t)))

    with s and t [channels] learned, and m and v the means and variances of the channels over batch and places: in
    training those of the batch, otherwise moving averages of them, m <- .9 m + .1 m_batch. Hidden layers are normalised
    in the same way. Only x^L and x^0 have a bias.

    Args:
      input_dim: length of z, including the label where there is one.
      image_shape: (H, W, C).
      features: channels of x^1, ..., x^L.
      hidden: widths of the dense layers between z and x^L.
      self_attention: let the places of x^1, of half the size, attend to each other (Zhang et al. 2019).

    Returns:
      A network z [B, input_dim] -> x [B, H, W, C] in (0, 1), whose params are {"params", "batch_stats"}.

    Source: Radford, Metz & Chintala 2016; Chen et al. 2016, appendix C.1; Ioffe & Szegedy 2015, algorithms 1 and 2.
    """
    height, width, channels = image_shape
    module = Generator((height, width, channels), tuple(features), tuple(hidden), self_attention, batch_norm=True)
    return _stateful(module, (input_dim,))


def stateful_dcgan_discriminator(
    image_shape: Sequence[int],
    output_shape: Sequence[int] = (),
    *,
    features: Sequence[int] = (64, 128),
    hidden: Sequence[int] = (),
    with_features: bool = False,
    self_attention: bool = False,
) -> StatefulNetwork:
    """`dcgan_discriminator` with batch normalisation, as in the paper: in every hidden layer but the first.

        x^1 = act(convolution(x^0) + b^1),   x^l = act(BN(convolution(x^{l-1})))
        h^0 = flat(x^L),   h^k = act(BN(h^{k-1} V^k));   logit = h^K W + b

    Args:
      image_shape: (H, W, C).
      output_shape: (), or (1 + K,) for further outputs beside the logit, as `discriminator_heads` reads them.
      features: channels of x^1, ..., x^L.
      hidden: widths of h^1, ..., h^K, the dense layers between the last map and the output.
      with_features: return the last hidden layer, x^L or h^K, before the output: (layer, output).
      self_attention: let the places of x^1, of half the size, attend to each other (Zhang et al. 2019).

    Returns:
      A network x [B, H, W, C] -> [B, *output_shape], by default the logit, whose params are {"params", "batch_stats"}.

    Raises:
      ValueError: fewer than two hidden layers, convolutions included, so that nothing would be normalised.

    Source: Radford, Metz & Chintala 2016, section 3; Chen et al. 2016, appendix C.1.
    """
    if len(features) + len(hidden) < 2:
        raise ValueError("batch normalisation begins at the second hidden layer, and there is none")
    module = Encoder(
        tuple(output_shape),
        tuple(features),
        kernel_size=4,
        stride=2,
        activation=leaky_relu,
        hidden=tuple(hidden),
        with_features=with_features,
        self_attention=self_attention,
        batch_norm=True,
    )
    return _stateful(module, image_shape)


def stateful_residual_generator(
    input_dim: int, image_shape: Sequence[int], *, features: Sequence[int] = (64, 128), self_attention: bool = False
) -> StatefulNetwork:
    """`residual_generator` with batch normalisation in the place of pixel normalisation, as in the papers.

    Batch normalisation is as in `stateful_dcgan_generator`; c_1 has no bias.

    Args:
      input_dim: length of z, including the label where there is one.
      image_shape: (H, W, C).
      features: channels of x^1, ..., x^L.
      self_attention: let the places of x^1, of half the size, attend to each other (Zhang et al. 2019).

    Returns:
      A network z [B, input_dim] -> x [B, H, W, C] in (0, 1), whose params are {"params", "batch_stats"}.

    Source: Gulrajani et al. 2017, appendix F; Miyato et al. 2018, appendix B.4.
    """
    height, width, channels = image_shape
    module = ResidualGenerator((height, width, channels), tuple(features), self_attention, batch_norm=True)
    return _stateful(module, (input_dim,))


def stateful_residual_discriminator(
    image_shape: Sequence[int],
    output_shape: Sequence[int] = (),
    *,
    features: Sequence[int] = (64, 128),
    with_features: bool = False,
    self_attention: bool = False,
) -> StatefulNetwork:
    """`residual_discriminator` with batch normalisation before every rectifier; c_1 has no bias.

        x^l = pool(c_2(act(BN(c_1(act(BN(x^{l-1}))))))) + c_0(pool(x^{l-1}));   logit = flat(act(BN(x^L))) W + b

    where the first block begins with c_1, as it does in `residual_discriminator`.

    Args:
      image_shape: (H, W, C).
      output_shape: (), or (1 + K,) for further outputs beside the logit, as `discriminator_heads` reads them.
      features: channels of x^1, ..., x^L.
      with_features: return (act(BN(x^L)), output) instead of the output.
      self_attention: let the places of x^1, of half the size, attend to each other (Zhang et al. 2019).

    Returns:
      A network x [B, H, W, C] -> [B, *output_shape], by default the logit, whose params are {"params", "batch_stats"}.

    Source: Gulrajani et al. 2017, appendix F; Ioffe & Szegedy 2015, algorithms 1 and 2.
    """
    module = ResidualDiscriminator(tuple(output_shape), tuple(features), with_features, self_attention, batch_norm=True)
    return _stateful(module, image_shape)
