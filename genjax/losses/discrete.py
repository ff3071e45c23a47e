"""Distributions of discrete codes: independent categorical variables and their relaxation, and sequences of symbols.

d categorical variables of K values each are a code z of d K entries, one-hot vectors side by side, so that they take
the place of a VAE's continuous code; the encoder gives their logits.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from genjax.losses.latent import Posterior, Prior
from genjax.types import Array, Key, Network, Params, Scalar


def _variables(a: Array, num_categories: int) -> Array:
    """One row per variable: [..., d K] -> [..., d, K]."""
    if a.shape[-1] % num_categories:
        raise ValueError(f"{a.shape[-1]} entries are not one-hot vectors of {num_categories} categories")
    return a.reshape(*a.shape[:-1], -1, num_categories)


def uniform_categorical(num_categories: int) -> Prior:
    """Independent variables, uniform over K values, beside a `relaxed_categorical` posterior.

        p(z) = K^-d,   KL(q(z_j|x) || p(z_j)) = log K + sum_k q_jk log q_jk

    Args:
      num_categories: K.

    Returns:
      A prior without parameters of codes [B, d K], whose `kl` [B, d] takes logits [B, d K].

    Source: Jang et al. 2017, section 3.
    """

    def negative_log_density(params: Params, z: Array, *context: object) -> Array:
        del params, context
        num = _variables(z, num_categories).shape[-2]
        return jnp.full(z.shape[:-1], num * math.log(num_categories), z.dtype)

    def sample(params: Params, shape: tuple[int, int], key: Key, *context: object) -> Array:
        del params, context
        drawn = jax.random.randint(key, (shape[0], shape[1] // num_categories), 0, num_categories)
        return jax.nn.one_hot(drawn, num_categories).reshape(shape)

    def kl(params: Params, logits: Array, *context: object) -> Array:
        del params, context
        log_q = jax.nn.log_softmax(_variables(logits, num_categories))
        return math.log(num_categories) + jnp.sum(jnp.exp(log_q) * log_q, axis=-1)

    return Prior(lambda key: (), negative_log_density, sample, kl)


def relaxed_categorical(num_categories: int, *, temperature: Scalar, straight_through: bool = False) -> Posterior:
    """Categorical variables whose draws have gradients: the Gumbel-softmax, or concrete, relaxation.

        z_j = softmax((a_j + g_j) / tau),   g_jk ~ Gumbel(0, 1) = -log(-log u),   u ~ U(0, 1)

    The largest entry of z_j is distributed as the categorical variable with logits a_j, at every tau; as tau falls to 0
    the rest vanishes, and with it the bias of the gradient, while its variance grows. Straight through, z_j is that
    one-hot vector, an exact draw, with the derivative of the relaxed one.

    `negative_log_density` is -sum_jk z_jk log q_jk with q_j = softmax(a_j): at one-hot vectors the categorical
    variables' own, at relaxed ones its linear interpolation and not the density of the concrete distribution.

    Args:
      num_categories: K.
      temperature: tau, > 0, fixed or scheduled.
      straight_through: whether draws are one-hot.

    Returns:
      A posterior of codes [B, d K]; the encoder returns logits a [B, d K].

    Source: Jang et al. 2017, equations 1 and 2 and section 2.2; Maddison et al. 2017, section 3.
    """

    def negative_log_density(logits: Array, z: Array) -> Array:
        log_q = jax.nn.log_softmax(_variables(logits, num_categories))
        return -jnp.sum(_variables(z, num_categories) * log_q, axis=(-2, -1))

    def sample(logits: Array, key: Key) -> tuple[Array, Array]:
        a = _variables(logits, num_categories)
        noisy = a + jax.random.gumbel(key, a.shape, a.dtype)
        z = jnp.exp(jax.nn.log_softmax(noisy / temperature))
        if straight_through:
            drawn = jax.nn.one_hot(jnp.argmax(noisy, axis=-1), num_categories, dtype=z.dtype)
            z = drawn + (z - jax.lax.stop_gradient(z))
        z = z.reshape(logits.shape)
        return z, negative_log_density(logits, z)

    def mean(logits: Array) -> Array:
        return jnp.exp(jax.nn.log_softmax(_variables(logits, num_categories))).reshape(logits.shape)

    return Posterior(sample, mean, negative_log_density)


def autoregressive(network: Network, num_codes: int) -> Prior:
    """A sequence of symbols, each given those before it.

        p(k_1, ..., k_L) = prod_l p(k_l|k_1, ..., k_{l-1}) = prod_l softmax(y_l)_{k_l}

    Args:
      network: one-hot symbols [B, L, K] -> logits y [B, L, K], of which y_l depends on k_1, ..., k_{l-1} alone, as
        `networks.causal_transformer`.
      num_codes: K.

    Returns:
      A prior of sequences k [B, L] int32, with the network's params and an exact `negative_log_density`. `sample`
      draws one place after the other, with a key for each.

    Source: van den Oord et al. 2016, equation 1.
    """

    def negative_log_density(params: Params, index: Array, *context: object) -> Array:
        del context
        symbols = jax.nn.one_hot(index, num_codes)
        log_p = jax.nn.log_softmax(network.apply(params, symbols))
        return -jnp.sum(symbols * log_p, axis=(-2, -1))

    def sample(params: Params, shape: tuple[int, int], key: Key, *context: object) -> Array:
        del context

        def draw(index: Array, place_and_key: tuple[Array, Key]) -> tuple[Array, None]:
            place, key = place_and_key
            logits = network.apply(params, jax.nn.one_hot(index, num_codes))
            drawn = jax.random.categorical(key, jnp.take(logits, place, axis=1))
            return index.at[:, place].set(drawn), None

        places = jnp.arange(shape[1]), jax.random.split(key, shape[1])
        return jax.lax.scan(draw, jnp.zeros(shape, jnp.int32), places)[0]

    return Prior(network.init, negative_log_density, sample)
