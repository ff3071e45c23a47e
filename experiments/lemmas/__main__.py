"""The command; see the package."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments import common, lemmas
from genjax.runs import directory as run_directory
from genjax.training import determinism

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command; the table itself needs none."""
    flags.DEFINE_integer("seed", 0, "root of all random numbers", lower_bound=0)
    flags.DEFINE_string("workdir", None, "where lemmas.png goes; by default runs/lemmas-seed(seed)")


def main() -> int:
    """The command."""
    determinism.set_up()
    workdir = Path(FLAGS.workdir or f"runs/lemmas-seed{FLAGS.seed}")
    run_directory.claim(workdir, vars(common.configuration("lemmas", ("seed", "workdir"))), free=common.NOT_IDENTITY)
    return lemmas.check(workdir, seed=FLAGS.seed)


if __name__ == "__main__":
    define_flags()
    common.guarded(main)
