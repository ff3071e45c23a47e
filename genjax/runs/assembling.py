"""From flags to data and a model: all that is checked before anything is written or trained."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import jax

from genjax import data, gradients
from genjax.data import batching
from genjax.errors import BadInput
from genjax.runs import changes, devices, selection, starting
from genjax.runs.claiming import config
from genjax.runs.experiment import OF_TABLES, Built, Experiment, as_used, require_kinds
from genjax.runs.flags import require, specs
from genjax.runs.settings import NOT_IDENTITY, Flags
from genjax.stderr import print_line
from genjax.training import portable


class Assembled(NamedTuple):
    """What the flags of a run come to, before anything is written or trained."""

    flags: Flags  # with all defaults
    dataset: data.Dataset
    stored: data.Dataset  # as used for training
    source: batching.Source
    validation: tuple[data.Dataset, batching.Source] | None  # both with the validation split as their test split
    built: Built
    initial: starting.Initial | None  # the weights to start from, where they are given


def assemble(experiment: Experiment, flags: Flags) -> Assembled:
    """Loads the data, builds the model and reads initial weights; checks the flags against them and the machine.

    Raises:
      BadInput: the flags contradict each other, the data or the machine.
    """
    require_kinds(flags, OF_TABLES)  # for the pages that load their data in a way of their own too
    dataset = experiment.load(flags)
    stored, validation = as_used(flags, dataset)
    flags = experiment.resolve(_with_smaller_batches(experiment, flags, stored), stored)
    require(flags)
    devices.check(flags)
    source = experiment.source(flags, stored)
    built = experiment.build(flags, stored, devices.reduction(flags))
    state = jax.eval_shape(built.model.init, jax.random.key(0))
    if flags.averaging and not getattr(state, "average", ()):
        raise BadInput(f"{experiment.name} does not keep an average of its parameters", parameter="averaging")
    devices.check_memory(flags, stored, source, state)
    watched = None if validation is None else (validation, experiment.source(flags, validation))
    selection.check(experiment, flags, built.model, source.test)
    if flags.portable_bits:
        reduction = gradients.ordered(flags.shards) if flags.shards else gradients.whole_batch  # of one device
        alone = experiment.build(flags, stored, reduction)
        function, shapes = changes.of_one_step(alone.model, source, flags.seed)
        portable.check(function, *shapes)
    initial = None if flags.initial_weights is None else starting.read(flags.initial_weights, built.model)
    return Assembled(flags, dataset, stored, source, watched, built, initial)


def _with_smaller_batches(experiment: Experiment, flags: Flags, dataset: data.Dataset) -> Flags:
    """The flags with all training examples as a batch, where there are fewer than the experiment's default takes."""
    num = len(dataset.train.x)
    if flags.batch_size is None or flags.batch_size <= num or flags.batch_size != experiment.flags().batch_size:
        return flags
    print_line(f"note: batch_size is {num}, as there are no more training examples")
    return flags.replace(batch_size=num)


def default_workdir(experiment: Experiment, flags: Flags, initial: starting.Initial | None = None) -> Path:
    """runs/NAME-DATASET-SEED-HASH, with a hash of the flags that identify the run, and of its initial weights."""
    known = flags if initial is None else flags.replace(initial_weights=initial.sha256)  # wherever their file is
    left_out = {spec.name for spec in specs(type(known)) if spec.newer and getattr(known, spec.name) == spec.default}
    left_out |= set(NOT_IDENTITY)
    identity = {name: value for name, value in config(experiment, known).items() if name not in left_out}
    short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    dataset = flags.dataset.rpartition("/")[2].rpartition(":")[2]
    return Path("runs") / f"{experiment.name}-{dataset}-seed{flags.seed}-{short}"
