"""Gives the face in one picture the identity of another, using a trained identity swap.

    python -m experiments.swap_faces --run=DIR --target=A.png --source=B.png --out=C.png

Both pictures are turned upright, cut around their middle and resized to the size that the run was trained on. The
output is synthetic and is labelled as such in its metadata. Use it on pictures of people only with their consent to
this use.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from genjax.data import image_file, pairs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.models import identity_swap
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import command, flag, opening
from genjax.types import Array


class Flags(opening.OpeningFlags):
    """Face swap."""

    target: str | None = flag(None, "picture that keeps everything except its identity")
    source: str | None = flag(None, "picture that provides the identity")
    out: str = flag("swapped.png", "output file, a PNG")


def main(flags: Flags) -> None:
    """Reads, swaps and writes."""
    if not (flags.run and flags.target and flags.source):
        missing = next(name for name in ("run", "target", "source") if not getattr(flags, name))
        raise BadInput("give a run, a target and a source", parameter=missing)
    out = expand_user(flags.out, parameter="out")
    if out.is_dir():
        raise BadInput(f"{out} is a folder; give a file", parameter="out")
    refuse_unwritable(out.parent, parameter="out")
    run = flags.open_run(with_data=False)
    if run.experiment.name != "identity_swap":
        raise BadInput(f"{run.directory} is a run of {run.experiment.name}, not of identity_swap")
    height, width, channels = pairs.image_shape(run.dataset, size=run.flags.image_size)

    def read(path: str) -> Array:
        """A picture as the run's model reads it, [1, H, W, C]."""
        pixels = image_file.read(expand_user(path), (height, width)).pixels
        scale = 255 if pixels.dtype == np.uint8 else 1
        if channels == 1:
            pixels = pixels.mean(axis=2, keepdims=True)
        return jnp.float32(np.broadcast_to(pixels, (height, width, channels)))[None] / scale

    swap = jax.jit(partial(identity_swap.swap, parts=run.parts))
    swapped = swap(run.params["generator"], run.state.frozen["identity"], read(flags.target), read(flags.source))
    note = PngInfo()
    note.add_text("Comment", pictures.SYNTHETIC_FACES)
    pixels = np.round(255 * np.asarray(swapped)[0]).astype(np.uint8)
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(out, format="PNG", pnginfo=note)
    print(f"{flags.target} with the identity of {flags.source}, by {run.directory} at step {run.step}: {out}")


if __name__ == "__main__":
    command.run(main, Flags)
