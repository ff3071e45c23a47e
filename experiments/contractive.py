"""A contractive autoencoder (Rifai et al. 2011): its code follows the data's own directions, and no other.

    python -m experiments.contractive
    python -m experiments.contractive --dataset=digits --latent_dim=16 --hidden=256 --jacobian=hutchinson

    J = l(x, x') + lambda ||dz/dx||_F^2

On the curve (cos t, sin t), t in [0, 3 pi / 2], with noise, a single code finds t: it reports the rank correlation of
the two (0.9999; PCA has 0.92), and how much a step across the curve moves the code beside a step along it (0.07 to
0.12; PCA 1.2), within half a minute.

On images it draws the directions that each code follows, the leading singular vectors of its Jacobian.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments import common, training
from genjax import data, networks
from genjax.data import toys
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import images, linear
from genjax.losses import CROSS_ENTROPY, SQUARED_ERROR
from genjax.models import autoencoder
from genjax.types import Array, Model, Params


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(dataset="curve", num_steps=4000, batch_size=128, learning_rate=1e-2, eval_every=1000)
    flags.DEFINE_list("hidden", ["64", "32", "16"], "widths of the encoder's hidden layers; the decoder mirrors them")
    flags.DEFINE_enum("activation", "silu", ["relu", "silu", "tanh", "sigmoid"], "of the hidden layers")
    flags.DEFINE_integer("latent_dim", 1, "dimensions of z, a sigmoid each", lower_bound=1)
    flags.DEFINE_enum("reconstruction", "squared_error", ["cross_entropy", "squared_error"], "loss")
    flags.DEFINE_float("contractive", 0.03, "lambda", lower_bound=0.0)
    flags.DEFINE_enum(
        "jacobian",
        "exact",
        ["exact", "hutchinson", "closed_form"],
        "how its norm is found: by a backward pass a code, by one at random, or for an encoder without hidden layers",
    )


ACTIVATIONS = {"relu": jax.nn.relu, "silu": jax.nn.silu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}
RECONSTRUCTIONS = {"cross_entropy": CROSS_ENTROPY, "squared_error": SQUARED_ERROR}
PENALTIES = {
    "exact": autoencoder.contractive_penalty,
    "hutchinson": autoencoder.hutchinson_contractive_penalty,
    "closed_form": autoencoder.sigmoid_layer_contractive_penalty,
}


def build_parts(config: common.Config, dataset: data.Dataset) -> autoencoder.Autoencoder:
    """The networks and reconstruction that the flags name, with a sigmoid code."""
    shape = dataset.train.x.shape[1:]
    hidden, activation, dim = common.widths(config, "hidden"), ACTIVATIONS[config.activation], config.latent_dim
    return autoencoder.Autoencoder(
        networks.mlp(shape, (dim,), hidden=hidden, activation=activation),
        networks.mlp((dim,), shape, hidden=hidden[::-1], activation=activation),
        RECONSTRUCTIONS[config.reconstruction],
        jax.nn.sigmoid,
    )


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name."""
    if config.jacobian == "closed_form" and config.hidden:
        raise BadInput(
            f"--jacobian=closed_form: the encoder has hidden layers {','.join(config.hidden)}; give --hidden="
        )
    parts = build_parts(config, dataset)
    objective = autoencoder.objective(parts, penalties=[PENALTIES[config.jacobian](config.contractive)])
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))
    return autoencoder.model(parts, optimizer, objective, reduction=config.reduction)


def linear_parts(config: common.Config, shape: tuple[int, ...]) -> autoencoder.Autoencoder:
    """The baseline's networks."""
    layer = partial(networks.mlp, hidden=(), activation=autoencoder.identity)
    return autoencoder.Autoencoder(
        layer(shape, (config.latent_dim,)), layer((config.latent_dim,), shape), SQUARED_ERROR
    )


