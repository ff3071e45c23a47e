"""A stochastic feed-forward network (Tang & Salakhutdinov 2013) on an inverse problem, which has several answers.

    python -m experiments.sfnn
    python -m experiments.sfnn --num_stochastic=0

The way there is a function, v = y + 0.3 sin 2 pi y + noise, noise uniform on (-0.1, 0.1) (Bishop 1994); asked for is
the way back, p(y|x) for x = (v + 0.1) / 1.2, which has up to three branches. Beside the test likelihood, exact by a sum
over all settings of the bits, it reports that of the same network without stochastic units, a Gaussian whose mean and
variance an MLP gives (`gaussian_mlp_...`), and that of the true p(y|x) (`true_...`), which nothing can beat but by
chance. It draws samples of both networks over the pairs.

In a quarter of a minute on two CPU cores: -1.04 nats, the Gaussian -0.58, the truth -1.27.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments import common
from genjax import data, networks
from genjax.data import batching
from genjax.data.dataset import fingerprint
from genjax.errors import BadInput
from genjax.losses import GAUSSIAN
from genjax.models import sfnn
from genjax.training.fit import fit
from genjax.types import Array, Model

FLAGS = flags.FLAGS

common.define_flags(num_steps=6000, batch_size=100, learning_rate=1e-2, eval_every=1000)
FLAGS.set_default("dataset", "inverse_sine")
flags.DEFINE_integer("num_stochastic", 8, "H, hidden units that are bits", lower_bound=0, upper_bound=10)
flags.DEFINE_integer("num_deterministic", 8, "hidden units beside them", lower_bound=1)
flags.DEFINE_list("hidden", ["32"], "widths of the layers before the hidden units; those after mirror them")
flags.DEFINE_integer("num_draws", 20, "M, draws of the bits for each example and update", lower_bound=1)

NOISE = 0.1


def forward(y: np.ndarray) -> np.ndarray:
    """The function whose inverse is asked for, without its noise."""
    return y + 0.3 * np.sin(2 * np.pi * y)


def pairs(num: int, seed: int) -> data.Split:
    """Pairs (x, y), each [N, 1] in [0, 1], the same in every run."""
    draw = np.random.RandomState(seed)  # a stream that NumPy keeps frozen
    y = draw.random_sample((num, 1))
    v = forward(y) + NOISE * (2 * draw.random_sample((num, 1)) - 1)
    return data.Split(((v + NOISE) / (1 + 2 * NOISE)).astype(np.float32), y.astype(np.float32))


def inverse_sine() -> data.Dataset:
    """The inverse problem, 2000 pairs for training and 1000 held out; the labels are the targets."""
    train, test = pairs(2000, 0), pairs(1000, 1)
    content = fingerprint(train, test, scale=1.0, num_classes=None)
    return data.Dataset("inverse_sine", train, test, 1.0, None, content)


def true_negative_log_likelihood(x: np.ndarray) -> np.ndarray:
    """-log p(y|x) at any y that is possible: the log of how much of [0, 1] is; x [N, 1] -> [N]."""
    y = (np.arange(10_000) + 0.5) / 10_000
    v = x.astype(np.float64) * (1 + 2 * NOISE) - NOISE
    return np.log(np.mean(np.abs(v - forward(y)) < NOISE, axis=1))


def build_parts(x_shape: tuple[int, ...], y_dim: int, num_stochastic: int) -> sfnn.SFNN:
    """The networks that the flags name; without stochastic units the width stays as it is."""
    hidden, units = common.widths("hidden"), FLAGS.num_stochastic + FLAGS.num_deterministic
    output = networks.mlp((units,), (2 * y_dim,), hidden=hidden[::-1], activation=jnp.tanh)
    return sfnn.SFNN(
        networks.mlp(x_shape, (units,), hidden=hidden, activation=jnp.tanh),
        networks.gaussian_heads(output),
        GAUSSIAN,
        num_stochastic,
        jnp.tanh,
    )


def parts_for(dataset: data.Dataset, num_stochastic: int) -> sfnn.SFNN:
    """As `build_parts`, of the data set's shapes."""
    x, y = dataset.train
    if y is None or y.ndim != 2 or not np.issubdtype(y.dtype, np.floating):
        raise BadInput(f"--dataset={FLAGS.dataset}: its labels are no targets to regress on; inverse_sine has some")
    return build_parts(x.shape[1:], y.shape[1], num_stochastic)


def build_model(parts: sfnn.SFNN) -> Model:
    """Its training, the learning rate falling to 0 along a cosine."""
    optimizer = optax.adam(optax.cosine_decay_schedule(FLAGS.learning_rate, FLAGS.num_steps))
    num_draws = FLAGS.num_draws if parts.num_stochastic else 1  # without bits all draws are one
    return sfnn.model(parts, optimizer, sfnn.objective(parts, num_draws=num_draws))


def build(dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    return build_model(parts_for(dataset, FLAGS.num_stochastic))


def conclude(finished: common.Finished) -> dict[str, float]:
    """Trains the Gaussian MLP, measures both on the held-out pairs, and draws samples of both."""
    dataset = finished.dataset
    x, y = jnp.asarray(dataset.test.x), jnp.asarray(dataset.test.label)
    parts, gaussian_parts = parts_for(dataset, FLAGS.num_stochastic), parts_for(dataset, 0)
    source = batching.source(dataset, batch_size=FLAGS.batch_size)
    gaussian = fit(build_model(gaussian_parts), source, seed=FLAGS.seed, num_steps=FLAGS.num_steps, eval_every=0)
    networks_by_name = {
        "stochastic network": (parts, finished.state.params),
        "Gaussian MLP": (gaussian_parts, gaussian.params),
    }
    exact, of_gaussian = (
        jnp.mean(jax.jit(partial(sfnn.negative_log_likelihood, parts=parts))(params, x, y))
        for parts, params in networks_by_name.values()
    )
    samples = {
        name: jax.jit(partial(sfnn.sample, parts=parts))(params, x, finished.key)
        for name, (parts, params) in networks_by_name.items()
    }
    metrics = {
        "exact_negative_log_likelihood": float(exact),
        "gaussian_mlp_negative_log_likelihood": float(of_gaussian),
    }
    if FLAGS.dataset == "inverse_sine":
        metrics["true_negative_log_likelihood"] = float(np.mean(true_negative_log_likelihood(dataset.test.x)))
    if x.shape[1:] == y.shape[1:] == (1,):
        save_samples(finished.workdir / "samples.png", x, {"held-out pairs": y, **samples})
    return metrics


def save_samples(path: Path, x: Array, ys: dict[str, Array]) -> None:
    """Writes y over x, a panel each, the first behind all of them; every y [N, 1]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(ys), 4), layout="constrained")
    first = next(iter(ys.values()))
    for ax, (title, y) in zip(figure.subplots(1, len(ys), sharey=True), ys.items(), strict=True):
        ax.scatter(x[:, 0], first[:, 0], s=6, color="0.75")
        if y is not first:
            ax.scatter(x[:, 0], y[:, 0], s=4, color="tab:blue")
        ax.set(title=title, xlabel="x", ylabel="y", ylim=(-0.4, 1.4))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    data._EMBEDDED["inverse_sine"] = inverse_sine
    common.main(common.Experiment("sfnn", build, conclude, watch=("negative_log_likelihood",)))
