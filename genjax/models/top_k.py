"""Top-k training: only the generated examples that look most real to the critic train the generator.

    J_G = 1/k sum_{i in top k} L_G(a_i, a~_i),   k = ceil(s_t B),   s_t = max(nu^{t / T}, nu)

where the top k of the B examples have the largest logits a~_i. At first all of them count; over T steps their share
falls geometrically to nu. The gradient at a poor example may push it away from the data (Sinha et al. 2020, section 4).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.losses import mean_logit
from genjax.losses.adversarial import Logit
from genjax.types import Array, Batch, Scalar


class TopK(NamedTuple):
    """How the share of the generated examples that train the generator falls."""

    num_steps: int  # T, in which it falls from 1
    share: float = 0.5  # nu, to which it falls, in (0, 1]


class Turn(NamedTuple):
    """A batch, and the share of generated examples that train the generator in this step."""

    x: Array  # [B, ...]
    label: Array | None
    share: Array  # s_t, [B], everywhere the same


def turn(batch: Batch, step: Array, top_k: TopK) -> Turn:
    """The batch with the share of this step, s_t = max(nu^{t / T}, nu)."""
    share = jnp.maximum(top_k.share ** (step * (1 / top_k.num_steps)), top_k.share)
    return Turn(batch.x, batch.label, jnp.full(len(batch.x), share, jnp.float32))


def weights(logit: Logit, share: Scalar) -> Array:
    """Weights of the generated examples, whose mean is 1.

        w_i = B / k  if a~_i is among the k largest, otherwise 0;   k = ceil(s B)

    No gradient passes through them, and of equal logits the first counts as the largest. The mean of w_i L_i is that
    of L_i over the k examples. Of a batch that is cut into shards, each shard chooses among its own examples.

    Args:
      logit: of generated examples, [B], or maps of them, whose means are compared.
      share: s, in (0, 1].

    Returns:
      [B].

    Source: Sinha et al. 2020, equation 2.
    """
    order = jnp.argsort(-jax.lax.stop_gradient(mean_logit(logit)))
    num = len(order)
    k = jnp.clip(jnp.ceil(share * num - 1e-3), 1, num)  # the product's rounding adds no example
    return jnp.where(jnp.argsort(order) < k, num / k, 0)
