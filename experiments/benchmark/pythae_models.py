"""The models of the rows, as pythae trains them; needs the extra `bench`."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from pythae import models
from pythae.data.datasets import BaseDataset
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

from experiments.benchmark.peers import dense, pixels
from experiments.benchmark.way import PIXELS, Way

SHAPE = (1, 28, 28)


class Encoder(BaseEncoder):
    """A hidden layer, and the mean and the log-variance of a Gaussian."""

    def __init__(self, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.body, self.mean = nn.Sequential(nn.Linear(PIXELS, hidden), nn.Tanh()), nn.Linear(hidden, latent_dim)
        self.log_variance = nn.Linear(hidden, latent_dim)

    def forward(self, x: Tensor) -> Any:
        h = self.body(x.reshape(len(x), -1))
        return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))


class Decoder(BaseDecoder):
    """A hidden layer, and the means of Bernoulli pixels."""

    def __init__(self, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(dense(latent_dim, hidden, PIXELS), nn.Sigmoid())

    def forward(self, z: Tensor) -> Any:
        return ModelOutput(reconstruction=self.body(z).reshape(-1, *SHAPE))


class CodesEncoder(BaseEncoder):
    """A hidden layer, and vectors of some dimensions in a row of places, the dimensions as channels."""

    def __init__(self, hidden: int, num_places: int, dim: int) -> None:
        super().__init__()
        self.body, self.codes = dense(PIXELS, hidden, num_places * dim), (1, num_places, dim)

    def forward(self, x: Tensor) -> Any:
        codes = self.body(x.reshape(len(x), -1)).reshape(-1, *self.codes)
        return ModelOutput(embedding=codes.permute(0, 3, 1, 2))


class CodesDecoder(BaseDecoder):
    """A hidden layer, and pixels."""

    def __init__(self, hidden: int, num_places: int, dim: int) -> None:
        super().__init__()
        self.body = dense(num_places * dim, hidden, PIXELS)

    def forward(self, codes: Tensor) -> Any:
        return ModelOutput(reconstruction=self.body(codes.permute(0, 2, 3, 1).flatten(1)).reshape(-1, *SHAPE))


def vae(hidden: int, latent_dim: int) -> nn.Module:
    """A Bernoulli VAE."""
    config = models.VAEConfig(input_dim=SHAPE, latent_dim=latent_dim, reconstruction_loss="bce")
    return models.VAE(config, encoder=Encoder(hidden, latent_dim), decoder=Decoder(hidden, latent_dim))


def vamp_vae(hidden: int, latent_dim: int, num_components: int) -> nn.Module:
    """The same with a VampPrior."""
    config = models.VAMPConfig(
        input_dim=SHAPE, latent_dim=latent_dim, reconstruction_loss="bce", number_components=num_components
    )
    return models.VAMP(config, encoder=Encoder(hidden, latent_dim), decoder=Decoder(hidden, latent_dim))


def iaf_vae(hidden: int, latent_dim: int, num_layers: int, masked: Sequence[int]) -> nn.Module:
    """The same with an inverse autoregressive flow behind the encoder, whose hidden layers have one width."""
    config = models.VAE_IAF_Config(
        input_dim=SHAPE,
        latent_dim=latent_dim,
        reconstruction_loss="bce",
        n_made_blocks=num_layers,
        n_hidden_in_made=len(masked),
        hidden_size=masked[0],
    )
    return models.VAE_IAF(config, encoder=Encoder(hidden, latent_dim), decoder=Decoder(hidden, latent_dim))


def beta_tc_vae(hidden: int, latent_dim: int, beta: float) -> nn.Module:
    """A beta-TCVAE, by minibatch weighted sampling."""
    config = models.BetaTCVAEConfig(
        input_dim=SHAPE, latent_dim=latent_dim, reconstruction_loss="bce", beta=beta, use_mss=False
    )
    return models.BetaTCVAE(config, encoder=Encoder(hidden, latent_dim), decoder=Decoder(hidden, latent_dim))


def vq_vae(hidden: int, num_places: int, dim: int, num_codes: int) -> nn.Module:
    """A VQ-VAE with a codebook of moving averages."""
    config = models.VQVAEConfig(
        input_dim=SHAPE, latent_dim=num_places * dim, num_embeddings=num_codes, use_ema=True, decay=0.99
    )
    sizes = (hidden, num_places, dim)
    return models.VQVAE(config, encoder=CodesEncoder(*sizes), decoder=CodesDecoder(*sizes))


MODELS = {"vae": vae, "vamp_vae": vamp_vae, "iaf_vae": iaf_vae, "beta_tc_vae": beta_tc_vae, "vq_vae": vq_vae}
"""The models by name, all with dense layers."""


def training(name: str, batch_size: int, *sizes: Any) -> Way:
    """Training of one of the models by pythae's own trainer, in epochs."""
    logging.disable(logging.WARNING)
    model, stored = MODELS[name](*sizes), torch.from_numpy(pixels().reshape(-1, *SHAPE))

    def run(steps: int) -> None:
        # whole epochs of as many batches as requested
        x = stored.repeat(-(-steps * batch_size // len(stored)), 1, 1, 1)[: steps * batch_size]
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
            config = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=1,
                per_device_train_batch_size=batch_size,
                learning_rate=1e-3,
                no_cuda=True,
            )
            dataset = BaseDataset(x, torch.zeros(len(x)))
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                BaseTrainer(model, dataset, training_config=config).train()

    return run
