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

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications
from genjax import data, networks, runs, stochastic
from genjax.drawing import charts, pictures
from genjax.errors import BadInput
from genjax.evaluation import rate_distortion, transform_coding
from genjax.evaluation.transform_coding import Point, curve
from genjax.gradients import Objective, Reduction
from genjax.losses import RECONSTRUCTIONS
from genjax.models import autoencoder, descent
from genjax.runs import directory, flag
from genjax.types import Array, Batch, Key, Params

PCA_STEPS, QUALITIES = np.geomspace(0.15, 6, 14), (2, 4, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)
AT_MOST = 10000  # training images that frequencies are counted on and PCA is fitted to


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
    for member, (dim, mask) in enumerate(zip(flags.latent_dims, masks(flags), strict=True)):
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


def pca_points(flags: Flags, folder: Path, x: np.ndarray, known: np.ndarray) -> dict[str, Point]:
    """Every width at every step; one step for all components allocates the bits by reverse water-filling."""
    from sklearn.decomposition import PCA

    flat, flat_known = (images.reshape(len(images), -1).astype(np.float64) for images in (x, known))
    most = min(flat_known.shape)
    points = {}
    for dim in sorted({min(dim, most) for dim in (*flags.latent_dims, 32, 64)}):
        pca = PCA(dim, svd_solver="covariance_eigh").fit(flat_known)
        values, known_values = pca.transform(flat), pca.transform(flat_known)
        for step in PCA_STEPS:
            quantiser, name = rate_distortion.with_step(known_values, step=step), f"d{dim}_step{step:.3g}"
            points[name] = transform_coding.measure(
                folder / f"pca_{name}.bin",
                values,
                known_values,
                quantiser,
                lambda z, pca=pca: pca.inverse_transform(z).reshape(x.shape),
                x,
            )
    return points


def _upto(rate: float, rates: np.ndarray, psnrs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a curve up to a rate, where it is interpolated."""
    if rates[-1] <= rate:
        return rates, psnrs
    kept = rates < rate
    return np.append(rates[kept], rate), np.append(psnrs[kept], np.interp(rate, rates, psnrs))


def save_curves(
    path: Path, points: dict[str, dict[str, Point]], curves: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    """Draws PSNR over rate, up to one and a half times the autoencoders' highest rate."""
    shown = 1.5 * curves["autoencoder"][0].max()
    charts.save_lines(
        path,
        {f"{method} ({len(points[method])} settings)": _upto(shown, *curves[method]) for method in points},
        xlabel="rate, bits per pixel on disk",
        ylabel="PSNR, dB",
        title=f"{len(next(iter(points['dct'].values())).images)} held-out images",
        marker=".",
    )


def save_examples(path: Path, x: np.ndarray, points: dict[str, dict[str, Point]], num: int = 12) -> None:
    """Draws originals, and below them the autoencoders' images at three rates, each above the best of PCA's there."""
    rates, _ = curve(points["autoencoder"].values())
    by_rate = {point.rate: point for point in points["autoencoder"].values()}
    some = data.choose(len(x), num)
    rows, captions = [x[some]], ["original"]
    for rate in rates[[0, len(rates) // 2, -1]]:
        affordable = [point for point in points["pca"].values() if point.rate <= 1.05 * rate]
        rival = max(affordable, key=lambda point: point.psnr, default=None)
        for name, point in (("autoencoder", by_rate[rate]), ("PCA", rival)):
            if point is not None:
                rows.append(point.images[some])
                captions.append(f"{name}\n{point.rate:.3f} bit/pixel\n{point.psnr:.1f} dB")
    title = "originals, and the images decoded from their bytes"
    pictures.save_captioned_grid(path, np.stack(rows), title=title, rows=captions)


def comparison(curves: dict[str, tuple[np.ndarray, np.ndarray]], at_rate: float) -> dict[str, float]:
    """The baselines beside the autoencoders: PSNR at a rate, and differences in rate at equal PSNR."""
    metrics = {}
    for method in ("pca", "dct"):
        rates, psnrs = curves[method]
        if rates[0] <= at_rate <= rates[-1]:
            metrics[f"{method}_psnr"] = float(np.interp(at_rate, rates, psnrs))
        try:
            metrics[f"{method}_bd_rate"] = rate_distortion.bd_rate(*curves["autoencoder"], rates, psnrs)
            savings = rate_distortion.rate_savings(*curves["autoencoder"], rates, psnrs)
            metrics[f"{method}_worst_saving"] = float(savings.max())
        except ValueError as error:  # curves too short or too far apart; the run is finished without these metrics
            print(f"no rates at equal PSNR for {method}: {error}", file=sys.stderr)
    return metrics


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Writes, reads and measures every setting of every method on the held-out split."""
    workdir, scale = trained.workdir, trained.dataset.scale
    x, known = np.asarray(trained.examples.x), (trained.dataset.train.sample(AT_MOST).x / scale).astype(np.float32)
    folder = workdir / "codes"
    folder.mkdir(exist_ok=True)
    points = {
        "autoencoder": autoencoder_points(flags, trained.parts, trained.params, folder, x, known),
        "pca": pca_points(flags, folder, x, known),
        "dct": transform_coding.dct_points(folder, x, known, qualities=QUALITIES),
    }
    table = {
        method: {setting: point.measures() for setting, point in settings.items()}
        for method, settings in points.items()
    }
    directory.write_json(workdir / "rate_distortion.json", table)
    curves = {method: curve(settings.values()) for method, settings in points.items()}
    save_curves(workdir / "rate_distortion.png", points, curves)
    save_examples(workdir / "reconstructions.png", x, points)

    dims, bits = flags.latent_dims, flags.bits
    at = points["autoencoder"][f"d{dims[len(dims) // 2]}_b{bits[len(bits) // 2]}"]
    metrics = {
        "model_bytes": float(sum(leaf.nbytes for leaf in jax.tree.leaves(trained.params)) // len(dims)),
        "rate": at.rate,
        "entropy": at.entropy,
        "bytes_on_disk": float(at.num_bytes),
        "psnr": at.psnr,
    }
    return metrics | comparison(curves, at.rate)


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
