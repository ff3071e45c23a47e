"""What pages of adversarial networks share: generators and discriminators by name, and pictures along the training."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import optax

from experiments import reference_classifier
from genjax import data, gradients, memory, networks, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation.sample_quality import AT_LEAST
from genjax.networks.combinators import T
from genjax.types import Array, Network, StatefulNetwork

DENSE = (1024,)  # as in InfoGAN (Chen et al. 2016, appendix C.1)


def _dense(*players: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    return tuple(partial(player, hidden=DENSE) for player in players)


CONVOLUTIONAL = {
    "dcgan": (networks.dcgan_generator, networks.dcgan_discriminator),
    "dcgan_dense": _dense(networks.dcgan_generator, networks.dcgan_discriminator),
    "residual": (networks.residual_generator, networks.residual_discriminator),
    "style": (networks.style_generator, networks.residual_discriminator),
}
NETWORKS = ("mlp", *CONVOLUTIONAL)
STATEFUL = {
    "dcgan": (networks.stateful_dcgan_generator, networks.stateful_dcgan_discriminator),
    "dcgan_dense": _dense(networks.stateful_dcgan_generator, networks.stateful_dcgan_discriminator),
    "residual": (networks.stateful_residual_generator, networks.stateful_residual_discriminator),
}


def network(of: str = "the generator and the discriminator") -> Any:
    """The flag `network`."""
    return runs.flag(
        "mlp",
        f"architecture of {of}; dcgan_dense has a dense layer of {DENSE[0]} units after the code and before the logit",
        choices=NETWORKS,
    )


def normalization() -> Any:
    """The flag `normalization`."""
    return runs.flag(
        "channels",
        "normalization in the generator: of the channels of each pixel, in convolutional ones; batch: of each channel "
        "over a batch; batch_both: the same in the discriminator too, as in DCGAN, which then has no penalty; with "
        "--shards, each shard is a batch of its own (ghost batches)",
        choices=("channels", "batch", "batch_both"),
        newer=True,
    )


def generator(flags: Any, input_dim: int, shape: tuple[int, ...], *, self_attention: bool = False) -> Network:
    """The generator of `flags.network`, z [B, input_dim] -> x [B, *shape]; images are in (0, 1).

    With `self_attention`, the places of a convolutional one's map of half the size attend to each other.

    Raises:
      BadInput: a convolutional one of vectors.
    """
    if flags.network == "mlp":
        last = _last_activation(shape)
        return networks.mlp((input_dim,), shape, hidden=flags.hidden, activation=jax.nn.relu, output_activation=last)
    if len(shape) != 3:
        raise BadInput(f"{flags.dataset} has no images; use mlp", parameter="network")
    make, _ = CONVOLUTIONAL[flags.network]
    return make(input_dim, shape, features=flags.features, self_attention=self_attention)


def discriminator(
    flags: Any,
    shape: tuple[int, ...],
    output_shape: tuple[int, ...] = (),
    *,
    with_features: bool = False,
    self_attention: bool = False,
) -> Network:
    """The discriminator of `flags.network`, x [B, *shape] -> [B, *output_shape], by default the logit.

    With `with_features` it returns its last hidden layer too: (features [B, ...], output). `self_attention` is as in
    `generator`.
    """
    if flags.network == "mlp":
        body = networks.mlp(
            shape, output_shape, hidden=flags.hidden, activation=jax.nn.relu, with_features=with_features
        )
        return _centred(body)
    _, make = CONVOLUTIONAL[flags.network]
    options = dict(with_features=with_features, self_attention=self_attention)
    return _centred(make(shape, output_shape, features=flags.features, **options))


def normalized_generator(
    flags: Any, input_dim: int, shape: tuple[int, ...], *, self_attention: bool = False
) -> Network | StatefulNetwork:
    """`generator` with the normalisation of `flags.normalization`.

    Raises:
      BadInput: as of `generator` and `check_batches`.
    """
    if flags.normalization == "channels":
        return generator(flags, input_dim, shape, self_attention=self_attention)
    check_batches(flags, shape)
    if flags.network == "mlp":
        activations = {"activation": jax.nn.relu, "output_activation": _last_activation(shape)}
        return networks.stateful_mlp((input_dim,), shape, hidden=flags.hidden, **activations)
    make, _ = STATEFUL[flags.network]
    return make(input_dim, shape, features=flags.features, self_attention=self_attention)


def normalized_discriminator(
    flags: Any, shape: tuple[int, ...], output_shape: tuple[int, ...] = (), *, self_attention: bool = False
) -> Network | StatefulNetwork:
    """`discriminator`, with batch normalisation if `flags.normalization` is "batch_both".

    Raises:
      BadInput: as of `check_batches`; nothing would be normalised.
    """
    if flags.normalization != "batch_both":
        return discriminator(flags, shape, output_shape, self_attention=self_attention)
    check_batches(flags, shape)
    if flags.network == "mlp":
        body = networks.stateful_mlp(shape, output_shape, hidden=flags.hidden, activation=jax.nn.relu)
        return _centred(body)
    if flags.network == "dcgan" and len(flags.features) < 2:
        raise BadInput("batch_both begins at the second convolution; give two or more", parameter="features")
    _, make = STATEFUL[flags.network]
    return _centred(make(shape, output_shape, features=flags.features, self_attention=self_attention))


def check_batches(flags: Any, shape: tuple[int, ...]) -> None:
    """Checks that there is a batch to normalise by, and something to normalise.

    Raises:
      BadInput: another network than those with batch normalisation, single examples, or too few hidden layers.
    """
    network = getattr(flags, "network", "mlp")
    if network not in ("mlp", *STATEFUL) or (network != "mlp" and len(shape) != 3):
        raise BadInput(
            f"{flags.normalization} applies to mlp, and to dcgan, dcgan_dense and residual of images",
            parameter="normalization",
        )
    rows = flags.batch_size // (getattr(flags, "num_critic_steps", 1) * (flags.shards or 1))
    if rows < 2:
        raise BadInput(
            f"batch needs at least two examples in each shard and critic step, not {rows}", parameter="normalization"
        )
    if network == "mlp" and len(flags.hidden) < 2:
        raise BadInput("batch normalization begins at the second hidden layer; give two or more", parameter="hidden")


def check_penalty(flags: Any, penalised: bool, parameter: str) -> None:
    """Raises `BadInput` where a penalty is of the slope of a discriminator that judges a batch as a whole."""
    if flags.normalization == "batch_both" and penalised:
        raise BadInput(
            "with --normalization=batch_both, a logit depends on its batch and has no slope at one example; "
            f"leave {parameter} out, or take --normalization=batch",
            parameter=parameter,
        )


def unmoved(network: Network | StatefulNetwork, optimizer: optax.GradientTransformation) -> Any:
    """The optimizer of a player, without effect on moving averages or fixed noise if its network has any."""
    if not isinstance(network, StatefulNetwork):
        return optimizer
    return gradients.frozen(optimizer, "batch_stats", networks.NOISE)


def last_layer(flags: Any) -> str:
    """The key of the last layer in the params of the generator of `flags.network`."""
    last = {"mlp": f"layer_{len(flags.hidden) + 1}", "dcgan": "convolution_1", "dcgan_dense": "convolution_1"}
    return last.get(flags.network, "output")


def _last_activation(shape: tuple[int, ...]) -> Callable[[Array], Array]:
    """Of an mlp: images end in a sigmoid; a toy's samples are not bounded, and begin in the middle of the data."""
    return jax.nn.sigmoid if len(shape) == 3 else lambda x: x + 0.5


