"""Charts of measurements: lines in a plane, learning curves, and maps of the same examples side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genjax.drawing.palette import PALETTE
from genjax.drawing.pictures import class_captions, panels
from genjax.drawing.saving import save


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
    save(figure, path)


def save_points(path: Path, sets: Mapping[str, ArrayLike], *, title: str) -> None:
    """Writes named sets of vectors over each other, [N, D] each: histograms for D = 1, otherwise the first two axes."""
    figure, ((ax,),) = panels(1, 1, width=6.4, height=5.6)
    arrays = {name: np.asarray(points) for name, points in sets.items()}
    if next(iter(arrays.values())).shape[1] == 1:
        bins = np.histogram_bin_edges(np.concatenate([np.ravel(points) for points in arrays.values()]), bins=40)
        for name, points in arrays.items():
            ax.hist(np.ravel(points), bins=bins.tolist(), density=True, histtype="step", label=name)
        ax.set(xlabel="x1", ylabel="density", title=title)
    else:
        for name, points in arrays.items():
            ax.scatter(points[:, 0], points[:, 1], s=6, alpha=0.6, label=name)
        ax.set(xlabel="x1", ylabel="x2", title=title)
    ax.legend(markerscale=2, frameon=False)
    save(figure, path)


Series = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> steps [T] and values [T, seeds]


def save_curves(
    path: Path,
    lines: Iterable[dict[str, Any]],
    *,
    unit: Callable[[str], str] = lambda name: "",
    first: Sequence[str] = (),
    at_most: int = 12,
) -> None:
    """Writes the learning curves of a metrics.jsonl, one panel per metric, train and test over the step.

    If a metric is a list, with a value for each seed, the mean is drawn with a band of one standard deviation. Metrics
    with equal values share a panel, and those that never change are named below the panels.

    Args:
      lines: of the file.
      unit: the unit of a metric's name, or nothing.
      first: metrics whose panels come first.
      at_most: number of panels; the other metrics are named below them.
    """
    series = _series(list(lines))
    shared, constant = arranged(series, first)
    drawn = list(shared)[:at_most]
    columns = min(len(drawn), 2 if len(drawn) <= 8 else 4)
    figure, axes = panels(-(-len(drawn) // columns), columns, width=4.8, height=3.2)
    for ax, name in zip(axes.flat, drawn, strict=False):
        _draw_series(ax, series[name])
        ax.set(xlabel="step", ylabel=unit(name), title=" = ".join([name, *shared[name]]))
    for ax in list(axes.flat)[len(drawn) :]:
        ax.remove()
    values = next(iter(series[drawn[0]].values()))[1]
    if values.shape[1] > 1:
        figure.suptitle(f"mean of {values.shape[1]} seeds, with a band of one standard deviation", fontsize="medium")
    notes = [f"{name} is always {value:.4g}" for name, value in constant.items()]
    notes += [f"not drawn: {', '.join(list(shared)[at_most:])}"] if len(shared) > at_most else []
    if notes:
        figure.supxlabel("\n".join(textwrap.wrap("; ".join(notes), 75 * columns)), fontsize="small")
    save(figure, path)


def arranged(series: Mapping[str, Series], first: Sequence[str] = ()) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Which metrics to draw, those of `first` first.

    Returns:
      The metrics that change, each with the others that equal it, and the values of those that never change. If none
      changes, the first one is drawn all the same.
    """
    names = [name for name in dict.fromkeys(first) if name in series]
    names += sorted(series.keys() - set(first), key=_loss_last)
    constant = [name for name in names if _is_constant(series[name])]
    shared: dict[str, list[str]] = {}
    for name in [name for name in names if name not in constant] or constant[:1]:
        equal = next((other for other in shared if _are_equal(series[other], series[name])), None)
        shared.setdefault(equal or name, []).extend([name] if equal else [])
    return shared, {name: _first_value(series[name]) for name in constant if name not in shared}


def _series(lines: list[dict[str, Any]]) -> dict[str, Series]:
    """The values of each metric over the steps, by split."""
    series: dict[str, Series] = {}
    for name in sorted({name for line in lines for name in line} - {"step", "split"}):
        for split in ("train", "validation", "test"):
            told = [line for line in lines if line["split"] == split and name in line]
            if told:
                steps = np.array([line["step"] for line in told])
                series.setdefault(name, {})[split] = steps, np.array([np.ravel(line[name]) for line in told])
    return series


def _loss_last(name: str) -> tuple[bool, str]:
    """Sorts `loss` behind the metric that it equals, whose name says more."""
    return name == "loss", name


def _first_value(of: Series) -> float:
    return next(iter(of.values()))[1].flat[0]


def _is_constant(of: Series) -> bool:
    """Whether all values of a metric are one, in more than one report."""
    values = np.concatenate([values for _, values in of.values()])
    return len(values) > 2 and bool((values == values.flat[0]).all())


def _are_equal(of: Series, other: Series) -> bool:
    return of.keys() == other.keys() and all(
        np.array_equal(a, b, equal_nan=True) for split in of for a, b in zip(of[split], other[split], strict=True)
    )


def _draw_series(ax: Any, of: Series) -> None:
    """Draws a metric of each split; a single report, and all evaluations, with markers."""
    for split, (steps, values) in of.items():
        mean = values.mean(axis=1)
        marked = split != "train" or len(steps) == 1
        (drawn,) = ax.plot(steps, mean, label=split, marker="." if marked else None)
        if values.shape[1] > 1:
            deviation = values.std(axis=1, ddof=1)
            ax.fill_between(steps, mean - deviation, mean + deviation, color=drawn.get_color(), alpha=0.2, lw=0)
    ax.legend(fontsize="small", frameon=False)


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
    save(figure, path)


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
    save(figure, path)


def save_comparison(
    path: Path,
    curves: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    *,
    unit: Callable[[str], str] = lambda name: "",
) -> None:
    """Writes the curves of several runs over each other, one panel per metric.

    Args:
      curves: metric -> name of the run -> steps [T] and values [T, seeds], of which the mean is drawn, with a band of
        one standard deviation.
      unit: the unit of a metric's name, or nothing.
    """
    columns = min(len(curves), 2 if len(curves) <= 4 else 3)
    figure, axes = panels(-(-len(curves) // columns), columns, width=5.2, height=3.4)
    names = list(dict.fromkeys(name for of_runs in curves.values() for name in of_runs))
    for ax, (metric, of_runs) in zip(axes.flat, curves.items(), strict=False):
        for name, (steps, values) in of_runs.items():
            table, colour = np.asarray(values), PALETTE[names.index(name) % len(PALETTE)]
            mean = table.mean(axis=1)
            ax.plot(steps, mean, label=name, color=colour, marker="." if len(mean) < 30 else None)
            if table.shape[1] > 1:
                deviation = table.std(axis=1, ddof=1)
                ax.fill_between(steps, mean - deviation, mean + deviation, color=colour, alpha=0.2, lw=0)
        ax.set(xlabel="step", ylabel=unit(metric), title=metric)
    for ax in list(axes.flat)[len(curves) :]:
        ax.remove()
    handles = {label: line for ax in figure.axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", frameon=False, fontsize="small")
    save(figure, path)
