"""Denoising autoencoders (Vincent et al. 2008), one for each kind of noise, compared with filters.

    python -m experiments.denoising
    python -m experiments.denoising --noise=masking
    python -m experiments.denoising --dataset=mnist --data_dir=DIR --noise=gaussian --hidden=1000 --latent_dim=256

Baselines are the noisy image itself, the 3 x 3 median, a Gaussian filter, soft thresholds of Haar wavelet coefficients
(BayesShrink), and the linear filter of least mean squared error, which is fitted to the same noise as the network. The
run directory has clean, noisy and denoised images, and the PSNR and the structural similarity of every denoiser under
every noise (table.json and ssim.json, with pictures): a denoiser removes the noise that it was trained on. At most 2000
held-out images are measured. For images of 32 x 32 x 3 values the linear filters, one for each noise, take minutes.

PSNR on the held-out digits, in dB:

                   noisy  median  Gaussian  linear  autoencoder
  gaussian         10.53   11.73     13.60   16.36        18.25
  salt_and_pepper  10.58   11.55     12.51   15.71        17.08
  rayleigh          7.45    7.55      7.59   18.31        20.15
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications
from genjax import data, networks, runs, stochastic
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import images, linear, wavelets
from genjax.gradients import Reduction
from genjax.losses import RECONSTRUCTIONS
from genjax.models import autoencoder, descent
from genjax.runs import directory, flag
from genjax.stochastic import Corruption
from genjax.training import concluding
from genjax.types import Array, Batch, Key, Params

NOISES = ("gaussian", "salt_and_pepper", "rayleigh", "centred_rayleigh", "speckle", "masking")
FILTERS = ("noisy", "median", "gaussian_filter", "wavelet", "linear_mmse")
STRENGTHS = {  # the flag at whose 0 there is no noise of this kind
    "gaussian": "scale",
    "salt_and_pepper": "probability",
    "rayleigh": "scale",
    "centred_rayleigh": "scale",
    "masking": "probability",
}


class Flags(runs.Flags):
    """Denoising autoencoders."""

    num_steps: int = 6000
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    noise: tuple[str, ...] = flag(NOISES[:3], "kinds of noise; one denoiser is trained on each", choices=NOISES)
    scale: float = flag(0.3, "standard deviation of Gaussian noise, or scale of Rayleigh noise", at_least=0)
    probability: float = flag(
        0.2, "probability with which salt-and-pepper or masking noise replaces a pixel", at_least=0, at_most=1
    )
    clip: bool = flag(False, "clip noisy images to [0, 1]")
    hidden: tuple[int, ...] = flag(
        (256,), "widths of the MLP encoder's hidden layers; the decoder mirrors them", at_least=1, may_be_empty=True
    )
    activation: str = flag(
        "silu",
        "activation of the hidden layers; glu, gated linear units, halves their widths",
        choices=networks.ACTIVATIONS,
    )
    latent_dim: int = flag(64, "number of latent dimensions", at_least=1)
    reconstruction: str = flag("cross_entropy", "reconstruction loss", choices=RECONSTRUCTIONS)


def corruptions(flags: Flags) -> dict[str, Corruption]:
    """Every kind of noise by name."""
    return {
        "gaussian": stochastic.gaussian_noise(scale=flags.scale, clip=flags.clip),
        "salt_and_pepper": stochastic.salt_and_pepper_noise(probability=flags.probability),
        "rayleigh": stochastic.rayleigh_noise(scale=flags.scale, clip=flags.clip),
        "centred_rayleigh": stochastic.centred_rayleigh_noise(scale=flags.scale, clip=flags.clip),
        "speckle": stochastic.rayleigh_speckle(clip=flags.clip),
        "masking": stochastic.masking_noise(probability=flags.probability),
    }


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """Denoisers side by side, params {noise: ...}, trained on the sum of their losses.

        J = sum_n l(x, decoder_n(encoder_n(corruption_n(x))))

    Each term has its own parameters and key, so each denoiser is trained as it would be alone.
    """
    if len(set(flags.noise)) < len(flags.noise):
        raise BadInput(f"expected each kind at most once, not {','.join(flags.noise)!r}", parameter="noise")
    if dataset.train.x.ndim != 4:
        raise BadInput(f"the filters need images; {flags.dataset} has vectors", parameter="dataset")
    dataset.require_bounded("noise on pixels", parameter="dataset")
    shape, dim, activation = dataset.train.x.shape[1:], flags.latent_dim, networks.ACTIVATIONS[flags.activation]
    for noise, strength in STRENGTHS.items():
        if noise in flags.noise and not getattr(flags, strength):
            autoencoder.check_bottleneck(dim, shape, unless=f"`{strength}` above 0")
    parts = autoencoder.Autoencoder(
        networks.mlp(shape, (dim,), hidden=flags.hidden, activation=activation),
        networks.mlp((dim,), shape, hidden=flags.hidden[::-1], activation=activation),
        RECONSTRUCTIONS[flags.reconstruction],
    )
    objectives = {noise: autoencoder.objective(parts, corruption=corruptions(flags)[noise]) for noise in flags.noise}

    def keys(key: Key) -> dict[str, Key]:
        return {noise: jax.random.fold_in(key, NOISES.index(noise)) for noise in flags.noise}

    def objective(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        losses = {noise: objectives[noise](params[noise], batch, key)[0] for noise, key in keys(key).items()}
        metrics = {f"{noise}_reconstruction_loss": loss for noise, loss in losses.items()}
        return sum(losses.values(), start=jnp.zeros(())), metrics

    def init_params(key: Key) -> Params:
        return {noise: autoencoder.init_params(key, parts=parts) for noise, key in keys(key).items()}

    model = descent.model(
        init_params, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction
    )
    return runs.Built(model, parts)


def filters() -> dict[str, Callable[[Array], Array]]:
    """Denoisers without a network that are not fitted to any data, by name, [B, H, W, C] -> the same shape."""
    from scipy import ndimage

    return {
        "median": lambda noisy: jnp.asarray(ndimage.median_filter(np.asarray(noisy), size=(1, 3, 3, 1))),
        "gaussian_filter": lambda noisy: jnp.asarray(
            ndimage.gaussian_filter(np.asarray(noisy), sigma=(0, 0.7, 0.7, 0))
        ),
        "wavelet": jax.jit(wavelets.bayes_shrink),
    }


def linear_filter(x: Array, corruption: Corruption, key: Key) -> Callable[[Array], Array]:
    """The linear denoiser of least mean squared error, fitted to training images x under many draws of the noise.

    Its cost grows with the square of the number of values in an image, and for large images with the cube.
    """
    flat = x.reshape(len(x), -1)
    flat = jnp.tile(flat, (-(-40_000 // len(flat)), 1))
    affine = linear.linear_mmse(flat, corruption(flat, key))
    return lambda noisy: affine(noisy.reshape(len(noisy), -1)).reshape(noisy.shape)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Measures every denoiser and filter under every noise, and draws each denoiser's results on its own noise."""
    x, dataset, workdir = trained.examples.x, trained.dataset, trained.workdir
    train_x = jnp.asarray(dataset.scaled(dataset.train))
    denoise = jax.jit(partial(autoencoder.reconstruct, parts=trained.parts))
    psnr: dict[str, dict[str, float]] = {}  # method: {noise: value}
    ssim: dict[str, dict[str, float]] = {}
    similarity = jax.jit(images.ssim)
    noises = {"clean": lambda x, key: x} | corruptions(flags)
    for number, (noise, corruption) in enumerate(concluding.shown(noises.items(), "kinds of noise", num=len(noises))):
        test_key, filter_key = jax.random.split(jax.random.fold_in(trained.key, number))
        noisy = corruption(x, test_key)
        denoised = {method: apply(noisy) for method, apply in filters().items()}
        if noise != "clean":  # these two would return clean images unchanged, up to rounding
            linear_mmse = linear_filter(train_x, corruption, filter_key)
            denoised = {"noisy": noisy, **denoised, "linear_mmse": linear_mmse(noisy)}
        denoised |= {f"trained on {name}": denoise(trained.params[name], noisy) for name in flags.noise}
        for method, result in denoised.items():
            psnr.setdefault(method, {})[noise] = round(float(images.set_psnr(result, x)), 4)
            ssim.setdefault(method, {})[noise] = round(float(similarity(result, x).mean()), 4)
        if noise in flags.noise:
            some = data.choose(len(x), 20)
            pictures.save_reconstructions(
                workdir / f"denoised_{noise}.png",
                *(image[some] for image in (x, noisy, denoised[f"trained on {noise}"])),
                title=f"held-out images, with {noise.replace('_', ' ')} noise, and denoised",
                names=("clean", "noisy", "denoised"),
            )

    save_table(workdir / "table", psnr, list(noises), title="PSNR (dB) of held-out images")
    save_table(workdir / "ssim", ssim, list(noises), title="structural similarity of held-out images")
    methods = {noise: {f"trained on {noise}": ""} | {name: f"{name}_" for name in FILTERS} for noise in flags.noise}
    return {
        f"{noise}_{prefix}{measure}": table[method][noise]
        for noise in flags.noise
        for measure, table in (("psnr", psnr), ("ssim", ssim))
        for method, prefix in methods[noise].items()
    }