def _centred(network: T) -> T:
    """The network of x - 1/2, so that data in [0, 1] are on both sides of the rectifiers' kinks before any training."""
    return networks.around(network, inputs=lambda x: (x - 0.5,))


def prepare(flags: Any, dataset: data.Dataset, built: runs.Built, cache: Path) -> runs.Built:
    """Finds or trains the classifier for comparing images, if they have labels and enough of them are held out."""
    if dataset.train.x.ndim != 4 or not dataset.num_classes or len(dataset.test.x) < AT_LEAST:
        return built
    made = reference_classifier.reference(flags, dataset, num_samples=flags.num_samples, cache=cache)
    return built._replace(auxiliaries=made)


def check_samples(flags: Any, dataset: data.Dataset) -> None:
    """Raises `BadInput` where a set of `flags.num_samples` does not fit into memory, or images are not in [0, 1]."""
    samples = f"a set of {flags.num_samples} samples"
    memory.require(4 * flags.num_samples * math.prod(dataset.train.x.shape[1:]), samples, parameter="num_samples")
    if dataset.train.x.ndim == 4:
        dataset.require_bounded("a generator of images", parameter="dataset")


def check_attention(flags: Any, shape: tuple[int, ...]) -> None:
    """Raises `BadInput` where `flags.self_attention` has no map to attend to, or its weights do not fit into memory."""
    if not flags.self_attention:
        return
    if flags.network == "mlp":
        raise BadInput("an mlp has no map of places; use a convolutional network", parameter="self_attention")
    if len(shape) == 3:
        places = -(-shape[0] // 2) * -(-shape[1] // 2)
        weights = f"the weights of {places} places for each other, of {flags.batch_size} images,"
        memory.require(4 * flags.batch_size * places**2, weights, parameter="self_attention")


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
