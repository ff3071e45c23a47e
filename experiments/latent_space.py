"""Explores the latent space of a trained autoencoder or VAE: its prior, walks between codes, and concepts.

    python -m experiments.latent_space --run=DIR
    python -m experiments.latent_space --run=VAE --beside=AUTOENCODER

It writes pictures (grid, walks, traversals, concepts, completeness) and latent_space.json to --out, by default
DIR/latent_space. The numbers are:

    inside_*               fraction of decoded draws that are as near to the training images as 99 % of the held-out
                           images are; drawn from the prior (of an autoencoder, from N(0, I)), and from a Gaussian
                           fitted to the codes
    largest_slope_*        largest ||x_{t+1} - x_t|| / ||z_{t+1} - z_t|| along walks between held-out codes, z in
                           units of the codes' standard deviation
    step_irregularity_*    standard deviation of ||x_{t+1} - x_t|| over its mean along a walk; 0 for even steps
    middle_distance_*      distance of mid-walk frames to the training images, with a cross-fade of pixels for
                           comparison
    concept_*              how often g(f(x) + c) is classified as the concept's class, with a random direction of the
                           same length, and the mean difference of the pixels, for comparison
    prior_moment_*         first and second moment of the aggregate posterior over its active units; 0 and 1 for the
                           prior; of another prior than N(0, I), over all units, in units of its own moments

Distances are root mean squared over the 5 nearest training images.

A latent space is regular if it is continuous, so that near codes decode to similar images, and complete, so that each
code drawn from the prior decodes to an image like the data. With --beside, both runs are held against these two
properties: a table is printed and written to beside.json, and beside.png has the same walks through both decoders, and
draws from the prior of each.

With --label, the space is that of one class: its examples, and for a conditional model, which needs it, the decoder of
this label.

For a run on `faces`, the vectors of four factors (smile, mouth_open, hair_tone, yaw) are held against exact renders in
face_concepts.json and .png, beside those in principal components and in pixels, and the yaw is regressed along walks
between two views of a face (yaw_rank_correlation_*): see `experiments.face_concepts`. The attributes are read by ridge
regression on pixels, whose R^2 is printed, or by the network of --regressor_steps.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import face_concepts, latent_measures, swap_judges
from experiments.latent_measures import Space
from genjax import memory, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import latent
from genjax.losses import DIAGONAL_GAUSSIAN
from genjax.models import vae
from genjax.paths import expand_user
from genjax.runs import command, directory, flag, opening, provenance
from genjax.runs.settings import figure_formats
from genjax.types import Array, Batch

SHOWN, TRAVERSED = 4, 10  # walks and dimensions in a picture

REGULARITY = {  # property: {number: the term for it}
    "continuity": {
        "largest_slope_linear": "Lipschitz constant along walks, with z in standard deviations of the codes",
        "step_irregularity_linear": "coefficient of variation of the steps of a walk",
        "middle_distance_linear": "distance of a walk's middle to the training images",
    },
    "completeness": {
        "inside_prior": "share of the draws from the prior that decode into the data's radius",
        "distance_prior": "distance of decoded draws from the prior to the training images",
        "inside_code_gaussian": "the same share of draws from a Gaussian fitted to the codes",
    },
}


class Flags(opening.OpeningFlags):
    """Latent space."""

    beside: str | None = flag(None, "directory of a second run on the same data, to compare with")
    label: int | None = flag(None, "class to explore alone; a conditional model needs one", at_least=0)
    seed: int = flag(0, "seed of all random numbers", at_least=0, at_most=2**32 - 1)
    num_levels: int = flag(
        15, "number of images along each side of the grid and in each traversal", at_least=2, at_most=1000
    )
    num_frames: int = flag(16, "number of images in each walk", at_least=3, at_most=1000)
    num_walks: int = flag(200, "number of walks to measure; the first few are drawn", at_least=1, at_most=10**6)
    regressor_steps: int = flag(
        0, "number of updates of a network that reads the attributes of faces; 0 for ridge regression", at_least=0
    )
    out: str | None = flag(None, "output folder; by default DIR/latent_space")
    figure_formats: tuple[str, ...] = figure_formats()


def levels(space: Space, num: int) -> Array:
    """Coordinates that share the codes' mass evenly, [num, d]: the prior's quantiles, or the data's."""
    if space.has_prior:
        return jnp.broadcast_to(latent.gaussian_levels(num)[:, None], (num, space.z.shape[1]))
    return latent.data_levels(space.train_z, num)


def origin(space: Space) -> Array:
    """The prior's mean, or the codes' median."""
    return jnp.zeros(space.z.shape[1]) if space.has_prior else jnp.median(space.train_z, axis=0)


