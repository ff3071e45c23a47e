"""Progress of the measures at the end of a run, which may take minutes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
from tqdm import tqdm

from genjax.stderr import is_terminal, print_line
from genjax.training.reading import Progress

T = TypeVar("T")


def shown(items: Iterable[T], what: str, *, num: int) -> Iterator[T]:
    """The items in turn, with a bar on a terminal, and elsewhere lines that are at least `Progress.SECONDS` apart.

    The first line comes as long after the start, so that a short conclusion prints none.

    Args:
      items: each of which is measured.
      what: what they are, in words: "kinds of noise".
      num: of the items.
    """
    first, on_terminal = jax.process_index() == 0, is_terminal()
    printed = time.monotonic()
    with tqdm(total=num, desc=what, file=sys.stderr, disable=not (first and on_terminal), leave=False) as bar:
        for done, item in enumerate(items):
            now = time.monotonic()
            if first and not on_terminal and now >= printed + Progress.SECONDS:
                printed = now
                print_line(f"measuring: {done} of {num} {what}")
            yield item
            bar.update()
