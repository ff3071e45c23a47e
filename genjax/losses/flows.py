"""Normalising flows as the prior and the posterior of a latent code, and as densities of their own."""

from __future__ import annotations

from typing import Any

import jax

from genjax.losses.latent import STANDARD_NORMAL, Posterior, Prior
from genjax.losses.likelihood import GAUSSIAN
from genjax.types import Array, Flow, Key, Params


def flow_prior(flow: Flow) -> Prior:
    """A density that a flow maps to N(0, I).

        -log p(z) = -log N(u; 0, I) - log |det du/dz|,   u = f(z)

    Args:
      flow: from codes to noise, with an inverse, which draws.

    Returns:
      A prior whose params are the flow's, with its rate estimated; in nats.

    Raises:
      ValueError: the flow has no inverse.

    Source: Dinh, Sohl-Dickstein & Bengio 2017, equation 2.
    """
    inverse = flow.inverse
    if inverse is None:
        raise ValueError("drawing from a flow's density needs its inverse, which a planar flow does not have")

    def negative_log_density(params: Params, z: Array, *context: Any) -> Array:
        u, log_determinant = flow.forward(params, z, *context)
        return STANDARD_NORMAL.negative_log_density((), u) - log_determinant

    def sample(params: Params, shape: tuple[int, int], key: Key, *context: Any) -> Array:
        return inverse(params, jax.random.normal(key, shape), *context)[0]

    return Prior(flow.init, negative_log_density, sample)


def flow_posterior(flow: Flow) -> Posterior:
    """A diagonal Gaussian, followed by a flow.

        z = f(z0; c),   z0 ~ N(mean, diag e^{log_variance}),   -log q(z|x) = -log q(z0|x) + log |det dz/dz0|

    Args:
      flow: from the Gaussian's draws to codes; no inverse is needed.

    Returns:
      A posterior that takes the output of `networks.flow_heads`: mean and log-variance [B, d], the context of the flow
      and its params. The density is known at draws alone. Its `mean` is the flow's image of the Gaussian's mean, since
      the mean of z has no closed form.

    Source: Rezende & Mohamed 2015, equation 13; Kingma et al. 2016, equation 5.
    """

    def sample_and_negative_log_density(output: Any, key: Key) -> tuple[Array, Array]:
        mean, log_variance, context, params = output
        start = GAUSSIAN.sample((mean, log_variance), key)
        z, log_determinant = flow.forward(params, start, *context)
        return z, GAUSSIAN.negative_log_likelihood((mean, log_variance), start) + log_determinant

    def image_of_mean(output: Any) -> Array:
        mean, _, context, params = output
        return flow.forward(params, mean, *context)[0]

    return Posterior(sample_and_negative_log_density, image_of_mean)
