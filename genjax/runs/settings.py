"""The flags that every experiment has, by purpose; a page extends `Flags` with those of its model."""

from __future__ import annotations

from typing import Any

from genjax import memory
from genjax.drawing.saving import FORMATS
from genjax.runs.flags import Record, flag
from genjax.training import determinism

NOT_IDENTITY = (
    "workdir",
    "data_dir",
    "memory_limit",
    "tensorboard",
    "figure_formats",
    "keep_checkpoints",
    "coordinator",
    "num_processes",
    "process_id",
)
"""Flags that say only where a run's files are and which of them stay, where it runs and how it is shown. All others
identify the run."""

CADENCE = ("log_every", "eval_every", "checkpoint_every", "steps_per_dispatch")
"""Flags that say when a run is looked at. No bit depends on them, but its metric lines do. With `select_by`, the final
parameters depend on `eval_every`."""

SCHEDULES = ("constant", "cosine", "linear", "exponential")  # of the learning rate


def figure_formats() -> Any:
    """The flag of commands that draw figures."""
    return flag((), "vector formats in which figures are also written", choices=FORMATS, may_be_empty=True)


HALF_OF_MEMORY = memory.PHYSICAL // 2**21  # MiB


class DataFlags(Record):
    """Data."""

    dataset: str = flag(
        "digits",
        "name of the data set: digits, faces, sprites, sprites_64, curve, inverse_sine, ring, grid, breast_cancer or "
        "wine (built in), a name from TensorFlow Datasets such as mnist, folder:PATH with images, file:PATH, a .npy, "
        ".npz, .csv or .parquet of numbers, table:PATH, a .csv or .npz of mixed columns, which are standardised, or "
        "stacked:NAME, colour images whose channels are three grey images of a data set with labels",
    )
    image_size: tuple[int, ...] | None = flag(
        None,
        "height and width, as H or HxW, of a folder's images: they are cut to this aspect around their middle and "
        "resized, each pixel the mean of those that it covers",
        at_least=1,
        at_most=2**14,
        separator="x",
        newer=True,
    )
    label_column: str | None = flag(
        None,
        "column of a table with the labels: its name in the header, or last; by default there are no labels",
        newer=True,
    )
    column_kinds: tuple[str, ...] = flag(
        (),
        "kinds of columns of table:PATH, as in visits=count,zip=category,id=none, where none leaves a column out; the "
        "others are numbers or categories by their cells",
        may_be_empty=True,
        newer=True,
    )
    data_dir: str | None = flag(None, "directory of TensorFlow Datasets' data, as written by experiments.prepare")
    binarize: str = flag(
        "none",
        "when pixels are drawn as 0 or 1: never, once (static) or at every step (dynamic)",
        choices=("none", "static", "dynamic"),
    )
    num_validation: int = flag(
        0,
        "number of training examples, a fixed random choice, that are evaluated instead of the test split while "
        "training, which is then evaluated once, at the end; 0 for none",
        at_least=0,
        newer=True,
    )
    memory_limit: int = flag(
        HALF_OF_MEMORY,
        "MiB of training data kept in memory, by default half of the machine's; larger sets are streamed from disk, "
        "with identical results",
        at_least=0,
    )


class OptimisationFlags(Record):
    """Optimisation."""

    num_steps: int = flag(None, "number of updates", at_least=1)
    batch_size: int = flag(None, "number of examples per update", at_least=1)
    optimizer: str = flag("adam", "name of an Optax optimizer: adam, adamw, sgd, lion, ...")
    optimizer_options: tuple[str, ...] = flag(
        (), "arguments of the optimizer, as in momentum=0.9,nesterov=true or b1=0.5,eps=1e-4", may_be_empty=True
    )
    learning_rate: float = flag(None, "highest learning rate of the schedule", at_least=0)
    learning_rate_schedule: str = flag("constant", "schedule of the learning rate over the run", choices=SCHEDULES)
    final_learning_rate: float = flag(
        0.0,
        "learning rate at the end of the schedule, as a fraction of the highest; above 0 for exponential",
        at_least=0,
        at_most=1,
    )
    learning_rate_warm_up: int = flag(0, "number of updates over which the learning rate rises from 0", at_least=0)
    clip_norm: float | None = flag(
        None, "largest global norm of the gradient; larger gradients are scaled down to it", at_least=0
    )
    weight_decay: float = flag(
        0.0, "weight decay, decoupled if the optimizer supports that, otherwise added to the gradient", at_least=0
    )
    decay_biases: bool = flag(False, "apply weight decay to biases and other vectors too")
    accumulate_steps: int = flag(1, "number of batches whose gradients are averaged for one update", at_least=1)
    averaging: float = flag(
        0.0,
        "decay of an exponential moving average of the parameters, used by evaluation and sampling; 0 for none",
        at_least=0,
        at_most=0.999999,
    )


