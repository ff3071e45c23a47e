"""Concept vectors of the factors of rendered faces, and walks between two views of a face, against exact renders.

All is measured on the held-out faces of the data set `faces`, whose every factor can be moved and rendered again. A
linear regression judges linear methods too well: it follows a cross-fade of pixels by construction, and the mean
difference of the pixels moves it more than the factor itself does. Errors against exact renders have no such bias.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.latent_measures import Space
from genjax.data import choose, faces
from genjax.drawing import pictures
from genjax.evaluation import latent
from genjax.types import Array, Key

CONCEPTS = ("smile", "mouth_open", "hair_tone", "yaw")
YAWS = (0.1, 0.9)  # the ends of the walks, of the range of the yaw
NUM_WALKS = 20
RIDGE = 30.0  # of the regression on pixels

Read = Callable[[Array], Array]  # pictures [N, S, S, 3] -> `faces.attribute_targets` [N, 29]
Table = dict[str, dict[str, dict[str, float]]]  # concept: {method: {measure: value}}


def render(drawn: faces.Factors) -> Array:
    """The pictures of N faces, [N, 32, 32, 3] in [0, 1]."""
    return jnp.asarray(faces.render_bytes(drawn)[0] / 255, jnp.float32)


def with_attribute(drawn: faces.Factors, name: str, values: Any) -> faces.Factors:
    """The faces with one attribute replaced by `values`, [N] in [0, 1]."""
    attributes = jnp.asarray(drawn.attributes)
    return drawn._replace(attributes=attributes.at[:, [*faces.ATTRIBUTES].index(name)].set(values))


def regress(space: Space) -> Read:
    """Ridge regression of the attributes on the pixels of the training pictures."""
    from sklearn.linear_model import Ridge

    def flat(x: Array) -> np.ndarray:
        return np.reshape(np.asarray(x), (len(x), -1))

    known, _ = faces.factors()
    fitted = Ridge(RIDGE).fit(flat(space.train_x), np.asarray(faces.attribute_targets(known.attributes)))
    return lambda x: jnp.asarray(fitted.predict(flat(x)))


def r2(read: Read, x: Array) -> dict[str, float]:
    """How well each concept is read from the held-out pictures, [500, ...]: R^2."""
    from sklearn.metrics import r2_score

    truth = np.asarray(faces.attribute_targets(faces.factors()[1].attributes))
    found = np.asarray(r2_score(truth, np.asarray(read(x)), multioutput="raw_values"))
    return {name: float(found[faces.attribute_places()[name][0]]) for name in CONCEPTS}


def concepts(space: Space, read: Read, key: Key) -> tuple[Table, Array]:
    """Adds the vector of each concept to the codes of faces that have less of it.

        c = mean{f(x) : u > 1/2} - mean{f(x) : u <= 1/2},   x' = g(f(x) + c),   u' = u + d

    with the factor u of the concept, and d the difference between its means in the same two groups. x* is the exact
    render with u' in place of u. With R_k the regressed attributes, and x0 the decoded f(x):

        change = mean R(x') - R(x0),   selectivity = change / mean |R_k(x') - R_k(x0)| over the other attributes k
        error_reduction = 1 - sum ||x' - x*||^2 / sum ||x0 - x*||^2

    Methods are `latent`, as above; `random`, a direction of the same length; `pca`, the same in as many principal
    components; `pixel`, the same in x itself; and `exact`, x*, which is the best that the regressor could see.

    Returns:
      The measures, and for each concept one face: x, x0, x' by each method, [concepts, 2 + methods, ...].
    """
    known, held_out = faces.factors()
    spaces = codes_and_decoders(space)
    table: Table = {}
    rows = []
    for number, name in enumerate(CONCEPTS):
        at, column = [*faces.ATTRIBUTES].index(name), faces.attribute_places()[name][0]
        u, has = np.asarray(held_out.attributes)[:, at], np.asarray(known.attributes)[:, at] > 0.5
        distance = float(latent.concept_vector(jnp.asarray(known.attributes)[:, [at]], jnp.asarray(has))[0])
        movable = np.flatnonzero(u + distance <= 1)
        some = jax.tree.map(lambda a, movable=movable: a[movable], held_out)
        target = render(with_attribute(some, name, u[movable] + distance))
        moved = {}
        for method, (train_z, z, decode) in spaces.items():
            c = latent.concept_vector(train_z, jnp.asarray(has))
            if method == "random":
                direction = jax.random.normal(jax.random.fold_in(key, number), c.shape)
                c = direction * jnp.linalg.norm(c) / jnp.linalg.norm(direction)
            moved[method] = decode(z[movable]), decode(z[movable] + c[None])
        moved["exact"] = space.x[movable], target
        table[name] = {
            method: compare(before, after, target, read, column) for method, (before, after) in moved.items()
        }
        one = choose(len(movable), 1)
        rows.append(jnp.concatenate([space.x[movable][one], *(x[one] for x in shown(moved))]))
    return table, jnp.stack(rows)


def shown(moved: dict[str, tuple[Array, Array]]) -> list[Array]:
    """The reconstruction, and what each method made of it."""
    return [moved["latent"][0], *(after for _, after in moved.values())]


def codes_and_decoders(space: Space) -> dict[str, tuple[Array, Array, Callable[[Array], Array]]]:
    """The spaces in which concepts are added, by method: (training codes, held-out codes, decoder)."""
    from sklearn.decomposition import PCA

    known, x = (np.reshape(images, (len(images), -1)) for images in (space.train_x, space.x))
    pca = PCA(min(space.z.shape[1], *known.shape), random_state=0).fit(known)

    def rebuild(z: Array) -> Array:
        return jnp.asarray(pca.inverse_transform(np.asarray(z)), jnp.float32).reshape(-1, *space.x.shape[1:])

    components = [jnp.asarray(pca.transform(flat), jnp.float32) for flat in (known, x)]
    return {
        "latent": (space.train_z, space.z, space.decode),
        "random": (space.train_z, space.z, space.decode),
        "pca": (components[0], components[1], rebuild),
        "pixel": (jnp.asarray(known), jnp.asarray(x), lambda flat: flat.reshape(-1, *space.x.shape[1:])),
    }


def compare(before: Array, after: Array, target: Array, read: Read, column: int) -> dict[str, float]:
    """The measures of `concepts` for pictures before and after a change, [N, ...]; `column` is the regressed one's."""
    change = np.asarray(read(after)) - np.asarray(read(before))
    others = np.abs(np.delete(change, column, axis=1)).mean()
    errors = [float(jnp.sum(jnp.square(images - target))) for images in (before, after)]
    return {
        "change": float(change[:, column].mean()),
        "selectivity": float(change[:, column].mean() / max(others, 1e-12)),
        "error_reduction": 1 - errors[1] / errors[0],
    }


