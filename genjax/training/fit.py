"""The loop: many steps per dispatch, results read one dispatch late, evaluation and checkpoints at their cadence.

It takes any Model, Source and Placement. Its result is a function of (model, source, seed, num_steps) alone: neither
the division into dispatches nor the times of logging, evaluation and checkpoints change a bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.batching import Fed, HeldOut, Source, Stream
from genjax.errors import BadInput
from genjax.training.compiled import jit_once
from genjax.training.evaluator import Evaluate, evaluator
from genjax.training.pace import Pace
from genjax.training.placement import ALONE, Placement, to_host
from genjax.training.reading import Examine, Reader, Report, Results, Save, Window
from genjax.training.streams import streams
from genjax.types import Key, Metrics, Model


def fit(
    model: Model,
    source: Source,
    *,
    seed: int,
    num_steps: int,
    state: Any = None,
    steps_per_dispatch: int = 100,
    log_every: int = 100,
    eval_every: int = 500,
    checkpoint_every: int = 0,
    report: Report | None = None,
    save: Save | None = None,
    examine: Examine | None = None,
    interrupted: Callable[[], bool] | None = None,
    stop: Callable[[], bool] | None = None,
    unreported: Window | None = None,
    evaluate: Evaluate | None = None,
    watch: Sequence[str] = ("loss",),
    progress: bool = True,
    placement: Placement = ALONE,
) -> Any:
    """Trains a model to `num_steps` updates.

    Args:
      seed: the seed of all random numbers; of several runs, the seed of the first, and the others have the seeds after
        it.
      state: the state to resume from; None starts from `model.init`.
      steps_per_dispatch: the most updates per compiled call; fewer where they take longer than a second.
      log_every: steps per call of `report`.
      eval_every: steps between evaluations on the held-out set, the last of which is after the last step; 0 for none.
      checkpoint_every: steps between calls of `save`, the last of which is after the last step; 0 for that one only.
      report: `report(step, "train", metrics)` gets the means of the train metrics over the steps since the last line; a
        line also ends at each evaluation and checkpoint, so that a run cut there and resumed reports the same lines.
        `report(step, "test", metrics)` gets the means over the held-out set.
      save: `save(step, state)` gets a copy of the state.
      examine: `examine(step, state)` is called at each evaluation too, to draw or to measure; the metrics that it
        returns are added to those of the evaluation.
      interrupted: called between compiled calls. Once it returns True, the state that has been reached is given to
        `save` and returned; in a run of several processes it must return the same in all of them.
      stop: called at the start and after each evaluation has been reported. Once it returns True, training ends as
        after an interruption.
      unreported: the train metrics since the last line of the run that reached `state`. After an interruption it holds
        those of this one, so that the run reports the same lines as without it.
      evaluate: what `evaluator` returns for this model, source and placement, if the caller has compiled it already.
      watch: train metrics that the progress bar shows.
      progress: whether to show a progress bar on standard error, or occasional lines if it is not a terminal.
      placement: the devices, and the number of runs. The states of several runs are stacked along a first axis,
        `report` gets arrays [seeds], and the progress bar shows means.

    Returns:
      The model's state after `num_steps` updates, or fewer if it was interrupted or stopped: see its `step`.

    Raises:
      BadInput: an argument is not valid; or a metric or a parameter is not finite, in which case the message names it
        and the step, and nothing later is saved.
    """
    _check_kinds(model, source, state, watch, placement)
    _check_callable(report=report, save=save, examine=examine, interrupted=interrupted, stop=stop)
    _check_numbers(seed, placement, num_steps, steps_per_dispatch, log_every, eval_every, checkpoint_every)
    root = placement.place_own(streams(seed, num_seeds=placement.num_seeds))
    copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))  # the loop donates its state, so results are copied out
    state = _initial(model, root.init, placement) if state is None else copy(placement.place_own(state))
    first = step = int(np.ravel(to_host(state.step))[0])
    evaluate = (evaluate or evaluator(model, source.test, placement=placement)) if eval_every else None
    carried, batches = _begin(source.train, root.data, seed, step, steps_per_dispatch, placement)
    run = _dispatcher(model, source.train, steps_per_dispatch, placement)

    own = (state, carried, copy(root.data), copy(root.train))
    hooks = {"report": report, "save": save, "examine": examine, "unreported": unreported}
    pace = Pace(steps_per_dispatch, fixed=jax.process_count() > 1)
    # unread are the results of the last dispatch: they are read while the device works on the next
    unread, stopped = [], stop is not None and stop()
    with Reader(step, num_steps, log_every=log_every, watch=watch, progress=progress, **hooks) as reader:
        while step < num_steps and not stopped and not (interrupted is not None and interrupted()):
            end = min(step + pace.steps(), _next(eval_every, step, num_steps), _next(checkpoint_every, step, num_steps))
            began = time.monotonic()
            own, logs = run(own, (batches(step, end - step), np.int32(step), np.int32(end - step)))
            if jax.process_count() > 1:  # two programs in flight would wait for each other
                jax.block_until_ready(own)
            results = Results(step, end, began, logs)
            if evaluate is not None and end == _next(eval_every, step, num_steps):
                examined = None if examine is None else copy(own[0])
                results = results._replace(test=evaluate(own[0], root.test), examined=examined)
            if end == _next(checkpoint_every, step, num_steps):
                results = results._replace(saved=copy(own[0]))
            ends = results.test is not None and stop is not None  # or may end: it is read before the next is called
            for each in [*unread, results] if ends else unread:
                reader.read(each)
                pace.count(each.step - each.start, time.monotonic() - each.began)
            step, unread, stopped = end, [] if ends else [results], bool(ends and stop and stop())
        for each in unread:
            reader.read(each)
        if first < step < num_steps:
            reader.read_interrupted(step, copy(own[0]))
    return own[0]


def _initial(model: Model, key: Key, placement: Placement) -> Any:
    """The state of a run, or of each of several, before its first step."""
    return jit_once(placement.wrap(lambda key, _: model.init(key)))(key, ())


def _next(every: int, step: int, num_steps: int) -> int:
    """The first step after `step` at which an event is due that occurs at multiples of `every` and at the end."""
    return min((step // every + 1) * every, num_steps) if every else num_steps


def _dispatcher(model: Model, stream: Stream, most: int, placement: Placement) -> Callable[[Any, Any], Any]:
    """Any number of updates up to `most`, in one compiled call that overwrites its first argument.

    Returns:
      A function (own, shared) -> (own, logs) of own = (state, what the stream carries, data key, train key) and
      shared = (arrays, first step, number of steps), whose logs are the train metrics by name, each [most].
    """

    def dispatch(own: tuple[Any, Any, Key, Key], shared: tuple[Any, Any, Any]) -> tuple[Any, Metrics]:
        # the number of steps is data, not shape: one compilation, and the same code however the run is cut
        state, carried, data_key, train_key = own
        arrays, first, num = shared

        @partial(jax.jit, inline=True)  # traced once for the shapes and the loop
        def one_step(index: Any, state: Any, carried: Any) -> tuple[Any, Any, Metrics]:
            carried, batch = stream.next(arrays, carried, first + index, data_key)
            state, metrics = model.train_step(state, placement.place_batch(batch), train_key)
            return state, carried, metrics

        def body(index: Any, carry: Any) -> Any:
            state, carried, logs = carry
            state, carried, metrics = one_step(index, state, carried)
            return state, carried, jax.tree.map(lambda log, metric: log.at[index].set(metric), logs, metrics)

        shapes = jax.eval_shape(one_step, 0, state, carried)[2]
        logs = jax.tree.map(lambda s: jnp.zeros((most, *s.shape), s.dtype), shapes)
        state, carried, logs = jax.lax.fori_loop(0, num, body, (state, carried, logs))
        return (state, carried, data_key, train_key), logs

    return jax.jit(placement.wrap(dispatch), donate_argnums=0)


def _begin(
    stream: Stream, key: Key, seed: int, step: int, most: int, placement: Placement
) -> tuple[Any, Callable[[int, int], Any]]:
    """What a stream carries at a step, and the function (first step, number) -> what a dispatch reads from."""
    arrays, batches = _stored(stream, seed, step, most, placement)
    start = jit_once(placement.wrap(lambda key, shared: stream.start(shared[0], shared[1], key)))
    return start(key, (arrays, np.int32(step))), batches


def _stored(
    stream: Stream, seed: int, step: int, most: int, placement: Placement
) -> tuple[Any, Callable[[int, int], Any]]:
    """The arrays that a stream starts from, and the function (first step, number) -> what a dispatch reads from.

    A fed stream gives the stored batches of these steps, in arrays whose shape does not depend on their number.
    """
    if stream.feed is None:
        arrays = placement.place_shared(stream.arrays)
        return arrays, lambda first, num: arrays
    if placement.num_seeds is not None:
        raise BadInput(
            "several seeds need data in memory, because each reads in a different order; raise `memory_limit`"
        )
    fed = stream.feed(streams(seed).data, step)

    def batches(first: int, num: int) -> Fed:
        stored = [next(fed) for _ in range(num)]
        padded = stored + stored[:1] * (most - num)
        return Fed(np.int32(first), placement.place_fed(jax.tree.map(lambda *a: np.stack(a), *padded)))

    return None, batches


def _check_kinds(model: Any, source: Any, state: Any, watch: Any, placement: Any) -> None:
    if not all(callable(getattr(model, name, None)) for name in ("init", "train_step", "evaluate")):
        raise BadInput(f"{_kind(model)} is not a Model; the factories in genjax.models make one", parameter="model")
    halves = getattr(source, "train", None), getattr(source, "test", None)
    if not (isinstance(halves[0], Stream) and isinstance(halves[1], HeldOut)):
        raise BadInput(
            f"{_kind(source)} is not a Source; genjax.data.batching.source(dataset, batch_size=...) makes one of a "
            "Dataset",
            parameter="source",
        )
    if isinstance(watch, str):
        raise BadInput(f"{watch!r} is one name; give a tuple, ({watch!r},)", parameter="watch")
    if not isinstance(watch, Sequence):
        raise BadInput(f"{_kind(watch)} is not a sequence of names of train metrics", parameter="watch")
    if state is not None and not hasattr(state, "step"):
        raise BadInput(f"{_kind(state)} is not a state of this model, as `fit` returns it", parameter="state")
    if not isinstance(placement, Placement):
        raise BadInput(
            f"{_kind(placement)} is not a Placement; genjax.training.placement makes one", parameter="placement"
        )


def _check_callable(**hooks: Any) -> None:
    for name, hook in hooks.items():
        if hook is not None and not callable(hook):
            raise BadInput(f"{_kind(hook)} is not a function", parameter=name)


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _check_numbers(
    seed: int,
    placement: Placement,
    num_steps: int,
    steps_per_dispatch: int,
    log_every: int,
    eval_every: int,
    checkpoint_every: int,
) -> None:
    bounds = {
        "seed": (seed, 0, 2**32 - (placement.num_seeds or 1)),  # of a larger seed JAX uses only the last 32 bits
        "num_steps": (num_steps, 0, 2**31 - 1),
        "steps_per_dispatch": (steps_per_dispatch, 1, 2**31 - 1),
        "log_every": (log_every, 1, None),
        "eval_every": (eval_every, 0, None),
        "checkpoint_every": (checkpoint_every, 0, None),
    }
    for name, (value, least, most) in bounds.items():
        whole = hasattr(value, "__index__")
        if not whole or value < least or (most is not None and value > most):
            upper = "" if most is None else f" and at most {most}"
            raise BadInput(f"expected a whole number of at least {least}{upper}, not {value!r}", parameter=name)
