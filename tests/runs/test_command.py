"""The door of the command line."""

import errno
import io
import signal
import subprocess
import sys

import pytest

from genjax.data.tfds import NotPrepared
from genjax.errors import BadInput
from genjax.runs import command, interruption
from genjax.runs.flags import Record, flag


class Flags(Record):
    """Own."""

    width: int = flag(8, "width of the layer", at_least=1)
    hidden: tuple[int, ...] = flag((5, 6), "widths", at_least=1)
    kind: str = flag("a", "kind of layer", choices=("a", "b"))
    name: str | None = flag(None, "name of the layer")
    bias: bool = flag(True, "add a bias")
    fast: bool = flag(False, "be fast")


def parse(*arguments):
    return command.parse(Flags, ["page.py", *arguments])


def test_a_command_line_and_a_script_give_the_same_record():
    assert parse() == Flags()
    given = parse("--width=3", "--hidden=1,2", "--kind", "b", "--nobias", "--fast", "--name=x y")
    assert given == Flags(width=3, hidden=(1, 2), kind="b", bias=False, fast=True, name="x y")
    assert parse(*command.arguments(given)) == given


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("--width=0", "width: expected a whole number of at least 1, not '0'"),
        ("--hidden=1,x", "hidden: expected whole numbers of at least 1, separated by commas, not '1,x'"),
        ("--kind=c", "kind: expected one of a, b, not 'c'"),
        ("--widht=3", "Unknown command line flag 'widht'. Did you mean: width ?"),
        ("--fast=maybe", "fast: expected true or false, not 'maybe'"),
        ("--nofast=true", "--nofast=true does not take an argument"),
        ("width=3", "unknown argument 'width=3'; flags are written --name=value"),
    ],
)
def test_bad_flags_are_one_line(argument, line):
    with pytest.raises(BadInput) as error:
        parse(argument)
    assert str(error.value) == line


def test_help_groups_flags_and_exits_with_status_0(capsys):
    for name in ("--help", "--helpshort"):
        with pytest.raises(SystemExit) as end:
            parse(name)
        assert end.value.code == 0
    out = capsys.readouterr().out
    assert "Own:\n  --width=8\n      width of the layer; at least 1\n  --hidden=5,6\n" in out
    assert "  --kind=a\n      kind of layer; one of a, b\n  --name\n" in out
    assert "  --[no]bias\n" in out and "  --fast\n" in out


def run(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["page.py", *arguments])
    with pytest.raises(SystemExit) as end:
        command.run(main, Flags)
    return end.value.code


def raising(error):
    def main(flags):
        raise error

    return main


def test_the_exit_status_is_the_commands_own_or_2_after_one_line(monkeypatch, capsys):
    assert run(monkeypatch, lambda flags: None) == 0
    assert run(monkeypatch, lambda flags: flags.width, "--width=1") == 1
    assert run(monkeypatch, raising(BadInput("the data are not there"))) == 2
    assert run(monkeypatch, raising(BadInput("raise `hidden` or `other`", parameter="width"))) == 2
    assert run(monkeypatch, raising(BadInput("too large", parameter="other"))) == 2
    assert run(monkeypatch, print, "--width=0") == 2
    assert run(monkeypatch, raising(OSError(errno.ENOSPC, "No space left on device", "/x/y"))) == 2
    assert run(monkeypatch, raising(PermissionError(errno.EACCES, "Permission denied", "/x/y"))) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: the data are not there",
        "error: --width: raise --hidden or `other`",
        "error: other: too large",
        "error: --width: expected a whole number of at least 1, not '0'",
        "error: /x/y: no space left on device; nothing that exists was lost",
        "error: /x/y: permission denied; nothing that exists was lost",
    ]
    missing = NotPrepared("it is missing; prepare it", name="mnist", data_dir="/a folder")
    assert run(monkeypatch, raising(missing)) == 2
    line = "error: it is missing; prepare it by: python -m experiments.prepare --dataset=mnist --data_dir='/a folder'"
    assert capsys.readouterr().err == line + "\n"
    with pytest.raises(RuntimeError):  # a fault of the program keeps its traceback
        command.run(raising(RuntimeError("fault")), Flags)


def test_a_repeated_flag_has_an_entry_for_each_time(capsys):
    class Repeated(Record):
        """Repeated."""

        run: tuple[str, ...] = flag((), "directory", may_be_empty=True, repeated=True)
        rate: tuple[int, ...] = flag((3,), "rate", at_least=1, repeated=True)

    given = command.parse(Repeated, ["x", "--run=a,b", "--run", "c d", "--rate=4", "--rate=5"])
    assert given == Repeated(run=("a,b", "c d"), rate=(4, 5)) and command.parse(Repeated, ["x"]) == Repeated()
    assert command.parse(Repeated, ["x", *command.arguments(given)]) == given
    with pytest.raises(BadInput, match="rate: expected whole numbers of at least 1"):
        command.parse(Repeated, ["x", "--rate=4", "--rate=0"])
    with pytest.raises(SystemExit):
        command.parse(Repeated, ["x", "--help"])
    assert "  --run [--run ...]\n      directory\n" in capsys.readouterr().out


def test_two_commands_in_one_process_do_not_clash():
    class Other(Record):
        """Other."""

        width: float = flag(0.5, "another width")

    assert parse().width == 8 and command.parse(Other, ["x", "--width=2"]).width == 2.0


def test_a_package_shows_its_own_docstring():
    shown = subprocess.run(
        [sys.executable, "-m", "experiments.lemmas", "--help"], capture_output=True, text=True, check=True
    )
    assert "usage: python -m experiments.lemmas [--flag=value ...]" in shown.stdout
    assert shown.stdout.startswith("Lemmas behind autoencoders")


@pytest.fixture
def handlers():
    """Restores what a command that was interrupted has set for the end of its process."""
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_one_line_and_its_status(monkeypatch, capsys, handlers, number, status):
    def main(flags):
        signal.raise_signal(number)
        raise AssertionError

    assert run(monkeypatch, main) == status
    assert capsys.readouterr() == (
        "",
        "interrupted; what was saved is kept, and the same command goes on from it\n",
    )


def test_a_command_leaves_the_handlers_as_they_were(monkeypatch, handlers):
    assert run(monkeypatch, lambda flags: None) == 0
    assert handlers == {number: signal.getsignal(number) for number in interruption.SIGNALS}
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
def test_a_character_that_the_output_lacks_is_escaped(monkeypatch, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert run(monkeypatch, lambda flags: print("trained in \u96ea/\udce9")) == 0
    text = out.buffer.getvalue().decode(encoding)
    assert text.endswith("\\udce9\n") and ("\\u96ea" in text or encoding == "utf-16")


@pytest.mark.parametrize(("main", "status"), [(lambda flags: print("done"), 0), (raising(BadInput("too large")), 2)])
def test_closed_streams_end_no_command(monkeypatch, main, status):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert run(monkeypatch, main) == status
    for stream in (sys.stdout, sys.stderr):
        stream.close()
