"""The loop: many steps a dispatch, metrics read one dispatch late, evaluation and checkpoints at their cadence.

It knows a Model, a Source and a Placement, and nothing of what they are. Its result is a function of (model,
source, seed, num_steps) alone: how it is cut into dispatches, and when it logs, evaluates or saves, changes no bit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from genjax.data.batching import Fed, HeldOut, Source
from genjax.errors import BadInput
from genjax.training.placement import ALONE, Placement, to_host
from genjax.types import Key, Metrics, Model

Report = Callable[[int, str, dict[str, Any]], None]  # step, split ("train" or "test"), metrics: floats, or [seeds]
Save = Callable[[int, Any], None]  # step, state; the state's buffers are its own
Examine = Callable[[int, Any], dict[str, float]]  # step, state -> more test metrics


class Streams(NamedTuple):
    """The root key's streams, one for each purpose."""

    init: Key
    data: Key
    train: Key
    test: Key
    pictures: Key


def streams(seed: int, *, num_seeds: int | None = None) -> Streams:
    """Stream number i of a run is `fold_in(key(seed), i)`; those of runs `seed`, `seed + 1`, ... are stacked."""
    if num_seeds is not None:
        return jax.tree.map(lambda *keys: jnp.stack(keys), *(streams(seed + number) for number in range(num_seeds)))
    root = jax.random.key(seed)
    return Streams(*(jax.random.fold_in(root, number) for number in range(len(Streams._fields))))


def evaluator(model: Model, held_out: HeldOut, *, placement: Placement = ALONE) -> Callable[[Any, Key], Metrics]:
    """`evaluate` over a whole held-out set in one dispatch: (state, key) -> means over all its examples.

    Batch b of group g draws from `fold_in(fold_in(key, g), b)`: the same noise at every evaluation.
    """

    def group_sums(state: Any, group: Any, key: Key) -> tuple[int, Metrics]:
        batches, size = jax.tree.leaves(group)[0].shape[:2]

        def one(index_and_stored: Any) -> Metrics:
            index, stored = index_and_stored
            read_key, model_key = jax.random.split(jax.random.fold_in(key, index))
            return model.evaluate(state, held_out.read(stored, read_key), model_key)

        means = jax.lax.map(one, (jnp.arange(batches), group))
        return batches * size, jax.tree.map(lambda m: jnp.sum(m) * size, means)

    def evaluate(own: tuple[Any, Key], groups: Any) -> Metrics:
        state, key = own
        sums = [group_sums(state, group, jax.random.fold_in(key, g)) for g, group in enumerate(groups)]
        total = sum(num for num, _ in sums)
        return jax.tree.map(lambda *parts: sum(parts) / total, *(metrics for _, metrics in sums))

    compiled, groups = jax.jit(placement.wrap(evaluate)), placement.place_shared(held_out.groups)
    return lambda state, key: compiled((state, key), groups)


def _check_finite(first_step: int, values: dict[str, np.ndarray], split: str) -> None:
    """Of values by name, [steps] or [seeds, steps]."""
    finite = {name: np.isfinite(v).reshape(-1, v.shape[-1]).all(axis=0) for name, v in values.items()}
    bad = {name: int(np.argmin(steps)) for name, steps in finite.items() if not steps.all()}
    if bad:
        first = min(bad.values())
        # the loss is named where it is among them: the others follow from it
        name = "loss" if bad.get("loss") == first else min(name for name, at in bad.items() if at == first)
        raise BadInput(
            f"{split} metric {name!r} is {values[name][..., first]} at step {first_step + first}; stopped, the last "
            "good checkpoint is kept; a smaller `learning_rate` is the usual remedy"
        )


