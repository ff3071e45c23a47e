"""Calls of Orbax that print nothing, and fail with one plain line."""

from __future__ import annotations

import contextlib
import gc
import logging as python_logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging


def quietly(call: Callable[[], Any]) -> Any:
    """`call()`, without what Orbax prints, and with any failure of it as one plain line.

    Orbax logs each read and write. Where one fails, it gives up others that are under way in its event loops, and its
    exception holds them through its traceback; when they are freed they complain, of exceptions that nobody retrieved
    and of loops that are closed. So only a line of the exception is kept, and the rest is freed here, unheard.

    Raises:
      OSError: where the operating system refused.
      RuntimeError: for any other failure.
    """
    with _unheard():
        try:
            return call()
        except Exception as error:
            plain = _one_line(error)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that were never awaited
            gc.collect()
            time.sleep(0.2)  # until TensorStore's threads have ended what was given up
    raise plain


def _one_line(error: Exception) -> Exception:
    """An exception in the place of Orbax's, which holds nothing of it but its first words."""
    found = re.search(r"os_error_code='(\d+)'", str(error))  # so TensorStore says it, in a ValueError
    code = int(found[1]) if found else getattr(error, "errno", None)
    if code is not None:
        return OSError(code, os.strerror(code))
    return RuntimeError(f"{type(error).__name__}: {str(error)[:100]}".splitlines()[0])


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Keeps from the screen what Orbax logs, and what it has given up prints when it is freed."""

    def is_wanted(record: python_logging.LogRecord) -> bool:
        given_up = record.name == "asyncio" and "never retrieved" in record.getMessage()
        return not given_up and f"{os.sep}orbax{os.sep}" not in record.pathname

    def print_wanted(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            previous(unraisable)

    loggers, previous = (logging.get_absl_logger(), python_logging.getLogger("asyncio")), sys.unraisablehook
    for logger in loggers:
        logger.addFilter(is_wanted)
    sys.unraisablehook = print_wanted
    try:
        yield
    finally:
        sys.unraisablehook = previous
        for logger in loggers:
            logger.removeFilter(is_wanted)
