"""What reconstructions in the place of activations cost the network that reads them: the loss recovered.

    python -m experiments.loss_recovered --run=DIR --loss_with=MODULE:FUNCTION

FUNCTION takes activations [B, ...], a NumPy array in the units of the run's data, and returns the loss of each example,
[B]: for example that of the rest of a language model from the layer on whose activations `sparse` was trained. It is
called with held-out activations, with their reconstructions, with the mean of the training activations and with zeros.

    recovered = (L_ablated - L_reconstructed) / (L_ablated - L_original)

It is 1 if nothing is lost, and 0 if the reconstructions are worth as much as the mean (Gao et al. 2024, section 4.1),
or as zeros (Bricken et al. 2023); where such a constant costs nothing, it is not printed. The module is imported from
the working directory or the Python path; a run directory does not name it, so that opening one executes no code of its
choice.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from genjax import runs
from genjax.errors import BadInput
from genjax.evaluation.sparse_codes import share_recovered
from genjax.paths import expand_user
from genjax.runs import command, flag, opening

AT_MOST = 10_000  # training examples whose mean is taken

Loss = Callable[[np.ndarray], Any]  # activations [B, ...] -> [B]


class Flags(opening.OpeningFlags):
    """Loss recovered."""

    loss_with: str | None = flag(None, "MODULE:FUNCTION that returns a loss for each example of activations")
    num_examples: int = flag(10_000, "number of held-out examples", at_least=1)
    batch_size: int = flag(500, "number of examples that the function is called with", at_least=1, at_most=10**6)
    out: str | None = flag(None, "file for the results as JSON")


def function_of(name: str | None) -> Loss:
    """The function of the name MODULE:FUNCTION.

    Raises:
      BadInput: there is none.
    """
    module, _, function = (name or "").partition(":")
    if not module or not function:
        raise BadInput(f"expected MODULE:FUNCTION, not {name!r}", parameter="loss_with")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise
        raise BadInput(f"there is no module {module!r}", parameter="loss_with") from None
    if not callable(found):
        raise BadInput(f"the module {module!r} has no function {function!r}", parameter="loss_with")
    return found


def mean_losses(loss: Loss, ways: dict[str, Loss], x: np.ndarray, *, batch_size: int) -> dict[str, float]:
    """The mean loss of examples with each of these in their place.

    Args:
      loss: activations [B, ...] -> [B].
      ways: by name, what takes the place of examples [B, ...].
      x: [N, ...].
      batch_size: B.

    Raises:
      BadInput: what `loss` returns is not a finite number for each example.
    """
    sums = dict.fromkeys(ways, 0.0)
    for start in tqdm(range(0, len(x), batch_size), desc="losses", unit=" batches", disable=None):
        batch = x[start : start + batch_size]
        for name, way in ways.items():
            values = np.asarray(loss(np.asarray(way(batch))), np.float64)
            if values.shape != (len(batch),) or not np.isfinite(values).all():
                what = f"shape {list(values.shape)}" if values.shape != (len(batch),) else "values that are not finite"
                raise BadInput(
                    f"it returned {what} for {len(batch)} examples; expected a loss each", parameter="loss_with"
                )
            sums[name] += float(values.sum())
    return {name: value / len(x) for name, value in sums.items()}


def measure(run: runs.Run, loss: Loss, *, num_examples: int, batch_size: int) -> dict[str, float]:
    """The four mean losses of held-out examples, and the shares recovered."""
    codec, dataset = run.codec(), run.dataset
    x = dataset.scaled(dataset.test.sample(num_examples))
    mean = dataset.scaled(dataset.train.sample(AT_MOST)).mean(axis=0, dtype=np.float64).astype(np.float32)

    @jax.jit
    def reconstruct(batch: Any) -> Any:
        z = codec.encoder.apply(run.params["encoder"], batch)
        return codec.decoder.apply(run.params["decoder"], z)

    losses = mean_losses(
        loss,
        {
            "original": lambda batch: batch,
            "reconstructed": reconstruct,
            "mean": partial(np.full_like, fill_value=mean),
            "zero": np.zeros_like,
        },
        x,
        batch_size=batch_size,
    )
    shares = {
        f"recovered_over_{name}": share_recovered(losses["original"], losses["reconstructed"], losses[name])
        for name in ("mean", "zero")
        if losses[name] > losses["original"]
    }
    return {f"loss_{name}": value for name, value in losses.items()} | shares


def main(flags: Flags) -> None:
    """Measures and prints."""
    loss = function_of(flags.loss_with)
    run = flags.open_run()
    found = measure(run, loss, num_examples=flags.num_examples, batch_size=flags.batch_size)
    for name, value in found.items():
        print(f"{name:20} {value:.6g}")
    if flags.out:
        expand_user(flags.out, parameter="out").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main, Flags)
