"""Information theory of finite distributions: entropies, mutual information and divergence, in nats.

A distribution over m states is an array [..., m] of probabilities that sum to one over the last axis; a joint
distribution of x (m states) and y (n states) is a table [..., m, n] that sums to one over the last two. Leading
dimensions are a batch. Where theory says 0 log 0 = 0 the value is exact, with finite gradients; where it says
infinity the value is infinity; nothing is clipped away from zero. In float32 a probability below 1.2e-38 counts as 0.
"""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp

from genjax.types import Array


def _log(p: Array, support: Array) -> Array:
    """Log p on the support, and 0 off it, where it meets a factor 0: the gradient then has no 0 * infinity."""
    return jnp.log(jnp.where(support, p, 1))


def self_information(p: Array) -> Array:
    """Self-information (surprise) of an event of probability p: I = -log p, from 0 at p = 1 to infinity at p = 0.

    Args:
      p: [...].

    Returns:
      [...].

    References:
      Shannon 1948.
    """
    return -jnp.log(p)


def entropy(p: Array) -> Array:
    """Entropy: H(p) = -sum_k p_k log p_k, 0 <= H <= log m, the upper bound reached by the uniform one only.

    Args:
      p: [..., m].

    Returns:
      [...].

    References:
      Shannon 1948; Cover & Thomas 2006, section 2.1.
    """
    return cross_entropy(p, p)


def maximum_entropy(num_states: int) -> float:
    """Greatest entropy that num_states states can have: log m; with the alphabet {-K, ..., K}, m = 2 K + 1."""
    return math.log(num_states)


def cross_entropy(truth: Array, model: Array) -> Array:
    """Cross-entropy of a model under the truth q: H(q, p) = -sum_k q_k log p_k >= H(q), with equality iff p = q.

    Infinite where the model excludes (p_k = 0) what happens (q_k > 0). The binary case from probabilities is this
    with m = 2; from logits it is `binary_log_loss`.

    Args:
      truth: q, [..., m].
      model: p, [..., m].

    Returns:
      [...].

    Raises:
      AssertionError: naming both shapes where they differ.

    References:
      Cover & Thomas 2006, section 2.3.
    """
    chex.assert_equal_shape([truth, model])
    return -jnp.sum(truth * _log(model, truth > 0), axis=-1)


def binary_log_loss(logits: Array, truth: Array) -> Array:
    """Mean binary cross-entropy of a classifier: -1/N sum_i [y_i log p_i + (1 - y_i) log(1 - p_i)], p = sigmoid(l).

    The mean over N examples of one decision each; a sum over the pixels of an image is in `genjax.losses`.

    Args:
      logits: l, [..., N], finite.
      truth: y, [..., N], 0 or 1, or a probability between.

    Returns:
      [...]; 0 for a perfect classifier, log 2 at logits 0.

    Raises:
      AssertionError: naming both shapes where they differ.
    """
    chex.assert_equal_shape([logits, truth])
    return -jnp.mean(truth * jax.nn.log_sigmoid(logits) + (1 - truth) * jax.nn.log_sigmoid(-logits), axis=-1)


def joint_entropy(joint: Array) -> Array:
    """Joint entropy: H(x, y) = -sum_ij p(x_i, y_j) log p(x_i, y_j).

    Args:
      joint: p(x, y), [..., m, n].

    Returns:
      [...].

    References:
      Cover & Thomas 2006, section 2.2.
    """
    return entropy(joint.reshape(*joint.shape[:-2], -1))


def conditional_entropy(joint: Array) -> Array:
    """Conditional entropy of x, the rows, given y, the columns: H(x|y) = H(x, y) - H(y).

    Computed as sum_ij p(x_i, y_j) log[p(y_j) / p(x_i, y_j)], whose terms are never negative but for rounding: the
    bound at 0 removes nothing else. For H(y|x) pass the transposed table.

    Args:
      joint: p(x, y), [..., m, n].

    Returns:
      [...].

    References:
      Cover & Thomas 2006, section 2.2.
    """
    y = jnp.broadcast_to(jnp.sum(joint, axis=-2, keepdims=True), joint.shape)
    terms = joint * (_log(y, joint > 0) - _log(joint, joint > 0))
    return jnp.maximum(jnp.sum(terms, axis=(-2, -1)), 0)


def mutual_information(joint: Array) -> Array:
    """Mutual information: I(x; y) = sum_ij p(x_i, y_j) log[p(x_i, y_j) / (p(x_i) p(y_j))] = H(y) - H(y|x).

    Zero for independent variables, H(x) for I(x; x); the bound at 0 removes rounding only. The logarithms are added,
    since the product of two small marginals would be rounded to 0.

    Args:
      joint: p(x, y), [..., m, n].

    Returns:
      [...].

    References:
      Cover & Thomas 2006, section 2.3.
    """
    x = jnp.broadcast_to(jnp.sum(joint, axis=-1, keepdims=True), joint.shape)
    y = jnp.broadcast_to(jnp.sum(joint, axis=-2, keepdims=True), joint.shape)
    support = joint > 0
    terms = joint * (_log(joint, support) - (_log(x, support) + _log(y, support)))
    return jnp.maximum(jnp.sum(terms, axis=(-2, -1)), 0)


def kl_divergence(q: Array, p: Array) -> Array:
    """Kullback-Leibler divergence: KL(q||p) = sum_k q_k log(q_k / p_k) = H(q, p) - H(q) >= 0, 0 iff p = q.

    A divergence and no distance: not symmetric, no triangle inequality, and larger = less alike. Infinite where
    p_k = 0 < q_k.

    Summed as q log(q / p) - q + p, which is the same since both sum to one. Each of these terms is at least 0, and 0
    where q_k = p_k, so that sums that miss one by rounding cannot make it negative, as they can the plain sum; the
    bound at 0 removes only what the terms themselves round. The gradients are log(q / p) and 1 - q / p, which differ
    from those of the plain sum by a constant, that is, not at all along the simplex.

    Args:
      q: [..., m].
      p: [..., m].

    Returns:
      [...].

    Raises:
      AssertionError: naming both shapes where they differ.

    References:
      Kullback & Leibler 1951.
    """
    chex.assert_equal_shape([q, p])
    support = (q > 0) & (p > 0)
    # A difference of logarithms, since q / p or its derivative overflows where both are small.
    terms = q * (_log(q, support) - _log(p, support)) - (q - p)
    return jnp.maximum(jnp.sum(jnp.where((q > 0) & (p <= 0), jnp.inf, terms), axis=-1), 0)
