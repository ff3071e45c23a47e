"""Trains a finished run again from its config.json alone, in a fresh process, and compares the bits.

    python -m experiments.reproduce --run=DIR

Exit status 0: the same bits. 1: other bits; the first metric line that differs is named. 2: not comparable, for a named
reason (another version, another backend, ...), or not a finished run.
"""

from __future__ import annotations

from genjax.runs import command, reproduce

if __name__ == "__main__":
    command.run(reproduce.main, reproduce.Flags)
