"""Learned transform coding (Balle, Laparra & Simoncelli 2017), with a hyperprior too (Balle et al. 2018).

    y = analysis(x),   x' = synthesis(q),   q = round(y)
    J = E[-log2 P(q)] + lambda E[l(x, x')]

The first term is the rate, the number of bits that an entropy coder needs for q, the second the distortion. Rounding
has no useful derivative, so y~ = y + u with u ~ U(-1/2, 1/2) takes the place of q in training, and the density of y~
that of P. P is learned with the transforms: a mixture for each entry of the code, or, with a hyperprior, a Gaussian
whose scale is sent before it as side information of its own rate:

    z = hyper_analysis(|y|),   r = round(z),   s = exp(hyper_synthesis(r)),   P(q, r) = P(q|s) P(r)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import Reconstruction
from genjax.losses.rounding import (
    init_rounded_mixture,
    rounded_gaussian_log_probability,
    rounded_mixture_log_probability,
)
from genjax.models import descent
from genjax.stochastic import Corruption
from genjax.types import Array, Batch, Key, Model, Network, Params, Scalar, check_networks

Quantise = Callable[[Array, int], Array]  # values, and which of the two codes they are -> what is sent of them


class Hyperprior(NamedTuple):
    """The parts that send the scales of a code."""

    analysis: Network  # |y| [B, D] -> z [B, H]
    synthesis: Network  # r [B, H] -> log s [B, D]
    dim: int  # H


class LearnedCompression(NamedTuple):
    """The parts of a learned codec.

    Its params are {"analysis", "synthesis", "density"}, and "hyper_analysis" and "hyper_synthesis" with a hyperprior.
    The density is that of z with a hyperprior, otherwise that of y.
    """

    analysis: Network  # x [B, ...] -> y [B, D]
    synthesis: Network  # q [B, D] -> what the reconstruction takes
    reconstruction: Reconstruction
    code_dim: int  # D
    hyperprior: Hyperprior | None = None
    num_components: int = 3  # of the mixture of each entry


class Coded(NamedTuple):
    """What is sent of a batch, and its price."""

    code: Array  # q, or y~ in training, [B, D]
    side: Array | None  # r, or z~, [B, H]; None without a hyperprior
    rate: Array  # [B], in bits


def init_params(key: Key, *, parts: LearnedCompression) -> Params:
    """Fresh parameters of all parts."""
    check_networks(analysis=parts.analysis, synthesis=parts.synthesis)
    keys = jax.random.split(key, 4)
    params = {"analysis": parts.analysis.init(keys[0]), "synthesis": parts.synthesis.init(keys[1])}
    dim = parts.code_dim
    if parts.hyperprior is not None:
        check_networks(hyper_analysis=parts.hyperprior.analysis, hyper_synthesis=parts.hyperprior.synthesis)
        params["hyper_analysis"] = parts.hyperprior.analysis.init(keys[2])
        params["hyper_synthesis"] = parts.hyperprior.synthesis.init(keys[3])
        dim = parts.hyperprior.dim
    return params | {"density": init_rounded_mixture(dim, parts.num_components)}


def rounded(values: Array, which: int) -> Array:
    """The nearest integers, which are what is sent."""
    del which
    return jnp.round(values)


def noisy(key: Key) -> Quantise:
    """Uniform noise in the place of rounding, drawn anew for each of the two codes."""

    def quantise(values: Array, which: int) -> Array:
        noise = jax.random.uniform(jax.random.fold_in(key, which), values.shape, values.dtype, -0.5, 0.5)
        return values + noise

    return quantise


def encode(params: Params, x: Array, *, parts: LearnedCompression, quantise: Quantise = rounded) -> Coded:
    """The code of examples and its rate: x [B, ...] -> q [B, D], r [B, H], and -log2 P(q, r) [B]."""
    y = parts.analysis.apply(params["analysis"], x)
    if parts.hyperprior is None:
        code = quantise(y, 0)
        return Coded(code, None, _bits(rounded_mixture_log_probability(params["density"], code)))
    side = quantise(parts.hyperprior.analysis.apply(params["hyper_analysis"], jnp.abs(y)), 1)
    code = quantise(y, 0)
    rate = _bits(rounded_mixture_log_probability(params["density"], side))
    rate += _bits(rounded_gaussian_log_probability(code, log_scales(params, side, parts=parts)))
    return Coded(code, side, rate)


def log_scales(params: Params, side: Array, *, parts: LearnedCompression) -> Array:
    """Logarithms of the scales that a side code sends: r [B, H] -> log s [B, D].

    Raises:
      ValueError: the parts have no hyperprior.
    """
    if parts.hyperprior is None:
        raise ValueError("a codec without a hyperprior sends no scales")
    return parts.hyperprior.synthesis.apply(params["hyper_synthesis"], side)


def decode(params: Params, code: Array, *, parts: LearnedCompression) -> Array:
    """The reconstruction from a code: q [B, D] -> x' [B, ...]."""
    return parts.reconstruction.mean(parts.synthesis.apply(params["synthesis"], code))


def _bits(log_probability: Array) -> Array:
    return -jnp.sum(log_probability, axis=-1) / math.log(2)


def objective(
    parts: LearnedCompression,
    *,
    distortion_weight: Scalar,
    corruption: Corruption | None = None,
    rounding: bool = False,
) -> gradients.Objective:
    """Rate and distortion, weighed against each other.

        J = -log2 P(q, r) + lambda l(x, synthesis(q)),   q and r of corruption(x)

    Args:
      distortion_weight: lambda, in bits for each unit of the reconstruction loss.
      corruption: of the analysis' input, which keeps small training sets from being memorised.
      rounding: the integers that are sent, as for evaluation, instead of the noise that stands for rounding.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"rate", "reconstruction_loss": [B]})`, the rate in bits.
    """

    def priced(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        corruption_key, noise_key = jax.random.split(key)
        x = batch.x if corruption is None else corruption(batch.x, corruption_key)
        coded = encode(params, x, parts=parts, quantise=rounded if rounding else noisy(noise_key))
        output = parts.synthesis.apply(params["synthesis"], coded.code)
        distortion = parts.reconstruction.loss(output, batch.x)
        return coded.rate + distortion_weight * distortion, {"rate": coded.rate, "reconstruction_loss": distortion}

    return priced


def model(
    parts: LearnedCompression,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    **options: Unpack[descent.Options],
) -> Model:
    """A model of a learned codec; give `objective(..., rounding=True)` as `evaluation`."""

    def init(key: Key) -> Params:
        return init_params(key, parts=parts)

    return descent.model(init, optimizer, objective, **options)
