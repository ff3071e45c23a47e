"""PyOD's autoencoder as a detector of outliers; needs the extra `bench`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pyod.models.auto_encoder import AutoEncoder


def scores(flags: Any, known: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of x [N, D] by PyOD's autoencoder, fitted to inliers [M, D]: with its own settings, and with those given.

    PyOD standardises the columns by the inliers itself.

    Args:
      flags: those of `experiments.benchmark.table_outliers`.
    """
    torch.set_num_threads(flags.cpu_threads)
    epochs = max(1, flags.num_steps * flags.batch_size // len(known))
    equal = dict(
        lr=flags.learning_rate,
        epoch_num=epochs,
        batch_size=min(flags.batch_size, len(known)),
        hidden_neuron_list=[*flags.hidden, flags.latent_dim],
        optimizer_params={},
        batch_norm=False,
        dropout_rate=0.0,
    )
    found = {}
    for name, settings in (("PyOD, as it is", {}), ("PyOD, same sizes and steps", equal)):
        detector = AutoEncoder(random_state=flags.seed, verbose=0, device="cpu", **settings).fit(known)
        found[name] = detector.decision_function(x)
    return found
