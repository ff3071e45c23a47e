"""The work of the rows, done by this project and by a JAX program of the usual kind."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from experiments.benchmark.way import IMAGE_SHAPE, PIXELS, Way, images, vectors
from genjax import data, gradients, networks
from genjax.data import batching, faces
from genjax.evaluation import likelihood
from genjax.losses import BERNOULLI, NON_SATURATING, RELATIVISTIC, SQUARED_ERROR, binary_cross_entropy, r1_penalty
from genjax.models import autoencoder, gan, importance_weighted, sparse_autoencoder, vae
from genjax.networks import winograd
from genjax.training.fit import fit
from genjax.types import Array, Key, Model, Network, Params


def trained(model: Model, dataset: data.Dataset, *, batch_size: int) -> Way:
    """Training on a data set in memory."""
    return timed(model, batching.source(dataset, batch_size=batch_size))


def timed(model: Model, source: batching.Source) -> Way:
    """Training by `training.fit`, as users run it, from the end of its first fifth on."""

    def run(steps: int) -> float:
        lead = -(-steps // 5)
        began, *_, ended = ends(model, source, every=lead, num_steps=lead + steps)
        return ended - began

    return run


def ends(model: Model, source: batching.Source, *, every: int, num_steps: int, **options: Any) -> list[float]:
    """The times at which `training.fit` has made `every` updates, twice as many and so on, and all of them.

    Dispatches end there because checkpoints are due, which nothing writes; a report comes when its dispatch has ended.
    Held-out data are not evaluated.

    Args:
      options: further arguments of `fit`.
    """
    times: list[float] = []

    def report(step: int, split: str, metrics: Any) -> None:
        times.append(time.perf_counter())

    cadence = {"log_every": every, "checkpoint_every": every, "eval_every": 0}
    fit(model, source, seed=0, num_steps=num_steps, report=report, progress=False, **cadence, **options)
    return times


def noise() -> data.Dataset:
    """The images as a data set."""
    x = images().reshape(-1, *IMAGE_SHAPE)
    return data.from_arrays("noise", x, x[:100])


def vae_model(
    encoder: Network, decoder: Network, latent_dim: int, reduction: gradients.Reduction = gradients.whole_batch
) -> Model:
    """A Bernoulli VAE trained by Adam."""
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, latent_dim)
    return vae.model(parts, optax.adam(1e-3), vae.objective(parts), reduction=reduction)


def mlps(hidden: tuple[int, ...], latent_dim: int) -> tuple[Network, Network]:
    """Encoder and decoder of tanh units."""
    mlp = partial(networks.mlp, activation=jnp.tanh)
    return mlp(IMAGE_SHAPE, (2 * latent_dim,), hidden=hidden), mlp((latent_dim,), IMAGE_SHAPE, hidden=hidden[::-1])


def mlp_vae(hidden: tuple[int, ...], latent_dim: int, batch_size: int) -> Way:
    """Training of a VAE of dense layers."""
    return trained(vae_model(*mlps(hidden, latent_dim), latent_dim), noise(), batch_size=batch_size)


def iwae(hidden: tuple[int, ...], latent_dim: int, batch_size: int, num_samples: int) -> Way:
    """Training of an importance-weighted autoencoder of dense layers."""
    encoder, decoder = mlps(hidden, latent_dim)
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, latent_dim)
    objective = importance_weighted.objective(parts, num_samples=num_samples)
    return trained(vae.model(parts, optax.adam(1e-3), objective), noise(), batch_size=batch_size)


def sharded_mlp_vae(batch_size: int, num_shards: int) -> Way:
    """The same in shards, whose gradients are added in a fixed order."""
    model = vae_model(*mlps((500,), 20), 20, gradients.ordered(num_shards))
    return trained(model, noise(), batch_size=batch_size)


def convolutional_networks() -> tuple[Network, Network]:
    """4x4 convolutions of stride 2 with 32 and 64 channels and a dense layer, and their mirror image."""
    encoder = networks.convolutional_encoder(IMAGE_SHAPE, (40,), activation=jax.nn.relu)
    return encoder, networks.convolutional_decoder(20, IMAGE_SHAPE, activation=jax.nn.relu)


def convolutional_vae() -> Way:
    """Training of a convolutional VAE."""
    return trained(vae_model(*convolutional_networks(), 20), noise(), batch_size=128)


def xla_convolutional_vae() -> Way:
    """The same with XLA's own convolutions, on the same parameters."""
    ours, dimensions = convolutional_networks(), ("NHWC", "HWIO", "NHWC")

    def encode(params: Params, x: Array) -> Array:
        for name in ("convolution_1", "convolution_2"):
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            x = lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=dimensions)
            x = jax.nn.relu(x + bias)
        return x.reshape(len(x), -1) @ params["dense"]["kernel"] + params["dense"]["bias"]

    def decode(params: Params, z: Array) -> Array:
        x = (z @ params["dense"]["kernel"] + params["dense"]["bias"]).reshape(len(z), 7, 7, 64)
        for name in ("convolution_2", "convolution_1"):
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            x = lax.conv_transpose(jax.nn.relu(x), kernel, (2, 2), "SAME", dimension_numbers=dimensions)
            x = x + bias
        return x

    model = vae_model(ours[0]._replace(apply=encode), ours[1]._replace(apply=decode), 20)
    return trained(model, noise(), batch_size=128)


