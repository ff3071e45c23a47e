"""Discriminators with a map of logits, one for each patch of an image, and discriminators of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from genjax.networks.adversarial import average_pool, leaky_relu
from genjax.networks.convolutional import Convolution
from genjax.networks.linen import from_linen
from genjax.types import Array, Key, Network, Params


class _PatchDiscriminator(nn.Module):
    features: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for depth, features in enumerate(self.features, start=1):
            x = leaky_relu(Convolution(features, 4, 2, name=f"convolution_{depth}")(x))
        return Convolution(1, 3, 1, name="output")(x)[..., 0]


class _MatchingDiscriminator(nn.Module):
    features: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> tuple[tuple[Array, ...], Array]:
        x, maps = 2 * x - 1, []
        for depth, features in enumerate(self.features, start=1):
            x = leaky_relu(Convolution(features, 4, 2, name=f"convolution_{depth}")(x))
            maps.append(x)
        maps.append(leaky_relu(Convolution(x.shape[-1], 3, 1, name="last")(x)))
        return tuple(maps), Convolution(1, 3, 1, name="output")(maps[-1])[..., 0]


def patch_discriminator(image_shape: Sequence[int], *, features: Sequence[int] = (64, 128)) -> Network:
    """A discriminator with a map of logits, one for each patch of the image.

    L convolutions of 4 x 4 and stride 2 with leaky rectifiers, then one of 3 x 3. Each logit depends on a square with
    sides of 5 * 2^L - 2 pixels, 18 with two layers.

    Args:
      image_shape: (H, W, C).
      features: channels of the L convolutions.

    Returns:
      A network x [B, H, W, C] -> logits [B, ceil(H / 2^L), ceil(W / 2^L)].

    Source: Isola et al. 2017, section 3.2.2.
    """
    return from_linen(_PatchDiscriminator(tuple(features)), tuple(image_shape))


def matching_discriminator(image_shape: Sequence[int], *, features: Sequence[int] = (64, 128)) -> Network:
    """A patch discriminator that also returns its hidden maps, for `losses.feature_matching`.

    On 2 x - 1, L convolutions of 4 x 4 and stride 2 and one of 3 x 3, each with a leaky rectifier, give the L + 1 maps;
    a further convolution of 3 x 3 gives the logits.

    Args:
      image_shape: (H, W, C).
      features: channels of the L convolutions.

    Returns:
      A network x [B, H, W, C] -> (maps, logits): map l is [B, ceil(H / 2^l), ceil(W / 2^l), features[l - 1]], the last
      shape occurs twice, and the logits are [B, ceil(H / 2^L), ceil(W / 2^L)].

    Source: Wang et al. 2018, appendix; without normalisation.
    """
    return from_linen(_MatchingDiscriminator(tuple(features)), tuple(image_shape))


def multi_scale(discriminators: Sequence[Network]) -> Network:
    """Discriminators of the same image at successively halved sizes.

    The first gets x, the next `average_pool(x)`, and so on.

    Args:
      discriminators: each made for its size, the finest first.

    Returns:
      A network x [B, H, W, C] -> a tuple of their outputs; its params are {"scale_1": the first's, ...}.

    Source: Wang et al. 2018, section 3.2.
    """

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(discriminators))
        return {f"scale_{i}": each.init(keys[i - 1]) for i, each in enumerate(discriminators, start=1)}

    def apply(params: Params, x: Array) -> tuple[Any, ...]:
        answers = []
        for i, each in enumerate(discriminators, start=1):
            answers.append(each.apply(params[f"scale_{i}"], x))
            x = average_pool(x)
        return tuple(answers)

    return Network(init, apply)
