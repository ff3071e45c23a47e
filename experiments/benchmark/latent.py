"""The latent-variable models of the rows beside pythae, as this project trains them, with the losses of pythae's."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax

from experiments.benchmark.ours import mlps, noise, trained
from experiments.benchmark.way import IMAGE_SHAPE, Way
from genjax import losses, networks
from genjax.losses import BERNOULLI, STANDARD_NORMAL, Prior, gaussian_likelihood
from genjax.models import disentangling, vae, vq
from genjax.types import Array, Key, Model, Params

ESTIMATED = STANDARD_NORMAL._replace(kl=None)  # N(0, I), with the rate of a draw of z, as pythae has it in these models


def vamp_vae(hidden: int, latent_dim: int, num_components: int) -> Model:
    """A VAE of dense layers with a VampPrior, whose pseudo-inputs are an affine map of the identity, cut to [0, 1].

    That is pythae's parametrisation. The one of `experiments.vae` has the pseudo-inputs themselves as parameters and
    saves a product of K x K and K x 784.
    """
    encoder, decoder = mlps((hidden,), latent_dim)
    encoder = networks.gaussian_heads(encoder)
    affine = networks.affine((num_components,), IMAGE_SHAPE)

    def prior_params(params: Params) -> Params:
        inputs = jnp.clip(affine.apply(params["prior"], jnp.eye(num_components)), 0, 1)
        return {"pseudo_inputs": inputs, "encoder": params["encoder"]}

    prior = losses.vamp_prior(encoder, jnp.zeros((num_components, *IMAGE_SHAPE)))._replace(init=affine.init)
    parts = vae.VAE(encoder, decoder, BERNOULLI, latent_dim, prior, prior_params=prior_params)
    return vae.model(parts, optax.adam(1e-3), vae.objective(parts))


def iaf_vae(hidden: int, latent_dim: int, num_layers: int, masked: tuple[int, ...]) -> Model:
    """A VAE of dense layers with an inverse autoregressive posterior, whose masked layers read no context.

    A layer of pythae's is u = z e^s + m. Ours is gated, u = g z + (1 - g) m with a bounded logit of g, which takes a
    tanh, a sigmoid and a log-sigmoid where pythae's takes an exponential. pythae reverses the dimensions before the
    first layer too.
    """
    encoder, decoder = mlps((hidden,), latent_dim)
    flow = networks.inverse_autoregressive_flow(latent_dim, num_layers, hidden=masked, activation=jax.nn.relu)
    heads, posterior = networks.flow_heads(encoder, flow, latent_dim), losses.flow_posterior(flow)
    parts = vae.VAE(heads, decoder, BERNOULLI, latent_dim, ESTIMATED, posterior)
    return vae.model(parts, optax.adam(1e-3), vae.objective(parts))


def beta_tc_vae(hidden: int, latent_dim: int, beta: float) -> Model:
    """A beta-TCVAE of dense layers, whose codes' density is estimated by minibatch weighted sampling.

    The rate is log q(z|x) - log p(z) at one draw of z, the sum of pythae's three parts at alpha = gamma = 1.
    Stratified sampling is left out, since the weights of its rows differ: pythae's single out one example of each row.
    """
    encoder, decoder = mlps((hidden,), latent_dim)
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, latent_dim, ESTIMATED)
    penalty = disentangling.total_correlation_penalty(
        beta - 1, num_examples=len(noise().train.x), log_weights=losses.weighted_log_weights
    )
    return vae.model(parts, optax.adam(1e-3), vae.objective(parts, penalties=[penalty]))


def vq_vae(hidden: int, num_places: int, dim: int, num_codes: int) -> Model:
    """A VQ-VAE of dense layers with a codebook of moving averages, squared error and a uniform prior over the codes.

    The weights are pythae's: .25 of the commitment's mean over all entries. Both sides update the codebook by the
    counts and sums of a batch; pythae smooths the counts, ours sorts them and restarts entries that are hardly used.
    Ours looks entries up by their index, and adds the vectors of an entry by its index, where pythae multiplies by
    one-hot rows.
    """
    mlp = partial(networks.mlp, hidden=(hidden,), activation=jnp.tanh)
    codes = (num_places, dim)
    parts = vq.VQ(
        mlp(IMAGE_SHAPE, codes),
        mlp(codes, IMAGE_SHAPE),
        gaussian_likelihood(variance=0.5),  # the squared error, and a constant
        networks.averaged_codebook(num_codes, dim, decay=0.99),
        uniform(num_codes),
        (num_places,),
    )
    return vq.model(parts, optax.adam(1e-3), vq.objective(parts, commitment_weight=0.25 / (num_places * dim)))


def uniform(num_codes: int) -> Prior:
    """The uniform density of indices [B, L], which has no parameters: L log K nats for each example."""

    def negative_log_density(params: Params, index: Array) -> Array:
        return jnp.full(len(index), index.shape[1] * math.log(num_codes))

    def sample(params: Params, shape: tuple[int, ...], key: Key) -> Array:
        return jax.random.randint(key, shape, 0, num_codes)

    return Prior(lambda key: (), negative_log_density, sample)


MODELS = {"vamp_vae": vamp_vae, "iaf_vae": iaf_vae, "beta_tc_vae": beta_tc_vae, "vq_vae": vq_vae}
"""The models by name; `pythae_models.MODELS` has the same, of the same sizes."""


def training(name: str, batch_size: int, *sizes: int | tuple[int, ...]) -> Way:
    """Training of one of the models."""
    return trained(MODELS[name](*sizes), noise(), batch_size=batch_size)