def with_patches(name: str) -> Way:
    """A way of this module with patches in all convolutions; nothing else can be timed in its process."""
    winograd.LEAST_SAVED = math.inf
    return globals()[name]()


def dcgan_model(
    image_shape: tuple[int, ...] = IMAGE_SHAPE, features: tuple[int, ...] = (32, 64), *, relativistic: bool = False
) -> Model:
    """A DCGAN: non-saturating without penalty, or relativistic with R1 and R2 of weight .05."""
    parts = gan.GAN(
        networks.dcgan_generator(16, image_shape, features=features),
        networks.dcgan_discriminator(image_shape, features=features),
        RELATIVISTIC if relativistic else NON_SATURATING,
        16,
    )

    def penalty(critic: Any, real: Array, fake: Array, key: Key) -> Array:
        return 0.05 * (r1_penalty(critic, real) + r1_penalty(critic, fake))

    players = optax.adam(1e-3, b1=0.5), optax.adam(1e-3, b1=0.5)
    return gan.model(parts, *players, penalty=penalty if relativistic else None)


def dcgan() -> Way:
    """Training of a DCGAN."""
    return trained(dcgan_model(), noise(), batch_size=64)


def r3gan() -> Way:
    """Training of the game of R3GAN."""
    return trained(dcgan_model(relativistic=True), noise(), batch_size=64)


def generation() -> Way:
    """Means of 50 000 samples of a VAE 784-500-20, kept in the host's memory."""
    encoder, decoder = mlps((500,), 20)
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, 20)
    params = vae.init_params(jax.random.key(0), parts=parts)

    @jax.jit
    def draw(params: Params, key: Key) -> Array:
        return vae.decode(params, vae.sample_prior(params, 1000, key, parts=parts), parts=parts)

    return repeated(lambda: [np.asarray(draw(params, jax.random.key(part))) for part in range(50)])


def linear_autoencoder() -> Way:
    """Training of a linear autoencoder on the embedded digits."""
    parts = autoencoder.Autoencoder(networks.affine((8, 8, 1), (8,)), networks.affine((8,), (8, 8, 1)), SQUARED_ERROR)
    model = autoencoder.model(parts, optax.adam(1e-3), autoencoder.objective(parts))
    return trained(model, data.load("digits"), batch_size=128)


def sparse_model(dim: int, num_units: int, k: int) -> Model:
    """A sparse autoencoder of the k largest units, whose atoms have norm 1, trained by Adam."""
    units = networks.top_k_units(networks.affine((dim,), (num_units,)), k=k)
    parts = sparse_autoencoder.SparseAutoencoder(units, networks.dictionary(num_units, (dim,)), SQUARED_ERROR)
    return sparse_autoencoder.model(parts, optax.adam(1e-3), sparse_autoencoder.objective(parts))


def sparse(dim: int, num_units: int, k: int, batch_size: int) -> Way:
    """Training of a sparse autoencoder on vectors."""
    x = vectors(dim)
    dataset = data.from_arrays("vectors", x, x[:100], bounded=False)
    return trained(sparse_model(dim, num_units, k), dataset, batch_size=batch_size)


