"""Data in two dimensions: the code of an autoencoder beside the first two principal components.

    python -m experiments.visualise
    python -m experiments.visualise --dataset=mnist --data_dir=DIR

    x in R^D -> z in R^2 -> x',   J = E[||x - x'||^2]

Both maps show the held-out examples, to which neither was fitted. Three metrics measure each map; those of PCA begin
with `pca_`: `trustworthiness` (whether neighbours in the map are neighbours in the data, k = 12), `knn_accuracy`
(whether the five nearest training codes predict the class) and `psnr` of the reconstructions from the two numbers. The
run directory has both maps side by side, and the decoded plane: the images that the decoder gives on a grid.

On the digits, `knn_accuracy` is 0.87 to 0.90 for the autoencoder and 0.64 for PCA.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from experiments import applications
from genjax import data, networks, runs
from genjax.drawing import charts, pictures
from genjax.errors import BadInput
from genjax.evaluation import images, neighbours
from genjax.gradients import Reduction
from genjax.losses import RECONSTRUCTIONS
from genjax.models import autoencoder
from genjax.runs import flag
from genjax.stochastic import gaussian_noise

AT_MOST = 20000  # training examples to which PCA is fitted, and among which the nearest neighbours are


class Flags(runs.Flags):
    """Autoencoder with a code of two dimensions."""

    num_steps: int = 6000
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    hidden: tuple[int, ...] = flag(
        (256, 64), "widths of the MLP encoder's hidden layers; the decoder mirrors them", at_least=1, may_be_empty=True
    )
    reconstruction: str = flag("squared_error", "reconstruction loss", choices=RECONSTRUCTIONS)
    noise_scale: float = flag(
        0.1, "standard deviation of the Gaussian noise added to the encoder's input in training", at_least=0
    )
    num_neighbours: int = flag(12, "number k of neighbours in the trustworthiness", at_least=1)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the denoising objective and the model."""
    shape = dataset.train.x.shape[1:]
    if math.prod(shape) <= 2:
        raise BadInput(
            f"a map has two dimensions, so the data need more; {dataset.name} has {math.prod(shape)}",
            parameter="dataset",
        )
    parts = autoencoder.Autoencoder(
        networks.mlp(shape, (2,), hidden=flags.hidden, activation=jax.nn.relu),
        networks.mlp((2,), shape, hidden=flags.hidden[::-1], activation=jax.nn.relu),
        RECONSTRUCTIONS[flags.reconstruction],
    )
    objective = autoencoder.objective(parts, corruption=gaussian_noise(scale=flags.noise_scale))
    model = autoencoder.model(
        parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction
    )
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Measures and draws the map of the held-out examples, and that of PCA."""
    from sklearn.decomposition import PCA

    dataset, workdir, params = trained.dataset, trained.workdir, trained.params
    x, label = np.asarray(trained.examples.x), trained.classes
    of_train = dataset.train.sample(AT_MOST)
    known_label = dataset.classes(of_train)
    known, (low, high) = dataset.scaled(of_train), dataset.limits
    encode = jax.jit(partial(autoencoder.encode, parts=trained.parts))
    decode = jax.jit(partial(autoencoder.decode, parts=trained.parts))
    codes, known_codes = np.asarray(encode(params, x)), np.asarray(encode(params, known))

    flat = known.reshape(len(known), -1).astype(np.float64)
    pca = PCA(2, svd_solver="covariance_eigh").fit(flat)
    components = pca.transform(x.reshape(len(x), -1).astype(np.float64))
    rebuilt = {"": decode(params, codes), "pca_": pca.inverse_transform(components).reshape(x.shape)}
    maps = {"": (codes, known_codes), "pca_": (components, pca.transform(flat))}

    metrics: dict[str, float] = {}
    for prefix, (positions, known_positions) in maps.items():
        images_made = jnp.asarray(rebuilt[prefix], jnp.float32)
        metrics[f"{prefix}psnr"] = float(images.set_psnr(images_made, jnp.asarray(x), peak=high - low))
        k = min(flags.num_neighbours, (len(x) - 1) // 2)
        if k:  # three examples or more
            metrics[f"{prefix}trustworthiness"] = neighbours.trustworthiness(x, positions, num_neighbours=k)
        if label is not None and known_label is not None:
            metrics[f"{prefix}knn_accuracy"] = neighbours.knn_accuracy(
                known_positions, known_label, positions, label, num_neighbours=min(5, len(known_positions))
            )

    measures = [name for name in ("trustworthiness", "knn_accuracy") if name in metrics]
    captioned = {}
    for prefix, title in (("", "autoencoder"), ("pca_", "principal components")):
        values = ", ".join(f"{name.replace('_', ' ')} {metrics[prefix + name]:.2f}" for name in measures)
        captioned[f"{title}: {values}"] = maps[prefix][0]
    charts.save_maps(workdir / "maps.png", captioned, label, names=dataset.class_names)
    if x.ndim == 4:
        save_plane(workdir / "plane.png", codes, lambda z: dataset.visible(decode(params, z)))
    return metrics


def save_plane(path: Path, codes: np.ndarray, decode: Callable[[np.ndarray], ArrayLike], *, num: int = 20) -> None:
    """Draws the decoded images on a grid over the plane of codes, blank where there is no code nearby.

    The grid extends from the 1st to the 99th percentile of each coordinate.

    Args:
      codes: [N, 2].
      decode: [M, 2] -> images [M, H, W, C].
      num: points along each axis of the grid.
    """
    low, high = np.quantile(codes, [0.01, 0.99], axis=0)
    z1, z2 = (np.linspace(low[axis], high[axis], num) for axis in (0, 1))
    z = np.stack(np.meshgrid(z1, z2[::-1]), axis=-1).reshape(-1, 2)  # the second coordinate upwards, as in the map
    extent = np.where(high > low, high - low, 1)  # 1 if all codes are one
    cell = extent / (num - 1)
    near = neighbours.knn_distance(z / cell, codes / cell, num_neighbours=1) < 1
    drawn = np.where(near[:, None, None, None], decode(z), 1)
    pictures.save_captioned_grid(
        path,
        drawn.reshape(num, num, *drawn.shape[1:]),
        title="decoded codes, z1 to the right and z2 upwards; white where there is no code nearby",
        rows=[f"{value:.1f}" for value in z2[::-1]],
        columns=[f"{value:.1f}" for value in z1],
    )


EXPERIMENT = runs.Experiment(
    "visualise",
    Flags,
    build,
    summarise,
    watch=("reconstruction_loss",),
    codec=autoencoder.codec,
    applications=applications.of_autoencoder,
    generator=lambda flags, parts: applications.autoencoder_generator(flags, parts, latent_dim=2),
    metrics=applications.reconstruction_metrics,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