def along_the_curve(params: Params, x: Array, t: np.ndarray, parts: autoencoder.Autoencoder) -> dict[str, float]:
    """Rank correlation of code and t, and root mean squares of dz along the normal over dz along the tangent."""
    z = np.asarray(autoencoder.encode(params, x, parts=parts))[:, 0]
    ranks = [np.argsort(np.argsort(values)) for values in (z, t)]
    jacobian = jax.vmap(jax.jacrev(lambda x: autoencoder.encode(params, x[None], parts=parts)[0, 0]))(x)
    normal = np.stack([np.cos(t), np.sin(t)], axis=1)
    tangent = np.stack([-np.sin(t), np.cos(t)], axis=1)
    across, along = (np.sqrt(np.mean(np.sum(jacobian * d, axis=1) ** 2)) for d in (normal, tangent))
    values = {"rank_correlation": abs(np.asarray(np.corrcoef(ranks))[0, 1]), "sensitivity_ratio": across / along}
    return {name: round(float(value), 4) for name, value in values.items()}


def save_directions(
    config: common.Config, finished: common.Finished, parts: autoencoder.Autoencoder, num: int = 10
) -> None:
    """Draws images, each before the leading right singular vectors of its code's Jacobian, about middle grey."""
    x, shape = finished.examples.x[:num], finished.examples.x.shape[1:]
    encode = partial(autoencoder.encode, finished.state.params, parts=parts)
    jacobian = jax.vmap(jax.jacrev(lambda x: encode(x[None])[0]))(x).reshape(len(x), config.latent_dim, -1)
    directions = jnp.linalg.svd(jacobian, full_matrices=False)[2][:, :9]
    shown = 0.5 + directions / (2 * jnp.max(jnp.abs(directions), axis=2, keepdims=True))
    rows = jnp.concatenate([x[:, None], shown.reshape(len(x), -1, *shape)], axis=1)
    pictures.save_grid(finished.workdir / "directions.png", rows.reshape(-1, *shape), columns=rows.shape[1])


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Measures the code beside PCA's, and draws what it follows."""
    params, x, shape, workdir = (
        finished.state.params,
        finished.examples.x,
        finished.examples.x.shape[1:],
        finished.workdir,
    )
    parts, linear_map = build_parts(config, finished.dataset), linear_parts(config, shape)
    train_x = jnp.asarray(finished.dataset.train.x, jnp.float32) / finished.dataset.scale
    reconstruct = jax.jit(partial(autoencoder.reconstruct, parts=parts))
    measured = {"psnr": round(float(images.set_psnr(reconstruct(params, x), x)), 4)}
    components = None
    if config.latent_dim < min(len(train_x), math.prod(shape)):
        components = linear.pca(train_x, latent_dim=config.latent_dim)
        reconstructions = autoencoder.reconstruct(components, x, parts=linear_map)
        measured["pca_psnr"] = round(float(images.set_psnr(reconstructions, x)), 4)
    if config.dataset == "curve" and components is not None:
        t = toys.draw_curve(len(finished.dataset.test.x), seed=1)[1][: len(x)]
        measured |= along_the_curve(params, x, t, parts)
        measured |= {f"pca_{name}": value for name, value in along_the_curve(components, x, t, linear_map).items()}
        z = autoencoder.encode(params, x, parts=parts)[:, 0]
        line = autoencoder.decode(params, jnp.linspace(z.min(), z.max(), 200)[:, None], parts=parts)
        pictures.save_plane(workdir / "curve.png", x, z, line, title="points by their code, and the decoded codes")
    if len(shape) == 3:
        columns = 10
        pairs = pictures.interleave_rows(x[: 5 * columns], reconstruct(params, x[: 5 * columns]), columns=columns)
        pictures.save_grid(workdir / "reconstructions.png", pairs, columns=columns)
        save_directions(config, finished, parts)
    return measured


EXPERIMENT = common.Experiment(
    "contractive", define_flags, build, conclude, watch=("reconstruction_loss", "jacobian_norm"), parts=build_parts
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
