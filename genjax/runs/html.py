"""The parts of an HTML page that needs no other file: tables, folds, pictures and interactive charts."""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import importlib.metadata
import json
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from genjax.drawing.palette import PALETTE
from genjax.paths import make_folder, user_cache
from genjax.training.compiled import Programs

TEMPLATE = Path(__file__).with_name("report.html")  # of the page
PACKAGE = "vl-convert-python"  # whose scripts draw the curves
SCRIPTS_AT_MOST = 2**24
"""Size limit in bytes of the cached scripts."""


class Html(str):
    """Text that is HTML already."""


def escape(value: object) -> Html:
    """A value as HTML: whatever is not `Html` shows its own characters."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def joined(parts: Iterable[object]) -> Html:
    """Parts after each other."""
    return Html("".join(map(escape, parts)))


def element(tag: str, *contents: object, **attributes: object) -> Html:
    """An element with its contents; a trailing underscore of an attribute's name is left out."""
    given = "".join(f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items())
    return Html(f"<{tag}{given}>{joined(contents)}</{tag}>")


def table(heads: Sequence[object], rows: Iterable[Sequence[object]], *, class_: str = "") -> Html:
    """A table, which scrolls in itself where it is too wide for the page."""
    head = element("tr", *(element("th", each) for each in heads))
    body = [element("tr", *(element("td", each) for each in row)) for row in rows]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_=f"wide {class_}")


def section(title: str, *contents: object) -> Html:
    """A part of the page under its title."""
    return element("section", element("h2", title), *contents)


def fold(summary: object, *contents: object) -> Html:
    """Contents that are shown on request."""
    return element("details", element("summary", summary), *contents)


def key(name: str, colour: str, *, number: int = 0) -> Html:
    """A curve's name behind a stroke like the curve's; `number` counts the curves."""
    style = ("solid", "dashed", "dotted")[number // len(PALETTE) % 3]
    stroke = element("span", class_="stroke", style=f"border-top: 3px {style} {colour}")
    return element("span", stroke, name, class_="key")


def chart(title: str, spec: dict[str, Any]) -> Html:
    """A Vega-Lite chart, drawn once it is in sight."""
    data = json.dumps(spec, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return element(
        "figure",
        element("figcaption", title),
        element("div", element("script", Html(data), type="application/json"), class_="chart"),
    )


def picture(contents: bytes, caption: object) -> Html:
    """A PNG picture, which grows when it is clicked."""
    address = f"data:image/png;base64,{base64.b64encode(contents).decode()}"
    return element("figure", Html(f'<img src="{address}" alt="{escape(caption)}">'), element("figcaption", caption))


def page(title: str, *contents: object) -> bytes:
    """The whole page, with its style and script."""
    template = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    whole = template.substitute(title=escape(title), contents=joined(contents), vega=vega())
    return whole.encode("utf-8", "backslashreplace")


@functools.cache
def vega() -> str:
    """The script of Vega-Lite, from the user's cache, or else from vl-convert, which takes seconds."""
    folder = user_cache() / "scripts"
    scripts, name = Programs(folder, most_bytes=SCRIPTS_AT_MOST), f"vega-{importlib.metadata.version(PACKAGE)}"
    found = scripts.get(name)
    if found is None:
        import vl_convert  # it starts an engine of JavaScript

        found = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").encode()
        with contextlib.suppress(OSError):
            make_folder(folder)
        scripts.put(name, found)
    return found.decode().replace("</script", "<\\/script")
