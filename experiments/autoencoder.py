"""An autoencoder on images, plain or regularised (Hinton & Salakhutdinov 2006), compared with PCA.

    python -m experiments.autoencoder --latent_dim=2
    python -m experiments.autoencoder --dataset=mnist --data_dir=DIR --network=convolutional --contractive=0.1
    python -m experiments.autoencoder --latent_dim=256 --overcomplete --hidden= --activation=relu --code=k_sparse
    python -m experiments.autoencoder --mmd=10 --reconstruction=squared_error
    python -m experiments.autoencoder --sliced_wasserstein=10 --reconstruction=squared_error
    python -m experiments.autoencoder --code_l2=1e-3 --decoder_jacobian=1e-3

It writes reconstructions, the map of the codes and that of the principal components to the run directory. The PSNR
of the held-out digits with 2, 4, 8 and 16 dimensions is 15.1, 17.2, 19.7 and 22.7 dB; with PCA it is 12.8, 14.2, 16.1
and 19.4 dB. On `--dataset=faces` it also measures how well a line reads the 46 factors of a face from its code.

With --mmd (the Wasserstein autoencoder of Tolstikhin et al. 2018) or --sliced_wasserstein (Kolouri et al. 2018) the
codes follow N(0, I), from which samples are drawn. To sample from any other run, fit a density to its codes with
`experiments.generate --density`, as Ghosh et al. 2020 do with their regularised autoencoders: --code_l2 makes an RAE-L2
with --decoder_l2, and an RAE-GP with --decoder_jacobian.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp

from experiments import applications, code_penalties, face_factors
from genjax import data, networks, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import images, linear, neighbours
from genjax.gradients import Reduction
from genjax.losses import RECONSTRUCTIONS, SQUARED_ERROR
from genjax.models import autoencoder
from genjax.runs import directory, flag, showing
from genjax.types import Array, Params


class Flags(code_penalties.Flags, runs.Flags):
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
    activation: str = flag(
        "silu",
        "activation of the hidden layers; glu, gated linear units, halves their widths",
        choices=networks.ACTIVATIONS,
    )
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
    code_penalties.check(flags)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the regularised objective and the model."""
    shape = dataset.train.x.shape[1:]
    check(flags, shape)
    if flags.network == "convolutional":
        dataset.require_images("a convolutional network", parameter="network")
    if flags.reconstruction == "cross_entropy":
        dataset.require_bounded("cross-entropy", parameter="reconstruction")
    parts = build_parts(flags, shape)
    objective = autoencoder.objective(parts, penalties=code_penalties.penalties(flags), overcomplete=flags.overcomplete)
    model = autoencoder.model(
        parts,
        runs.optimizer(flags),
        objective,
        sample_codes=code_penalties.sampler(flags),
        averaging=flags.averaging or None,
        reduction=reduction,
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
    """Draws reconstructions, samples and the maps of the held-out codes; measures them beside those of PCA."""
    x, label, dataset, workdir = trained.examples.x, trained.classes, trained.dataset, trained.workdir
    shape, dim = x.shape[1:], flags.latent_dim
    z, metrics = measure(trained, trained.params, trained.parts)
    title = f"reconstructions from {dim} numbers"
    showing.save_reconstructions(trained, partial(autoencoder.reconstruct, parts=trained.parts), title=title)
    pictures.save_latent_map(workdir / "latent_map.png", z, label, names=dataset.class_names)
    if trained.model.sample is not None:
        samples = jax.jit(trained.model.sample, static_argnums=1)(trained.state, 100, trained.key)
        showing.save_samples(trained, samples, title="codes drawn from N(0, I), decoded")
    if dim >= min(len(dataset.train.x), math.prod(shape)):
        return metrics  # PCA would be the identity
    parts = autoencoder.Autoencoder(networks.affine(shape, (dim,)), networks.affine((dim,), shape), SQUARED_ERROR)
    components = linear.pca(jnp.asarray(dataset.scaled(dataset.train)), latent_dim=dim)
    z, baseline = measure(trained, components, parts, prefix="pca_")
    title = f"principal components of {len(z)} held-out examples"
    pictures.save_latent_map(workdir / "pca_latent_map.png", z, label, names=dataset.class_names, title=title)
    return metrics | baseline


def generator(flags: Flags, parts: autoencoder.Autoencoder) -> runs.Generator:
    """How codes are decoded, and drawn where they follow a prior."""
    sample, made = code_penalties.sampler(flags), applications.autoencoder_generator(flags, parts)
    return made if sample is None else made._replace(prior=lambda params, num, key: sample(num, key))


EXPERIMENT = runs.Experiment(
    "autoencoder",
    Flags,
    build,
    summarise,
    watch=("reconstruction_loss",),
    codec=autoencoder.codec,
    applications=applications.of_autoencoder,
    generator=generator,
    metrics=applications.reconstruction_metrics,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
