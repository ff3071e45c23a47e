"""Trains a finished run again from its config.json alone, in a fresh process, and compares the bits.

    python -m genjax.runs.reproduce --run=DIR
    python -m genjax.runs.reproduce --run=DIR --page=my_experiment
    python -m genjax.runs.reproduce --run=DIR --explain
    python -m genjax.runs.reproduce --run=DIR --against=OTHER --explain
    python -m genjax.runs.reproduce --made=DIR/generated

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

import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from genjax.errors import BadInput
from genjax.paths import expand_user
from genjax.runs import agreement, code, command, devices, directory, opening, parting, remaking, starting
from genjax.runs.flags import Record, flag
from genjax.runs.settings import CADENCE, NOT_IDENTITY
from genjax.runs.settings import Flags as RunFlags
from genjax.stderr import print_line
from genjax.training import determinism


class Flags(Record):
    """Reproduce."""

    run: str | None = flag(None, "directory of the run")
    page: str | None = flag(
        None, "module that defines the run's experiment; by default the one of its name in `experiments`"
    )
    data_dir: str | None = flag(None, "directory of the run's data, if it has moved")
    dataset: str | None = flag(None, "name of the run's data set, such as folder:PATH, if it has moved")
    initial_weights: str | None = flag(None, "file of the weights that the run started from, if it has moved")
    explain: bool = flag(False, "also find the first checkpoint and the first parameter that differ")
    against: str | None = flag(None, "directory of a finished run to compare with, instead of training again")
    made: str | None = flag(
        None,
        "file or folder that a command made of a finished run, to make it again in place of training; --run is needed "
        "only if the run has moved",
    )


class Result(NamedTuple):
    """What is compared of a run of one seed."""

    params_sha256: str
    lines: list[dict[str, Any]]


CRASHED = 70
"""The exit status after an unexpected error, with its traceback: 1 would mean other bits."""


def main(flags: Flags) -> int:
    """Compares, trains again, compares; returns the exit status."""
    try:
        return _compare(flags)
    except (BadInput, OSError):
        raise  # one line each, and status 2
    except Exception:
        traceback.print_exc()
        return CRASHED


def _compare(flags: Flags) -> int:
    if flags.made is not None:
        return _compare_made(flags)
    if not flags.run:
        raise BadInput("give the directory of a finished run", parameter="run")
    run = expand_user(flags.run, parameter="run")
    if flags.against:
        return _compare_finished(run, expand_user(flags.against, parameter="against"), explain=flags.explain)
    record = agreement.read(run)
    page, own = _page_and_flags(record, flags)

    determinism.set_up(cpu_threads=own.cpu_threads, portable_bits=own.portable_bits)
    agreement.check(run)
    recorded = record.manifest
    if flags.dataset is not None:
        found = opening.of_module(page).load(own).fingerprint
        if found != recorded["data_fingerprint"]:
            raise BadInput(f"its fingerprint is {found}, not {recorded['data_fingerprint']}", parameter="dataset")
    starting.check(own.initial_weights, recorded)
    fixed = tuple(name for name in directory.IDENTITY if name != "data_fingerprint")
    here = directory.manifest(
        seed=own.seed, data_fingerprint=recorded["data_fingerprint"], bits_of_devices=devices.bits_of(own)
    )
    obstacles = recorded.get("mixed", []) + directory.differences(recorded, here, fixed)
    if obstacles:
        raise BadInput(f"not comparable: {'; '.join(obstacles)}")

    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        again = _train_again(page, own, Path(folder) / "run", xla_flags=recorded["xla_flags"])
        if again.manifest["data_fingerprint"] != recorded["data_fingerprint"]:
            differing = directory.differences(recorded, again.manifest, ("data_fingerprint",))
            raise BadInput(f"not comparable: {'; '.join(differing)}")
        same, lines = whole_comparison(record, again, common=bool(recorded.get("history")))
        explained = parting.explain(run, again.workdir) if flags.explain else ""
    if not same and here["processor"] != recorded["processor"] and not own.portable_bits:
        print(explained, end="\n" if explained else "")
        raise BadInput(f"not comparable: {'; '.join(directory.differences(recorded, here, ('processor',)))}")
    _print(lines, explained, run)
    if not same:
        print(code.comparison(recorded["git_commit"], here["git_commit"], run))
    return 0 if same else 1


def _compare_finished(run: Path, other: Path, *, explain: bool) -> int:
    """Compares two finished runs of the same experiment and flags; what else differs between them is printed."""
    then, now = agreement.check(run), agreement.check(other)
    if then.name != now.name:
        raise BadInput(f"{other} is a run of {now.name}, and {run} one of {then.name}", parameter="against")
    names = sorted((then.flags.keys() | now.flags.keys()) - {*NOT_IDENTITY, *CADENCE})
    differing = directory.differences(then.flags, now.flags, tuple(names))
    if differing:
        raise BadInput(f"the runs have other flags: {'; '.join(differing)}", parameter="against")
    same, lines = whole_comparison(then, now, common=True)
    _print(lines, parting.explain(run, other) if explain else "", run)
    if not same:
        compared = *directory.IDENTITY, "processor", "git_commit"
        print("\n".join(directory.differences(then.manifest, now.manifest, compared)))
    return 0 if same else 1


def _compare_made(flags: Flags) -> int:
    """Compares what a command made of a run, and not the run itself."""
    for name in ("against", "explain", "initial_weights"):
        if getattr(flags, name):
            raise BadInput("it is for training a run again, not for what was made of one", parameter=name)
    run = None if flags.run is None else str(expand_user(flags.run, parameter="run"))
    out = expand_user(str(flags.made), parameter="made")
    return remaking.compare(out, remaking.Moved(run, flags.page, flags.data_dir, flags.dataset))


def _print(lines: list[str], explained: str, run: Path) -> None:
    print("\n".join(f"{line}; {run}" for line in lines))
    if explained:
        print(explained)


def results(record: agreement.Record) -> dict[str, Result]:
    """The results of a finished run by the name of its seed, which is empty if it has only one."""
    folders = agreement.seed_folders(record)
    if not folders:
        return {"": Result(record.manifest["params_sha256"], directory.read_metrics(record.log))}
    found = {}
    for seed, folder in folders:
        found |= {f"seed {seed}": results(agreement.read(folder))[""]}
    return found


def whole_comparison(then: agreement.Record, now: agreement.Record, *, common: bool) -> tuple[bool, list[str]]:
    """Whether the bits of two runs agree, and a line for each auxiliary model and each seed.

    The auxiliary models come first, because the others' bits may follow from theirs.

    Args:
      common: as for `comparison`.
    """
    of_auxiliaries, first = auxiliaries_compared(*(one.manifest.get(directory.AUXILIARIES, {}) for one in (then, now)))
    of_runs, lines = comparison(results(then), results(now), common=common)
    return of_auxiliaries and of_runs, first + lines


def auxiliaries_compared(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[bool, list[str]]:
    """Whether the auxiliary models of both sides have the same bits, and a line for each.

    Args:
      then, now: their `params_sha256` by name. Those of only one side are listed and not compared: a run of an earlier
        version of the code names none, and other versions of the packages have models of other names.
    """
    same, lines = True, []
    for name in sorted({*then, *now}):
        a, b = then.get(name), now.get(name)
        if a == b:
            said = f"the same bits: params_sha256 {a}"
        elif a is not None and b is not None:
            same, said = False, f"other bits: params_sha256 {a} recorded, {b} now"
        else:
            said = f"not compared: params_sha256 {a or 'none'} recorded, {b or 'none'} now"
        lines.append(f"auxiliary model {name}: {said}")
    return same, lines


def comparison(then: dict[str, Result], now: dict[str, Result], *, common: bool) -> tuple[bool, list[str]]:
    """Whether the bits of all seeds agree, and a line for each seed.

    Args:
      common: whether to compare only the metric lines that both have, as for a run whose cadences changed.
    """
    same, lines = True, []
    compared = "the metric lines that both have" if common else "{} metric lines"
    for seed in then:
        a, b = then[seed], now[seed]
        whose = f"{seed}: " if seed else ""
        difference = first_difference(a.lines, b.lines, common=common)
        agree = difference is None and a.params_sha256 == b.params_sha256
        same &= agree
        lines.append(
            f"{whose}the same bits: params_sha256 {a.params_sha256} and {compared.format(len(a.lines))}"
            if agree
            else f"{whose}other bits: {difference or 'every metric line agrees'}; params_sha256 {a.params_sha256} "
            f"recorded, {b.params_sha256} now"
        )
    return same, lines


def _page_and_flags(record: agreement.Record, flags: Flags) -> tuple[str, RunFlags]:
    """The module of the run's experiment, and the run's flags; only flags that the experiment has are taken."""
    page = flags.page or f"{opening.PAGES}.{record.name}"
    experiment = opening.of_module(page) if flags.page else opening.find(record.name)
    if experiment.name != record.name:
        raise BadInput(f"{record.workdir} is a run of {record.name}, not of {experiment.name}, which {page} holds")
    own, missing = opening.read_flags(record.workdir, experiment, record.config)
    if missing:
        print_line(f"warning: {record.workdir} has no value for {', '.join(missing)}; the defaults are used")
    if flags.initial_weights is not None:
        own = own.replace(initial_weights=flags.initial_weights)
    return page, opening.moved(own, data_dir=flags.data_dir, dataset=flags.dataset)


def _train_again(page: str, flags: RunFlags, workdir: Path, *, xla_flags: str) -> agreement.Record:
    """The files of a run with the same flags in another directory, by a fresh process."""
    # the new run is one process here, wherever the other one was
    elsewhere = dict.fromkeys(("coordinator", "num_processes", "process_id"))
    arguments = command.arguments(flags.replace(workdir=str(workdir), tensorboard=False, **elsewhere))
    done = subprocess.run(
        [sys.executable, "-m", page, *arguments],
        env=os.environ | {"XLA_FLAGS": xla_flags},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise BadInput("not comparable: the run could not be trained again, for the reason above")
    return agreement.read(workdir)


def first_difference(then: list[dict[str, Any]], now: list[dict[str, Any]], *, common: bool = False) -> str | None:
    """The first metric in which two metrics.jsonl differ, in words, or None.

    Args:
      common: whether to compare only the lines that both have: evaluations at the same step, and means over the same
        steps.
    """
    if common:
        both = _by_steps(then).keys() & _by_steps(now).keys()
        then, now = ([line for steps, line in _by_steps(lines).items() if steps in both] for lines in (then, now))
    for a, b in zip_longest(then, now, fillvalue={}):
        for name in (*a, *(name for name in b if name not in a)):
            if a.get(name) != b.get(name):
                line = a or b
                return f"step {line['step']}, {line['split']} {name}: {a.get(name)} recorded, {b.get(name)} now"
    return None


def _by_steps(lines: list[dict[str, Any]]) -> dict[tuple[str, int, int], dict[str, Any]]:
    """The lines by split and the steps that they cover: a line of training metrics is a mean since the one before."""
    found, start = {}, 0
    for line in lines:
        step = line["step"]
        if line["split"] != "train":
            found[line["split"], step, step] = line
        else:
            found["train", start, step], start = line, step
    return found


if __name__ == "__main__":
    command.run(main, Flags)
