"""An encoder of identities: a unit vector per picture, close for pictures of one identity, even a new one.

v = E(x) / ||E(x)||_2,   cos theta_j = <v, w_j / ||w_j||>,   J = cross-entropy of `losses.arcface_logits`

The class vectors w_j belong to the training identities and are not used afterwards: new identities are distinguished by
the angle between their vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.losses import arcface_logits, softmax_cross_entropy
from genjax.models import descent
from genjax.stochastic import Corruption
from genjax.types import Array, Batch, Key, Model, Network, Params, Scalar, check_networks


class IdentityEncoder(NamedTuple):
    """The parts of an identity encoder; its params are {"body": ..., "classes": [C, m]}."""

    body: Network  # x [B, ...] -> [B, m]
    identity_dim: int  # m
    num_identities: int  # C, to train on
    scale: float = 16.0  # s of the logits


def init_params(key: Key, *, parts: IdentityEncoder) -> Params:
    """Fresh parameters of the body and fresh class vectors."""
    check_networks(body=parts.body)
    body_key, classes_key = jax.random.split(key)
    # only directions count, but Adam turns a short vector faster than a long one: with unit entries the vectors would
    # stay where they were drawn, and the body would memorise the pictures
    classes = 0.01 * jax.random.normal(classes_key, (parts.num_identities, parts.identity_dim))
    return {"body": parts.body.init(body_key), "classes": classes}


def _unit(v: Array) -> Array:
    # not a division, which XLA turns into a product with the reciprocal in some programs only, with other bits
    return v * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(v), axis=-1, keepdims=True), 1e-12))


def encode(body: Params, x: Array, *, parts: IdentityEncoder) -> Array:
    """The identity vectors of pictures: the body's params and x [B, ...] -> v [B, m], ||v||_2 = 1."""
    return _unit(parts.body.apply(body, x))


def encode_by_all(bodies: Sequence[Params], x: Array, *, parts: IdentityEncoder) -> Array:
    """Concatenated vectors of k encoders, whose cosines are the means of theirs: x [B, ...] -> v [B, k m], ||v||_2 = 1.

        v = (v_1, ..., v_k) / sqrt(k)

    A picture that deceives one network seldom deceives another, separately trained one (Liu et al. 2017), so that an
    identity loss of several is harder to lower by anything but the identity.
    """
    return jnp.concatenate([encode(body, x, parts=parts) for body in bodies], axis=-1) / math.sqrt(len(bodies))


def objective(parts: IdentityEncoder, *, margin: Scalar, corruption: Corruption | None = None) -> gradients.Objective:
    """Softmax cross-entropy of the identities, with an angular margin on the true one.

    Args:
      margin: m, in radians.
      corruption: of the pictures, drawn anew each time: the gradients of an encoder that is robust to noise follow
        visible features of a face, not invisible patterns (Kaur, Cohen & Lipton 2019).

    Returns:
      `objective(params, batch, key) -> (loss [B], {"cross_entropy", "accuracy": [B]})`: the loss in nats, and whether
      the nearest class is the label, without the margin.

    Raises:
      ValueError: when the returned objective gets a batch without labels.

    Source: Deng et al. 2019, equation 3.
    """

    def classified(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        if batch.label is None:
            raise ValueError("an identity encoder learns from labels, and the batch has none")
        x = batch.x if corruption is None else corruption(batch.x, key)
        cosine = encode(params["body"], x, parts=parts) @ _unit(params["classes"]).T
        loss = softmax_cross_entropy(arcface_logits(cosine, batch.label, scale=parts.scale, margin=margin), batch.label)
        right = jnp.argmax(cosine, axis=-1) == batch.label
        return loss, {"cross_entropy": loss, "accuracy": right.astype(jnp.float32)}

    return classified


def rising_margin(margin: float, *, num_steps: int) -> optax.Schedule:
    """A margin that rises linearly from 0 over the first 30 % of the steps: step -> m, in radians."""
    return optax.linear_schedule(0.0, margin, max(1, int(0.3 * num_steps)))


def model(
    parts: IdentityEncoder,
    optimizer: optax.GradientTransformation,
    *,
    margin: optax.Schedule,
    corruption: Corruption | None = None,
    **options: Unpack[descent.Options],
) -> Model:
    """An identity encoder whose margin is a function of the step, such as an Optax schedule.

    Args:
      margin: step -> m, in radians.
      corruption: of the pictures, see `objective`.
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; it cannot sample. `evaluate` is at the margin of the state's step, over the training identities.
    """
    at_step = descent.Scheduled(lambda step: objective(parts, margin=jnp.asarray(margin(step)), corruption=corruption))
    return descent.model(partial(init_params, parts=parts), optimizer, at_step, **options)
