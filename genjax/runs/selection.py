"""The best evaluation of a run: its state is kept, and training stops where no better one follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from genjax.data.batching import HeldOut
from genjax.errors import BadInput
from genjax.runs.experiment import Experiment
from genjax.runs.metrics import describe
from genjax.runs.settings import Flags
from genjax.training.checkpoint import Checkpoints
from genjax.types import Model

FLAG = "select_by"  # in errors


class Selection:
    """Keeps the state of the best evaluation so far, and counts the evaluations after it.

    Of equal values the first is the best. What is chosen does not depend on how the run is cut: after a restart, the
    evaluations before it are those of its lines of metrics.

    Args:
      folder: of the checkpoint.
      metric: the name of the metric.
      better: "higher" or "lower".
      patience: evaluations without a better value after which training stops; 0 for any number.
      run: the name of the run, as `Checkpoints` takes it.
      warn: called with one line for a damaged checkpoint.
    """

    def __init__(
        self, folder: Path, metric: str, *, better: str, patience: int, run: str | None, warn: Callable[[str], None]
    ) -> None:
        self._metric, self._sign, self._patience = metric, 1 if better == "lower" else -1, patience
        self._checkpoints = Checkpoints(folder, keep=1, run=run, warn=warn)
        self._saved = -1  # step of the newest checkpoint
        self._best: Mapping[str, Any] | None = None  # the line of the best evaluation
        self._since = 0

    @property
    def stopped(self) -> bool:
        """Whether training stops."""
        return bool(self._patience) and self._since >= self._patience

    @property
    def best(self) -> dict[str, Any]:
        """The best evaluation so far: its step, and the name and value of the metric."""
        assert self._best is not None
        return {"step": self._best["step"], "metric": self._metric, "value": self._best[self._metric]}

    def resume(self, template: Any, lines: Sequence[Mapping[str, Any]]) -> None:
        """Goes on after the evaluations of these lines of metrics.

        Args:
          template: of the state, as `Checkpoints.restore` takes it.
        """
        found = self._checkpoints.restore(template)
        self._saved = -1 if found is None else found[0]
        for line in lines:
            if line["split"] != "train":
                self._is_better(line)

    def consider(self, line: Mapping[str, Any], state: Any) -> None:
        """Takes an evaluation in, and saves its state if it is the best.

        Args:
          line: its step and metrics.

        Raises:
          BadInput: it lacks the metric.
        """
        # a run that goes on from an older checkpoint will come to the newer state that it has already saved here
        if self._is_better(line) and line["step"] > self._saved:
            self._checkpoints.save(line["step"], state)
            self._saved = line["step"]

    def restore(self, template: Any) -> Any:
        """The state of the best evaluation.

        Raises:
          BadInput: its checkpoint is missing or damaged.
        """
        found = self._checkpoints.restore(template)
        if found is None or found[0] != self.best["step"]:
            raise BadInput(
                f"the checkpoint of step {self.best['step']}, where {self._metric} is best, has been lost; restore it, "
                "or start in another `workdir`"
            )
        return found[1]

    def close(self) -> None:
        """Waits for the last save; raises as `Checkpoints.close` does."""
        self._checkpoints.close()

    def _is_better(self, line: Mapping[str, Any]) -> bool:
        if self._metric not in line:
            names = [name for name in line if name not in ("step", "split")]
            raise BadInput(f"there is no metric {self._metric!r}; there are {', '.join(names)}", parameter=FLAG)
        best = self._best is None or self._sign * (self._best[self._metric] - line[self._metric]) > 0
        self._best, self._since = (line, 0) if best else (self._best, self._since + 1)
        return best


def check(experiment: Experiment, flags: Flags, model: Model, held_out: HeldOut) -> None:
    """Checks the flags of the selection before anything is trained.

    Raises:
      BadInput: they contradict each other, or the model has no such metric, or it is not known which values are better.
    """
    if flags.patience and flags.select_by is None:
        raise BadInput("it needs the metric by which evaluations are compared, `select_by`", parameter="patience")
    if flags.select_by is None:
        return
    if not flags.num_validation:
        raise BadInput("the test split must not choose the parameters; give `num_validation`", parameter=FLAG)
    if flags.num_seeds > 1 or flags.coordinator is not None:
        raise BadInput("it applies to one seed in one process", parameter=FLAG)
    state, key = jax.eval_shape(model.init, jax.random.key(0)), jax.random.key(0)
    stored = jax.tree.map(lambda a: a[0], held_out.groups[0])
    names = jax.eval_shape(lambda state: model.evaluate(state, held_out.read(stored, key), key), state)
    if flags.select_by not in names and experiment.monitor is None:
        raise BadInput(f"there is no metric {flags.select_by!r}; there are {', '.join(names)}", parameter=FLAG)
    direction(experiment, flags)


def direction(experiment: Experiment, flags: Flags) -> str:
    """Which values of the metric `select_by` are better: "higher" or "lower".

    Raises:
      BadInput: it is not known.
    """
    name = flags.select_by or ""
    better = "lower" if name == "loss" else describe(name, experiment.metrics(flags)).better
    if not better:
        raise BadInput(f"it is not known whether higher or lower values of {name!r} are better", parameter=FLAG)
    return better
