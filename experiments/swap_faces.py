"""The identity of one picture's face put into another's, by a trained identity swap.

    python -m experiments.swap_faces --run=DIR --target=A.png --source=B.png --out=C.png

Both pictures are cut to their middle square and resized to what the run was trained on. The picture that it writes is
of nobody, and says so in its metadata. Use it on pictures of people only with their consent to exactly that.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl import flags
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from experiments import common, identity_swap, loading
from genjax.data import folder
from genjax.errors import BadInput
from genjax.types import Array

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_string("run", None, "the directory of a trained identity swap")
    flags.DEFINE_string("data_dir", None, "where the run's data lies now, if it has moved")
    flags.DEFINE_string("target", None, "the picture that keeps all but its identity")
    flags.DEFINE_string("source", None, "the picture whose identity it gets")
    flags.DEFINE_string("out", "swapped.png", "the PNG to write")


def main() -> None:
    """Reads, swaps and writes."""
    for name in ("run", "target", "source"):
        if not FLAGS[name].value:
            raise BadInput(f"--{name} is missing: give a run, a target and a source")
    run = loading.open_run(FLAGS.run, data_dir=FLAGS.data_dir)
    if run.config.experiment != "identity_swap":
        raise BadInput(f"{run.directory}: a run of {run.config.experiment} swaps no identities")
    height, width, channels = identity_swap.image_shape(run.config, run.dataset)
    if height != width:
        raise BadInput(f"{run.directory} was trained on pictures of {width}x{height}; only squares are swapped here")

    def read(name: str) -> Array:
        """A picture as the run's model reads it, [1, S, S, C]."""
        pixels = folder.read_square(Path(str(FLAGS[name].value)), height)
        if channels == 1:
            pixels = pixels.mean(axis=2, keepdims=True)
        return jnp.float32(np.broadcast_to(pixels, (height, width, channels)))[None] / 255

    generator = loading.part(
        run, "average/generator", identity_swap.build_parts(run.config, run.dataset).generator.init
    )
    bodies = loading.part(run, "frozen/identity", partial(identity_swap.init_bodies, run.config, run.dataset))
    swap = identity_swap.swapper(run.config, run.dataset, generator, bodies)
    picture = np.asarray(swap(read("target"), read("source")))[0]
    note = PngInfo()
    note.add_text("Comment", identity_swap.SYNTHETIC)
    pixels = np.round(255 * picture).astype(np.uint8)
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(FLAGS.out, format="PNG", pnginfo=note)
    print(f"{FLAGS.target} with the identity of {FLAGS.source}: {FLAGS.out}")


if __name__ == "__main__":
    define_flags()
    common.guarded(main)
