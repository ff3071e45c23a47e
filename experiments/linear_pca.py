"""A linear autoencoder, which converges to principal component analysis (Baldi & Hornik 1989).

    python -m experiments.linear_pca
    python -m experiments.linear_pca --weight_l2=0.1

The metrics are the largest angle between the decoder's subspace and that of scikit-learn's PCA, in radians, and by how
much the objective exceeds its closed-form minimum, as a fraction of it: both are below 5e-5. A batch is the whole
training set of the digits, since minibatches fluctuate around the optimum where eigenvalues are close; for other data,
set --batch_size to the number of training examples.

With --weight_l2, the minimum is that of Kunin et al. 2019: the same subspace, shrunk along each axis.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications
from genjax import data, gradients, networks, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import linear
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder
from genjax.runs import flag
from genjax.types import Batch, Params


class Flags(runs.Flags):
    """Linear autoencoder."""

    num_steps: int = 2000
    batch_size: int = 1297
    learning_rate: float = 3e-2
    learning_rate_schedule: str = "cosine"
    latent_dim: int = flag(8, "number of latent dimensions", at_least=1)
    weight_l2: float = flag(0.0, "weight of the penalty 1/2 sum W_ij^2", at_least=0)


def build(flags: Flags, dataset: data.Dataset, reduction: gradients.Reduction) -> runs.Built:
    """An affine encoder of centred x and an affine decoder; without centring, learning the mean is slow."""
    shape, dim = dataset.train.x.shape[1:], flags.latent_dim
    autoencoder.check_bottleneck(dim, shape)
    if dim > len(dataset.train.x):
        raise BadInput(
            f"{len(dataset.train.x)} training examples have at most as many principal components, not {dim}",
            parameter="latent_dim",
        )
    mean = jnp.mean(dataset.scaled(dataset.train), axis=0)
    encoder, decoder = networks.affine(shape, (dim,)), networks.affine((dim,), shape)
    parts = autoencoder.Autoencoder(
        encoder._replace(apply=lambda params, x: encoder.apply(params, x - mean[None])),
        decoder._replace(apply=lambda params, z: decoder.apply(params, z) + mean[None]),
        SQUARED_ERROR,
    )
    objective = regularised(flags, parts)
    model = autoencoder.model(
        parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction
    )
    return runs.Built(model, parts)


def regularised(flags: Flags, parts: autoencoder.Autoencoder) -> gradients.Objective:
    """The squared error, with its penalty where it has one."""
    penalties = [autoencoder.weight_l2_penalty(flags.weight_l2)] if flags.weight_l2 else []
    return autoencoder.objective(parts, penalties=penalties)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Compares the trained parameters with the closed form, and draws the axes of both, those of PCA below."""
    from sklearn.decomposition import PCA

    params, dataset, dim = trained.params, trained.dataset, flags.latent_dim
    x = jnp.asarray(dataset.scaled(dataset.train))
    mean = jnp.mean(x, axis=0)
    centred = x - mean[None]
    objective = regularised(flags, trained.parts)

    @jax.jit
    def mean_loss(params: Params) -> jax.Array:
        return gradients.batch_means(*objective(params, Batch(x), trained.key))["loss"]

    optimum = linear.pca(centred, latent_dim=dim, weight=flags.weight_l2)
    loss, least = float(mean_loss(params)), float(mean_loss(optimum))

    components = np.asarray(PCA(dim, svd_solver="full").fit(np.reshape(centred, (len(x), -1))).components_)
    axes = np.asarray(linear.canonicalise(params, centred)["decoder"]["layer_1"]["kernel"])
    signs = np.sign(np.sum(components * axes, axis=1, keepdims=True))
    if x.ndim == 4:
        both = pictures.signed(np.concatenate([axes, signs * components]).reshape(-1, *x.shape[1:]))
        pictures.save_captioned_grid(
            trained.workdir / "axes.png",
            both.reshape(2, dim, *x.shape[1:]),
            title="the axes of the linear autoencoder, and those of PCA (grey is 0)",
            rows=["autoencoder", "PCA"],
            columns=[str(i) for i in range(1, dim + 1)] if dim <= 20 else [],
        )
    return {
        "largest_angle": linear.largest_angle(params["decoder"]["layer_1"]["kernel"], components),
        "train_loss": loss,
        "closed_form_train_loss": least,
        "relative_excess": loss / least - 1,
    }


EXPERIMENT = runs.Experiment(
    "linear_pca",
    Flags,
    build,
    summarise,
    codec=autoencoder.codec,
    applications=applications.of_autoencoder,
    generator=applications.autoencoder_generator,
    metrics=applications.reconstruction_metrics,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
