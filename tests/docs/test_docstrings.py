"""Docstrings as reStructuredText."""

import pytest

from docs._ext.docstrings import blocks, equations, to_rst

DOCSTRING = """Sums *all* of x_, and |y|.

    y = sum_i x_i

It is `other(x)`, not `known`s (`a`); --flag stays.

    model.fit(x)

    model.test(x)

Args:
  x: mu -> [N].
  beta, second: of two
    lines.

Returns:
  y: not a type, >= 0.

Raises:
  ValueError: shapes that differ.

Source: Gauss 1809."""


@pytest.fixture
def lines():
    return to_rst(DOCSTRING, {"known": ":py:obj:`known`"}.get)


def test_equations_become_mathematics_and_code_stays(lines):
    assert equations(DOCSTRING) == ["y = sum_i x_i"]
    assert lines[2:5] == [".. math::", "", r"   y = \sum_{i} x_{i}"]
    code = lines.index(".. code-block:: python")
    assert lines[code + 2 : code + 5] == ["   model.fit(x)", "   ", "   model.test(x)"]


def test_prose_has_no_markup_but_links_and_code(lines):
    assert lines[0] == r"Sums \*all\* of x\_, and \|y\|."
    assert r"It is ``other(x)``, not :py:obj:`known`\ s (``a``); --flag stays." in lines


def test_sections_become_fields(lines):
    assert ":Arguments:" in lines
    assert "   * **x** – μ → [N]." in lines
    assert "   * **beta**, **second** – of two lines." in lines
    assert lines[lines.index(":Returns:") + 1] == "   y: not a type, ≥ 0."
    assert lines[lines.index(":Raises:") + 1] == "   * **ValueError** – shapes that differ."
    assert lines[lines.index(":Source:") + 1] == "   Gauss 1809."


def test_columns_are_shown_as_they_are():
    table = "Numbers:\n\n    first     of the data\n    second    of the model"
    assert equations(table) == []
    assert ".. code-block:: text" in to_rst(table, lambda code: None)


def test_a_block_may_follow_its_paragraph_at_once():
    assert [block.kind for block in blocks("An equation\n    y = x")] == ["paragraph", "indented"]


def test_the_beginning_of_a_paragraph_is_markup_only_if_it_is_a_link():
    link = {"known": ":py:obj:`known`"}.get
    assert to_rst("`known` is a link.", link)[0] == ":py:obj:`known` is a link."
    assert to_rst("> 0 is no quotation.", link)[0] == r"\> 0 is no quotation."
