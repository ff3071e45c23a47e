"""What `latent_space` measures: how smoothly a decoder follows its codes, and whether draws decode to likely data.

The functions take a `Space`, which needs no trained run, and draw no pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import code_moments
from genjax import data, runs
from genjax.data import choose
from genjax.evaluation import latent, neighbours
from genjax.runs import opening
from genjax.types import Array, Key

DRAWS = 1000  # codes drawn to be decoded
PRIOR_DRAWS = 10_000  # codes drawn for the prior's moments
INSIDE = 0.99  # share of the held-out examples inside the data's radius
STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)  # alpha, of the concept vectors in the picture


class Space(NamedTuple):
    """A latent space, and the data's codes in it."""

    encode: Callable[[Array], Array]
    decode: Callable[[Array], Array]
    has_prior: bool
    x: Array  # held-out images
    label: Array | None
    z: Array  # their codes
    train_x: Array
    train_label: Array | None
    train_z: Array
    class_names: tuple[str, ...] | None
    prior: Callable[[int, Key], Array] | None = None  # num, key -> draws [num, d], where it is not N(0, I)

    @property
    def prior_name(self) -> str:
        """What the draws of `completeness` are drawn from."""
        return "N(0, I)" if self.prior is None else "the model's prior"

    def distance(self, x: Array) -> np.ndarray:
        """To the training images, [N]: root mean squared over the 5 nearest."""
        return np.sqrt(neighbours.knn_distance(x, self.train_x, num_neighbours=min(5, len(self.train_x))))


def num_classes(run: runs.Run) -> int:
    """The number of classes of a model that is conditional on the label, 0 of another one."""
    declared = run.experiment.generator
    return 0 if declared is None else declared(run.flags, run.parts).num_classes


def open_space(run: runs.Run, key: Key, label: int | None = None) -> Space:
    """Encodes the run's data, or those of one class; a conditional model needs a class."""
    codec, params = run.codec(), run.params
    train_key, test_key = jax.random.split(key)
    train = opening.read(run, of_class(run.dataset.train, label), train_key, at_most=10_000)
    test = opening.read(run, of_class(run.dataset.test, label), test_key, at_most=2000)
    given = [] if label is None or not num_classes(run) else [label]

    def context(num: int) -> list[Array]:
        return [jnp.full(num, each, jnp.int32) for each in given]

    def encode(x: Array) -> Array:
        return opening.apply(lambda params, x: codec.encoder.apply(params, x, *context(len(x))), params["encoder"], x)

    def decode(z: Array) -> Array:
        return opening.apply(lambda params, z: codec.decoder.apply(params, z, *context(len(z))), params["decoder"], z)

    declared = run.experiment.generator
    own = None if declared is None or codec.has_prior else declared(run.flags, run.parts).prior

    def draw_prior(num: int, key: Key) -> Array:
        assert own is not None
        return own(params, num, key, *context(num))

    z, train_z, names = encode(test.x), encode(train.x), run.dataset.class_names
    return Space(
        encode,
        decode,
        codec.has_prior,
        test.x,
        test.label,
        z,
        train.x,
        train.label,
        train_z,
        names,
        None if own is None else draw_prior,
    )


def moments_beside_prior(run: runs.Run, space: Space, key: Key) -> dict[str, float]:
    """`code_moments.prior_moments` of the held-out codes, where the model has a prior other than N(0, I) to draw from.

    Returns:
      The numbers `prior_moment_*`; {} of a model without such a prior, or conditional on the label.
    """
    declared = run.experiment.generator
    encode = None if declared is None else declared(run.flags, run.parts).encode
    if space.prior is None or encode is None or num_classes(run):
        return {}
    code_key, prior_key = jax.random.split(key)
    return code_moments.prior_moments(encode(run.params, space.x, code_key), space.prior(PRIOR_DRAWS, prior_key))


def of_class(split: data.Split, label: int | None) -> data.Split:
    """The examples of one class, or all of them."""
    if label is None or split.label is None:
        return split
    rows = split.label == label
    return split._replace(x=split.x[rows], label=split.label[rows])


