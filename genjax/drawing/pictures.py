"""Pictures of a run: grids of images, maps of codes, tables.

Matplotlib and scikit-learn are imported by the functions that use them, because importing them takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from genjax.drawing.palette import PALETTE
from genjax.drawing.saving import save

SYNTHETIC_FACES = "synthetic: faces made by a network that swaps identities, not photographs of anybody"
"""The comment that pictures of swapped faces carry."""

SIGNS, ARROWS = (
    {"higher": 1, "lower": -1, "": 0},
    {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}", "": ""},
)
"""Of measures by which of their values are better."""


def grid(images: ArrayLike, *, columns: int, gap: int = 1) -> np.ndarray:
    """Arranges images in a grid, row by row, on a white background.

    Args:
      images: [N, H, W, C] in [0, 1], C = 1 or 3; for other C the first channel is shown.

    Returns:
      uint8 [height, width, 3].
    """
    images = np.asarray(images, np.float32)
    num, height, width, channels = images.shape
    rows = -(-num // columns)
    canvas = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), np.float32)
    for index, image in enumerate(images):
        y, x = (index // columns) * (height + gap), (index % columns) * (width + gap)
        canvas[y : y + height, x : x + width] = image if channels == 3 else image[..., :1]
    return np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8)


def save_grid(path: Path, images: ArrayLike, *, columns: int) -> np.ndarray:
    """Writes a grid as PNG, with small images enlarged without smoothing; returns its pixels."""
    picture = grid(images, columns=columns)
    factor = max(1, 800 // picture.shape[1])
    picture = picture.repeat(factor, 0).repeat(factor, 1)
    Image.fromarray(picture).save(path)
    return picture


def save_animation(path: Path, frames: Sequence[Path], *, milliseconds: int = 400) -> None:
    """Writes pictures of one size as a looping GIF, which shows the last one longest."""
    first, *rest = [Image.open(frame).convert("RGB") for frame in frames]
    durations = [milliseconds] * len(rest) + [5 * milliseconds]
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0)


def in_rows(images: ArrayLike, *, columns: int) -> np.ndarray:
    """Images [N, ...] in rows, [R, columns, ...], the last one filled up with white."""
    images = np.asarray(images)
    short = -len(images) % columns
    images = np.concatenate([images, np.ones((short, *images.shape[1:]), images.dtype)])
    return images.reshape(-1, columns, *images.shape[1:])


def signed(values: ArrayLike) -> np.ndarray:
    """Signed values as images: 0 is middle grey, and the largest magnitude of each is white or black.

        0.5 + v / (2 max |v|)

    Args:
      values: [N, ...]; all zeros stay middle grey.

    Returns:
      [N, ...] in [0, 1].
    """
    values = np.asarray(values)
    largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    return 0.5 + values / (2 * np.where(largest > 0, largest, 1))


def cross_table(rows: ArrayLike, columns: ArrayLike, *blocks: ArrayLike) -> np.ndarray:
    """A table of images for each pair of a row and a column, with the row's image on the left and the column's above.

    Args:
      rows: [R, H, W, channels], shown to the left of each block.
      columns: [C, H, W, channels], shown above each block.
      blocks: K of them side by side, [R, C, H, W, channels] each.

    Returns:
      [1 + R, K (1 + C), H, W, channels]; the blocks' corners are white.
    """
    left, top, tables = np.asarray(rows), np.asarray(columns), [np.asarray(block) for block in blocks]
    white = np.ones_like(top[:1])
    head = np.concatenate([np.concatenate([white, top]) for _ in tables])
    body = [np.concatenate([np.concatenate([image[None], t[r]]) for t in tables]) for r, image in enumerate(left)]
    return np.stack([head, *body])


def panels(rows: int, columns: int, *, width: float, height: float) -> tuple[Any, Any]:
    """A new figure, without pyplot's global state, and its axes [rows, columns]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_prop_cycle(color=PALETTE)
    return figure, axes


