"""New samples of a trained generative model.

    python -m experiments.generate --run=DIR --num=1000 --seed=1

It leaves samples.png (the first 100) and samples.npz (all of them, as x) in --out. The same run and seed give the same
bits; their SHA-256 is on the last line. Of a VAE they are the means of p(x|z) at z ~ N(0, I).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments import common, loading
from genjax.errors import BadInput
from genjax.training import pictures

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_string("run", None, "the directory of a trained run")
    flags.DEFINE_string("data_dir", None, "where the run's data lies now, if it has moved")
    flags.DEFINE_integer("num", 100, "samples", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of the samples alone", lower_bound=0)
    flags.DEFINE_string("out", None, "where the samples go; by default DIR/generated")


BATCH = 500


def main() -> None:
    """Draws, and writes."""
    if not FLAGS.run:
        raise BadInput("--run is missing: give the directory of a trained run")
    num, out = FLAGS.num, Path(FLAGS.out or Path(FLAGS.run) / "generated")
    run = loading.open_run(FLAGS.run, data_dir=FLAGS.data_dir)
    model = loading.model(run)
    if model.sample is None:
        raise BadInput(f"{run.directory}: a run of {run.config.experiment} cannot draw new samples")
    state = loading.state(run, model)
    # always whole batches, so that the first samples are the same whatever their number
    draw = jax.jit(model.sample, static_argnums=1)
    batches = [draw(state, BATCH, jax.random.fold_in(jax.random.key(FLAGS.seed), b)) for b in range(-(-num // BATCH))]
    x = np.concatenate([np.asarray(batch) for batch in batches])[:num]
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "samples.npz", x=x)
    if x.ndim == 4:
        pictures.save_grid(out / "samples.png", x[:100], columns=min(10, num))
    sha256 = hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()
    print(f"{num} samples of {run.directory}, seed {FLAGS.seed}, sha256 {sha256}; {out}")


if __name__ == "__main__":
    define_flags()
    common.guarded(main)
