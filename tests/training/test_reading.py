"""Windows, finiteness and progress, on numbers written by hand."""

import io
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.training.reading import Progress, Window, first_metric_not_finite, first_not_finite, multiples


def test_a_window_gives_means_over_its_steps_however_they_came():
    values = np.random.default_rng(0).normal(size=12).astype(np.float32)
    for cuts in ([12], [5, 7], [1, 1, 10]):
        window, upto = Window(0), 0
        for num in cuts:
            window.add({"loss": values[upto : upto + num]})
            upto += num
        assert window.take_means(4) == {"loss": values[:4].astype(np.float64).mean()}
        assert window.start == 4
        assert window.take_means(12) == {"loss": values[4:].astype(np.float64).mean()}


def test_a_window_of_several_seeds_has_a_mean_for_each():
    window = Window(10)
    window.add({"loss": np.array([[1.0, 3.0, 8.0], [2.0, 4.0, 9.0]])})
    np.testing.assert_array_equal(window.take_means(12)["loss"], [2, 3])
    np.testing.assert_array_equal(window.take_means(13)["loss"], [8, 9])


def test_multiples():
    assert [*multiples(10, 0, 30)] == [10, 20, 30]
    assert [*multiples(10, 10, 29)] == [20]
    assert [*multiples(10, 11, 19)] == []


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"a": [1.0, 2.0], "loss": [0.0, 0.0]}, None),
        ({"a": [1.0, np.nan], "loss": [0.0, 0.0]}, ("a", 1)),
        ({"a": [1.0, np.nan], "loss": [0.0, np.inf]}, ("loss", 1)),  # the others follow from it
        ({"a": [np.nan, np.nan], "loss": [0.0, np.inf]}, ("a", 0)),
        ({"b": [0.0, -np.inf], "a": [1.0, np.nan]}, ("a", 1)),
        ({"loss": [[0.0, 1.0, 2.0], [0.0, 1.0, np.nan]]}, ("loss", 2)),  # of two seeds
    ],
)
def test_the_first_that_is_not_finite(values, found):
    assert first_metric_not_finite({name: np.asarray(v) for name, v in values.items()}) == found


def test_params_of_any_dtype_are_looked_at():
    params = {"a": jnp.ones(3), "b": jnp.ones(2, jnp.bfloat16), "n": jnp.array(3), "key": jnp.array([True])}
    assert first_not_finite(params) is None
    assert first_not_finite(params | {"b": jnp.array([1, jnp.nan], jnp.bfloat16)}) == "['b']"
    assert first_not_finite(params | {"a": jnp.array(-jnp.inf)}) == "['a']"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress(0, 4, shown=True)
    for _ in range(4):
        progress.update(1, {"loss": 1 / 3})
    progress.close()
    assert "4/4" in sys.stderr.getvalue() and "loss=0.333" in sys.stderr.getvalue()
    assert "step 4 of 4" not in sys.stderr.getvalue()


def test_progress_is_a_line_now_and_then_elsewhere(monkeypatch):
    clock = iter(range(0, 100, 4))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    progress = Progress(2, 10, shown=True)  # at 0 s
    for _ in range(8):  # at 4, 8, ..., 32 s
        progress.update(1, {"loss": 1 / 3})
    progress.close()
    assert sys.stderr.getvalue().splitlines() == [
        f"step {step} of 10, 0.25 steps/s, loss 0.3333" for step in (5, 8, 10)
    ]


def test_nothing_is_shown_of_a_run_that_is_finished(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    Progress(4, 4, shown=True).close()
    Progress(0, 4, shown=False).close()
    assert not sys.stderr.getvalue()
