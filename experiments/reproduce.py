"""Trains a finished run again from its config.json alone, in a fresh process, and compares the bits.

    python -m experiments.reproduce --run=DIR
    python -m experiments.reproduce --run=DIR --explain
    python -m experiments.reproduce --run=DIR --against=OTHER --explain
    python -m experiments.reproduce --made=DIR/generated

Of several seeds, each is compared. So is each auxiliary model that the run was prepared with (an identity encoder, a
classifier): it is trained again too, and named first. The exit status is 0 for the same bits, and 1 for other bits,
with the first metric that differs and the commits of the code. It is 2 if the runs cannot be compared, with the reason
(another version, another backend, ...), or if the run is not finished or damaged.

With --explain, the checkpoints that both keep are compared too, and the first step, parameter and element that differ
are printed. A run keeps its two newest; --checkpoint_every=1 --keep_checkpoints=1000 keeps one of each of the last 1000
steps. With --against, nothing is trained: the other run, of the same flags, may come from another machine.

With --made, a file or a folder that `generate`, `latent_space`, `export` or `apply` made of a finished run is made
again, and all files are compared byte for byte; the first that differs is named. The run and its data are looked for
where they were; --run, --data_dir and --dataset say where they are now.
"""

from __future__ import annotations

from genjax.runs import command, reproduce

if __name__ == "__main__":
    command.run(reproduce.main, reproduce.Flags)
