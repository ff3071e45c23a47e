"""Records of flags: what they take, and what they refuse in one line."""

import dataclasses
import json
from pathlib import Path
from typing import Optional

import jax.numpy as jnp
import numpy as np
import pytest

from genjax import runs
from genjax.errors import BadInput
from genjax.runs.flags import Record, flag, from_config, require, specs


class Shared(Record):
    """Run."""

    seed: int = flag(0, "root of all random numbers", at_least=0, at_most=9)
    num_steps: int = flag(None, "number of updates", at_least=1)


class Flags(Shared):
    """Model.

    More about it.
    """

    num_steps: int = 30
    hidden: tuple[int, ...] = flag((500,), "widths", at_least=1, may_be_empty=True)
    noise: tuple[float, ...] = flag((0.1,), "noise levels", at_least=0)
    rate: float = flag(1e-3, "learning rate", at_least=0)
    kind: str = flag("a", "kind", choices=("a", "b"))
    kinds: tuple[str, ...] = flag(("a", "b"), "kinds", choices=("a", "b"))
    words: tuple[str, ...] = flag((), "words", may_be_empty=True)
    name: str | None = flag(None, "name")
    on: bool = flag(False, "switch")


def test_a_size_is_written_with_an_x():
    spec = next(spec for spec in specs(runs.Flags) if spec.name == "image_size")
    assert spec.parse("64") == (64,) and spec.parse("64x48") == (64, 48) and spec.parse([64, 48]) == (64, 48)
    assert spec.text((64, 48)) == "64x48" and spec.parse(None) is None
    for wrong in ("64,48", "64x", "0x5", "x"):
        with pytest.raises(BadInput, match="image_size: expected whole numbers from 1 to 16384, separated by x, not"):
            spec.parse(wrong)


BY_NAME = {spec.name: spec for spec in specs(Flags)}


def test_a_subclass_changes_defaults_and_keeps_what_was_declared():
    assert list(BY_NAME) == ["seed", "num_steps", "hidden", "noise", "rate", "kind", "kinds", "words", "name", "on"]
    assert Flags().num_steps == 30 and Flags(num_steps=2).replace(seed=3) == Flags(num_steps=2, seed=3)
    assert BY_NAME["num_steps"].help == "number of updates" and BY_NAME["num_steps"].at_least == 1
    assert BY_NAME["num_steps"].group == "Run" and BY_NAME["rate"].group == "Model"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Flags().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "7", 7),
        ("hidden", "5,60", (5, 60)),
        ("hidden", "", ()),
        ("noise", "0,1e-2", (0.0, 0.01)),
        ("rate", "2", 2.0),
        ("kinds", "b", ("b",)),
        ("name", "x,y", "x,y"),
        ("on", "true", True),
        ("on", "0", False),
    ],
)
def test_text_and_json_are_read_alike(name, text, value):
    parsed = BY_NAME[name].parse(text)
    assert parsed == value and type(parsed) is type(value)
    assert BY_NAME[name].parse(json.loads(json.dumps(value))) == value
    assert BY_NAME[name].parse(BY_NAME[name].text(value)) == value
    assert getattr(Flags(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", -1, "a whole number from 0 to 9"),
        ("seed", 10, "a whole number from 0 to 9"),
        ("seed", 1.5, "a whole number from 0 to 9"),
        ("seed", True, "a whole number from 0 to 9"),
        ("seed", 10**30, "a whole number from 0 to 9"),
        ("num_steps", None, "a whole number of at least 1"),
        ("hidden", (5, 0), "whole numbers of at least 1, separated by commas"),
        ("noise", (), "numbers of at least 0, separated by commas"),
        ("noise", (float("nan"),), "numbers of at least 0, separated by commas"),
        ("rate", float("nan"), "a number of at least 0"),
        ("rate", float("inf"), "a number of at least 0"),
        ("kind", "c", "one of a, b"),
        ("kinds", ("a", "c"), "some of a, b"),
        ("name", 3, "text"),
        ("on", 1, "true or false"),
    ],
)
def test_what_is_not_of_the_type_or_out_of_bounds_is_refused(name, value, expected):
    with pytest.raises(BadInput, match=f"^{name}: expected {expected}, not "):
        Flags(**{name: value})
    if name not in ("name", "on"):  # any number is a text, and 1 is the text "1"
        with pytest.raises(BadInput, match=f"^{name}: expected {expected}, not "):
            BY_NAME[name].parse(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seed", "x"),
        ("seed", "1.0"),
        ("seed", ""),
        ("hidden", "1,,2"),
        ("hidden", "1,a"),
        ("rate", "1e999"),
        ("on", "y"),
    ],
)
def test_text_that_cannot_be_read_is_refused_whole(name, text):
    with pytest.raises(BadInput, match=f"^{name}: expected .*, not {text!r}$"):
        BY_NAME[name].parse(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", [True]),
        ("hidden", [[1]]),
        ("hidden", {"1": 1}),
        ("kinds", {"a": 1}),
        ("words", [["a"]]),
        ("words", [None]),
        ("words", [True]),
        ("name", [1]),
        ("name", {"a": 1}),
    ],
)
def test_json_of_another_shape_is_refused(name, value):
    with pytest.raises(BadInput, match=f"^{name}: expected "):
        BY_NAME[name].parse(value)


