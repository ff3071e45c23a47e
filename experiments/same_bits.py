"""Checks that devices, processes, kills and seeds do not change a run's bits: a table of `params_sha256`.

    python -m experiments.same_bits
    python -m experiments.same_bits --models=vae --ways=alone,devices-8 --num_steps=500
    python -m experiments.same_bits --models=vae --ways=alone,devices-2 --shards=2
    python -m experiments.same_bits --device=gpu --shards=0

Each row is a model, trained for a few steps with `--shards=8` or another number. Each column is a way to run it: on
one core or all, on several simulated CPU devices, in two processes of four devices, killed and resumed on another
number of devices, and as the first of four seeds in one program. On a GPU they run alone, again with everything
compiled anew, killed and resumed, and as the first of four seeds. Every cell is a separate process. The exit status is
1 if a row has more than one hash. It needs Linux.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genjax.errors import BadInput
from genjax.runs import command, directory
from genjax.runs.flags import Record, flag

MODELS = {
    "autoencoder": "autoencoder --batch_size=128",
    "vae": "vae --batch_size=128",
    "gan": "gan --batch_size=128 --num_samples=40",
    "identity_swap": "identity_swap --features=8,16 --discriminator_features=8,16 --num_blocks=2 --encoder_steps=20 "
    "--batch_size=16 --image_size=16",
    "bigan": "bigan --hidden=64 --encoder=gaussian",
    "adversarial_autoencoder": "adversarial_autoencoder --hidden=64 --prior=ring --variant=labelled",
    "classifier": "classifier --hidden=64 --batch_size=128",
    "compression": "compression --hidden=64 --latent_dims=2,4 --bits=2 --batch_size=128",
    "contractive": "contractive --hidden=64 --latent_dim=4 --batch_size=128",
    "denoising": "denoising --hidden=64 --latent_dim=4 --batch_size=128",
    "identity_encoder": "identity_encoder --features=8,16 --batch_size=16",
    "linear_pca": "linear_pca --batch_size=128",
    "outliers": "outliers --hidden=64 --batch_size=128",
    "sfnn": "sfnn --hidden=16 --num_stochastic=2 --num_draws=4 --batch_size=128",
    "visualise": "visualise --hidden=64 --batch_size=128",
    "vq": "vq --hidden=64 --quantizer=residual --prior_width=16 --prior_layers=1",
    "flow": "flow --flow=maf --num_layers=3",
    "made": "made --hidden=64 --num_masks=2",
    "ladder": "ladder --hidden=32,16 --latent_dims=4,2 --num_importance_samples=0",
    "imputation": "imputation --hidden=64 --patch=2 --num_imputation_samples=20",
    "masked_autoencoder": "masked_autoencoder --width=16 --num_layers=1 --decoder_width=8 --num_draws=2",
    "learned_compression": "learned_compression --hidden=64 --code_dim=4 --side_dim=2 --distortion_weights=4,16",
    "infogan": "infogan --hidden=64",
    "vae_gan": "vae_gan --hidden=64 --adaptive_weight --batch_size=128 --num_samples=40",
    "semi_supervised": "semi_supervised --hidden=64 --latent_dim=8",
    "stacked": "stacked --hidden=64,32 --masking=.1,.2 --pretraining_steps=5",
    "gan-projection": "gan --hidden=64 --conditional --conditioning=projection --spectral_norm --batch_size=128 "
    "--num_samples=40",
    "gan-auxiliary": "gan --hidden=64 --conditional --conditioning=auxiliary --batch_size=128 --num_samples=40",
    "gan-attention": "gan --network=dcgan --features=8,16 --self_attention --normalization=batch --batch_size=128 "
    "--num_samples=40",
    "gan-batch": "gan --network=dcgan --features=8,16 --normalization=batch_both --batch_size=128 --num_samples=40",
    "infogan-batch": "infogan --hidden=64,32 --normalization=batch_both",
    "bigan-batch": "bigan --hidden=64,32 --normalization=batch_both",
    "gan-adaptive": "gan --hidden=64 --augmentation=translation,cutout --augmentation_target=.1 "
    "--augmentation_ramp=2000 --spectral_norm --batch_size=128 --num_samples=40",
    "gan-top-k": "gan --hidden=64 --top_k=.5 --unrolled_steps=2 --batch_size=128 --num_samples=40",
    "gan-style": "gan --network=style --features=8,16 --batch_size=128 --num_samples=40",
    "gan-noise": "gan --network=style --noise_inputs --features=8,16 --batch_size=128 --num_samples=40",
    "adversarial_autoencoder-semi": "adversarial_autoencoder --hidden=64 --variant=semi_supervised",
    "vae-optimizer": "vae --hidden=64 --optimizer=rmsprop --optimizer_options=momentum=.9 --accumulate_steps=2 "
    "--weight_decay=.01 --clip_norm=1",
    "vae-vamp": "vae --hidden=64 --conditional --prior=vamp --num_components=20 --regularizer=total_correlation",
    "vae-glu": "vae --hidden=64,32 --activation=glu --prior=vamp --num_components=20",
    "vae-flows": "vae --hidden=64 --conditional --prior=flow --posterior=iaf --num_flow_layers=2",
    "vae-factor": "vae --hidden=64 --prior=mixture --num_components=5 --posterior=full_covariance --regularizer=factor",
    "vae-sphere": "vae --hidden=64 --posterior=von_mises_fisher --regularizer=mmd",
    "vae-categorical": "vae --hidden=64 --posterior=categorical --latent_dim=20",
    "vae-columns": "vae --dataset=breast_cancer --likelihood=learned_columns --hidden=64 --batch_size=128",
    "outliers-table": "outliers --protocol=outlier_class --dataset=breast_cancer --num_splits=2 --hidden=64 "
    "--batch_size=128",
    "iwae-piwae": "iwae --hidden=64 --posterior=planar --bound=piwae --num_samples=2 --num_bounds=2 "
    "--batch_size=64 --num_test_samples=2",
    "iwae-remat": "iwae --hidden=64 --num_samples=5 --remat=2 --batch_size=64 --num_test_samples=2",
    "autoencoder-mmd": "autoencoder --hidden=64 --mmd=10 --sliced_wasserstein=10",
    "sparse-gated": "sparse --num_units=64 --sparsity=gated --num_draws=2 --batch_size=128",
    "sparse-batch": "sparse --num_units=64 --sparsity=batch_top_k --revival_weight=.1 --revive_after=256 "
    "--num_draws=2 --batch_size=128",
    "sparse-largest": "sparse --num_units=128 --sparsity=k_sparse --active_units=4 --prefixes=16 --num_draws=2 "
    "--batch_size=128",
    "sparse-jump": "sparse --num_units=64 --sparsity=jump_relu --prefixes=16 --num_draws=2 --batch_size=128",
}

BY_DEFAULT = ("autoencoder", "vae", "gan", "identity_swap")


class Trainer:
    """Starts one model's runs, each in its own directory."""

    def __init__(self, model: str, folder: Path, flags: Flags) -> None:
        self._model, self._folder, self._started = model, folder, 0
        self._num_steps, self._often, self._shards = flags.num_steps, flags.num_steps // 5, flags.shards
        self._platform = {"cpu": "cpu", "gpu": "cuda,cpu"}[flags.device]

    @property
    def first_checkpoint(self) -> int:
        """The step of the first checkpoint."""
        return self._often

    def start(
        self, *more: str, devices: int = 1, prefix: Sequence[str] = (), workdir: Path | None = None
    ) -> tuple[subprocess.Popen[str], Path]:
        """A process on this number of simulated devices, and its run directory."""
        self._started += 1
        workdir = workdir or self._folder / f"{self._model}-{self._started}"
        name, *own = MODELS[self._model].split()
        steps, often = self._num_steps, self._often
        cadence = (f"--eval_every={steps}", f"--checkpoint_every={often}", f"--steps_per_dispatch={often}")
        line = [*prefix, sys.executable, "-m", f"experiments.{name}", *own, f"--num_steps={steps}", *cadence]
        line += [f"--shards={self._shards}", f"--workdir={workdir}", *more]
        # no run finds what another one has compiled
        environment = os.environ | {"JAX_PLATFORMS": self._platform, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        environment["JAX_NUM_CPU_DEVICES"] = str(devices)
        quiet = subprocess.DEVNULL
        return subprocess.Popen(line, env=environment, stdout=quiet, stderr=subprocess.PIPE, text=True), workdir

    def finish(self, *processes: subprocess.Popen[str]) -> None:
        """Waits for all of them.

        Raises:
          BadInput: if one of them failed, with its last line.
        """
        for process in processes:
            _, errors = process.communicate()
            if process.returncode:
                lines = errors.strip().splitlines() or ["no output"]
                raise BadInput(f"{self._model}: a run ended with status {process.returncode}: {lines[-1]}")

    def train(self, *more: str, **options: Any) -> str:
        """Trains to the end and returns the hash."""
        process, workdir = self.start(*more, **options)
        self.finish(process)
        return _hash(workdir)


def _hash(workdir: Path) -> str:
    return directory.read_summary(workdir)["params_sha256"]


def on_devices(count: int) -> Callable[[Trainer], str]:
    """On `count` simulated devices."""
    return lambda trainer: trainer.train(devices=count)


def on_one_core(trainer: Trainer) -> str:
    """On the first of this machine's cores."""
    return trainer.train(prefix=("taskset", "-c", str(min(os.sched_getaffinity(0)))))


def in_two_processes(trainer: Trainer) -> str:
    """Two processes of four devices each, of which the first writes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"--coordinator=localhost:{free.getsockname()[1]}"
    first, workdir = trainer.start(address, "--num_processes=2", "--process_id=0", devices=4)
    second, _ = trainer.start(address, "--num_processes=2", "--process_id=1", devices=4, workdir=workdir)
    trainer.finish(first, second)
    return _hash(workdir)


def killed(trainer: Trainer) -> str:
    """Killed on four devices after its first checkpoint, and resumed on two."""
    process, workdir = trainer.start(devices=4)
    saved = workdir / "checkpoints" / str(trainer.first_checkpoint)
    while process.poll() is None and not saved.exists():
        time.sleep(0.05)
    process.kill()
    process.communicate()
    return trainer.train(devices=2, workdir=workdir)


def one_of_four_seeds(trainer: Trainer) -> str:
    """The first of four seeds that take turns in one program on two devices."""
    process, workdir = trainer.start("--num_seeds=4", devices=2)
    trainer.finish(process)
    return directory.read_summary(workdir)["params_sha256"]["0"]


WAYS: dict[str, Callable[[Trainer], str]] = {
    "alone": on_devices(1),
    "again": on_devices(1),
    "one-core": on_one_core,
    "devices-2": on_devices(2),
    "devices-4": on_devices(4),
    "devices-8": on_devices(8),
    "processes": in_two_processes,
    "killed": killed,
    "one-of-4-seeds": one_of_four_seeds,
}
ON_GPU = ("alone", "again", "killed", "one-of-4-seeds")  # of one GPU


class Flags(Record):
    """Same bits."""

    models: tuple[str, ...] = flag(BY_DEFAULT, "models to train: the rows of the table", choices=MODELS)
    ways: tuple[str, ...] = flag(
        (),
        "ways of running them: the columns of the table; by default all of the device",
        choices=WAYS,
        may_be_empty=True,
    )
    device: str = flag("cpu", "device of the runs", choices=("cpu", "gpu"))
    num_steps: int = flag(60, "number of updates per run", at_least=20)
    shards: int = flag(
        8,
        "shards per batch; every way must have a number of devices that divides it; 0 for none, as on one device",
        at_least=0,
        at_most=1024,
    )


def main(flags: Flags) -> int:
    """Prints the table as it fills; returns the exit status."""
    possible = ON_GPU if flags.device == "gpu" else tuple(WAYS)
    ways = flags.ways or possible
    if set(ways) - set(possible):
        raise BadInput(f"on a GPU there is {', '.join(ON_GPU)}", parameter="ways")
    print(f"| model | {' | '.join(ways)} |")
    print(f"| --- |{' --- |' * len(ways)}", flush=True)
    same = True
    with tempfile.TemporaryDirectory(prefix="same-bits-") as folder:
        for model in flags.models:
            trainer, hashes = Trainer(model, Path(folder), flags), []
            print(f"| {model} |", end="", flush=True)
            for way in ways:
                hashes.append(WAYS[way](trainer))
                print(f" {hashes[-1][:12]} |", end="", flush=True)
            print()
            same = same and len(set(hashes)) == 1
    print("one hash per row" if same else "NOT one hash per row")
    return 0 if same else 1


if __name__ == "__main__":
    command.run(main, Flags)