def draw_grid(space: Space, out: Path, num: int) -> None:
    """The plane of the two dimensions whose codes move most, and a walk along each of the first few."""
    order = np.argsort(-np.var(space.train_z, axis=0))
    along, how = levels(space, num), "quantiles of N(0, 1)" if space.has_prior else "quantiles of the codes"
    if len(order) > 1:
        i, j = int(order[0]), int(order[1])
        images = space.decode(latent.grid(origin(space), along[:, i], along[:, j], axes=(i, j)))
        pictures.save_captioned_grid(
            out / "grid.png",
            images.reshape(num, num, *images.shape[1:]),
            title=f"z{i + 1} to the right, z{j + 1} upwards, by {how}; other dimensions at the centre",
            columns=[f"{value:.1f}" for value in along[:, i]],
            rows=[f"{value:.1f}" for value in along[::-1, j]],
        )
    walked = order[:TRAVERSED]
    codes = latent.traversals(origin(space), along)[walked]
    images = space.decode(codes.reshape(-1, codes.shape[-1]))
    pictures.save_captioned_grid(
        out / "traversals.png",
        images.reshape(len(walked), num, *images.shape[1:]),
        title=f"one dimension at a time, by {how}; those whose codes move most come first",
        rows=[f"z{j + 1}" for j in walked],
    )


def draw_walks(frames: dict[str, Array], out: Path) -> None:
    """The first few walks, each in all its kinds."""
    num = min(SHOWN, len(frames["linear"]))
    pictures.save_captioned_grid(
        out / "walks.png",
        jnp.stack([images[number] for number in range(num) for images in frames.values()]),
        title="from one held-out image to another, through z straight and along the arc, and by fading pixels",
        rows=[name.replace("_", " ") for _ in range(num) for name in frames],
    )


def draw_completeness(
    numbers: dict[str, float], images: dict[str, Array], prior_name: str, out: Path, columns: int = 20
) -> None:
    """Decoded draws from the prior and from the codes' Gaussian."""
    names = {"prior": prior_name, "code_gaussian": "codes' Gaussian"}
    pictures.save_captioned_grid(
        out / "completeness.png",
        jnp.concatenate([pictures.in_rows(some[: 3 * columns], columns=columns) for some in images.values()]),
        title="decoded draws inside the data's radius: "
        + ", ".join(f"{numbers[f'inside_{name}']:.1%} of {names[name]}" for name in images),
        rows=[caption for name in images for caption in ("", names[name], "")],
    )


def draw_concepts(space: Space, moved: Array, out: Path) -> None:
    """What each class's vector does to an image of another class."""
    pictures.save_captioned_grid(
        out / "concepts.png",
        moved,
        title="a held-out image of another class, plus alpha times the class's concept vector",
        rows=pictures.class_captions(np.unique(np.asarray(space.train_label)), space.class_names),
        columns=[f"{alpha:+.1f}" for alpha in latent_measures.STRENGTHS],
    )


def draw_beside(names: tuple[str, str], walks: list[Array], draws: list[Array], out: Path) -> None:
    """The same walks and draws through two decoders, the rows of one above those of the other."""
    num, columns = min(SHOWN, len(walks[0])), walks[0].shape[1]
    shown = [pictures.in_rows(images[: 2 * columns], columns=columns) for images in draws]
    rows = [images[number] for number in range(num) for images in walks]
    captions = [f"{name}: walk" for _ in range(num) for name in names]
    pictures.save_captioned_grid(
        out / "beside.png",
        jnp.stack([*rows, *(row for rows in shown for row in rows)]),
        title="straight walks between held-out images, and decoded draws from the prior",
        rows=captions + [f"{name}: prior" for name, rows in zip(names, shown, strict=True) for _ in rows],
    )


class Explored(NamedTuple):
    """What was found of one run."""

    numbers: dict[str, float]
    walks: Array  # straight ones, [num_walks, num_frames, ...]
    draws: Array  # decoded draws from the prior


def explore(run: runs.Run, flags: Flags, out: Path | None) -> Explored:
    """Measures a run's latent space, and draws it if there is a folder for the pictures."""
    read_key, walk_key, draw_key, concept_key = jax.random.split(jax.random.key(flags.seed), 4)
    space = latent_measures.open_space(run, read_key, flags.label)
    per_image = 4 * math.prod(space.x.shape[1:])
    memory.require(3 * flags.num_walks * flags.num_frames * per_image, "a set of all walks", parameter="num_walks")
    memory.require(flags.num_levels**2 * per_image, "a grid of decoded codes", parameter="num_levels")
    numbers, frames = latent_measures.continuity(
        space, num_walks=flags.num_walks, num_frames=flags.num_frames, key=walk_key
    )
    complete, draws = latent_measures.completeness(space, draw_key)
    numbers |= complete
    if out is not None:
        draw_grid(space, out, flags.num_levels)
        draw_walks(frames, out)
        draw_completeness(numbers, draws, space.prior_name, out)
    if run.dataset.num_classes is not None and flags.label is None:
        of_concepts, moved = latent_measures.concepts(space, concept_key)
        numbers |= of_concepts
        if out is not None:
            draw_concepts(space, moved, out)
    if space.has_prior and run.parts.posterior is DIAGONAL_GAUSSIAN:
        encode = jax.jit(lambda params, x, *context: vae.encode(params, x, *context, parts=run.parts))
        context = run.parts.context(Batch(space.x, space.label))
        numbers |= latent_measures.prior_moments(*encode(run.params, space.x, *context))
    numbers |= latent_measures.moments_beside_prior(run, space, jax.random.fold_in(jax.random.key(flags.seed), 4))
    numbers = {name: round(float(value), 6) for name, value in numbers.items()}
    return Explored(numbers, frames["linear"], draws["prior"])


