"""Pictures that many experiments draw of a trained model, from images or from vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from genjax.drawing import charts, pictures
from genjax.runs.experiment import Trained
from genjax.types import Array


def save_reconstructions(
    trained: Trained,
    reconstruct: Callable[..., Array],
    *,
    title: str = "reconstructions",
    context: Callable[[Any], tuple[Any, ...]] = lambda examples: (),
) -> None:
    """Writes reconstructions.png: 50 held-out images above their reconstructions, or held-out vectors and theirs.

    Args:
      reconstruct: params, x [N, ...], then the context -> [N, ...].
      title: what the reconstructions are.
      context: of a conditional model, examples -> what `reconstruct` takes beside them, such as their labels.
    """
    is_image = trained.examples.x.ndim == 4
    examples = trained.shown(50) if is_image else trained.examples
    x = examples.x
    rebuilt = jax.jit(reconstruct)(trained.params, x, *context(examples))
    made, seen = (trained.dataset.visible(a) for a in (rebuilt, x))
    path = trained.workdir / "reconstructions.png"
    if is_image:
        pictures.save_reconstructions(path, seen, made, title=f"held-out images and their {title}")
    else:
        charts.save_points(
            path, {"held out": seen, "reconstructions": made}, title=f"held-out vectors and their {title}"
        )


def save_samples(
    trained: Trained, samples: ArrayLike, *, title: str, columns: int = 10, captions: Sequence[str] = ()
) -> None:
    """Writes samples.png: images in rows, with captions below the columns, or vectors over the held-out ones.

    Args:
      samples: [N, ...], as the model makes them.
    """
    made, path = trained.dataset.visible(samples), trained.workdir / "samples.png"
    if np.ndim(samples) == 4:
        pictures.save_samples(path, made, title=title, columns=columns, captions=captions)
    else:
        charts.save_points(
            path, {"held out": trained.dataset.visible(trained.examples.x), "samples": made}, title=title
        )
