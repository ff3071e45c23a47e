"""FactorVAE: a VAE whose total correlation is estimated by a discriminator (Kim & Mnih 2018).

    J_VAE = -ELBO + gamma E_q(z)[a(z)],   a = log D / (1 - D),
    J_D = -E_q(z)[log D(z)] - E[log(1 - D(z'))],   z' of independently permuted dimensions

At the best discriminator, a(z) = log q(z) / prod_k q(z_k), so the VAE is charged gamma TC. Two players take turns: the
discriminator, which is shown the codes of the first half of the batch as they are and those of the second half
permuted, then the VAE on the whole batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import optax

from genjax import gradients
from genjax.errors import BadInput
from genjax.losses import NON_SATURATING, permute_dimensions
from genjax.models import alternating, moving_average, vae
from genjax.types import Array, Batch, Key, Model, Network, Params, check_networks


class FactorVAE(NamedTuple):
    """The parts of a FactorVAE; its params are {"vae": ..., "discriminator": ...}."""

    vae: vae.VAE
    discriminator: Network  # z [B, d] -> logit [B], larger for codes of q(z)


class State(alternating.State):
    """The state of both players, from which only the VAE is evaluated and sampled."""

    __slots__ = ()

    @property
    def evaluation_params(self) -> Params:
        """The VAE's params, as the functions of `vae` take them: their average if it is kept, otherwise the last."""
        return alternating.State(*self).evaluation_params["vae"]


def init_params(key: Key, *, parts: FactorVAE) -> dict[str, Params]:
    """Fresh parameters of both players."""
    check_networks(discriminator=parts.discriminator)
    vae_key, discriminator_key = jax.random.split(key)
    return {
        "vae": vae.init_params(vae_key, parts=parts.vae),
        "discriminator": parts.discriminator.init(discriminator_key),
    }


def vae_objective(parts: FactorVAE, *, weight: float, **options: Any) -> gradients.Objective:
    """The VAE's objective: the negative ELBO, and the discriminator's estimate of the total correlation.

    Args:
      weight: gamma.
      options: the keyword arguments of `vae.objective`.

    Returns:
      `objective(vae, {"discriminator": params}, batch, key) -> (loss [B], metrics)`, with the metrics of
      `vae.objective` and "total_correlation", the logit.
    """

    def objective(own: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        def logit(drawn: vae.Pass) -> Array:
            return parts.discriminator.apply(others["discriminator"], drawn.z)

        penalty = vae.Penalty("total_correlation", weight, logit)
        return vae.objective(parts.vae, penalties=[penalty], **options)(own, batch, key)

    return objective


def discriminator_objective(parts: FactorVAE) -> gradients.Objective:
    """The discriminator's objective, binary cross-entropy of codes against codes with permuted dimensions.

    Returns:
      `objective(discriminator, {"vae": params}, batch, key) -> (loss [B/2], {"discriminator_loss", "code_logit",
      "permuted_logit": [B/2]})`.

    Raises:
      BadInput: at trace time, a batch of an odd number of examples.
    """

    def objective(own: Params, others: dict[str, Params], batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        half, rest = divmod(len(batch.x), 2)
        if rest:
            raise BadInput(f"a batch of {len(batch.x)} examples cannot be divided into halves", parameter="batch_size")
        z_key, permutation_key = jax.random.split(key)
        posterior = vae.encode(others["vae"], batch.x, *parts.vae.context(batch), parts=parts.vae)
        z, _ = parts.vae.posterior.sample_and_negative_log_density(posterior, z_key)
        permuted = permute_dimensions(z[half:], permutation_key)
        code_logit, permuted_logit = (parts.discriminator.apply(own, codes) for codes in (z[:half], permuted))
        loss = NON_SATURATING.discriminator(code_logit, permuted_logit)
        return loss, {"discriminator_loss": loss, "code_logit": code_logit, "permuted_logit": permuted_logit}

    return objective


def model(
    parts: FactorVAE,
    vae_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    *,
    weight: float,
    averaging: float | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
    **options: Any,
) -> Model:
    """A FactorVAE trained by alternating updates of the discriminator and of the VAE, one of each in a step.

    Args:
      weight: gamma.
      averaging: the decay, in [0, 1), of an average of the VAE's params (`moving_average.cumulative`), which `evaluate`
        and `sample` use; None keeps no average.
      reduction: how the gradients of both players are taken over the batch, one of `genjax.gradients`.
      options: the keyword arguments of `vae.objective`.

    Returns:
      A Model whose state is a `State`; "loss" is the VAE's. `sample` gives the means E[x|z] at z ~ p(z).

    Source: Kim & Mnih 2018, algorithm 2, which begins with the VAE, takes both players' z
    from one draw, and has the factor 1/2 before J_D.
    """
    average = None if averaging is None else moving_average.cumulative(averaging)
    players = [
        alternating.Player("discriminator", discriminator_objective(parts), discriminator_optimizer),
        alternating.Player("vae", vae_objective(parts, weight=weight, **options), vae_optimizer, averaging=average),
    ]
    trained = alternating.model(partial(init_params, parts=parts), players, reduction=reduction)

    def sample(state: State, num: int, key: Key, *context: Any) -> Array:
        z = vae.sample_prior(state.evaluation_params, num, key, *context, parts=parts.vae)
        return vae.decode(state.evaluation_params, z, *context, parts=parts.vae)

    return alternating.with_state(trained, State)._replace(sample=sample)
