"""The command line: flags become a record, and bad input becomes one line and exit status 2."""

from __future__ import annotations

import itertools
import logging
import os
import re
import shlex
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from absl import flags as absl_flags

from genjax.data import tfds
from genjax.drawing import saving
from genjax.errors import BadInput
from genjax.paths import expand_user
from genjax.runs import interruption, stored
from genjax.runs.flags import Record, Spec, flag, from_config, specs
from genjax.runs.settings import NOT_IDENTITY
from genjax.stderr import print_line

F = TypeVar("F", bound=Record)
HELP = ("help", "helpshort", "helpfull", "h")  # the flags that show the help
WIDTH = 110  # characters per line of the help


class Start(Record):
    """Run."""

    config: str | None = flag(None, "config.json of another run, whose flags replace the defaults")


def run(command: Callable[[F], int | None], record: type[F], *, experiment: str | None = None) -> NoReturn:
    """Runs a command with the flags in `sys.argv`, and exits.

    The exit status is what the command returns, or 0; it is 2, after one line on standard error, for bad flags, for
    `BadInput`, and for files that cannot be read or written. After Ctrl-C it is 130, and after SIGTERM 143.

    Args:
      experiment: the name of the experiment, if the command trains one: it then has the flag --config.
    """
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)  # JAX lists every kind of device that is missing
    _accept_any_stream()
    try:
        with interruption.raised("interrupted; what was saved is kept, and the same command goes on from it"):
            given = parse(record, sys.argv, experiment=experiment)
            with saving.formats(getattr(given, "figure_formats", ())):
                status = command(given)
            sys.stdout.flush()
    except interruption.Interrupted as error:
        for number in interruption.SIGNALS:  # another one ends the process without a traceback
            signal.signal(number, signal.SIG_DFL)
        print_line(str(error))
        sys.exit(error.status)
    except BadInput as error:
        stop(with_dashes(error, {spec.name for spec in specs(record)} | ({"config"} if experiment else set())))
    except BrokenPipeError:  # whoever read the output has seen enough, as in `| head`
        _flush_or_discard_output()
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _flush_or_discard_output()
        stop(f"{error.filename or 'a file'}: {(error.strerror or str(error)).lower()}; nothing that exists was lost")
    sys.exit(status or 0)


def _accept_any_stream() -> None:
    """Lets commands print to closed streams, and to those whose encoding lacks a character, which is then escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush_or_discard_output() -> None:
    """Gives up standard output where it cannot be written to, or Python complains when it flushes it at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stop(line: str) -> NoReturn:
    """Ends the process with one line on standard error and exit status 2."""
    print_line(f"error: {line}")
    sys.exit(2)


def with_dashes(error: BadInput, names: set[str]) -> str:
    """The error message, with the parameters that are flags spelled as on a command line."""
    line = str(error)
    if isinstance(error, tfds.NotPrepared):
        folder = "DIR" if error.data_dir is None else shlex.quote(str(error.data_dir))
        line = f"{error.problem} by: python -m experiments.prepare --dataset={error.name} --data_dir={folder}"
    elif error.parameter in names:
        line = f"--{line}"
    return re.sub(r"`(\w+)`", lambda match: f"--{match[1]}" if match[1] in names else match[0], line)


def parse(record: type[F], argv: Sequence[str], *, experiment: str | None = None) -> F:
    """Reads a command line into a record of flags; on request prints the help and exits with status 0.

    Args:
      argv: the program's name, then its arguments, as in `sys.argv`.
      experiment: as for `run`.

    Raises:
      BadInput: for an unknown flag or argument, or an invalid value.
    """
    known = specs(record)
    more = [] if experiment is None else specs(Start)
    values = absl_flags.FlagValues()
    for spec in known + more:
        _define(spec, values)
    for name in HELP:
        absl_flags.DEFINE_bool(name, False, "show this help", flag_values=values)
    try:
        rest = values(argv)
    except (absl_flags.Error, ValueError) as error:  # ValueError for --noNAME=VALUE
        if isinstance(error.__cause__ or error.__context__, BadInput):  # raised for a value, by its `Spec`
            raise (error.__cause__ or error.__context__) from None  # type: ignore[misc]
        raise BadInput(str(error).replace("\n", " ")) from None
    if any(values[name].value for name in HELP):
        print(help_page(record, argv[0], more))
        sys.exit(0)
    if len(rest) > 1:
        raise BadInput(f"unknown argument {rest[1]!r}; flags are written --name=value")
    given = {spec.name: values[spec.name].value for spec in known}
    given |= {spec.name: tuple(itertools.chain(*(given[spec.name] or ()))) for spec in known if spec.repeated}
    if experiment is not None and values["config"].value is not None:
        start = start_from(record, Path(values["config"].value), experiment)
        return start.replace(**{name: value for name, value in given.items() if values[name].present})
    return record(**given)


