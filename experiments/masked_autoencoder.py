"""A masked autoencoder, which rebuilds images from a few of their patches (He et al. 2022).

    python -m experiments.masked_autoencoder
    python -m experiments.masked_autoencoder --dataset=mnist --data_dir=DIR --patch=4 --num_steps=6000

A transformer reads the visible patches alone, a smaller one rebuilds the others (--hidden_share of them, drawn anew at
every step). The run directory has held-out images with their visible patches, and how the model and PCA complete them.
It gives the error of hidden pixels beside those of PCA and of the mean image, and the accuracy of a linear probe on the
codes of whole images (their mean over the patches) beside one on the pixels, for the same draws of labelled examples.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from experiments import completion, label_probes
from genjax import data, networks, runs
from genjax.errors import BadInput
from genjax.evaluation.imputation import fit_pca, impute_by_pca
from genjax.gradients import Reduction
from genjax.models import masked_autoencoder
from genjax.runs import flag
from genjax.types import Array, Key, Params

RANK = 20  # of the PCA


class Flags(label_probes.Flags, runs.Flags):
    """Masked autoencoder."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 3e-3
    learning_rate_schedule: str = "cosine"
    learning_rate_warm_up: int = 100
    patch: int = flag(2, "side of a patch, in pixels; divides both sides of the images", at_least=1)
    hidden_share: float = flag(0.5, "share of the patches that are hidden", at_least=0, at_most=1)
    width: int = flag(64, "width of the encoder", at_least=1)
    num_layers: int = flag(3, "number of its layers", at_least=1, at_most=1000)
    num_heads: int = flag(4, "number of attention heads, which divides both widths", at_least=1)
    decoder_width: int = flag(32, "width of the decoder", at_least=1)
    decoder_layers: int = flag(1, "number of its layers", at_least=1, at_most=1000)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The two transformers and the model."""
    shape = dataset.train.x.shape[1:]
    if len(shape) != 3:
        raise BadInput(f"{dataset.name} has no images to cut into patches", parameter="dataset")
    if shape[0] % flags.patch or shape[1] % flags.patch or max(shape[:2]) == flags.patch:
        raise BadInput(
            f"images of {shape[0]} x {shape[1]} pixels are not cut into several patches of {flags.patch} x "
            f"{flags.patch}",
            parameter="patch",
        )
    if flags.width % flags.num_heads or flags.decoder_width % flags.num_heads:
        raise BadInput(
            f"the number of heads must divide `width`, {flags.width}, and `decoder_width`, {flags.decoder_width}",
            parameter="num_heads",
        )
    label_probes.check(flags, dataset)
    count, dim = networks.num_patches(shape, flags.patch), flags.patch**2 * shape[2]
    encoder = networks.patch_encoder(
        count, dim, width=flags.width, num_layers=flags.num_layers, num_heads=flags.num_heads
    )
    decoder = networks.patch_decoder(
        count, dim, flags.width, width=flags.decoder_width, num_layers=flags.decoder_layers, num_heads=flags.num_heads
    )
    parts = masked_autoencoder.MaskedAutoencoder(encoder, decoder, shape, flags.patch)
    objective = masked_autoencoder.objective(parts, hidden_share=flags.hidden_share)
    model = masked_autoencoder.model(
        parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction
    )
    return runs.Built(model, parts)


def draw_visible(flags: Flags, parts: masked_autoencoder.MaskedAutoencoder, num: int, key: Key) -> Array:
    """The places of the patches that stay visible, [num, V, P]."""
    hidden = masked_autoencoder.num_hidden(flags.hidden_share, parts=parts)
    return masked_autoencoder.draw_visible(num, key, hidden=hidden, parts=parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Completes held-out images, beside PCA and the mean image; probes the codes beside pixels."""
    parts, params, dataset, x = trained.parts, trained.params, trained.dataset, trained.examples.x
    known = label_probes.known(dataset)
    train = known.reshape(len(known), -1)
    places = draw_visible(flags, parts, len(x), trained.key)
    filled = np.asarray(jax.jit(partial(masked_autoencoder.fill, parts=parts))(params, x, places))
    hidden = ~np.asarray(masked_autoencoder.visible_pixels(places, parts=parts))
    x = np.asarray(x)
    visible = np.where(hidden, np.float32(np.nan), x)
    pca = fit_pca(train, rank=min(RANK, train.shape[1] - 1, len(train) - 1), num_steps=1)
    by_pca = impute_by_pca(pca, visible.reshape(len(x), -1)).reshape(x.shape)
    by_mean = np.broadcast_to(train.mean(axis=0, dtype=np.float64).reshape(x.shape[1:]), x.shape)
    completion.save_picture(
        trained.workdir / "completions.png",
        dataset,
        {"complete": x, "visible": visible, "model": filled, "PCA": by_pca},
        title="held-out images, their visible patches, and what was rebuilt from these",
    )
    encode = jax.jit(partial(masked_autoencoder.encode, parts=parts))
    features = {
        "": (np.asarray(encode(params, known)), np.asarray(encode(params, x))),
        "raw_": (train, x.reshape(len(x), -1)),
    }
    errors = completion.errors(x, hidden, {"": filled, "mean_": by_mean, "pca_": by_pca})
    return errors | label_probes.accuracies(flags, trained, features, seed=flags.seed)


def applications(flags: Flags, parts: masked_autoencoder.MaskedAutoencoder) -> dict[str, runs.Application]:
    """Codes of whole images, and images whose patches are hidden at random and rebuilt."""

    def completed(params: Params, x: Array, key: Key) -> Array:
        places = draw_visible(flags, parts, len(x), key)
        return masked_autoencoder.fill(params, x, places, parts=parts)

    return {
        "codes": runs.Application(lambda params, x, key: masked_autoencoder.encode(params, x, parts=parts)),
        "completed": runs.Application(completed),
    }


EXPERIMENT = runs.Experiment(
    "masked_autoencoder",
    Flags,
    build,
    summarise,
    watch=("hidden_error",),
    applications=applications,
    metrics=lambda flags: completion.METRICS,
    headline=completion.HEADLINE,
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
