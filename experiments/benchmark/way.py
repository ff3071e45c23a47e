"""Records and helpers that all ways of doing a row's work share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Way = Callable[[int], float | None]  # takes steps, and returns their seconds, or None if they are all that it did

OURS, PORTABLE, PYTHAE, PATCHES = "genjax", "portable bits", "pythae", "patches alone"
EAGER, COMPILED, CUDA_GRAPH = "PyTorch", "torch.compile", "CUDA graph"  # the forms of PyTorch's ways
DATA_LOADER = "DataLoader"  # PyTorch's, from the disk
MAP, VMAP = "by map", "by vmap"
KEPT, REMAT = "all draws kept", "remat of 16 draws"
IMAGE_SHAPE = (28, 28, 1)
PIXELS = 784
RUN = 500  # steps of a whole run, in rows of many runs
QUIET = 0.1  # cores that other programs may take


class Row(NamedTuple):
    """One piece of work."""

    title: str
    steps: int  # of a round
    multiplications: int  # of a step's products by definition, each with its addition; 0 where they are not the work
    ways: dict[
        str, Callable[[int, str], Way]
    ]  # CPU threads, device -> way; the first is this project's, the others' reference


def images(num: int = 10_000) -> np.ndarray:
    """Pictures of the size of MNIST's, [num, 784] uint8: their values change nothing about the arithmetic."""
    return np.random.RandomState(0).randint(0, 256, (num, PIXELS), np.uint8)


def images_on_disk(num: int = 200_000) -> np.ndarray:
    """The images over and over, [num, 784] uint8, mapped from a file that goes with the process."""
    block = images()
    with tempfile.TemporaryFile() as file:
        for start in range(0, num, len(block)):
            file.write(block[: num - start].tobytes())
        file.flush()
        return np.memmap(file, np.uint8, "r", shape=(num, PIXELS))


def learning_rates(num: int) -> np.ndarray:
    """The learning rates of a sweep, evenly spaced on a logarithmic scale, [num]."""
    return np.geomspace(1e-4, 1e-2, num)


def vectors(dim: int, num: int = 20_000) -> np.ndarray:
    """Normal draws in the place of activations, [num, dim] float32."""
    return np.random.RandomState(0).standard_normal((num, dim)).astype(np.float32)


def dense(batch_size: int, *layers: tuple[int, int], first_seen: bool = True) -> int:
    """Multiplications of a training step through dense layers (inputs, outputs): forward, and both gradients.

    Args:
      first_seen: the first layer's input is the data, which need no gradient.
    """
    forward = sum(before * after for before, after in layers)
    unneeded = layers[0][0] * layers[0][1] if first_seen else 0
    return batch_size * (3 * forward - unneeded)


def others() -> float:
    """Seconds for which the cores have worked for programs other than this one and its finished children; 0 if unknown.

    The time that a host takes from a virtual machine counts too.
    """
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, *rest = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):  # not Linux
        return 0.0
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])
