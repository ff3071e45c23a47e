"""Progress at the end of a run: which lines are printed, by a clock that the test moves."""

import types

from genjax.training import concluding


def test_a_line_comes_after_ten_seconds_and_never_after_the_last_item(monkeypatch, capsys):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(concluding.time, "monotonic", lambda: clock.now)
    found = []
    for item in concluding.shown(iter("abcdef"), "letters", num=6):
        found.append(item)
        clock.now += {"a": 9, "b": 2, "c": 8, "d": 50}.get(item, 1)
    assert found == list("abcdef")
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines == ["measuring: 2 of 6 letters", "measuring: 4 of 6 letters"]


def test_a_short_conclusion_prints_nothing(capsys):
    assert list(concluding.shown(range(5), "numbers", num=5)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(concluding, "is_terminal", lambda: True)
    assert list(concluding.shown(range(5), "numbers", num=5)) == [0, 1, 2, 3, 4]
    err = capsys.readouterr().err
    assert "numbers:   0%" in err and "measuring" not in err
