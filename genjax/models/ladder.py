"""The ladder VAE: several layers of latent variables with top-down inference (Sonderby et al. 2016).

Each layer depends on the one above it, in the model and in the posterior:

    p(x, z) = p(x|z_1) p(z_1|z_2) ... p(z_{L-1}|z_L) p(z_L),   p(z_L) = N(0, I)
    q(z|x) = q(z_L|x) q(z_{L-1}|z_L, x) ... q(z_1|z_2, x)

A deterministic pass upwards, d_i = g_i(d_{i-1}) with d_0 = x, proposes a Gaussian N(mu_i, diag e^{s_i}) for each layer;
the pass downwards merges it with the prior of the layer by precision. A layer whose proposal is vague is then at its
prior, where it costs nothing. With one layer it is the VAE of `genjax.models.vae`.

    -ELBO = E_q[-log p(x|z_1)] + sum_i E_q[KL(q(z_i|z_{i+1}, x) || p(z_i|z_{i+1}))]  >=  -log p(x)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, stochastic
from genjax.losses import GAUSSIAN, Likelihood, gaussian_kl_per_dimension, gaussian_kl_to_standard_per_dimension
from genjax.models import descent
from genjax.types import Array, Batch, Key, Model, Network, Params, Scalar, check_networks

Gaussian = tuple[Array, Array]  # mean and log-variance, [B, d] each


class Layer(NamedTuple):
    """One layer of latent variables; the layers of a model are in order, from z_1, beside x, to z_L at the top."""

    upward: Network  # d_{i-1}, of layer 1 x [B, ...], -> d_i
    proposal: Network  # d_i -> (mu_i, s_i), as `networks.gaussian_heads` makes them
    prior: Network | None  # z_{i+1} -> mean and log-variance of p(z_i|z_{i+1}); None at the top
    dim: int  # of z_i


class Ladder(NamedTuple):
    """The parts of a ladder VAE.

    Its params are {"encoder": {"layer_i": {"upward": ..., "proposal": ...}}, "decoder": {"layer_i": ..., "x": ...}}.
    """

    layers: tuple[Layer, ...]
    decoder: Network  # z_1 -> the likelihood's parameters
    likelihood: Likelihood


class Pass(NamedTuple):
    """One pass up and down a ladder; the tuples have an entry for each layer, z_1 first."""

    posteriors: tuple[Gaussian, ...]  # of q(z_i|z_{i+1}, x)
    priors: tuple[Gaussian, ...]  # of p(z_i|z_{i+1}); of the top 0 and 0
    z: tuple[Array, ...]  # draws from q
    output: Array  # the decoder's


def init_params(key: Key, *, parts: Ladder) -> Params:
    """Fresh parameters of all networks.

    Raises:
      TypeError: a part is not a network.
      ValueError: no layer, or a prior at the top or none below it.
    """
    check_networks(decoder=parts.decoder)
    if not parts.layers:
        raise ValueError("layers: a ladder VAE has one or more")
    if [layer.prior is None for layer in parts.layers] != [False] * (len(parts.layers) - 1) + [True]:
        raise ValueError("prior: each layer but the top one has a network for it")
    decoder_key, *keys = jax.random.split(key, 1 + len(parts.layers))
    params: Params = {"encoder": {}, "decoder": {"x": parts.decoder.init(decoder_key)}}
    for name, layer, layer_key in zip(_names(parts), parts.layers, keys, strict=True):
        check_networks(upward=layer.upward, proposal=layer.proposal)
        up_key, proposal_key, prior_key = jax.random.split(layer_key, 3)
        params["encoder"][name] = {"upward": layer.upward.init(up_key), "proposal": layer.proposal.init(proposal_key)}
        if layer.prior is not None:
            check_networks(prior=layer.prior)
            params["decoder"][name] = layer.prior.init(prior_key)
    return params


def _names(parts: Ladder) -> list[str]:
    return [f"layer_{number}" for number in range(1, len(parts.layers) + 1)]


def merge(proposal: Gaussian, prior: Gaussian) -> Gaussian:
    """The product of two Gaussian densities, normalised: their means weighted by their precisions.

        e^{-s} = e^{-s_1} + e^{-s_2},   mu = e^s (e^{-s_1} mu_1 + e^{-s_2} mu_2)

    Args:
      proposal: mu_1 and s_1, mean and log-variance, [B, d] each.
      prior: mu_2 and s_2, of the same shapes.

    Returns:
      mu and s, [B, d] each.

    Source: Sonderby et al. 2016, equations 11 and 12.
    """
    (mean, log_variance), (prior_mean, prior_log_variance) = proposal, prior
    share = jax.nn.sigmoid(prior_log_variance - log_variance)  # of the proposal's precision in the sum
    merged = -jnp.logaddexp(-log_variance, -prior_log_variance)
    return share * mean + (1 - share) * prior_mean, merged


def proposals(params: Params, x: Array, *, parts: Ladder) -> tuple[Gaussian, ...]:
    """The deterministic pass upwards: x [B, ...] -> (mu_i, s_i) of each layer.

    Source: Sonderby et al. 2016, equations 8 to 10.
    """
    d, found = x, []
    for name, layer in zip(_names(parts), parts.layers, strict=True):
        d = layer.upward.apply(params["encoder"][name]["upward"], d)
        found.append(layer.proposal.apply(params["encoder"][name]["proposal"], d))
    return tuple(found)


def layer_prior(params: Params, number: int, above: Array, *, parts: Ladder) -> Gaussian:
    """The prior p(z_i|z_{i+1}) of layer i = number + 1 below the top, given z_{i+1} [B, d_{i+1}]."""
    network = parts.layers[number].prior
    assert network is not None
    return network.apply(params["decoder"][f"layer_{number + 1}"], above)


def _descend(
    params: Params, up: tuple[Gaussian, ...], choose: Callable[[int, Gaussian], Array], *, parts: Ladder
) -> Pass:
    """The pass downwards; `choose(number, posterior)` is the layer's z."""
    top = len(parts.layers) - 1
    posteriors, priors = [up[top]], [(jnp.zeros_like(up[top][0]), jnp.zeros_like(up[top][1]))]
    z = [choose(top, up[top])]
    for number in reversed(range(top)):
        priors.insert(0, layer_prior(params, number, z[0], parts=parts))
        posteriors.insert(0, merge(up[number], priors[0]))
        z.insert(0, choose(number, posteriors[0]))
    output = parts.decoder.apply(params["decoder"]["x"], z[0])
    return Pass(tuple(posteriors), tuple(priors), tuple(z), output)


