"""Opens the directory of a run: its flags, data, model and trained state."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data, gradients
from genjax.data import batching, outline
from genjax.errors import BadInput
from genjax.paths import expand_user
from genjax.runs import agreement, sampling
from genjax.runs import directory as run_directory
from genjax.runs.experiment import Built, Experiment, as_used
from genjax.runs.flags import Record, flag, from_config, require
from genjax.training import determinism
from genjax.types import Array, Batch, Codec, Key, Model, Params

PAGES = "experiments"
"""The package in which experiments are looked up by name."""


class Run(NamedTuple):
    """A trained run: its flags, data and model, and its trained state."""

    directory: Path
    experiment: Experiment
    flags: Any  # the experiment's own record
    dataset: data.Dataset  # as used for training; without its content if the run was opened so
    model: Model
    parts: Any
    state: Any  # of a checkpoint, by default the last
    step: int

    @property
    def params(self) -> Params:
        """The parameters for evaluation and sampling: the average if the model keeps one."""
        return getattr(self.state, "evaluation_params", self.state.params)

    @property
    def metrics(self) -> dict[str, float]:
        """The final test metrics of a finished run."""
        return run_directory.read_summary(self.directory)["metrics"]

    def sample(self, num: int, key: Key, *context: Array) -> np.ndarray:
        """New samples, [num, ...]; of a conditional model, given a context such as labels, [num]."""
        return sampling.draw(self.model, self.state, num, key, *context)

    def codec(self) -> Codec:
        """The run's encoder and decoder.

        Raises:
          BadInput: the model has none.
        """
        if self.experiment.codec is None:
            raise BadInput(f"{self.directory}: a run of {self.experiment.name} has no encoder and decoder to explore")
        return self.experiment.codec(self.parts)


class OpeningFlags(Record):
    """Run."""

    run: str | None = flag(None, "directory of the run")
    page: str | None = flag(None, "module that defines the run's experiment; by default the one in `experiments`")
    data_dir: str | None = flag(None, "directory of the run's data, if it has moved")
    dataset: str | None = flag(None, "name of the run's data set, such as folder:PATH, if it has moved")
    step: int | None = flag(None, "step of the checkpoint to use, by default the last", at_least=0)

    @property
    def directory(self) -> Path:
        """The directory of the run, which has to be given."""
        if not self.run:
            raise BadInput("give the directory of a trained run", parameter="run")
        return Path(self.run)

    def open_run(self, *, with_data: bool = True) -> Run:
        """The run, as `open` returns it."""
        return open(
            self.directory,
            experiment=of_module(self.page) if self.page else None,
            data_dir=self.data_dir,
            dataset=self.dataset,
            with_data=with_data,
            step=self.step,
        )


def open(
    directory: str | Path,
    *,
    experiment: Experiment | None = None,
    data_dir: str | None = None,
    dataset: str | None = None,
    with_data: bool = True,
    step: int | None = None,
) -> Run:
    """Opens the directory of a run that has saved a checkpoint.

    The directory is data, whoever it is from: no code that it names is run, except a page of the package `experiments`.

    Args:
      experiment: the experiment of the run; by default it is looked up by name in the package `experiments`.
      data_dir: the directory of the data, if it has moved.
      dataset: the name of the data set, such as folder:PATH, if it has moved; its content must be the same.
      with_data: False to do without the data where the model can be built without: `Run.dataset` then has only the
        shapes of its arrays.
      step: the step of the checkpoint to open, by default the last.

    Raises:
      BadInput: the directory is not that of a run, or a file of it is damaged; the experiment is unknown; or the run
        was trained on other data.
    """
    directory = expand_user(directory).absolute()  # the same directory if the process changes to another
    record = agreement.read(directory)
    experiment = find(record.name) if experiment is None else experiment
    if experiment.name != record.name:
        raise BadInput(f"{directory} is a run of {record.name}, not of {experiment.name}")
    flags, missing = read_flags(directory, experiment, record.config)
    if missing:
        print(f"warning: {directory} has no value for {', '.join(missing)}; the defaults are used", file=sys.stderr)
    if flags.num_seeds > 1:
        raise BadInput(
            f"{directory} holds {flags.num_seeds} runs; give one of them, such as {directory}/seed-{flags.seed}"
        )
    determinism.set_up(cpu_threads=flags.cpu_threads, portable_bits=flags.portable_bits)
    checkpoint = agreement.checkpoint(record, step=step)
    flags = moved(flags, data_dir=data_dir, dataset=dataset)
    stored, built = _build(record, experiment, flags, with_data=with_data)
    state = checkpoint.part("", jax.eval_shape(built.model.init, jax.random.key(0)))
    return Run(directory, experiment, flags, stored, built.model, built.parts, state, checkpoint.step)


def read_flags(directory: Path, experiment: Experiment, config: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The flags in the config.json of a run, and the names of those that it lacks, which get their defaults.

    Raises:
      BadInput: the experiment has no such flag, or a value is not valid.
    """
    source = str(directory / "config.json")
    own = {name: value for name, value in config.items() if name != "experiment"}
    flags, missing = from_config(experiment.flags, own, source=source)
    try:
        require(flags)
    except BadInput as error:
        raise BadInput(f"{source} has a value that is not valid: {error}") from None
    return flags, missing


