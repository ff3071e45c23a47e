"""Toy data whose truth is known in closed form, the same in every run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from genjax.data.dataset import Dataset, Split, fingerprint, from_arrays

CURVE_RADIUS = 1.25  # half the square that [0, 1]^2 is of: the circle and its noise
SINE_NOISE = 0.1  # half the width of the noise of `inverse_sine`


def draw_curve(num: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy points of three quarters of a circle, and their places along it.

        x = (cos t, sin t) + 0.02 n,   t ~ U(0, 3 pi / 2),   n ~ N(0, I)

    Args:
      num: of points.
      seed: of NumPy's frozen `RandomState`.

    Returns:
      x, shifted and scaled into [0, 1]^2, [num, 2]; t in radians, [num].
    """
    draw = np.random.RandomState(seed)  # a stream that NumPy keeps frozen
    t = draw.uniform(0, 1.5 * np.pi, num)
    x = np.stack([np.cos(t), np.sin(t)], axis=1) + 0.02 * draw.standard_normal((num, 2))
    return (x / CURVE_RADIUS + 1) / 2, t


def curve() -> Dataset:
    """`draw_curve`: 2000 points for training and 1000 held out, without labels."""
    return from_arrays("curve", draw_curve(2000, seed=0)[0], draw_curve(1000, seed=1)[0])


def sine(y: np.ndarray) -> np.ndarray:
    """The forward map of `inverse_sine`, without its noise.

        v = y + 0.3 sin 2 pi y

    Args:
      y: [...].

    Returns:
      v, [...].

    Source: Bishop 1994.
    """
    return y + 0.3 * np.sin(2 * np.pi * y)


def _sine_pairs(num: int, seed: int) -> Split:
    draw = np.random.RandomState(seed)
    y = draw.random_sample((num, 1))
    v = sine(y) + SINE_NOISE * (2 * draw.random_sample((num, 1)) - 1)
    return Split(((v + SINE_NOISE) / (1 + 2 * SINE_NOISE)).astype(np.float32), y.astype(np.float32))


def inverse_sine() -> Dataset:
    """Pairs for a regression with several answers: x from the forward map, and y, to be predicted from it.

        x = (v + 0.1) / 1.2,   v = sine(y) + U(-0.1, 0.1),   y ~ U(0, 1)

    The inverse from x to y has up to three branches.

    Returns:
      2000 pairs for training and 1000 held out: x and the label y, both [N, 1] in [0, 1].

    Source: Bishop 1994.
    """
    train, test = _sine_pairs(2000, 0), _sine_pairs(1000, 1)
    content = fingerprint(train, test, scale=1.0, num_classes=None)
    return Dataset("inverse_sine", train, test, 1.0, None, content)


def inverse_sine_negative_log_likelihood(x: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of `inverse_sine` at the true density.

        -log p(y|x) = log |{y : p(y|x) > 0}|, the same at every possible y, since y is uniform

    Args:
      x: [N, 1].

    Returns:
      [N], <= 0, in nats.
    """
    y = (np.arange(10_000) + 0.5) / 10_000
    v = x.astype(np.float64) * (1 + 2 * SINE_NOISE) - SINE_NOISE
    return np.log(np.mean(np.abs(v - sine(y)) < SINE_NOISE, axis=1))


class Modes(NamedTuple):
    """A mixture of equally likely round Gaussians N(mean_k, standard_deviation^2 I), in the data's units."""

    means: np.ndarray  # [K, D]
    standard_deviation: float


def _modes(means: np.ndarray, standard_deviation: float, *, half: float) -> Modes:
    """Shifts and scales the square [-half, half]^2 into [0, 1]^2."""
    return Modes((means / half + 1) / 2, standard_deviation / (2 * half))


_ANGLES = 2 * np.pi * np.arange(8) / 8
RING = _modes(2 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1), 0.02, half=2.5)
"""8 Gaussians of standard deviation 0.02 on a circle of radius 2, before scaling (Metz et al. 2017, section 3.1)."""

GRID = _modes(np.stack(np.meshgrid(*[2.0 * np.arange(-2, 3)] * 2), axis=-1).reshape(-1, 2), 0.05, half=5.0)
"""5 x 5 Gaussians of standard deviation 0.05, 2 apart, before scaling (Srivastava et al. 2017; Lin et al. 2018)."""


def modes_negative_log_likelihood(x: np.ndarray, *, modes: Modes) -> np.ndarray:
    """Negative log-likelihood of a mixture of equally likely round Gaussians.

        p(x) = (1/K) sum_k N(x; mean_k, sigma^2 I)

    Args:
      x: [N, D].
      modes: the means and sigma.

    Returns:
      -log p(x), [N], in nats.
    """
    means, sigma = modes
    exponent = -np.sum((np.asarray(x, np.float64)[:, None] - means[None]) ** 2, axis=2) / (2 * sigma**2)
    highest = exponent.max(axis=1)
    log_sum = highest + np.log(np.exp(exponent - highest[:, None]).sum(axis=1))
    return np.log(len(means)) + means.shape[1] / 2 * np.log(2 * np.pi * sigma**2) - log_sum


def _draw_modes(modes: Modes, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [num, D], and which Gaussian each is of [num]."""
    draw = np.random.RandomState(seed)
    label = draw.randint(len(modes.means), size=num)
    return modes.means[label] + modes.standard_deviation * draw.standard_normal((num, modes.means.shape[1])), label


def _mixture(name: str, modes: Modes) -> Dataset:
    (x, label), (test_x, test_label) = _draw_modes(modes, 20_000, 0), _draw_modes(modes, 2000, 1)
    return from_arrays(name, x, test_x, train_label=label, test_label=test_label, num_classes=len(modes.means))


def ring() -> Dataset:
    """`RING`: 20 000 points for training and 2000 held out, labelled by their Gaussian."""
    return _mixture("ring", RING)


def grid() -> Dataset:
    """`GRID`: 20 000 points for training and 2000 held out, labelled by their Gaussian."""
    return _mixture("grid", GRID)
