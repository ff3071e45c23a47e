"""From an experiment and its flags to a trained model and a run directory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from genjax import data
from genjax.data import outline
from genjax.drawing import saving
from genjax.errors import BadInput
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import (
    auxiliary,
    changes,
    command,
    devices,
    directory,
    hosts,
    interruption,
    opening,
    selection,
    starting,
    unreported,
)
from genjax.runs.assembling import assemble, default_workdir
from genjax.runs.claiming import claim
from genjax.runs.experiment import Experiment
from genjax.runs.metrics import headline
from genjax.runs.opening import Run
from genjax.runs.recording import LOG, Recorder, Setting
from genjax.runs.recording_seeds import SeedsRecorder
from genjax.runs.settings import Flags
from genjax.stderr import print_line
from genjax.training import checkpoint, determinism
from genjax.training.compiled import keep_compiled
from genjax.training.evaluator import Evaluate, evaluator, standard_errors
from genjax.training.fit import fit
from genjax.training.placement import Placement, to_host
from genjax.training.reading import Window
from genjax.training.streams import streams
from genjax.types import Metrics, Model


def main(experiment: Experiment) -> None:
    """Runs an experiment from the command line.

    The exit status is 0, or 2 after one line on standard error for an error that the user can correct.
    """
    command.run(lambda flags: _train(experiment, flags) and None, experiment.flags, experiment=experiment.name)


def train(experiment: Experiment, flags: Flags, *, workdir: str | Path | None = None) -> Run:
    """Trains a run, or resumes it, as the command line does.

    The directory, its files and all bits are the same as those of the command with the same flags.

    Args:
      flags: the experiment's own `Flags`, for one seed; several in one program need the command line.
      workdir: the run directory; replaces `flags.workdir`.

    Returns:
      The finished run, as `runs.open` returns it.

    Raises:
      TypeError: the flags are those of another experiment.
      BadInput: the flags contradict each other, the data or the machine, or the directory belongs to another run.
    """
    if not isinstance(flags, experiment.flags):
        raise TypeError(f"{experiment.name} takes flags of the class {experiment.flags}, not {type(flags)}")
    if flags.num_seeds > 1:  # one `Run` cannot hold them
        raise BadInput("train each seed by itself, or use the command line", parameter="num_seeds")
    found = _train(experiment, flags if workdir is None else flags.replace(workdir=str(workdir)))
    return opening.open(found, experiment=experiment)


class _Prepared(NamedTuple):
    """A run that is ready to start or to resume."""

    setting: Setting
    flags: Flags
    workdir: Path
    placement: Placement
    finished: bool


def _train(experiment: Experiment, flags: Flags) -> Path:
    """Trains a run to the end unless it is finished; returns its directory."""
    with contextlib.ExitStack() as held, saving.formats(flags.figure_formats):
        run = _prepare(experiment, flags, held)
        if not run.finished:
            _fit(run)
        if hosts.is_first():
            how = "already finished" if run.finished else "finished"
            print(summary_line(run.workdir, how, experiment.headline or experiment.watch))
        return run.workdir


def _prepare(experiment: Experiment, flags: Flags, held: contextlib.ExitStack) -> _Prepared:
    """Loads the data, builds the model and claims the directory; nothing is trained before that.

    Args:
      held: what keeps the directory locked.
    """
    if flags.workdir and not directory.is_finished(expand_user(flags.workdir, parameter="workdir")):
        refuse_unwritable(expand_user(flags.workdir), parameter="workdir")
    determinism.set_up(cpu_threads=flags.cpu_threads, portable_bits=flags.portable_bits)
    keep_compiled()
    hosts.join(flags)
    flags, dataset, stored, source, validation, built, initial = assemble(experiment, flags)
    known = {} if initial is None else {starting.DIGEST: initial.sha256}
    workdir = expand_user(flags.workdir) if flags.workdir else default_workdir(experiment, flags, initial)
    flags = flags.replace(  # the same from any directory
        dataset=data.absolute(flags.dataset),
        data_dir=_absolute(flags.data_dir, "data_dir"),
        initial_weights=_absolute(flags.initial_weights, starting.FLAG),
    )
    manifest = directory.manifest(
        seed=flags.seed, data_fingerprint=dataset.fingerprint, bits_of_devices=devices.bits_of(flags)
    ) | {"data": outline.record(stored), **known}
    setting = Setting(experiment, built, stored, source, manifest, _warn, validation)
    if hosts.is_first():
        held.enter_context(directory.locked(workdir))
        claim(workdir, setting, flags, objection=partial(changes.objection, experiment, flags, stored))
        if not directory.is_finished(workdir):
            for seed in range(flags.seed, flags.seed + flags.num_seeds) if flags.num_seeds > 1 else ():
                held.enter_context(directory.locked(workdir / f"seed-{seed}"))
    multihost_utils.sync_global_devices("the run directory is claimed")
    finished = directory.is_finished(workdir)
    if not finished:
        with auxiliary.used() as auxiliaries:
            built = experiment.prepare(flags, stored, built, workdir.parent)
        if hosts.is_first():
            auxiliary.note(workdir, auxiliaries, warn=_warn)
        if initial is not None:
            built = built._replace(model=starting.starting_from(built.model, initial.params))
        setting = setting._replace(built=built, auxiliaries=auxiliaries)
    return _Prepared(setting, flags, workdir, devices.place(flags), finished)


def _absolute(path: str | None, parameter: str) -> str | None:
    """A path of the user's in full."""
    return None if path is None else str(expand_user(path, parameter=parameter).absolute())


