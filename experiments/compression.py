"""Lossy compression by autoencoders: image -> code -> quantiser -> entropy coder -> bytes on disk, and back.

    python -m experiments.compression
    python -m experiments.compression --dataset=mnist --data_dir=DIR --latent_dims=4,8,16,32 --learning_rate=2e-3

    z = sigm(encoder(x + n)) in (0, 1)^d,   x' = decoder(z + u / (2^b - 1)),   u ~ U(-1/2, 1/2)^d

One autoencoder a width d of the code, all trained at once; the uniform noise u stands for the quantiser of b bits that
comes after training (Balle, Laparra & Simoncelli 2017), and n keeps a small training set from being learned by heart.
Afterwards each code is quantised to every number of bits in `--bits`, coded by the frequencies that its symbols have in
the training split, written to `codes/`, read and decoded again. Rate is the held-out bytes on disk, in bits a pixel;
distortion is the PSNR of what was read. What the receiver must have before, networks or components and the frequencies,
is not in the rate; `model_bytes` says how large that is.

Baselines, with the same coder and the same split for its frequencies: PCA with its components quantised by one step,
at many widths and steps, and the DCT of 8x8 blocks quantised by JPEG's luminance table at many qualities. Curves are
the upper envelopes. `pca_bd_rate` is the mean difference in rate from PCA at equal PSNR, and `pca_worst_saving` the
difference where it is least favourable: below 0, the autoencoders need fewer bits over their whole curve. It leaves the
curves, and images at several rates beside PCA's of about the same rate.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from threadpoolctl import threadpool_limits

from experiments import common, training
from genjax import data, gradients, networks, stochastic
from genjax.drawing import charts, pictures
from genjax.errors import BadInput
from genjax.evaluation import entropy_coding, rate_distortion
from genjax.losses import CROSS_ENTROPY, SQUARED_ERROR
from genjax.models import autoencoder, descent
from genjax.runs import directory as run_directory
from genjax.types import Array, Batch, Key, Model, Params


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=4000, batch_size=128, learning_rate=1e-3, eval_every=1000)
    flags.DEFINE_list("hidden", ["256", "128"], "widths of the encoder's hidden layers; the decoder mirrors them")
    flags.DEFINE_list("latent_dims", ["2", "4", "8", "12", "16"], "widths d of the codes, an autoencoder each")
    flags.DEFINE_list("bits", ["2", "3"], "quantisers of each code")
    flags.DEFINE_integer("train_bits", 3, "b of the noise in training", lower_bound=1)
    flags.DEFINE_enum("reconstruction", "cross_entropy", ["cross_entropy", "squared_error"], "what is trained on")
    flags.DEFINE_float("noise_scale", 0.1, "of the Gaussian noise that the encoder sees in training", lower_bound=0.0)


RECONSTRUCTIONS = {"squared_error": SQUARED_ERROR, "cross_entropy": CROSS_ENTROPY}
PCA_STEPS, QUALITIES = np.geomspace(0.15, 6, 14), (2, 4, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)
AT_MOST = 10000  # training images that the frequencies and PCA are taken from
JPEG_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)  # ITU-T T.81, table K.1, of quality 50


class Point(NamedTuple):
    """One setting of one method, measured on the held-out split."""

    rate: float  # bits a pixel, of the bytes on disk
    psnr: float
    num_bytes: int
    entropy: float  # bits a pixel, of the symbols' own frequencies
    images: np.ndarray  # [N, H, W, C], decoded from the bytes

    def measures(self) -> dict[str, float]:
        """All but the images."""
        return {name: value for name, value in self._asdict().items() if name != "images"}


def build_member(config: common.Config, image_shape: tuple[int, ...]) -> autoencoder.Autoencoder:
    """One of the autoencoders, as wide as the widest; narrower ones leave the rest of the code at 1/2."""
    hidden, dim = common.widths(config, "hidden"), max(common.widths(config, "latent_dims"))
    encoder = networks.mlp(image_shape, (dim,), hidden=hidden, activation=jax.nn.silu)
    decoder = networks.mlp((dim,), image_shape, hidden=hidden[::-1], activation=jax.nn.silu)
    return autoencoder.Autoencoder(encoder, decoder, RECONSTRUCTIONS[config.reconstruction], code=jax.nn.sigmoid)


def masks(config: common.Config) -> np.ndarray:
    """Which entries of the widest code each autoencoder uses: [M, d], 1 or 0."""
    dims = np.array(common.widths(config, "latent_dims"))
    return (np.arange(dims.max()) < dims[:, None]).astype(np.float32)


def decode(params: Params, z: Array, mask: Array, *, parts: autoencoder.Autoencoder) -> Array:
    """The decoder's output: z [B, d], mask [d] -> [B, ...]; it sees 8 (z - 1/2), which starts near unit variance."""
    return parts.decoder.apply(params["decoder"], 8 * (z - 0.5) * mask[None])


