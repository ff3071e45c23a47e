"""The work of the rows, done by PyTorch; needs the extra `bench`."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.benchmark.way import COMPILED, CUDA_GRAPH, PIXELS, Way, images
from genjax import data


def set_up(cpu_threads: int, device: str) -> None:
    """Sets the number of PyTorch's threads and its device, `cpu` or `gpu`, whose products are in TF32 like JAX's."""
    torch.set_num_threads(cpu_threads)
    if device == "gpu":
        torch.set_default_device("cuda")
        torch.set_float32_matmul_precision("high")


def on_device(x: np.ndarray) -> Tensor:
    """A tensor on the device that `set_up` chose."""
    return torch.from_numpy(x).to(torch.get_default_device())


def trained(step: Callable[[Tensor], None], x: np.ndarray, batch_size: int, form: str) -> Way:
    """Training from one tensor in memory, its rows in a new order each epoch: faster than a DataLoader.

    Args:
      step: an update by a batch.
      form: with CUDA_GRAPH, the kernels of an update are recorded once and then launched together.
    """
    stored = on_device(x)
    order, place = _shuffled(stored), 0
    update = _recorded(step, stored[:batch_size]) if form == CUDA_GRAPH else step

    def run(steps: int) -> None:
        nonlocal order, place
        for _ in range(steps):
            if place + batch_size > len(stored):
                order, place = _shuffled(stored), 0
            update(stored[order[place : place + batch_size]])
            place += batch_size
        if stored.is_cuda:
            torch.cuda.synchronize()

    return run


def _shuffled(stored: Tensor) -> Tensor:
    return torch.randperm(len(stored), device="cpu").to(stored.device)


def _recorded(step: Callable[[Tensor], None], batch: Tensor) -> Callable[[Tensor], None]:
    """The update as a CUDA graph, which reads its batch from one place in memory."""
    fixed, aside = batch.clone(), torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # updates that allocate what the graph will find
        for _ in range(3):
            step(fixed)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(fixed)

    def update(batch: Tensor) -> None:
        fixed.copy_(batch)
        graph.replay()

    return update


def adam(model: nn.Module, form: str, *, lr: float = 1e-3, **options: Any) -> torch.optim.Optimizer:
    """Adam, in a form that a CUDA graph can hold if it is to be in one."""
    return torch.optim.Adam(model.parameters(), lr, capturable=form == CUDA_GRAPH, **options)


def descending(
    model: nn.Module, x: np.ndarray, batch_size: int, *, form: str, lr: float = 1e-3, clip_norm: float | None = None
) -> Way:
    """Training by Adam of a module that gives its loss.

    Args:
      clip_norm: the largest norm of a gradient; longer ones are scaled to it.
    """
    optimizer = adam(model, form, lr=lr)
    loss = torch.compile(model) if form == COMPILED else model

    def step(batch: Tensor) -> None:
        optimizer.zero_grad()
        loss(batch).backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()

    return trained(step, x, batch_size, form)


def pixels(num: int = 10_000) -> np.ndarray:
    """The images, [num, 784] float32 in [0, 1]."""
    return images(num).astype(np.float32) / 255


def dense(*widths: int) -> nn.Sequential:
    """Dense layers with tanh between them."""
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


class VAE(nn.Module):
    """A Bernoulli VAE; its output is the negative ELBO, the mean over the batch."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        mean, s = self.encoder(x).chunk(2, dim=-1)
        z = mean + torch.exp(0.5 * s) * torch.randn_like(mean)
        distortion = functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        rate = -0.5 * torch.sum(1 + s - mean.square() - s.exp())
        return (distortion + rate) / len(x)


def mlp_vae(hidden: tuple[int, ...], latent_dim: int, batch_size: int, *, form: str) -> Way:
    """Training of a VAE of dense layers."""
    encoder, decoder = dense(PIXELS, *hidden, 2 * latent_dim), dense(latent_dim, *hidden[::-1], PIXELS)
    return descending(VAE(encoder, decoder), pixels(), batch_size, form=form)


class ImportanceWeighted(VAE):
    """The VAE trained on the bound of k samples; its output is the mean over the batch."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, num_samples: int) -> None:
        super().__init__(encoder, decoder)
        self.num_samples = num_samples

    def forward(self, x: Tensor) -> Tensor:
        mean, s = self.encoder(x).chunk(2, dim=-1)
        noise = torch.randn(self.num_samples, *mean.shape, device=x.device)
        z = mean + torch.exp(0.5 * s) * noise
        logits = self.decoder(z)
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        log_w = 0.5 * (noise.square() - z.square() + s).sum(dim=-1) - cross_entropy.sum(dim=-1)
        return (math.log(self.num_samples) - torch.logsumexp(log_w, dim=0)).mean()


def iwae(hidden: tuple[int, ...], latent_dim: int, batch_size: int, num_samples: int, *, form: str) -> Way:
    """Training of an importance-weighted autoencoder of dense layers."""
    encoder, decoder = dense(PIXELS, *hidden, 2 * latent_dim), dense(latent_dim, *hidden[::-1], PIXELS)
    return descending(ImportanceWeighted(encoder, decoder, num_samples), pixels(), batch_size, form=form)


def convolutional_encoder(outputs: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Two 4x4 convolutions of stride 2 and a dense layer."""
    first, second = nn.Conv2d(1, 32, 4, 2, 1), nn.Conv2d(32, 64, 4, 2, 1)
    return nn.Sequential(first, activation(), second, activation(), nn.Flatten(), nn.Linear(64 * 49, outputs))