def save_table(path: Path, table: dict[str, dict[str, float]], noises: list[str], *, title: str) -> None:
    """Writes {method: {noise: value}} as PATH.json and draws it as PATH.png."""
    directory.write_json(path.with_suffix(".json"), table)
    methods = ["noisy", "linear_mmse", *(method for method in table if method not in ("noisy", "linear_mmse"))]
    values = [[table[method].get(noise, math.nan) for noise in noises] for method in methods]
    pictures.save_table(path.with_suffix(".png"), values, rows=methods, columns=noises, title=title)


def of_each_noise(flags: Flags, parts: autoencoder.Autoencoder) -> dict[str, runs.Application]:
    """What the denoiser of each noise makes of an image, by `denoised_NOISE` and `codes_NOISE`."""

    def by_noise(name: str, function: Callable[..., Array]) -> runs.Application:
        def each(params: Params, x: Array, key: Key) -> dict[str, Array]:
            return {f"{name}_{noise}": function(params[noise], x, parts=parts) for noise in flags.noise}

        return runs.Application(each)

    return {"denoised": by_noise("denoised", autoencoder.reconstruct), "codes": by_noise("codes", autoencoder.encode)}


EXPERIMENT = runs.Experiment(
    "denoising",
    Flags,
    build,
    summarise,
    applications=of_each_noise,
    metrics=applications.reconstruction_metrics,
    headline=tuple(f"{noise}_psnr" for noise in NOISES),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