def ensemble_objective(config: common.Config, parts: autoencoder.Autoencoder) -> gradients.Objective:
    """The sum over the autoencoders of E ||x - decoder(z + u / (2^b - 1))||^2, in params stacked over them."""
    mask, width = masks(config), 1 / (2**config.train_bits - 1)
    corruption = stochastic.gaussian_noise(scale=config.noise_scale)

    def objective(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        corruption_key, quantisation_key = jax.random.split(key)
        seen = corruption(batch.x, corruption_key)
        noise = width * jax.random.uniform(quantisation_key, (len(batch.x), mask.shape[1]), minval=-0.5, maxval=0.5)

        def one(params: Params, mask: Array) -> Array:
            z = autoencoder.encode(params, seen, parts=parts)
            return parts.reconstruction.loss(decode(params, z + noise, mask, parts=parts), batch.x)

        losses = jax.vmap(one)(params, jnp.asarray(mask))
        return losses.sum(0), {"reconstruction_loss": losses.mean(0)}

    return objective


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """All widths' autoencoders as one model, its learning rate falling to 0 along a cosine."""
    if dataset.train.x.ndim != 4:
        raise BadInput(f"data set {dataset.name!r} has examples of shape {dataset.train.x.shape[1:]}; give images")
    parts = build_member(config, dataset.train.x.shape[1:])
    common.widths(config, "bits")
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))

    def init_params(key: Key) -> Params:
        keys = jax.random.split(key, len(masks(config)))
        return jax.vmap(partial(autoencoder.init_params, parts=parts))(keys)

    return descent.model(init_params, optimizer, ensemble_objective(config, parts), reduction=config.reduction)


def measured(
    path: Path,
    values: np.ndarray,
    known: np.ndarray,
    quantiser: rate_distortion.Quantiser,
    reconstruct: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
) -> Point:
    """Writes codes to a file, reads them, and measures what they are decoded to.

    Args:
      values: the codes of the held-out images, [N, D].
      known: those of training images, which the frequencies are counted on, [M, D].
      reconstruct: codes [N, D] -> images of x's shape.
      x: the held-out images.
    """
    counts = 1 + rate_distortion.histogram(
        rate_distortion.quantise(known, quantiser), num_symbols=quantiser.num_symbols
    )
    symbols = rate_distortion.quantise(values, quantiser)
    path.write_bytes(entropy_coding.encode(symbols, counts))
    content = path.read_bytes()
    received = entropy_coding.decode(content, counts)
    if not np.array_equal(received, symbols):
        raise AssertionError(f"{path} does not decode to what was written")
    decoded = np.clip(reconstruct(rate_distortion.dequantise(received, quantiser)), 0, 1)
    num_pixels = x.size / x.shape[-1]
    entropy = rate_distortion.empirical_entropy(symbols) * len(symbols) / num_pixels
    psnr = -10 * np.log10(np.mean(np.square(decoded - x, dtype=np.float64)))
    return Point(8 * len(content) / num_pixels, float(psnr), len(content), entropy, decoded)


