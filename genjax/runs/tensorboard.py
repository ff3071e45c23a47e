"""A run's scalars and pictures as TensorBoard events; needs the extra `tensorboard`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from genjax.errors import BadInput


class TensorBoard:
    """Writes the events of one run."""

    def __init__(self, workdir: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise BadInput(
                "needs tensorboardX: pip install 'genjax-autoencoders[tensorboard]'", parameter="tensorboard"
            ) from None
        self._writer = SummaryWriter(str(workdir))

    def write_scalars(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Writes the metrics of one step."""
        for name, value in metrics.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)

    def write_pictures(self, step: int, workdir: Path) -> None:
        """Writes the pictures of the run directory."""
        for path in sorted(workdir.glob("*.png")):
            self._writer.add_image(path.stem, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Completes the events; later ones go to another file."""
        self._writer.close()
