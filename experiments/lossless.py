"""Compresses black and white images without loss by a trained VAE, and restores them (Townsend et al. 2019).

    python -m experiments.lossless --run=DIR --out=images.bits
    python -m experiments.lossless --run=DIR --decompress=images.bits --out=images.npy

The run is one of `vae` or `iwae` with a Bernoulli likelihood, a diagonal Gaussian posterior and the prior N(0, I). By
default the held-out data of the run are compressed, binarized as the run reads them. The net length is about the
negative ELBO; beside it stand the bits that the first images borrow, as many images as there are lanes.

The receiver needs the run and must compute the same bits as the sender, so the number of CPU threads is that of the
run. The file holds the digest of the parameters and of itself: another run and a damaged file are refused. --input
takes what `apply` takes, if it is black and white.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments import image_files
from genjax import runs
from genjax.errors import BadInput
from genjax.evaluation import bits_back
from genjax.models import vae
from genjax.paths import expand_user
from genjax.runs import command, flag
from genjax.training.digest import params_sha256

MAGIC = b"genjax bits-back 1\n"


class Flags(image_files.Flags):
    """Lossless compression."""

    lanes: int = flag(100, "number of images that are coded side by side", at_least=1, at_most=10**5)
    latent_bits: int = flag(12, "bits to which each latent dimension is rounded", at_least=1, at_most=16)
    seed: int = flag(0, "seed of the bits that the first images borrow", at_least=0, at_most=2**32 - 1)


def check_run(run: runs.Run) -> None:
    """Refuses runs whose codes or pixels have other densities."""
    flags, parts = run.flags, run.parts
    if run.experiment.name not in ("vae", "iwae"):
        raise BadInput(f"{run.directory} is a run of {run.experiment.name}, not of vae or iwae", parameter="run")
    ordinary = (flags.prior, flags.posterior, flags.conditional) == ("standard", "diagonal", False)
    if not ordinary or getattr(flags, "likelihood", "bernoulli") != "bernoulli":
        needed = "a Bernoulli likelihood, a diagonal Gaussian posterior and the prior N(0, I)"
        raise BadInput(f"{run.directory}: the run needs {needed}", parameter="run")
    assert isinstance(parts, vae.VAE)


def coder_of(run: runs.Run, lanes: int, latent_bits: int) -> bits_back.Coder:
    """The run's encoder and decoder as functions of rows of bits."""
    shape = run.dataset.train.x.shape[1:]
    encode = jax.jit(lambda params, x: vae.encode(params, x, parts=run.parts))
    logits = jax.jit(lambda params, z: run.parts.decoder.apply(params["decoder"], z))
    return bits_back.Coder(
        lambda x: encode(run.params, x.reshape(-1, *shape).astype(np.float32)),
        lambda z: np.asarray(logits(run.params, z)).reshape(len(z), -1),
        lanes,
        latent_bits,
        precision=latent_bits + 16,
    )


def read_input(run: runs.Run, flags: Flags) -> np.ndarray:
    """The images as bits, [N, D]."""
    x = image_files.read_input(run, flags, seed=flags.seed)
    grey = (x != 0) & (x != 1)
    if grey.any():
        raise BadInput(
            f"{grey.mean():.0%} of the pixels are neither 0 nor 1; give binary images, or a run with --binarize",
            parameter="input",
        )
    return x.reshape(len(x), -1).astype(np.uint8)


def compress(run: runs.Run, flags: Flags, out: Path) -> None:
    """Writes the compressed images, and prints their length beside the negative ELBO."""
    x = read_input(run, flags)
    coder = coder_of(run, flags.lanes, flags.latent_bits)
    message = bits_back.compress(x, coder, seed=flags.seed, progress=progress)
    header = {
        "num": len(x),
        "shape": list(run.dataset.train.x.shape[1:]),
        "lanes": flags.lanes,
        "latent_bits": flags.latent_bits,
        "seed": flags.seed,
        "borrowed": message.borrowed,
        "params_sha256": params_sha256(run.params),
    }
    content = message.head.astype("<u8").tobytes() + message.tail.astype("<u4").tobytes()
    num_bytes = image_files.write(out, MAGIC, header, content)
    elbo = negative_elbo(run, x)
    net, pixels = message.num_bits, x.size
    print(
        f"{len(x)} images in {num_bytes} bytes: {net / pixels:.5f} bits per pixel net, {32 * message.borrowed} bits "
        f"borrowed; negative ELBO {elbo / math.log(2) * len(x) / pixels:.5f} bits per pixel, {elbo:.3f} nats per "
        f"image: {out}"
    )


def negative_elbo(run: runs.Run, x: np.ndarray) -> float:
    """That of all images, in nats per image, of one draw each."""
    shape = run.dataset.train.x.shape[1:]

    @jax.jit
    def of(x: jax.Array, key: jax.Array) -> jax.Array:
        return vae.negative_elbo(run.params, x, key, parts=run.parts)

    rows = np.resize(x, (-(-len(x) // 500) * 500, x.shape[1])).reshape(-1, 500, *shape)
    keys = jax.random.split(jax.random.key(0), len(rows))
    found = [np.asarray(of(one.astype(np.float32), key)) for one, key in zip(rows, keys, strict=True)]
    return float(np.concatenate(found)[: len(x)].mean())


def decompress(run: runs.Run, flags: Flags, out: Path) -> None:
    """Writes the images of a file as an array [N, ...] of bytes 0 and 1."""
    header, content = image_files.read(expand_user(str(flags.decompress), parameter="decompress"), MAGIC)
    split = 8 * header["lanes"]
    head, tail = np.frombuffer(content[:split], "<u8"), np.frombuffer(content[split:], "<u4")
    if header["params_sha256"] != params_sha256(run.params):
        raise BadInput("the images were compressed with the parameters of another run or step", parameter="run")
    coder = coder_of(run, header["lanes"], header["latent_bits"])
    shape, message = tuple(header["shape"]), bits_back.Message(head, tail, seed=header["seed"])
    x = bits_back.decompress(message, header["num"], math.prod(shape), run.parts.latent_dim, coder, progress=progress)
    if len(message.tail) != header["borrowed"] or not message.is_empty:
        raise BadInput(
            "the images do not come back: this machine does not compute the bits of the one that compressed them",
            parameter="decompress",
        )
    np.save(out, x.reshape(-1, *shape))
    print(f"{len(x)} images: {out}")


def progress(groups: Any) -> Any:
    """Shows how many groups of images are done, on a terminal."""
    return tqdm(groups, unit="group", file=sys.stderr, disable=None, leave=False)


def main(flags: Flags) -> None:
    """Compresses or restores."""
    image_files.main(flags, check_run=check_run, compress=compress, decompress=decompress)


if __name__ == "__main__":
    command.run(main, Flags)
