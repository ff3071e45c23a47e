"""New samples of a trained generative model.

    python -m experiments.generate --run=DIR --num=1000 --seed=1
    python -m experiments.generate --run=DIR --num=5000 --measure

It leaves samples.png (the first 100) and samples.npz (all of them, as x) in --out. The same run and seed give the same
bits; their SHA-256 is on the last line. Of a VAE they are the means of p(x|z) at z ~ N(0, I). With --measure they are
compared with the run's own data, by what `experiments.features.sample_quality` says, in quality.json.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments import common, features, loading
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.runs.directory import write_json

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_string("run", None, "the directory of a trained run")
    flags.DEFINE_string("data_dir", None, "where the run's data lies now, if it has moved")
    flags.DEFINE_integer("num", 100, "samples", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of the samples alone", lower_bound=0)
    flags.DEFINE_bool("measure", False, "compare them with the data: distances, precision, recall, classes found")
    flags.DEFINE_string("out", None, "where the samples go; by default DIR/generated")


def main() -> None:
    """Draws, and writes."""
    if not FLAGS.run:
        raise BadInput("--run is missing: give the directory of a trained run")
    num, out = FLAGS.num, Path(FLAGS.out or Path(FLAGS.run) / "generated")
    run = loading.open_run(FLAGS.run, data_dir=FLAGS.data_dir)
    model = loading.model(run)
    if model.sample is None:
        raise BadInput(f"{run.directory}: a run of {run.config.experiment} cannot draw new samples")
    x = common.sampler(model)(loading.state(run, model), num, jax.random.key(FLAGS.seed))
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "samples.npz", x=x)
    if x.ndim == 4:
        pictures.save_grid(out / "samples.png", x[:100], columns=min(10, num))
    if FLAGS.measure:
        seen = features.classifier(run.config, run.dataset)
        quality = features.sample_quality(x, features.reference(run.dataset, seen, num_samples=num))
        write_json(out / "quality.json", quality)
        print(", ".join(f"{name} {value:.4f}" for name, value in quality.items()))
    sha256 = hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()
    print(f"{num} samples of {run.directory}, seed {FLAGS.seed}, sha256 {sha256}; {out}")


if __name__ == "__main__":
    define_flags()
    common.guarded(main)
