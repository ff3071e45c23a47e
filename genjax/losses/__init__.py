"""Losses: pure functions, one value per example [B], in nats unless said, positive = worse."""

from genjax.losses.divergence import gaussian_kl, gaussian_kl_to_standard
from genjax.losses.likelihood import BERNOULLI, GAUSSIAN, Likelihood, gaussian
from genjax.losses.reconstruction import (
    CROSS_ENTROPY,
    SQUARED_ERROR,
    Reconstruction,
    binary_cross_entropy,
    squared_error,
)

__all__ = [
    "BERNOULLI",
    "CROSS_ENTROPY",
    "GAUSSIAN",
    "SQUARED_ERROR",
    "Likelihood",
    "Reconstruction",
    "binary_cross_entropy",
    "gaussian",
    "gaussian_kl",
    "gaussian_kl_to_standard",
    "squared_error",
]
