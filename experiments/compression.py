"""Lossy compression by autoencoders: image -> code -> quantiser -> entropy coder -> bytes on disk, and back.

    python -m experiments.compression
    python -m experiments.compression --dataset=mnist --data_dir=DIR --latent_dims=4,8,16,32 --learning_rate=2e-3

    z = sigm(encoder(x + n)) in (0, 1)^d,   x' = decoder(z + u / (2^b - 1)),   u ~ U(-1/2, 1/2)^d

One autoencoder per code width d, all trained at once. The uniform noise u stands for the quantiser of b bits that is
applied after training (Balle, Laparra & Simoncelli 2017), and the Gaussian noise n keeps a small training set from
being memorised. After training, each code is quantised to every number of bits in `--bits`, coded with the frequencies
of its symbols in the training split, written to `codes/`, read and decoded again. The rate is the size of the held-out
split on disk in bits per pixel; the distortion is the PSNR of the decoded images. The rate does not include what the
receiver needs beforehand (networks or components, and frequencies); `model_bytes` is the size of one autoencoder.

The baselines use the same coder, with frequencies of the same split: PCA with one quantisation step for all components,
at many widths and steps, and the DCT of 8 x 8 blocks with the steps of JPEG's luminance table, at many qualities.
Curves are upper envelopes. `pca_bd_rate` is the mean difference in rate from PCA at equal PSNR, and `pca_worst_saving`
is the difference where it is least favourable: below 0, the autoencoders need fewer bits over their whole curve.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications, rate_curves
from genjax import data, networks, runs, stochastic
from genjax.errors import BadInput
from genjax.evaluation import rate_distortion, transform_coding
from genjax.evaluation.transform_coding import Point
from genjax.gradients import Objective, Reduction
from genjax.losses import RECONSTRUCTIONS
from genjax.models import autoencoder, descent
from genjax.runs import flag
from genjax.training import concluding
from genjax.types import Array, Batch, Key, Params


class Flags(runs.Flags):
    """Compression."""

    num_steps: int = 4000
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    hidden: tuple[int, ...] = flag(
        (256, 128), "widths of the MLP encoder's hidden layers; the decoder mirrors them", at_least=1, may_be_empty=True
    )
    latent_dims: tuple[int, ...] = flag(
        (2, 4, 8, 12, 16), "code widths d; one autoencoder is trained for each", at_least=1
    )
    bits: tuple[int, ...] = flag((2, 3), "numbers of bits per code entry after quantisation", at_least=1, at_most=16)
    train_bits: int = flag(3, "number b of bits whose quantisation the training noise imitates", at_least=1, at_most=16)
    reconstruction: str = flag("cross_entropy", "reconstruction loss", choices=RECONSTRUCTIONS)
    noise_scale: float = flag(
        0.1, "standard deviation of the Gaussian noise added to the encoder's input in training", at_least=0
    )


def masks(flags: Flags) -> np.ndarray:
    """Which entries of the widest code each autoencoder uses: [M, d], 1 or 0."""
    dims = np.array(flags.latent_dims)
    return (np.arange(dims.max()) < dims[:, None]).astype(np.float32)


def decode(params: Params, z: Array, mask: Array, *, parts: autoencoder.Autoencoder) -> Array:
    """The decoder's output: z [B, d], mask [d] -> [B, ...]; its input is 8 (z - 1/2), at first near unit variance."""
    return parts.decoder.apply(params["decoder"], 8 * (z - 0.5) * mask[None])


