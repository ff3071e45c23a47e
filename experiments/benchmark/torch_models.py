"""Further work of the rows, done by PyTorch: a flow, a sparse code, a sweep over learning rates, data on the disk."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from experiments.benchmark import peers
from experiments.benchmark.way import EAGER, PIXELS, RUN, Way, images_on_disk, learning_rates, vectors


class Flow(nn.Module):
    """A RealNVP behind a standardisation; its output is the negative log-likelihood, the mean over the batch."""

    def __init__(self, dim: int, num_layers: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.mean, self.log_scale = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.networks = nn.ModuleList(_perceptron(dim, *hidden, 2 * dim) for _ in range(num_layers))
        places = [(torch.arange(dim) % 2 == number % 2).float() for number in range(num_layers)]
        self.register_buffer("kept", torch.stack(places))

    def forward(self, x: Tensor) -> Tensor:
        z = (x - self.mean) * torch.exp(-self.log_scale)
        log_determinant = -self.log_scale.sum()
        for kept, network in zip(self.kept, self.networks, strict=True):
            a, shift = network(kept * z).chunk(2, dim=-1)
            log_scale = (1 - kept) * 3 * torch.tanh(a / 3)
            z = z * torch.exp(log_scale) + (1 - kept) * shift
            log_determinant = log_determinant + log_scale.sum(dim=-1)
        normal = 0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1)
        return (normal - log_determinant).mean()


def _perceptron(*widths: int) -> nn.Sequential:
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def flow(*, form: str) -> Way:
    """Training of the flow of `experiments.flow` on the ring."""
    return peers.descending(Flow(2, 8, (64, 64)), peers.rows_of("ring"), 256, form=form, lr=3e-3, clip_norm=1.0)


class Sparse(nn.Module):
    """A sparse autoencoder of the k largest units, whose atoms have norm 1; its output is its loss."""

    def __init__(self, dim: int, num_units: int, k: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.k = nn.Linear(dim, num_units), nn.Linear(num_units, dim), k

    def forward(self, x: Tensor) -> Tensor:
        a = functional.relu(self.encoder(x))
        largest, places = a.topk(self.k, dim=-1, sorted=False)
        z, atoms = torch.zeros_like(a).scatter(-1, places, largest), functional.normalize(self.decoder.weight, dim=0)
        return (functional.linear(z, atoms, self.decoder.bias) - x).square().sum() / len(x)


def sparse(dim: int, num_units: int, k: int, batch_size: int, *, form: str) -> Way:
    """Training of a sparse autoencoder on vectors."""
    return peers.descending(Sparse(dim, num_units, k), vectors(dim), batch_size, form=form)


def sweep(num: int) -> Way:
    """Whole runs of a VAE 64-200-8 on the digits at learning rates of a sweep, one after another."""
    x, rates = peers.rows_of("digits"), learning_rates(num)

    def run(steps: int) -> None:
        for rate in rates[: max(1, steps // RUN)]:
            model = peers.VAE(peers.dense(64, 200, 16), peers.dense(8, 200, 64))
            peers.descending(model, x, 128, form=EAGER, lr=rate)(RUN)

    return run


class _Stored(Dataset):
    """Rows of an array on the disk, a batch at a time."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: list[int]) -> Tensor:
        return torch.from_numpy(self.x[rows])


def streaming() -> Way:
    """Training of a VAE 784-500-20 on images that two processes of a DataLoader read from the disk."""
    stored = _Stored(images_on_disk())
    batches = BatchSampler(RandomSampler(stored), 128, drop_last=True)
    loader = DataLoader(stored, batch_size=None, sampler=batches, num_workers=2, persistent_workers=True)
    endless: Iterator[Tensor] = itertools.chain.from_iterable(itertools.repeat(loader))
    model = peers.VAE(peers.dense(PIXELS, 500, 40), peers.dense(20, 500, PIXELS))
    optimizer = peers.adam(model, EAGER)

    def run(steps: int) -> None:
        for batch in itertools.islice(endless, steps):
            optimizer.zero_grad()
            model(batch.float() / 255).backward()
            optimizer.step()

    return run
