"""What all experiments share: their flags, and the way from flags to a run directory."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from PIL import Image

from genjax import data
from genjax.data import batching
from genjax.errors import BadInput
from genjax.training import checkpoint, determinism, digest, pictures, run
from genjax.training.fit import Examine, fit, streams
from genjax.types import Batch, Key, Model

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # the shared flags are the experiment's own, and stand in its --helpshort

NOT_IDENTITY = ("workdir", "data_dir", "tensorboard")
"""Flags that say where things lie or are shown, not what is computed; all others make the run what it is."""


class Config(SimpleNamespace):
    """A run's flags by name, as they were resolved: `config.seed`.

    `runs`, which is no flag, is the directory that the run's own lies in: what serves several runs is kept there.

    Raises:
      BadInput: on reading a flag that a run of other code did not have.
    """

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
    return batching.source(dataset, batch_size=config.batch_size, transform=transform)


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
    batch_size: int,
    learning_rate: float,
    eval_every: int,
    dataset: str = "digits",
    binarize: str = "none",
) -> None:
    """Defines the flags that every experiment has, with this one's defaults."""
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
    flags.DEFINE_integer("num_steps", num_steps, "updates", lower_bound=1)
    flags.DEFINE_integer("batch_size", batch_size, "examples an update", lower_bound=1)
    flags.DEFINE_float("learning_rate", learning_rate, "Adam's", lower_bound=0.0)
    flags.DEFINE_string("workdir", None, "run directory; by default runs/NAME-DATASET-SEED-(hash of the flags)")
    flags.DEFINE_integer("log_every", 100, "steps a line of train metrics", lower_bound=1)
    flags.DEFINE_integer("eval_every", eval_every, "steps between evaluations on the held-out set", lower_bound=1)
    flags.DEFINE_integer("checkpoint_every", 1000, "steps between checkpoints", lower_bound=1)
    flags.DEFINE_integer("steps_per_dispatch", 100, "updates a compiled call makes at most", lower_bound=1)
    flags.DEFINE_integer(
        "cpu_threads", determinism.DEFAULT_CPU_THREADS, "XLA's CPU threads; part of what fixes the bits", lower_bound=1
    )
    flags.DEFINE_bool("tensorboard", False, "write TensorBoard scalars and images too")


def configuration(experiment: str) -> Config:
    """The value of every flag that the program itself defines, and the experiment's name."""
    own = {flag.name: flag.value for flag in FLAGS.flags_by_module_dict()[sys.argv[0]]}
    return Config(experiment=experiment, **{name: own[name] for name in sorted(own)})


def _default_workdir(config: Config) -> Path:
    identity = {name: value for name, value in vars(config).items() if name not in NOT_IDENTITY}
    short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    dataset = config.dataset.rpartition("/")[2].rpartition(":")[2]
    return Path("runs") / f"{config.experiment}-{dataset}-seed{config.seed}-{short}"


def main(experiment: Experiment) -> None:
    """Runs an experiment from the command line: status 0, or 2 with one line for what the user can put right."""
    experiment.define_flags()
    guarded(lambda: train(experiment, configuration(experiment.name)))


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


def widths(config: Config, flag: str) -> tuple[int, ...]:
    """A flag's comma-separated positive whole numbers."""
    values: list[str] = getattr(config, flag)
    try:
        numbers = tuple(int(value) for value in values)
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise BadInput(f"--{flag}={','.join(values)}: give positive whole numbers, as in --{flag}=500,250")
    return numbers


