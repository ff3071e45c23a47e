"""Layers of normalising flows: bijections whose Jacobian has a determinant that costs no more than the map itself.

Each is a `types.Flow`. `chain` composes them, `inverted` runs one backwards, and `amortized` lets a network give every
example parameters of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from genjax.types import Array, Flow, Key, Network, Params

LARGEST_LOG_SCALE = 3.0
"""Bound of a layer's log-scale: far from the data it would overflow, and training would diverge."""

GATE = 2.0
"""Logit of an inverse autoregressive layer's gate before training: mostly open, as its authors recommend."""


def planar(dim: int) -> Flow:
    """A planar layer, which stretches space along one direction, across one plane.

        f(z) = z + v tanh(a),   a = w^T z + b,   log |det df/dz| = log |1 + v^T w (1 - tanh^2 a)|,
        v = u + (m - w^T u) w / ||w||^2,   m = log(1 + e^{w^T u}) - 1

    so that w^T v = m >= -1, which makes f invertible. The context is ignored.

    Args:
      dim: of z.

    Returns:
      A flow without an inverse in closed form, whose params are {"u": [d], "w": [d], "b": []}.

    Source: Rezende & Mohamed 2015, equations 10 to 13 and appendix A.1.
    """

    def init(key: Key) -> Params:
        u_key, w_key = jax.random.split(key)
        direction = jax.random.normal(w_key, (dim,)) / math.sqrt(dim)
        return {"u": 0.01 * jax.random.normal(u_key, (dim,)), "w": direction, "b": jnp.zeros([])}

    def forward(params: Params, z: Array, *context: Array) -> tuple[Array, Array]:
        u, w = params["u"], params["w"]
        along = jnp.sum(w * u)
        slack = jax.nn.softplus(along)  # w^T v + 1, positive
        v = u + (slack - 1 - along) / jnp.sum(jnp.square(w)) * w
        h = jnp.tanh(z @ w + params["b"])
        # 1 + w^T v (1 - h^2), without cancellation where w^T v is close to -1
        determinant = jnp.square(h) + slack * (1 - jnp.square(h))
        return z + h[:, None] * v[None], jnp.log(determinant)

    return Flow(init, forward)


LogScaleAndShift = Callable[..., tuple[Array, Array]]  # params, z [B, d], *context -> l and t, [B, d] each


def _affine(network: Network, log_scale_and_shift: LogScaleAndShift, places: np.ndarray) -> Flow:
    """The layer u = z e^l + t: l_j and t_j depend on the z_i of smaller places alone, and are 0 at place -1."""

    def forward(params: Params, z: Array, *context: Array) -> tuple[Array, Array]:
        log_scale, shift = log_scale_and_shift(params, z, *context)
        return z * jnp.exp(log_scale) + shift, jnp.sum(log_scale, axis=-1)

    def inverse(params: Params, u: Array, *context: Array) -> tuple[Array, Array]:
        def find(place: Array, z: Array) -> Array:
            log_scale, shift = log_scale_and_shift(params, z, *context)
            return jnp.where(places[None] == place, (u - shift) * jnp.exp(-log_scale), z)

        z = jax.lax.fori_loop(0, int(places.max()) + 1, find, jnp.where(places[None] < 0, u, 0))
        log_scale, _ = log_scale_and_shift(params, z, *context)
        return z, -jnp.sum(log_scale, axis=-1)

    return Flow(network.init, forward, inverse)


def _bounded(a: Array) -> Array:
    return LARGEST_LOG_SCALE * jnp.tanh(a / LARGEST_LOG_SCALE)