def autoencoder_points(
    config: common.Config, folder: Path, stacked: Params, x: np.ndarray, known: np.ndarray
) -> dict[str, Point]:
    """Every width at every number of bits; 2^b levels spread over (0, 1)."""
    parts, points = build_member(config, x.shape[1:]), {}
    encode = jax.jit(partial(autoencoder.encode, parts=parts))
    mean = jax.jit(lambda *inputs: parts.reconstruction.mean(decode(*inputs, parts=parts)))
    for member, dim in enumerate(common.widths(config, "latent_dims")):
        params = jax.tree.map(lambda leaf, m=member: leaf[m], stacked)
        z, known_z = (np.asarray(encode(params, images))[:, :dim] for images in (x, known))
        mask = masks(config)[member]

        def reconstruct(z: np.ndarray, params=params, mask=mask) -> np.ndarray:
            return np.asarray(mean(params, jnp.float32(np.pad(z, ((0, 0), (0, len(mask) - z.shape[1])))), mask))

        for bits in common.widths(config, "bits"):
            quantiser = rate_distortion.Quantiser(np.zeros(dim), np.full(dim, 1 / (2**bits - 1)), 2**bits)
            name = f"d{dim}_b{bits}"
            points[name] = measured(folder / f"autoencoder_{name}.bin", z, known_z, quantiser, reconstruct, x)
    return points


def pca_points(config: common.Config, folder: Path, x: np.ndarray, known: np.ndarray) -> dict[str, Point]:
    """Every width at every step; one step for all components, which spends the bits as reverse water-filling does."""
    from sklearn.decomposition import PCA

    flat, flat_known = (images.reshape(len(images), -1).astype(np.float64) for images in (x, known))
    most = min(flat_known.shape)
    points = {}
    for dim in sorted({min(dim, most) for dim in (*common.widths(config, "latent_dims"), 32, 64)}):
        pca = PCA(dim, svd_solver="covariance_eigh").fit(flat_known)
        values, known_values = pca.transform(flat), pca.transform(flat_known)
        for step in PCA_STEPS:
            quantiser, name = rate_distortion.with_step(known_values, step=step), f"d{dim}_step{step:.3g}"
            points[name] = measured(
                folder / f"pca_{name}.bin",
                values,
                known_values,
                quantiser,
                lambda z, pca=pca: pca.inverse_transform(z).reshape(x.shape),
                x,
            )
    return points


def dct_points(folder: Path, x: np.ndarray, known: np.ndarray) -> dict[str, Point]:
    """JPEG's transform and steps at every quality, but this coder: each coefficient with frequencies of its own."""
    points = {}
    values, known_values = block_dct(x), block_dct(known)
    for quality in QUALITIES:
        factor = 50 / quality if quality < 50 else 2 - quality / 50  # as the Independent JPEG Group's library has it
        step = np.maximum(1, np.round(JPEG_LUMINANCE * factor)).reshape(-1) / 255
        points[f"q{quality}"] = measured(
            folder / f"dct_q{quality}.bin",
            values,
            known_values,
            rate_distortion.with_step(known_values, step=step),
            lambda z: inverse_block_dct(z, x.shape),
            x,
        )
    return points


