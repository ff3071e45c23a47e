"""The modes of toys, `ring` and `grid`, that samples cover, and a picture of the samples over the density."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from experiments import game_stability
from genjax import runs
from genjax.data import toys
from genjax.drawing import charts
from genjax.evaluation.modes import mode_coverage
from genjax.losses import mean_logit
from genjax.models import gan

TOYS = {"ring": toys.RING, "grid": toys.GRID}


def measure(samples: ArrayLike, toy: str) -> dict[str, float]:
    """The modes of a toy that samples [N, 2] cover, and the share of samples near a mode: see `mode_coverage`."""
    means, standard_deviation = TOYS[toy]
    found = mode_coverage(samples, means, standard_deviation=standard_deviation)
    expected = game_stability.expected_modes(len(means), len(np.asarray(samples)))
    return {"modes_covered": float(found.covered), "modes_expected": expected, "share_near_modes": found.share}


def save(path: Path, samples: ArrayLike, toy: str, trained: runs.Trained) -> None:
    """Writes the samples over the true log-density, and over the discriminator's logit if it takes no label."""
    axis = np.linspace(0, 1, 200)
    plane = np.stack(np.meshgrid(axis, axis), axis=-1)
    negative_log_density = toys.modes_negative_log_likelihood(plane.reshape(-1, 2), modes=TOYS[toy])
    fields = {"samples over the log-density": -np.minimum(negative_log_density, 20.0).reshape(200, 200)}
    if not trained.parts.num_classes:
        logit = discriminate(trained.params["discriminator"], jnp.float32(plane.reshape(-1, 2)), parts=trained.parts)
        fields["samples over the discriminator's logit"] = np.asarray(mean_logit(logit)).reshape(200, 200)
    charts.save_points_over_fields(path, samples, fields)


discriminate = jax.jit(gan.discriminate, static_argnames="parts")  # compiled once for all evaluations
