"""Calls of Orbax that print nothing, and fail with one line."""

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
    """Returns `call()` without Orbax's output; any failure becomes an exception of one line.

    Orbax logs each read and write. When one fails, it abandons others that are pending in its event loops, and its
    exception keeps them alive through its traceback; when they are freed, they print warnings about exceptions that
    were never retrieved and about closed loops. So only one line of the exception is kept, and the rest is freed here,
    silently.

    Raises:
      OSError: the operating system reported an error.
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
            time.sleep(0.2)  # until TensorStore's threads have finished the abandoned operations
    raise plain


def _one_line(error: Exception) -> Exception:
    """An exception that replaces Orbax's and keeps only its first words."""
    found = re.search(r"os_error_code='(\d+)'", str(error))  # TensorStore reports it so, in a ValueError
    code = int(found[1]) if found else getattr(error, "errno", None)
    if code is not None:
        return OSError(code, os.strerror(code))
    return RuntimeError(f"{type(error).__name__}: {str(error)[:100]}".splitlines()[0])


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Suppresses Orbax's log, and the warnings of abandoned operations when they are freed."""

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