def start_from(record: type[F], path: Path, experiment: str) -> F:
    """The flags of another run of the experiment, without those that say where and how it ran.

    Raises:
      BadInput: the file is not the config.json of such a run, or has a flag or a value that is not valid.
    """
    path = expand_user(path, parameter="config")
    config = stored.read_config_file(path)
    if config["experiment"] != experiment:
        raise BadInput(f"{path} is of a run of {config['experiment']}, not of {experiment}")
    unwanted = {"experiment", *NOT_IDENTITY} - {"data_dir"}
    own = {name: value for name, value in config.items() if name not in unwanted}
    return from_config(record, own, source=str(path))[0]


def _define(spec: Spec, values: absl_flags.FlagValues) -> None:
    if spec.item is bool and not spec.is_tuple:
        absl_flags.DEFINE_bool(spec.name, spec.default, spec.help, flag_values=values)
        values[spec.name].parser = _Parser(spec)
    elif spec.repeated:
        absl_flags.DEFINE_multi(_Parser(spec), None, spec.name, [spec.default], spec.help, flag_values=values)  # type: ignore[arg-type]
    else:
        absl_flags.DEFINE(_Parser(spec), spec.name, spec.default, spec.help, flag_values=values)  # type: ignore[misc]


class _Parser(absl_flags.ArgumentParser):
    """Parses a flag's text by its `Spec`, so that command lines and scripts follow the same rules."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def parse(self, argument: Any) -> Any:
        return self._spec.parse(argument)

    def flag_type(self) -> str:
        return self._spec.item.__name__


def arguments(record: Record) -> list[str]:
    """The command-line arguments that produce this record."""
    values = {spec: getattr(record, spec.name) for spec in specs(type(record))}
    return [
        f"--{spec.name}={spec.text(one)}"
        for spec, value in values.items()
        if value is not None
        for one in (value if spec.repeated else (value,))
    ]


def help_page(record: type[Record], program: str, more: Sequence[Spec] = ()) -> str:
    """The help: the module's docstring, then the flags by purpose with their defaults, the page's own first."""
    groups: dict[str, list[Spec]] = {}
    for spec in (*specs(record), *more):
        groups.setdefault(spec.group, []).append(spec)
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else None
    name = f"python -m {module}" if module else f"python {Path(program).name}"
    documented = sys.modules.get(module or "", main)  # of a package, the package itself
    lines = [(documented.__doc__ or main.__doc__ or "").strip(), "", f"usage: {name} [--flag=value ...]"]
    own = (record.__doc__ or "").strip().splitlines()[0].rstrip(".") if record.__doc__ else ""
    for group in sorted(groups, key=lambda group: group != own):
        lines += ["", f"{group}:"]
        for spec in groups[group]:
            lines += _help_lines(spec)
    return "\n".join(lines)


def _help_lines(spec: Spec) -> list[str]:
    if spec.item is bool:
        shown = f"--[no]{spec.name}" if spec.default else f"--{spec.name}"
    elif spec.repeated:
        shown = f"--{spec.name} [--{spec.name} ...]"
    else:
        shown = f"--{spec.name}" + (f"={spec.text(spec.default)}" if spec.default is not None else "")
    notes = [spec.help]
    if spec.choices is not None:
        notes.append(f"one of {', '.join(spec.choices)}" if not spec.is_tuple else f"some of {', '.join(spec.choices)}")
    elif spec.bounds:
        notes.append(spec.bounds.strip().removeprefix("of "))
    return [f"  {shown}", *textwrap.wrap("; ".join(notes), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)]