class PixelNorm(nn.Module):
    """Each pixel's channels over their root mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def convolutional_decoder(inputs: int, *, normalised: bool) -> nn.Sequential:
    """The mirror image of the encoder."""
    norm = [PixelNorm()] if normalised else []
    up = nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ConvTranspose2d(32, 1, 4, 2, 1)
    start = nn.Sequential(nn.Linear(inputs, 64 * 49), nn.Unflatten(1, (64, 7, 7)))
    return nn.Sequential(start, *norm, nn.ReLU(), up[0], *norm, nn.ReLU(), up[1])


def convolutional_vae(*, form: str) -> Way:
    """Training of a convolutional VAE."""
    model = VAE(convolutional_encoder(40, nn.ReLU), convolutional_decoder(20, normalised=False))
    return descending(model, pixels().reshape(-1, 1, 28, 28), 128, form=form)


def dcgan(*, form: str) -> Way:
    """Training of a DCGAN, non-saturating: the discriminator, then the generator on new draws."""

    def judge(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return functional.softplus(-discriminator(real)).mean() + functional.softplus(discriminator(fake)).mean()

    def deceive(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return functional.softplus(-discriminator(fake)).mean()

    return game(judge, deceive, form)


def r3gan(*, form: str) -> Way:
    """Training of the game of R3GAN: relativistic losses, and R1 and R2 of weight .05."""

    def judge(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
        on_real, on_fake = discriminator(real), discriminator(fake)
        slopes = torch.autograd.grad(on_real.sum() + on_fake.sum(), [real, fake], create_graph=True)
        penalty = sum(0.5 * slope.square().sum(dim=(1, 2, 3)).mean() for slope in slopes)
        return functional.softplus(on_fake - on_real).mean() + 0.05 * penalty

    def deceive(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return functional.softplus(discriminator(real) - discriminator(fake)).mean()

    return game(judge, deceive, form)


def game(judge: Callable[..., Tensor], deceive: Callable[..., Tensor], form: str) -> Way:
    """Training of the networks of a DCGAN by the losses of the discriminator and of the generator."""
    generator = nn.Sequential(convolutional_decoder(16, normalised=True), nn.Sigmoid())
    discriminator = convolutional_encoder(1, lambda: nn.LeakyReLU(0.2))
    players = [adam(player, form, betas=(0.5, 0.999)) for player in (generator, discriminator)]

    def of_discriminator(real: Tensor) -> Tensor:
        with torch.no_grad():
            fake = generator(torch.randn(len(real), 16, device=real.device))
        return judge(discriminator, real, fake)

    def of_generator(real: Tensor) -> Tensor:
        return deceive(discriminator, real, generator(torch.randn(len(real), 16, device=real.device)))

    losses = [torch.compile(f) if form == COMPILED else f for f in (of_generator, of_discriminator)]

    def step(real: Tensor) -> None:
        for number in (1, 0):
            players[number].zero_grad()
            losses[number](real).backward()
            players[number].step()

    return trained(step, pixels().reshape(-1, 1, 28, 28), 64, form)


class Autoencoder(nn.Module):
    """An autoencoder; its output is the squared error, the mean over the batch."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        return (self.decoder(self.encoder(x)) - x).square().sum(dim=-1).mean()


def rows_of(name: str) -> np.ndarray:
    """The training examples of a data set, [N, D] float32."""
    dataset = data.load(name)
    return np.asarray(dataset.scaled(dataset.train), np.float32).reshape(len(dataset.train.x), -1)


def linear_autoencoder(*, form: str) -> Way:
    """Training of a linear autoencoder on the embedded digits."""
    return descending(Autoencoder(nn.Linear(64, 8), nn.Linear(8, 64)), rows_of("digits"), 128, form=form)


def scoring() -> Way:
    """Reconstruction losses of 10 000 images by an autoencoder 784-500-20-500-784."""
    encoder, decoder, stored = dense(PIXELS, 500, 20), dense(20, 500, PIXELS), on_device(images())

    @torch.no_grad()
    def run(steps: int) -> None:
        for _ in range(steps):
            for part in stored.split(1000):
                x = part.float() / 255
                (decoder(encoder(x)) - x).square().sum(dim=-1)
        if stored.is_cuda:
            torch.cuda.synchronize()

    return run


def generation() -> Way:
    """Means of 50 000 samples of a VAE 784-500-20, kept in the host's memory."""
    decoder = nn.Sequential(dense(20, 500, PIXELS), nn.Sigmoid())

    @torch.no_grad()
    def run(steps: int) -> None:
        for _ in range(steps):
            _ = [decoder(torch.randn(1000, 20)).cpu() for _ in range(50)]

    return run


def importance_weighted_likelihood() -> Way:
    """The likelihood of 100 images by 500 importance samples each, of a VAE 784-200-200-50."""
    encoder, decoder = dense(PIXELS, 200, 200, 100), dense(50, 200, 200, PIXELS)
    x = on_device((images(100) > 127).astype(np.float32))

    @torch.no_grad()
    def run(steps: int) -> None:
        for _ in range(steps):
            mean, s = encoder(x).chunk(2, dim=-1)
            parts = []
            for _ in range(10):
                noise = torch.randn(50, *mean.shape)
                z = mean + torch.exp(0.5 * s) * noise
                cross_entropy = functional.binary_cross_entropy_with_logits(
                    decoder(z), x.expand(50, *x.shape), reduction="none"
                ).sum(dim=-1)
                parts.append(0.5 * (noise.square() - z.square() + s).sum(dim=-1) - cross_entropy)
            torch.logsumexp(torch.cat(parts), dim=0) - np.log(500)
        if x.is_cuda:
            torch.cuda.synchronize()

    return run