def affine_coupling(network: Network, kept: ArrayLike) -> Flow:
    """An affine coupling layer, which scales and shifts some dimensions by functions of the others.

        u = b z + (1 - b) (z e^{s(b z)} + t(b z)),   log |det du/dz| = sum_j (1 - b_j) s_j,
        s = 3 tanh(a / 3) of the network's output a

    with products of entries. Both directions take one pass.

    Args:
      network: b z [B, d], *context -> (a, t) side by side, [B, 2 d].
      kept: b, [d] booleans: the dimensions that stay as they are.

    Raises:
      ValueError: all dimensions are kept, or none is.

    Source: Dinh, Sohl-Dickstein & Bengio 2017 (RealNVP), equations 4 to 6 and 9.
    """
    b = np.asarray(kept, bool)
    if b.all() or not b.any():
        raise ValueError(f"a coupling keeps some dimensions and moves others; got {b.tolist()}")

    def log_scale_and_shift(params: Params, z: Array, *context: Array) -> tuple[Array, Array]:
        a, t = jnp.split(network.apply(params, jnp.where(b[None], z, 0), *context), 2, axis=-1)
        return jnp.where(b[None], 0, _bounded(a)), jnp.where(b[None], 0, t)

    return _affine(network, log_scale_and_shift, np.where(b, -1, 0))


def masked_autoregressive(network: Network, order: ArrayLike) -> Flow:
    """A masked autoregressive layer: each dimension is standardised, given those before it.

        u_j = (z_j - mu_j) e^{-alpha_j},   log |det du/dz| = -sum_j alpha_j,
        mu_j and alpha_j = 3 tanh(a_j / 3) functions of the z_i before j

    A density takes one pass, a draw d of them. At mu = alpha = 0 it is the identity, bit for bit.

    Args:
      network: z [B, d], *context -> (mu, a), [B, d, 2], as `networks.masked_mlp` makes it in this order.
      order: the place of each dimension, a permutation of 1, ..., d.

    Source: Papamakarios, Pavlakou & Murray 2017, equations 3 to 5.
    """

    def log_scale_and_shift(params: Params, z: Array, *context: Array) -> tuple[Array, Array]:
        output = network.apply(params, z, *context)
        mu, alpha = output[..., 0], _bounded(output[..., 1])
        return -alpha, -mu * jnp.exp(-alpha)

    return _affine(network, log_scale_and_shift, np.asarray(order) - 1)


def inverse_autoregressive(network: Network, order: ArrayLike) -> Flow:
    """An inverse autoregressive layer: each dimension of noise is gated, given the noise before it.

        u_j = g_j z_j + (1 - g_j) m_j,   g_j = sigm(s_j),   log |det du/dz| = sum_j log g_j,
        m_j and s_j = 2 + 3 tanh(a_j / 3) functions of the z_i before j

    A draw from noise z takes one pass, and its density too, since the noise is known; the density of another point
    takes d of them.

    Args:
      network: z [B, d], *context -> (m, a), [B, d, 2], as `networks.masked_mlp` makes it in this order.
      order: the place of each dimension, a permutation of 1, ..., d.

    Source: Kingma et al. 2016, equations 10 and 11, in the gated form of algorithm 1 (equations 13 and 14).
    """

    def log_scale_and_shift(params: Params, z: Array, *context: Array) -> tuple[Array, Array]:
        output = network.apply(params, z, *context)
        m, gate = output[..., 0], GATE + _bounded(output[..., 1])
        return jax.nn.log_sigmoid(gate), jax.nn.sigmoid(-gate) * m

    return _affine(network, log_scale_and_shift, np.asarray(order) - 1)


def activation_normalization(mean: ArrayLike, standard_deviation: ArrayLike) -> Flow:
    """An affine map of each dimension, which begins as the standardisation of some data.

        u = (z - mu) e^{-s},   log |det du/dz| = -sum_j s_j

    Args:
      mean: of the data, [d]: mu before training.
      standard_deviation: of the data, [d], positive: e^s before training.

    Returns:
      A flow whose params are {"mean": [d], "log_scale": [d]}.

    Source: Kingma & Dhariwal 2018 (Glow), section 3.1.
    """

    def init(key: Key) -> Params:
        return {"mean": jnp.asarray(mean, float), "log_scale": jnp.log(jnp.asarray(standard_deviation, float))}

    def forward(params: Params, z: Array, *context: Array) -> tuple[Array, Array]:
        log_scale = params["log_scale"]
        u = (z - params["mean"][None]) * jnp.exp(-log_scale)[None]
        return u, jnp.broadcast_to(-jnp.sum(log_scale), z.shape[:1])

    def inverse(params: Params, u: Array, *context: Array) -> tuple[Array, Array]:
        log_scale = params["log_scale"]
        z = u * jnp.exp(log_scale)[None] + params["mean"][None]
        return z, jnp.broadcast_to(jnp.sum(log_scale), u.shape[:1])

    return Flow(init, forward, inverse)


