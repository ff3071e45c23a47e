"""An autoencoder on images, plain or regularised (Hinton & Salakhutdinov 2006), compared with PCA.

    python -m experiments.autoencoder --latent_dim=2
    python -m experiments.autoencoder --dataset=mnist --data_dir=DIR --network=convolutional --contractive=0.1
    python -m experiments.autoencoder --latent_dim=256 --overcomplete --hidden= --activation=relu --code=k_sparse

It writes reconstructions, the map of the codes and that of the principal components to the run directory. The PSNR
of the held-out digits with 2, 4, 8 and 16 dimensions is 15.1, 17.2, 19.7 and 22.7 dB; with PCA it is 12.8, 14.2, 16.1
and 19.4 dB. On `--dataset=faces` it also measures how well a line reads the 46 factors of a face from its code.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp

from experiments import applications, face_factors
from genjax import data, networks, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import images, linear, neighbours
from genjax.gradients import Reduction
from genjax.losses import RECONSTRUCTIONS, SQUARED_ERROR
from genjax.models import autoencoder
from genjax.runs import directory, flag, showing
from genjax.types import Array, Params


class Flags(runs.Flags):
    """Autoencoder."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    network: str = flag("mlp", "architecture of the encoder and the decoder", choices=("mlp", "convolutional"))
    hidden: tuple[int, ...] = flag(
        (256, 128), "widths of the MLP encoder's hidden layers; the decoder mirrors them", at_least=1, may_be_empty=True
    )
    features: tuple[int, ...] = flag(
        (32, 64), "channels of the convolutional encoder; the decoder mirrors them", at_least=1
    )
    activation: str = flag("silu", "activation of the hidden layers", choices=networks.ACTIVATIONS)
    latent_dim: int = flag(8, "number of latent dimensions", at_least=1)
    overcomplete: bool = flag(False, "allow as many latent dimensions as the data have, or more")
    reconstruction: str = flag("cross_entropy", "reconstruction loss", choices=RECONSTRUCTIONS)
    code: str = flag(
        "linear",
        "function that maps the encoder's output to the code",
        choices=("linear", "sigmoid", "k_sparse", "hard", "soft", "group"),
    )
    active_units: int = flag(16, "number of units that a k_sparse code keeps", at_least=1)
    threshold: float = flag(0.1, "threshold of a hard, soft or group code", at_least=0)
    group_size: int = flag(4, "number of units per group of a group code", at_least=1)
    weight_l1: float = flag(0.0, "weight of the penalty sum |W_ij|", at_least=0)
    weight_l2: float = flag(0.0, "weight of the penalty 1/2 sum W_ij^2", at_least=0)
    code_l1: float = flag(
        0.0,
        "weight of the penalty 1/2 sum |z_j|; above 0, the rows of the decoder's first layer have norm 1",
        at_least=0,
    )
    code_kl: float = flag(0.0, "weight of the penalty sum KL(code_rate || mean z_j), with --code=sigmoid", at_least=0)
    code_rate: float = flag(
        0.05, "target for the mean activation of each unit, with --code_kl", at_least=1e-6, at_most=1 - 1e-6
    )
    contractive: float = flag(0.0, "weight of the contractive penalty ||dz/dx||^2", at_least=0)


FIRST_LAYER = {"mlp": "layer_1", "convolutional": "dense"}  # of the decoder


def build_parts(flags: Flags, shape: tuple[int, ...]) -> autoencoder.Autoencoder:
    """The networks, the code and the reconstruction loss."""
    dim, activation = flags.latent_dim, networks.ACTIVATIONS[flags.activation]
    if flags.network == "mlp":
        encoder = networks.mlp(shape, (dim,), hidden=flags.hidden, activation=activation)
        decoder = networks.mlp((dim,), shape, hidden=flags.hidden[::-1], activation=activation)
    else:
        encoder = networks.convolutional_encoder(shape, (dim,), features=flags.features, activation=activation)
        decoder = networks.convolutional_decoder(dim, shape, features=flags.features, activation=activation)
    if flags.code_l1:
        decoder = networks.unit_norm_rows(decoder, layer=FIRST_LAYER[flags.network])
    code = {
        "linear": None,
        "sigmoid": jax.nn.sigmoid,
        "k_sparse": partial(networks.k_sparse, k=flags.active_units),
        "hard": partial(networks.hard_threshold, threshold=flags.threshold),
        "soft": partial(networks.soft_threshold, threshold=flags.threshold),
        "group": partial(networks.group_threshold, threshold=flags.threshold, group_size=flags.group_size),
    }[flags.code]
    return autoencoder.Autoencoder(encoder, decoder, RECONSTRUCTIONS[flags.reconstruction], code)


