"""From an experiment and its flags to a run directory, with one for each of its seeds in it where there are several."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.experimental import multihost_utils
from PIL import Image

from experiments import common, devices
from experiments.common import Config, Examined, Experiment, Finished
from genjax import data
from genjax.data import batching
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.runs import directory as run_directory
from genjax.training import checkpoint, determinism, digest
from genjax.training.compiled import keep_compiled
from genjax.training.fit import Examine, fit, streams
from genjax.training.placement import Placement, to_host
from genjax.types import Batch, Key, Model


def main(experiment: Experiment) -> None:
    """Runs an experiment from the command line: status 0, or 2 with one line for what the user can put right."""
    others = set(flags.FLAGS)  # absl's own
    experiment.define_flags()
    own = set(flags.FLAGS) - others
    common.guarded(lambda: train(experiment, common.configuration(experiment.name, own)))


class Setting(NamedTuple):
    """What a run's parts share."""

    experiment: Experiment
    model: Model
    dataset: data.Dataset  # as it is trained on
    source: batching.Source
    manifest: dict[str, Any]


def train(experiment: Experiment, config: Config) -> None:
    """Trains, evaluates and draws as the flags say, or goes on where a run of the same flags stopped."""
    determinism.set_up(cpu_threads=config.cpu_threads)
    keep_compiled()
    devices.join(config)
    devices.check(config)
    experiment.resolve(config)
    dataset = experiment.load(config)
    stored = batching.statically_binarized(dataset) if config.binarize == "static" else dataset
    source = experiment.source(config, stored)
    workdir = Path(config.workdir) if config.workdir else _default_workdir(config)
    flags_given = dict(vars(config))
    config.runs = workdir.parent
    placement = devices.choose(config)
    model = experiment.build(config, stored)
    now = run_directory.manifest(
        seed=config.seed, data_fingerprint=dataset.fingerprint, bits_of_devices=devices.bits_of(config)
    )
    setting = Setting(experiment, model, stored, source, now)

    if devices.is_first():
        run_directory.claim(workdir, flags_given, free=common.NOT_IDENTITY)
        if not (workdir / "summary.json").exists():
            run_directory.open_manifest(workdir, now, warn=_warn)
    multihost_utils.sync_global_devices("the run directory is claimed")
    if (workdir / "summary.json").exists():
        _print_summary(workdir, "already finished")
        return

    with checkpoint.Checkpoints(workdir / "checkpoints", keep=2, warn=_warn) as checkpoints:
        first_step, state = checkpoints.restore(_template(model, placement)) or (0, None)
        start = f"from step {first_step}" if first_step else "from the start"
        print(f"{experiment.name} on {dataset.name}, {start}, in {workdir}", file=sys.stderr)
        record = (_Record if placement.num_seeds is None else _Records)(setting, config, workdir, first_step)
        began = time.monotonic()

        def save(step: int, saved: Any) -> None:
            record.sync()  # a checkpoint counts on the lines before it
            checkpoints.save(step, saved)

        try:
            with devices.products(config):
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
                    report=record.report if devices.is_first() else None,
                    save=save,
                    examine=record.examine,
                    watch=experiment.watch,
                    placement=placement,
                )
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            devices.leave(error)
        seconds = time.monotonic() - began
    state = to_host(state)
    if devices.is_first():
        speed = {
            "num_steps": config.num_steps,
            "seconds": round(seconds, 2),
            "steps_per_second": round((config.num_steps - first_step) / seconds, 1),
        }
        record.finish(jax.tree.map(jnp.asarray, state), speed)
        _print_summary(workdir, "finished")


class _Record:
    """One run's directory as it is filled."""

    def __init__(self, setting: Setting, config: Config, workdir: Path, first_step: int) -> None:
        self._setting, self._config, self._workdir = setting, config, workdir
        self._metrics_path = workdir / "metrics.jsonl"
        self._board = _TensorBoard(workdir) if config.tensorboard and devices.is_first() else None
        self._picture_key, self._sample_key = jax.random.split(streams(config.seed).pictures)
        self.examine: Examine | None = None
        if setting.experiment.examiner:
            examined = Examined(setting.model, setting.dataset, self._sample_key, workdir)
            self.examine = setting.experiment.examiner(config, examined) if devices.is_first() else _look_away
        if devices.is_first():
            run_directory.cut_metrics(self._metrics_path, upto=first_step)

    def report(self, step: int, split: str, metrics: dict[str, Any]) -> None:
        run_directory.append_metrics(self._metrics_path, step, split, metrics)
        if self._board:
            self._board.write_scalars(step, split, metrics)

    def sync(self) -> None:
        if devices.is_first():
            run_directory.sync(self._metrics_path)

    def finish(self, state: Any, speed: dict[str, Any]) -> dict[str, Any]:
        """Draws and measures the trained model; writes and returns its summary."""
        setting, workdir = self._setting, self._workdir
        examples = _examples(setting.source, self._picture_key)
        finished = Finished(state, setting.dataset, examples, self._sample_key, workdir)
        concluded = setting.experiment.conclude(self._config, finished)
        lines = run_directory.read_metrics(self._metrics_path)
        pictures.save_curves(workdir / "curves.png", lines)
        if self._board:
            self._board.write_pictures(speed["num_steps"], workdir)
        params_sha256 = digest.params_sha256(state.params)
        metrics = {name: value for name, value in lines[-1].items() if name not in ("step", "split")} | concluded
        return _write_end(workdir, setting, speed, metrics, params_sha256)


