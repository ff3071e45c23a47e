"""Explores the latent space of a trained autoencoder or VAE: its prior, walks between codes, and concepts.

    python -m experiments.latent_space --run=DIR

It writes pictures (grid, walks, traversals, concepts, completeness) and latent_space.json to --out, by default
DIR/latent_space. The numbers are:

    inside_*               fraction of decoded draws that are as near to the training images as 99 % of the held-out
                           images are; drawn from N(0, I), and from a Gaussian fitted to the codes
    largest_slope_*        largest ||x_{t+1} - x_t|| / ||z_{t+1} - z_t|| along walks between held-out codes, z in
                           units of the codes' standard deviation
    middle_distance_*      distance of mid-walk frames to the training images, with a cross-fade of pixels for
                           comparison
    concept_*              how often g(f(x) + c) is classified as the concept's class, with a random direction of the
                           same length, and the mean difference of the pixels, for comparison
    prior_moment_*         first and second moment of the aggregate posterior over its active units; 0 and 1 for the
                           prior

Distances are root mean squared over the 5 nearest training images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import memory, runs
from genjax.data import choose
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import latent, neighbours
from genjax.models import vae
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import command, directory, flag, opening
from genjax.types import Array, Key

SHOWN, TRAVERSED, DRAWS = 4, 10, 1000  # walks and dimensions in a picture, codes drawn to be decoded


class Flags(runs.Record):
    """Latent space."""

    run: str | None = flag(None, "directory of the run")
    page: str | None = flag(None, "module that defines the run's experiment; by default the one in `experiments`")
    data_dir: str | None = flag(None, "directory of the run's data, if it has moved")
    dataset: str | None = flag(None, "name of the run's data set, such as folder:PATH, if it has moved")
    step: int | None = flag(None, "step of the checkpoint to use, by default the last", at_least=0)
    seed: int = flag(0, "seed of all random numbers", at_least=0, at_most=2**32 - 1)
    num_levels: int = flag(
        15, "number of images along each side of the grid and in each traversal", at_least=2, at_most=1000
    )
    num_frames: int = flag(16, "number of images in each walk", at_least=3, at_most=1000)
    num_walks: int = flag(200, "number of walks to measure; the first few are drawn", at_least=1, at_most=10**6)
    out: str | None = flag(None, "output folder; by default DIR/latent_space")


class Space(NamedTuple):
    """A trained model's latent space, and the data's codes in it."""

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
    out: Path

    def distance(self, x: Array) -> np.ndarray:
        """To the training images, [N]."""
        return np.sqrt(neighbours.knn_distance(x, self.train_x, num_neighbours=min(5, len(self.train_x))))


def open_space(run: runs.Run, out: Path, key: Key) -> Space:
    """Encodes the run's data."""
    codec, params = run.codec(), run.params
    train_key, test_key = jax.random.split(key)
    train = opening.read(run, run.dataset.train, train_key, at_most=10_000)
    test = opening.read(run, run.dataset.test, test_key, at_most=2000)

    def encode(x: Array) -> Array:
        return opening.apply(codec.encoder.apply, params["encoder"], x)

    def decode(z: Array) -> Array:
        return opening.apply(codec.decoder.apply, params["decoder"], z)

    z, train_z, names = encode(test.x), encode(train.x), run.dataset.class_names
    return Space(encode, decode, codec.has_prior, test.x, test.label, z, train.x, train.label, train_z, names, out)


def levels(space: Space, num: int) -> Array:
    """Coordinates that share the codes' mass evenly, [num, d]: the prior's quantiles, or the data's."""
    if space.has_prior:
        return jnp.broadcast_to(latent.gaussian_levels(num)[:, None], (num, space.z.shape[1]))
    return latent.data_levels(space.train_z, num)


def origin(space: Space) -> Array:
    """The prior's mean, or the codes' median."""
    return jnp.zeros(space.z.shape[1]) if space.has_prior else jnp.median(space.train_z, axis=0)


def draw_grid(space: Space, num: int) -> None:
    """The plane of the two dimensions whose codes move most, and a walk along each of the first few."""
    order = np.argsort(-np.var(space.train_z, axis=0))
    along, how = levels(space, num), "quantiles of N(0, 1)" if space.has_prior else "quantiles of the codes"
    if len(order) > 1:
        i, j = int(order[0]), int(order[1])
        images = space.decode(latent.grid(origin(space), along[:, i], along[:, j], axes=(i, j)))
        pictures.save_captioned_grid(
            space.out / "grid.png",
            images.reshape(num, num, *images.shape[1:]),
            title=f"z{i + 1} to the right, z{j + 1} upwards, by {how}; other dimensions at the centre",
            columns=[f"{value:.1f}" for value in along[:, i]],
            rows=[f"{value:.1f}" for value in along[::-1, j]],
        )
    walked = order[:TRAVERSED]
    codes = latent.traversals(origin(space), along)[walked]
    images = space.decode(codes.reshape(-1, codes.shape[-1]))
    pictures.save_captioned_grid(
        space.out / "traversals.png",
        images.reshape(len(walked), num, *images.shape[1:]),
        title=f"one dimension at a time, by {how}; those whose codes move most come first",
        rows=[f"z{j + 1}" for j in walked],
    )


def walks(space: Space, num_walks: int, num_frames: int, key: Key) -> dict[str, float]:
    """Walks between pairs of held-out images: straight and along the arc in z, and a cross-fade in x."""
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
    shown = [(number, name) for number in range(min(SHOWN, num_walks)) for name in frames]
    pictures.save_captioned_grid(
        space.out / "walks.png",
        jnp.stack([frames[name][number] for number, name in shown]),
        title="from one held-out image to another, through z straight and along the arc, and by fading pixels",
        rows=[name.replace("_", " ") for _, name in shown],
    )
    return measured


