"""The autoencoder (Bourlard & Kamp 1988; Hinton & Salakhutdinov 2006), plain, regularised, denoising or sparse.

    z = code(encoder(x)),   x' = decoder(z),   J = E[l(x, x')] + sum_r lambda_r R_r

It is undercomplete if z is smaller than x, which is the only regularisation of a plain one, and is required of it; with
a sparse code, with penalties R or with corruption, z may be larger. It is denoising (Vincent et al. 2008) if the
encoder's input is a corrupted x, and the target is the clean one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, losses
from genjax.errors import BadInput
from genjax.losses import STANDARD_NORMAL, Prior, Reconstruction
from genjax.losses.discrepancy import Kernel
from genjax.models import descent
from genjax.stochastic import Corruption
from genjax.types import Array, Batch, Codec, Key, Model, Network, Params, check_networks


class Autoencoder(NamedTuple):
    """The parts of an autoencoder; its params are {"encoder": ..., "decoder": ...}."""

    encoder: Network  # x [B, ...] -> [B, d]
    decoder: Network  # z [B, d] -> what the reconstruction takes
    reconstruction: Reconstruction
    code: Callable[[Array], Array] | None = None  # encoder's output -> z [B, d], as a sigmoid; None for the identity


class Penalty(NamedTuple):
    """A term lambda R of the objective.

    `value(params, x, z, key, *, parts)` -> R, [B] or [], where x is the encoder's input and z its code.
    """

    name: str  # of its metric, R without lambda
    weight: float  # lambda
    value: Callable[..., Array]


def init_params(key: Key, *, parts: Autoencoder) -> Params:
    """Fresh parameters of both networks."""
    check_networks(encoder=parts.encoder, decoder=parts.decoder)
    encoder_key, decoder_key = jax.random.split(key)
    return {"encoder": parts.encoder.init(encoder_key), "decoder": parts.decoder.init(decoder_key)}


def encode(params: Params, x: Array, *, parts: Autoencoder) -> Array:
    """The code: x [B, ...] -> z [B, d]."""
    z = parts.encoder.apply(params["encoder"], x)
    return z if parts.code is None else parts.code(z)


def decode(params: Params, z: Array, *, parts: Autoencoder) -> Array:
    """The reconstruction from a code: z [B, d] -> x' [B, ...]."""
    return parts.reconstruction.mean(parts.decoder.apply(params["decoder"], z))


def reconstruct(params: Params, x: Array, *, parts: Autoencoder) -> Array:
    """The decoded code: x [B, ...] -> x' [B, ...]. A denoising autoencoder denoises x."""
    return decode(params, encode(params, x, parts=parts), parts=parts)


def score(params: Params, x: Array, *, parts: Autoencoder) -> Array:
    """The reconstruction loss of each example, larger for outliers: x [B, ...] -> [B]."""
    output = parts.decoder.apply(params["decoder"], encode(params, x, parts=parts))
    return parts.reconstruction.loss(output, x)


def check_bottleneck(latent_dim: int, shape: Sequence[int], *, unless: str | None = None) -> None:
    """Checks that a code is smaller than the data, so that an autoencoder cannot learn to copy them.

    Args:
      latent_dim: d.
      shape: of one example, with D entries.
      unless: what else would regularise the autoencoder, as the message words it: "`overcomplete`".

    Raises:
      BadInput: d >= D.
    """
    if latent_dim >= math.prod(shape):
        raise BadInput(
            f"the data have {math.prod(shape)} dimensions, so a code of {latent_dim} is not a bottleneck; give fewer"
            + (f", or {unless}" if unless else ""),
            parameter="latent_dim",
        )


