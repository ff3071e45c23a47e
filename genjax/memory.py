"""The machine's memory, and a check of what is to be held in it."""

from __future__ import annotations

import os

from genjax.errors import BadInput

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
"""Bytes of memory of this machine."""


def require(num_bytes: float, what: str, *, parameter: str | None = None) -> None:
    """Checks that arrays fit in the memory of this machine, before they are made.

    Args:
      num_bytes: of all arrays that are held at a time, or a lower bound.
      what: the arrays, in words, in the singular: "the model", "a set of 100 samples".
      parameter: the name of the argument that decides their size, for the error.

    Raises:
      BadInput: they are larger.
    """
    if num_bytes > PHYSICAL:
        raise BadInput(
            f"{what} would take {num_bytes / 2**30:,.1f} GiB, more than the "
            f"{PHYSICAL / 2**30:,.1f} GiB of this machine",
            parameter=parameter,
        )
