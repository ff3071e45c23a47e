"""Turns a docstring of this project into reStructuredText, with its equations typeset.

A docstring has paragraphs, blocks that are indented by four spaces, the sections Args, Returns and Raises, and a
paragraph Source. An indented block is shown as it is if it has an attribute (`model.init`), a string, a command, a
starred argument (`*others`) or several lines with columns. Every other one is an equation in the notation of
`docs._ext.notation`; one that cannot be translated, or that KaTeX refuses, stops the build.
"""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import NamedTuple

from docs._ext.lexicon import LETTERS
from docs._ext.notation import to_tex

SECTIONS = {"Args": "Arguments", "Returns": "Returns", "Raises": "Raises"}

Link = Callable[[str], str | None]  # what is between backticks -> a role that links it, or None

_CODE = re.compile(r"[A-Za-z_)]\.[A-Za-z_]|\bpython -m |\"|\*[a-z]")
_COLUMN = re.compile(r"[^,;:\s] {3,}\S")  # three spaces that follow no comma end a column


class Block(NamedTuple):
    """A part of a docstring: a paragraph, an indented block or a section, with its lines."""

    kind: str  # paragraph, list, indented, or the name of a section
    lines: list[str]


def is_code(block: str) -> bool:
    """Whether an indented block is code rather than an equation."""
    return _CODE.search(block) is not None or sum(map(bool, map(_COLUMN.search, block.splitlines()))) > 1


def is_python(block: str) -> bool:
    """Whether a block is Python."""
    try:
        return bool(ast.parse(textwrap.dedent(block)))
    except SyntaxError:
        return False


def blocks(docstring: str) -> Iterator[Block]:
    """The parts of a docstring whose margin has been removed."""
    parts = [part for part in re.split(r"\n\s*\n", docstring.strip("\n")) if part.strip()]
    place = 0
    while place < len(parts):
        lines = parts[place].splitlines()
        place += 1
        header = lines[0].rstrip(":") if lines[0].endswith(":") else ""
        if header in SECTIONS:
            yield Block(header, textwrap.dedent("\n".join(lines[1:])).splitlines())
        elif lines[0].startswith("    "):
            while place < len(parts) and parts[place].startswith("    "):
                more = [*lines, "", *parts[place].splitlines()]
                if not (is_code("\n".join(more)) and is_python("\n".join(more))):
                    break
                lines, place = more, place + 1  # Python may have empty lines
            yield Block("indented", textwrap.dedent("\n".join(lines)).splitlines())
        elif lines[0].startswith("- "):
            yield Block("list", lines)
        else:
            yield from _paragraph(lines)


def _paragraph(lines: list[str]) -> Iterator[Block]:
    """A paragraph, and an indented block that follows it without an empty line."""
    for place, line in enumerate(lines):
        if line.startswith("    "):
            yield Block("paragraph", lines[:place])
            yield Block("indented", textwrap.dedent("\n".join(lines[place:])).splitlines())
            return
    yield Block("paragraph", lines)


def equations(docstring: str) -> list[str]:
    """The indented blocks that are equations."""
    indented = ("\n".join(block.lines) for block in blocks(docstring) if block.kind == "indented")
    return [block for block in indented if not is_code(block)]


def to_rst(docstring: str, link: Link) -> list[str]:
    """The lines of reStructuredText of a docstring.

    Raises:
      NotationError: an equation that cannot be translated.
    """
    lines: list[str] = []
    for kind, content in blocks(docstring):
        text = "\n".join(content)
        if kind == "indented":
            lines += _code(text) if is_code(text) else [".. math::", "", f"   {to_tex(text)}"]
        elif kind in ("Args", "Raises"):
            lines += [f":{SECTIONS[kind]}:", *(f"   * {entry}" for entry in _entries(content, link))]
        elif kind == "Returns":
            lines += [f":{SECTIONS[kind]}:", f"   {_prose(' '.join(content), link)}"]
        elif kind == "list":
            items = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
            lines += [f"* {_prose(' '.join(item.split()), link)}" for item in items]
        elif content[0].startswith("Source: "):
            lines += [":Source:", f"   {_prose(' '.join(content).removeprefix('Source: '), link)}"]
        else:
            lines += [_prose(" ".join(line.strip() for line in content), link)]
        lines.append("")
    return lines


def summary(docstring: str, link: Link) -> str:
    """The first paragraph of a docstring, in one line of reStructuredText."""
    return _prose(" ".join(next(iter(blocks(docstring))).lines), link)


def _code(text: str) -> list[str]:
    """A block of code, in the language that it is written in."""
    language = "bash" if text.startswith("python ") else "python" if is_python(text) else "text"
    return [f".. code-block:: {language}", "", *(f"   {line}" for line in text.splitlines())]


def _entries(lines: list[str], link: Link) -> Iterator[str]:
    """The entries `names: text` of a section, each as one line."""
    entries = re.split(r"\n(?=\S)", "\n".join(lines))
    for entry in entries:
        names, _, text = " ".join(entry.split()).partition(": ")
        bold = ", ".join(f"**{_literally(name)}**" for name in names.split(", "))
        yield f"{bold} – {_prose(text, link)}"


def _prose(text: str, link: Link) -> str:
    """Text with what is between backticks as code or links, and nothing else as markup."""
    parts = re.split(r"`([^`]+)`", text)
    parts[::2] = [_escape(part) for part in parts[::2]]
    parts[1::2] = [link(code) or f"``{code}``" for code in parts[1::2]]
    joined = re.sub(r"^(?=[-+*.:>|\d])", r"\\", parts[0])  # the beginning of no list, field or quotation
    for before, part in itertools.pairwise(parts):
        apart = re.search(r"[^\s'\"(\[{<\-/:`]$", before) or re.match(r"[^\s'\")\]}>\-/\\:.,;!?`]", part)
        joined += ("\\ " if apart else "") + part  # markup has to begin and end beside a space or a mark
    return joined


def _escape(text: str) -> str:
    """Text without markup, with the letters and signs that plain text spells out."""
    text = re.sub(r"(?<![A-Za-z])[A-Za-z]+(?![A-Za-z])", lambda name: LETTERS.get(name[0], name[0]), text)
    for spelled, sign in (("->", "→"), ("<=", "≤"), (">=", "≥"), ("^2", "²")):
        text = text.replace(spelled, sign)
    return _literally(text)


def _literally(text: str) -> str:
    """Text without markup."""
    return re.sub(r"[\\*|_`]", r"\\\g<0>", text)
