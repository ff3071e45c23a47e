"""Flags as typed, frozen records: declared once, read from a command line, a config.json or a script.

    class Flags(runs.Flags):
        \"\"\"Variational autoencoder.\"\"\"

        num_steps: int = 3000  # another default for a shared flag
        latent_dim: int = flag(8, "number of latent dimensions", at_least=1)
        hidden: tuple[int, ...] = flag((500,), "widths of the encoder's hidden layers", at_least=1)

    Flags(latent_dim=2, seed=3)

A subclass is a frozen dataclass with keyword arguments. The first line of its docstring is the heading of its flags in
the help. The types of its fields are bool, int, float, str, and tuples of int, float or str.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self, dataclass_transform

from genjax.errors import BadInput, shorten

LARGEST_WHOLE = 2**31 - 1  # of int32, in which sizes and steps are counted; a flag's own `at_most` may be larger
LARGEST_NUMBER = 3.4028234e38  # of float32
MOST_ENTRIES = 100  # of a tuple


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Record:
    """A frozen record of flags: every subclass becomes a dataclass, which checks its values on construction."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = {name for base in cls.__mro__[1:] for name in getattr(base, "__dataclass_fields__", ())}
        for name in sorted(inherited & vars(cls).keys() - inspect.get_annotations(cls).keys()):
            # `dataclass` would ignore it
            raise TypeError(
                f"{cls.__name__}.{name} has no type: write `{name}: {type(vars(cls)[name]).__name__} = ...`"
            )
        cls.__doc__ = cls.__doc__ or cls.__name__  # otherwise `dataclass` writes the signature there
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        for spec in specs(type(self)):
            object.__setattr__(self, spec.name, spec.check(_as_python(getattr(self, spec.name))))

    def replace(self, **changes: Any) -> Self:
        """A copy with some values changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var] # every subclass is a dataclass

    def to_config(self) -> dict[str, Any]:
        """The values by name, in types that JSON can hold."""
        values = {spec.name: getattr(self, spec.name) for spec in specs(type(self))}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _as_python(value: Any) -> Any:
    """A number, text or array of NumPy or JAX, a range, a list or a path, as the types that flags have."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(map(_as_python, value)) if isinstance(value, list | tuple | range) else value


def flag(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    choices: Iterable[str] | None = None,
    may_be_empty: bool = False,
    max_entries: int = MOST_ENTRIES,
    separator: str = ",",
    repeated: bool = False,
    newer: bool = False,
) -> Any:
    """Declares a field of a `Record`.

    Args:
      default: the field's default; None if the value is optional, or filled in by an experiment's `resolve`.
      help: a noun phrase for the help page (for a boolean, an imperative), without a full stop.
      at_least, at_most: inclusive bounds of a number, or of each number in a tuple.
      choices: the strings that are allowed.
      may_be_empty: whether a tuple may have no entries.
      max_entries: the most numbers in a tuple.
      separator: between the entries of a tuple on the command line.
      repeated: whether instead the flag is given once for each entry, which may then contain any character.
      newer: whether the experiment once had no such flag. At its default it is left out of the name of a run's
        directory, so that older runs keep theirs.
    """
    metadata = {"help": help, "at_least": at_least, "at_most": at_most, "may_be_empty": may_be_empty}
    metadata |= {"choices": choices and tuple(choices), "max_entries": max_entries, "separator": separator}
    metadata |= {"repeated": repeated, "newer": newer}
    return dataclasses.field(default=default, metadata=metadata)


class _TooMuch(BadInput):
    """A value beyond what any flag can be."""


