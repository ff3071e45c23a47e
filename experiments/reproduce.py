"""Trains a finished run again from its config.json alone, in a fresh process, and compares the bits.

    python -m experiments.reproduce --run=DIR

Of several seeds, each is compared. The exit status is 0 for the same bits, and 1 for other bits, with the first metric
that differs and the commits of the code. It is 2 if the runs cannot be compared, with the reason (another version,
another backend, ...), or if the run is not finished or damaged.
"""

from __future__ import annotations

from genjax.runs import command, reproduce

if __name__ == "__main__":
    command.run(reproduce.main, reproduce.Flags)
