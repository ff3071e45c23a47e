"""Information theory of finite distributions: entropies, mutual information and divergence, in nats.

A distribution over m states is an array [..., m] of probabilities that sum to one over the last axis; a joint
distribution of x (m states) and y (n states) is a table [..., m, n] that sums to one over the last two. Leading
dimensions are a batch. Where theory defines 0 log 0 = 0 the value is exact, with finite gradients; where the true value
is infinite, so is the result; nothing is clipped away from zero. In float32 a probability below 1.2e-38 counts as 0.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from genjax.shapes import as_float, check_same_shape
from genjax.types import Array


def _log(p: Array, support: Array) -> Array:
    """Log p on the support and 0 off it, where it is multiplied by 0: the gradient then has no 0 * infinity."""
    return jnp.log(jnp.where(support, p, 1))


def self_information(p: Array) -> Array:
    """Self-information (surprise) of an event.

        I = -log p

    Args:
      p: probability of the event, [...].

    Returns:
      [...], in nats: 0 at p = 1, infinity at p = 0.

    Source: Shannon 1948.
    """
    return -jnp.log(as_float(p))


def entropy(p: Array) -> Array:
    """Entropy of a distribution.

        H(p) = -sum_k p_k log p_k

    Args:
      p: [..., m].

    Returns:
      [...], in nats, from 0 to log m, which only the uniform distribution reaches.

    Source: Shannon 1948; Cover & Thomas 2006, section 2.1.
    """
    return cross_entropy(p, p)


def maximum_entropy(num_states: int) -> float:
    """Largest entropy of a distribution over m states.

        max_p H(p) = log m

    Args:
      num_states: m; 2 K + 1 for the alphabet {-K, ..., K}.

    Returns:
      A number, in nats.

    Source: Cover & Thomas 2006, theorem 2.6.4.
    """
    return math.log(num_states)


def cross_entropy(truth: Array, model: Array) -> Array:
    """Cross-entropy of a model p under the true distribution q.

        H(q, p) = -sum_k q_k log p_k >= H(q),   with equality only for p = q

    The binary case from probabilities is this with m = 2; from logits it is `binary_log_loss`.

    Args:
      truth: q, [..., m].
      model: p, [..., m].

    Returns:
      [...], >= 0, in nats; infinity where some p_k = 0 < q_k.

    Raises:
      ValueError: shapes that differ.

    Source: Cover & Thomas 2006, section 2.3.
    """
    check_same_shape(truth=truth, model=model)
    truth, model = as_float(truth), as_float(model)
    return -jnp.sum(truth * _log(model, truth > 0), axis=-1)


def binary_log_loss(logits: Array, truth: Array) -> Array:
    """Mean binary cross-entropy of a classifier.

        -1/N sum_i [y_i log p_i + (1 - y_i) log(1 - p_i)],   p = sigm(l)

    It is a mean over N examples with one decision each; for the sum over an image's pixels see
    `losses.binary_cross_entropy`.

    Args:
      logits: l, [..., N], finite.
      truth: y, [..., N], 0 or 1, or a probability between.

    Returns:
      [...], >= 0, in nats; 0 for a perfect classifier, log 2 at logits 0.

    Raises:
      ValueError: shapes that differ.

    Source: Bishop 2006, equation 4.90.
    """
    check_same_shape(logits=logits, truth=truth)
    return -jnp.mean(truth * jax.nn.log_sigmoid(logits) + (1 - truth) * jax.nn.log_sigmoid(-logits), axis=-1)


def joint_entropy(joint: Array) -> Array:
    """Joint entropy of two variables.

        H(x, y) = -sum_ij p(x_i, y_j) log p(x_i, y_j)

    Args:
      joint: p(x, y), [..., m, n].

    Returns:
      [...], in nats, from 0 to log(m n).

    Source: Cover & Thomas 2006, section 2.2.
    """
    joint = as_float(joint)
    return entropy(joint.reshape(*joint.shape[:-2], -1))


def conditional_entropy(joint: Array) -> Array:
    """Conditional entropy of x, the rows, given y, the columns.

        H(x|y) = H(x, y) - H(y) = sum_ij p(x_i, y_j) log[p(y_j) / p(x_i, y_j)]

    The last form is computed; its terms are never negative except by rounding, and only that is cut off at 0. For
    H(y|x) pass the transposed table.

    Args:
      joint: p(x, y), [..., m, n].

    Returns:
      [...], in nats, from 0 to H(x).

    Source: Cover & Thomas 2006, section 2.2.
    """
    joint = as_float(joint)
    y = jnp.broadcast_to(jnp.sum(joint, axis=-2, keepdims=True), joint.shape)
    terms = joint * (_log(y, joint > 0) - _log(joint, joint > 0))
    return jnp.maximum(jnp.sum(terms, axis=(-2, -1)), 0)


def mutual_information(joint: Array) -> Array:
    """Mutual information of two variables.

        I(x; y) = sum_ij p(x_i, y_j) log[p(x_i, y_j) / (p(x_i) p(y_j))] = H(y) - H(y|x)

    The logarithms of the marginals are added, because the product of two small marginals would round to 0. Only
    rounding is cut off at 0.

    Args:
      joint: p(x, y), [..., m, n].

    Returns:
      [...], >= 0, in nats; 0 for independent variables, H(x) for I(x; x).

    Source: Cover & Thomas 2006, section 2.3.
    """
    joint = as_float(joint)
    x = jnp.broadcast_to(jnp.sum(joint, axis=-1, keepdims=True), joint.shape)
    y = jnp.broadcast_to(jnp.sum(joint, axis=-2, keepdims=True), joint.shape)
    support = joint > 0
    terms = joint * (_log(joint, support) - (_log(x, support) + _log(y, support)))
    return jnp.maximum(jnp.sum(terms, axis=(-2, -1)), 0)


def kl_divergence(q: Array, p: Array) -> Array:
    """Kullback-Leibler divergence of p from q.

        KL(q||p) = sum_k q_k log(q_k / p_k) = H(q, p) - H(q)

    It is not a distance: it is not symmetric and has no triangle inequality.

    It is summed as q log(q / p) - q + p, which is the same because both sum to one. Each of these terms is at least 0,
    and 0 where q_k = p_k, so sums that miss one by rounding cannot make it negative, as they can the plain sum; only
    what the terms themselves round is cut off at 0. The gradients are log(q / p) and 1 - q / p. They differ from those
    of the plain sum by a constant, which has no component along the simplex.

    Args:
      q: [..., m].
      p: [..., m].

    Returns:
      [...], >= 0, in nats; 0 only for q = p, infinity where some p_k = 0 < q_k.

    Raises:
      ValueError: shapes that differ.

    Source: Kullback & Leibler 1951.
    """
    check_same_shape(q=q, p=p)
    q, p = as_float(q), as_float(p)
    support = (q > 0) & (p > 0)
    # a difference of logarithms: q / p or its derivative overflows where both are small
    terms = q * (_log(q, support) - _log(p, support)) - (q - p)
    return jnp.maximum(jnp.sum(jnp.where((q > 0) & (p <= 0), jnp.inf, terms), axis=-1), 0)
