"""Ctrl-C and SIGTERM: a run finishes the steps under way, saves them, and ends with one line."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from genjax.stderr import print_line

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # those that interrupt a run
APART = 0.5
"""Seconds between two signals that are meant to be two; `timeout` and other wrappers send one signal twice."""


class Interrupted(KeyboardInterrupt):
    """A signal has ended the work; the message is one line on what is saved and how to go on."""

    def __init__(self, number: int, line: str) -> None:
        super().__init__(line)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status by which a shell knows the signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


class Request:
    """The first signal that has arrived, if any."""

    def __init__(self) -> None:
        self.number = 0
        self._arrived = 0.0

    def add(self, number: int) -> bool:
        """Notes a signal; returns whether it repeats an earlier one, whose sender does not want to wait."""
        now = time.monotonic()
        if self.number:
            return now > self._arrived + APART
        self.number, self._arrived = number, now
        return False


@contextlib.contextmanager
def awaited() -> Iterator[Request]:
    """Notes signals while the block runs, instead of ending it; a second one raises `Interrupted` at once.

    Only the main thread can do so, and signals that the process ignores stay ignored; the handlers are restored.
    """
    request = Request()

    def note(number: int, frame: Any) -> None:
        if request.add(number):
            raise Interrupted(number, "interrupted a second time; what was saved before is kept")

    with _handled(note):
        yield request


@contextlib.contextmanager
def raised(line: str) -> Iterator[None]:
    """Makes each signal raise `Interrupted` with this line, and a second one end the process at once.

    A thread watches for the second, because the main thread may be inside a compiler, where Python handles no signal.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def watch() -> None:
        request = Request()
        while arrived := os.read(reading, 1):
            if arrived[0] in SIGNALS and request.add(arrived[0]):
                leave(arrived[0], "left at once; what was saved before is kept, and the same command goes on from it")

    first = Request()

    def interrupt(number: int, frame: Any) -> None:
        if not first.number:
            first.add(number)
            raise Interrupted(number, line)

    with _handled(interrupt):
        threading.Thread(target=watch, daemon=True).start()
        previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            os.close(writing)  # which ends the thread


def leave(number: int, line: str) -> NoReturn:
    """Ends the process at once, with one line."""
    print_line(line)
    os._exit(128 + number)


@contextlib.contextmanager
def _handled(handler: Any) -> Iterator[None]:
    """Installs a handler for the signals that are not ignored, if this is the main thread, and restores the others."""
    main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in SIGNALS if main and signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handled in previous.items():
            signal.signal(number, handled)
