"""The pages that come from BUILD_NOTES.md: the decisions, and the map from the specification to code and tests.

A page's line `<!-- BUILD_NOTES.md: TITLE -->` is replaced by the section with this title. In the map, each function
becomes a link to the API reference, each experiment one to its page, and each test must exist.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from docs._ext import experiments, inventory

NOTES = inventory.ROOT / "BUILD_NOTES.md"
MAP = "Map of the specification"

_MARK = re.compile(r"^<!-- BUILD_NOTES\.md: (.+) -->$", re.MULTILINE)


def section(title: str, notes: str) -> str:
    """A section of the notes, its headings one level higher, and its links as of docs/.

    Raises:
      ExtensionError: there is no such section.
    """
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", notes, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ExtensionError(f"BUILD_NOTES.md has no section {title!r}")
    text = re.sub(r"^###", "##", found[1], flags=re.MULTILINE)
    return text.replace("](docs/", "](")


def linked_map(text: str) -> str:
    """The tables of the map, with links.

    Raises:
      ExtensionError: a function, an experiment, a flag or a test that does not exist.
    """
    return "\n".join(_row(line) if line.startswith("| ") and "---" not in line else line for line in text.splitlines())


def _row(line: str) -> str:
    cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    if len(cells) != 4:
        raise ExtensionError(f"BUILD_NOTES.md: a row of the map does not have four cells: {line}")
    if cells[1] == "function":
        return line
    item, functions, commands, tests = cells
    try:
        cells = [item, _each(functions, _Functions()), _each(commands, _experiment), _each(tests, _Tests())]
    except LookupError as error:
        raise ExtensionError(f"BUILD_NOTES.md: the map's row {item!r}: {error}") from None
    return f"| {' | '.join(cells)} |"


def _each(cell: str, link: Any) -> str:
    """A cell, with what is between backticks linked."""
    return re.sub(r"`([^`]+)`", lambda match: link(match[1]), cell)


class _Functions:
    """Links functions; a name without a module is of the module of the name before it."""

    def __init__(self) -> None:
        self.before = ""

    def __call__(self, code: str) -> str:
        if code.startswith("jax."):
            return f"`{code}`"
        known, pages = inventory.aliases(), {module.name for module in inventory.modules()}
        for place in ("genjax", self.before):
            full = f"{place}.{code}"
            if full in known or full in pages:
                self.before = full.rpartition(".")[0]
                role, path = ("py:obj", known[full]) if full in known else ("py:mod", full)
                return f"{{{role}}}`{code} <{path}>`"
        raise LookupError(f"there is no function {code!r} in genjax")


def _experiment(code: str) -> str:
    """Links an experiment, whose flags must exist."""
    name, *flags = code.split()
    page = next((page for page in experiments.pages() if page.name == name), None)
    if page is None:
        raise LookupError(f"there is no experiment {name!r}")
    for flag in flags:
        if flag.lstrip("-").partition("=")[0] not in experiments.flag_names(page):
            raise LookupError(f"{name} has no flag {flag}")
    return f"[`{code}`](experiments/{name}.rst)"


class _Tests:
    """Checks the paths of tests; one without a folder is in the folder of the one before it."""

    def __init__(self) -> None:
        self.folder = ""

    def __call__(self, code: str) -> str:
        for path in (code, f"{self.folder}{code}"):
            if (inventory.ROOT / "tests" / f"{path}.py").exists():
                self.folder = path[: path.rfind("/") + 1]
                return f"`{path}`"
        raise LookupError(f"there is no test {code!r}")


def _fill(app: Sphinx, docname: str, content: list[str]) -> None:
    """Replaces the marks of a page."""

    def replace(mark: re.Match[str]) -> str:
        app.env.note_dependency(str(NOTES))
        text = section(mark[1], NOTES.read_text())
        return linked_map(text) if mark[1] == MAP else text

    content[0] = _MARK.sub(replace, content[0])
    if docname == app.config.root_doc:
        content[0] = re.sub(
            r"^(\w+)/\*\n", lambda glob: _if_any(Path(app.srcdir) / glob[1], glob[0]), content[0], flags=re.M
        )


def _if_any(folder: Path, line: str) -> str:
    """A line of the table of contents, if its folder has pages: Sphinx warns of a pattern that matches nothing."""
    return line if any(folder.glob("*.md")) else ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects the extension."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
