"""What `lossless` and `lossy` share: their flags, the images that they read, and the files that they write.

A file has a first line that names its kind, a line of JSON, any bytes, and the SHA-256 of all this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genjax import runs
from genjax.data import examples
from genjax.errors import BadInput
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import flag, opening

DIGEST_BYTES = 32


class Flags(opening.OpeningFlags):
    """Compression of images."""

    input: str | None = flag(
        None, "picture, folder of pictures, or file of numbers to compress; by default the run's held-out data"
    )
    decompress: str | None = flag(None, "file to restore images from, instead of compressing")
    out: str | None = flag(None, "output file: of any name for compressed images, .npy for restored ones")
    scale: float | None = flag(None, "number in an array or table that stands for 1", at_least=1e-6)


def read_input(run: runs.Run, flags: Flags, *, seed: int = 0) -> np.ndarray:
    """The images to compress, [N, ...]; the seed is that of the draws by which the run binarizes its held-out data."""
    if flags.input is None:
        held_out = run.dataset.test
        return np.asarray(opening.read(run, held_out, jax.random.key(seed), at_most=len(held_out.x)).x)
    found = examples.open_examples(expand_user(flags.input, parameter="input"), run.dataset, scale=flags.scale)
    return np.concatenate([np.asarray(found.read(i, i + 500)) for i in range(0, len(found.names), 500)])


def main(
    flags: Any,
    *,
    check_run: Callable[[runs.Run], None],
    compress: Callable[[runs.Run, Any, Path], None],
    decompress: Callable[[runs.Run, Any, Path], None],
) -> None:
    """Checks the flags, opens the run, and compresses or restores.

    Raises:
      BadInput: the flags contradict each other, or the output cannot be written.
    """
    if not flags.out:
        raise BadInput("give the output file", parameter="out")
    out = expand_user(flags.out, parameter="out")
    if flags.decompress and out.suffix != ".npy":
        raise BadInput(f"expected a file .npy for restored images, not {out.name!r}", parameter="out")
    refuse_unwritable(out.parent, parameter="out")
    run = flags.open_run(with_data=not flags.decompress and flags.input is None)
    check_run(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    (decompress if flags.decompress else compress)(run, flags, out)


def write(path: Path, magic: bytes, header: dict[str, Any], content: bytes) -> int:
    """Writes a file, and returns its number of bytes."""
    body = magic + json.dumps(header).encode() + b"\n" + content
    return path.write_bytes(body + hashlib.sha256(body).digest())


def read(path: Path, magic: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the content of a file.

    Raises:
      BadInput: not such a file, or a damaged one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", parameter="decompress") from None
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if not data.startswith(magic):
        raise BadInput("this is not a file of compressed images", parameter="decompress")
    if hashlib.sha256(body).digest() != digest:
        raise BadInput("the file is damaged: its SHA-256 is not the one at its end", parameter="decompress")
    line, _, content = body[len(magic) :].partition(b"\n")
    return json.loads(line), content
