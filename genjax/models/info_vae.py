"""InfoVAE: a VAE whose codes follow the prior together, so that single posteriors may differ from it.

J = distortion + (1 - alpha) E[KL(q(z|x) || p(z))] + (alpha + lambda - 1) D(q(z), p(z)),   q(z) = E[q(z|x)]

It is `vae.objective` with `rate_weight` 1 - alpha and the penalty of this module. At alpha = 1 no rate is left, which
is the MMD-VAE; without noise in the code it would be the Wasserstein autoencoder of `autoencoder.mmd_penalty`.

Source: Zhao, Song & Ermon 2019, equation 6.
"""

from __future__ import annotations

from genjax import losses
from genjax.losses import STANDARD_NORMAL, Prior
from genjax.losses.discrepancy import Kernel
from genjax.models.vae import Pass, Penalty
from genjax.types import Array, Key


def mmd_penalty(weight: float, *, prior: Prior = STANDARD_NORMAL, kernel: Kernel | None = None) -> Penalty:
    """The squared maximum mean discrepancy of the aggregate posterior from a prior without parameters.

        D(q(z), p(z)) = MMD^2

    It is estimated by one draw of each example of the batch, or of each shard of it, and by as many draws from the
    prior. The posterior may be any.

    Args:
      weight: alpha + lambda - 1.
      prior: the VAE's own.
      kernel: by default `losses.gaussian_kernel()`.
    """
    kernel = losses.gaussian_kernel() if kernel is None else kernel

    def value(drawn: Pass, key: Key) -> Array:
        return losses.squared_mmd(drawn.z, prior.sample((), drawn.z.shape, key), kernel)

    return Penalty("mmd", weight, value, draws=True)