def permutation(order: Sequence[int]) -> Flow:
    """Dimensions in another order.

        u_j = z_{order(j)},   log |det du/dz| = 0

    Args:
      order: a permutation of 0, ..., d - 1.
    """
    places = np.asarray(order, np.int32)
    back = np.argsort(places).astype(np.int32)

    def move(to: np.ndarray) -> Callable[..., tuple[Array, Array]]:
        return lambda params, z, *context: (z[:, to], jnp.zeros(z.shape[:1], z.dtype))

    return Flow(lambda key: (), move(places), move(back))


def chain(*flows: Flow) -> Flow:
    """Flows one after the other.

        f = f_L(...f_1(z)),   log |det df/dz| = sum_l log |det df_l/df_{l-1}|

    Returns:
      A flow whose params are a list of those of its layers, each with the same context; without an inverse if one of
      them has none.
    """

    def init(key: Key) -> Params:
        return [flow.init(each) for flow, each in zip(flows, jax.random.split(key, len(flows)), strict=True)]

    def forward(params: Params, z: Array, *context: Array) -> tuple[Array, Array]:
        total = jnp.zeros(z.shape[:1], z.dtype)
        for flow, own in zip(flows, params, strict=True):
            z, log_determinant = flow.forward(own, z, *context)
            total = total + log_determinant
        return z, total

    def inverse(params: Params, u: Array, *context: Array) -> tuple[Array, Array]:
        total = jnp.zeros(u.shape[:1], u.dtype)
        for flow, own in reversed(list(zip(flows, params, strict=True))):
            assert flow.inverse is not None
            u, log_determinant = flow.inverse(own, u, *context)
            total = total + log_determinant
        return u, total

    return Flow(init, forward, inverse if all(flow.inverse is not None for flow in flows) else None)


def inverted(flow: Flow) -> Flow:
    """A flow run backwards.

    Raises:
      ValueError: it has no inverse.
    """
    if flow.inverse is None:
        raise ValueError("a flow without an inverse in closed form cannot be run backwards")
    return Flow(flow.init, flow.inverse, flow.forward)


def num_parameters(flow: Flow) -> int:
    """The number of parameters of a flow."""
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(flow.init, jax.random.key(0))))


def amortized(flow: Flow) -> Flow:
    """A flow with parameters of its own for each example: those that it learns, and what the context adds to them.

        f(z; c) = f(z; theta + c)

    Args:
      flow: one that takes no context, with P parameters theta (`num_parameters`).

    Returns:
      A flow with the same params whose context c is [B, P], such as the output of an encoder; c = 0 is `flow` itself.

    Source: Rezende & Mohamed 2015, section 4.2.
    """

    def each(function: Callable[..., tuple[Array, Array]]) -> Callable[..., tuple[Array, Array]]:
        def apply(params: Params, z: Array, context: Array) -> tuple[Array, Array]:
            theta, unravel = jax.flatten_util.ravel_pytree(params)

            def of_example(z: Array, c: Array) -> tuple[Array, Array]:
                u, log_determinant = function(unravel(theta + c), z[None])
                return u[0], log_determinant[0]

            return jax.vmap(of_example)(z, context)

        return apply

    return Flow(flow.init, each(flow.forward), None if flow.inverse is None else each(flow.inverse))
