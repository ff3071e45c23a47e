"""Ctrl-C and SIGTERM while a page of a user's own is trained in this process."""

import functools
import json
import signal
import threading

import numpy as np
import pytest

from genjax.errors import BadInput
from genjax.runs import interruption, runner, unreported
from genjax.runs.interruption import Interrupted
from genjax.runs.metrics import best_evaluation
from genjax.training.reading import Window
from tests.runs import sketches

FLAGS = sketches.Flags(num_steps=20, width=8, eval_every=10, checkpoint_every=20, log_every=7, steps_per_dispatch=3)


@pytest.fixture(autouse=True)
def settings_of_the_tests(monkeypatch):
    """Leaves JAX's backend, which runs already, and its cache as they are."""
    monkeypatch.setattr(runner.determinism, "set_up", lambda **given: None)
    monkeypatch.setattr(runner, "keep_compiled", lambda: None)


def signalling(*numbers):
    """The page, with signals sent at its first evaluation."""
    left = list(numbers)

    def monitor(flags, trained):
        while left:
            signal.raise_signal(left.pop(0))
        return {}

    return sketches.EXPERIMENT._replace(monitor=monitor)


def train(workdir, experiment=sketches.EXPERIMENT, **more):
    runner._train(experiment, FLAGS.replace(workdir=str(workdir), **more))
    found = {path.relative_to(workdir): path.read_text() for path in sorted(workdir.rglob("metrics.jsonl"))}
    return json.loads((workdir / "summary.json").read_text())["params_sha256"], found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Hash and lines of an uninterrupted run, of a number of seeds."""
    return functools.cache(lambda num_seeds: train(tmp_path_factory.mktemp("whole") / "run", num_seeds=num_seeds))


@pytest.mark.parametrize(
    ("number", "status", "num_seeds"), [(2, 130, 1), pytest.param(15, 143, 2, marks=pytest.mark.slow)]
)
def test_a_signal_saves_the_step_and_a_restart_goes_on_to_the_same_bits_and_lines(
    whole, tmp_path, number, status, num_seeds
):
    handlers = {each: signal.getsignal(each) for each in interruption.SIGNALS}
    workdir = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(workdir, signalling(number), num_seeds=num_seeds)
    assert isinstance(stopped.value, Interrupted) and stopped.value.status == status
    (step,) = (int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    assert str(stopped.value) == (
        f"sketches stopped after step {step} of 20, which is saved; start it again with the same flags to go on from "
        f"there, in {workdir}"
    )
    assert 10 <= step < 20 and not (workdir / "summary.json").exists()
    assert handlers == {each: signal.getsignal(each) for each in interruption.SIGNALS}
    assert train(workdir, num_seeds=num_seeds) == whole(num_seeds)
    assert not (workdir / "unreported.npz").exists()


def test_a_signal_before_the_first_step_saves_nothing_and_breaks_nothing(whole, tmp_path, monkeypatch):
    read = unreported.read
    with monkeypatch.context() as patch:

        def signal_first(*given, **more):
            signal.raise_signal(signal.SIGINT)
            return read(*given, **more)

        patch.setattr(unreported, "read", signal_first)
        with pytest.raises(Interrupted, match=r"^sketches stopped before its first step; start it again with the same"):
            train(tmp_path)
    assert train(tmp_path) == whole(1)


@pytest.mark.slow
def test_an_end_that_is_interrupted_is_done_again(whole, tmp_path):
    def summarise(flags, trained):
        sketches.summarise(flags, trained)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, sketches.EXPERIMENT._replace(summarise=summarise))
    assert not (tmp_path / "summary.json").exists()
    assert train(tmp_path) == whole(1)


@pytest.mark.slow
def test_a_second_start_in_the_directory_is_refused_and_disturbs_nothing(whole, tmp_path):
    refused = []

    def monitor(flags, trained):
        with pytest.raises(BadInput, match="another process is training in"):
            train(tmp_path)
        refused.append(trained.step)
        return {}

    assert train(tmp_path, sketches.EXPERIMENT._replace(monitor=monitor)) == whole(1) and refused == [10, 20]


def test_one_signal_sent_twice_counts_once_and_a_later_one_ends_the_block(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    with interruption.awaited() as request:
        signal.raise_signal(signal.SIGTERM)
        now[0] = 0.1
        signal.raise_signal(signal.SIGTERM)
        assert request.number == signal.SIGTERM
        now[0] = 1.0
        with pytest.raises(Interrupted, match="a second time"):
            signal.raise_signal(signal.SIGINT)


def test_signals_that_are_ignored_stay_so_and_other_threads_handle_none(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption.awaited() as request:
            signal.raise_signal(signal.SIGINT)
        assert not request.number
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def elsewhere():
        with interruption.awaited():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_second_signal_ends_a_command_at_once_even_inside_a_compiler(monkeypatch):
    left, ended = [], threading.Event()

    def leave(number, line):
        left.append((number, line))
        ended.set()

    monkeypatch.setattr(interruption, "leave", leave)
    monkeypatch.setattr(interruption, "APART", 0.0)
    with interruption.raised("once"):
        with pytest.raises(Interrupted, match=r"^once$"):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # another one, to which Python's handler does nothing
        assert ended.wait(60)
    assert left == [
        (signal.SIGINT, "left at once; what was saved before is kept, and the same command goes on from it")
    ]


def test_unreported_metrics_are_read_back_at_their_step_alone(tmp_path):
    warnings = []
    window = Window(4, {"loss": np.float32([1, 2, 3]), "rate": np.float32([[1, 2, 3], [4, 5, 6]])})
    unreported.write(tmp_path, 7, window)
    found = unreported.read(tmp_path, 7, warn=warnings.append)
    assert found.start == 4 and {name: value.tolist() for name, value in found.values().items()} == {
        name: value.tolist() for name, value in window.values().items()
    }
    other = unreported.read(tmp_path, 8, warn=warnings.append)
    assert other.start == 8 and not other.values() and not warnings
    path = tmp_path / "unreported.npz"
    for content in (path.read_bytes()[:100], b"", b"text"):
        path.write_bytes(content)
        damaged = unreported.read(tmp_path, 7, warn=warnings.append)
        assert damaged.start == 7 and not damaged.values() and "is damaged" in warnings.pop()


def test_a_finished_run_records_the_standard_error_of_its_metrics_and_a_better_evaluation(tmp_path, capsys):
    def worse(flags, trained):
        return {"psnr": -float(trained.step)}

    train(tmp_path, sketches.EXPERIMENT._replace(monitor=worse, headline=("psnr",)), eval_every=10)
    shown = capsys.readouterr()
    errors = json.loads((tmp_path / "summary.json").read_text())["metrics_standard_error"]
    assert 0 < errors["negative_elbo"] < 1 and "psnr" not in errors  # measured once for all draws
    assert f"(s.e. {errors['negative_elbo']:.4f})" in shown.out
    assert f"the held-out psnr was best at step 10, -10.0000; at the end it is -20.0000, in {tmp_path}" in shown.err


@pytest.mark.parametrize(
    ("values", "better", "error", "step"),
    [
        ((3.0, 2.0, 2.5), "lower", 0.0, 20),
        ((3.0, 2.0, 2.5), "higher", 0.0, 10),
        ((3.0, 2.0, 2.5), "lower", 0.5 / 3 / 2**0.5 + 1e-6, None),  # within chance
        ((3.0, 2.0, 2.5), "lower", 0.5 / 3 / 2**0.5 - 1e-6, 20),
        ((3.0, 2.0, 2.019), "lower", 0.0, None),  # within 1 %
        ((3.0, 2.0, 1.0), "lower", 0.0, None),
        ((-30.2, -23.3), "lower", 0.1, 10),
    ],
)
def test_the_best_evaluation_is_named_if_the_last_is_clearly_worse(values, better, error, step):
    lines = [{"step": 10 * i + 10, "split": "test", "m": value} for i, value in enumerate(values)]
    train_line = {"step": 10 * len(values), "split": "train", "m": -1e3}
    best = best_evaluation([*lines, train_line], "m", better=better, error=error)
    assert (best and best["step"]) == step