def ensemble_objective(flags: Flags, parts: autoencoder.Autoencoder) -> Objective:
    """The sum over the autoencoders of E l(x, decoder(z + u / (2^b - 1))), in params stacked over them."""
    width = 1 / (2**flags.train_bits - 1)
    corruption = stochastic.gaussian_noise(scale=flags.noise_scale)

    def objective(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        mask = masks(flags)  # made where it is used: it may be too large for any machine
        corruption_key, quantisation_key = jax.random.split(key)
        seen = corruption(batch.x, corruption_key)
        noise = width * jax.random.uniform(quantisation_key, (len(batch.x), mask.shape[1]), minval=-0.5, maxval=0.5)

        def one(params: Params, mask: Array) -> Array:
            z = autoencoder.encode(params, seen, parts=parts)
            return parts.reconstruction.loss(decode(params, z + noise, mask, parts=parts), batch.x)

        losses = jax.vmap(one)(params, jnp.asarray(mask))
        return losses.sum(0), {"reconstruction_loss": losses.mean(0)}

    return objective


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The autoencoders of all widths as one model.

    The parts are those of each of them: all are as wide as the widest, and narrower ones mask the rest of the code.
    """
    if dataset.train.x.ndim != 4:
        raise BadInput(f"data set {dataset.name!r} has examples of shape {dataset.train.x.shape[1:]}; give images")
    dataset.require_bounded("compression", parameter="dataset")
    shape, dim, hidden = dataset.train.x.shape[1:], max(flags.latent_dims), flags.hidden
    encoder = networks.mlp(shape, (dim,), hidden=hidden, activation=jax.nn.silu)
    decoder = networks.mlp((dim,), shape, hidden=hidden[::-1], activation=jax.nn.silu)
    parts = autoencoder.Autoencoder(encoder, decoder, RECONSTRUCTIONS[flags.reconstruction], code=jax.nn.sigmoid)

    def init_params(key: Key) -> Params:
        keys = jax.random.split(key, len(flags.latent_dims))
        return jax.vmap(partial(autoencoder.init_params, parts=parts))(keys)

    objective = ensemble_objective(flags, parts)
    optimizer = runs.optimizer(flags, ensemble=True)
    model = descent.model(init_params, optimizer, objective, averaging=flags.averaging or None, reduction=reduction)
    return runs.Built(model, parts)


def autoencoder_points(
    flags: Flags, parts: autoencoder.Autoencoder, stacked: Params, folder: Path, x: np.ndarray, known: np.ndarray
) -> dict[str, Point]:
    """Every width at every number of bits; 2^b levels are spread over [0, 1]."""
    points = {}
    encode = jax.jit(partial(autoencoder.encode, parts=parts))
    mean = jax.jit(lambda *inputs: parts.reconstruction.mean(decode(*inputs, parts=parts)))
    widths = zip(flags.latent_dims, masks(flags), strict=True)
    for member, (dim, mask) in enumerate(concluding.shown(widths, "widths", num=len(flags.latent_dims))):
        params = jax.tree.map(lambda leaf, m=member: leaf[m], stacked)
        z, known_z = (np.asarray(encode(params, images))[:, :dim] for images in (x, known))

        def reconstruct(z: np.ndarray, params=params, mask=mask) -> np.ndarray:
            return np.asarray(mean(params, jnp.float32(np.pad(z, ((0, 0), (0, len(mask) - z.shape[1])))), mask))

        for bits in flags.bits:
            name = f"d{dim}_b{bits}"
            points[name] = transform_coding.measure(
                folder / f"autoencoder_{name}.bin", z, known_z, quantiser(dim, bits), reconstruct, x
            )
    return points


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Writes, reads and measures every setting of every method on the held-out split."""
    workdir, x, known = trained.workdir, np.asarray(trained.examples.x), rate_curves.known_images(trained.dataset)
    folder = workdir / "codes"
    folder.mkdir(exist_ok=True)
    own = autoencoder_points(flags, trained.parts, trained.params, folder, x, known)
    points = {"autoencoder": own, **rate_curves.baselines(flags.latent_dims, folder, x, known)}
    curves = rate_curves.save(workdir, x, points)

    dims, bits = flags.latent_dims, flags.bits
    at = own[f"d{dims[len(dims) // 2]}_b{bits[len(bits) // 2]}"]
    metrics = {
        "model_bytes": float(sum(leaf.nbytes for leaf in jax.tree.leaves(trained.params)) // len(dims)),
        "rate": at.rate,
        "entropy": at.entropy,
        "bytes_on_disk": float(at.num_bytes),
        "psnr": at.psnr,
    }
    return metrics | rate_curves.comparison(curves, at.rate)


def of_each_setting(flags: Flags, parts: autoencoder.Autoencoder) -> dict[str, runs.Application]:
    """Codes of every width; images rebuilt from quantised codes, and files of these codes, at every setting dD_bB."""
    widest, mask = max(flags.latent_dims), jnp.asarray(masks(flags))

    def rebuild(params: Params, z: Array, member: Array) -> Array:
        own = jax.tree.map(lambda leaf: leaf[member], params)
        return parts.reconstruction.mean(decode(own, z, mask[member], parts=parts))

    def codes(params: Params, x: Array, key: Key) -> dict[str, Array]:
        z = jax.vmap(lambda own: autoencoder.encode(own, x, parts=parts))(params)
        return {f"d{dim}": z[member, :, :dim] for member, dim in enumerate(flags.latent_dims)}

    def reconstructions(params: Params, x: Array, key: Key) -> dict[str, Array]:
        found = {}
        for member, (name, z) in enumerate(codes(params, x, key).items()):
            padded = jnp.pad(z, ((0, 0), (0, widest - z.shape[1])))
            for bits, levels in zip(flags.bits, 2 ** np.array(flags.bits) - 1, strict=True):
                found[f"{name}_b{bits}"] = rebuild(params, jnp.round(padded * levels) / levels, jnp.asarray(member))
        return found

    def compressed(params: Params, x: Array, key: Key) -> dict[str, Array]:
        return {f"{name}_b{bits}": z for name, z in codes(params, x, key).items() for bits in flags.bits}

    def pack(name: str, z: np.ndarray) -> dict[str, np.ndarray]:
        return transform_coding.pack(z, quantiser(z.shape[1], int(name.rpartition("_b")[2])))

    def read(path: Path) -> dict[str, np.ndarray]:
        z = transform_coding.read(path)
        if z.shape[1] not in flags.latent_dims:
            raise BadInput(f"{path} holds codes of width {z.shape[1]}; this run has {flags.latent_dims}")
        member = np.full(len(z), flags.latent_dims.index(z.shape[1]))
        return {"z": np.pad(z, ((0, 0), (0, widest - z.shape[1]))), "member": member}

    return {
        "codes": runs.Application(codes),
        "reconstructions": runs.Application(reconstructions),
        "compressed": runs.Application(compressed, pack=pack),
        "decompressed": runs.Application(lambda p, rows, key: rebuild(p, rows["z"], rows["member"][0]), read=read),
    }


def quantiser(dim: int, bits: int) -> rate_distortion.Quantiser:
    """2^b levels spread over [0, 1] in each of d coordinates."""
    return rate_distortion.Quantiser(np.zeros(dim), np.full(dim, 1 / (2**bits - 1)), 2**bits)


EXPERIMENT = runs.Experiment(
    "compression",
    Flags,
    build,
    summarise,
    watch=("reconstruction_loss",),
    applications=of_each_setting,
    metrics=lambda flags: (
        applications.reconstruction_metrics(flags)
        | {"rate": runs.Metric("bits per pixel", "lower"), "entropy": runs.Metric("bits per pixel")}
    ),
    headline=("rate", "psnr", "bytes_on_disk", "pca_psnr", "pca_bd_rate", "dct_psnr", "dct_bd_rate"),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
