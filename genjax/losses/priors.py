"""Learned priors p(z) of a latent code: mixtures of Gaussians, the VampPrior, and a Gaussian for each class."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from genjax.losses.divergence import gaussian_kl_per_dimension
from genjax.losses.latent import DIAGONAL_GAUSSIAN, Posterior, Prior
from genjax.losses.likelihood import GAUSSIAN
from genjax.types import Array, Key, Network, Params


def mixture_prior(num_components: int, latent_dim: int) -> Prior:
    """A mixture of diagonal Gaussians, all of whose parameters are learned.

        p(z) = sum_k pi_k N(z; m_k, diag e^{t_k}),   pi = softmax(a)

    Its params are {"logits": a [K], "mean": m [K, d], "log_variance": t [K, d]}; it starts from equal weights, means
    drawn from N(0, I) and variances of 1, and ignores any context. With one component it is a learned Gaussian.

    Args:
      num_components: K.
      latent_dim: d.

    Returns:
      A prior without a closed form of the rate.

    Source: Tomczak & Welling 2018, section 3 ("MoG").
    """

    def init(key: Key) -> Params:
        zeros = jnp.zeros((num_components, latent_dim))
        return {
            "logits": jnp.zeros(num_components),
            "mean": jax.random.normal(key, zeros.shape),
            "log_variance": zeros,
        }

    def negative_log_density(params: Params, z: Array, *context: Any) -> Array:
        output = params["mean"], params["log_variance"]
        return _mixture_negative_log_density(DIAGONAL_GAUSSIAN, output, params["logits"], z)

    def sample(params: Params, shape: tuple[int, int], key: Key, *context: Any) -> Array:
        output = params["mean"], params["log_variance"]
        return _mixture_sample(DIAGONAL_GAUSSIAN, output, params["logits"], shape[0], key)

    return Prior(init, negative_log_density, sample)


def vamp_prior(
    encoder: Network,
    start: Array,
    *,
    scale: float = 0.0,
    posterior: Posterior = DIAGONAL_GAUSSIAN,
    context: tuple[Any, ...] = (),
) -> Prior:
    """The VampPrior: the mixture of the posteriors of K learned pseudo-inputs.

        p(z) = (1/K) sum_k q_phi(z|u_k)

    The prior that is best for a given encoder is the aggregate posterior (1/N) sum_n q(z|x_n); this one has a few
    learned u_k in the place of the data. Its own params, which `init` makes, are u [K, ...]. Its other functions read
    {"pseudo_inputs": u, "encoder": the encoder's params}, which a VAE of `prior_params=vae.with_encoder` gives them,
    so that the gradient of the prior reaches the encoder too.

    Args:
      encoder: of the VAE, with its heads.
      start: u before the training, [K, ...]: rows of the data, or their mean K times.
      scale: standard deviation of the Gaussian noise that `init` adds to `start`.
      posterior: of the VAE, with a `negative_log_density`.
      context: of the pseudo-inputs if the encoder is conditional, such as labels [K]; p(z) is the same in any context.

    Returns:
      A prior without a closed form of the rate.

    Raises:
      ValueError: the posterior has no density that can be evaluated at any z.

    Source: Tomczak & Welling 2018, equations 9 to 11.
    """
    if posterior.negative_log_density is None:
        raise ValueError("the VampPrior needs a posterior with a negative_log_density")

    def init(key: Key) -> Params:
        return start + scale * jax.random.normal(key, start.shape) if scale else jnp.array(start)  # a copy

    def components(params: Params) -> tuple[Any, Array]:
        u = params["pseudo_inputs"]
        return encoder.apply(params["encoder"], u, *context), jnp.zeros(u.shape[:1], u.dtype)

    def negative_log_density(params: Params, z: Array, *of_batch: Any) -> Array:
        return _mixture_negative_log_density(posterior, *components(params), z)

    def sample(params: Params, shape: tuple[int, int], key: Key, *of_batch: Any) -> Array:
        return _mixture_sample(posterior, *components(params), shape[0], key)

    return Prior(init, negative_log_density, sample)


def class_prior(num_classes: int, latent_dim: int) -> Prior:
    """A diagonal Gaussian for each class, for a VAE whose context is the label.

        p(z|y) = N(z; m_y, diag e^{t_y})

    Its params are {"mean": m [C, d], "log_variance": t [C, d]}; it starts from N(0, I) for each class.

    Args:
      num_classes: C.
      latent_dim: d.

    Returns:
      A prior whose functions take the labels [B] after their other arguments; `kl` takes the output of a
      `DIAGONAL_GAUSSIAN` posterior.

    Source: Sohn, Lee & Yan 2015, section 4.1.
    """

    def init(key: Key) -> Params:
        shape = num_classes, latent_dim
        return {"mean": jnp.zeros(shape), "log_variance": jnp.zeros(shape)}  # arrays of their own, to be donated

    def of(params: Params, label: Array) -> tuple[Array, Array]:
        return params["mean"][label], params["log_variance"][label]

    def kl(params: Params, output: tuple[Array, Array], label: Array) -> Array:
        return gaussian_kl_per_dimension(*output, *of(params, label))

    return Prior(
        init,
        lambda params, z, label: GAUSSIAN.negative_log_likelihood(of(params, label), z),
        lambda params, shape, key, label: GAUSSIAN.sample(of(params, label), key),
        kl,
    )


def _mixture_negative_log_density(posterior: Posterior, output: Any, logits: Array, z: Array) -> Array:
    """-log sum_k pi_k q_k(z) at z [B, d], with pi = softmax(logits) and the parameters of K densities: [B]."""
    density = posterior.negative_log_density
    assert density is not None

    def of_components(point: Array) -> Array:  # z of one example -> [K]
        return density(output, jnp.broadcast_to(point[None], (len(logits), *point.shape)))

    # mapped over examples, so that what depends on the components alone is computed once for all of them
    log_density = -jax.vmap(of_components)(z)
    return -jax.nn.logsumexp(jax.nn.log_softmax(logits)[None] + log_density, axis=-1)


def _mixture_sample(posterior: Posterior, output: Any, logits: Array, num: int, key: Key) -> Array:
    """Draws from sum_k pi_k q_k: [num, d]."""
    component_key, z_key = jax.random.split(key)
    k = jax.random.categorical(component_key, logits, shape=(num,))
    return posterior.sample_and_negative_log_density(jax.tree.map(lambda a: a[k], output), z_key)[0]
