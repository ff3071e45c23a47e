"""Lines on standard error."""

from __future__ import annotations

import contextlib
import sys


def print_line(line: str) -> None:
    """Prints a line on standard error, unless it is closed or broken: no work ends for want of a listener."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