def forward(params: Params, x: Array, key: Key, *, parts: Ladder) -> Pass:
    """Encodes x [B, ...] upwards, draws z_L, ..., z_1 from q downwards, and decodes z_1."""
    return draw(params, proposals(params, x, parts=parts), key, parts=parts)


def draw(params: Params, up: tuple[Gaussian, ...], key: Key, *, parts: Ladder) -> Pass:
    """`forward` from what `proposals` returns."""
    keys = jax.random.split(key, len(parts.layers))
    return _descend(params, up, lambda number, q: stochastic.sample_gaussian(*q, keys[number]), parts=parts)


def rates(drawn: Pass) -> Array:
    """The rate of each layer, KL(q(z_i|z_{i+1}, x) || p(z_i|z_{i+1})) at the drawn z_{i+1}: [B, L], in nats, >= 0."""
    *below, top = drawn.posteriors
    by_dimension = [gaussian_kl_per_dimension(*q, *p) for q, p in zip(below, drawn.priors, strict=False)]
    by_dimension.append(gaussian_kl_to_standard_per_dimension(*top))
    return jnp.stack([jnp.sum(each, axis=-1) for each in by_dimension], axis=-1)


def negative_elbo(params: Params, x: Array, key: Key, *, parts: Ladder) -> Array:
    """One-sample estimate of the negative evidence lower bound.

        -log p(x|z_1) + sum_i KL(q(z_i|z_{i+1}, x) || p(z_i|z_{i+1})),   z ~ q(z|x)

    Args:
      x: [B, ...].
      key: draws z.

    Returns:
      [B], in nats; its mean over z is an upper bound of -log p(x).
    """
    drawn = forward(params, x, key, parts=parts)
    return parts.likelihood.negative_log_likelihood(drawn.output, x) + jnp.sum(rates(drawn), axis=-1)


