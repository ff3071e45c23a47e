"""The one exception for what a user can put right."""

from __future__ import annotations


class BadInput(ValueError):
    """One line on what is wrong, what was found and what would be right.

    `str(error)` is `parameter: message`, or the message alone. A command line puts its dashes before `parameter`, and
    before any other parameter that the message names in backticks, where it has a flag of that name; there the
    command ends with exit status 2.

    Args:
      message: one line. Another parameter is written in backticks: "raise `memory_limit`".
      parameter: the name of the argument that is wrong, as the caller spells it.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message if parameter is None else f"{parameter}: {message}")
        self.message = message
        self.parameter = parameter