def train(experiment: Experiment, config: Config) -> None:
    """Trains, evaluates and draws as the flags say, or goes on where a run of the same flags stopped."""
    determinism.set_up(cpu_threads=config.cpu_threads)
    experiment.resolve(config)
    dataset = experiment.load(config)
    stored = batching.statically_binarized(dataset) if config.binarize == "static" else dataset
    source = experiment.source(config, stored)
    workdir = Path(config.workdir) if config.workdir else _default_workdir(config)
    flags_given = dict(vars(config))
    config.runs = workdir.parent
    model = experiment.build(config, stored)

    run.claim(workdir, flags_given, free=NOT_IDENTITY)
    if (workdir / "summary.json").exists():
        _print_summary(workdir, "already finished")
        return
    manifest = run.open_manifest(workdir, seed=config.seed, data_fingerprint=dataset.fingerprint, warn=_warn)
    board = TensorBoard(workdir) if config.tensorboard else None
    metrics_path = workdir / "metrics.jsonl"
    with checkpoint.Checkpoints(workdir / "checkpoints", keep=2, warn=_warn) as checkpoints:
        first_step, state = checkpoints.restore(jax.eval_shape(model.init, jax.random.key(0))) or (0, None)
        run.cut_metrics(metrics_path, upto=first_step)
        start = f"from step {first_step}" if first_step else "from the start"
        print(f"{experiment.name} on {dataset.name}, {start}, in {workdir}", file=sys.stderr)

        def report(step: int, split: str, metrics: dict[str, float]) -> None:
            run.append_metrics(metrics_path, step, split, metrics)
            if board:
                board.write_scalars(step, split, metrics)

        def save(step: int, saved: Any) -> None:
            run.sync(metrics_path)  # a checkpoint counts on the lines before it
            checkpoints.save(step, saved)

        picture_key, sample_key = jax.random.split(streams(config.seed).pictures)
        examined = Examined(model, stored, sample_key, workdir)
        examine = experiment.examiner(config, examined) if experiment.examiner else None
        began = time.monotonic()
        state = fit(
            model,
            source,
            seed=config.seed,
            num_steps=config.num_steps,
            state=state,
            steps_per_dispatch=config.steps_per_dispatch,
            log_every=config.log_every,
            eval_every=config.eval_every,
            checkpoint_every=config.checkpoint_every,
            report=report,
            save=save,
            examine=examine,
            watch=experiment.watch,
        )
        seconds = time.monotonic() - began

    finished = Finished(state, stored, _examples(source, picture_key), sample_key, workdir)
    concluded = experiment.conclude(config, finished)
    lines = run.read_metrics(metrics_path)
    pictures.save_curves(workdir / "curves.png", lines)
    if board:
        board.write_pictures(config.num_steps, workdir)
    params_sha256 = digest.params_sha256(state.params)
    run.write_json(
        workdir / "manifest.json", manifest | {"steps_done": config.num_steps, "params_sha256": params_sha256}
    )
    summary = {
        "experiment": experiment.name,
        "num_steps": config.num_steps,
        "seconds": round(seconds, 2),
        "steps_per_second": round((config.num_steps - first_step) / seconds, 1),
        "metrics": {name: value for name, value in lines[-1].items() if name not in ("step", "split")} | concluded,
        "params_sha256": params_sha256,
    }
    run.write_json(workdir / "summary.json", summary)
    _print_summary(workdir, "finished")


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


def _examples(source: batching.Source, key: Key, at_most: int = 2000) -> Batch:
    """The first held-out examples, as the model reads them."""
    group = source.test.groups[0]
    batches, size = group[0].shape[:2]
    read = [
        source.test.read(jax.tree.map(lambda a, b=b: jnp.asarray(a[b]), group), jax.random.fold_in(key, b))
        for b in range(min(batches, -(-at_most // size)))
    ]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *read)


def _print_summary(workdir: Path, how: str) -> None:
    summary = run.read_json(workdir / "summary.json")
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in summary["metrics"].items())
    print(
        f"{summary['experiment']} {how}: {summary['num_steps']} steps in {summary['seconds']} s "
        f"({summary['steps_per_second']} steps/s); test {metrics}; params_sha256 {summary['params_sha256']}; {workdir}"
    )


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


class TensorBoard:
    """The run's scalars and pictures as TensorBoard events; needs the extra `tensorboard`."""

    def __init__(self, workdir: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise BadInput("--tensorboard needs tensorboardX: pip install 'genjax-autoencoders[tensorboard]'") from None
        self._writer = SummaryWriter(str(workdir))

    def write_scalars(self, step: int, split: str, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)

    def write_pictures(self, step: int, workdir: Path) -> None:
        for path in sorted(workdir.glob("*.png")):
            self._writer.add_image(path.stem, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")
        self._writer.close()
