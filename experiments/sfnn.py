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

from experiments import common, training
from genjax import data, networks
from genjax.data import batching, toys
from genjax.errors import BadInput
from genjax.losses import GAUSSIAN
from genjax.models import sfnn
from genjax.training.fit import fit
from genjax.types import Array, Model


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(
        dataset="inverse_sine", num_steps=6000, batch_size=100, learning_rate=1e-2, eval_every=1000
    )
    flags.DEFINE_integer("num_stochastic", 8, "H, hidden units that are bits", lower_bound=0, upper_bound=10)
    flags.DEFINE_integer("num_deterministic", 8, "hidden units beside them", lower_bound=1)
    flags.DEFINE_list("hidden", ["32"], "widths of the layers before the hidden units; those after mirror them")
    flags.DEFINE_integer("num_draws", 20, "M, draws of the bits for each example and update", lower_bound=1)


def build_parts(config: common.Config, x_shape: tuple[int, ...], y_dim: int, num_stochastic: int) -> sfnn.SFNN:
    """The networks that the flags name; without stochastic units the width stays as it is."""
    hidden, units = common.widths(config, "hidden"), config.num_stochastic + config.num_deterministic
    output = networks.mlp((units,), (2 * y_dim,), hidden=hidden[::-1], activation=jnp.tanh)
    return sfnn.SFNN(
        networks.mlp(x_shape, (units,), hidden=hidden, activation=jnp.tanh),
        networks.gaussian_heads(output),
        GAUSSIAN,
        num_stochastic,
        jnp.tanh,
    )


def parts_for(config: common.Config, dataset: data.Dataset, num_stochastic: int) -> sfnn.SFNN:
    """As `build_parts`, of the data set's shapes."""
    x, y = dataset.train
    if y is None or y.ndim != 2 or not np.issubdtype(y.dtype, np.floating):
        raise BadInput(f"--dataset={config.dataset}: its labels are no targets to regress on; inverse_sine has some")
    return build_parts(config, x.shape[1:], y.shape[1], num_stochastic)


def build_model(config: common.Config, parts: sfnn.SFNN) -> Model:
    """Its training, the learning rate falling to 0 along a cosine."""
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))
    num_draws = config.num_draws if parts.num_stochastic else 1  # without bits all draws are one
    return sfnn.model(parts, optimizer, sfnn.objective(parts, num_draws=num_draws), reduction=config.reduction)


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    return build_model(config, parts_for(config, dataset, config.num_stochastic))


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Trains the Gaussian MLP, measures both on the held-out pairs, and draws samples of both."""
    dataset = finished.dataset
    x, y = jnp.asarray(dataset.test.x), jnp.asarray(dataset.test.label)
    parts, gaussian_parts = parts_for(config, dataset, config.num_stochastic), parts_for(config, dataset, 0)
    source = batching.source(dataset, batch_size=config.batch_size)
    gaussian = fit(
        build_model(config, gaussian_parts), source, seed=config.seed, num_steps=config.num_steps, eval_every=0
    )
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
    if config.dataset == "inverse_sine":
        metrics["true_negative_log_likelihood"] = float(
            np.mean(toys.inverse_sine_negative_log_likelihood(dataset.test.x))
        )
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


EXPERIMENT = common.Experiment("sfnn", define_flags, build, conclude, watch=("negative_log_likelihood",))

if __name__ == "__main__":
    training.main(EXPERIMENT)
