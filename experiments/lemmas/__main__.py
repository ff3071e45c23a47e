"""The command of `experiments.lemmas`."""

from __future__ import annotations

from experiments import lemmas
from genjax.paths import expand_user
from genjax.runs import command, directory
from genjax.runs.flags import Record, flag
from genjax.runs.settings import NOT_IDENTITY, figure_formats
from genjax.training import determinism


class Flags(Record):
    """Lemmas."""

    seed: int = flag(0, "seed of all random numbers", at_least=0, at_most=2**32 - 1)
    workdir: str | None = flag(None, "directory for lemmas.png; by default runs/lemmas-seedSEED")
    figure_formats: tuple[str, ...] = figure_formats()


def main(flags: Flags) -> int:
    """Computes all lemmas; returns the exit status."""
    determinism.set_up()
    workdir = expand_user(flags.workdir or f"runs/lemmas-seed{flags.seed}", parameter="workdir")
    with directory.locked(workdir):
        directory.claim(workdir, {"experiment": "lemmas", **flags.to_config()}, free=NOT_IDENTITY)
        return lemmas.check(workdir, seed=flags.seed)


if __name__ == "__main__":
    command.run(main, Flags)
