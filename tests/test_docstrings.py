"""Docstrings follow one template: a sentence, the equation, Args, Returns, Raises and a Source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "genjax"
SECTIONS = ("Args", "Returns", "Raises", "Source")
ROOMS = ["losses", "evaluation", "networks", "data", "shapes.py", "stochastic", "information.py", "variational.py"]


def functions(room: str) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """Name, definition and docstring of each public function of a room."""
    path = PACKAGE / room
    for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{file.relative_to(PACKAGE)}:{node.name}", node, ast.get_docstring(node) or ""


def headings(docstring: str) -> list[str]:
    return re.findall(rf"^({'|'.join(SECTIONS)}|References?|Sources?|Return|Raise|Arguments|Yields):", docstring, re.M)


def section(docstring: str, heading: str) -> str:
    found = re.search(rf"^{heading}:(.*?)(?=^\w+:|\Z)", docstring, re.M | re.S)
    return found[1] if found else ""


@pytest.mark.parametrize("room", ROOMS)
def test_sections_have_one_name_each_and_one_order(room):
    wrong = [
        name
        for name, _, docstring in functions(room)
        if headings(docstring) != [heading for heading in SECTIONS if heading in headings(docstring)]
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ROOMS)
def test_the_first_line_is_a_sentence(room):
    first = {name: docstring.splitlines()[0] for name, _, docstring in functions(room)}
    assert [name for name, line in first.items() if not line.endswith((".", ":"))] == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_argument_that_is_described_exists(room):
    wrong = []
    for name, node, docstring in functions(room):
        arguments = {a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]}
        arguments |= {a.arg for a in (node.args.vararg, node.args.kwarg) if a}
        described = re.findall(r"^  ([\w, *]+):", section(docstring, "Args"), re.M)
        described = [part.strip(" *") for line in described for part in line.split(",")]
        if described and set(described) != arguments:
            wrong.append(f"{name}: {sorted(set(described) ^ arguments)}")
    assert wrong == []


def test_every_loss_has_an_equation_or_a_source_and_the_shape_of_its_value():
    """An equation is a line indented by four spaces; a shape is in brackets, as [B] or [], or the value is a record."""
    wrong = []
    for name, node, docstring in functions("losses"):
        if node.name.startswith("check_"):
            continue
        equation = re.search(r"^    \S.*[=<(|/^]", docstring, re.M)
        if not (equation or section(docstring, "Source")):
            wrong.append(f"{name}: no equation and no source")
        record = isinstance(node.returns, ast.Name) and node.returns.id not in ("Array", "None")
        if not (record or re.search(r"\[.*?\]", section(docstring, "Returns"))):
            wrong.append(f"{name}: no shape in Returns")
    assert wrong == []


def test_every_loss_of_an_example_returns_one_value_for_each():
    """The exceptions are named in the room's own docstring."""
    room = ast.get_docstring(ast.parse((PACKAGE / "losses" / "__init__.py").read_text())) or ""
    scalars = {
        node.name
        for _, node, docstring in functions("losses")
        if section(docstring, "Returns").strip().startswith("[],")
    }
    assert scalars == set(re.findall(r"`(\w+)`", room))
