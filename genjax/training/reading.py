"""Reading the results of the loop: windows of train metrics, checks for NaN and infinity, reports, progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from tqdm import tqdm

from genjax.errors import BadInput
from genjax.stderr import is_terminal, print_line
from genjax.training.placement import to_host
from genjax.types import Metrics

Report = Callable[[int, str, dict[str, Any]], None]  # step, split ("train" or "test"), metrics: floats, or [seeds]
Save = Callable[[int, Any], None]  # step, state; the state is a copy
Examine = Callable[[int, Any], dict[str, float]]  # step, state -> more test metrics
Values = dict[str, np.ndarray]  # metrics by name, [steps] or [seeds, steps]


class Results(NamedTuple):
    """The results of one dispatch on the device, copied from the buffers that the next one overwrites."""

    start: int  # updates done before it
    step: int  # updates done after it
    began: float  # when it was called, in seconds
    logs: Metrics  # train metrics by name, [steps or more]
    test: Metrics | None = None  # if an evaluation was due
    examined: Any = None  # the evaluated state, if it is examined
    saved: Any = None  # the state, if a checkpoint was due


class Reader:
    """Reads the results of each dispatch in turn, checks them, and passes them on.

    Args:
      step: updates done before the first dispatch.
      num_steps: updates in the whole run.
      log_every: steps per line of train metrics.
      report, save, examine, unreported: as in `fit`, or None.
      watch: train metrics shown with the progress.
      progress: whether to show it.
    """

    def __init__(
        self,
        step: int,
        num_steps: int,
        *,
        log_every: int,
        report: Report | None,
        save: Save | None,
        examine: Examine | None,
        unreported: Window | None,
        watch: Sequence[str],
        progress: bool,
    ) -> None:
        self._log_every = log_every
        self._report = report or (lambda step, split, metrics: None)
        self._save, self._examine, self._watch = save, examine, watch
        self._window = Window(step) if unreported is None else unreported
        self._first, self._saved = step, None
        self._num_steps, self._first_loss = num_steps, np.nan
        self._progress = Progress(step, num_steps, shown=progress)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()

    def read(self, results: Results) -> None:
        """Waits for the results and reads them: train metrics, then the evaluation, then the checkpoint.

        Raises:
          BadInput: a metric or a parameter is not finite.
        """
        self._read_train(results)
        if results.test is not None:
            self._read_test(results.step, results.test, results.examined)
        if results.saved is not None:
            self._read_state(results.step, results.saved)
        if results.step == self._num_steps:
            self._warn_of_divergence(results)

    def read_interrupted(self, step: int, state: Any) -> None:
        """Saves the state of an interruption at a step where no checkpoint was due; the line of metrics goes on."""
        if step != self._saved:
            self._check_and_save(step, state)

    def _read_train(self, results: Results) -> None:
        unknown = [name for name in self._watch if name not in results.logs]
        if unknown:
            raise BadInput(
                f"{unknown[0]!r} is not a train metric of this model; it has {', '.join(results.logs)}",
                parameter="watch",
            )
        num = results.step - results.start
        values = {name: np.asarray(log)[..., :num] for name, log in to_host(results.logs).items()}
        self._check_finite(results.start + 1, values, "train")
        if results.start == 0 and "loss" in values:
            self._first_loss = float(values["loss"][..., 0].mean())
        self._window.add(values)
        for boundary in multiples(self._log_every, results.start, results.step):
            self._report_train(boundary)
        self._progress.update(num, {name: values[name][..., -1].mean() for name in self._watch})

    def _read_test(self, step: int, metrics: Metrics, examined: Any) -> None:
        values = {name: np.asarray(metric) for name, metric in to_host(metrics).items()}
        self._check_finite(step, {name: value[..., None] for name, value in values.items()}, "test")
        self._report_train(step)
        more = {} if self._examine is None else self._examine(step, to_host(examined))
        self._report(step, "test", {name: _plain(value.astype(np.float64)) for name, value in values.items()} | more)

    def _read_state(self, step: int, saved: Any) -> None:
        self._report_train(step)
        self._check_and_save(step, saved)

    def _check_and_save(self, step: int, saved: Any) -> None:
        saved = to_host(saved)
        bad = first_not_finite(saved.params)
        if bad is not None:
            raise BadInput(f"parameter {bad} is not finite at step {step}; {self._kept()}")
        if self._save is not None:
            self._save(step, saved)
            self._saved = step

    def _report_train(self, step: int) -> None:
        """Reports the means over the steps since the last line, where there are any."""
        if step > self._window.start:
            means = self._window.take_means(step)
            self._report(step, "train", {name: _plain(mean) for name, mean in means.items()})

    def _check_finite(self, first_step: int, values: Values, split: str) -> None:
        found = first_metric_not_finite(values)
        if found is not None:
            name, index = found
            raise BadInput(
                f"{split} metric {name!r} is {values[name][..., index]} at step {first_step + index}; {self._kept()}; "
                "a smaller `learning_rate` is the usual remedy"
            )

    def _warn_of_divergence(self, results: Results) -> None:
        """Warns of a held-out loss that has risen by more than ten times the first step's loss, and by more than 10."""
        loss = float(np.mean(to_host((results.test or {}).get("loss", np.nan))))
        if loss - self._first_loss > 10 * max(abs(self._first_loss), 1):
            logging.warning(
                "the held-out loss ends at %.4g, far above the %.4g of the first step; a smaller learning rate is the "
                "usual remedy",
                loss,
                self._first_loss,
            )

    def _kept(self) -> str:
        if self._saved is not None:
            return f"stopped, the last checkpoint is that of step {self._saved}"
        if self._first:
            return f"stopped, nothing was saved after step {self._first}, where it started"
        return "stopped, nothing was saved"