def _fit(run: _Prepared) -> None:
    """Trains from the last checkpoint to the end, and writes the results.

    Raises:
      Interrupted: a signal came while training; the step that had been reached is saved.
    """
    flags, (experiment, built, *_) = run.flags, run.setting
    name, folder = directory.read_manifest(run.workdir).get("run"), run.workdir / "checkpoints"
    template = _template(built.model, run.placement)
    with (
        interruption.awaited() as request,
        checkpoint.Checkpoints(folder, keep=flags.keep_checkpoints, run=name, warn=_warn) as checkpoints,
    ):
        first_step, state = checkpoints.restore(template) or (0, None)
        start = f"from step {first_step}" if first_step else "from the start"
        print_line(f"{experiment.name} on {run.setting.dataset.name}, {start}, in {run.workdir}")
        chosen = _selection(run, name)
        recorder = _recorder(run, first_step, checkpoints.note or {}, chosen, template)
        pending = unreported.read(run.workdir, first_step, warn=_warn)
        source = run.setting.watched[1]
        evaluate = evaluator(built.model, source.test, placement=run.placement)
        began = time.monotonic()
        try:
            with devices.matrix_products(flags):
                state = fit(
                    built.model,
                    source,
                    seed=flags.seed,
                    num_steps=flags.num_steps,
                    state=state,
                    steps_per_dispatch=flags.steps_per_dispatch,
                    log_every=flags.log_every,
                    eval_every=flags.eval_every,
                    checkpoint_every=flags.checkpoint_every,
                    report=recorder.report if hosts.is_first() else None,
                    save=partial(_save, run, recorder, pending, checkpoints),
                    examine=recorder.examine,
                    interrupted=lambda: hosts.agreed(request.number) > 0,
                    stop=None if chosen is None else lambda: chosen.stopped,
                    unreported=pending,
                    evaluate=evaluate,
                    watch=experiment.watch,
                    placement=run.placement,
                )
            seconds, signal = time.monotonic() - began, hosts.agreed(request.number)
            reached = int(np.ravel(to_host(state.step))[0])
            state = chosen.restore(template) if chosen and not signal else state
            final, errors = (None, {}) if signal else _measured(run, evaluate, state)
            state = to_host(state)
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            hosts.leave(error)
    if signal:
        recorder.close()
        raise interruption.Interrupted(signal, _how_to_go_on(run, reached))
    if hosts.is_first():
        (run.workdir / directory.UNREPORTED).unlink(missing_ok=True)
        rate = round((reached - first_step) / seconds, 1)
        speed = {"num_steps": reached, "seconds": round(seconds, 2), "steps_per_second": rate}
        recorder.finish(jax.tree.map(jnp.asarray, state), speed, errors, final)