def continuity(space: Space, *, num_walks: int, num_frames: int, key: Key) -> tuple[dict[str, float], dict[str, Array]]:
    """Walks between pairs of held-out images: straight and along the arc in z, and a cross-fade in x.

    Returns:
      The numbers `middle_distance_*`, `step_irregularity_*` and `largest_slope_*`, and the images by the kind of walk,
      [num_walks, num_frames, ...].
    """
    first, second = jax.random.randint(key, (2, num_walks), 0, len(space.x))
    second = jnp.where(first == second, (second + 1) % len(space.x), second)

    def along(walk: Callable[..., Array], ends: Array) -> Array:
        return jax.vmap(lambda a, b: walk(a, b, num=num_frames))(ends[first], ends[second])

    codes = {"linear": along(latent.linear_walk, space.z), "spherical": along(latent.spherical_walk, space.z)}
    frames = {
        name: space.decode(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:2], *space.x.shape[1:])
        for name, z in codes.items()
    }
    frames["cross_fade"] = along(latent.linear_walk, space.x)
    measured, spread = {}, float(jnp.sqrt(jnp.mean(jnp.var(space.train_z, axis=0))))
    for name, images in frames.items():
        measured[f"middle_distance_{name}"] = space.distance(images[:, num_frames // 2]).mean()
        steps = np.asarray(jax.vmap(latent.step_lengths)(images))
        measured[f"step_irregularity_{name}"] = np.mean(steps.std(axis=1) / np.maximum(steps.mean(axis=1), 1e-12))
        if name in codes:
            lengths = np.asarray(jax.vmap(latent.step_lengths)(codes[name]))
            measured[f"largest_slope_{name}"] = np.max(steps / np.maximum(lengths, 1e-12)) * spread
    measured["middle_distance_held_out"] = space.distance(space.x).mean()
    return measured, frames


def completeness(space: Space, key: Key) -> tuple[dict[str, float], dict[str, Array]]:
    """Whether codes drawn at random decode to something like the data.

    Returns:
      The numbers `radius`, `inside_*` and `distance_*`, and the decoded draws from the prior (of an autoencoder, from
      N(0, I)) and from the codes'
      Gaussian, [DRAWS, ...].
    """
    dim = space.z.shape[1]
    noise = jax.random.normal(key, (DRAWS, dim))
    draws = {"prior": noise if space.prior is None else space.prior(DRAWS, key)}
    # what a plain autoencoder has for a prior: the Gaussian of its codes
    centre, spread = jnp.mean(space.train_z, axis=0), jnp.cov(space.train_z, rowvar=False).reshape(dim, dim)
    values, vectors = jnp.linalg.eigh(spread)
    draws["code_gaussian"] = centre[None] + (noise * jnp.sqrt(jnp.maximum(values, 0))[None]) @ vectors.T
    radius = np.quantile(space.distance(space.x), INSIDE)
    measured: dict[str, float] = {"radius": radius}
    images = {name: space.decode(z) for name, z in draws.items()}
    for name, decoded in (images | {"reconstruction": space.decode(space.z)}).items():
        distances = space.distance(decoded)
        measured[f"inside_{name}"] = np.mean(distances <= radius)
        measured[f"distance_{name}"] = distances.mean()
    return measured, images


def concepts(space: Space, key: Key) -> tuple[dict[str, float], Array]:
    """Adds each class's vector to codes of other classes, and classifies the results by the nearest training images.

    Returns:
      The numbers `concept_*`, and for each class an image of another one with `STRENGTHS` of the class's vector,
      [classes, strengths, ...].
    """
    label, train_label = np.asarray(space.label), np.asarray(space.train_label)
    flat = np.reshape(space.train_x, (len(space.train_x), -1))
    seen: dict[str, list[float]] = {"latent": [], "random": [], "pixel": []}
    rows = []
    for number, value in enumerate(np.unique(train_label)):
        has = train_label == value
        c = latent.concept_vector(space.train_z, jnp.asarray(has))
        direction = jax.random.normal(jax.random.fold_in(key, number), c.shape)
        direction *= jnp.linalg.norm(c) / jnp.linalg.norm(direction)
        pixels = latent.concept_vector(jnp.asarray(flat), jnp.asarray(has)).reshape(space.x.shape[1:])
        others = np.flatnonzero(label != value)
        moved = {
            "latent": space.decode(space.z[others] + c[None]),
            "random": space.decode(space.z[others] + direction[None]),
            "pixel": jnp.clip(space.x[others] + pixels[None], 0, 1),
        }
        for name, images in moved.items():
            seen[name].append(neighbours.knn_accuracy(flat, train_label, images, np.full(len(images), value)))
        shown = others[choose(len(others), 1)]
        rows.append(space.decode(space.z[shown] + jnp.asarray(STRENGTHS, c.dtype)[:, None] * c[None]))
    return {f"concept_{name}": float(np.mean(values)) for name, values in seen.items()}, jnp.stack(rows)


def prior_moments(mean: Array, log_variance: Array) -> dict[str, float]:
    """How many units of a VAE are active, and how far all codes together are from N(0, I).

    Args:
      mean, log_variance: of the posteriors of held-out examples, [N, d].
    """
    active = np.asarray(latent.active_units(mean))
    moments = latent.aggregate_moments(mean, log_variance)
    information, divergence = jax.jit(latent.rate_parts)(mean, log_variance, jax.random.key(0))
    measured = {"active_units": active.sum(), "information": information, "aggregate_divergence": divergence}
    if active.any():
        measured["prior_moment_mean"] = np.abs(np.asarray(moments.mean))[active].max()
        measured["prior_moment_second"] = np.asarray(moments.second)[active].mean()
    return {name: float(value) for name, value in measured.items()}
