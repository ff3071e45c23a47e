"""The posteriors by name of the pages whose model is a VAE, each with its encoder's heads and its standard prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from genjax import losses, networks
from genjax.errors import BadInput
from genjax.losses import Posterior, Prior
from genjax.models.vae import VAE
from genjax.types import Array, Flow, Network, Params


class Kind(NamedTuple):
    """A family of posteriors, and what goes with it."""

    posterior: Posterior
    num_outputs: Callable[[int], int]  # d -> outputs of the encoder's network
    heads: Callable[[Network, int], Network]  # network, d -> the encoder
    prior: Prior  # its standard one
    prior_name: str
    spherical: bool = False  # whether codes are unit vectors


def _full_covariance_kl(params: Params, output: tuple[Array, Array], *context: Any) -> Array:
    return losses.gaussian_kl_to_standard_full_covariance(*output)[:, None]


def check_dim(d: int, *, at_least: int = 1) -> None:
    """Refuses numbers of latent dimensions that the layers of a flow cannot be made for.

    Raises:
      BadInput: there are fewer or more.
    """
    if not at_least <= d <= 10**6:
        raise BadInput(f"the flow takes {at_least} to 1000000 dimensions, not {d}", parameter="latent_dim")


def _planar(d: int, num_layers: int) -> tuple[Flow, int]:
    """Planar layers, with parameters of their own for each example."""
    flow = networks.planar_flow(d, num_layers)
    return networks.amortized(flow), networks.num_parameters(flow)


def _inverse_autoregressive(d: int, num_layers: int) -> tuple[Flow, int]:
    """Inverse autoregressive layers, which read a context of 32 numbers."""
    check_dim(d)
    flow = networks.inverse_autoregressive_flow(d, num_layers, hidden=(64,), activation=jnp.tanh, context_dim=32)
    return flow, 32


FLOWS = {"planar": _planar, "iaf": _inverse_autoregressive}  # d, number of layers -> the flow, the size of its context
NUM_LAYERS = {"planar": 10, "iaf": 4}


def _flow(flags: Any) -> Kind:
    """A diagonal Gaussian followed by a flow."""
    name = flags.posterior
    make = partial(FLOWS[name], num_layers=flags.num_flow_layers or NUM_LAYERS[name])

    def of(output: Any) -> Posterior:
        return losses.flow_posterior(make(output[0].shape[-1])[0])

    posterior = Posterior(
        lambda output, key: of(output).sample_and_negative_log_density(output, key),
        lambda output: of(output).mean(output),
    )
    return Kind(
        posterior,
        lambda d: 2 * d + make(d)[1],
        lambda network, d: networks.flow_heads(network, make(d)[0], d),
        losses.STANDARD_NORMAL._replace(kl=None),
        "N(0, I)",
    )


def _categorical(flags: Any) -> Kind:
    """Variables of `num_categories` values each, with exact draws; see `in_training` for relaxed ones."""
    num = flags.num_categories
    if flags.latent_dim % num:
        raise BadInput(
            f"a code of {flags.latent_dim} entries is not a whole number of variables of {num} categories each",
            parameter="latent_dim",
        )
    return Kind(
        losses.relaxed_categorical(num, temperature=flags.temperature, straight_through=True),
        lambda d: d,
        lambda network, d: network,
        losses.uniform_categorical(num),
        f"independent uniform variables of {num} values",
    )


def in_training(flags: Any, parts: VAE, step: Array) -> VAE:
    """The parts as an update takes them: with the relaxed draws of that step, if the posterior is categorical.

    The temperature falls by the same factor at each update, from `temperature` to `final_temperature` at the last.
    """
    if flags.posterior != "categorical":
        return parts
    ratio = flags.final_temperature / flags.temperature
    temperature = jnp.asarray(optax.exponential_decay(flags.temperature, flags.num_steps, ratio)(step))
    posterior = losses.relaxed_categorical(
        flags.num_categories, temperature=temperature, straight_through=flags.straight_through
    )
    return parts._replace(posterior=posterior)


KINDS: Mapping[str, Kind] = {
    "diagonal": Kind(
        losses.DIAGONAL_GAUSSIAN,
        lambda d: 2 * d,
        lambda network, d: networks.gaussian_heads(network),
        losses.STANDARD_NORMAL,
        "N(0, I)",
    ),
    "full_covariance": Kind(
        losses.FULL_COVARIANCE_GAUSSIAN,
        lambda d: 2 * d + d * (d - 1) // 2,
        networks.full_covariance_heads,
        losses.STANDARD_NORMAL._replace(kl=_full_covariance_kl),
        "N(0, I)",
    ),
    "von_mises_fisher": Kind(
        losses.VON_MISES_FISHER,
        lambda d: d + 1,
        lambda network, d: networks.von_mises_fisher_heads(network),
        losses.UNIFORM_ON_SPHERE,
        "the uniform density on the sphere",
        spherical=True,
    ),
}
POSTERIORS = (*KINDS, *FLOWS, "categorical")


def chosen(flags: Any) -> Kind:
    """The family of the flags.

    Raises:
      BadInput: flags of categorical variables that do not fit each other.
    """
    if flags.posterior in KINDS:
        return KINDS[flags.posterior]
    if flags.posterior in FLOWS:
        return _flow(flags)
    if flags.prior != "standard":
        raise BadInput(f"categorical codes have the standard prior alone, not {flags.prior}", parameter="prior")
    return _categorical(flags)
