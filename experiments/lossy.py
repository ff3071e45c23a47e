"""Compresses pictures by a learned codec, and restores them.

    python -m experiments.lossy --run=DIR --input=PICTURES --out=pictures.bits
    python -m experiments.lossy --run=DIR --decompress=pictures.bits --out=restored.npy

The run is one of `learned_compression`; --distortion_weight picks one of its codecs. By default the held-out data of
the run are compressed; --input takes what `apply` takes. The receiver needs the run and must compute the same
probabilities to the bit, so the number of CPU threads is that of the run. The file holds a digest of the parameters, of
the probabilities and of itself: another run, a machine that computes other bits, and a damaged file are refused.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from experiments import image_files, learned_codes
from genjax import runs
from genjax.errors import BadInput
from genjax.models.learned_compression import LearnedCompression
from genjax.paths import expand_user
from genjax.runs import command, flag
from genjax.training.digest import params_sha256
from genjax.types import Params

MAGIC = b"genjax learned codec 1\n"


class Flags(image_files.Flags):
    """Lossy compression."""

    distortion_weight: float | None = flag(
        None, "weight of the codec to compress with, one of the run's --distortion_weights; by default the middle one"
    )


def codec_of(run: runs.Run, weight: float) -> Params:
    """The parameters of the codec of a weight."""
    weights = run.flags.distortion_weights
    if weight not in weights:
        known = ", ".join(f"{w:g}" for w in weights)
        raise BadInput(f"{weight:g} is not a weight of this run; it has {known}", parameter="distortion_weight")
    return jax.tree.map(lambda leaf: leaf[weights.index(weight)], run.params)


def check_run(run: runs.Run) -> None:
    """Refuses runs of other models."""
    if not isinstance(run.parts, LearnedCompression):
        raise BadInput(
            f"{run.directory} is a run of {run.experiment.name}, not of learned_compression", parameter="run"
        )


def compress(run: runs.Run, flags: Flags, out: Path) -> None:
    """Writes the compressed images, and prints their size and distortion."""
    weights = run.flags.distortion_weights
    weight = weights[len(weights) // 2] if flags.distortion_weight is None else flags.distortion_weight
    params, parts, x = codec_of(run, weight), run.parts, image_files.read_input(run, flags)
    sent = learned_codes.encode(params, x, parts=parts)
    header = {
        "weight": weight,
        "lengths": [len(stream) for stream in sent.streams],
        "ranges": sent.ranges,
        "digest": sent.digest,
        "params_sha256": params_sha256(run.params),
    }
    num_bytes = image_files.write(out, MAGIC, header, b"".join(sent.streams))
    error = np.square(np.clip(learned_codes.decode(params, sent, parts=parts), 0, 1) - x, dtype=np.float64).mean()
    pixels = x.size / x.shape[-1]
    print(
        f"{len(x)} images in {num_bytes} bytes: {8 * num_bytes / pixels:.4f} bits per pixel, "
        f"{8 * sent.num_bytes / pixels:.4f} without the header; PSNR {-10 * np.log10(error):.2f} dB: {out}"
    )


def decompress(run: runs.Run, flags: Flags, out: Path) -> None:
    """Writes the images of a file as an array [N, ...], from 0 to 1."""
    header, content = image_files.read(expand_user(str(flags.decompress), parameter="decompress"), MAGIC)
    if header["params_sha256"] != params_sha256(run.params):
        raise BadInput("the images were compressed with the parameters of another run or step", parameter="run")
    streams = []
    for length in header["lengths"]:
        streams.append(content[:length])
        content = content[length:]
    ranges = tuple((low, high) for low, high in header["ranges"])
    sent = learned_codes.Compressed(tuple(streams), ranges, header["digest"], rate=0.0)
    images = np.clip(learned_codes.decode(codec_of(run, header["weight"]), sent, parts=run.parts), 0, 1)
    np.save(out, images)
    print(f"{len(images)} images: {out}")


def main(flags: Flags) -> None:
    """Compresses or restores."""
    image_files.main(flags, check_run=check_run, compress=compress, decompress=decompress)


if __name__ == "__main__":
    command.run(main, Flags)
