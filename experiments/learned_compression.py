"""Learned transform coding: an autoencoder trained for the bits that its rounded code takes (Balle et al. 2017, 2018).

    python -m experiments.learned_compression
    python -m experiments.learned_compression --side_dim=4
    python -m experiments.learned_compression --dataset=mnist --data_dir=DIR --code_dim=48 --num_steps=10000

    J = E[-log2 P(round(y))] + lambda E||x - x'||^2,   y = analysis(x),   x' = synthesis(round(y))

One codec for each weight lambda of the distortion, all trained at once; uniform noise stands for rounding in training.
The probability P is learned too, and is the one by which the entropy coder writes the rounded code: a mixture for each
entry, or, with --side_dim, a Gaussian whose scale is sent before it in a side code (a scale hyperprior). After
training, each codec writes the held-out split to `codes/`, reads it and decodes it. The rate is the size on disk in
bits per pixel, without the networks (`model_bytes` is the size of one codec); the distortion is the PSNR.

The baselines and curves are those of `compression`. `lossy` compresses pictures of your own with such a run.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications, learned_codes, rate_curves
from genjax import data, networks, runs, stochastic
from genjax.errors import BadInput
from genjax.evaluation.transform_coding import Point
from genjax.gradients import Objective, Reduction
from genjax.losses import SQUARED_ERROR
from genjax.models import descent, learned_compression
from genjax.models.learned_compression import Hyperprior, LearnedCompression
from genjax.runs import flag
from genjax.types import Array, Batch, Key, Params


class Flags(runs.Flags):
    """Learned transform coding."""

    num_steps: int = 4000
    batch_size: int = 128
    learning_rate: float = 8e-3
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    hidden: tuple[int, ...] = flag(
        (256, 128),
        "widths of the hidden layers of the analysis; the synthesis mirrors them",
        at_least=1,
        may_be_empty=True,
    )
    code_dim: int = flag(24, "number of entries of a code; those that are not worth their bits become 0", at_least=1)
    side_dim: int = flag(0, "number of entries of the side code that sends scales; 0 for none", at_least=0)
    side_hidden: tuple[int, ...] = flag((64,), "widths of the hidden layers of the side code's networks", at_least=1)
    num_components: int = flag(3, "number of components of the mixture that is the density of an entry", at_least=1)
    distortion_weights: tuple[float, ...] = flag(
        (2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
        "weights lambda, in bits for each unit of squared error; one codec is trained for each",
        at_least=1e-6,
    )
    noise_scale: float = flag(
        0.1, "standard deviation of the Gaussian noise added to the analysis' input in training", at_least=0
    )


def ensemble_objective(flags: Flags, parts: LearnedCompression, *, rounding: bool) -> Objective:
    """The sum over the codecs of their own objectives, in params stacked over them."""
    corruption = stochastic.gaussian_noise(scale=flags.noise_scale) if flags.noise_scale and not rounding else None

    def objective(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        def one(params: Params, weight: Array) -> tuple[Array, dict[str, Array]]:
            own = learned_compression.objective(
                parts, distortion_weight=weight, corruption=corruption, rounding=rounding
            )
            return own(params, batch, key)

        loss, metrics = jax.vmap(one)(params, jnp.array(flags.distortion_weights))
        return loss.sum(0), {name: values.mean(0) for name, values in metrics.items()}

    return objective


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The codecs of all weights as one model; the parts are those of each of them."""
    if dataset.train.x.ndim != 4:
        raise BadInput(f"data set {dataset.name!r} has examples of shape {dataset.train.x.shape[1:]}; give images")
    dataset.require_bounded("learned_compression", parameter="dataset")
    shape, dim, hidden = dataset.train.x.shape[1:], flags.code_dim, flags.hidden
    analysis = networks.mlp(shape, (dim,), hidden=hidden, activation=jax.nn.silu)
    synthesis = networks.mlp((dim,), shape, hidden=hidden[::-1], activation=jax.nn.silu)
    hyperprior = None
    if flags.side_dim:
        side = partial(networks.mlp, hidden=flags.side_hidden, activation=jax.nn.silu)
        hyperprior = Hyperprior(side((dim,), (flags.side_dim,)), side((flags.side_dim,), (dim,)), flags.side_dim)
    parts = LearnedCompression(analysis, synthesis, SQUARED_ERROR, dim, hyperprior, flags.num_components)

    def init_params(key: Key) -> Params:
        keys = jax.random.split(key, len(flags.distortion_weights))
        return jax.vmap(partial(learned_compression.init_params, parts=parts))(keys)

    model = descent.model(
        init_params,
        runs.optimizer(flags, ensemble=True),
        ensemble_objective(flags, parts, rounding=False),
        evaluation=ensemble_objective(flags, parts, rounding=True),
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def codec_points(
    flags: Flags, parts: LearnedCompression, stacked: Params, folder: Path, x: np.ndarray
) -> dict[str, Point]:
    """Every codec, measured on what it wrote and read."""
    points, num_pixels = {}, x.size / x.shape[-1]
    for member, weight in enumerate(flags.distortion_weights):
        params = jax.tree.map(lambda leaf, m=member: leaf[m], stacked)
        sent = learned_codes.encode(params, x, parts=parts)
        path = folder / f"learned_weight{weight:g}.bin"
        path.write_bytes(b"".join(sent.streams))
        content, streams = path.read_bytes(), []
        for stream in sent.streams:
            streams.append(content[: len(stream)])
            content = content[len(stream) :]
        decoded = np.clip(learned_codes.decode(params, sent._replace(streams=tuple(streams)), parts=parts), 0, 1)
        psnr = -10 * np.log10(np.mean(np.square(decoded - x, dtype=np.float64)))
        rate, model_rate = 8 * sent.num_bytes / num_pixels, sent.rate / num_pixels
        points[f"weight{weight:g}"] = Point(rate, float(psnr), sent.num_bytes, model_rate, decoded)
    return points


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Writes, reads and measures the codecs and the baselines on the held-out split."""
    workdir, x = trained.workdir, np.asarray(trained.examples.x)
    folder = workdir / "codes"
    folder.mkdir(exist_ok=True)
    own = codec_points(flags, trained.parts, trained.params, folder, x)
    known = rate_curves.known_images(trained.dataset)
    points = {"learned codec": own, **rate_curves.baselines((flags.code_dim,), folder, x, known)}
    curves = rate_curves.save(workdir, x, points)
    at = list(own.values())[len(own) // 2]
    metrics = {
        "model_bytes": float(sum(leaf.nbytes for leaf in jax.tree.leaves(trained.params)) // len(own)),
        "rate_on_disk": at.rate,
        "model_rate": at.entropy,
        "bytes_on_disk": float(at.num_bytes),
        "psnr": at.psnr,
    }
    return metrics | rate_curves.comparison(curves, at.rate)


EXPERIMENT = runs.Experiment(
    "learned_compression",
    Flags,
    build,
    summarise,
    watch=("rate", "reconstruction_loss"),
    metrics=lambda flags: (
        applications.reconstruction_metrics(flags)
        | {
            "rate": runs.Metric("bits per image", "lower"),
            "rate_on_disk": runs.Metric("bits per pixel", "lower"),
            "model_rate": runs.Metric("bits per pixel"),
        }
    ),
    headline=("rate_on_disk", "psnr", "bytes_on_disk", "pca_psnr", "pca_bd_rate", "dct_psnr", "dct_bd_rate"),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
