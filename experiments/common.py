"""What all experiments share: what one is made of, its flags, and how a command meets bad input."""

from __future__ import annotations

import errno
import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags

from experiments import devices
from genjax import data, gradients
from genjax.data import batching
from genjax.errors import BadInput
from genjax.training import determinism
from genjax.training.fit import Examine
from genjax.types import Batch, Key, Model

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # the shared flags are the experiment's own, and stand in its --helpshort

NOT_IDENTITY = ("workdir", "data_dir", "memory_limit", "tensorboard", "coordinator", "num_processes", "process_id")
"""Flags that say where things lie, run or are shown, not what is computed; all others make the run what it is."""


class Config(SimpleNamespace):
    """A run's flags by name, as they were resolved: `config.seed`.

    Two are no flags: `runs` is the directory that the run's own lies in, where what serves several runs is kept, and
    `reduction` how the model's gradients are taken.

    Raises:
      BadInput: on reading a flag that a run of other code did not have.
    """

    reduction: gradients.Reduction = staticmethod(gradients.whole_batch)
    memory_limit: float = math.inf  # of what is trained for several runs, and has no such flag

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise BadInput(f"the run's config.json has no --{name}; open it with the code it is of")


class Finished(NamedTuple):
    """What an experiment is shown of its trained model, to draw and to measure."""

    state: Any
    dataset: data.Dataset  # as it was trained on
    examples: Batch  # the first held-out examples, at most 2000, as the model reads them
    key: Key
    workdir: Path


def load_named(config: Config) -> data.Dataset:
    """The data set that --dataset names."""
    return data.load(config.dataset, data_dir=config.data_dir)


def read_shuffled(config: Config, dataset: data.Dataset) -> batching.Source:
    """The data set in shuffled batches, drawn as 0 or 1 at every step where --binarize says so."""
    transform = batching.dynamic_binarization if config.binarize == "dynamic" else None
    limit = config.memory_limit * 2**20
    return batching.source(dataset, batch_size=config.batch_size, transform=transform, memory_limit=limit)


class Examined(NamedTuple):
    """What an experiment is shown at the start of its training, to draw and to measure by at each evaluation."""

    model: Model
    dataset: data.Dataset  # as it is trained on
    key: Key
    workdir: Path


class Experiment(NamedTuple):
    """What a module of experiments is: its flags, its model, and what it makes of the trained model."""

    name: str  # of the module
    define_flags: Callable[[], None]
    build: Callable[[Config, data.Dataset], Model]
    conclude: Callable[[Config, Finished], dict[str, float]]  # writes pictures; more metrics, and baselines, by name
    watch: Sequence[str]  # metrics for the progress bar
    resolve: Callable[[Config], None] = lambda config: None  # fills in flags whose defaults follow from others
    parts: Callable[[Config, data.Dataset], Any] | None = None  # the one encoder and decoder, for `latent_space`
    examiner: Callable[[Config, Examined], Examine] | None = None  # what it does at each evaluation, beside metrics
    load: Callable[[Config], data.Dataset] = load_named
    source: Callable[[Config, data.Dataset], batching.Source] = read_shuffled  # how training reads the data