class Window:
    """Train metrics of the steps after `start` that are not reported yet.

    Args:
      start: updates done before the first of them.
      values: the metrics by name, [steps] or [seeds, steps].
    """

    def __init__(self, start: int, values: Values | None = None) -> None:
        self.start = start
        self._parts: list[Values] = [values] if values else []

    def add(self, values: Values) -> None:
        """Adds the metrics of the steps that follow."""
        self._parts.append(values)

    def values(self) -> Values:
        """The metrics by name, as they were added; none if there are no steps."""
        names = self._parts[0] if self._parts else ()
        return {name: np.concatenate([part[name] for part in self._parts], axis=-1) for name in names}

    def take_means(self, step: int) -> dict[str, Any]:
        """Removes the steps from `start` up to `step` from the window, and returns their means."""
        num = step - self.start
        joined = self.values()
        self.start, self._parts = step, [{name: values[..., num:] for name, values in joined.items()}]
        return {name: np.mean(values[..., :num], axis=-1, dtype=np.float64) for name, values in joined.items()}


class Progress:
    """A progress bar on a terminal, or occasional lines elsewhere."""

    SECONDS = 10  # between two lines

    def __init__(self, step: int, num_steps: int, *, shown: bool) -> None:
        shown = shown and step < num_steps and jax.process_index() == 0
        on_terminal = is_terminal()
        self._bar = tqdm(
            total=num_steps,
            initial=step,
            unit="step",
            file=sys.stderr,
            mininterval=0.2,
            disable=not (shown and on_terminal),
        )
        self._lines = shown and not on_terminal
        self._first, self._step, self._num_steps = step, step, num_steps
        self._began = self._printed = time.monotonic()

    def update(self, num: int, watched: dict[str, Any]) -> None:
        """Counts `num` more steps, and shows the metrics of the last one."""
        values = {name: f"{value:.4g}" for name, value in watched.items()}
        self._bar.update(num)
        self._bar.set_postfix(values, refresh=False)
        self._step += num
        now = time.monotonic()
        if self._lines and (self._step == self._num_steps or now >= self._printed + self.SECONDS):
            self._printed = now
            speed = (self._step - self._first) / max(now - self._began, 1e-9)
            shown = "".join(f", {name} {value}" for name, value in values.items())
            print_line(f"step {self._step} of {self._num_steps}, {speed:.3g} steps/s{shown}")

    def close(self) -> None:
        """Leaves the bar in place, and ends its line."""
        self._bar.close()


def multiples(every: int, after: int, upto: int) -> range:
    """The multiples of `every` in (after, upto]."""
    return range((after // every + 1) * every, upto + 1, every)


def first_metric_not_finite(values: Values) -> tuple[str, int] | None:
    """The name and the index of the first step at which a metric is not finite; None if all are.

    Of several such metrics it is the loss, which usually causes the others, or else the first by name.
    """
    finite = {name: np.isfinite(v).reshape(-1, v.shape[-1]).all(axis=0) for name, v in values.items()}
    bad = {name: int(np.argmin(steps)) for name, steps in finite.items() if not steps.all()}
    if not bad:
        return None
    first = min(bad.values())
    name = "loss" if bad.get("loss") == first else min(name for name, at in bad.items() if at == first)
    return name, first


def first_not_finite(params: Any) -> str | None:
    """The path of the first array of a tree that holds NaN or infinity; None if none does."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(np.asarray(leaf)).all():
            return jax.tree_util.keystr(path)
    return None


def _plain(values: Any) -> Any:
    """A number as a float; those of several seeds as they are."""
    return values if values.ndim else float(values)
