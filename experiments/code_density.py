"""Densities fitted to the codes of a trained model, from which new codes are drawn in place of the prior.

    gaussian    N(m, S), with the mean and the covariance of the codes
    mixture     of Gaussians, by the EM algorithm of scikit-learn
    flow        RealNVP, trained by maximum likelihood
    two_stage   a second VAE, of as many dimensions as the code and with a learned variance (Dai & Wipf 2019)

A decoder is trained on the codes of data alone, and decodes others badly; a density fitted afterwards finds where the
codes are, whatever the model's prior (Ghosh et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import networks, runs
from genjax.errors import BadInput
from genjax.losses import GAUSSIAN
from genjax.models import flow, vae
from genjax.runs import opening
from genjax.types import Array, Batch, Key, Model, Params

FITTED = 20_000  # training examples at most
HIDDEN = (128, 128)  # units of the networks of a flow's layers, and of the second VAE's
LAYERS = 8  # affine couplings of a flow
BATCH = 256  # codes of an update
LEARNING_RATE = 1e-3

Sample = Callable[[int, Key], Array]  # num, key -> z [num, d]


class Gaussians(NamedTuple):
    """A mixture sum_k w_k N(m_k, S_k), S_k = R_k R_k^T."""

    weight: np.ndarray  # [K]
    mean: np.ndarray  # [K, d]
    root: np.ndarray  # [K, d, d]


def _gaussians(weight: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> Gaussians:
    """From covariances [K, d, d], which may be singular, as those of units that are always 0."""
    values, axes = np.linalg.eigh(covariance)
    return Gaussians(weight, mean, axes * np.sqrt(np.maximum(values, 0))[:, None])


def fit_gaussian(z: np.ndarray) -> Gaussians:
    """The Gaussian of the largest likelihood: the mean of codes [N, d] and their covariance, with 1/N."""
    z = np.asarray(z, np.float64)
    covariance = np.cov(z.T, bias=True).reshape(1, z.shape[1], z.shape[1])
    return _gaussians(np.ones(1), z.mean(axis=0)[None], covariance)


def fit_mixture(z: np.ndarray, *, num_components: int, seed: int) -> Gaussians:
    """The mixture of Gaussians of scikit-learn, of any covariances, for codes [N, d].

    Raises:
      BadInput: there are more components than codes.
    """
    from sklearn.mixture import GaussianMixture

    if num_components > len(z):
        raise BadInput(f"{len(z)} codes have at most as many, not {num_components}", parameter="num_components")
    fitted = GaussianMixture(num_components, random_state=seed).fit(np.asarray(z, np.float64))
    return _gaussians(*map(np.asarray, (fitted.weights_, fitted.means_, fitted.covariances_)))


def sample_gaussians(fitted: Gaussians, num: int, key: Key) -> Array:
    """Draws from a mixture, z = m_k + R_k eps: [num, d]."""
    weight, mean, root = (jnp.asarray(a, jnp.float32) for a in fitted)
    component_key, noise_key = jax.random.split(key)
    component = jax.random.categorical(component_key, jnp.log(weight), shape=(num,))
    noise = jax.random.normal(noise_key, (num, mean.shape[-1]))
    return mean[component] + jnp.einsum("nij,nj->ni", root[component], noise)


def standardisation(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each dimension of codes [N, d], [d]; 1 in the place of a deviation of 0."""
    deviation = z.std(axis=0, dtype=np.float64)
    return z.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1)


def fit_flow(z: np.ndarray, key: Key, *, num_steps: int) -> Sample:
    """Draws from affine couplings behind a standardisation, trained on codes [N, d].

    Raises:
      BadInput: the codes have one dimension.
    """
    dim = z.shape[1]
    if dim < 2:
        raise BadInput("the couplings of a flow need codes of 2 dimensions or more", parameter="density")
    layers = networks.coupling_flow(dim, LAYERS, hidden=HIDDEN, activation=jax.nn.relu)
    parts = flow.FlowDensity(networks.chain(networks.activation_normalization(*standardisation(z)), layers), (dim,))
    params = _train(flow.model(parts, _optimizer(num_steps), flow.objective(parts)), z, key, num_steps)
    return partial(flow.sample, params, parts=parts)


def fit_two_stage(z: np.ndarray, key: Key, *, num_steps: int) -> Sample:
    """Draws from p(z|u) at u ~ N(0, I) of a second VAE, trained on codes [N, d] that are standardised for it."""
    (mean, deviation), dim = standardisation(z), z.shape[1]
    encoder = networks.gaussian_heads(networks.mlp((dim,), (2 * dim,), hidden=HIDDEN, activation=jax.nn.relu))
    decoder = networks.with_log_variance(networks.mlp((dim,), (dim,), hidden=HIDDEN, activation=jax.nn.relu))
    parts = vae.VAE(encoder, decoder, GAUSSIAN, dim)
    model = vae.model(parts, _optimizer(num_steps), vae.objective(parts))
    params = _train(model, (z - mean) / deviation, key, num_steps)

    def sample(num: int, key: Key) -> Array:
        standard = vae.generate(params, num, key, parts=parts)
        return jnp.float32(mean)[None] + jnp.float32(deviation)[None] * standard

    return sample


def _optimizer(num_steps: int) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, num_steps))
    )


def _train(model: Model, z: np.ndarray, key: Key, num_steps: int) -> Params:
    """The params of a model after updates on batches of codes, drawn with replacement."""
    init_key, batch_key, step_key = jax.random.split(key, 3)

    @jax.jit
    def trained(z: Array) -> Params:
        def update(step: Array, state: Any) -> Any:
            rows = jax.random.randint(jax.random.fold_in(batch_key, step), (BATCH,), 0, len(z))
            return model.train_step(state, Batch(z[rows]), step_key)[0]

        return jax.lax.fori_loop(0, num_steps, update, model.init(init_key)).params

    return trained(jnp.asarray(z, jnp.float32))


def codes(run: runs.Run, generator: runs.Generator, key: Key) -> np.ndarray:
    """The codes of training examples, [N, d]; of a VAE, a draw from each posterior."""
    assert generator.encode is not None
    read_key, draw_key = jax.random.split(key)
    known = opening.read(run, run.dataset.train, read_key, at_most=FITTED)
    encode, found = jax.jit(generator.encode), []
    for number, start in enumerate(range(0, len(known.x), 500)):
        label = [known.label[start : start + 500]] if generator.num_classes and known.label is not None else []
        each = encode(run.params, known.x[start : start + 500], jax.random.fold_in(draw_key, number), *label)
        found.append(np.asarray(each))
    return np.concatenate(found)


DENSITIES = ("gaussian", "mixture", "flow", "two_stage")


def fit(name: str, z: np.ndarray, key: Key, *, seed: int, num_components: int, num_steps: int) -> Sample:
    """The density of this name, fitted to codes [N, d]; the seed is scikit-learn's."""
    if name == "gaussian":
        return partial(sample_gaussians, fit_gaussian(z))
    if name == "mixture":
        return partial(sample_gaussians, fit_mixture(z, num_components=num_components, seed=seed))
    return {"flow": fit_flow, "two_stage": fit_two_stage}[name](z, key, num_steps=num_steps)
