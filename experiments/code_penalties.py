"""What the page `autoencoder` adds to the reconstruction loss: the flags, and the penalties that they choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from genjax import runs
from genjax.errors import BadInput
from genjax.models import autoencoder
from genjax.runs import flag
from genjax.types import Array, Key


class Flags(runs.Record):
    """Penalties."""

    weight_l1: float = flag(0.0, "weight of the penalty sum |W_ij|", at_least=0)
    weight_l2: float = flag(0.0, "weight of the penalty 1/2 sum W_ij^2", at_least=0)
    code_l1: float = flag(
        0.0,
        "weight of the penalty 1/2 sum |z_j|; above 0, the rows of the decoder's first layer have norm 1",
        at_least=0,
    )
    code_kl: float = flag(0.0, "weight of the penalty sum KL(code_rate || mean z_j), with --code=sigmoid", at_least=0)
    code_rate: float = flag(
        0.05, "target for the mean activation of each unit, with --code_kl", at_least=1e-6, at_most=1 - 1e-6
    )
    contractive: float = flag(0.0, "weight of the contractive penalty ||dz/dx||^2", at_least=0)
    code_l2: float = flag(0.0, "weight of the penalty 1/2 ||z||^2 of an RAE", at_least=0, newer=True)
    decoder_l2: float = flag(
        0.0, "weight of the penalty 1/2 sum W_ij^2 of the decoder alone, of an RAE-L2", at_least=0, newer=True
    )
    decoder_jacobian: float = flag(
        0.0, "weight of the penalty ||dx'/dz||^2 of an RAE-GP, which is estimated", at_least=0, newer=True
    )
    mmd: float = flag(
        0.0,
        "weight of the squared discrepancy between the codes and N(0, I) by inverse multiquadric kernels, of a WAE-MMD",
        at_least=0,
        newer=True,
    )
    sliced_wasserstein: float = flag(
        0.0,
        "weight of the squared sliced Wasserstein distance between the codes and N(0, I), of an SWAE",
        at_least=0,
        newer=True,
    )
    num_projections: int = flag(
        50, "number of projections of a step, with --sliced_wasserstein", at_least=1, newer=True
    )


def check(flags: Any) -> None:
    """Checks that the code is of the kind that the penalties are for.

    Raises:
      BadInput: naming the flag that does not fit.
    """
    if flags.code_kl and flags.code != "sigmoid":
        raise BadInput(
            f"the units of a {flags.code} code are not rates in (0, 1); set `code` to sigmoid", parameter="code_kl"
        )
    for name in ("mmd", "sliced_wasserstein"):
        if getattr(flags, name) and flags.code != "linear":
            raise BadInput(f"a {flags.code} code cannot follow N(0, I); set `code` to linear", parameter=name)


def penalties(flags: Any) -> list[autoencoder.Penalty]:
    """Those whose weight is above 0."""
    known = [
        autoencoder.weight_l1_penalty(flags.weight_l1),
        autoencoder.weight_l2_penalty(flags.weight_l2),
        autoencoder.code_l1_penalty(flags.code_l1),
        autoencoder.code_kl_penalty(flags.code_kl, rate=flags.code_rate),
        autoencoder.contractive_penalty(flags.contractive),
        autoencoder.code_l2_penalty(flags.code_l2),
        autoencoder.decoder_l2_penalty(flags.decoder_l2),
        autoencoder.decoder_jacobian_penalty(flags.decoder_jacobian),
        autoencoder.mmd_penalty(flags.mmd),
        autoencoder.sliced_wasserstein_penalty(flags.sliced_wasserstein, num_projections=flags.num_projections),
    ]
    return [penalty for penalty in known if penalty.weight]


def sampler(flags: Any) -> Callable[[int, Key], Array] | None:
    """num, key -> codes [num, d] drawn from N(0, I), where a penalty makes the codes follow it; None elsewhere."""
    if not (flags.mmd or flags.sliced_wasserstein):
        return None
    return lambda num, key: jax.random.normal(key, (num, flags.latent_dim))