def check(flags: Flags, shape: tuple[int, ...]) -> None:
    """Checks the flags against each other and the data.

    Raises:
      BadInput: naming the flag that does not fit.
    """
    dim = flags.latent_dim
    if not flags.overcomplete:
        autoencoder.check_bottleneck(dim, shape, unless="`overcomplete`")
    if flags.code == "k_sparse" and flags.active_units > dim:
        raise BadInput(f"the code has {dim} units, so {flags.active_units} cannot be kept", parameter="active_units")
    if flags.code == "group" and dim % flags.group_size:
        raise BadInput(
            f"a code of {dim} units cannot be divided into groups of {flags.group_size}", parameter="group_size"
        )
    if flags.code_kl and flags.code != "sigmoid":
        raise BadInput(
            f"the units of a {flags.code} code are not rates in (0, 1); set `code` to sigmoid", parameter="code_kl"
        )


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the regularised objective and the model."""
    shape = dataset.train.x.shape[1:]
    check(flags, shape)
    if flags.reconstruction == "cross_entropy":
        dataset.require_bounded("cross-entropy", parameter="reconstruction")
    parts = build_parts(flags, shape)
    penalties = [
        autoencoder.weight_l1_penalty(flags.weight_l1),
        autoencoder.weight_l2_penalty(flags.weight_l2),
        autoencoder.code_l1_penalty(flags.code_l1),
        autoencoder.code_kl_penalty(flags.code_kl, rate=flags.code_rate),
        autoencoder.contractive_penalty(flags.contractive),
    ]
    objective = autoencoder.objective(
        parts, penalties=[penalty for penalty in penalties if penalty.weight], overcomplete=flags.overcomplete
    )
    model = autoencoder.model(
        parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction
    )
    return runs.Built(model, parts)


def measure(
    trained: runs.Trained, params: Params, parts: autoencoder.Autoencoder, prefix: str = ""
) -> tuple[Array, dict[str, float]]:
    """Codes of the held-out examples, and measures of them and of the reconstructions.

    Returns:
      z [N, d], and the metrics, whose names begin with the prefix: the PSNR of all reconstructions together; with three
      examples or more, whether neighbours in z are neighbours in x; with labels, whether the nearest training codes are
      of the same class; and on rendered faces, how well ridge regression reads the factors from the codes. The R^2 of
      each factor is in PREFIXfactors.json.
    """
    dataset, x, label = trained.dataset, trained.examples.x, trained.classes
    low, high = dataset.limits
    encode = jax.jit(partial(autoencoder.encode, parts=parts))
    z, reconstructions = encode(params, x), jax.jit(partial(autoencoder.reconstruct, parts=parts))(params, x)
    num_neighbours = min(12, (len(x) - 1) // 2)
    metrics = {"psnr": float(images.set_psnr(reconstructions, x, peak=high - low))}
    if num_neighbours:
        metrics["trustworthiness"] = neighbours.trustworthiness(x, z, num_neighbours=num_neighbours)
    known = dataset.train.sample(10_000)
    of_known = dataset.classes(known)
    if label is not None and of_known is not None:
        train_z = encode(params, dataset.scaled(known))
        metrics["nearest_neighbour_accuracy"] = neighbours.knn_accuracy(
            train_z, of_known, z, label, num_neighbours=min(5, len(train_z))
        )
        if dataset.name == "faces":
            factors = face_factors.probe(train_z, z)
            directory.write_json(trained.workdir / f"{prefix}factors.json", factors)
            metrics |= face_factors.means(factors)
    return z, {f"{prefix}{name}": round(value, 4) for name, value in metrics.items()}


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws reconstructions and the maps of the held-out codes; measures them beside those of PCA."""
    x, label, dataset, workdir = trained.examples.x, trained.classes, trained.dataset, trained.workdir
    shape, dim = x.shape[1:], flags.latent_dim
    z, metrics = measure(trained, trained.params, trained.parts)
    title = f"reconstructions from {dim} numbers"
    showing.save_reconstructions(trained, partial(autoencoder.reconstruct, parts=trained.parts), title=title)
    pictures.save_latent_map(workdir / "latent_map.png", z, label, names=dataset.class_names)
    if dim >= min(len(dataset.train.x), math.prod(shape)):
        return metrics  # PCA would be the identity
    parts = autoencoder.Autoencoder(networks.affine(shape, (dim,)), networks.affine((dim,), shape), SQUARED_ERROR)
    components = linear.pca(jnp.asarray(dataset.scaled(dataset.train)), latent_dim=dim)
    z, baseline = measure(trained, components, parts, prefix="pca_")
    title = f"principal components of {len(z)} held-out examples"
    pictures.save_latent_map(workdir / "pca_latent_map.png", z, label, names=dataset.class_names, title=title)
    return metrics | baseline


EXPERIMENT = runs.Experiment(
    "autoencoder",
    Flags,
    build,
    summarise,
    watch=("reconstruction_loss",),
    codec=autoencoder.codec,
    applications=applications.of_autoencoder,
    generator=applications.autoencoder_generator,
    metrics=applications.reconstruction_metrics,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
