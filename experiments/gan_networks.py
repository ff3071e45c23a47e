"""The networks of the page `gan`: both players conditional or not, and the discriminator's slope bounded or not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import optax

from experiments import gan_parts
from genjax import networks
from genjax.errors import BadInput
from genjax.types import Network, Params

CONDITIONING = {  # how a discriminator learns of the label
    "concatenated": networks.with_label,
    "projection": networks.label_projection,
    "auxiliary": lambda network, num_classes: networks.discriminator_heads(network),
}


def build(
    flags: Any, shape: tuple[int, ...], num_classes: int
) -> tuple[Network, Network, Callable[[Params], Params] | None]:
    """Generator, discriminator, and what follows an update of the latter; with classes, both are conditional."""
    generator = gan_parts.generator(flags, flags.latent_dim + num_classes, shape, self_attention=flags.self_attention)
    of_discriminator = partial(gan_parts.discriminator, flags, self_attention=flags.self_attention)
    if not num_classes:
        return generator, *constrained(flags, of_discriminator(shape))
    if flags.conditioning == "concatenated":
        discriminator = of_discriminator((*shape[:-1], shape[-1] + num_classes))
    else:
        discriminator = of_discriminator(shape, (1 + num_classes,))
    discriminator, project = constrained(flags, discriminator)
    given = CONDITIONING[flags.conditioning](discriminator, num_classes)
    return networks.with_label(generator, num_classes), given, project


def constrained(flags: Any, discriminator: Network) -> tuple[Network, Callable[[Params], Params] | None]:
    """The discriminator under spectral normalisation or clipped weights, and the projection that follows an update."""
    if flags.clip is not None and flags.spectral_norm:
        raise BadInput("`clip` and `spectral_norm` are two ways to bound the discriminator's slope; give one of them")
    if flags.spectral_norm:
        return networks.spectral_norm(discriminator)
    if flags.clip is not None:
        return discriminator, partial(optax.projections.projection_linf_ball, scale=flags.clip)
    return discriminator, None
