"""Runs the experiments and keeps the pictures that the site shows, below docs/pictures.

    python -m docs.gallery
    python -m docs.gallery vae gan

trains what is named, or everything (some minutes, most of them for the identity swap), into docs/_build/runs, where
finished runs are kept and interrupted ones go on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from PIL import Image, PngImagePlugin

FOLDER = Path(__file__).resolve().parent
PICTURES = FOLDER / "pictures"
RUNS = FOLDER / "_build" / "runs"
WIDTH = 1100  # pixels that a picture has at most


class Shown(NamedTuple):
    """A run of an experiment, and its pictures with their captions, the thumbnail first."""

    experiment: str
    pictures: dict[str, str]
    arguments: tuple[str, ...] = ()
    run: str | None = None  # its directory, below RUNS; by default named like the experiment
    to: str = "workdir"  # the flag of the directory

    @property
    def name(self) -> str:
        """The name of its directory and of the folder of its pictures."""
        return self.run or self.experiment


SHOWN = (
    Shown(
        "vae",
        {
            "samples.png": "Decoded draws from the prior.",
            "reconstructions.png": "Held-out digits, above their reconstructions from eight numbers.",
            "latent_map.png": "The codes of held-out digits along their two main axes, coloured by label.",
        },
    ),
    Shown(
        "vae",
        {
            "samples.png": "Digits that were asked for, a class in each column.",
            "reconstructions.png": "Held-out digits, above their reconstructions from eight numbers and the label.",
        },
        ("--conditional", "--prior=class"),
        "vae_conditional",
    ),
    Shown(
        "vae",
        {
            "components.png": "The pseudo-inputs of a VampPrior, above what they decode to.",
            "samples.png": "Decoded draws from this prior.",
        },
        ("--prior=vamp",),
        "vae_vamp",
    ),
    Shown(
        "masked_autoencoder",
        {"completions.png": "Half of the patches were hidden, and are rebuilt by a transformer and by PCA."},
    ),
    Shown("stacked", {"mistakes.png": "All digits that the pretrained classifier takes for others."}),
    Shown(
        "learned_compression",
        {"rate_distortion.png": "Codecs trained for their bits, beside PCA and the DCT with the same entropy coder."},
    ),
    Shown("imputation", {"imputations.png": "Half of the pixels were hidden, and are filled in by a VAE and by PCA."}),
    Shown(
        "semi_supervised",
        {
            "analogies.png": "Held-out digits, and their codes decoded as each class; 100 labels were known.",
            "samples.png": "A class in each column.",
        },
    ),
    Shown("iwae", {"samples.png": "Decoded draws from the prior of the importance-weighted autoencoder."}),
    Shown(
        "ladder",
        {
            "samples_given_top.png": "In each row, draws of the lower layer under one draw of the top layer.",
            "samples.png": "Decoded ancestral samples of two layers.",
        },
    ),
    Shown(
        "autoencoder",
        {
            "reconstructions.png": "Held-out digits, above their reconstructions from eight numbers.",
            "latent_map.png": "Codes of held-out digits, coloured by label.",
            "pca_latent_map.png": "The same digits, by their principal components.",
        },
    ),
    Shown("linear_pca", {"axes.png": "The axes that a linear autoencoder learns are those of PCA."}),
    Shown(
        "denoising",
        {
            "denoised_gaussian.png": "Clean, noisy and denoised digits.",
            "table.png": "Denoisers (rows) on kinds of noise (columns): the peak signal-to-noise ratio.",
        },
    ),
    Shown("contractive", {"curve.png": "One code per point, by colour, and the curve that the decoder draws."}),
    Shown("sparse", {"features.png": "The features of 256 sparse units, the most active first."}),
    Shown(
        "outliers",
        {
            "roc.png": "Detection of a class that training has left out.",
            "extremes.png": "Images of the largest and smallest reconstruction errors, above what was rebuilt.",
        },
    ),
    Shown(
        "compression",
        {
            "rate_distortion.png": "Bits per pixel on disk, and the quality that they buy.",
            "reconstructions.png": "Originals, and the images decoded from files of several sizes.",
        },
    ),
    Shown(
        "visualise",
        {
            "plane.png": "The plane of codes, decoded.",
            "maps.png": "Digits in two dimensions, by an autoencoder and by principal components.",
        },
    ),
    Shown(
        "flow",
        {
            "density.png": "Points of a mixture of eight Gaussians, a flow's log-density, and the true one.",
            "samples.png": "Draws from the flow over held-out points.",
        },
    ),
    Shown("made", {"samples.png": "Draws from a masked autoencoder, pixel by pixel."}),
    Shown(
        "vq",
        {
            "samples.png": "Decoded draws from the autoregressive prior over eight codes of 32 values.",
            "reconstructions.png": "Held-out digits, above their reconstructions from eight codes.",
            "codebook.png": "How often each code occurs in held-out digits.",
        },
    ),
    Shown("sfnn", {"samples.png": "An inverse problem with several answers: the data, and two networks' answers."}),
    Shown("gan", {"samples.png": "Generated digits."}),
    Shown(
        "gan",
        {"samples.png": "Samples, over the true density and over the discriminator's logit."},
        ("--dataset=ring",),
        "gan_ring",
    ),
    Shown(
        "gan",
        {"samples.png": "Digits that were asked for, a class in each column, by a projection of the label."},
        ("--conditional", "--conditioning=projection"),
        "gan_conditional",
    ),
    Shown(
        "bigan",
        {
            "samples.png": "Digits that a bidirectional GAN generates.",
            "reconstructions.png": "Held-out digits, and what it makes of the codes that it infers of them.",
        },
    ),
    Shown(
        "vae_gan",
        {
            "samples.png": "Digits that a VAE-GAN decodes from draws of the prior.",
            "reconstructions.png": "Held-out digits, and its reconstructions, trained in a discriminator's features.",
        },
    ),
    Shown(
        "adversarial_autoencoder",
        {
            "latent_map.png": "Codes of held-out digits; a discriminator made each class fill a Gaussian of its own.",
            "samples.png": "Decoded draws from these Gaussians, a class in each column.",
        },
        ("--prior=ring", "--variant=labelled"),
    ),
    Shown(
        "infogan",
        {
            "samples.png": "Each column is a category of an InfoGAN, and the class that it matches best.",
            "sweep_1.png": "The first continuous code from left to right, with the same noise everywhere.",
        },
    ),
    Shown("identity_encoder", {"mistakes.png": "Faces that were taken for another identity."}),
    Shown("classifier", {"mistakes.png": "All digits that were misclassified, by true and predicted class."}),
    Shown(
        "latent_space",
        {
            "concepts.png": "Held-out digits, with more and more of another class's concept vector in their codes.",
            "walks.png": "Walks between the codes of held-out digits, decoded, and cross-fades of their pixels.",
        },
        (f"--run={RUNS / 'vae'}",),
        to="out",
    ),
    Shown(
        "disentanglement",
        {"traversals.png": "Sprites along each dimension of a beta-TCVAE's code, those whose mean varies most first."},
        ("--beta_tcvae=5", "--beta_vae=", "--factor_vae=", "--dip_vae_i=", "--dip_vae_ii=", "--num_seeds=1"),
        to="out",
    ),
    Shown("lemmas", {"lemmas.png": "What theory predicts, and what was computed."}),
    Shown("identity_swap", {"swaps.png": "Targets and sources, and the targets with the sources' identities."}),
)


def run(shown: Shown) -> None:
    """Trains a run, unless it is finished, and copies its pictures."""
    workdir = RUNS / shown.name
    command = [sys.executable, "-m", f"experiments.{shown.experiment}", *shown.arguments, f"--{shown.to}={workdir}"]
    print(" ".join(command[1:]), flush=True)
    subprocess.run(command, check=True, cwd=FOLDER.parent)
    for file in shown.pictures:
        keep(next(workdir.rglob(file)), PICTURES / shown.name / file)  # or in the directory of a run of a study


def readable(shown: Shown) -> list[str]:
    """The arguments of a run, as a reader would write them."""
    return [argument.replace(f"{RUNS}/", "runs/") for argument in shown.arguments]


def keep(source: Path, target: Path) -> None:
    """Copies a picture with its metadata, which mark rendered faces as synthetic, no wider than WIDTH."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        metadata = PngImagePlugin.PngInfo()
        for key, text in getattr(image, "text", {}).items():
            metadata.add_itxt(key, text) if isinstance(text, PngImagePlugin.iTXt) else metadata.add_text(key, text)
        height = round(image.height * WIDTH / image.width)
        small = image.resize((WIDTH, height), Image.Resampling.LANCZOS) if image.width > WIDTH else image
        small = small.convert("RGB").quantize(256, dither=Image.Dither.NONE)  # a palette, for half the bytes
        small.save(target, pnginfo=metadata, optimize=True)


def main(names: list[str]) -> int:
    """Runs what is named, or everything.

    Returns:
      The exit status: 2 for an unknown name.
    """
    unknown = set(names) - {shown.name for shown in SHOWN}
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(shown.name for shown in SHOWN)}")
        return 2
    for shown in SHOWN:
        if not names or shown.name in names:
            run(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
