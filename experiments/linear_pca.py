"""A linear autoencoder, trained on whole batches, comes to principal component analysis (Baldi & Hornik 1989).

    python -m experiments.linear_pca
    python -m experiments.linear_pca --weight_l2=0.1

It reports the largest angle between the decoder's subspace and that of scikit-learn's PCA, in radians, and by how much
the objective exceeds its closed-form minimum, relatively: about 1e-6 and 1e-7 in seconds. Minibatches hover around the
optimum where eigenvalues are close; give other data a --batch_size of all its training examples.

With --weight_l2 the minimum is that of Kunin et al. 2019: the same subspace, shrunk along each axis.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments import common, training
from genjax import data, networks
from genjax.drawing import pictures
from genjax.evaluation import linear
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder
from genjax.types import Array, Batch, Model


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=2000, batch_size=1297, learning_rate=3e-2, eval_every=500)
    flags.DEFINE_integer("latent_dim", 8, "dimensions of z", lower_bound=1)
    flags.DEFINE_float("weight_l2", 0.0, "lambda of 1/2 sum W_ij^2", lower_bound=0.0)


def centred(dataset: data.Dataset) -> tuple[Array, Array]:
    """The training examples less their mean, and the mean."""
    x = jnp.asarray(dataset.train.x, jnp.float32) / dataset.scale
    mean = jnp.mean(x, axis=0)
    return x - mean[None], mean


def build_parts(config: common.Config, dataset: data.Dataset) -> autoencoder.Autoencoder:
    """An affine encoder of centred x and an affine decoder, which would find the mean themselves, but slowly."""
    shape, mean = dataset.train.x.shape[1:], centred(dataset)[1]
    layer = partial(networks.mlp, hidden=(), activation=autoencoder.identity)
    encoder, decoder = layer(shape, (config.latent_dim,)), layer((config.latent_dim,), shape)
    return autoencoder.Autoencoder(
        encoder._replace(apply=lambda params, x: encoder.apply(params, x - mean[None])),
        decoder._replace(apply=lambda params, z: decoder.apply(params, z) + mean[None]),
        SQUARED_ERROR,
    )


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    parts = build_parts(config, dataset)
    penalties = [autoencoder.weight_l2_penalty(config.weight_l2)] if config.weight_l2 else []
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.num_steps)
    return autoencoder.model(
        parts, optax.adam(schedule), autoencoder.objective(parts, penalties=penalties), reduction=config.reduction
    )


def shown(axes: Array, shape: tuple[int, ...]) -> Array:
    """Axes [d, D] as images about middle grey, each by its own largest entry."""
    return (0.5 + axes / (2 * jnp.max(jnp.abs(axes), axis=1, keepdims=True))).reshape(-1, *shape)


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Holds the trained params against the closed form; draws the axes of both, the autoencoder's over PCA's."""
    from sklearn.decomposition import PCA

    params, dataset, dim = finished.state.params, finished.dataset, config.latent_dim
    shape = dataset.train.x.shape[1:]
    x, mean = centred(dataset)
    optimum = linear.pca(x, latent_dim=dim, weight=config.weight_l2)
    evaluate, state = jax.jit(build(config, dataset).evaluate), finished.state
    loss, least = (
        float(evaluate(state._replace(params=p), Batch(x + mean[None]), finished.key)["loss"])
        for p in (params, optimum)
    )

    components = np.asarray(PCA(dim, svd_solver="full").fit(np.reshape(x, (len(x), -1))).components_)
    decoder = params["decoder"]["layer_1"]["kernel"]
    axes = linear.canonicalise(params, x)["decoder"]["layer_1"]["kernel"]
    signs = np.sign(np.sum(components * axes, axis=1, keepdims=True))
    both = jnp.concatenate([shown(axes, shape), shown(jnp.asarray(signs * components), shape)])
    pictures.save_grid(finished.workdir / "axes.png", both, columns=dim)
    return {
        "largest_angle": linear.largest_angle(decoder, components),
        "train_loss": loss,
        "closed_form_train_loss": least,
        "relative_excess": loss / least - 1,
    }


EXPERIMENT = common.Experiment("linear_pca", define_flags, build, conclude, watch=("loss",), parts=build_parts)

if __name__ == "__main__":
    training.main(EXPERIMENT)