def define_shared_flags(
    *,
    num_steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    eval_every: int,
    dataset: str = "digits",
    binarize: str = "none",
) -> None:
    """Defines the flags that every experiment has, with this one's defaults; None for what its `resolve` fills in."""
    flags.DEFINE_string(
        "dataset",
        dataset,
        "digits, faces, curve, inverse_sine, ring, grid (embedded), a TFDS name such as mnist, or folder:PATH",
    )
    flags.DEFINE_string("data_dir", None, "where TFDS data lies, as experiments.prepare leaves it")
    flags.DEFINE_enum(
        "binarize", binarize, ["none", "static", "dynamic"], "draw pixels as 0 or 1: once, or at every step"
    )
    flags.DEFINE_integer("seed", 0, "root of all random numbers of the run", lower_bound=0)

    def resolved(default: float | None) -> str:
        return "; by default as the experiment's page says" if default is None else ""

    flags.DEFINE_integer("num_steps", num_steps, "updates" + resolved(num_steps), lower_bound=1)
    flags.DEFINE_integer("batch_size", batch_size, "examples an update" + resolved(batch_size), lower_bound=1)
    flags.DEFINE_float("learning_rate", learning_rate, "Adam's" + resolved(learning_rate), lower_bound=0.0)
    flags.DEFINE_string("workdir", None, "run directory; by default runs/NAME-DATASET-SEED-(hash of the flags)")
    flags.DEFINE_integer("log_every", 100, "steps a line of train metrics", lower_bound=1)
    flags.DEFINE_integer("eval_every", eval_every, "steps between evaluations on the held-out set", lower_bound=1)
    flags.DEFINE_integer("checkpoint_every", 1000, "steps between checkpoints", lower_bound=1)
    flags.DEFINE_integer("steps_per_dispatch", 100, "updates a compiled call makes at most", lower_bound=1)
    flags.DEFINE_integer(
        "cpu_threads", determinism.DEFAULT_CPU_THREADS, "XLA's CPU threads; part of what fixes the bits", lower_bound=1
    )
    flags.DEFINE_integer(
        "memory_limit",
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**21,
        "MiB that training data may take, by default half the machine's; more are read from the disk, to the same bits",
        lower_bound=0,
    )
    flags.DEFINE_bool("tensorboard", False, "write TensorBoard scalars and images too")
    devices.define_flags()


def configuration(experiment: str, names: Iterable[str]) -> Config:
    """The flags of these names, as they were given, and the experiment's name."""
    return Config(experiment=experiment, **{name: FLAGS[name].value for name in sorted(names)})


def guarded(command: Callable[[], int | None]) -> None:
    """Parses the flags and runs a command; bad input, bad flags and a full disk are one line and exit status 2."""

    def parse(argv: Sequence[str]) -> list[str]:
        try:
            rest = FLAGS(argv)
        except flags.Error as error:
            _stop(str(error).replace("\n", " "))
        if len(rest) > 1:
            _stop(f"unknown argument {rest[1]!r}; flags are written --name=value")
        return rest

    def call(argv: Sequence[str]) -> int | None:
        del argv
        # JAX tells, as information, of each kind of device that it did not find
        logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
        try:
            return command()
        except BadInput as error:
            _stop(str(error))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            _stop(
                f"the disk is full ({error.filename or 'while writing'}); free some room and run the same command again"
            )

    app.run(call, flags_parser=parse)


def _stop(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)


def some_of(flag: str, known: Iterable[str]) -> list[str]:
    """A flag's comma-separated names, one or more of those that are known."""
    given: list[str] = getattr(FLAGS, flag)
    if not given or set(given) - set(known):
        raise BadInput(f"--{flag}={','.join(given)}: give some of {', '.join(known)}")
    return given


def widths(config: Config, flag: str) -> tuple[int, ...]:
    """A flag's comma-separated positive whole numbers; none is a choice of hidden layers only."""
    values: list[str] = getattr(config, flag)
    try:
        numbers = tuple(int(value) for value in values)
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers) or not (numbers or flag == "hidden"):
        raise BadInput(f"--{flag}={','.join(values)}: give positive whole numbers, as in --{flag}=500,250")
    return numbers


def sampler(model: Model, *, batch_size: int = 500) -> Callable[[Any, int, Key], np.ndarray]:
    """The model's samples, any number of them: (state, num, key) -> [num, ...].

    Always whole batches are drawn, so that the first samples are the same whatever their number.

    Raises:
      BadInput: the model cannot draw samples.
    """
    if model.sample is None:
        raise BadInput("the model cannot draw new samples")
    draw = jax.jit(model.sample, static_argnums=1)

    def sample(state: Any, num: int, key: Key) -> np.ndarray:
        batches = [draw(state, batch_size, jax.random.fold_in(key, b)) for b in range(-(-num // batch_size))]
        return np.concatenate([np.asarray(batch) for batch in batches])[:num]

    return sample