def class_captions(classes: Iterable[int], names: Sequence[str] | None) -> list[str]:
    """The captions of classes: their names, if they have some, else their numbers."""
    if names is None:
        return [str(value) for value in classes]
    # Matplotlib reads formulas between dollars, and leaves what begins with _ out of a legend
    captions = [names[value].replace("$", r"\$") for value in classes]
    return [f" {caption}" if caption.startswith("_") else caption for caption in captions]


def save_latent_map(
    path: Path,
    codes: ArrayLike,
    labels: ArrayLike | None,
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Writes a scatter of codes [N, d], coloured by label if there are labels.

    Two dimensions are shown directly, more by their first two principal components, and one over its rank. Codes that
    are all alike, such as a single one, have no principal components, and are shown by their first two dimensions.

    Args:
      codes: [N, d].
      labels: [N] integers, or None.
      names: of the classes, for the legend.
      title: by default it names codes of held-out examples.
    """
    from matplotlib import colormaps

    points: np.ndarray = np.asarray(codes)
    num, dim = points.shape
    axes = ("z1", "z2")
    if dim == 1:
        ranks = np.argsort(np.argsort(points[:, 0]))
        points, axes = np.stack([points[:, 0], ranks / num], axis=1), ("z1", "quantile")
    elif dim > 2 and not np.ptp(points, axis=0).any():
        points = points[:, :2]
    elif dim > 2:
        from sklearn.decomposition import PCA

        analysis = PCA(2).fit(points)
        points = analysis.transform(points)
        axes = tuple(
            f"PC{i} ({share:.0%} of variance)" for i, share in enumerate(analysis.explained_variance_ratio_, start=1)
        )
    figure, ((ax,),) = panels(1, 1, width=6.4, height=5.6)
    if labels is None:
        ax.scatter(points[:, 0], points[:, 1], s=8)
    else:
        of_class: np.ndarray = np.asarray(labels)
        classes = np.unique(of_class)
        few = len(classes) <= 10
        colours = colormaps["tab10" if few else "turbo"](np.arange(10) if few else np.linspace(0, 1, len(classes)))
        captions = class_captions(classes, names)
        for value, colour, caption in zip(classes, colours, captions, strict=False):
            ax.scatter(*points[of_class == value].T, s=8, color=colour, label=caption)
        if len(classes) <= 20:
            ax.legend(markerscale=2, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    ax.set(xlabel=axes[0], ylabel=axes[1], title=title or f"codes of {num} held-out examples")
    save(figure, path)


def save_captioned_grid(
    path: Path,
    images: ArrayLike,
    *,
    title: str,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    comment: str | None = None,
) -> None:
    """Writes a grid of images under a title, with captions to the left of its rows and below its columns.

    Args:
      images: [R, C, H, W, channels] in [0, 1].
      rows: R captions, or none.
      columns: C captions, or none.
      comment: stored in the file's metadata.
    """
    images = np.asarray(images, np.float32)
    num_rows, num_columns, height, width = images.shape[:4]
    picture = grid(images.reshape(-1, *images.shape[2:]), columns=num_columns)
    figure_width = 7.5
    shape = figure_width * picture.shape[0] / picture.shape[1]
    figure, ((ax,),) = panels(1, 1, width=figure_width + (1.2 if rows else 0), height=shape + 0.9)
    ax.imshow(picture, interpolation="nearest")
    ax.set_title(title, fontsize="small")
    ax.set_yticks((height + 1) * np.arange(num_rows) + (height - 1) / 2 if rows else [], rows, fontsize="small")
    ax.set_xticks((width + 1) * np.arange(num_columns) + (width - 1) / 2 if columns else [], columns, fontsize="small")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    save(figure, path, comment=comment or None)


def save_reconstructions(
    path: Path,
    x: ArrayLike,
    *others: ArrayLike,
    title: str,
    names: Sequence[str] = ("original", "reconstruction"),
    columns: int = 10,
) -> None:
    """Writes images in rows, and below each row what was made of them.

    Args:
      x: [N, H, W, channels] in [0, 1].
      others: of the same shape.
      names: of x and of each of the others.
    """
    sets = [in_rows(images, columns=columns) for images in (x, *others)]
    rows = np.stack(sets, axis=1)  # [R, sets, columns, ...]
    save_captioned_grid(path, rows.reshape(-1, *rows.shape[2:]), title=title, rows=list(names) * len(rows))


def save_samples(path: Path, images: ArrayLike, *, title: str, columns: int = 10, captions: Sequence[str] = ()) -> None:
    """Writes images [N, H, W, channels] in rows, with captions below the columns."""
    save_captioned_grid(path, in_rows(images, columns=columns), title=title, columns=captions)


def save_swaps(
    path: Path, swapped: ArrayLike, *, target: ArrayLike, source: ArrayLike, ideal: ArrayLike | None = None
) -> None:
    """Writes swaps of every source, one per row, into every target, one per column, labelled as synthetic.

    Args:
      swapped: [sources, targets, H, W, channels] in [0, 1].
      target, source: the pictures, [N, H, W, channels] each.
      ideal: shown beside `swapped`, of the same shape.
    """
    blocks = [swapped] if ideal is None else [swapped, ideal]
    save_captioned_grid(
        path,
        cross_table(source, target, *blocks),
        title="sources in rows, targets in columns" + ("" if ideal is None else ": swapped, and the ideal"),
        comment=SYNTHETIC_FACES,
    )


def save_table(
    path: Path,
    values: ArrayLike,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    better: Sequence[str] | None = None,
) -> None:
    """Writes a table of numbers [R, C], with lighter cells for larger numbers, and white ones for NaN and infinity.

    Args:
      better: if each row is a separate measure, which of its numbers are better: "higher", "lower", or "" if neither
        is. Cells are then compared within their row, the best are the lightest, in bold type and shown by an arrow at
        the row's name, and numbers have three significant digits.
    """
    table: np.ndarray = np.asarray(values, np.float64)
    figure, ((ax,),) = panels(1, 1, width=1.6 + 1.1 * len(columns), height=1.2 + 0.42 * len(rows))
    by_row = better is not None
    signs = np.array([SIGNS[each] for each in better or ["higher"] * len(rows)])
    signed_table = table * np.where(signs, signs, np.nan)[:, None]  # larger is better
    finite = np.ma.masked_invalid(signed_table)
    least, most = (extreme(axis=1 if by_row else None, keepdims=True) for extreme in (finite.min, finite.max))
    ground = np.ma.filled((finite - least) / (most - least), np.nan)  # equal numbers stay white too
    ax.imshow(ground, cmap="viridis", aspect="auto", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            colour = "white" if ground[row, column] <= 0.5 else "black"
            weight = "bold" if by_row and ground[row, column] == 1 else "normal"
            text = f"{value:.3g}" if by_row else f"{value:.2f}"
            ax.text(column, row, text, ha="center", va="center", color=colour, weight=weight)
    if better is not None:
        rows = [f"{name} {ARROWS[each]}".rstrip() for name, each in zip(rows, better, strict=True)]
    ax.set_xticks(range(len(columns)), columns, rotation=20)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(title=title)
    save(figure, path)


def save_plane(path: Path, points: ArrayLike, values: ArrayLike, line: ArrayLike, *, title: str) -> None:
    """Writes points of the plane [N, 2], coloured by their values [N], and a line [M, 2] over them."""
    x, through = np.asarray(points), np.asarray(line)
    figure, ((ax,),) = panels(1, 1, width=6.4, height=5.6)
    drawn = ax.scatter(x[:, 0], x[:, 1], s=8, c=np.asarray(values), cmap="viridis")
    ax.plot(through[:, 0], through[:, 1], color="black", linewidth=1)
    figure.colorbar(drawn, ax=ax, label="z")
    ax.set(xlabel="x1", ylabel="x2", title=title, aspect="equal")
    save(figure, path)