def explore_faces(run: runs.Run, flags: Flags, out: Path) -> dict[str, float]:
    """Measures and draws what needs the factors of rendered faces; prints the table of concepts."""
    read_key, _, _, concept_key = jax.random.split(jax.random.key(flags.seed), 4)
    space = latent_measures.open_space(run, read_key, flags.label)
    if flags.regressor_steps:
        read = swap_judges.find_or_train_regressor(
            num_steps=flags.regressor_steps, image_size=space.x.shape[1], cache=run.directory.resolve().parent
        )
    else:
        read = face_concepts.regress(space)
    r2 = face_concepts.r2(read, space.x)
    table, rows = face_concepts.concepts(space, read, concept_key)
    directory.write_json(out / "face_concepts.json", {"r2_of_regression": r2} | table)
    face_concepts.draw_concepts(rows, out)
    for name, of_methods in table.items():
        print(f"{name} (R^2 of its regression {r2[name]:.2f})")
        for method, values in of_methods.items():
            print(f"  {method:8} " + ", ".join(f"{measure} {value:.4f}" for measure, value in values.items()))
    numbers, frames = face_concepts.yaw_walks(space, read, flags.num_frames)
    face_concepts.draw_yaw_walks(frames, out)
    return numbers


def compare(run: runs.Run, other: runs.Run, found: tuple[Explored, Explored], out: Path) -> None:
    """Prints, writes and draws two latent spaces side by side."""
    names = run.experiment.name, other.experiment.name
    if names[0] == names[1]:
        names = run.directory.name, other.directory.name
    table = {
        word: {number: [one.numbers[number] for one in found] for number in terms} for word, terms in REGULARITY.items()
    }
    directory.write_json(
        out / "beside.json", {"run": run.directory.name, "beside": other.directory.name, "names": names} | table
    )
    draw_beside(names, [one.walks for one in found], [one.draws for one in found], out)
    for word, terms in REGULARITY.items():
        print(f"{word:76} " + " ".join(f"{name:>14}" for name in names))
        for number, term in terms.items():
            print(f"  {term:74} " + " ".join(f"{value:14.4f}" for value in table[word][number]))


def check_label(run: runs.Run, label: int | None) -> None:
    """Checks that there is a class if the model needs one, and that there are examples of it."""
    if label is None:
        if latent_measures.num_classes(run):
            raise BadInput(f"{run.directory}: this run is conditional; give the class to explore", parameter="label")
        return
    classes = run.dataset.require_classes("a space of one class", parameter="label")
    found = [int(np.sum(split.label == label)) for split in (run.dataset.train, run.dataset.test)]
    if label >= classes or min(found) < 2:
        raise BadInput(
            f"{run.dataset.name} has {found} examples of class {label}; two of each are needed", parameter="label"
        )


def main(flags: Flags) -> None:
    """Explores, draws and writes."""
    out = expand_user(flags.out or flags.directory / "latent_space", parameter="out")
    provenance.refuse_output(out, parameter="out")
    opened = [flags.open_run()]
    if flags.beside:
        opened.append(runs.open(flags.beside, data_dir=flags.data_dir, dataset=flags.dataset))
    for run in opened:
        run.codec()  # a model without one is refused before anything is written
        check_label(run, flags.label)
        first = opened[0]
        if (run.dataset.fingerprint, run.flags.binarize) != (first.dataset.fingerprint, first.flags.binarize):
            raise BadInput(f"it was trained on other data than {flags.run}", parameter="beside")
    with provenance.writing(out, "latent_space", flags, *opened) as folder:
        found = explore(opened[0], flags, folder)
        if opened[0].dataset.name == "faces" and flags.label is None:
            found.numbers.update(explore_faces(opened[0], flags, folder))
        directory.write_json(folder / "latent_space.json", {"step": opened[0].step, **found.numbers})
        for name, value in found.numbers.items():
            print(f"{name:32} {value:10.4f}")
        if flags.beside:
            compare(opened[0], opened[1], (found, explore(opened[1], flags, None)), folder)
    print(f"pictures and latent_space.json of {opened[0].directory} at step {opened[0].step} are in {out}")


if __name__ == "__main__":
    command.run(main, Flags)
