"""A contractive autoencoder (Rifai et al. 2011), whose code varies only along the directions in which the data vary.

    python -m experiments.contractive
    python -m experiments.contractive --dataset=digits --latent_dim=16 --hidden=256 --jacobian=hutchinson

    z = sigm(encoder(x)),   J = l(x, x') + lambda ||dz/dx||_F^2

On the curve (cos t, sin t), t in [0, 3 pi / 2], with noise, a single code recovers t. The metrics are the rank
correlation of the two (0.9999; PCA: 0.925), and how much a step across the curve changes the code, relative to a step
along it (0.06 to 0.12; PCA: 1.22).

On images, it draws the directions to which each code is most sensitive: the leading right singular vectors of its
Jacobian.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications
from genjax import data, networks, runs
from genjax.data import toys
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import images, linear
from genjax.gradients import Reduction
from genjax.losses import RECONSTRUCTIONS, SQUARED_ERROR
from genjax.models import autoencoder
from genjax.runs import flag, showing
from genjax.types import Array, Params

PENALTIES = {
    "exact": autoencoder.contractive_penalty,
    "hutchinson": autoencoder.hutchinson_contractive_penalty,
    "closed_form": autoencoder.sigmoid_layer_contractive_penalty,
}


class Flags(runs.Flags):
    """Contractive autoencoder."""

    dataset: str = "curve"
    num_steps: int = 4000
    batch_size: int = 128
    learning_rate: float = 1e-2
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    hidden: tuple[int, ...] = flag(
        (64, 32, 16),
        "widths of the MLP encoder's hidden layers; the decoder mirrors them",
        at_least=1,
        may_be_empty=True,
    )
    activation: str = flag(
        "silu",
        "activation of the hidden layers; glu, gated linear units, halves their widths",
        choices=networks.ACTIVATIONS,
    )
    latent_dim: int = flag(1, "number of latent dimensions", at_least=1)
    reconstruction: str = flag("squared_error", "reconstruction loss", choices=RECONSTRUCTIONS)
    contractive: float = flag(0.03, "weight of the contractive penalty ||dz/dx||^2", at_least=0)
    jacobian: str = flag(
        "exact",
        "how the penalty is computed: exact, by one backward pass per latent dimension; hutchinson, estimated by one "
        "random pass; closed_form, only for encoders without hidden layers",
        choices=PENALTIES,
    )


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks with a sigmoid code, the penalised objective and the model."""
    if flags.jacobian == "closed_form" and flags.hidden:
        raise BadInput(
            "closed_form needs an encoder without hidden layers; set `hidden` to nothing", parameter="jacobian"
        )
    shape, dim, activation = dataset.train.x.shape[1:], flags.latent_dim, networks.ACTIVATIONS[flags.activation]
    if not flags.contractive:
        autoencoder.check_bottleneck(dim, shape, unless="`contractive` above 0")
    parts = autoencoder.Autoencoder(
        networks.mlp(shape, (dim,), hidden=flags.hidden, activation=activation),
        networks.mlp((dim,), shape, hidden=flags.hidden[::-1], activation=activation),
        RECONSTRUCTIONS[flags.reconstruction],
        jax.nn.sigmoid,
    )
    objective = autoencoder.objective(parts, penalties=[PENALTIES[flags.jacobian](flags.contractive)])
    model = autoencoder.model(
        parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction
    )
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Measures the code beside that of PCA, and draws the curve or the directions that it follows."""
    params, parts, dataset, x = trained.params, trained.parts, trained.dataset, trained.examples.x
    shape, dim = x.shape[1:], flags.latent_dim
    reconstructions = jax.jit(partial(autoencoder.reconstruct, parts=parts))(params, x)
    low, high = dataset.limits
    metrics = {"psnr": round(float(images.set_psnr(reconstructions, x, peak=high - low)), 4)}
    if dim < min(len(dataset.train.x), math.prod(shape)):
        baseline = autoencoder.Autoencoder(
            networks.affine(shape, (dim,)), networks.affine((dim,), shape), SQUARED_ERROR
        )
        components = linear.pca(jnp.asarray(dataset.scaled(dataset.train)), latent_dim=dim)
        rebuilt = autoencoder.reconstruct(components, x, parts=baseline)
        metrics["pca_psnr"] = round(float(images.set_psnr(rebuilt, x, peak=high - low)), 4)
        if flags.dataset == "curve":
            t = toys.draw_curve(len(dataset.test.x), seed=1)[1][: len(x)]
            metrics |= along_the_curve(params, x, t, parts)
            pca_metrics = along_the_curve(components, x, t, baseline)
            metrics |= {f"pca_{name}": value for name, value in pca_metrics.items()}
            save_curve(trained)
    title = f"reconstructions from {dim} numbers"
    showing.save_reconstructions(trained, partial(autoencoder.reconstruct, parts=parts), title=title)
    if len(shape) == 3:
        save_directions(trained)
    return metrics


def along_the_curve(params: Params, x: Array, t: np.ndarray, parts: autoencoder.Autoencoder) -> dict[str, float]:
    """How well a single code follows the curve.

    Args:
      x: points [N, 2].
      t: where they lie along the curve, in radians [N].

    Returns:
      The rank correlation of code and t, and the root mean square of dz along the normal over that along the tangent.
    """
    z = np.asarray(autoencoder.encode(params, x, parts=parts))[:, 0]
    ranks = [np.argsort(np.argsort(values)) for values in (z, t)]
    jacobian = jax.vmap(jax.jacrev(lambda x: autoencoder.encode(params, x[None], parts=parts)[0, 0]))(x)
    normal = np.stack([np.cos(t), np.sin(t)], axis=1)
    tangent = np.stack([-np.sin(t), np.cos(t)], axis=1)
    across, along = (np.sqrt(np.mean(np.sum(jacobian * d, axis=1) ** 2)) for d in (normal, tangent))
    values = {"rank_correlation": abs(np.asarray(np.corrcoef(ranks))[0, 1]), "sensitivity_ratio": across / along}
    return {name: round(float(value), 4) for name, value in values.items()}


def save_curve(trained: runs.Trained) -> None:
    """Draws the held-out points coloured by their code, and the curve that the decoder makes of the codes' range."""
    params, parts, x = trained.params, trained.parts, trained.examples.x
    z = autoencoder.encode(params, x, parts=parts)[:, 0]
    line = autoencoder.decode(params, jnp.linspace(z.min(), z.max(), 200)[:, None], parts=parts)
    title = "points coloured by their code, and the decoded codes"
    pictures.save_plane(trained.workdir / "curve.png", x, z, line, title=title)