class SelectionFlags(Record):
    """Selection."""

    select_by: str | None = flag(
        None,
        "validation metric, such as negative_elbo: the run ends with the parameters of its best evaluation; by default "
        "with the last ones",
        newer=True,
    )
    patience: int = flag(
        0,
        "evaluations without a better --select_by after which training stops; 0 to train all steps",
        at_least=0,
        newer=True,
    )


class RunFlags(Record):
    """Run."""

    seed: int = flag(0, "seed of all random numbers", at_least=0, at_most=2**32 - 1)
    initial_weights: str | None = flag(
        None,
        "safetensors file of the parameters to start from, as experiments.export writes it; by default they are drawn",
        newer=True,
    )
    workdir: str | None = flag(None, "run directory; by default runs/NAME-DATASET-SEED-(hash of the flags)")
    log_every: int = flag(100, "steps between two lines of training metrics", at_least=1)
    eval_every: int = flag(500, "steps between two evaluations on the held-out set", at_least=1)
    checkpoint_every: int = flag(1000, "steps between two checkpoints", at_least=1)
    keep_checkpoints: int = flag(
        2, "number of newest checkpoints that stay in the run directory", at_least=1, newer=True
    )
    steps_per_dispatch: int = flag(100, "largest number of updates in one compiled call", at_least=1, at_most=10**6)
    tensorboard: bool = flag(False, "also write scalars and images for TensorBoard")
    figure_formats: tuple[str, ...] = figure_formats()


class DeviceFlags(Record):
    """Seeds, devices and hosts."""

    cpu_threads: int = flag(
        determinism.DEFAULT_CPU_THREADS, "CPU threads of XLA; another number gives other bits", at_least=1, at_most=1024
    )
    portable_bits: bool = flag(
        False,
        "compute matrix products and roots on a CPU so that x86-64 processors of different generations give the same "
        "bits; a step takes about twice the time",
        newer=True,
    )
    num_seeds: int = flag(
        1, "number of runs trained in one program, with seeds --seed, --seed + 1, ...", at_least=1, at_most=10**5
    )
    seeds_mode: str = flag(
        "map",
        "how several seeds are trained: map, each with the same bits as alone; vmap, faster on an accelerator, with "
        "other bits",
        choices=("map", "vmap"),
    )
    shards: int = flag(
        0,
        "number of shards per batch, a power of two; results are then identical on any number of devices that divides "
        "it; 0 for none",
        at_least=0,
        at_most=2**20,
    )
    shard_parameters: bool = flag(False, "divide parameters and optimizer state among the devices")
    bfloat16: bool = flag(False, "on a GPU or TPU, multiply matrices in bfloat16 while training, with sums in float32")
    coordinator: str | None = flag(
        None, "HOST:PORT of the first of several processes; auto under Slurm, Open MPI, Kubernetes or on a TPU pod"
    )
    num_processes: int | None = flag(None, "number of processes, with --coordinator=HOST:PORT", at_least=1)
    process_id: int | None = flag(None, "index of this process, from 0, with --coordinator=HOST:PORT", at_least=0)


class Flags(DeviceFlags, RunFlags, SelectionFlags, OptimisationFlags, DataFlags):  # the help shows the last one first
    """The flags that every experiment has; a page extends them."""