class _Records:
    """The directory of several seeds: a whole run's directory for each of them, and what they have in common."""

    def __init__(self, setting: Setting, config: Config, workdir: Path, first_step: int) -> None:
        self._setting, self._workdir = setting, workdir
        self._metrics_path = workdir / "metrics.jsonl"
        self._seeds = range(config.seed, config.seed + config.num_seeds)
        self._records = []
        for seed in self._seeds:
            folder = workdir / f"seed-{seed}"
            alone = vars(config) | {"seed": seed, "workdir": str(folder), "num_seeds": 1}
            own = setting
            if config.seeds_mode == "map":  # so a run has the bits that it has alone
                bits_of = "any" if config.shards else 1
                own = setting._replace(manifest=setting.manifest | {"seed": seed, "bits_of_devices": bits_of})
            if devices.is_first():
                given = {name: value for name, value in alone.items() if name not in ("runs", "reduction")}
                run_directory.claim(folder, given, free=common.NOT_IDENTITY)
                run_directory.open_manifest(folder, own.manifest, warn=_warn)
            self._records.append(_Record(own, Config(**alone), folder, first_step))
        self.examine = self._examine_all if setting.experiment.examiner else None
        if devices.is_first():
            run_directory.cut_metrics(self._metrics_path, upto=first_step)

    def _examine_all(self, step: int, states: Any) -> dict[str, Any]:
        told = [
            record.examine(step, jax.tree.map(lambda a, i=i: a[i], states)) for i, record in enumerate(self._records)
        ]
        return {name: np.array([one[name] for one in told]) for name in told[0]}

    def report(self, step: int, split: str, metrics: dict[str, Any]) -> None:
        run_directory.append_metrics(
            self._metrics_path, step, split, {name: value.tolist() for name, value in metrics.items()}
        )
        for i, record in enumerate(self._records):
            record.report(step, split, {name: float(value[i]) for name, value in metrics.items()})

    def sync(self) -> None:
        if devices.is_first():
            run_directory.sync(self._metrics_path)
            for record in self._records:
                record.sync()

    def finish(self, states: Any, speed: dict[str, Any]) -> None:
        """Finishes each seed's run and leaves a checkpoint in it; writes the means and what they spread by."""
        summaries = {}
        for i, (seed, record) in enumerate(zip(self._seeds, self._records, strict=True)):
            state = jax.tree.map(lambda a, i=i: a[i], states)
            folder = self._workdir / f"seed-{seed}"
            with checkpoint.Checkpoints(folder / "checkpoints", keep=1, warn=_warn) as checkpoints:
                checkpoints.restore(state)  # what a kill left here is not written again
                checkpoints.save(speed["num_steps"], state)
            summaries[str(seed)] = record.finish(state, speed)
        pictures.save_curves(self._workdir / "curves.png", run_directory.read_metrics(self._metrics_path))
        values = {
            name: [summary["metrics"][name] for summary in summaries.values()]
            for name in next(iter(summaries.values()))["metrics"]
        }
        metrics = {name: float(np.mean(of_seeds)) for name, of_seeds in values.items()}
        more = {
            "metrics_deviation": {name: float(np.std(of_seeds, ddof=1)) for name, of_seeds in values.items()},
            "metrics_of_seeds": {seed: summary["metrics"] for seed, summary in summaries.items()},
        }
        hashes = {seed: summary["params_sha256"] for seed, summary in summaries.items()}
        _write_end(self._workdir, self._setting, speed, metrics, hashes, more)


def _look_away(step: int, state: Any) -> dict[str, float]:
    """What a process that does not write does where the one that does examines."""
    return {}


def _write_end(
    workdir: Path,
    setting: Setting,
    speed: dict[str, Any],
    metrics: dict[str, float],
    params_sha256: Any,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Completes the manifest and writes the summary, which says that the run is finished."""
    recorded = run_directory.read_json(workdir / "manifest.json")
    run_directory.write_json(
        workdir / "manifest.json", recorded | {"steps_done": speed["num_steps"], "params_sha256": params_sha256}
    )
    summary = {"experiment": setting.experiment.name, **speed, "metrics": metrics, **(more or {})}
    summary["params_sha256"] = params_sha256
    run_directory.write_json(workdir / "summary.json", summary)
    return summary


def _template(model: Model, placement: Placement) -> Any:
    """The state's shapes and dtypes."""
    key = streams(0, num_seeds=placement.num_seeds).init
    return jax.eval_shape(model.init if placement.num_seeds is None else jax.vmap(model.init), key)


def _default_workdir(config: Config) -> Path:
    identity = {name: value for name, value in vars(config).items() if name not in common.NOT_IDENTITY}
    short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    dataset = config.dataset.rpartition("/")[2].rpartition(":")[2]
    return Path("runs") / f"{config.experiment}-{dataset}-seed{config.seed}-{short}"


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
    if not devices.is_first():
        return
    summary = run_directory.read_json(workdir / "summary.json")
    deviations = summary.get("metrics_deviation", {})
    metrics = ", ".join(
        f"{name} {value:.4f}" + (f" +- {deviations[name]:.4f}" if name in deviations else "")
        for name, value in summary["metrics"].items()
    )
    sha256 = summary["params_sha256"]
    hashes = {"": sha256} if isinstance(sha256, str) else {f" of seed {seed}": value for seed, value in sha256.items()}
    print(
        f"{summary['experiment']} {how}: {summary['num_steps']} steps in {summary['seconds']} s "
        f"({summary['steps_per_second']} steps/s); test {metrics}; "
        f"{', '.join(f'params_sha256{whose} {value}' for whose, value in hashes.items())}; {workdir}"
    )


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


class _TensorBoard:
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
