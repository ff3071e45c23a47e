"""What BadInput says in a notebook; `tests/experiments/test_bad_input.py` has the command line's side."""

import ast
import pickle
import re
from pathlib import Path

import pytest

import genjax
from genjax.errors import BadInput

ROOT = Path(genjax.__file__).parent


def test_the_parameter_stands_before_the_message():
    error = BadInput("0 is too small; give 1 or more", parameter="batch_size")
    assert (str(error), error.message) == (
        "batch_size: 0 is too small; give 1 or more",
        "0 is too small; give 1 or more",
    )
    assert str(BadInput("no such folder")) == "no such folder" and BadInput("no such folder").parameter is None
    with pytest.raises(ValueError, match=r"^batch_size: 0"):
        raise error


def test_it_survives_a_process_boundary():
    again = pickle.loads(pickle.dumps(BadInput("0 is too small", parameter="batch_size")))
    assert (str(again), again.message, again.parameter) == (
        "batch_size: 0 is too small",
        "0 is too small",
        "batch_size",
    )


def test_the_library_spells_no_command_line_flag():
    """Outside the doors, runs/ and `python -m genjax`: neither in messages nor in docstrings."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if path.is_relative_to(ROOT / "runs") or path == ROOT / "__main__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            found += [
                f"{path.name}: {flag}" for flag in re.findall(r"(?<![\w-])--[a-z]\w+", text) if "--xla_" not in flag
            ]
            found += [f"{path.name}: experiments" for _ in re.findall(r"python -m experiments", text)]
    assert not found