def save_directions(trained: runs.Trained, *, num: int = 10) -> None:
    """Draws a few images, each with the leading right singular vectors of its code's Jacobian."""
    x, shape = trained.shown(num).x, trained.examples.x.shape[1:]
    encode = partial(autoencoder.encode, trained.params, parts=trained.parts)
    jacobian = jax.vmap(jax.jacrev(lambda x: encode(x[None])[0]))(x)  # [num, d, *shape]
    directions = jnp.linalg.svd(jacobian.reshape(*jacobian.shape[:2], -1), full_matrices=False)[2][:, :9]
    drawn = pictures.signed(directions.reshape(-1, *shape)).reshape(len(x), -1, *shape)
    pictures.save_captioned_grid(
        trained.workdir / "directions.png",
        np.concatenate([trained.dataset.visible(x)[:, None], drawn], axis=1),
        title="images, and the directions to which their codes are most sensitive (grey is 0)",
        columns=["image", *(f"direction {i}" for i in range(1, drawn.shape[1] + 1))],
    )


EXPERIMENT = runs.Experiment(
    "contractive",
    Flags,
    build,
    summarise,
    watch=("reconstruction_loss", "jacobian_norm"),
    codec=autoencoder.codec,
    applications=applications.of_autoencoder,
    generator=applications.autoencoder_generator,
    metrics=applications.reconstruction_metrics,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