def objective(parts: Ladder, *, rate_weight: Scalar = 1.0) -> gradients.Objective:
    """The weighted objective of a ladder VAE.

        J = distortion + rate_weight * sum_i rate_i

    A weight that rises from 0 to 1 at first (warm-up) keeps upper layers from being left at their priors; for that see
    `descent.Scheduled`.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_elbo", "distortion", "rate", and of each layer "rate_i":
      [B]})`, in nats.

    Source: Sonderby et al. 2016.
    """

    def weighted(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        drawn = forward(params, batch.x, key, parts=parts)
        distortion, by_layer = parts.likelihood.negative_log_likelihood(drawn.output, batch.x), rates(drawn)
        rate = jnp.sum(by_layer, axis=-1)
        metrics = {"negative_elbo": distortion + rate, "distortion": distortion, "rate": rate}
        metrics |= {f"rate_{number}": by_layer[:, number - 1] for number in range(1, 1 + len(parts.layers))}
        return distortion + rate_weight * rate, metrics

    return weighted


def importance_sampler(params: Params, x: Array, *, parts: Ladder) -> Callable[[Key], Array]:
    """Draws of the log importance weight, whose mean exponential is the likelihood: p(x) = E[w].

        log w = log p(x|z_1) + sum_i log p(z_i|z_{i+1}) - log q(z_i|z_{i+1}, x),   z ~ q(z|x)

    Args:
      x: [B, ...], passed upwards once.

    Returns:
      `log_weight(key) -> [B]`, in nats, for `evaluation.likelihood.log_likelihood`.
    """
    up = proposals(params, x, parts=parts)

    def log_weight(key: Key) -> Array:
        drawn = draw(params, up, key, parts=parts)
        log_w = -parts.likelihood.negative_log_likelihood(drawn.output, x)
        for q, p, z in zip(drawn.posteriors, drawn.priors, drawn.z, strict=True):
            log_w += GAUSSIAN.negative_log_likelihood(q, z) - GAUSSIAN.negative_log_likelihood(p, z)
        return log_w

    return log_weight


# Using and training it


def encode(params: Params, x: Array, *, parts: Ladder) -> Array:
    """The means of q(z_i|z_{i+1}, x), each given that above it, side by side with z_1 first: [B, d_1 + ... + d_L]."""
    return jnp.concatenate(_means(params, x, parts=parts).z, axis=-1)


def reconstruct(params: Params, x: Array, *, parts: Ladder) -> Array:
    """E[x|z_1] at the posterior means, without noise: [B, ...] -> [B, ...]."""
    return parts.likelihood.mean(_means(params, x, parts=parts).output)


def _means(params: Params, x: Array, *, parts: Ladder) -> Pass:
    return _descend(params, proposals(params, x, parts=parts), lambda number, q: q[0], parts=parts)


def sample_top(num: int, key: Key, *, parts: Ladder) -> Array:
    """z_L ~ N(0, I): [num, d_L]."""
    return jax.random.normal(key, (num, parts.layers[-1].dim))


def descend(params: Params, top: Array, key: Key, *, parts: Ladder) -> Array:
    """z_1 [B, d_1] by ancestral sampling from z_L [B, d_L]: z_i ~ p(z_i|z_{i+1}), i = L - 1, ..., 1."""
    keys, z = jax.random.split(key, len(parts.layers)), top
    for number in reversed(range(len(parts.layers) - 1)):
        z = stochastic.sample_gaussian(*layer_prior(params, number, z, parts=parts), keys[number])
    return z


def decode(params: Params, top: Array, key: Key, *, parts: Ladder) -> Array:
    """E[x|z_1] [B, ...], with z_1 drawn by `descend` from z_L [B, d_L]."""
    z = descend(params, top, key, parts=parts)
    return parts.likelihood.mean(parts.decoder.apply(params["decoder"]["x"], z))


def model(
    parts: Ladder,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    **options: Unpack[descent.Options],
) -> Model:
    """A ladder VAE that trains on the given objective.

    Args:
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; `sample` gives the means E[x|z_1] at ancestral draws of z.
    """

    def sample(state: descent.State, num: int, key: Key) -> Array:
        top_key, below_key = jax.random.split(key)
        return decode(state.evaluation_params, sample_top(num, top_key, parts=parts), below_key, parts=parts)

    return descent.model(partial(init_params, parts=parts), optimizer, objective, **options)._replace(sample=sample)