def completeness(space: Space, key: Key) -> dict[str, float]:
    """Whether codes drawn at random decode to something like the data."""
    dim = space.z.shape[1]
    noise = jax.random.normal(key, (DRAWS, dim))
    draws = {"prior": noise}
    # what a plain autoencoder has for a prior: the Gaussian of its codes
    centre, spread = jnp.mean(space.train_z, axis=0), jnp.cov(space.train_z, rowvar=False).reshape(dim, dim)
    values, vectors = jnp.linalg.eigh(spread)
    draws["code_gaussian"] = centre[None] + (noise * jnp.sqrt(jnp.maximum(values, 0))[None]) @ vectors.T
    radius = np.quantile(space.distance(space.x), 0.99)
    measured: dict[str, float] = {"radius": radius}
    images = {name: space.decode(z) for name, z in draws.items()}
    images["reconstruction"] = space.decode(space.z)
    for name, decoded in images.items():
        distances = space.distance(decoded)
        measured[f"inside_{name}"] = np.mean(distances <= radius)
        measured[f"distance_{name}"] = distances.mean()
    columns = 20
    names = {"prior": "N(0, I)", "code_gaussian": "codes' Gaussian"}
    pictures.save_captioned_grid(
        space.out / "completeness.png",
        jnp.concatenate([images[name][: 3 * columns].reshape(3, columns, *space.x.shape[1:]) for name in draws]),
        title="decoded draws inside the data's radius: "
        + ", ".join(f"{measured[f'inside_{name}']:.1%} of {names[name]}" for name in draws),
        rows=[caption for name in draws for caption in ("", names[name], "")],
    )
    return measured


def concepts(space: Space, key: Key) -> dict[str, float]:
    """Adds each class's vector to codes of other classes, and classifies the results by the nearest training images."""
    label, train_label = np.asarray(space.label), np.asarray(space.train_label)
    flat = np.reshape(space.train_x, (len(space.train_x), -1))
    classes, strengths = np.unique(train_label), np.linspace(-1, 2, 7)
    seen: dict[str, list[float]] = {"latent": [], "random": [], "pixel": []}
    rows = []
    for number, value in enumerate(classes):
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
        rows.append(space.decode(space.z[shown] + jnp.asarray(strengths, c.dtype)[:, None] * c[None]))
    pictures.save_captioned_grid(
        space.out / "concepts.png",
        jnp.stack(rows),
        title="a held-out image of another class, plus alpha times the class's concept vector",
        rows=pictures.class_captions(classes, space.class_names),
        columns=[f"{alpha:+.1f}" for alpha in strengths],
    )
    return {f"concept_{name}": float(np.mean(values)) for name, values in seen.items()}


def prior_moments(run: runs.Run, space: Space) -> dict[str, float]:
    """How many units of a VAE are active, and how far all codes together are from N(0, I)."""
    encode = jax.jit(lambda params, x: vae.encode(params, x, parts=run.parts))
    mean, log_variance = encode(run.params, space.x)
    active = np.asarray(latent.active_units(mean))
    moments = latent.aggregate_moments(mean, log_variance)
    information, divergence = jax.jit(latent.rate_parts)(mean, log_variance, jax.random.key(0))
    measured = {"active_units": active.sum(), "information": information, "aggregate_divergence": divergence}
    if active.any():
        measured["prior_moment_mean"] = np.abs(np.asarray(moments.mean))[active].max()
        measured["prior_moment_second"] = np.asarray(moments.second)[active].mean()
    return {name: float(value) for name, value in measured.items()}


def main(flags: Flags) -> None:
    """Explores, draws and writes."""
    if not flags.run:
        raise BadInput("give the directory of a trained autoencoder or VAE", parameter="run")
    out = expand_user(flags.out or Path(flags.run) / "latent_space", parameter="out")
    refuse_unwritable(out, parameter="out")
    page = opening.of_module(flags.page) if flags.page else None
    run = runs.open(flags.run, experiment=page, data_dir=flags.data_dir, dataset=flags.dataset, step=flags.step)
    read_key, walk_key, draw_key, concept_key = jax.random.split(jax.random.key(flags.seed), 4)
    run.codec()  # a model without one is refused before anything is written
    out.mkdir(parents=True, exist_ok=True)
    space = open_space(run, out, read_key)
    per_image = 4 * math.prod(space.x.shape[1:])
    memory.require(3 * flags.num_walks * flags.num_frames * per_image, "a set of all walks", parameter="num_walks")
    memory.require(flags.num_levels**2 * per_image, "a grid of decoded codes", parameter="num_levels")
    draw_grid(space, flags.num_levels)
    numbers: dict[str, Any] = walks(space, flags.num_walks, flags.num_frames, walk_key) | completeness(space, draw_key)
    if run.dataset.num_classes is not None:
        numbers |= concepts(space, concept_key)
    if space.has_prior:
        numbers |= prior_moments(run, space)
    numbers = {name: round(float(value), 6) for name, value in numbers.items()}
    directory.write_json(out / "latent_space.json", {"step": run.step, **numbers})
    for name, value in numbers.items():
        print(f"{name:32} {value:10.4f}")
    print(f"pictures and latent_space.json of {run.directory} at step {run.step} are in {out}")


if __name__ == "__main__":
    command.run(main, Flags)
