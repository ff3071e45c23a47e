"""The exception for errors that a user can correct."""

from __future__ import annotations


class BadInput(ValueError):
    """An error described on one line: what is wrong, what was found and what is expected.

    `str(error)` is `parameter: message`, or the message alone. A command line adds dashes to `parameter` and to
    other parameters that the message names in backticks, if it has flags of these names; the command then ends with
    exit status 2.

    Args:
      message: one line. Another parameter is written in backticks: "raise `memory_limit`".
      parameter: the name of the argument that is wrong, as the caller spells it.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message if parameter is None else f"{parameter}: {message}")
        self.message = message
        self.parameter = parameter


def shorten(text: str) -> str:
    """The text on one line, or its beginning if it is too long for an error."""
    line = "".join(character if character.isprintable() else "?" for character in text[:201])
    return line if len(line) <= 200 else f"{line[:200]}..."
