"""The vector-quantised autoencoder, VQ-VAE (van den Oord et al. 2017), with an autoregressive prior over its codes.

    k_i = argmin_k ||z_i - e_k||,   z = encoder(x),   in each place i of a grid;   x ~ p(x|e_{k_1}, ..., e_{k_L})

    J = -log p(x|e_k) + sum_i ||sg(z_i) - e_{k_i}||^2 + beta sum_i ||z_i - sg(e_{k_i})||^2 - log p(k_1, ..., k_L)

The first and the last term are an exact negative ELBO, distortion + rate, as q(k|x) is 1 at one code: its divergence
from the prior is -log p(k). The codes are integers, so that no gradient of the prior reaches the autoencoder, and none
of the autoencoder the prior: both learn side by side as they would one after the other, on codes that settle with time.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax import random

from genjax import gradients
from genjax.losses import Likelihood, Prior
from genjax.models import descent
from genjax.networks import Codebook
from genjax.types import Array, Batch, Key, Model, Network, Params, check_networks


class VQ(NamedTuple):
    """The parts of a VQ-VAE; its params are {"encoder", "decoder", "codebook", "prior"}.

    An example has L = prod(grid) codebook.depth indices, in raster order, those of one place beside each other.
    """

    encoder: Network  # x [B, ...] -> z [B, *grid, d]
    decoder: Network  # values [B, *grid, d] -> the likelihood's parameters
    likelihood: Likelihood
    codebook: Codebook
    prior: Prior  # of indices [B, L], as `losses.autoregressive` makes it
    grid: tuple[int, ...]  # (H', W') of a convolutional encoder; (L,) of an MLP

    @property
    def num_indices(self) -> int:
        """L."""
        return math.prod(self.grid) * self.codebook.depth


def init_params(key: Key, *, parts: VQ) -> Params:
    """Fresh parameters of the networks, the codebook and the prior.

    Raises:
      TypeError: the encoder or the decoder is not a network.
    """
    check_networks(encoder=parts.encoder, decoder=parts.decoder)
    names = ("encoder", "decoder", "codebook", "prior")
    return {
        name: getattr(parts, name).init(key) for name, key in zip(names, random.split(key, len(names)), strict=True)
    }


def encode(params: Params, x: Array, *, parts: VQ) -> Array:
    """The indices of the nearest entries: x [B, ...] -> k [B, L] int32."""
    z = parts.encoder.apply(params["encoder"], x)
    return parts.codebook.quantise(params["codebook"], z).index.reshape(x.shape[0], -1)


def decode(params: Params, index: Array, *, parts: VQ) -> Array:
    """The mean of p(x|e_k): k [B, L] -> [B, ...]."""
    places = index.reshape(index.shape[0], *parts.grid, parts.codebook.depth)
    value = parts.codebook.look_up(params["codebook"], places)
    return parts.likelihood.mean(parts.decoder.apply(params["decoder"], value))


def reconstruct(params: Params, x: Array, *, parts: VQ) -> Array:
    """The decoded code: [B, ...] -> [B, ...]."""
    return decode(params, encode(params, x, parts=parts), parts=parts)


def sample_prior(params: Params, num: int, key: Key, *, parts: VQ) -> Array:
    """Indices k ~ p(k): [num, L]."""
    return parts.prior.sample(params["prior"], (num, parts.num_indices), key)


def objective(parts: VQ, *, commitment_weight: float = 0.25) -> gradients.Objective:
    """The objective J of this module, with statistics for the codebook's `refresh`.

    Args:
      commitment_weight: beta.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo", "distortion", "rate", "quantisation_error": [B]},
      statistics)`, the first three in nats; the error is sum_i ||z_i - e_{k_i}||^2, 0 for a fixed grid.
    """

    def quantised(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array], object]:
        del key
        found = parts.codebook.quantise(params["codebook"], parts.encoder.apply(params["encoder"], batch.x))
        output = parts.decoder.apply(params["decoder"], found.value)
        distortion = parts.likelihood.negative_log_likelihood(output, batch.x)
        rate = parts.prior.negative_log_density(params["prior"], found.index.reshape(batch.x.shape[0], -1))
        places = tuple(range(1, found.commitment.ndim))
        codebook_loss, commitment = (jnp.sum(term, axis=places) for term in (found.codebook_loss, found.commitment))
        loss = distortion + codebook_loss + commitment_weight * commitment + rate
        metrics = {
            "negative_elbo": distortion + rate,
            "distortion": distortion,
            "rate": rate,
            "quantisation_error": commitment,
        }
        return loss, metrics, found.statistics

    return quantised


def model(
    parts: VQ,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    *,
    averaging: float | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A VQ-VAE that trains on the given objective: `objective(parts)` of this module, or one of your own.

    Args:
      optimizer: of all params, but for a codebook of moving averages.
      averaging: as for `descent.model`.
      reduction: how gradients and the codebook's sums are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model; `sample` gives the means E[x|e_k] at k ~ p(k).
    """

    def refresh(params: Params, statistics: object) -> Params:
        return params | {"codebook": parts.codebook.refresh(params["codebook"], statistics)}

    def sample(state: descent.State, num: int, key: Key) -> Array:
        params = state.evaluation_params
        return decode(params, sample_prior(params, num, key, parts=parts), parts=parts)

    optimizer = optimizer if parts.codebook.learned else gradients.frozen(optimizer, "codebook")
    trained = descent.model(
        partial(init_params, parts=parts),
        optimizer,
        objective,
        refresh=refresh,
        averaging=averaging,
        reduction=reduction,
    )
    return trained._replace(sample=sample)