def test_none_is_a_value_wherever_the_type_has_it():
    class Named(Flags):
        name: str | None = "x"
        depth: Optional[int] = flag(3, "depth", at_least=1)  # noqa: UP045

    bare = Named(name=None, depth=None)
    assert from_config(Named, bare.to_config()) == (bare, []) and Named(depth=2).depth == 2
    assert {spec.group for spec in specs(Named)} == {"Run", "Model", "Named"}  # a record without a docstring
    with pytest.raises(BadInput, match=r"^depth: expected a whole number"):
        Named(depth=0)


def test_a_flag_without_a_default_is_required():
    require(Flags())
    with pytest.raises(BadInput, match=r"^num_steps: expected a whole number of at least 1; it has no default"):
        require(Shared())


def test_numbers_of_numpy_and_jax_ranges_and_paths_are_taken_as_pythons_own():
    given = Flags(
        seed=np.int64(3),
        num_steps=jnp.asarray(7),
        hidden=[np.int32(8), 4],
        noise=np.array([0.5, 0.25]),
        rate=np.float32(0.5),
        kind=np.str_("b"),
        name=Path("data") / "set",
        on=np.bool_(True),
    )
    same = Flags(seed=3, num_steps=7, hidden=(8, 4), noise=(0.5, 0.25), rate=0.5, kind="b", name="data/set", on=True)
    assert given == same and json.dumps(given.to_config()) == json.dumps(same.to_config())
    assert Flags(hidden=range(1, 4)).hidden == (1, 2, 3)
    for wrong in ({"seed": np.float64(3)}, {"hidden": np.ones((2, 2), int)}, {"rate": np.array([1.0])}, {"on": 1}):
        with pytest.raises(BadInput, match=f"^{next(iter(wrong))}: expected"):
            Flags(**wrong)


def test_a_record_comes_back_from_its_config():
    flags = Flags(hidden=(3, 4), noise=(0.5,), name="x", on=True)
    stored = json.loads(json.dumps(flags.to_config()))
    assert from_config(Flags, stored) == (flags, [])
    # an older version's run lacks a flag, and gave lists of numbers as text
    del stored["rate"]
    stored["hidden"] = ["3", "4"]
    assert from_config(Flags, stored) == (flags, ["rate"])
    with pytest.raises(BadInput, match="does not have: flagfile, pdb"):
        from_config(Flags, stored | {"pdb": True, "flagfile": "x"})


def test_a_field_without_help_is_a_mistake_of_the_page():
    class Bare(Record):
        """Bare."""

        width: int = 3

    with pytest.raises(TypeError, match=r"Bare.width has no help"):
        specs(Bare)


def test_a_default_without_a_type_is_a_mistake_of_the_page():
    with pytest.raises(TypeError, match=r"Short.num_steps has no type: write `num_steps: int = ...`"):

        class Short(Shared):
            """Short."""

            num_steps = 30
