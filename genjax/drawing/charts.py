"""Charts of measurements: lines in a plane, and maps of the same examples side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from genjax.drawing.pictures import class_captions, panels


def save_lines(
    path: Path,
    lines: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    marker: str | None = None,
) -> None:
    """Writes named lines y over x, [N] each; the first is emphasised."""
    figure, ((ax,),) = panels(1, 1, width=6.4, height=4.8)
    for number, (name, (x, y)) in enumerate(lines.items()):
        ax.plot(np.asarray(x), np.asarray(y), label=name, marker=marker, lw=1.5 if number else 2.5, zorder=-number)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    figure.savefig(path, dpi=120)


def save_maps(
    path: Path, maps: Mapping[str, ArrayLike], labels: ArrayLike | None, *, names: Sequence[str] | None = None
) -> None:
    """Writes maps of the same examples side by side, coloured by label if there are labels.

    Args:
      maps: title -> positions [N, 2].
      labels: [N] integers.
      names: of the classes, for the legend.
    """
    from matplotlib import colormaps

    figure, (axes,) = panels(1, len(maps), width=5.6, height=5.2)
    of_class = np.zeros(len(np.asarray(next(iter(maps.values())))), int) if labels is None else np.asarray(labels)
    classes = np.unique(of_class)
    colours = (
        colormaps["tab10"](np.arange(10)) if len(classes) <= 10 else colormaps["turbo"](np.linspace(0, 1, len(classes)))
    )
    captions = class_captions(classes, names if labels is not None else None)
    for ax, (title, positions) in zip(axes, maps.items(), strict=True):
        for value, colour, caption in zip(classes, colours, captions, strict=False):
            ax.scatter(*np.asarray(positions)[of_class == value].T, s=8, color=colour, label=caption)
        ax.set(title=title, xticks=[], yticks=[])
    if 1 < len(classes) <= 20:
        axes[-1].legend(markerscale=2, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=120)


def save_points_over_fields(path: Path, points: ArrayLike, fields: Mapping[str, ArrayLike]) -> None:
    """Writes points of the unit square over scalar fields, one panel per field.

    Args:
      points: [N, 2] in [0, 1], x1 and x2.
      fields: title -> values on an even grid of the unit square, [rows along x2, columns along x1].
    """
    figure, (axes,) = panels(1, len(fields), width=6.0, height=5.2)
    for ax, (title, field) in zip(axes, fields.items(), strict=True):
        drawn = ax.imshow(np.asarray(field), origin="lower", extent=(0, 1, 0, 1), cmap="viridis")
        ax.scatter(*np.asarray(points).T, s=2, color="white", alpha=0.5)
        ax.set(title=title, xlabel="x1", ylabel="x2", xlim=(0, 1), ylim=(0, 1))
        figure.colorbar(drawn, ax=ax)
    figure.savefig(path, dpi=120)
