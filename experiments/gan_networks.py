"""The networks of the page `gan`: both players conditional or not, and the discriminator's slope bounded or not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import optax

from experiments import gan_parts
from genjax import networks
from genjax.errors import BadInput
from genjax.models import adaptive_augmentation
from genjax.types import Network, Params, StatefulNetwork

CONDITIONING = {  # how a discriminator learns of the label
    "concatenated": networks.with_label,
    "projection": networks.label_projection,
    "auxiliary": lambda network, num_classes: networks.discriminator_heads(network),
}


def build(
    flags: Any, shape: tuple[int, ...], num_classes: int
) -> tuple[Network | StatefulNetwork, Network | StatefulNetwork, Callable[[Params], Params] | None]:
    """Generator, discriminator, and what follows an update of the latter; with classes, both are conditional."""
    generator = of_generator(flags, shape, num_classes)
    discriminator, project = of_discriminator(flags, shape, num_classes)
    if flags.augmentation_target is not None:
        if isinstance(discriminator, StatefulNetwork):
            raise BadInput(
                "the sign of a logit that depends on its batch does not tell how sure a discriminator is; take "
                "--normalization=batch",
                parameter="augmentation_target",
            )
        discriminator = adaptive_augmentation.with_probability(discriminator)
    return generator, discriminator, project


def of_discriminator(
    flags: Any, shape: tuple[int, ...], num_classes: int
) -> tuple[Network | StatefulNetwork, Callable[[Params], Params] | None]:
    """The discriminator, which learns of the label if there are classes, and what follows its update."""
    make = partial(gan_parts.normalized_discriminator, flags, self_attention=flags.self_attention)
    if not num_classes:
        return constrained(flags, make(shape))
    if flags.conditioning == "concatenated":
        discriminator = make((*shape[:-1], shape[-1] + num_classes))
    else:
        discriminator = make(shape, (1 + num_classes,))
    discriminator, project = constrained(flags, discriminator)
    return CONDITIONING[flags.conditioning](discriminator, num_classes), project


def of_generator(flags: Any, shape: tuple[int, ...], num_classes: int) -> Network | StatefulNetwork:
    """The generator with the normalisation of `flags.normalization`; it takes labels if there are classes.

    Raises:
      BadInput: noise inputs of another generator than that of styles; as of `gan_parts.normalized_generator`.
    """
    input_dim = flags.latent_dim + num_classes
    network = gan_parts.normalized_generator(flags, input_dim, shape, self_attention=flags.self_attention)
    if flags.noise_inputs:
        if flags.network != "style":
            raise BadInput("noise is added between the styles of --network=style", parameter="noise_inputs")
        options = {"features": flags.features, "self_attention": flags.self_attention}
        network = networks.noisy_style_generator(input_dim, shape, **options)
    return networks.with_label(network, num_classes) if num_classes else network


def constrained(
    flags: Any, discriminator: Network | StatefulNetwork
) -> tuple[Network | StatefulNetwork, Callable[[Params], Params] | None]:
    """The discriminator under spectral normalisation or clipped weights, and the projection that follows an update."""
    if flags.clip is not None and flags.spectral_norm:
        raise BadInput("`clip` and `spectral_norm` are two ways to bound the discriminator's slope; give one of them")
    if flags.spectral_norm:
        if isinstance(discriminator, StatefulNetwork):
            raise BadInput(
                "batch normalization undoes the scale of the kernels before it; take --normalization=batch",
                parameter="spectral_norm",
            )
        return networks.spectral_norm(discriminator)
    if flags.clip is None:
        return discriminator, None
    clip = partial(optax.projections.projection_linf_ball, scale=flags.clip)
    if isinstance(discriminator, StatefulNetwork):
        return discriminator, lambda params: params | {"params": clip(params["params"])}  # not the moving averages
    return discriminator, clip