class Spec(NamedTuple):
    """One flag of a record: its type and bounds, and how its values are read from text."""

    name: str
    item: type  # bool, int, float or str
    is_tuple: bool
    is_optional: bool  # whether the type is X | None
    default: Any
    help: str
    group: str  # the heading under which the help shows it
    at_least: float | None
    at_most: float | None
    choices: tuple[str, ...] | None
    may_be_empty: bool
    max_entries: int
    separator: str
    repeated: bool
    newer: bool

    def parse(self, value: Any) -> Any:
        """Reads the flag's value from text, as on a command line, or from JSON.

        Raises:
          BadInput: the value has another type or is outside the bounds.
        """
        if self.is_tuple and isinstance(value, str):
            value = [value] if self.repeated else value.split(self.separator) if value else []
        try:
            if value is None:
                read = None
            elif self.is_tuple:
                read = tuple(map(self._read, value)) if isinstance(value, list | tuple) else value
            else:
                read = self._read(value)
            return self.check(read)
        except _TooMuch:
            raise
        except (KeyError, TypeError, ValueError, OverflowError):  # BadInput is a ValueError
            raise self._error(value) from None

    def _read(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return value  # of its type already, or of none
        if self.item is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if self.item is int and isinstance(value, float):
            raise ValueError
        return self.item(value)

    def check(self, value: Any) -> Any:
        """Returns the value if it has the flag's type and is within its bounds.

        Raises:
          BadInput: as `parse` does.
        """
        if value is None and (self.is_optional or self.default is None):
            return None
        if not self.is_tuple:
            return self._checked(value, value)
        if not isinstance(value, tuple) or not (value or self.may_be_empty):
            raise self._error(value)
        if self.item is not str and len(value) > self.max_entries:
            raise _TooMuch(f"expected at most {self.max_entries} numbers, not {len(value)}", parameter=self.name)
        return tuple(self._checked(each, value) for each in value)

    def _checked(self, item: Any, value: Any) -> Any:
        if self.item is float and type(item) is int and abs(item) <= LARGEST_NUMBER:
            item = float(item)
        if type(item) is not self.item:
            raise self._error(value)
        if isinstance(item, float) and not math.isfinite(item):
            raise self._error(value)
        low, high = (-math.inf if self.at_least is None else self.at_least), self.at_most
        if isinstance(item, int | float) and not low <= item <= (math.inf if high is None else high):
            raise self._error(value)
        largest = LARGEST_NUMBER if isinstance(item, float) else LARGEST_WHOLE
        if isinstance(item, int | float) and abs(item) > largest and (high is None or high < abs(item)):
            raise _TooMuch(
                f"{shorten(self.text(value))} is too large: at most {largest} is possible", parameter=self.name
            )
        if self.choices is not None and item not in self.choices:
            raise self._error(value)
        return item

    @property
    def expected(self) -> str:
        """A description of valid values."""
        if self.choices is not None:
            return f"{'some' if self.is_tuple else 'one'} of {', '.join(self.choices)}"
        one, many = {
            bool: ("true or false", ""),
            int: ("a whole number", "whole numbers"),
            float: ("a number", "numbers"),
            str: ("text", "words"),
        }[self.item]
        between = "commas" if self.separator == "," else self.separator
        return f"{many}{self.bounds}, separated by {between}" if self.is_tuple else one + self.bounds

    @property
    def bounds(self) -> str:
        """The bounds in words, after a space, or an empty string."""
        if self.at_least is not None and self.at_most is not None:
            return f" from {self.at_least} to {self.at_most}"
        if self.at_least is not None:
            return f" of at least {self.at_least}"
        return "" if self.at_most is None else f" of at most {self.at_most}"

    def text(self, value: Any) -> str:
        """The value as it is written on a command line."""
        return self.separator.join(map(str, value)) if isinstance(value, tuple | list) else str(value)

    def _error(self, value: Any) -> BadInput:
        return BadInput(f"expected {self.expected}, not {shorten(self.text(value))!r}", parameter=self.name)


def specs(record: type[Record]) -> list[Spec]:
    """The flags of a record, in the order in which they are declared."""
    hints = typing.get_type_hints(record)
    return [_spec(record, field, hints[field.name]) for field in dataclasses.fields(record)]  # type: ignore[arg-type]


def require(flags: Record) -> None:
    """Checks that every flag has a value whose type is not `X | None`.

    Raises:
      BadInput: a flag without a default was not given.
    """
    for spec in specs(type(flags)):
        if getattr(flags, spec.name) is None and not spec.is_optional:
            raise BadInput(f"expected {spec.expected}; it has no default", parameter=spec.name)


def _spec(record: type[Record], field: dataclasses.Field, hint: Any) -> Spec:
    is_optional = typing.get_origin(hint) in (types.UnionType, typing.Union)
    if is_optional:
        (hint,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
    is_tuple = typing.get_origin(hint) is tuple
    item = typing.get_args(hint)[0] if is_tuple else hint
    declared = [base for base in record.__mro__ if field.name in inspect.get_annotations(base)]
    # a subclass that only changes the default inherits the rest of the declaration
    metadata: Mapping[str, Any] = next(
        (found for base in declared if (found := base.__dict__["__dataclass_fields__"][field.name].metadata)), {}
    )
    if not metadata:
        raise TypeError(f"{record.__name__}.{field.name} has no help: declare it as `flag(default, help)`")
    group = (declared[-1].__doc__ or declared[-1].__name__).strip().splitlines()[0].rstrip(".")
    return Spec(field.name, item, is_tuple, is_optional, field.default, group=group, **metadata)


def from_config(
    record: type[Record], config: Mapping[str, Any], *, source: str = "config.json"
) -> tuple[Any, list[str]]:
    """Reads a record from the contents of config.json, and names the flags that it lacks, which get their defaults.

    Args:
      source: the path of the file, for errors.

    Raises:
      BadInput: the record has no such flag, or a value is not valid.
    """
    known = {spec.name: spec for spec in specs(record)}
    unknown = sorted(config.keys() - known.keys())
    if unknown:
        raise BadInput(f"{source} has flags that this experiment does not have: {shorten(', '.join(unknown))}")
    try:
        values = {name: known[name].parse(value) for name, value in config.items()}
    except BadInput as error:
        raise BadInput(f"{source} has a value that is not valid: {error}") from None
    return record(**values), [name for name in known if name not in config]
