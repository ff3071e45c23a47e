"""The stochastic feed-forward network (Tang & Salakhutdinov 2013): regression with more than one answer.

p(y|x) = sum_h p(y|h, u) p(h|x),   h_j ~ Bernoulli(sigm(a_j)) for j <= H,   u_j = act(a_j) for j > H,   a = hidden(x)

H hidden units are random bits, the others are deterministic, and each of the 2^H settings of the bits is a
component of a mixture. It learns by generalised EM: draw h^m ~ p(h|x), weigh each draw by how well it explains y,
w^m = p(y|h^m) / sum_k p(y|h^k), and ascend

sum_m w^m [log p(y|h^m) + log p(h^m|x)]

whose gradient tends to that of log p(y|x) as draws are added. With H = 0 it is a multilayer perceptron with a noise
model: y = L(x) + eps(x) for a Gaussian likelihood. A batch is `Batch(x, y)`: the labels are the targets, [B, ...].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, stochastic
from genjax.losses import Likelihood, binary_cross_entropy
from genjax.models import descent
from genjax.types import Array, Batch, Key, Model, Network, Params, check_networks


class SFNN(NamedTuple):
    """The parts of a stochastic feed-forward network; its params are {"hidden": ..., "output": ...}."""

    hidden: Network  # x [B, ...] -> a [B, K], before the activation
    output: Network  # (h, u) [B, K] -> what the likelihood takes
    likelihood: Likelihood  # p(y|h, u)
    num_stochastic: int  # H: the first H hidden units are bits
    activation: Callable[[Array], Array]  # act, of the others


def init_params(key: Key, *, parts: SFNN) -> Params:
    """Fresh parameters of both networks."""
    check_networks(hidden=parts.hidden, output=parts.output)
    hidden_key, output_key = jax.random.split(key)
    return {"hidden": parts.hidden.init(hidden_key), "output": parts.output.init(output_key)}


def _hidden(params: Params, x: Array, parts: SFNN) -> tuple[Array, Array]:
    """Logits of the bits [B, H], and the deterministic units u [B, K - H]."""
    a = parts.hidden.apply(params["hidden"], x)
    return a[:, : parts.num_stochastic], parts.activation(a[:, parts.num_stochastic :])


def _output(params: Params, bits: Array, units: Array, parts: SFNN) -> Any:
    return parts.output.apply(params["output"], jnp.concatenate([bits.astype(units.dtype), units], axis=-1))


def draw(params: Params, x: Array, key: Key, *, parts: SFNN, num_draws: int) -> Array:
    """Bits h^m ~ p(h|x): x [B, ...] -> [M, B, H], each 0 or 1; nothing flows back through them."""
    logits, _ = _hidden(params, x, parts)
    return stochastic.sample_bernoulli(jnp.broadcast_to(logits, (num_draws, *logits.shape)), key)


def configurations(num_bits: int) -> Array:
    """All settings of H bits, [2^H, H], the first bit the fastest.

    Raises:
      ValueError: for more than 16 bits.
    """
    if num_bits > 16:
        raise ValueError(f"{num_bits} bits have 2^{num_bits} settings; enumeration is for 16 bits at most: draw them")
    return ((jnp.arange(2**num_bits)[:, None] >> jnp.arange(num_bits)[None]) & 1).astype(jnp.float32)


def log_probabilities(params: Params, x: Array, y: Array, bits: Array, *, parts: SFNN) -> tuple[Array, Array]:
    """The two factors of p(y, h|x) at given bits.

    Args:
      x: [B, ...].
      y: [B, ...].
      bits: h^m, [M, B, H].

    Returns:
      (log p(y|h^m, u) [M, B], log p(h^m|x) [M, B]) in nats.
    """
    logits, units = _hidden(params, x, parts)

    def at(h: Array) -> tuple[Array, Array]:
        negative = parts.likelihood.negative_log_likelihood(_output(params, h, units, parts), y)
        return -negative, -binary_cross_entropy(logits, h)

    return jax.vmap(at)(bits)


def _log_joint(params: Params, x: Array, y: Array, parts: SFNN) -> Array:
    """Log p(y, h|x) at every setting of the bits, [2^H, B]."""
    settings = configurations(parts.num_stochastic)[:, None]
    bits = jnp.broadcast_to(settings, (len(settings), len(x), parts.num_stochastic))
    log_y, log_h = log_probabilities(params, x, y, bits, parts=parts)
    return log_y + log_h


def negative_log_likelihood(params: Params, x: Array, y: Array, *, parts: SFNN) -> Array:
    """Minus log p(y|x) exactly, by the sum over all 2^H settings of the bits.

    Args:
      x: [B, ...].
      y: [B, ...].

    Returns:
      [B], in nats.

    Raises:
      ValueError: for more than 16 bits.
    """
    return -jax.nn.logsumexp(_log_joint(params, x, y, parts), axis=0)


def importance_negative_log_likelihood(
    params: Params, x: Array, y: Array, key: Key, *, parts: SFNN, num_draws: int
) -> Array:
    """Estimate of minus log p(y|x) for any number of bits: minus log (1/M) sum_m p(y|h^m), h^m ~ p(h|x).

    By Jensen's inequality its mean is at least the exact value, which it falls to as M grows.

    Args:
      x: [B, ...].
      y: [B, ...].
      key: draws h^m.

    Returns:
      [B], in nats.
    """
    bits = draw(params, x, key, parts=parts, num_draws=num_draws)
    log_y, _ = log_probabilities(params, x, y, bits, parts=parts)
    return math.log(num_draws) - jax.nn.logsumexp(log_y, axis=0)


def posterior(params: Params, x: Array, y: Array, *, parts: SFNN) -> Array:
    """p(h|x, y) at every setting of `configurations`: the exact E-step, [2^H, B], each column summing to one."""
    return jax.nn.softmax(_log_joint(params, x, y, parts), axis=0)


def negative_expected_log_joint(
    params: Params, x: Array, y: Array, bits: Array, weights: Array, *, parts: SFNN
) -> Array:
    """The objective of the M-step: minus sum_m w^m [log p(y|h^m, u) + log p(h^m|x)].

    At the weights of the exact posterior its gradient is that of minus log p(y|x) (Fisher's identity), and any
    decrease of it from there decreases minus log p(y|x) by at least as much.

    Args:
      x: [B, ...].
      y: [B, ...].
      bits: h^m, [M, B, H].
      weights: w^m, [M, B], summing to one over m; constants: no gradient enters them.

    Returns:
      [B], in nats.
    """
    return _weighted(weights, *log_probabilities(params, x, y, bits, parts=parts))


def _weighted(weights: Array, log_y: Array, log_h: Array) -> Array:
    return -jnp.sum(jax.lax.stop_gradient(weights) * (log_y + log_h), axis=0)


def objective(parts: SFNN, *, num_draws: int) -> gradients.Objective:
    """Generalised EM with M draws as one objective: E-step and M-step in every update.

    Returns:
      `objective(params, batch, key) -> (loss [B], {"negative_log_likelihood": [B]})` in nats, where the loss is
      `negative_expected_log_joint` and the metric the importance estimate, both of the same M draws.

    Raises:
      ValueError: when the returned objective gets a batch without labels.
    """

    def expectation_maximisation(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        x, y = batch
        if y is None:
            raise ValueError("a regression needs targets, as in Batch(x, y); this batch has none")
        bits = draw(params, x, key, parts=parts, num_draws=num_draws)
        log_y, log_h = log_probabilities(params, x, y, bits, parts=parts)
        loss = _weighted(jax.nn.softmax(log_y, axis=0), log_y, log_h)
        return loss, {"negative_log_likelihood": math.log(num_draws) - jax.nn.logsumexp(log_y, axis=0)}

    return expectation_maximisation


def sample(params: Params, x: Array, key: Key, *, parts: SFNN) -> Array:
    """One draw of y ~ p(y|x) for each x: first the bits, then y given them; [B, ...] -> [B, ...]."""
    bits_key, y_key = jax.random.split(key)
    logits, units = _hidden(params, x, parts)
    return parts.likelihood.sample(_output(params, stochastic.sample_bernoulli(logits, bits_key), units, parts), y_key)


def model(
    parts: SFNN,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    **options: Unpack[descent.Options],
) -> Model:
    """A network that trains on the given objective: `objective(parts, num_draws=M)`, or one of your own.

    Args:
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; it cannot sample without an x: see `sample` of this module.
    """
    return descent.model(partial(init_params, parts=parts), optimizer, objective, **options)