def scoring() -> Way:
    """Reconstruction losses of 10 000 images by an autoencoder 784-500-20-500-784."""
    mlp = partial(networks.mlp, hidden=(500,), activation=jnp.tanh)
    parts = autoencoder.Autoencoder(mlp(IMAGE_SHAPE, (20,)), mlp((20,), IMAGE_SHAPE), SQUARED_ERROR)
    params = autoencoder.init_params(jax.random.key(0), parts=parts)
    x = jax.device_put(images().reshape(-1, 1000, *IMAGE_SHAPE))

    @jax.jit
    def score(params: Params, x: Array) -> Array:
        return lax.map(lambda x: autoencoder.score(params, jnp.float32(x) / 255, parts=parts), x)

    return repeated(lambda: score(params, x))


def importance_weighted_likelihood() -> Way:
    """The likelihood of 100 images by 500 importance samples each, of a VAE 784-200-200-50."""
    encoder, decoder = mlps((200, 200), 50)
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, 50)
    params = vae.init_params(jax.random.key(0), parts=parts)
    x = jnp.asarray(images(100).reshape(-1, *IMAGE_SHAPE) > 127, jnp.float32)

    @jax.jit
    def estimate(params: Params, x: Array, key: Key) -> Array:
        log_weight = importance_weighted.importance_sampler(params, x, parts=parts)
        return likelihood.log_likelihood(log_weight, key, num_samples=500).value

    return repeated(lambda: estimate(params, x, jax.random.key(1)))


def rendered_faces() -> Way:
    """Faces of 32x32 pixels from new factors, 64 per step."""

    @jax.jit
    def render(key: Key) -> Array:
        identity = faces.draw_identities(jnp.arange(64), key)
        return jax.vmap(faces.render)(identity, faces.draw_attributes(64, key)).image

    return repeated(lambda: render(jax.random.key(0)))


def repeated(work: Any) -> Way:
    """Repeats the work."""

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(work())

    return run


def large_product() -> Way:
    """One matrix product of 1024^3 multiplications per step: the peak rate of the machine."""
    a = jax.random.normal(jax.random.key(0), (1024, 1024))
    multiply = jax.jit(lambda a, b: a @ b)
    return repeated(lambda: multiply(a, a))


# As most JAX programs are written: one jitted step per iteration of a Python loop, batches from the host


class _Dense(nn.Module):
    hidden: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = jnp.tanh(nn.Dense(width)(x))
        return nn.Dense(self.outputs)(x)


class _FlaxVAE(nn.Module):
    hidden: tuple[int, ...]
    latent_dim: int

    @nn.compact
    def __call__(self, x: Array, key: Key) -> Array:
        mean, s = jnp.split(_Dense(self.hidden, 2 * self.latent_dim)(x), 2, axis=-1)
        z = mean + jnp.exp(0.5 * s) * jax.random.normal(key, mean.shape)
        logits = _Dense(self.hidden[::-1], PIXELS)(z)
        rate = -0.5 * jnp.sum(1 + s - jnp.square(mean) - jnp.exp(s), axis=-1)
        return jnp.mean(binary_cross_entropy(logits, x) + rate)


def step_by_step_mlp_vae(hidden: tuple[int, ...], latent_dim: int, batch_size: int) -> Way:
    """Training of the same VAE in Flax and Optax, one step per call."""
    model, optimizer, stored = _FlaxVAE(hidden, latent_dim), optax.adam(1e-3), images()
    params = model.init(jax.random.key(0), jnp.zeros((1, PIXELS)), jax.random.key(1))

    @jax.jit
    def step(params: Any, optimizer_state: Any, x: Array, key: Key) -> tuple[Any, Any, Key]:
        key, own = jax.random.split(key)
        gradient = jax.grad(lambda params: model.apply(params, x, own))(params)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state)
        return optax.apply_updates(params, updates), optimizer_state, key

    carry = [(params, optimizer.init(params), jax.random.key(2))]
    draw = np.random.RandomState(0)

    def run(steps: int) -> None:
        order = draw.permutation(len(stored))
        for i in range(steps):
            start = i * batch_size % (len(stored) - batch_size)
            x = stored[order[start : start + batch_size]].astype(np.float32) / 255
            params, optimizer_state, key = carry[0]
            carry[0] = step(params, optimizer_state, x, key)
        jax.block_until_ready(carry[0])

    return run
