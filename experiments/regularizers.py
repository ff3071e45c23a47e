"""The regularisers of a VAE's code by name: its flags, and the penalties or the model that they choose."""

from __future__ import annotations

from typing import Any

import jax

from genjax import data, networks, runs
from genjax.errors import BadInput
from genjax.gradients import Reduction
from genjax.losses import DIAGONAL_GAUSSIAN
from genjax.models import disentangling, factor_vae, info_vae, vae
from genjax.runs import flag
from genjax.types import Model

REGULARIZERS = ("none", "total_correlation", "factor", "dip_i", "dip_ii", "mmd")
DISCRIMINATOR = (128, 128, 128)  # hidden units of FactorVAE's discriminator; in the paper six layers of 1000


class Flags(runs.Record):
    """Regularisation of the code."""

    regularizer: str = flag(
        "none",
        "what is added to the bound: so that latent dimensions become independent, the total_correlation of a "
        "beta-TCVAE, that of a discriminator (factor, a FactorVAE), or the covariances of DIP-VAE-I and II; so that "
        "all codes together follow the prior, the mmd of an InfoVAE, whose 1 - alpha is --rate_weight",
        choices=REGULARIZERS,
        newer=True,
    )
    regularizer_weight: float = flag(
        1.0,
        "its weight: beta - 1 of a beta-TCVAE, gamma of a FactorVAE, lambda_od of a DIP-VAE, alpha + lambda - 1 of an "
        "InfoVAE",
        at_least=0,
        newer=True,
    )


def penalties(flags: Any, dataset: data.Dataset, parts: vae.VAE) -> list[vae.Penalty]:
    """What the objective of the VAE adds; nothing where another player regularises it.

    Raises:
      BadInput: the posterior is not a diagonal Gaussian, the prior of an InfoVAE is learned, or `check_batch` refuses.
    """
    if flags.regularizer == "none":
        return []
    check_batch(flags)
    if flags.regularizer == "factor":
        return []
    if flags.regularizer == "mmd":
        if flags.prior != "standard":
            raise BadInput("mmd needs the standard prior, which does not move", parameter="regularizer")
        return [info_vae.mmd_penalty(flags.regularizer_weight, prior=parts.prior)]
    if parts.posterior is not DIAGONAL_GAUSSIAN:
        raise BadInput(f"{flags.regularizer} needs a diagonal Gaussian posterior", parameter="regularizer")
    weight = flags.regularizer_weight
    if flags.regularizer == "total_correlation":
        return [disentangling.total_correlation_penalty(weight, num_examples=len(dataset.train.x))]
    return [{"dip_i": disentangling.dip_i_penalty, "dip_ii": disentangling.dip_ii_penalty}[flags.regularizer](weight)]


def check_batch(flags: Any) -> None:
    """Checks that the measures of a batch have enough examples, of which each shard has its share.

    Raises:
      BadInput: there is only one, or for a FactorVAE their number is odd.
    """
    size = flags.batch_size // (flags.shards or 1)
    of_shard = f" in each of {flags.shards} shards" if flags.shards else ""
    if size < 2:
        raise BadInput(f"{flags.regularizer} needs 2 examples or more{of_shard}, not {size}", parameter="batch_size")
    if flags.regularizer == "factor" and size % 2:
        raise BadInput(f"factor needs an even number of examples{of_shard}, not {size}", parameter="batch_size")


def build_factor_vae(flags: Any, parts: vae.VAE, reduction: Reduction) -> Model:
    """The FactorVAE of the flags, whose discriminator is trained with beta_1 = 0.5, as in the paper.

    Raises:
      BadInput: the posterior is categorical, or the weight of the rate is scheduled.
    """
    if flags.posterior == "categorical":
        raise BadInput(
            "factor permutes the entries of a code, and categorical ones belong together", parameter="regularizer"
        )
    if flags.warm_up_steps:
        raise BadInput("the regulariser factor has no warm-up", parameter="warm_up_steps")
    discriminator = networks.mlp((parts.latent_dim,), (), hidden=DISCRIMINATOR, activation=jax.nn.leaky_relu)
    return factor_vae.model(
        factor_vae.FactorVAE(parts, discriminator),
        runs.optimizer(flags),
        runs.optimizer(flags, b1=0.5),
        weight=flags.regularizer_weight,
        averaging=flags.averaging or None,
        reduction=reduction,
        rate_weight=flags.rate_weight,
        distortion_weight=flags.distortion_weight,
        free_bits=flags.free_bits,
    )