def objective(
    parts: Autoencoder,
    *,
    corruption: Corruption | None = None,
    penalties: Sequence[Penalty] = (),
    overcomplete: bool = False,
) -> gradients.Objective:
    """The regularised objective of an autoencoder.

        J = l(x, decoder(z)) + sum_r lambda_r R_r,   z = code(encoder(x~)),   x~ = corruption(x), or x without one

    Args:
      corruption: drawn anew at every step, and in `evaluate` too.
      penalties: with distinct names.
      overcomplete: allow a plain autoencoder, one without corruption, penalties and `parts.code`, to have as many
        latent dimensions as the data, or more.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"reconstruction_loss" and each penalty's name: [B]})`.

    Raises:
      BadInput: when the returned objective gets data with no more dimensions than a plain autoencoder's code.
    """
    regularised_otherwise = overcomplete or bool(penalties) or corruption is not None or parts.code is not None

    def regularised(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        corruption_key, *penalty_keys = jax.random.split(key, 1 + len(penalties))
        x = batch.x if corruption is None else corruption(batch.x, corruption_key)
        z = encode(params, x, parts=parts)
        if not regularised_otherwise:
            check_bottleneck(math.prod(z.shape[1:]), x.shape[1:], unless="`overcomplete`")
        loss = parts.reconstruction.loss(parts.decoder.apply(params["decoder"], z), batch.x)
        metrics = {"reconstruction_loss": loss}
        for penalty, penalty_key in zip(penalties, penalty_keys, strict=True):
            value = jnp.broadcast_to(penalty.value(params, x, z, penalty_key, parts=parts), loss.shape)
            loss += penalty.weight * value
            metrics[penalty.name] = value
        return loss, metrics

    return regularised


# Penalties: their mathematics is in genjax.losses, under the same names


def weight_l1_penalty(weight: float) -> Penalty:
    """Penalty on the magnitudes of both networks' weights, sum |W_ij|."""
    return Penalty("weight_l1", weight, lambda params, x, z, key, *, parts: losses.weight_l1(params))


def weight_l2_penalty(weight: float) -> Penalty:
    """Penalty on the squares of both networks' weights, 1/2 sum W_ij^2."""
    return Penalty("weight_l2", weight, lambda params, x, z, key, *, parts: losses.weight_l2(params))


def code_l1_penalty(weight: float) -> Penalty:
    """Penalty on the magnitudes of the code, 1/2 sum_j |z_j|; the decoder's rows should then have a fixed norm.

    Otherwise a smaller code with larger decoder weights would lower the penalty: see `networks.unit_norm_rows`.
    """
    return Penalty("code_l1", weight, lambda params, x, z, key, *, parts: losses.code_l1(z))


def code_kl_penalty(weight: float, *, rate: float) -> Penalty:
    """Penalty on units whose mean activation differs from `rate`, for parts with `code=jax.nn.sigmoid`."""

    def value(params: Params, x: Array, z: Array, key: Key, *, parts: Autoencoder) -> Array:
        return losses.code_kl(parts.encoder.apply(params["encoder"], x), rate=rate)

    return Penalty("code_kl", weight, value)


def contractive_penalty(weight: float) -> Penalty:
    """Penalty on the encoder's sensitivity, ||dz/dx||_F^2, computed exactly (Rifai et al. 2011)."""

    def value(params: Params, x: Array, z: Array, key: Key, *, parts: Autoencoder) -> Array:
        return losses.jacobian_norm(lambda x: encode(params, x, parts=parts), x)

    return Penalty("jacobian_norm", weight, value)


def hutchinson_contractive_penalty(weight: float) -> Penalty:
    """`contractive_penalty` estimated without bias by one backward pass, for codes of many dimensions."""

    def value(params: Params, x: Array, z: Array, key: Key, *, parts: Autoencoder) -> Array:
        return losses.hutchinson_jacobian_norm(lambda x: encode(params, x, parts=parts), x, key)

    return Penalty("jacobian_norm", weight, value)


def sigmoid_layer_contractive_penalty(weight: float) -> Penalty:
    """`contractive_penalty` in closed form, for a single-layer `networks.mlp` encoder and `code=jax.nn.sigmoid`."""

    def value(params: Params, x: Array, z: Array, key: Key, *, parts: Autoencoder) -> Array:
        return losses.sigmoid_jacobian_norm(z, params["encoder"]["layer_1"]["kernel"])

    return Penalty("jacobian_norm", weight, value)


def code_l2_penalty(weight: float) -> Penalty:
    """Penalty on the norm of the code, 1/2 ||z||^2; beside one on the decoder it makes an RAE (Ghosh et al. 2020)."""
    return Penalty("code_l2", weight, lambda params, x, z, key, *, parts: losses.code_l2(z))


def decoder_l2_penalty(weight: float) -> Penalty:
    """Penalty on the squares of the decoder's weights, 1/2 sum W_ij^2: with `code_l2_penalty` an RAE-L2."""
    return Penalty("decoder_l2", weight, lambda params, x, z, key, *, parts: losses.weight_l2(params["decoder"]))


def decoder_jacobian_penalty(weight: float) -> Penalty:
    """Penalty on the decoder's sensitivity, ||dx'/dz||_F^2, estimated by one backward pass.

    With `code_l2_penalty` it makes the regularised autoencoder RAE-GP (Ghosh et al. 2020, section 3).
    """

    def value(params: Params, x: Array, z: Array, key: Key, *, parts: Autoencoder) -> Array:
        return losses.hutchinson_jacobian_norm(lambda z: decode(params, z, parts=parts), z, key)

    return Penalty("decoder_jacobian_norm", weight, value)


def mmd_penalty(weight: float, *, prior: Prior = STANDARD_NORMAL, kernel: Kernel | None = None) -> Penalty:
    """Penalty on the discrepancy of the codes from a prior without parameters: a WAE-MMD (Tolstikhin et al. 2018).

        J = E[l(x, x')] + lambda MMD^2(q(z), p(z)),   equation 4 with algorithm 2

    It is estimated by the batch, or by each shard of it, and by as many draws from the prior.

    Args:
      weight: lambda.
      kernel: by default `losses.inverse_multiquadric_kernel()`, for codes of the size of draws from N(0, I).
    """
    kernel = losses.inverse_multiquadric_kernel() if kernel is None else kernel

    def value(params: Params, x: Array, z: Array, key: Key, *, parts: Autoencoder) -> Array:
        return losses.squared_mmd(z, prior.sample((), z.shape, key), kernel)

    return Penalty("mmd", weight, value)


def sliced_wasserstein_penalty(weight: float, *, prior: Prior = STANDARD_NORMAL, num_projections: int = 50) -> Penalty:
    """Penalty on the distance of the codes from a prior without parameters: an SWAE (Kolouri et al. 2018).

        J = E[l(x, x')] + lambda SW_2^2(q(z), p(z))

    It is estimated by the batch, or by each shard of it, and by as many draws from the prior.

    Args:
      weight: lambda.
      num_projections: drawn anew at every step.
    """

    def value(params: Params, x: Array, z: Array, key: Key, *, parts: Autoencoder) -> Array:
        prior_key, projection_key = jax.random.split(key)
        draws = prior.sample((), z.shape, prior_key)
        return losses.sliced_wasserstein(z, draws, projection_key, num_projections=num_projections)

    return Penalty("sliced_wasserstein", weight, value)


def model(
    parts: Autoencoder,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    *,
    sample_codes: Callable[[int, Key], Array] | None = None,
    **options: Unpack[descent.Options],
) -> Model:
    """An autoencoder that trains on the given objective: `objective(parts)` of this module, or one of your own.

    Args:
      sample_codes: num, key -> z [num, d], draws from the prior that the codes are made to follow, as by
        `mmd_penalty`.
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; `sample` decodes draws of `sample_codes`, and without these it cannot sample.
    """
    trained = descent.model(partial(init_params, parts=parts), optimizer, objective, **options)
    if sample_codes is None:
        return trained

    def sample(state: descent.State, num: int, key: Key) -> Array:
        return decode(state.evaluation_params, sample_codes(num, key), parts=parts)

    return trained._replace(sample=sample)


def codec(parts: Autoencoder) -> Codec:
    """The encoder x -> z, its code applied, and the decoder z -> x' as networks."""

    def encode_code(params: Params, x: Array) -> Array:
        return encode({"encoder": params}, x, parts=parts)

    def decode_code(params: Params, z: Array) -> Array:
        return decode({"decoder": params}, z, parts=parts)

    return Codec(Network(parts.encoder.init, encode_code), Network(parts.decoder.init, decode_code), has_prior=False)
