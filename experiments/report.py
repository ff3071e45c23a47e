"""Writes the report of a run again, or one page that compares several runs.

    python -m experiments.report --run=runs/a
    python -m experiments.report --run=runs/a --run=runs/b --out=comparison.html

A directory is a run, a run of several seeds, or a folder of runs. Every run leaves report.html in its directory when
it ends; with a single --run this writes it again, also for a run that is not finished. With several, it writes a page
with the flags that differ, final metrics with their standard error over seeds, the curves over each other, and the
pictures side by side. Runs that differ only in the seed count as one. The pages need neither a server nor a network.
"""

from __future__ import annotations

from pathlib import Path

from genjax.errors import BadInput
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import Record, command, flag, report
from genjax.runs.rows import experiments_of, found_in, grouped, read


class Flags(Record):
    """Report."""

    run: tuple[str, ...] = flag(
        (), "directory of a run, of several seeds, or of a folder of runs", may_be_empty=True, repeated=True
    )
    page: tuple[str, ...] = flag((), "modules that define experiments of your own", may_be_empty=True)
    out: str | None = flag(
        None, "output file; by default report.html in the directory of a single run, else comparison.html"
    )


def main(flags: Flags) -> None:
    """Reads the runs and writes the page."""
    if not flags.run:
        raise BadInput("give the directory of a run", parameter="run")
    rows = grouped(map(read, found_in(flags.run, parameter="run")))
    first = expand_user(flags.run[0], parameter="run")
    single = first if len(flags.run) == 1 and (first / "config.json").is_file() else None
    default = Path("comparison.html") if single is None else single / report.FILE
    output = expand_user(flags.out, parameter="out") if flags.out else default
    if output.is_dir():
        raise BadInput(f"{output} is a directory; give the path of a file", parameter="out")
    if output.suffix not in (".html", ".htm"):
        raise BadInput(f"expected a file that ends in .html, not {output.name!r}", parameter="out")
    refuse_unwritable(output.parent, parameter="out")
    experiments = experiments_of(rows, flags.page)
    output.parent.mkdir(parents=True, exist_ok=True)
    report.write(output, rows, experiments, directory=single)
    print(f"{report.counted(rows)}: {output}")


if __name__ == "__main__":
    command.run(main, Flags)
