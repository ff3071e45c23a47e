"""Sparse autoencoders as SAELens trains them, on an array in memory; needs the extra `bench`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from sae_lens import SAE, saes
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor


class Trained(NamedTuple):
    """A sparse autoencoder as SAELens saves and loads it."""

    encode: Callable[[np.ndarray], np.ndarray]  # x [N, D] -> z [N, d]
    decode: Callable[[np.ndarray], np.ndarray]  # z [N, d] -> x' [N, D]
    atoms: np.ndarray  # rows of the decoder, [d, D]


def build(flags: Any, code: str, dim: int) -> Any:
    """An untrained sparse autoencoder, with the settings of the flags and all others as SAELens has them."""
    sizes = dict(d_in=dim, d_sae=flags.num_units)
    largest = sizes | dict(k=flags.active_units, aux_loss_coefficient=flags.revival_weight)
    make, config = {
        # here the penalty is half of the sum of the code
        "l1": (
            saes.StandardTrainingSAE,
            lambda: saes.StandardTrainingSAEConfig(**sizes, l1_coefficient=flags.code_l1 / 2),
        ),
        "k_sparse": (saes.TopKTrainingSAE, lambda: saes.TopKTrainingSAEConfig(**largest)),
        "batch_top_k": (saes.BatchTopKTrainingSAE, lambda: saes.BatchTopKTrainingSAEConfig(**largest)),
        "jump_relu": (
            saes.JumpReLUTrainingSAE,
            lambda: saes.JumpReLUTrainingSAEConfig(
                **sizes, jumprelu_bandwidth=flags.bandwidth, l0_coefficient=flags.l0_weight
            ),
        ),
        "gated": (
            saes.GatedTrainingSAE,
            lambda: saes.GatedTrainingSAEConfig(**sizes, l1_coefficient=flags.gate_weight),
        ),
    }[code]
    return make(config())


def batches(x: np.ndarray, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Batches without end, of the rows in a new order each epoch."""
    stored, draw = torch.from_numpy(x), np.random.RandomState(seed)
    while True:
        order = torch.from_numpy(draw.permutation(len(x)))
        for start in range(0, len(x) - batch_size + 1, batch_size):
            yield stored[order[start : start + batch_size]]


def train(flags: Any, code: str, x: np.ndarray) -> Trained:
    """Trains by SAELens's own trainer, whose gradients are clipped to a norm of 1.

    Args:
      flags: those of `experiments.benchmark.sparse_codes`.
      code: how it is sparse, by the name that `experiments.sparse` has for it.
      x: standardised examples, [N, D] float32.
    """
    torch.manual_seed(flags.seed)
    torch.set_num_threads(flags.cpu_threads)
    config = SAETrainerConfig(
        total_training_samples=flags.num_steps * flags.batch_size,
        train_batch_size_samples=flags.batch_size,
        lr=flags.learning_rate,
        lr_end=0.0,
        lr_scheduler_name="cosineannealing",
        dead_feature_window=flags.dead_after,
    )
    model = build(flags, code, x.shape[1])
    model = SAETrainer(config, model, batches(x, flags.batch_size, flags.seed)).fit()
    with tempfile.TemporaryDirectory() as folder:  # as users of the model have it: BatchTopK as thresholds
        model.save_inference_model(folder)
        saved = SAE.load_from_disk(folder)

    def on_arrays(function: Any) -> Callable[[np.ndarray], np.ndarray]:
        def apply(values: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return function(torch.from_numpy(values)).numpy()

        return apply

    return Trained(on_arrays(saved.encode), on_arrays(saved.decode), saved.W_dec.detach().numpy())
