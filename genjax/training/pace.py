"""The number of steps per dispatch, so that an interruption is answered within seconds."""

from __future__ import annotations

SECONDS = 2.0
"""The longest time from the call of a dispatch to its results, in which it also waits for the one before."""


class Pace:
    """Chooses the number of steps per dispatch by the fastest one so far; no bit depends on it.

    Args:
      most: the number of steps per dispatch that is never exceeded.
      fixed: whether every dispatch has `most` steps, as in several processes, which have to agree on the number.
    """

    def __init__(self, most: int, *, fixed: bool = False) -> None:
        self._most, self._fixed = most, fixed
        self._seconds_per_step = SECONDS  # until the speed is known, a dispatch has one step

    def steps(self) -> int:
        """The number of steps of the next dispatch."""
        return self._most if self._fixed else max(1, min(self._most, int(SECONDS / self._seconds_per_step)))

    def count(self, steps: int, seconds: float) -> None:
        """Counts a dispatch of so many steps, whose results were read so many seconds after it was called."""
        self._seconds_per_step = min(self._seconds_per_step, max(seconds, 1e-9) / steps)