def block_dct(images: np.ndarray) -> np.ndarray:
    """Orthonormal DCT-II of 8x8 blocks around mid-grey, edges repeated to fill them: [N, H, W, C] -> [blocks, 64]."""
    from scipy.fft import dctn

    num, height, width, channels = images.shape
    padding = ((0, 0), (0, -height % 8), (0, -width % 8), (0, 0))
    padded = np.pad(images.astype(np.float64) - 0.5, padding, mode="edge")
    blocks = padded.reshape(num, padded.shape[1] // 8, 8, padded.shape[2] // 8, 8, channels).transpose(0, 1, 3, 5, 2, 4)
    return np.asarray(dctn(blocks, axes=(-2, -1), norm="ortho")).reshape(-1, 64)


def inverse_block_dct(coefficients: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The images of this shape whose `block_dct` it is."""
    from scipy.fft import idctn

    num, height, width, channels = shape
    rows, columns = -(-height // 8), -(-width // 8)
    blocks = idctn(coefficients.reshape(num, rows, columns, channels, 8, 8), axes=(-2, -1), norm="ortho")
    padded = np.asarray(blocks).transpose(0, 1, 4, 2, 5, 3).reshape(num, 8 * rows, 8 * columns, channels)
    return padded[:, :height, :width] + 0.5


def curve(points: dict[str, Point]) -> tuple[np.ndarray, np.ndarray]:
    """The rates and PSNRs of the settings worth using, in order of rate."""
    rates, psnrs = (np.array([getattr(point, name) for point in points.values()]) for name in ("rate", "psnr"))
    kept = rate_distortion.envelope(rates, psnrs)
    return rates[kept], psnrs[kept]


def _upto(rate: float, rates: np.ndarray, psnrs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a curve below a rate, ended by interpolation."""
    if rates[-1] <= rate:
        return rates, psnrs
    kept = rates < rate
    return np.append(rates[kept], rate), np.append(psnrs[kept], np.interp(rate, rates, psnrs))


def save_examples(path: Path, x: np.ndarray, points: dict[str, dict[str, Point]], num: int = 12) -> None:
    """Writes originals, and below them what three rates of the autoencoders leave, each over PCA's best there."""
    rates, _ = curve(points["autoencoder"])
    by_rate = {point.rate: point for point in points["autoencoder"].values()}
    rows, captions = [x[:num]], ["original"]
    for rate in rates[[0, len(rates) // 2, -1]]:
        affordable = [point for point in points["pca"].values() if point.rate <= 1.05 * rate]
        rival = max(affordable, key=lambda point: point.psnr, default=None)
        for name, point in (("autoencoder", by_rate[rate]), ("PCA", rival)):
            if point is not None:
                rows.append(point.images[:num])
                captions.append(f"{name}\n{point.rate:.3f} bit/pixel\n{point.psnr:.1f} dB")
    pictures.save_captioned_grid(path, np.stack(rows), title="originals and what their bytes decode to", rows=captions)


@threadpool_limits.wrap(limits=1)  # the last bits of linear algebra depend on the number of threads
def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Writes, reads and measures every setting of every method on the held-out split."""
    workdir, scale = finished.workdir, finished.dataset.scale
    x, known = np.asarray(finished.examples.x), (finished.dataset.train.x[:AT_MOST] / scale).astype(np.float32)
    (workdir / "codes").mkdir(exist_ok=True)
    points = {
        "autoencoder": autoencoder_points(config, workdir / "codes", finished.state.params, x, known),
        "pca": pca_points(config, workdir / "codes", x, known),
        "dct": dct_points(workdir / "codes", x, known),
    }
    table = {
        method: {setting: point.measures() for setting, point in settings.items()}
        for method, settings in points.items()
    }
    run_directory.write_json(workdir / "rate_distortion.json", table)
    curves = {method: curve(settings) for method, settings in points.items()}
    shown = 1.5 * curves["autoencoder"][0].max()
    charts.save_lines(
        workdir / "rate_distortion.png",
        {
            f"{method} ({len(points[method])} settings)": _upto(shown, rates, psnrs)
            for method, (rates, psnrs) in curves.items()
        },
        xlabel="rate, bits a pixel on disk",
        ylabel="PSNR, dB",
        title=f"{len(x)} held-out images",
        marker=".",
    )
    save_examples(workdir / "reconstructions.png", x, points)

    dims, bits = common.widths(config, "latent_dims"), common.widths(config, "bits")
    at = points["autoencoder"][f"d{dims[len(dims) // 2]}_b{bits[len(bits) // 2]}"]
    model = jax.tree.leaves(finished.state.params)
    metrics = {
        "model_bytes": float(sum(leaf.nbytes for leaf in model) // len(dims)),
        "rate": at.rate,
        "entropy": at.entropy,
        "bytes_on_disk": float(at.num_bytes),
        "psnr": at.psnr,
    }
    for method in ("pca", "dct"):
        rates, psnrs = curves[method]
        if rates[0] <= at.rate <= rates[-1]:
            metrics[f"{method}_psnr"] = float(np.interp(at.rate, rates, psnrs))
        try:
            metrics[f"{method}_bd_rate"] = rate_distortion.bd_rate(*curves["autoencoder"], rates, psnrs)
            savings = rate_distortion.rate_savings(*curves["autoencoder"], rates, psnrs)
            metrics[f"{method}_worst_saving"] = float(savings.max())
        except ValueError as error:  # of curves too short to be compared; what was measured is told without
            print(f"no rate at equal PSNR beside {method}: {error}", file=sys.stderr)
    return metrics


EXPERIMENT = common.Experiment("compression", define_flags, build, conclude, watch=("reconstruction_loss",))

if __name__ == "__main__":
    training.main(EXPERIMENT)