def moved(flags: Any, *, data_dir: str | None, dataset: str | None) -> Any:
    """A run's flags with the place of its data replaced by another one, where that is given."""
    flags = flags if data_dir is None else flags.replace(data_dir=data_dir)
    return flags if dataset is None else flags.replace(dataset=dataset)


def _build(
    record: agreement.Record, experiment: Experiment, flags: Any, *, with_data: bool
) -> tuple[data.Dataset, Built]:
    """A run's data as used for training, and its model."""
    manifest = record.manifest
    if not with_data and "data" in manifest:  # runs of earlier versions have no such entry
        known = outline.read(manifest["data"])
        with contextlib.suppress(outline.NoContent):
            return known, experiment.build(flags, known, gradients.whole_batch)
    dataset, fingerprint = experiment.load(flags), manifest["data_fingerprint"]
    if dataset.fingerprint != fingerprint:
        raise BadInput(
            f"{record.workdir} was trained on data of fingerprint {fingerprint}, not {dataset.fingerprint}; give its "
            "place as `dataset` or `data_dir`"
        )
    stored, _ = as_used(flags, dataset)
    return stored, experiment.build(flags, stored, gradients.whole_batch)


def find(name: str) -> Experiment:
    """The experiment of this name in the package `experiments`; no other module there is imported.

    Raises:
      BadInput: there is none.
    """
    module = f"{PAGES}.{name}"
    known = importlib.util.find_spec(PAGES) is not None and re.fullmatch(r"[a-z]\w*", name, re.ASCII)
    if not known or not _has_record(importlib.util.find_spec(module)):
        raise BadInput(
            f"the package {PAGES} has no experiment {name!r}; give its module as `page`, in a script its `experiment`"
        )
    return of_module(module)


def _has_record(spec: importlib.machinery.ModuleSpec | None) -> bool:
    """Whether a module assigns an EXPERIMENT, by its text alone."""
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return False
    statements = ast.parse(Path(spec.origin).read_bytes()).body
    targets = [target for each in statements for target in getattr(each, "targets", [getattr(each, "target", None)])]
    return any(isinstance(target, ast.Name) and target.id == "EXPERIMENT" for target in targets)


def of_module(module: str) -> Experiment:
    """The `EXPERIMENT` of a module.

    Raises:
      BadInput: the module does not exist or has none.
    """
    try:
        found = getattr(importlib.import_module(module), "EXPERIMENT", None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise BadInput(f"there is no module {module!r}") from None
    if not isinstance(found, Experiment):
        raise BadInput(f"the module {module!r} has no EXPERIMENT")
    return found


def read(run: Run, split: data.Split, key: Key, *, at_most: int) -> Batch:
    """Examples that stand for a split, in the form that the model takes; dynamic binarization draws from the key."""
    transform = batching.dynamic_binarization if run.flags.binarize == "dynamic" else None
    held_out = batching.held_out(
        split.sample(at_most), batch_size=at_most, scale=run.dataset.scale, transform=transform
    )
    return held_out.read(jax.tree.map(lambda a: jnp.asarray(a[0]), held_out.groups[0]), key)


def apply(function: Callable[[Params, Array], Array], params: Params, inputs: Array, *, batch_size: int = 500) -> Array:
    """Applies `function(params, inputs)` to any number of inputs, in batches of one compiled size."""
    return jax.jit(
        lambda params, inputs: jax.lax.map(lambda one: function(params, one[None])[0], inputs, batch_size=batch_size)
    )(params, inputs)
