"""Denoising autoencoders (Vincent et al. 2008), one for each kind of noise, beside filters.

    python -m experiments.denoising
    python -m experiments.denoising --noise=masking
    python -m experiments.denoising --dataset=mnist --data_dir=DIR --noise=gaussian --hidden=1000 --latent_dim=256

Baselines: nothing, the 3 x 3 median, a Gaussian filter, and the linear filter of least mean squared error, which was
shown the noise as the network was. It leaves clean, noisy and denoised images, and every denoiser's PSNR under every
noise (table.json, table.png): a denoiser removes the noise that it was trained on.

Held out, on digits (dB):   noisy  median  Gaussian  linear  autoencoder
  gaussian                  10.53   11.73     13.60   16.36        18.25
  salt_and_pepper           10.58   11.55     12.51   15.71        17.08
  rayleigh                   7.45    7.55      7.59   18.31        20.15
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
from genjax import data, networks, stochastic
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import images, linear
from genjax.losses import CROSS_ENTROPY, SQUARED_ERROR
from genjax.models import autoencoder, descent
from genjax.runs import directory as run_directory
from genjax.stochastic import Corruption
from genjax.types import Array, Batch, Key, Model, Params

NOISES = ("gaussian", "salt_and_pepper", "rayleigh", "centred_rayleigh", "speckle", "masking")


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=6000, batch_size=128, learning_rate=1e-3, eval_every=1000)
    flags.DEFINE_list("noise", list(NOISES[:3]), f"kinds to train on, a denoiser each, of {', '.join(NOISES)}")
    flags.DEFINE_float(
        "scale", 0.3, "of Gaussian noise, its standard deviation, and of Rayleigh noise", lower_bound=0.0
    )
    flags.DEFINE_float("probability", 0.2, "of salt-and-pepper and masking noise", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_bool("clip", False, "clip noisy images to [0, 1]")
    flags.DEFINE_list("hidden", ["256"], "widths of the encoder's hidden layers; the decoder mirrors them")
    flags.DEFINE_enum("activation", "silu", ["relu", "silu", "tanh", "sigmoid"], "of the hidden layers")
    flags.DEFINE_integer("latent_dim", 64, "dimensions of z", lower_bound=1)
    flags.DEFINE_enum("reconstruction", "cross_entropy", ["cross_entropy", "squared_error"], "loss")


ACTIVATIONS = {"relu": jax.nn.relu, "silu": jax.nn.silu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}
RECONSTRUCTIONS = {"cross_entropy": CROSS_ENTROPY, "squared_error": SQUARED_ERROR}


def corruptions(config: common.Config) -> dict[str, Corruption]:
    """Every kind of noise, as strong as the flags say."""
    return {
        "gaussian": stochastic.gaussian_noise(scale=config.scale, clip=config.clip),
        "salt_and_pepper": stochastic.salt_and_pepper_noise(probability=config.probability),
        "rayleigh": stochastic.rayleigh_noise(scale=config.scale, clip=config.clip),
        "centred_rayleigh": stochastic.centred_rayleigh_noise(scale=config.scale, clip=config.clip),
        "speckle": stochastic.rayleigh_speckle(clip=config.clip),
        "masking": stochastic.masking_noise(probability=config.probability),
    }


def trained_noises(config: common.Config) -> list[str]:
    """The kinds of noise that the flags name."""
    unknown = [noise for noise in config.noise if noise not in NOISES]
    if unknown or not config.noise or len(set(config.noise)) < len(config.noise):
        raise BadInput(f"--noise={','.join(config.noise)}: give some of {', '.join(NOISES)}, each once")
    return config.noise


def build_parts(config: common.Config, image_shape: tuple[int, ...]) -> autoencoder.Autoencoder:
    """The networks and reconstruction that the flags name."""
    hidden, activation, dim = common.widths(config, "hidden"), ACTIVATIONS[config.activation], config.latent_dim
    return autoencoder.Autoencoder(
        networks.mlp(image_shape, (dim,), hidden=hidden, activation=activation),
        networks.mlp((dim,), image_shape, hidden=hidden[::-1], activation=activation),
        RECONSTRUCTIONS[config.reconstruction],
    )


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """Denoisers side by side, params {noise: ...}: one sum of losses, of which each gradient is its own denoiser's."""
    parts, noises = build_parts(config, dataset.train.x.shape[1:]), trained_noises(config)
    objectives = {noise: autoencoder.objective(parts, corruption=corruptions(config)[noise]) for noise in noises}
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))

    def keys(key: Key) -> dict[str, Key]:
        return {noise: jax.random.fold_in(key, NOISES.index(noise)) for noise in noises}

    def objective(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        losses = {noise: objectives[noise](params[noise], batch, key)[0] for noise, key in keys(key).items()}
        return sum(losses.values(), start=jnp.zeros(())), {
            f"{n}_reconstruction_loss": loss for n, loss in losses.items()
        }

    def init_params(key: Key) -> Params:
        return {noise: autoencoder.init_params(key, parts=parts) for noise, key in keys(key).items()}

    return descent.model(init_params, optimizer, objective, reduction=config.reduction)


def linear_filter(x: Array, corruption: Corruption, key: Key) -> linear.Affine:
    """The linear filter of least mean squared error, from training images that were corrupted again and again."""
    flat = x.reshape(len(x), -1)
    flat = jnp.tile(flat, (-(-40_000 // len(flat)), 1))
    return linear.linear_mmse(flat, corruption(flat, key))


def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Measures every denoiser and filter under every noise, and draws the trained ones at work on their own."""
    from scipy import ndimage

    x, dataset, workdir, columns = finished.examples.x, finished.dataset, finished.workdir, 10
    train_x = jnp.asarray(dataset.train.x, jnp.float32) / dataset.scale
    denoise = jax.jit(partial(autoencoder.reconstruct, parts=build_parts(config, x.shape[1:])))
    table: dict[str, dict[str, float]] = {}  # method: {noise: PSNR}
    noises = {"clean": lambda x, key: x} | corruptions(config)
    for number, (noise, corruption) in enumerate(noises.items()):
        test_key, filter_key = jax.random.split(jax.random.fold_in(finished.key, number))
        noisy = corruption(x, test_key)
        linear = linear_filter(train_x, corruption, filter_key)
        answers = {
            "noisy": noisy,
            "median": ndimage.median_filter(np.asarray(noisy), size=(1, 3, 3, 1)),
            "gaussian_filter": ndimage.gaussian_filter(np.asarray(noisy), sigma=(0, 0.7, 0.7, 0)),
            "linear_mmse": linear(noisy.reshape(len(x), -1)).reshape(x.shape),
        }
        if noise == "clean":  # which both leave as it is, up to rounding
            del answers["noisy"], answers["linear_mmse"]
        answers |= {
            f"trained on {name}": denoise(finished.state.params[name], noisy) for name in trained_noises(config)
        }
        for method, answer in answers.items():
            table.setdefault(method, {})[noise] = round(float(images.set_psnr(jnp.asarray(answer), x)), 4)
        if noise in trained_noises(config):
            rows = [
                image[i : i + columns] for i in (0, columns) for image in (x, noisy, answers[f"trained on {noise}"])
            ]
            pictures.save_grid(workdir / f"denoised_{noise}.png", np.concatenate(rows), columns=columns)

    run_directory.write_json(workdir / "table.json", table)
    methods = ["noisy", "linear_mmse", *(method for method in table if method not in ("noisy", "linear_mmse"))]
    values = [[table[method].get(noise, math.nan) for noise in noises] for method in methods]
    pictures.save_table(
        workdir / "table.png", values, rows=methods, columns=list(noises), title="PSNR (dB), held-out images"
    )
    names = {"noisy": "noisy_psnr", "median": "median_psnr", "gaussian_filter": "gaussian_filter_psnr"}
    names |= {"linear_mmse": "linear_mmse_psnr"}
    return {
        f"{noise}_{name}": table[method][noise]
        for noise in trained_noises(config)
        for method, name in ({f"trained on {noise}": "psnr"} | names).items()
    }


EXPERIMENT = common.Experiment("denoising", define_flags, build, conclude, watch=("loss",))

if __name__ == "__main__":
    training.main(EXPERIMENT)
