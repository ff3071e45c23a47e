"""Draws new samples of a trained generative model.

    python -m experiments.generate --run=DIR --num=1000 --seed=1
    python -m experiments.generate --run=DIR --num=5000 --measure

It writes samples.png (the first 100) and samples.npz (all of them, as x) to --out. The same run and seed give the same
bits, whose SHA-256 is printed on the last line. The samples of a VAE are the means of p(x|z) at z ~ p(z). With
--measure, they are compared with the run's own data by `genjax.evaluation.sample_quality`, and the measures are written
to quality.json.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import jax
import numpy as np

from experiments import reference_classifier
from genjax import runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation.sample_quality import sample_quality
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import command, directory, flag


class Flags(runs.Record):
    """Samples."""

    run: str | None = flag(None, "directory of the run")
    data_dir: str | None = flag(None, "directory of the run's data, if it has moved")
    dataset: str | None = flag(None, "name of the run's data set, such as folder:PATH, if it has moved")
    num: int = flag(100, "number of samples", at_least=1, at_most=10**8)
    seed: int = flag(0, "seed of all random numbers", at_least=0, at_most=2**32 - 1)
    measure: bool = flag(False, "compare the samples with the data: distances, precision, recall, classes found")
    out: str | None = flag(None, "output folder; by default DIR/generated")


def main(flags: Flags) -> None:
    """Draws, measures and writes."""
    if not flags.run:
        raise BadInput("give the directory of a trained run", parameter="run")
    out = expand_user(flags.out or Path(flags.run) / "generated", parameter="out")
    refuse_unwritable(out, parameter="out")
    run = runs.open(flags.run, data_dir=flags.data_dir, dataset=flags.dataset, with_data=flags.measure)
    if run.model.sample is None:
        raise BadInput(f"{run.directory}: a run of {run.experiment.name} cannot draw new samples")
    out.mkdir(parents=True, exist_ok=True)
    x = run.sample(flags.num, jax.random.key(flags.seed))
    np.savez(out / "samples.npz", x=x)
    if x.ndim == 4:
        pictures.save_grid(out / "samples.png", x[:100], columns=min(10, flags.num))
    if flags.measure:
        cache = run.directory.resolve().parent
        reference = reference_classifier.reference(run.flags, run.dataset, num_samples=flags.num, cache=cache)
        quality = sample_quality(x, reference)
        directory.write_json(out / "quality.json", quality)
        print(", ".join(f"{name} {value:.4f}" for name, value in quality.items()))
    sha256 = hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()
    print(f"{flags.num} samples of {run.directory}, seed {flags.seed}, sha256 {sha256}; {out}")


if __name__ == "__main__":
    command.run(main, Flags)
