"""The record of an experiment, and the records that its functions exchange with the runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax import data
from genjax.data import batching
from genjax.errors import BadInput
from genjax.gradients import Reduction
from genjax.runs.metrics import Metric
from genjax.runs.settings import Flags
from genjax.types import Array, Batch, Codec, Key, Model, Params


class Built(NamedTuple):
    """A model and the parts that it was built from."""

    model: Model
    parts: Any = None  # the networks and settings of the model, as the functions of its module take them
    auxiliaries: Any = None  # trained auxiliary models and what was computed with them; see `prepare`


class Trained(NamedTuple):
    """A model at some step of its training, and the data to measure it on."""

    model: Model
    parts: Any
    auxiliaries: Any
    state: Any
    step: int
    dataset: data.Dataset  # as used for training
    examples: Any  # a fixed random choice of at most 2000 held-out examples, as the model reads them
    key: Key  # for draws; the same at every step
    workdir: Path

    @property
    def params(self) -> Params:
        """The parameters for evaluation and sampling: the average if the model keeps one."""
        return getattr(self.state, "evaluation_params", self.state.params)

    @property
    def classes(self) -> Any:
        """The classes of the examples, [N], or None if they have none."""
        return None if self.dataset.num_classes is None else self.examples.label

    def shown(self, num: int) -> Any:
        """`num` of the examples for a picture, as `data.choose` draws them, in a fixed random order."""
        return jax.tree.map(lambda a: a[data.choose(len(a), num)], self.examples)


OF_TABLES = {"label_column": ("file:", "table:"), "column_kinds": ("table:",)}  # flags, and the data they apply to


def require_kinds(flags: Flags, kinds: Mapping[str, tuple[str, ...]]) -> None:
    """Checks that flags are given only with data sets of the kinds that they apply to.

    Raises:
      BadInput: naming the flag.
    """
    for name, starts in kinds.items():
        if getattr(flags, name) not in (None, ()) and not flags.dataset.startswith(starts):
            listed = " and ".join(f"{start}PATH" for start in starts)
            raise BadInput(f"it applies to {listed}, not to {flags.dataset}", parameter=name)


def load_named(flags: Flags, *, missing: bool = False) -> data.Dataset:
    """Loads the data set that the flags name.

    Args:
      missing: True to accept NaN in a file of arrays, as a missing value.

    Raises:
      BadInput: as `data.load` does, or for a flag that does not apply to this data set.
    """
    require_kinds(flags, {"image_size": ("folder:",)} | OF_TABLES)
    declared = [entry.rpartition("=") for entry in flags.column_kinds]
    if unnamed := [entry for entry, (name, _, _) in zip(flags.column_kinds, declared, strict=True) if not name]:
        raise BadInput(f"expected NAME=KIND, not {unnamed[0]!r}", parameter="column_kinds")
    return data.load(
        flags.dataset,
        data_dir=flags.data_dir,
        size=flags.image_size,
        label_column=flags.label_column,
        column_kinds={name: kind for name, _, kind in declared},
        missing=missing,
    )


def read_shuffled(flags: Flags, dataset: data.Dataset) -> batching.Source:
    """The data set in shuffled batches; with dynamic binarization, its pixels are drawn as 0 or 1 at every step."""
    if flags.binarize != "none":
        dataset.require_bounded("drawing pixels as 0 or 1", parameter="binarize")
    transform = batching.dynamic_binarization if flags.binarize == "dynamic" else None
    limit = flags.memory_limit * 2**20
    return batching.source(dataset, batch_size=flags.batch_size, transform=transform, memory_limit=limit)


def as_used(flags: Flags, dataset: data.Dataset) -> tuple[data.Dataset, data.Dataset | None]:
    """A data set as it is used for training: drawn as 0 or 1 if it is binarized once, without the validation examples.

    Returns:
      The data set, and the same with the validation examples in the place of the test split if there are any.

    Raises:
      BadInput: there are not enough training examples, or they are not in memory.
    """
    if flags.num_validation and dataset.train.x.nbytes > flags.memory_limit * 2**20:
        raise BadInput("it needs the training data in memory; raise `memory_limit`", parameter="num_validation")
    used = batching.statically_binarized(dataset) if flags.binarize == "static" else dataset
    return data.cut_validation(used, flags.num_validation) if flags.num_validation else (used, None)


class Application(NamedTuple):
    """Something that a trained model computes from examples that it has not seen, such as their codes.

    `each` is compiled and called on batches of one size, so its values must not depend on the rest of a batch, except
    through the key.
    """

    # params, x [B, ...], key, labels [B] if there are classes, what `fit` returned -> [B, ...], or several by name
    each: Callable[..., Any]
    fit: Callable[[Params, Batch], Any] | None = None  # from the training data, at most 10 000 examples: arrays
    read: Callable[[Path], Any] | None = None  # rows of another kind than the model's examples: arrays [N, ...]
    pack: Callable[[str, np.ndarray], dict[str, np.ndarray]] | None = None  # name, values -> a file's arrays
    num_classes: int = 0  # of a model that is conditional on the label


class Generator(NamedTuple):
    """How a trained model turns codes and labels into new data."""

    decode: Callable[..., Array]  # params, z [B, d], then labels [B] if there are classes -> means, [B, ...]
    latent_dim: int
    prior: Callable[..., Array] | None = None  # params, num, key, then labels -> z ~ p(z), [num, d]
    draw: Callable[..., Array] | None = None  # params, z, key, then labels -> draws from p(x|z), [B, ...]
    num_classes: int = 0  # of a model that is conditional on the label
    encode: Callable[..., Array] | None = None  # params, x, key, then labels -> codes z, or draws from q(z|x), [B, d]


class Collapse(NamedTuple):
    """Why training ends before its last step, with the parameters of a checkpoint from before."""

    since: int  # the step of the first evaluation that shows it
    reason: str  # what is wrong, and what to change


class Experiment(NamedTuple):
    """A page: its flags, its model, and its measures and pictures of the trained model.

    The functions are called in the order load, resolve, source, build, prepare; `monitor` at each evaluation, and
    `summarise` once, after the last step; NumPy, SciPy and scikit-learn have one thread in these two, because the last
    bits of their linear algebra depend on the number. They receive the page's own `Flags`.
    """

    name: str
    flags: type[Flags]
    build: Callable[[Any, data.Dataset, Reduction], Built]  # checks the flags; trains nothing
    summarise: Callable[[Any, Trained], dict[str, float]]  # writes pictures to `workdir`; returns more test metrics
    watch: Sequence[str] = ("loss",)  # metrics that the progress bar shows
    resolve: Callable[[Any, data.Dataset], Any] = lambda flags, dataset: (
        flags
    )  # fills in defaults that depend on others
    load: Callable[[Any], data.Dataset] = load_named
    source: Callable[[Any, data.Dataset], batching.Source] = read_shuffled  # how training reads the data
    # called after the run directory is claimed, unless the run is finished, with the cache directory of auxiliary
    # models; trains them or finds them there
    prepare: Callable[[Any, data.Dataset, Built, Path], Built] = lambda flags, dataset, built, cache: built
    monitor: Callable[[Any, Trained], dict[str, float]] | None = None  # more metrics at each evaluation
    codec: Callable[[Any], Codec] | None = None  # encoder and decoder of the parts, for exploring a latent space
    generator: Callable[[Any, Any], Generator] | None = None  # flags, parts -> how new data are made
    applications: Callable[[Any, Any], Mapping[str, Application]] = lambda flags, parts: {}  # of a trained model
    metrics: Callable[[Any], Mapping[str, Metric]] = lambda flags: {}  # units and directions that names do not show
    headline: Sequence[str] = ()  # metrics for the last line of output; by default those of `watch`, then the others
    # what the last of the evaluations so far, each a line of metrics with its step, says of the training: it is
    # printed, and kept in summary.json
    remark: Callable[[Any, Sequence[Mapping[str, Any]]], str | None] = lambda flags, evaluations: None
    # why training ends now; of several seeds or processes it does not
    collapse: Callable[[Any, Sequence[Mapping[str, Any]]], Collapse | None] = lambda flags, evaluations: None
