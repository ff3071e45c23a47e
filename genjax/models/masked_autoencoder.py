"""The masked autoencoder (He et al. 2022): an image is rebuilt from a few of its patches, and learned by it.

    J = E[1 / (|M| D) sum_{p in M} ||x_p - x'_p||^2],   x' = decoder(encoder(x_p, p not in M)),   M uniform, |M| fixed

The encoder sees the visible patches alone, the decoder their codes and a vector in place of each hidden one. The loss
is of the hidden patches M, D numbers each. At its least, x'_p is the mean of x_p given the visible patches.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.models import descent
from genjax.networks import from_patches, num_patches, to_patches
from genjax.types import Array, Batch, Key, Model, Network, Params, check_networks


class MaskedAutoencoder(NamedTuple):
    """The parts of a masked autoencoder; its params are {"encoder": ..., "decoder": ...}."""

    encoder: Network  # (patches [B, V, D], places [B, V, P], one-hot) -> codes [B, V, d], as `networks.patch_encoder`
    decoder: Network  # (codes [B, V, d], places [B, V, P]) -> patches [B, P, D], as `networks.patch_decoder`
    shape: tuple[int, int, int]  # of an image
    patch: int  # side of a patch, in pixels


def init_params(key: Key, *, parts: MaskedAutoencoder) -> Params:
    """Fresh parameters of both networks."""
    check_networks(encoder=parts.encoder, decoder=parts.decoder)
    encoder_key, decoder_key = jax.random.split(key)
    return {"encoder": parts.encoder.init(encoder_key), "decoder": parts.decoder.init(decoder_key)}


def num_hidden(share: float, *, parts: MaskedAutoencoder) -> int:
    """The number of hidden patches of an image: the nearest to `share` of all that leaves one hidden and one visible.

    Raises:
      ValueError: an image of a single patch; a patch that does not divide the image.
    """
    num = num_patches(parts.shape, parts.patch)
    if num < 2:
        raise ValueError("an image of one patch has none to hide beside a visible one")
    return min(max(round(share * num), 1), num - 1)


def draw_visible(num: int, key: Key, *, hidden: int, parts: MaskedAutoencoder) -> Array:
    """Which patches are visible, each choice as probable: one-hot places [num, V, P] of V = P - `hidden` patches."""
    count = num_patches(parts.shape, parts.patch)
    order = jnp.argsort(jax.random.uniform(key, (num, count)), axis=1)
    return jax.nn.one_hot(order[:, hidden:], count)


def reconstruct(params: Params, x: Array, places: Array, *, parts: MaskedAutoencoder) -> Array:
    """All patches from those at the given places: x [B, H, W, C], places [B, V, P] -> x' [B, P, D]."""
    visible = places @ to_patches(x, parts.patch)
    codes = parts.encoder.apply(params["encoder"], visible, places)
    return parts.decoder.apply(params["decoder"], codes, places)


def visible_pixels(places: Array, *, parts: MaskedAutoencoder) -> Array:
    """Whether each number of an image is in a visible patch: places [B, V, P] -> [B, H, W, C]."""
    seen = jnp.sum(places, axis=1)[:, :, None] > 0
    in_patch = parts.patch**2 * parts.shape[2]
    return from_patches(jnp.broadcast_to(seen, (*seen.shape[:2], in_patch)), parts.shape, parts.patch)


def fill(params: Params, x: Array, places: Array, *, parts: MaskedAutoencoder) -> Array:
    """The images with all patches but those at the given places rebuilt from these: [B, H, W, C]."""
    rebuilt = from_patches(reconstruct(params, x, places, parts=parts), parts.shape, parts.patch)
    return jnp.where(visible_pixels(places, parts=parts), x, rebuilt)


def encode(params: Params, x: Array, *, parts: MaskedAutoencoder) -> Array:
    """The mean code of all patches of the whole image: x [B, H, W, C] -> [B, d]."""
    patches = to_patches(x, parts.patch)
    places = jnp.broadcast_to(jnp.eye(patches.shape[1]), (len(x), *2 * patches.shape[1:2]))
    return jnp.mean(parts.encoder.apply(params["encoder"], patches, places), axis=1)


def objective(parts: MaskedAutoencoder, *, hidden_share: float) -> gradients.Objective:
    """The mean squared error of hidden patches, which are drawn anew for every example at every step.

    Args:
      hidden_share: of the patches; 0.75 in the paper.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"hidden_error": [B]})`, the same number twice.

    Raises:
      ValueError: as `num_hidden`.

    Source: He et al. 2022, section 3.
    """
    hidden = num_hidden(hidden_share, parts=parts)

    def masked(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        places = draw_visible(len(batch.x), key, hidden=hidden, parts=parts)
        rebuilt = reconstruct(params, batch.x, places, parts=parts)
        error = jnp.mean(jnp.square(rebuilt - to_patches(batch.x, parts.patch)), axis=2)  # [B, P]
        loss = jnp.sum((1 - jnp.sum(places, axis=1)) * error, axis=1) * (1 / hidden)
        return loss, {"hidden_error": loss}

    return masked


def model(
    parts: MaskedAutoencoder,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    **options: Unpack[descent.Options],
) -> Model:
    """A masked autoencoder that trains on the given objective: `objective(parts)` of this module, or one of your own.

    Args:
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; it cannot sample.
    """
    return descent.model(partial(init_params, parts=parts), optimizer, objective, **options)