def yaw_walks(space: Space, read: Read, num_frames: int) -> tuple[dict[str, float], dict[str, Array]]:
    """Walks between two renders of a face that differ in the yaw alone, and the yaw that is regressed along them.

    Kinds are `linear` and `spherical`, through the codes; `cross_fade`, in pixels; and `exact`, renders between the
    ends.

    Returns:
      `yaw_rank_correlation_KIND`, the mean over walks of Spearman's correlation of the regressed yaw with the number
      of the frame, 1 where the yaw only rises, and `yaw_rising_KIND`, the share of steps on which it rises; and the
      frames of each kind, [NUM_WALKS, num_frames, ...].
    """
    from scipy.stats import spearmanr

    held_out, column = faces.factors()[1], faces.attribute_places()["yaw"][0]
    some = jax.tree.map(lambda a: a[choose(len(a), NUM_WALKS)], held_out)
    num = len(some.identity)
    every = jax.tree.map(lambda a: jnp.repeat(a, num_frames, axis=0), some)
    yaws = jnp.tile(jnp.linspace(*YAWS, num_frames), num)
    frames = {"exact": render(with_attribute(every, "yaw", yaws)).reshape(num, num_frames, *space.x.shape[1:])}
    ends = [frames["exact"][:, frame] for frame in (0, -1)]
    codes = [space.encode(images) for images in ends]

    def along(walk: Callable[..., Array], ends: list[Array]) -> Array:
        return jax.vmap(lambda a, b: walk(a, b, num=num_frames))(*ends)

    for name, walk in (("linear", latent.linear_walk), ("spherical", latent.spherical_walk)):
        z = along(walk, codes)
        frames[name] = space.decode(z.reshape(-1, z.shape[-1])).reshape(frames["exact"].shape)
    frames["cross_fade"] = along(latent.linear_walk, ends)
    measured = {}
    for name, images in frames.items():
        yaw = np.asarray(read(images.reshape(-1, *images.shape[2:])))[:, column].reshape(num, num_frames)
        correlations: Any = [spearmanr(np.arange(num_frames), each)[0] for each in yaw]
        measured[f"yaw_rank_correlation_{name}"] = float(np.mean(correlations))
        measured[f"yaw_rising_{name}"] = float(np.mean(np.diff(yaw, axis=1) > 0))
    return measured, frames


def draw_concepts(rows: Array, out: Path) -> None:
    """The pictures of `concepts`."""
    pictures.save_captioned_grid(
        out / "face_concepts.png",
        jnp.clip(rows, 0, 1),
        title="a held-out face, its reconstruction, and the same with more of each concept",
        rows=[name.replace("_", " ") for name in CONCEPTS],
        columns=["face", "rebuilt", "latent", "random", "pca", "pixel", "exact"],
    )


def draw_yaw_walks(frames: dict[str, Array], out: Path, num: int = 2) -> None:
    """The first walks of `yaw_walks`, each in all its kinds."""
    num = min(num, len(frames["exact"]))
    pictures.save_captioned_grid(
        out / "yaw_walks.png",
        jnp.clip(jnp.stack([images[number] for number in range(num) for images in frames.values()]), 0, 1),
        title="from one view of a held-out face to another: renders, through z, and by fading pixels",
        rows=[name.replace("_", " ") for _ in range(num) for name in frames],
    )