def _plain(values: Any) -> Any:
    """A number as a float; those of several seeds as they are."""
    return values if values.ndim else float(values)


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
    watch: Sequence[str] = ("loss",),
    placement: Placement = ALONE,
) -> Any:
    """Trains a model to `num_steps` updates.

    Args:
      seed: the root of every random number of the run; where there are several runs, that of the first, and the others
        have the numbers after it.
      state: where to go on from; None starts with `model.init`.
      steps_per_dispatch: updates a compiled call makes at most.
      log_every: `report(step, "train", ...)` gets the means of the train metrics over this many steps; a line also
        ends at each evaluation and checkpoint, so that a run cut there and resumed reports the same lines.
      eval_every: `report(step, "test", ...)` gets the means over the held-out set, also after the last step; 0 never.
      examine: `examine(step, state)` is called at each evaluation too, to draw or to measure; what it returns joins the
        evaluation's metrics.
      checkpoint_every: `save(step, state)` is called, also after the last step; 0 only then.
      watch: metrics that the progress bar shows.
      placement: the devices, and how many runs. Of several runs, states are stacked along a first axis, `report` gets
        arrays [seeds], and the bar shows means.

    Returns:
      The model's state after `num_steps` updates.

    Raises:
      BadInput: when a metric or a parameter is not finite, naming the step and the metric; nothing later was saved.
    """
    root = placement.place_own(streams(seed, num_seeds=placement.num_seeds))
    copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))  # the loop donates its state; what leaves it is a copy
    if state is None:
        state = jax.jit(placement.wrap(lambda key, _: model.init(key)))(root.init, ())
    else:
        state = copy(placement.place_own(state))
    step = int(np.ravel(to_host(state.step))[0])
    evaluate = evaluator(model, source.test, placement=placement) if eval_every else None
    fed = source.train.feed(streams(seed).data, step) if source.train.feed else None
    if fed is not None and placement.num_seeds is not None:
        raise BadInput("several seeds need data in memory, for each reads in an order of its own: raise `memory_limit`")
    arrays = None if fed is not None else placement.place_shared(source.train.arrays)

    def batches(first: int, num: int) -> Any:
        """What is stored of the next dispatch's batches, for any number of them in arrays of one shape."""
        stored = [next(fed) for _ in range(num)] if fed is not None else []
        padded = stored + stored[:1] * (steps_per_dispatch - num)
        return Fed(np.int32(first), placement.place_fed(jax.tree.map(lambda *a: np.stack(a), *padded)))

    start = jax.jit(placement.wrap(lambda key, shared: source.train.start(shared[0], shared[1], key)))
    carried = start(root.data, (arrays, np.int32(step)))

    def dispatch(own: tuple[Any, Any, Key, Key], shared: tuple[Any, Any, Any]) -> tuple[Any, Metrics]:
        # the number of steps is data, not shape: one compilation, and the same code however the run is cut
        state, carried, data_key, train_key = own
        arrays, first, num = shared

        @partial(jax.jit, inline=True)  # traced once for the shapes and the loop
        def one_step(index: Any, state: Any, carried: Any) -> tuple[Any, Any, Metrics]:
            carried, batch = source.train.next(arrays, carried, first + index, data_key)
            state, metrics = model.train_step(state, placement.place_batch(batch), train_key)
            return state, carried, metrics

        def body(index: Any, carry: Any) -> Any:
            state, carried, logs = carry
            state, carried, metrics = one_step(index, state, carried)
            return state, carried, jax.tree.map(lambda log, metric: log.at[index].set(metric), logs, metrics)

        shapes = jax.eval_shape(one_step, 0, state, carried)[2]
        logs = jax.tree.map(lambda s: jnp.zeros((steps_per_dispatch, *s.shape), s.dtype), shapes)
        state, carried, logs = jax.lax.fori_loop(0, num, body, (state, carried, logs))
        return (state, carried, data_key, train_key), logs

    run = jax.jit(placement.wrap(dispatch), donate_argnums=0)

    def following(every: int) -> int:
        return min((step // every + 1) * every, num_steps) if every else num_steps

    report = report or (lambda step, split, metrics: None)
    window: list[dict[str, np.ndarray]] = []  # train metrics not yet reported
    window_start = step

    def flush(upto: int) -> None:
        nonlocal window, window_start
        if upto > window_start:
            joined = {name: np.concatenate([w[name] for w in window], axis=-1) for name in window[0]}
            head = {name: values[..., : upto - window_start] for name, values in joined.items()}
            report(upto, "train", {name: _plain(np.mean(v, axis=-1, dtype=np.float64)) for name, v in head.items()})
            window = [{name: values[..., upto - window_start :] for name, values in joined.items()}]
            window_start = upto

    def read_train(start: int, num: int, logs: Metrics) -> None:
        values = {name: np.asarray(log)[..., :num] for name, log in to_host(logs).items()}
        _check_finite(start + 1, values, "train")
        window.append(values)
        for boundary in range((start // log_every + 1) * log_every, start + num + 1, log_every):
            flush(boundary)
        bar.update(num)
        bar.set_postfix(
            {name: f"{values[name][..., -1].mean():.4g}" for name in watch if name in values}, refresh=False
        )

    def read_test(step: int, metrics: Metrics, examined: Any) -> None:
        values = {name: np.asarray(metric) for name, metric in to_host(metrics).items()}
        _check_finite(step, {name: value[..., None] for name, value in values.items()}, "test")
        flush(step)
        more = {} if examine is None else examine(step, to_host(examined))
        report(step, "test", {name: _plain(value.astype(np.float64)) for name, value in values.items()} | more)

    def read_state(step: int, saved: Any) -> None:
        flush(step)
        saved = to_host(saved)
        for path, leaf in jax.tree_util.tree_leaves_with_path(saved.params):
            if not np.isfinite(np.asarray(leaf, np.float32)).all():
                raise BadInput(
                    f"parameter {jax.tree_util.keystr(path)} is not finite at step {step}; stopped, not saved"
                )
        if save is not None:
            save(step, saved)

    # what was dispatched last round, read while the device works on the next
    pending: list[Callable[[], None]] = []
    own = (state, carried, copy(root.data), copy(root.train))
    with tqdm(
        total=num_steps,
        initial=step,
        unit="step",
        file=sys.stderr,
        mininterval=0.2,
        disable=step >= num_steps or jax.process_index() > 0,
    ) as bar:
        while step < num_steps:
            num = min(steps_per_dispatch, following(eval_every) - step, following(checkpoint_every) - step)
            read_from = arrays if fed is None else batches(step, num)
            own, logs = run(own, (read_from, np.int32(step), np.int32(num)))
            if jax.process_count() > 1:  # two programs in flight would wait for each other's messages
                jax.block_until_ready(own)
            start, step, due = step, step + num, pending
            pending = [partial(read_train, start, num, logs)]
            if evaluate is not None and (step == num_steps or step % eval_every == 0):
                examined = None if examine is None else copy(own[0])
                pending.append(partial(read_test, step, evaluate(own[0], root.test), examined))
            if step == num_steps or (checkpoint_every and step % checkpoint_every == 0):
                pending.append(partial(read_state, step, copy(own[0])))
            for read in due:
                read()
        for read in pending:
            read()
    return own[0]
