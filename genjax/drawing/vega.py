"""Interactive curves as Vega-Lite specifications: plain values, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genjax.drawing.palette import PALETTE

AT_MOST = 1000
"""Points per curve; longer curves are thinned out evenly."""

FEW = 40
"""Points per curve up to which each is marked."""


def curves(
    lines: Mapping[str, tuple[ArrayLike, ArrayLike]], *, ylabel: str, order: Sequence[str] | None = None
) -> dict[str, Any]:
    """Named curves over the step, which the wheel zooms, dragging moves, and hovering reads.

    Args:
      lines: name -> steps [T] and values [T, seeds], of which the mean is drawn, with a band of one standard error.
      ylabel: title of the vertical axis.
      order: all names that have a colour, for the same colours in several charts; by default those of `lines`.
    """
    names = list(order or lines)
    values = [point for name, (steps, of_seeds) in lines.items() for point in points(name, steps, of_seeds)]
    several = any("error" in point for point in values)
    is_few = len(values) <= FEW * len(lines)
    x = {"field": "step", "type": "quantitative", "title": "step", "scale": {"zero": True, "nice": False}}
    x |= {"axis": {"tickCount": 5, "labelFlush": True}}
    y = {"type": "quantitative", "title": ylabel, "scale": {"zero": False}}
    near = {"param": "near", "empty": False}
    shown = {"step": ("step", ",d"), "of": ("name", None), "mean" if several else "value": ("value", ".6~g")}
    shown |= {"standard error": ("error", ".6~g")} if several else {}
    line = {
        "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
        "mark": {"type": "line", "clip": True, "strokeWidth": 2},
        "encoding": {"y": {"field": "value"} | y, "strokeDash": _scale(names, _dash) | {"legend": None}},
    }
    dots = {
        "params": [
            {"name": "near", "select": {"type": "point", "on": "pointermove", "clear": "pointerout", "nearest": True}}
        ],
        "mark": {"type": "point", "filled": True, "clip": True},
        "encoding": {
            "y": {"field": "value"} | y,
            "opacity": {"condition": near | {"value": 1}, "value": int(is_few)},
            "size": {"condition": near | {"value": 110}, "value": 28},
            "tooltip": {"value": {"expr": _tooltip(shown)}},
        },
    }
    band = {
        "mark": {"type": "area", "clip": True, "opacity": 0.18},
        "encoding": {"y": {"field": "low"} | y, "y2": {"field": "high"}},
    }
    return {
        "width": "container",
        "height": 240,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"values": values},
        "encoding": {"x": x, "color": _scale(names, lambda i: PALETTE[i % len(PALETTE)]) | {"legend": None}},
        "layer": [*([band] if several else []), line, dots],
    }


def points(name: str, steps: ArrayLike, values: ArrayLike) -> list[dict[str, Any]]:
    """The rows of a curve: step, name and value, and of several seeds the standard error and the band's ends.

    A number that is not finite is None, as JSON has no other word for it, and the curve has a gap there.

    Args:
      steps: [T].
      values: [T, seeds].
    """
    table, at = np.asarray(values, float), np.asarray(steps)
    kept = np.unique(np.linspace(0, len(at) - 1, min(len(at), AT_MOST)).round().astype(int))
    rows = []
    for step, of_seeds in zip(at[kept].tolist(), table[kept], strict=True):
        mean = float(of_seeds.mean())
        row: dict[str, Any] = {"step": step, "name": name, "value": _finite(mean)}
        if len(of_seeds) > 1:
            with np.errstate(invalid="ignore"):
                error = float(of_seeds.std(ddof=1) / math.sqrt(len(of_seeds)))
            row |= {"error": _finite(error), "low": _finite(mean - error), "high": _finite(mean + error)}
        rows.append(row)
    return rows


def _tooltip(shown: Mapping[str, tuple[str, str | None]]) -> str:
    """The Vega expression of a tooltip with these fields and their formats.

    Fields in the encoding would be read from the nearest point's cell and not from the point, unless they are numbers.
    """
    point = "(datum.datum || datum)"
    entries = [
        f"'{title}': {point}.{field}" if form is None else f"'{title}': format({point}.{field}, '{form}')"
        for title, (field, form) in shown.items()
    ]
    return f"{{{', '.join(entries)}}}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _dash(i: int) -> list[int]:
    return [[1, 0], [6, 3], [2, 2]][i // len(PALETTE) % 3]


def _scale(names: Sequence[str], value: Any) -> dict[str, Any]:
    """The encoding of the curves' names by one value for each."""
    return {
        "field": "name",
        "type": "nominal",
        "scale": {"domain": list(names), "range": [value(i) for i in range(len(names))]},
    }
