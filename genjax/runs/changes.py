"""Which flags of an existing run can change: those that no bit of it depends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from genjax import data, gradients
from genjax.data.batching import Fed, Source
from genjax.runs.experiment import Experiment
from genjax.runs.flags import from_config
from genjax.runs.settings import CADENCE, Flags
from genjax.training.streams import streams
from genjax.types import Model


def objection(
    experiment: Experiment, flags: Flags, dataset: data.Dataset, recorded: dict[str, Any], names: list[str]
) -> str | None:
    """Why a run cannot go on with these flags, in words that may be empty, or None if it can.

    The cadences change no bit, except that of the evaluations where one of them is selected. A larger `num_steps`
    changes none if the steps before compute the same with it, which is read off the program itself, so that no page has
    to declare it.

    Args:
      dataset: as used for training.
      recorded: the contents of the run's config.json.
      names: the flags whose values differ.
    """
    if set(names) - {"num_steps", *CADENCE}:
        return ""
    if "eval_every" in names and flags.select_by is not None:
        return ", and the evaluations choose the parameters by `select_by`"
    if "num_steps" not in names:
        return None
    then, _ = from_config(experiment.flags, {name: value for name, value in recorded.items() if name != "experiment"})
    if flags.num_steps < then.num_steps:
        return ", and a run cannot become shorter"
    if program(experiment, then, dataset) != program(experiment, flags, dataset):
        return ", and its updates depend on `num_steps`, as with a `learning_rate_schedule` other than constant"
    return None


def program(experiment: Experiment, flags: Flags, dataset: data.Dataset) -> str:
    """The program of one update and one evaluation from a fresh state, as text, with all its constants."""
    model = experiment.build(flags, dataset, gradients.whole_batch).model
    function, shapes = of_one_step(model, experiment.source(flags, dataset), flags.seed)
    return jax.jit(function).lower(*shapes).as_text()


def of_one_step(model: Model, source: Source, seed: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function that begins, makes one update and evaluates one batch, and the shapes of its arguments."""
    stream, held_out = source
    root = streams(seed)
    arrays = stream.arrays
    if stream.feed is not None:
        batch = next(stream.feed(root.data, 0))
        arrays = Fed(np.int32(0), jax.tree.map(lambda a: np.asarray(a)[None], batch))

    def one(arrays: Any, group: Any, step: Any, key: Any) -> Any:
        state, carried = model.init(key), stream.start(arrays, step, key)
        carried, batch = stream.next(arrays, carried, step, key)
        evaluated = model.evaluate(state, held_out.read(jax.tree.map(lambda a: a[0], group), key), key)
        return model.train_step(state, batch, key), carried, evaluated

    return one, jax.eval_shape(lambda *given: given, arrays, held_out.groups[0], np.int32(0), root.train)
