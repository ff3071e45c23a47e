"""What pages of adversarial networks share: generators and discriminators by name, and pictures along the training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax

from genjax import networks, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.types import Network

CONVOLUTIONAL = {
    "dcgan": (networks.dcgan_generator, networks.dcgan_discriminator),
    "residual": (networks.residual_generator, networks.residual_discriminator),
}
NETWORKS = ("mlp", *CONVOLUTIONAL)


def generator(flags: Any, input_dim: int, shape: tuple[int, ...]) -> Network:
    """The generator of `flags.network`, z [B, input_dim] -> x [B, *shape]; images are in (0, 1).

    Raises:
      BadInput: a convolutional one of vectors.
    """
    if flags.network == "mlp":
        # images end in a sigmoid; a toy's samples are not bounded, and begin in the middle of the data
        last = jax.nn.sigmoid if len(shape) == 3 else lambda x: x + 0.5
        return networks.mlp((input_dim,), shape, hidden=flags.hidden, activation=jax.nn.relu, output_activation=last)
    if len(shape) != 3:
        raise BadInput(f"{flags.dataset} has no images; use mlp", parameter="network")
    make, _ = CONVOLUTIONAL[flags.network]
    return make(input_dim, shape, features=flags.features)


def discriminator(flags: Any, shape: tuple[int, ...], output_shape: tuple[int, ...] = ()) -> Network:
    """The discriminator of `flags.network`, x [B, *shape] -> [B, *output_shape], by default the logit."""
    if flags.network == "mlp":
        return _centred(networks.mlp(shape, output_shape, hidden=flags.hidden, activation=jax.nn.relu))
    _, make = CONVOLUTIONAL[flags.network]
    return _centred(make(shape, output_shape, features=flags.features))


def _centred(network: Network) -> Network:
    """The network of x - 1/2, so that data in [0, 1] are on both sides of the rectifiers' kinks before any training."""
    return Network(network.init, lambda params, x: network.apply(params, x - 0.5))


def picture_along(trained: runs.Trained) -> Path:
    """The path of the picture of this evaluation, in the folder `along` of the run."""
    folder = trained.workdir / "along"
    folder.mkdir(exist_ok=True)
    return folder / f"{trained.step:08d}.png"


def join_pictures(trained: runs.Trained) -> None:
    """Copies the last picture along the training to samples.png, and joins all of them in training.gif."""
    drawn = sorted((trained.workdir / "along").glob("*.png"))
    if drawn:
        shutil.copyfile(drawn[-1], trained.workdir / "samples.png")
        pictures.save_animation(trained.workdir / "training.gif", drawn)