def _save(
    run: _Prepared,
    recorder: Recorder | SeedsRecorder,
    pending: Window,
    checkpoints: checkpoint.Checkpoints,
    step: int,
    state: Any,
) -> None:
    """Saves the state of a step, and the train metrics before it that no line has reported."""
    if hosts.is_first():
        recorder.sync()  # flush the metrics first: resuming relies on the lines before a checkpoint
        if pending.start < step:
            unreported.write(run.workdir, step, pending)
    checkpoints.save(step, state, note=recorder.logs if hosts.is_first() else None)


def _selection(run: _Prepared, name: str | None) -> selection.Selection | None:
    """What keeps the best evaluation of the run, if the flags name a metric for it."""
    flags = run.flags
    if flags.select_by is None:
        return None
    better = selection.direction(run.setting.experiment, flags)
    folder = run.workdir / directory.BEST
    return selection.Selection(folder, flags.select_by, better=better, patience=flags.patience, run=name, warn=_warn)


def _recorder(
    run: _Prepared, first_step: int, logs: Any, chosen: selection.Selection | None, template: Any
) -> Recorder | SeedsRecorder:
    """Writes the directory of the run, from `first_step` on."""
    if run.placement.num_seeds is not None:
        return SeedsRecorder(run.setting, run.flags, run.workdir, first_step, logs)
    alone = run.flags.coordinator is None  # the other processes would not end
    recorder = Recorder(run.setting, run.flags, run.workdir, first_step, logs, chosen, may_end=alone)
    if chosen is not None:
        chosen.resume(template, directory.read_metrics(run.workdir / LOG))
    return recorder


def _measured(run: _Prepared, evaluate: Evaluate, state: Any) -> tuple[Metrics | None, dict[str, np.ndarray]]:
    """The metrics of the trained state on the test split if they are not known yet, and their standard errors."""
    key = run.placement.place_own(streams(run.flags.seed, num_seeds=run.placement.num_seeds).test)
    if run.setting.validation is None:
        return None, standard_errors(evaluate, state, key, progress=True)
    evaluate = evaluator(run.setting.built.model, run.setting.source.test, placement=run.placement)
    return to_host(evaluate(state, key)), standard_errors(evaluate, state, key, progress=True)


def _how_to_go_on(run: _Prepared, step: int) -> str:
    """The line at the end of a run that was interrupted."""
    name, num_steps = run.setting.experiment.name, run.flags.num_steps
    reached = f"after step {step} of {num_steps}, which is saved" if step else "before its first step"
    return f"{name} stopped {reached}; start it again with the same flags to go on from there, in {run.workdir}"


def _template(model: Model, placement: Placement) -> Any:
    """The state's shapes and dtypes."""
    key = streams(0, num_seeds=placement.num_seeds).init
    return jax.eval_shape(model.init if placement.num_seeds is None else jax.vmap(model.init), key)


def summary_line(workdir: Path, how: str, first: Sequence[str] = ()) -> str:
    """A finished run on one line: its speed, a few metrics (`first` comes first) and the hashes of its parameters."""
    summary = directory.read_summary(workdir)
    values, deviations = summary["metrics"], summary.get("metrics_deviation", {})
    errors = summary.get("metrics_standard_error", {})
    shown = headline(list(values), first)
    metrics = ", ".join(
        f"{name} {values[name]:.4f}"
        + (f" +- {deviations[name]:.4f}" if name in deviations else "")
        + (f" (s.e. {errors[name]:.4f})" if errors.get(name, 0.0) >= 5e-5 else "")
        for name in shown
    )
    metrics += f" and {len(values) - len(shown)} more in summary.json" if len(shown) < len(values) else ""
    sha256 = summary["params_sha256"]
    hashes = {"": sha256} if isinstance(sha256, str) else {f" of seed {seed}": value for seed, value in sha256.items()}
    return (
        f"{summary['experiment']} {how}: {summary['num_steps']} steps in {summary['seconds']} s "
        f"({summary['steps_per_second']} steps/s); test {metrics}; "
        f"{', '.join(f'params_sha256{whose} {value}' for whose, value in hashes.items())}; {workdir}"
    )


def _warn(line: str) -> None:
    print_line(f"warning: {line}")
