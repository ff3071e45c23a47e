"""Prints, as JSON, what `test_portable` compares: products of the steps of models, and elementwise operations."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys

import jax
import numpy as np
from jax import lax

from genjax import gradients
from genjax.runs import changes
from genjax.training import determinism, portable

PAGES = ("vae", {}), ("vae", {"network": "convolutional"}), ("autoencoder", {}), ("gan", {}), ("iwae", {})
SHORT = tuple(portable.Shape(1, 9, k, n) for k, n in ((1, 7), (2, 40), (3, 7), (8, 9), (9, 33), (16, 70), (17, 5)))


def products() -> list[portable.Shape]:
    """The shapes in a step of each of `PAGES`."""
    found = set(SHORT) | {portable.Shape(6, 5, 20, 17)}
    for page, own in PAGES:
        module = importlib.import_module(f"experiments.{page}")
        flags = module.Flags(**own)
        stored = module.EXPERIMENT.load(flags)
        flags = module.EXPERIMENT.resolve(flags, stored)
        model = module.EXPERIMENT.build(flags, stored, gradients.whole_batch).model
        function, shapes = changes.of_one_step(model, module.EXPERIMENT.source(flags, stored), 0)
        found |= set(portable.shapes(portable._equations(jax.make_jaxpr(function)(*shapes).jaxpr)))
    return sorted(found)


def roots() -> dict[str, bool]:
    """Whether each way to write a reciprocal square root is rounded as NumPy rounds it."""
    x = np.random.RandomState(0).uniform(0.1, 10, 10_001).astype(np.float32)
    ways = {"rsqrt": lax.rsqrt, "reciprocal": lambda x: 1 / lax.sqrt(x)}
    return {name: bool(np.array_equal(jax.jit(way)(x), np.float32(1) / np.sqrt(x))) for name, way in ways.items()}


def digests() -> dict[str, str]:
    """Of operations that have no order of summation."""
    x = np.random.RandomState(1).standard_normal(10_003).astype(np.float32)
    ways = {
        "exp": lax.exp,
        "log1p": lambda x: lax.log1p(abs(x)),
        "tanh": lax.tanh,
        "softplus": jax.nn.softplus,
        "sigmoid": jax.nn.sigmoid,
        "normal": lambda x: jax.random.normal(jax.random.key(0), x.shape),
        "multiply_add": lambda x: x * x[::-1] + x,
    }
    return {name: hashlib.sha256(np.asarray(jax.jit(way)(x)).tobytes()).hexdigest() for name, way in ways.items()}


if __name__ == "__main__":
    determinism.set_up(cpu_threads=int(sys.argv[1]), portable_bits=sys.argv[2] == "portable")
    every = products() if "all" in sys.argv else list(SHORT)
    wrong = [str(shape) for shape in portable.not_chains(every)]
    print(json.dumps({"products": len(every), "wrong": wrong, "roots": roots(), "digests": digests()}))
