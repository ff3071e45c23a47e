"""What trained autoencoders, VAEs and classifiers compute from examples that they have not seen.

The pages of these models share the functions of this module: they are their `Experiment.applications`. The scores are
larger for examples that are less like the training data:

    squared_error       ||x - x'||^2, of the reconstruction x'
    cross_entropy       of the reconstruction's logits, if the model was trained on it, in nats
    negative_elbo       distortion + rate, a bound of -log p(x), in nats; the mean over several draws of z
    latent_mahalanobis  (z - m)^T S^-1 (z - m), with the mean m and covariance S of the training examples' codes
    contributions       the distortion by the columns of a table, -log p(x_c|z), in nats; the mean over the same draws
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import runs
from genjax.data import examples
from genjax.losses import RECONSTRUCTIONS, squared_error
from genjax.models import autoencoder, classifier, vae
from genjax.types import Array, Batch, Key, Params

NUM_DRAWS = 10
"""Draws of z over which the bound of an example is averaged."""

Encode = Callable[..., Array]  # params, x [B, ...], then the context -> z [B, d]
Context = Callable[[Batch], tuple[Any, ...]]  # examples -> what a conditional model takes beside them


def of_autoencoder(flags: Any, parts: autoencoder.Autoencoder) -> dict[str, runs.Application]:
    """Of an autoencoder."""
    encode = partial(autoencoder.encode, parts=parts)
    return {
        "codes": runs.Application(lambda params, x, key: encode(params, x)),
        "reconstructions": runs.Application(lambda params, x, key: autoencoder.reconstruct(params, x, parts=parts)),
        "scores": runs.Application(lambda params, x, key: autoencoder_scores(params, x, parts=parts)),
        "latent_mahalanobis": of_codes(encode),
        "decoded": runs.Application(lambda params, z, key: autoencoder.decode(params, z, parts=parts), read=read_codes),
    }


def of_vae(flags: Any, parts: vae.VAE) -> dict[str, runs.Application]:
    """Of a VAE; of one that is conditional on the label, given labels."""
    application = partial(runs.Application, num_classes=vae.num_classes(parts))

    def encode(params: Params, x: Array, *label: Array) -> Array:
        return parts.posterior.mean(vae.encode(params, x, *label, parts=parts))

    def reconstruct(params: Params, x: Array, key: Key, *label: Array) -> Array:
        return vae.reconstruct(params, x, *label, parts=parts)

    def decode(params: Params, z: Array, key: Key, *label: Array) -> Array:
        return vae.decode(params, z, *label, parts=parts)

    def of_columns(params: Params, x: Array, key: Key, *label: Array) -> dict[str, Array]:
        return named_contributions(contributions(params, x, key, *label, parts=parts))

    return {
        "codes": application(lambda params, x, key, *label: encode(params, x, *label)),
        "reconstructions": application(reconstruct),
        "scores": application(partial(vae_scores, parts=parts)),
        "latent_mahalanobis": of_codes(encode, parts.context)._replace(num_classes=vae.num_classes(parts)),
        "decoded": application(decode, read=read_codes),
    } | ({} if parts.likelihood.terms is None else {"contributions": application(of_columns)})


def of_classifier(flags: Any, parts: classifier.Classifier) -> dict[str, runs.Application]:
    """Of a classifier."""

    def classes(params: Params, x: Array, key: Key) -> dict[str, Array]:
        probabilities = classifier.probabilities(params, x, parts=parts)
        return {"class": jnp.argmax(probabilities, axis=-1), "probability": jnp.max(probabilities, axis=-1)}

    return {
        "classes": runs.Application(classes),
        "probabilities": runs.Application(lambda params, x, key: classifier.probabilities(params, x, parts=parts)),
        "features": runs.Application(lambda params, x, key: classifier.features(params, x, parts=parts)),
    }


def read_codes(path: Path) -> np.ndarray:
    """Codes [N, d] from a file of numbers."""
    return examples.read_rows(path)


# Scores


def autoencoder_scores(params: Params, x: Array, *, parts: autoencoder.Autoencoder) -> dict[str, Array]:
    """The squared error of the reconstruction, and the loss that the model was trained on if it is another: [B]."""
    named = {loss: name for name, loss in RECONSTRUCTIONS.items()}
    own = {named.get(parts.reconstruction, "reconstruction_loss"): autoencoder.score(params, x, parts=parts)}
    return {"squared_error": squared_error(autoencoder.reconstruct(params, x, parts=parts), x)} | own


def vae_scores(params: Params, x: Array, key: Key, *label: Array, parts: vae.VAE) -> dict[str, Array]:
    """The negative ELBO and its two terms, means over draws of z, and the squared error of the reconstruction: [B]."""
    terms = jax.vmap(lambda key: vae.terms(params, x, key, *label, parts=parts))(jax.random.split(key, NUM_DRAWS))
    distortion, rate = (jnp.mean(term, axis=0) for term in terms)
    error = squared_error(vae.reconstruct(params, x, *label, parts=parts), x)
    return {"negative_elbo": distortion + rate, "distortion": distortion, "rate": rate, "squared_error": error}


def contributions(params: Params, x: Array, key: Key, *label: Array, parts: vae.VAE) -> dict[str, Array]:
    """The distortion of `vae_scores` by the columns of a table, which add up to it at the same key: {name: [B]}."""

    def of_draw(key: Key) -> dict[str, Array]:
        drawn = vae.forward(params, x, key, *label, parts=parts)
        assert parts.likelihood.terms is not None
        return parts.likelihood.terms(drawn.output, x)

    terms = jax.vmap(of_draw)(jax.random.split(key, NUM_DRAWS))
    return {name: jnp.mean(term, axis=0) for name, term in terms.items()}


def named_contributions(terms: dict[str, Array]) -> dict[str, Array]:
    """The contributions by names that are no others of a file, whatever the columns are called."""
    return {f"contribution_{name}": term for name, term in terms.items()}


def fit_codes(
    encode: Encode, params: Params, known: Batch, *, context: Context = lambda examples: ()
) -> tuple[Array, Array]:
    """Mean and precision of the codes of training examples: [d] and [d, d].

    The precision is the pseudo-inverse of the covariance, so that units that are always 0 do not count.
    """
    from sklearn.covariance import EmpiricalCovariance

    z = np.asarray(jax.jit(encode)(params, known.x, *context(known)), np.float64)
    fitted = EmpiricalCovariance().fit(z)
    return jnp.asarray(fitted.location_, jnp.float32), jnp.asarray(fitted.precision_, jnp.float32)


def of_codes(encode: Encode, context: Context = lambda examples: ()) -> runs.Application:
    """The Mahalanobis distance of codes from those of the training examples."""

    def each(params: Params, x: Array, key: Key, *given: Any) -> Array:
        *label, fitted = given
        return latent_mahalanobis(encode(params, x, *label), fitted)

    return runs.Application(each, partial(fit_codes, encode, context=context))


def latent_mahalanobis(z: Array, fitted: tuple[Array, Array]) -> Array:
    """Squared Mahalanobis distance of codes from those of the training examples.

        (z - m)^T S^-1 (z - m)

    Args:
      z: [B, d].
      fitted: m and S^-1, from `fit_codes`.

    Returns:
      [B], >= 0.
    """
    mean, precision = fitted
    difference = z - mean[None]
    return jnp.sum((difference @ precision) * difference, axis=1)


# New data


def vae_generator(flags: Any, parts: vae.VAE) -> runs.Generator:
    """How a VAE makes new data: means of p(x|z), and draws from it; given labels if it is conditional on them."""

    def draw(params: Params, z: Array, key: Key, *label: Array) -> Array:
        return parts.likelihood.sample(parts.decoder.apply(params["decoder"], z, *label), key)

    def encode(params: Params, x: Array, key: Key, *label: Array) -> Array:
        return parts.posterior.sample_and_negative_log_density(vae.encode(params, x, *label, parts=parts), key)[0]

    prior, decode = partial(vae.sample_prior, parts=parts), partial(vae.decode, parts=parts)
    discrete = flags.posterior == "categorical"
    return runs.Generator(
        decode, parts.latent_dim, prior, draw, vae.num_classes(parts), encode=None if discrete else encode
    )


def autoencoder_generator(
    flags: Any, parts: autoencoder.Autoencoder, *, latent_dim: int | None = None
) -> runs.Generator:
    """How an autoencoder codes data and decodes codes, of as many dimensions as the flag `latent_dim` by default."""

    def encode(params: Params, x: Array, key: Key) -> Array:
        return autoencoder.encode(params, x, parts=parts)

    dim = flags.latent_dim if latent_dim is None else latent_dim
    return runs.Generator(partial(autoencoder.decode, parts=parts), dim, encode=encode)


def reconstruction_metrics(flags: Any) -> dict[str, runs.Metric]:
    """The unit of an autoencoder's loss, which is that of its flag `reconstruction`."""
    own = getattr(flags, "reconstruction", "squared_error")
    unit = {"cross_entropy": "nats", "squared_error": "squared error"}[own]
    return {"reconstruction_loss": runs.Metric(unit, "lower"), "loss": runs.Metric(unit, "lower")}
